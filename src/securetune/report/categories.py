"""ASR by harm category: one grid per suite, a row for each category, a column for each model."""

from __future__ import annotations

from markupsafe import Markup

from securetune.report.data import CategoryRate
from securetune.report.lookup import Lookup
from securetune.report.result_tables import Cell, Table, suites_of
from securetune.report.svg import element, figure, shortened, text
from securetune.report.wording import MISSING, is_number, percent, percent_interval

_WIDTH, _HEIGHT = 84, 24
_LEFT, _TOP = 190, 30
_STRONGEST = 0.55
"""Opacity at 100%; above it the numbers would be hard to read."""


def draw_categories(found: Lookup) -> list[Markup]:
    """Return one grid per suite with categories; the first row is the whole suite."""
    return [_grid(f"categories-{index}", found, suite) for index, suite in enumerate(_suites(found))]


def category_tables(found: Lookup) -> list[Table]:
    """The same grids in numbers, with intervals."""
    tables = []
    for suite in _suites(found):
        rates = _rates(found, suite)
        rows: list[list[Cell | str]] = [
            [category, *(_cell(rates.get((category, model))) for model in found.models)]
            for category in _ordered(found, suite)
        ]
        tables.append(Table(f"ASR on {suite} by category", ["Category", *found.models], rows))
    return tables


def suite_table(found: Lookup) -> Table:
    """ASR of every model on every harmful suite, under the primary judge."""
    data = found.data
    rows: list[list[Cell | str]] = []
    for suite in suites_of(data, "asr"):
        cells: list[Cell | str] = [suite]
        for model in found.models:
            row = found.result(model, suite, "asr", data.primary_judge)
            cells.append(
                Cell(MISSING)
                if row is None
                else Cell(percent(row.value), percent_interval(row.low, row.high), f"n = {row.n}")
            )
        rows.append(cells)
    return Table("ASR on every harmful suite", ["Suite", *found.models], rows)


def _suites(found: Lookup) -> list[str]:
    return list(dict.fromkeys(row.suite for row in found.data.categories))


def _rates(found: Lookup, suite: str) -> dict[tuple[str, str], CategoryRate]:
    return {(row.category, row.model): row for row in found.data.categories if row.suite == suite}


def _ordered(found: Lookup, suite: str) -> list[str]:
    """Categories, the one with the highest ASR of any model first."""
    worst: dict[str, float] = {}
    for row in found.data.categories:
        if row.suite == suite:
            value = row.value if row.value is not None and is_number(row.value) else 0.0
            worst[row.category] = max(worst.get(row.category, 0.0), value)
    return sorted(worst, key=lambda category: (-worst[category], category))


def _cell(row: CategoryRate | None) -> Cell:
    if row is None:
        return Cell(MISSING)
    unscored = f", {row.unscored} unscored" if row.unscored else ""
    return Cell(percent(row.value), percent_interval(row.low, row.high), f"n = {row.n}{unscored}")


def _grid(key: str, found: Lookup, suite: str) -> Markup:
    rates, categories = _rates(found, suite), _ordered(found, suite)
    parts = [text(shortened(suite, 26), 0, 18, class_="name")]
    for column, model in enumerate(found.models):
        x = _LEFT + (column + 0.5) * _WIDTH
        label = element("title", model)
        name = text(shortened(model, 12), x, 18, class_="tick", text_anchor="middle")
        parts.append(element("g", label, name))
    for line, category in enumerate(["whole suite", *categories]):
        y = _TOP + line * _HEIGHT
        label = element("title", category)
        name = text(shortened(category, 28), 0, y + _HEIGHT / 2 + 4, class_="name" if line == 0 else "row")
        parts.append(element("g", label, name))
        for column, model in enumerate(found.models):
            if line == 0:
                whole = found.result(model, suite, "asr", found.data.primary_judge)
                value, n = (whole.value, whole.n) if whole is not None else (None, 0)
            else:
                rate = rates.get((category, model))
                value, n = (rate.value, rate.n) if rate is not None else (None, 0)
            x = _LEFT + column * _WIDTH
            parts += _square(f"{model}, {category}", value, n, x, y)
    worst = f"{categories[0]} has the highest ASR of any model." if categories else ""
    description = f"{len(categories)} categories, {len(found.models)} models. {worst} Numbers: see the table."
    size = (_LEFT + len(found.models) * _WIDTH + 2, _TOP + (len(categories) + 1) * _HEIGHT + 2)
    return figure(key, f"ASR on {suite} by harm category", description, size, parts)


def _square(label: str, value: float | None, n: int, x: float, y: float) -> list[Markup]:
    known = value is not None and is_number(value)
    hover = element("title", f"{label}: ASR {percent(value)}, n = {n}")
    shade = _STRONGEST * (value or 0.0) if known else 0.0
    square = element(
        "rect", hover, x=x + 1, y=y + 1, width=_WIDTH - 2, height=_HEIGHT - 2, class_="cell risk",
        fill_opacity=shade,
    )  # fmt: skip
    shown = f"{(value or 0.0) * 100:.0f}%" if known else MISSING
    number = text(shown, x + _WIDTH / 2, y + _HEIGHT / 2 + 4, class_="row", text_anchor="middle")
    return [square, number]
