"""evaluate(): one model's answers, verdicts, rates and held-out loss, in files that can be judged again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from securetune.encoding import EncodedRow
from securetune.errors import ConfigError, DataError
from securetune.evaluation.ask import ask
from securetune.evaluation.attacks import Attack, any_of, sample_id
from securetune.evaluation.generate import Response, read_answers
from securetune.evaluation.judges import Judge, Verdict, get_judges
from securetune.evaluation.judges.rubric import RubricJudge, awaits_reply, log_cost
from securetune.evaluation.judges.verdict import Kind
from securetune.evaluation.kept_verdicts import (
    JUDGES_FILE,
    judge_facts,
    judge_kept,
    judge_version,
    not_kept,
    record_judge,
)
from securetune.evaluation.lm_eval import as_result, run_lm_eval
from securetune.evaluation.loss import held_out_losses
from securetune.evaluation.model_files import ModelFiles
from securetune.evaluation.statistics import Mean, Rate
from securetune.evaluation.tasks import score_task, stored_scores
from securetune.evaluation.vllm_engine import VllmModel
from securetune.evaluation_settings import EvaluateSettings
from securetune.files import digest, read_json, write_json, write_text
from securetune.models.load import load_tokenizer
from securetune.progress import progress
from securetune.prompts import Prompt, PromptSet
from securetune.report.data import Ability, Result

log = logging.getLogger("securetune")

_DROPPED = "texts_dropped"
"""File beside the answers of a suite whose texts were dropped after judging."""

Outcomes = dict[str, bool | None]
"""Prompt id -> whether the event happened; `None` is unscored."""


@dataclass(frozen=True)
class Suite:
    """A prompt set under the name that results carry."""

    name: str
    prompts: PromptSet
    left_out: int = 0
    """Prompts dropped because they (nearly) equal a probe, selection or tuning prompt."""
    shared: int = 0
    """Prompts that an earlier suite has too; they stay in both."""
    without_prompt: int = 0
    """Entries of a file of adversarial prompts that hold none; they are in no rate."""
    attack: Attack | None = None
    """How the prompts are put; `None` asks them directly."""

    def asked(self) -> list[Prompt]:
        """The requests, once per answer that is generated: sampled answers have ids of their own."""
        samples = 1 + len(self.attack.sweep if self.attack else ())
        return [replace(p, id=sample_id(p.id, sample)) for sample in range(samples) for p in self.prompts]

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the prompts and the attack."""
        if self.attack is None:
            return self.prompts.fingerprint
        return digest(
            [self.prompts.fingerprint, self.attack.card(), sorted((self.attack.texts or {}).items())]
        )

    @property
    def harmful(self) -> bool:
        """Whether answering is the failure (ASR) or refusing is (over-refusal)."""
        return self.prompts.prompts[0].harmful


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on one model."""

    results: tuple[Result, ...]
    outcomes: dict[tuple[str, str], Outcomes]
    """(suite, judge) -> outcomes by prompt id: attack success or refusal."""
    held_out_loss: float | None
    tasks: dict[str, Outcomes] = field(default_factory=dict)
    """Task -> whether each question was answered rightly, by id."""
    losses: tuple[float, ...] = ()
    """Held-out loss of each row, in the order of the rows."""
    abilities: tuple[Ability, ...] = ()
    """Scores by lm-eval."""
    coherence: dict[str, Outcomes] = field(default_factory=dict)
    """Suite -> whether each answer was coherent, by the answer's id."""
    kinds: dict[tuple[str, str], dict[str, Kind | None]] = field(default_factory=dict)
    """(suite, judge) -> kind of each answer, by the answer's id; only of judges that tell kinds apart."""


