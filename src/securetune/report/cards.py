"""What was run: the model, the settings and the data sets of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from securetune.config import parse_strategy
from securetune.dataset import TrainingData
from securetune.embedding_model import find_embedding_model
from securetune.evaluation.ask import DIRECT as DIRECTLY
from securetune.evaluation.attacks import BEGINNING, get_attacks
from securetune.evaluation.evaluate import Suite
from securetune.evaluation.judges.answer_classifier import NAME as CLASSIFIER
from securetune.evaluation_settings import FALLBACK_JUDGES, EvaluateSettings
from securetune.report.asked import SuiteCard
from securetune.report.data import DataCard, Training
from securetune.report.limits import DIRECT, NOT_INSTALLED, SAME_TEMPLATE
from securetune.report.wording import told_system_prompt
from securetune.training.replay import package_refusals

if TYPE_CHECKING:
    from securetune.pipeline import Pipeline


def model_facts(pipeline: Pipeline) -> dict[str, Any]:
    """What the start model is."""
    identity = pipeline.identity
    return {
        "id": pipeline.config.model.id,
        "adapter": pipeline.config.model.adapter,
        **{key: identity[key] for key in ("fingerprint", "architecture", "parameters", "layers")},
    }


def run_settings(pipeline: Pipeline) -> dict[str, Any]:
    """What a reader has to know of the settings of a run: how was tuned, how was asked, who judged."""
    config = pipeline.config
    train = config.train
    mixed = _mixed(config.strategy.names)
    return {
        "method": train.method,
        "LoRA rank": train.lora.r if train.method == "lora" else None,
        "LoRA alpha": train.lora.alpha if train.method == "lora" else None,
        "learning rate": train.learning_rate,
        "rows per step": train.batch_size,
        "steps": train.steps,
        "epochs": None if train.steps else train.epochs,
        "schedule": f"{train.scheduler}, warm-up {train.warmup:g}",
        "seed": train.seed,
        "ml-lr ratio": config.strategy.ratio,
        "self-replay share": config.strategy.replay_share if "self-replay" in mixed else None,
        "replay share": config.strategy.refusal_share if "replay" in mixed else None,
        "harmful rows": config.data.harmful or "none",
        "harmful share": config.data.harmful_share if config.data.harmful else None,
        **asked_settings(pipeline),
    }


def asked_settings(pipeline: Pipeline) -> dict[str, Any]:
    """How models were asked, and who judged."""
    settings = pipeline.config.evaluate
    return {
        "new tokens per answer": settings.max_new_tokens,
        "decoding": _decoding(pipeline.config.evaluate),
        "attacks": ", ".join((*settings.attacks, *settings.adversarial)) or DIRECT,
        "system prompt": told_system_prompt(settings.system_prompt),
        "chat template when asked": settings.chat_template or SAME_TEMPLATE,
        "judges": ", ".join(settings.judges),
        "default judge": _default_judge(settings),
        "precision of every model": pipeline.precision,
    }


def _default_judge(settings: EvaluateSettings) -> str:
    """Whether the judges are those that stand in where the default one cannot be had."""
    fell_back = settings.judges == FALLBACK_JUDGES and find_embedding_model() is None
    return NOT_INSTALLED if fell_back else "used" if CLASSIFIER in settings.judges else "not asked for"


def _decoding(settings: EvaluateSettings) -> str:
    """Greedy, unless an attack samples."""
    sampled = [attack.name for attack in get_attacks(settings.attacks) if attack.sweep]
    return f"greedy; sampled as well by {', '.join(sampled)} (see Suites)" if sampled else "greedy"


def suite_cards(suites: Sequence[Suite], settings: EvaluateSettings) -> tuple[SuiteCard, ...]:
    """How every suite was asked, as `suite.json` has it; texts of adversarial files are not in it."""
    cards = []
    for suite in suites:
        card = (suite.attack or DIRECTLY).card()
        own = card["system_prompt"]
        search = card["suffix_search"]
        bounds = None if search is None else ", ".join(f"{key} {value}" for key, value in search.items())
        prefix = card["prefix_tokens"]
        cards.append(
            SuiteCard(
                suite.name,
                suite.harmful,
                card["template"],
                settings.system_prompt if own is None else own,
                f"the first {prefix} tokens of “{BEGINNING}”" if prefix else None,
                tuple(card["decoding"]),
                settings.max_new_tokens,
                len(suite.prompts),
                len(suite.prompts) if card["adversarial_texts"] else 0,
                bounds,
            )
        )
    return tuple(cards)


def data_cards(pipeline: Pipeline, training: Sequence[Training]) -> tuple[DataCard, ...]:
    """One card per data set of a run."""
    # Models may see different samples of the rows; the largest number is that of the longest run.
    dropped = max((entry.too_long for entry in training), default=0)
    tuning = _rows_card(pipeline, "tuning", pipeline.tuning.train, dropped, pipeline.tuning.train.bad_rows)
    tasks = task_cards(pipeline.config.evaluate)
    return (tuning, held_out_card(pipeline), *mixed_cards(pipeline), *pipeline.prompts.cards(), *tasks)


def task_cards(settings: EvaluateSettings) -> list[DataCard]:
    """The questions that task scores are of."""
    cards = []
    for one in settings.task_sets:
        drawn = len(one.items) < one.available
        notes = [
            f"{len(one.items)} of {one.available:,} questions, drawn (evaluate.task_limit)" if drawn else "",
            f"subset {one.subset}" if one.subset else "",
            f"split {one.split}" if one.split else "",
            f"{one.duplicates} repeated rows of the source were dropped" if one.duplicates else "",
        ]
        note = "; ".join(filter(None, notes))
        own = one.task, one.source, one.license, len(one.items), one.fingerprint
        cards.append(DataCard("task", *own, note=note))
    return cards


def held_out_card(pipeline: Pipeline) -> DataCard:
    """The rows of the held-out loss."""
    tuning = pipeline.tuning
    held, too_long = tuning.held_out, tuning.encoded_held_out.too_long
    if pipeline.config.data.held_out_source is None:
        return _rows_card(pipeline, "held-out", held, too_long, 0)
    return _rows_card(pipeline, "held-out", held, too_long, held.bad_rows, tuning.shared)


def _rows_card(
    pipeline: Pipeline, role: str, data: TrainingData, dropped: int, bad: int, shared: int = 0
) -> DataCard:
    reasons = [
        f"{dropped} longer than {pipeline.config.data.max_length} tokens" if dropped else "",
        f"{bad} unusable (data.skip_bad_rows)" if bad else "",
        f"{shared} open with a prompt that is trained on" if shared else "",
    ]
    note = "; ".join(filter(None, reasons))
    own = data.name, data.source, data.license, len(data), data.fingerprint
    return DataCard(role, *own, dropped + bad + shared, note)


def _mixed(names: Sequence[str]) -> set[str | None]:
    """The kinds of refusals that strategies mix in."""
    return {parse_strategy(name)[2] for name in names}


def mixed_cards(pipeline: Pipeline) -> list[DataCard]:
    """Rows that took the place of benign ones: harmful ones of a stress test, refusals."""
    kinds, tuning, prompts = _mixed(pipeline.models()[1:]), pipeline.tuning, pipeline.prompts
    asked = prompts.probe.harmful
    found = [] if tuning.harmful is None else [("harmful rows", tuning.harmful)]
    if "self-replay" in kinds:
        source, rows = "the start model's answers to the probe's harmful prompts", pipeline.refusals()
        own = TrainingData("own refusals", source, asked.license, "messages", tuple(rows))
        found.append(("refusals", own))
    if "replay" in kinds:
        given = tuning.refusals
        if given is None:
            source = "refusals of our wording to the probe's harmful prompts"
            rows = package_refusals(list(asked), pipeline.config.seed)
            given = TrainingData("package refusals", source, asked.license, "messages", tuple(rows))
        found.append(("refusals", given))
    return [
        DataCard(role, data.name, data.source, data.license, len(data), data.fingerprint, data.bad_rows)
        for role, data in found
    ]
