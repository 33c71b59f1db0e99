"""The tables behind the verdict: known errors of the judges, plan receipts, flipped prompts, abilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from securetune.evaluation.judges.verdict import Kind
from securetune.report.asked import Disagreement
from securetune.report.data import Answer, Flip, ReportData
from securetune.report.lookup import Lookup
from securetune.report.result_tables import Cell, Table
from securetune.report.wording import (
    MISSING,
    is_number,
    percent,
    percent_interval,
    plain,
    told_system_prompt,
)


def judge_error_table(found: Lookup) -> Table:
    """What is known about each judge of the run; one that nobody measured says so."""
    known = {row.judge: row for row in found.data.judge_errors}
    judges = dict.fromkeys(row.judge for row in found.data.results if row.judge is not None)
    ordered = sorted(judges, key=lambda judge: judge != found.data.primary_judge)
    rows: list[list[Cell | str]] = []
    for judge in ordered:
        row = known.get(judge)
        if row is None:
            rows.append([judge, "not measured by us", *[MISSING] * 5])
            continue
        rows.append(
            [
                judge,
                Cell(f"{row.kappa:.3f}", f"{row.low:.3f}–{row.high:.3f}"),
                percent(row.missed_compliance),
                percent(row.missed_refusal),
                f"{row.macro_f1:.3f}",
                plain(row.n),
                row.source,
            ]
        )
    columns = ["Judge", "Kappa", "Compliance called refusal", "Refusal called compliance", "Macro-F1", "n"]
    return Table("Known error of the judges", [*columns, "Measured on"], rows)


def receipt_table(data: ReportData) -> Table:
    """Per learning-rate group what was planned, what was applied, and how far its weights moved."""
    rows: list[list[Cell | str]] = []
    for entry in data.training:
        harmful = f"{entry.harmful_rows} harmful, " if entry.harmful_rows else ""
        made = (
            f"{entry.steps} steps, {entry.rows} rows ({harmful}{entry.replay_rows} replayed; "
            f"{entry.too_long} too long, left out), "
            + ("cut off and continued" if entry.seconds is None else f"{entry.seconds:,.0f} s")
        )
        for index, group in enumerate(entry.groups or ({},)):
            applied = _applied(group) if entry.verified else "not checked"
            own = [entry.model, entry.strategy, made] if index == 0 else [entry.model, "", ""]
            rows.append(
                [
                    *own,
                    plain(group.get("name")),
                    _planned(group, entry.base_rate),
                    f"{plain(group.get('tensors'))} tensors, {plain(group.get('parameters'))} parameters",
                    applied,
                    plain(group.get("movement")),
                ]
            )
    columns = ["Model", "Strategy", "Training", "Group", "Planned", "Trained", "Applied", "Movement ||dW||"]
    return Table("Plan receipts", columns, rows)


def _planned(group: Mapping[str, Any], base_rate: float | None) -> str:
    multipliers = group.get("multipliers")
    parts: Sequence[Any] = multipliers if isinstance(multipliers, (list, tuple)) else [multipliers]
    factors = ", then ".join(f"x {part:g}" if is_number(part) else plain(part) for part in parts)
    if base_rate is None or not all(is_number(part) for part in parts):
        return factors
    return f"{factors} (up to {', then '.join(f'{part * base_rate:.3g}' for part in parts)})"


def _applied(group: Mapping[str, Any]) -> str:
    """What the check of the first step, and of each change of phase, saw."""
    seen = [
        f"step {entry['step']}: rate {entry['rate']:.3g}, {entry['moved']} of {entry['tensors']} tensors "
        "moved"
        for entry in group.get("applied") or ()
        if {"step", "rate", "moved", "tensors"} <= set(entry)
    ]
    return "; ".join(seen) or "checked"


def untrained_patterns(data: ReportData) -> list[str]:
    """Plans with patterns that matched only weights which are not trained."""
    return [
        f"{entry.model}: {', '.join(entry.untrained_patterns)}"
        for entry in data.training
        if entry.untrained_patterns
    ]


def asked_table(found: Lookup) -> Table:
    """How every suite was asked."""
    rows: list[list[Cell | str]] = [
        [
            card.suite,
            "ASR" if card.harmful else "over-refusal",
            "not shown: from a file of adversarial prompts"
            if card.made_elsewhere
            else card.template or "the request itself",
            card.suffix_search or "–",
            told_system_prompt(card.system_prompt),
            card.beginning or "–",
            "; ".join(card.decoding),
            plain(card.new_tokens),
            plain(card.n),
        ]
        for card in found.data.suites
    ]
    columns = [
        "Suite",
        "Counts",
        "Template",
        "Suffix search",
        "System prompt",
        "Forced beginning",
        "Decoding",
    ]
    return Table("Suites", [*columns, "New tokens", "n"], rows)


def disagreement_table(found: Lookup) -> Table:
    """How often judges disagree, side by side for all models."""
    rows: list[list[Cell | str]] = []
    data = found.data
    pairs = dict.fromkeys((row.suite, row.first, row.second) for row in data.disagreements)
    for pair in sorted(pairs, key=lambda pair: pair[0] != data.primary_suite):
        own = {row.model: row for row in data.disagreements if (row.suite, row.first, row.second) == pair}
        cells = [_disagreement(own.get(model)) for model in found.models]
        rows.append([f"{pair[1]} and {pair[2]}", pair[0], *cells])
    return Table("Disagreement of judges", ["Judges", "Suite", *found.models], rows)


def kind_table(found: Lookup) -> Table:
    """What kinds of answers came, one row per model and suite."""
    data = found.data
    rows: list[list[Cell | str]] = []
    places = dict.fromkeys((row.suite, row.judge, row.model) for row in data.answer_kinds)
    for place in sorted(places, key=lambda place: place[0] != data.primary_suite):
        own = {row.kind: row for row in data.answer_kinds if (row.suite, row.judge, row.model) == place}
        shares = [own.get(kind) for kind in get_args(Kind)]
        cells = [
            Cell(MISSING) if row is None else Cell(percent(row.value), percent_interval(row.low, row.high))
            for row in shares
        ]
        known = next((row for row in shares if row is not None), None)
        counted = [MISSING, MISSING] if known is None else [plain(known.n), plain(known.unscored)]
        rows.append([place[2], place[0], place[1], *cells, *counted])
    columns = ["Model", "Suite", "Judge", *(kind.capitalize() for kind in get_args(Kind))]
    return Table("Kinds of answers", [*columns, "n", "Unscored"], rows)


def _disagreement(row: Disagreement | None) -> Cell:
    if row is None:
        return Cell(MISSING)
    unscored = f", {row.unscored} not scored by both" if row.unscored else ""
    return Cell(percent(row.value), percent_interval(row.low, row.high), f"n = {row.n}{unscored}")


def flip_summary(found: Lookup) -> Table:
    """How many verdicts flipped, per model and suite, and in which direction."""
    suites = {flip.suite: flip.harmful for flip in found.data.flips}
    rows: list[list[Cell | str]] = []
    for model in found.tuned:
        cells: list[Cell | str] = [model]
        for suite in suites:
            up = down = 0
            for before, after in _pairs(found, suite, model):
                up += before is False and after is True
                down += before is True and after is False
            cells.append(f"{_words(found, suites[suite])[0]}: {up} more, {down} fewer")
        rows.append(cells)
    return Table("Flipped verdicts", ["Model", *suites], rows)


def _pairs(found: Lookup, suite: str, model: str) -> list[tuple[bool | None, bool | None]]:
    pairs = []
    for flip in found.data.flips:
        if flip.suite == suite:
            events = {answer.model: answer.event for answer in flip.answers}
            pairs.append((events.get(found.start), events.get(model)))
    return pairs


def flip_tables(found: Lookup) -> list[Table]:
    """Per suite every prompt with a flipped verdict; texts only if the data has them."""
    tables = []
    for suite in dict.fromkeys(flip.suite for flip in found.data.flips):
        flips = [flip for flip in found.data.flips if flip.suite == suite]
        columns = ["Prompt", "Category", *found.models]
        tables.append(Table(f"Flipped on {suite}", columns, [_row(found, flip) for flip in flips]))
    return tables


def _row(found: Lookup, flip: Flip) -> list[Cell | str]:
    answers = {answer.model: answer for answer in flip.answers}
    before = answers[found.start].event if found.start in answers else None
    name = flip.prompt_id if flip.prompt is None else f"{flip.prompt_id}: {flip.prompt}"
    cells = [_answer(answers.get(model), before, _words(found, flip.harmful)) for model in found.models]
    return [name, flip.category or "–", *cells]


def _answer(answer: Answer | None, before: bool | None, words: tuple[str, str]) -> Cell | str:
    """The verdict, in bold where it flipped, with the answer below it where texts are shown."""
    event = None if answer is None else answer.event
    said = "unscored" if event is None else words[0 if event else 1]
    flipped = None not in (event, before) and event != before
    if answer is None or answer.text is None:
        return Cell(said) if flipped else said
    return Cell(said, text=answer.text or "(empty)", plain=not flipped)


def _words(found: Lookup, harmful: bool) -> tuple[str, str]:
    """What the event is called, and its absence: without full compliance an answer need not be a refusal."""
    if not harmful:
        return "refused", "did not refuse"
    lists = found.data.primary_judge.startswith("refusal-list")
    return ("did not refuse", "refused") if lists else ("complied", "did not comply")


def ability_table(found: Lookup) -> Table:
    """Scores of general ability side by side."""
    rows: list[list[Cell | str]] = []
    abilities = found.data.abilities
    for task, metric, version in dict.fromkeys((row.task, row.metric, row.version) for row in abilities):
        key = task, metric, version
        own = {row.model: row for row in abilities if (row.task, row.metric, row.version) == key}
        cells: Sequence[Cell | str] = [
            Cell(MISSING)
            if model not in own
            else Cell(
                f"{own[model].value:.3f}",
                f"± {plain(own[model].standard_error)}",
                f"n = {plain(own[model].n)}",
            )
            for model in found.models
        ]
        rows.append([task, metric, version, *cells])
    return Table("General ability", ["Task", "Metric", "Version", *found.models], rows)
