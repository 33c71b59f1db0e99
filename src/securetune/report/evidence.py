"""A finished run -> what is behind its numbers: categories, flipped prompts, plan receipts, timelines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

from securetune.addressing import Address
from securetune.errors import UsageError
from securetune.evaluation.attacks import prompt_id_of
from securetune.evaluation.evaluate import Evaluation, Suite
from securetune.evaluation.judges.verdict import Kind
from securetune.evaluation.statistics import Mean, Rate
from securetune.files import read_json
from securetune.plan import TuningPlan
from securetune.report.asked import AnswerKind, Disagreement
from securetune.report.data import Answer, CategoryRate, Flip, Result, SafetyPoint

NO_CATEGORY = "(no category)"
_LONGEST = 2000
"""Characters of an answer that `--show-text` shows."""
_MEASURES = ("drift", "refusal_margin", "asr")


def held_out_changes(evaluations: Mapping[str, Evaluation], start: str = "start") -> list[Result]:
    """How each tuned model changed the held-out loss, paired by row (metric `held_out_change`)."""
    if start not in evaluations or not (before := evaluations[start].losses):
        return []
    rows = []
    for name, evaluation in evaluations.items():
        after = evaluation.losses
        if name == start or len(after) != len(before):
            continue
        mean = Mean.of([new - old for new, old in zip(after, before)])
        strategy = next((row.strategy for row in evaluation.results), None)
        change = mean.value, mean.low, mean.high, mean.n, 0, None
        rows.append(Result(name, strategy, "held-out", "held_out_change", *change))
    return rows


def category_rates(
    evaluations: Mapping[str, Evaluation], suites: Sequence[Suite], judge: str
) -> tuple[CategoryRate, ...]:
    """ASR by harm category, per harmful suite and model; prompts without a category stand together."""
    rows = []
    for suite in suites:
        categories: dict[str, list[str]] = {}
        for prompt in suite.prompts:
            categories.setdefault(prompt.category or NO_CATEGORY, []).append(prompt.id)
        if not suite.harmful or set(categories) == {NO_CATEGORY}:
            continue
        for name, evaluation in evaluations.items():
            events = evaluation.outcomes[suite.name, judge]
            for category, ids in sorted(categories.items()):
                rate = Rate.of([events.get(key) for key in ids])
                own = rate.value, rate.low, rate.high, rate.n, rate.unscored
                rows.append(CategoryRate(name, suite.name, category, *own))
    return tuple(rows)


def disagreements(evaluations: Mapping[str, Evaluation]) -> tuple[Disagreement, ...]:
    """How often each pair of judges disagrees on the prompts of a suite that both scored, by model."""
    rows = []
    for name, evaluation in evaluations.items():
        for suite in dict.fromkeys(suite for suite, _ in evaluation.outcomes):
            own = {judge: said for (place, judge), said in evaluation.outcomes.items() if place == suite}
            for first, second in combinations(own, 2):
                pairs = [(event, own[second].get(key)) for key, event in own[first].items()]
                rate = Rate.of([None if a is None or b is None else a != b for a, b in pairs])
                told = rate.value, rate.low, rate.high, rate.n, rate.unscored
                rows.append(Disagreement(name, suite, first, second, *told))
    return tuple(rows)


def answer_kinds(evaluations: Mapping[str, Evaluation]) -> tuple[AnswerKind, ...]:
    """Share of every kind of answer, by model, suite and judge."""
    rows = []
    for name, evaluation in evaluations.items():
        for (suite, judge), kinds in evaluation.kinds.items():
            for kind in get_args(Kind):
                rate = Rate.of([None if said is None else said == kind for said in kinds.values()])
                told = rate.value, rate.low, rate.high, rate.n, rate.unscored
                rows.append(AnswerKind(name, suite, judge, kind, *told))
    return tuple(rows)


def flips(
    evaluations: Mapping[str, Evaluation],
    suites: Sequence[Suite],
    judge: str,
    texts: Path | None = None,
    start: str = "start",
) -> tuple[Flip, ...]:
    """Prompts whose verdict differs between the start model and a tuned one; unscored answers do not flip.

    Args:
        evaluations: of every model.
        suites: what they were asked.
        judge: whose verdicts count.
        texts: the directory with every model's evaluation, to show prompts and answers; `None` redacts them.
            Suites of adversarial files and of searched suffixes stay redacted.
        start: the model that the others were tuned from.
    """
    found = []
    for suite in suites:
        events = {name: one.outcomes[suite.name, judge] for name, one in evaluations.items()}
        said: dict[str, dict[str, str]] = {name: {} for name in evaluations}
        # Prompts may be adversarial texts themselves, and answers may quote these or a suffix that was found.
        attack = suite.attack
        show = texts is not None and (attack is None or (attack.texts is None and attack.suffix is None))
        if texts is not None and show:
            said = {name: _texts(texts / name / suite.name, suite) for name in evaluations}
        for prompt in suite.prompts:
            verdicts = {name: own.get(prompt.id) for name, own in events.items()}
            before = verdicts.get(start)
            if before is None or set(verdicts.values()) <= {before, None}:
                continue
            answers = tuple(Answer(name, v, said[name].get(prompt.id)) for name, v in verdicts.items())
            shown = prompt.text if show else None
            found.append(Flip(suite.name, suite.harmful, prompt.id, prompt.category, answers, shown))
    return tuple(found)


def _texts(directory: Path, suite: Suite) -> dict[str, str]:
    """Prompt id -> the stored answer, all samples of it; dropped texts say so."""
    if (directory / "texts_dropped").is_file():
        return {prompt.id: "(not stored: evaluate.store_text was false)" for prompt in suite.prompts}
    lines = (directory / "responses.jsonl").read_text(encoding="utf-8").split("\n")
    found: dict[str, list[str]] = {}
    for row in (json.loads(line) for line in lines if line):
        text = row["text"]
        cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
        found.setdefault(prompt_id_of(row["prompt_id"]), []).append(cut)
    return {key: "\n[another sample:] ".join(samples) for key, samples in found.items()}


def receipt_facts(weights: Path, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the plan receipt beside an adapter or model says, as further fields of `Training`.

    Args:
        weights: the directory with plan_receipt.json; without the file nothing is known.
        groups: name, multipliers, tensors and parameters of each learning-rate group.
    """
    path = weights / "plan_receipt.json"
    if not path.is_file():
        return {"groups": tuple(groups), "movement_note": f"{path.name} is missing"}
    receipt = read_json(path)
    moved = receipt["movement"]
    norms = {} if moved is None else _by_multipliers(TuningPlan.from_json(receipt["planned"]), moved)
    told = []
    for group in groups:
        steps = [
            {"step": entry["step"], "phase": entry["phase"], **entry["groups"][group["name"]]}
            for entry in receipt["applied"]["verified"]
            if group["name"] in entry["groups"]
        ]
        told.append({**group, "applied": steps, "movement": norms.get(tuple(group["multipliers"]))})
    return {
        "groups": tuple(told),
        "base_rate": receipt["base_rate"],
        "movement": moved,
        "movement_note": receipt["movement_reason"],
        "untrained_patterns": tuple(receipt["untrained_patterns"]),
    }


def _by_multipliers(plan: TuningPlan, movement: Mapping[str, float]) -> dict[tuple[float, ...], float]:
    """||dW|| of all weights that share their multipliers, as the groups of the optimizer do."""
    squares: dict[tuple[float, ...], float] = {}
    for name, norm in movement.items():
        key = plan.multipliers_of(_address(name))
        squares[key] = squares.get(key, 0.0) + norm * norm
    return {key: value**0.5 for key, value in squares.items()}


def _address(name: str) -> Address | None:
    """The address that a receipt's key names; `None` for weights outside the decoder stack."""
    try:
        return Address.parse(name)
    except (UsageError, ValueError):
        return None


def timeline(directory: Path, model: str) -> list[SafetyPoint]:
    """What the safety callback wrote while a model was tuned, if it was there (`safety_history.json`)."""
    path = directory / "safety_history.json"
    if not path.is_file():
        return []
    return [
        SafetyPoint(model, row["step"], measure, row[measure])
        for row in read_json(path)
        for measure in _MEASURES
        if measure in row
    ]