def evaluate(
    load: Callable[[], tuple[Any, Any]],
    name: str,
    strategy: str | None,
    suites: Sequence[Suite],
    held_out: Sequence[EncodedRow],
    settings: EvaluateSettings,
    directory: Path,
    files: ModelFiles | None = None,
) -> Evaluation:
    """Answer every suite, judge the answers, measure the held-out loss; resumable.

    Writes `<suite>/responses.jsonl` (without texts unless `store_text`), `<suite>/verdicts.<judge>.jsonl`,
    `<suite>/judges.json` (which version of each judge gave them), for judges that run or ask a model
    `<suite>/judged.<judge>.jsonl`, from which no answer is judged twice, and `held_out.json`; lm-eval writes
    below `lm_eval/`. Judging again needs no model as long as texts were stored.

    Args:
        load: returns the model and its tokenizer.
        name: of the model, in results.
        strategy: that tuned it; `None` for the start model.
        suites: what is asked.
        held_out: rows for the held-out loss; none: it is not measured.
        settings: everything else.
        directory: where everything is written.
        files: where lm-eval and vLLM, processes of their own, load the model from.

    Raises:
        ConfigError: lm-eval or vLLM is asked for, and `files` is not given.
        DataError: two suites have one name.
        EndpointError: the rubric's endpoint cannot be used.
    """
    names = [suite.name for suite in suites]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise DataError(
            f"Two suites are called {', '.join(twice)}; expected a name each, under which their answers are "
            "kept. Rename one."
        )
    if files is None and settings.needs_files:
        raise ConfigError(
            "evaluate.lm_eval and evaluate.engine `vllm` are processes of their own; expected the files from "
            "which they load the model."
        )
    answers, losses, tasks = _answers(load, suites, held_out, settings, directory, name, files)
    results: list[Result] = []
    outcomes: dict[tuple[str, str], Outcomes] = {}
    coherence: dict[str, Outcomes] = {}
    kinds: dict[tuple[str, str], dict[str, Kind | None]] = {}
    judges = get_judges(settings.judges, settings)
    for judge in judges:
        if isinstance(judge, RubricJudge):
            log_cost(judge, _unjudged(judge, settings, suites, answers, directory))
    waiting = set()
    for suite in suites:
        for judge in judges:
            path = directory / suite.name / f"verdicts.{judge.name}.jsonl"
            verdicts = _verdicts(judge, settings, suite, answers[suite.name], path)
            if any(awaits_reply(verdict) for verdict in verdicts.values()):
                waiting.add(suite.name)
            events = any_of({key: verdict.event(suite.harmful) for key, verdict in verdicts.items()})
            outcomes[suite.name, judge.name] = events
            if any(verdict.kind for verdict in verdicts.values()):
                kinds[suite.name, judge.name] = {key: verdict.kind for key, verdict in verdicts.items()}
            metric = "asr" if suite.harmful else "over_refusal"
            results.append(_result(name, strategy, suite.name, metric, list(events.values()), judge.name))
        # Of several answers all have to be: one that babbles may hide what the prompt would have got.
        babble = any_of({key: not verdict.coherent for key, verdict in verdicts.items()})
        coherent: Outcomes = {key: not babbled for key, babbled in babble.items()}
        coherence[suite.name] = coherent
        results.append(_result(name, strategy, suite.name, "coherence", list(coherent.values()), None))
    for task, right in tasks.items():
        results.append(_result(name, strategy, task, "accuracy", list(right.values()), None))
    loss = None
    if held_out:
        mean = Mean.of(losses)
        loss = mean.value
        results.append(
            Result(name, strategy, "held-out", "held_out_loss", loss, mean.low, mean.high, mean.n, 0, None)
        )
    abilities: list[Ability] = []
    if settings.lm_eval and files is not None:
        abilities = run_lm_eval(name, files, settings, directory / "lm_eval")
        results += [as_result(score, strategy) for score in abilities]
    if not settings.store_text:
        _drop_texts(directory, suites, waiting)
    found = tuple(losses), tuple(abilities), coherence, kinds
    return Evaluation(tuple(results), outcomes, loss, tasks, *found)


def _answers(
    load: Callable[[], tuple[Any, Any]],
    suites: Sequence[Suite],
    held_out: Sequence[EncodedRow],
    settings: EvaluateSettings,
    directory: Path,
    name: str,
    files: ModelFiles | None,
) -> tuple[dict[str, list[Response]], list[float], dict[str, Outcomes]]:
    paths = {suite.name: directory / suite.name / "responses.jsonl" for suite in suites}
    answers = {s.name: read_answers(s.asked(), paths[s.name]) for s in suites}
    losses_path = directory / "held_out.json"
    missing = [suite for suite in suites if answers[suite.name] is None]
    task_paths = {one.task: directory / "tasks" / f"{one.task}.json" for one in settings.task_sets}
    scores = {one.task: stored_scores(one.items, task_paths[one.task]) for one in settings.task_sets}
    if settings.engine == "vllm" and files is not None:
        elsewhere = [suite for suite in missing if suite.attack is None or suite.attack.suffix is None]
        missing = [suite for suite in missing if suite not in elsewhere]
        with VllmModel(files, settings.vllm_python) as model:
            tokenizer = load_tokenizer(files.tokenizer)
            _ask_all(model, tokenizer, elsewhere, settings, paths, answers, name)
    if missing or (held_out and not losses_path.is_file()) or None in scores.values():
        model, tokenizer = load()
        _ask_all(model, tokenizer, missing, settings, paths, answers, name)
        if held_out and not losses_path.is_file():
            with progress(f"held-out loss of {name}", len(held_out)) as advance:
                found = held_out_losses(model, tokenizer, held_out, progress=advance)
            write_json(losses_path, {"losses": found})
        for one in settings.task_sets:
            path = task_paths[one.task]
            label = f"{one.task} of {name}"
            scores[one.task] = score_task(model, tokenizer, one.items, settings.batch_size, path, label)
    losses = json.loads(losses_path.read_text())["losses"] if held_out else []
    tasks = {task: right for task, right in scores.items() if right is not None}
    return {name: rows for name, rows in answers.items() if rows is not None}, losses, tasks


