"""The tables of rates, losses and comparisons, as finished strings."""

from __future__ import annotations

from dataclasses import dataclass

from securetune.report.data import MatchedComparison, ReportData, Result
from securetune.report.lookup import Lookup
from securetune.report.wording import (
    MISSING,
    is_number,
    nats,
    nats_interval,
    p_value,
    percent,
    percent_interval,
    plain,
    points,
    points_interval,
    signed,
)

_METRICS = {
    "asr": "attack success rate",
    "over_refusal": "over-refusal",
    "coherence": "coherent responses",
    "held_out_loss": "held-out loss",
    "held_out_change": "change of the held-out loss",
    "accuracy": "accuracy",
}


@dataclass(frozen=True)
class Cell:
    """A number with what a reader needs to judge it."""

    value: str
    interval: str = ""
    n: str = ""
    change: str = ""
    """Paired difference from the start model."""
    text: str = ""
    """An answer, where texts are shown."""
    plain: bool = False
    """Whether the value is not to stand out."""

    @property
    def notes(self) -> list[str]:
        """What there is below the value, an answer aside."""
        return [note for note in (self.interval, self.n, self.change) if note]


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row."""

    title: str
    columns: list[str]
    rows: list[list[Cell | str]]


def main_table(found: Lookup) -> Table:
    """One row per model with everything that the verdict weighs, under the primary judge."""
    data = found.data
    harmful = [suite for suite in suites_of(data, "asr") if suite != data.primary_suite]
    harmless, tasks = suites_of(data, "over_refusal"), suites_of(data, "accuracy")
    coherence = next((row.suite for row in data.results if row.metric == "coherence"), None)
    if any(row.metric == "coherence" and row.suite == data.primary_suite for row in data.results):
        coherence = data.primary_suite
    columns = [
        "Model",
        *(f"ASR on {suite}" for suite in (data.primary_suite, *harmful)),
        *(f"Over-refusal on {suite}" for suite in harmless),
        f"Coherent responses on {coherence}" if coherence else "Coherent responses",
        *(f"Accuracy on {task}" for task in tasks),
        "Held-out loss",
    ]
    rows: list[list[Cell | str]] = []
    for model in found.models:
        rates = [_rate_cell(found, model, suite, "asr") for suite in (data.primary_suite, *harmful)]
        rates += [_rate_cell(found, model, suite, "over_refusal") for suite in harmless]
        coherent = _rate_cell(found, model, coherence, "coherence") if coherence else Cell(MISSING)
        scores = [_rate_cell(found, model, task, "accuracy") for task in tasks]
        rows.append([model, *rates, coherent, *scores, _loss_cell(found, model)])
    return Table("Safety and usefulness", columns, rows)


def suites_of(data: ReportData, metric: str) -> list[str]:
    """The suites that a metric was measured on, in the order of the results."""
    return list(dict.fromkeys(row.suite for row in data.results if row.metric == metric))


def _cell(row: Result | None) -> Cell:
    """A result with its interval, n and unscored responses."""
    if row is None:
        return Cell(MISSING)
    unscored = f", {row.unscored} unscored" if row.unscored else ""
    if row.metric == "held_out_change":
        interval = MISSING if row.low is None or row.high is None else _signed_interval(row.low, row.high)
        return Cell(MISSING if row.value is None else signed(row.value, 3), interval, f"n = {row.n}")
    if row.metric == "held_out_loss":
        return Cell(nats(row.value), nats_interval(row.low, row.high), f"n = {row.n}{unscored}")
    if row.metric not in _METRICS:  # Scores of lm-eval may have any unit.
        low, high = row.low, row.high
        interval = MISSING if low is None or high is None else f"{low:.3f}–{high:.3f}"
        return Cell(MISSING if row.value is None else f"{row.value:.3f}", interval, f"n = {row.n}")
    return Cell(
        percent(row.value), percent_interval(row.low, row.high), f"n = {row.n}, {row.unscored} unscored"
    )


def _signed_interval(low: float, high: float) -> str:
    return f"{signed(low, 3)} to {signed(high, 3)}"


def _short(cell: Cell) -> Cell:
    """The same cell with all notes on one line."""
    return Cell(cell.value, "; ".join(cell.notes))


def _rate_cell(found: Lookup, model: str, suite: str, metric: str) -> Cell:
    judge = found.data.primary_judge if metric in ("asr", "over_refusal") else None
    cell = _cell(found.result(model, suite, metric, judge))
    paired = found.comparison(model, found.start, suite, metric)
    if paired is None or model == found.start:
        return cell
    change = f"{points(paired.difference)}, {p_value(paired.p_value)}"
    return Cell(cell.value, cell.interval, cell.n, change)


def _loss_cell(found: Lookup, model: str) -> Cell:
    row = found.result(model, None, "held_out_loss", None)
    cell = _cell(row)
    before, after = found.loss(found.start), found.loss(model)
    if model == found.start or before is None or after is None:
        return cell
    paired = found.result(model, None, "held_out_change", None)
    change = signed(after - before, 3)
    if paired is not None and paired.low is not None and paired.high is not None:
        change = f"{change} ({_signed_interval(paired.low, paired.high)})"
    if found.improved(model) is False:
        change = f"{change}: no gain"
    return Cell(cell.value, cell.interval, cell.n, change)


def judge_tables(found: Lookup) -> list[Table]:
    """One table per suite with every judge beside the others."""
    data = found.data
    pairs = dict.fromkeys(
        (row.metric, row.suite)
        for row in sorted(
            data.results, key=lambda row: (row.metric != "asr", row.suite != data.primary_suite)
        )
        if row.metric in ("asr", "over_refusal") and row.judge is not None
    )
    tables = []
    for metric, suite in pairs:
        judges = list(
            dict.fromkeys(
                row.judge
                for row in data.results
                if (row.metric, row.suite) == (metric, suite) and row.judge is not None
            )
        )
        judges.sort(key=lambda judge: judge != data.primary_judge)
        rows: list[list[Cell | str]] = [
            [model, *(_short(_cell(found.result(model, suite, metric, judge))) for judge in judges)]
            for model in found.models
        ]
        label = "ASR" if metric == "asr" else "Over-refusal"
        tables.append(Table(f"{label} on {suite}", ["Model", *judges], rows))
    return tables


def matched_table(found: Lookup) -> Table:
    """ASR against the uniform-rate curve at the same held-out loss."""
    data = found.data
    primary = (data.primary_suite, data.primary_judge)
    ordered = sorted(data.matched, key=lambda row: (row.suite, row.judge) != primary)
    rows: list[list[Cell | str]] = [
        [
            row.model,
            row.suite,
            row.judge,
            nats(row.loss),
            percent(row.value),
            percent(row.reference),
            Cell(points(row.difference), points_interval(row.low, row.high), f"n = {row.n}"),
            _reading(found, row),
        ]
        for row in ordered
    ]
    columns = ["Model", "Suite", "Judge", "Held-out loss", "ASR", "Uniform rate at that loss"]
    return Table("At the same held-out loss", [*columns, "Difference", "Reading"], filled(rows))


def _reading(found: Lookup, row: MatchedComparison) -> str:
    if row.low is None or row.high is None or not (is_number(row.low) and is_number(row.high)):
        return row.note or MISSING
    if found.improved(row.model) is False:
        reading = "less trained: held-out loss did not measurably improve"
    elif row.high < 0:
        reading = f"safer than a {found.uniform_rate}"
    else:
        reading = f"less safe than a {found.uniform_rate}" if row.low > 0 else "not distinguishable"
    return f"{reading} ({row.note})" if row.note else reading


def comparison_table(data: ReportData) -> Table:
    """Every paired comparison."""
    rows: list[list[Cell | str]] = [
        [
            f"{row.model} against {row.against}",
            row.suite,
            _METRICS.get(row.metric, row.metric),
            row.judge or MISSING,
            plain(row.n),
            f"{row.only_model} / {row.only_against}",
            points(row.difference),
            points_interval(row.low, row.high),
            p_value(row.p_value),
        ]
        for row in data.comparisons
    ]
    columns = ["Models", "Suite", "Metric", "Judge", "n", "Only first / only second", "Difference"]
    return Table("Paired comparisons", [*columns, "95% interval", "McNemar test"], filled(rows))


def result_table(data: ReportData) -> Table:
    """Every number about a model."""
    rows: list[list[Cell | str]] = []
    for row in data.results:
        cell = _cell(row)
        name = _METRICS.get(row.metric, row.metric)
        numbers: list[Cell | str] = [cell.value, cell.interval or MISSING, plain(row.n), plain(row.unscored)]
        rows.append([row.model, row.suite, name, row.judge or MISSING, *numbers])
    columns = ["Model", "Suite", "Metric", "Judge", "Value", "95% interval", "n", "Unscored"]
    return Table("All results", columns, filled(rows))


def filled(rows: list[list[Cell | str]]) -> list[list[Cell | str]]:
    """Replace empty entries by `n/a`."""
    return [[entry if entry != "" else MISSING for entry in row] for row in rows]