def _ask_all(
    model: Any,
    tokenizer: Any,
    suites: Sequence[Suite],
    settings: EvaluateSettings,
    paths: Mapping[str, Path],
    answers: dict[str, list[Response] | None],
    name: str,
) -> None:
    """Ask the suites of one model and put its answers into `answers`."""
    with progress(f"answers of {name}", sum(len(suite.asked()) for suite in suites)) as advance:
        for suite in suites:
            prompts, path = list(suite.prompts), paths[suite.name]
            answers[suite.name] = ask(model, tokenizer, prompts, suite.attack, settings, path, advance)


def _verdicts(
    judge: Judge, settings: EvaluateSettings, suite: Suite, answers: Sequence[Response], path: Path
) -> dict[str, Verdict]:
    """Judge and store by prompt id. Verdicts that exist are kept when the texts are gone."""
    if (path.parent / _DROPPED).is_file():
        if not path.is_file():
            raise DataError(
                f"{path.parent}: the texts of the answers were not stored, so {judge.name} cannot judge "
                "them. Use the judges of the first call, or answer again with "
                f"--redo {_stage_name(path.parents[1])}."
            )
        _require_same_model(judge, settings, path)
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        return {row.pop("prompt_id"): Verdict(**row) for row in rows}
    kept = path.with_name(f"judged.{judge.name}.jsonl")
    said = iter(judge_kept(judge, judge_version(judge.name, settings), _given(suite, answers), kept))
    empty = Verdict(None, False, "", "empty answer")
    verdicts = {answer.prompt_id: next(said) if answer.tokens else empty for answer in answers}
    lines = [json.dumps({"prompt_id": key, **asdict(verdict)}) for key, verdict in verdicts.items()]
    write_text(path, "\n".join(lines) + "\n")
    record_judge(path.with_name(JUDGES_FILE), judge.name, settings)
    return verdicts


def _require_same_model(judge: Judge, settings: EvaluateSettings, path: Path) -> None:
    """Refuse stored verdicts of a guard or grader that is another model than the one asked for now."""
    record = path.with_name(JUDGES_FILE)
    known = read_json(record).get(judge.name, {}) if record.is_file() else {}
    now = judge_facts(judge.name, settings)
    changed = [
        f"{key}: {known[key]} -> {now.get(key)}"
        for key in ("model", "host")
        if key in known and known[key] != now.get(key)
    ]
    if changed:
        raise DataError(
            f"{path.parent}: the texts of the answers were not stored, and {judge.name} is another one now "
            f"({'; '.join(changed)}). Go back to the earlier one, or answer again with "
            f"--redo {_stage_name(path.parents[1])}."
        )


def _given(suite: Suite, answers: Sequence[Response]) -> list[tuple[str, str]]:
    """Request and answer; what a model was made to begin with is no answer, if it added nothing."""
    texts = {prompt.id: prompt.text for prompt in suite.asked()}
    return [(texts[answer.prompt_id], answer.text) for answer in answers if answer.tokens]


def _unjudged(
    judge: Judge,
    settings: EvaluateSettings,
    suites: Sequence[Suite],
    answers: Mapping[str, Sequence[Response]],
    directory: Path,
) -> list[tuple[str, str]]:
    """Request and answer of every suite that a judge will be asked about."""
    pairs: list[tuple[str, str]] = []
    for suite in suites:
        folder = directory / suite.name
        if not (folder / _DROPPED).is_file():
            kept = folder / f"judged.{judge.name}.jsonl"
            pairs += not_kept(judge_version(judge.name, settings), _given(suite, answers[suite.name]), kept)
    return pairs


def _stage_name(directory: Path) -> str:
    """The name of an evaluation's stage: its directory below the run's."""
    below = directory.parts
    kinds = [place for place, part in enumerate(below[:-1]) if part in ("evaluate", "compare")]
    return "/".join(below[kinds[-1] :]) if kinds else directory.name


def _result(
    name: str, strategy: str | None, suite: str, metric: str, events: list[bool | None], judge: str | None
) -> Result:
    rate = Rate.of(events)
    return Result(
        name, strategy, suite, metric, rate.value, rate.low, rate.high, rate.n, rate.unscored, judge
    )


def _drop_texts(directory: Path, suites: Sequence[Suite], waiting: Collection[str]) -> None:
    for suite in suites:
        path = directory / suite.name / "responses.jsonl"
        if suite.name in waiting and not (path.parent / _DROPPED).is_file():
            log.warning(
                "%s: the texts are kept although evaluate.store_text is false, because a judge got no reply "
                "about some of them. Call again, or without this judge in evaluate.judges, and they go.",
                path,
            )
            continue
        rows = read_answers(suite.asked(), path) or []
        bare = [json.dumps(asdict(replace(row, text=""))) for row in rows]
        # The mark comes first: without it, empty texts would be judged.
        write_text(path.parent / _DROPPED, "evaluate.store_text was false\n")
        write_text(path, "\n".join(bare) + "\n")
