"""A comparison as one HTML file: the curves as SVG, then the tables of `comparison.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from securetune.compare.tables import write_tables
from securetune.evaluation.statistics import falling
from securetune.report.build import templates
from securetune.report.svg import (
    Axis,
    element,
    figure,
    line,
    polyline,
    safety_frame,
    shortened,
    spread,
    text,
)
from securetune.report.wording import nats, percent, printable

_SIZE = (960, 440)
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 680, 18, 386
_LEGEND = 712
_COLOURS, _DASHES = 5, ("", "6 4", "2 3", "8 3 2 3")
Row = Mapping[str, Any]


def render_page(content: Mapping[str, Any], title: str) -> str:
    """One HTML page without script and without any reference to another file.

    Args:
        content: what `describe_cells` found.
        title: of the page.
    """
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return (
        templates("html")
        .get_template("comparison.html")
        .render(
            title=printable(title),
            created=made,
            recommendation=printable(content["ranking"]["sentence"]),
            suite=printable(content["primary"]),
            judge=printable(content["judge"]),
            curves=draw_curves(content),
            tables=_tables(printable(write_tables(content))),
        )
    )


def lines_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Strategy -> the points of its curve, the start model first.

    Plain tuning runs over its rates, and over the checkpoints of one rate as `early-stopping`; other
    strategies run over their rates if they have several, else over their checkpoints.

    Args:
        rows: `curves` of `comparison.json`.
    """
    start = [row for row in rows if row["model"] == "start"]
    lines: dict[str, list[Row]] = {}
    for name in dict.fromkeys(row["model"] for row in rows if row["model"] != "start"):
        own = [row for row in rows if row["model"] == name]
        rates = sorted({row["rate"] for row in own})
        last = max(row["step"] for row in own)
        if name == "vanilla" or len(rates) > 1:
            lines[name] = [*start, *(row for rate in rates for row in own if _is(row, rate, last))]
        else:
            lines[name] = [*start, *sorted(own, key=lambda row: int(row["step"]))]
        one = 1.0 if 1.0 in rates else rates[-1]
        checkpoints = sorted((row for row in own if row["rate"] == one), key=lambda row: int(row["step"]))
        if name == "vanilla" and len(checkpoints) > 1:
            lines["early-stopping"] = [*start, *checkpoints]
    return lines


def left_out(rows: Sequence[Row]) -> list[str | None]:
    """Why the points of one line are not on its curve, in their order; `None`: they are.

    Weak points carry no verdict; others gained nothing in held-out loss over those before them.
    """
    # The start model is where every curve begins.
    reasons = [None if row["model"] == "start" else row["weak"] for row in rows]
    strong = [index for index, reason in enumerate(reasons) if reason is None]
    on = {strong[i] for i in falling([(index, rows[index]["held_out_loss"]) for index in strong])}
    return [
        reason if reason is not None or index in on else "no lower held-out loss than before"
        for index, reason in enumerate(reasons)
    ]


def _is(row: Row, rate: float, step: int) -> bool:
    return bool(row["rate"] == rate and row["step"] == step)


def draw_curves(content: Mapping[str, Any]) -> Markup | None:
    """ASR against held-out loss, one line per strategy with 95% intervals; `None` with nothing to draw.

    Points that are not on a curve stand beside it as hollow markers.
    """
    lines = lines_of([row for row in content["curves"] if row["asr"]["value"] is not None])
    points = [row for own in lines.values() for row in own]
    if not points:
        return None
    across = Axis(*spread([row["held_out_loss"] for row in points], 0.05), _LEFT, _RIGHT)
    highest = max(row["asr"]["high"] or row["asr"]["value"] for row in points)
    up = Axis(0, max(0.1, min(1.0, highest * 1.08)), _BOTTOM, _TOP)
    parts = safety_frame(across, up)
    for index, (name, own) in enumerate(lines.items()):
        parts.append(_line(index, name, own, across, up))
    described = "; ".join(
        f"{name}: "
        + ", ".join(
            f"ASR {percent(row['asr']['value'])} at held-out loss {nats(row['held_out_loss'])}"
            + (f" (not on the curve: {reason})" if reason else "")
            for row, reason in zip(own, left_out(own))
        )
        for name, own in lines.items()
    )
    title = "ASR against held-out loss, one line per strategy, with 95% intervals"
    return figure("curves", title, printable(described), _SIZE, parts)


def _line(index: int, name: str, rows: Sequence[Row], across: Axis, up: Axis) -> Markup:
    """One strategy's bars, line and markers, and its entry in the legend."""
    places = [(across(row["held_out_loss"]), up.clamp(row["asr"]["value"])) for row in rows]
    reasons = left_out(rows)
    parts = [
        line(x, up.clamp(row["asr"]["low"]), x, up.clamp(row["asr"]["high"]), "series-bar")
        for (x, _), row in zip(places, rows)
        if row["asr"]["low"] is not None and row["asr"]["high"] is not None
    ]
    parts.append(polyline([place for place, reason in zip(places, reasons) if reason is None], "series"))
    for (x, y), row, reason in zip(places, rows, reasons):
        rate = percent(row["asr"]["value"])
        where = f"rate {row['rate']:g}, step {row['step']}"
        told = f"{name}, {where}: ASR {rate}, loss {nats(row['held_out_loss'])}, n = {row['asr']['n']}"
        told += f"; not on the curve: {reason}" if reason else ""
        parts.append(_marker(index, x, y, printable(told), hollow=reason is not None))
    height = _TOP + 10 + 20 * index
    parts.append(polyline([(_LEGEND, height), (_LEGEND + 34, height)], "series"))
    parts.append(_marker(index, _LEGEND + 17, height, name))
    parts.append(text(shortened(printable(name), 26), _LEGEND + 42, height + 4, class_="name"))
    dash = _DASHES[index // _COLOURS % len(_DASHES)]
    return element("g", *parts, class_=f"series-{index % _COLOURS}", stroke_dasharray=dash or "none")


def _marker(index: int, x: float, y: float, told: str, *, hollow: bool = False) -> Markup:
    """A circle, square, diamond or triangle: colours alone do not tell lines apart."""
    kind = "series-mark series-out" if hollow else "series-mark"
    hover = element("title", told)
    shape, r = index % 4, 4.5
    if shape == 0:
        return element("circle", hover, cx=x, cy=y, r=r, class_=kind)
    corners = {
        1: ((-r, -r), (r, -r), (r, r), (-r, r)),
        2: ((0, -r - 1.5), (r + 1.5, 0), (0, r + 1.5), (-r - 1.5, 0)),
        3: ((0, -r - 1), (r + 1, r), (-r - 1, r)),
    }[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return element("polygon", hover, points=points, class_=kind)


def _tables(markdown: str) -> Markup:
    """HTML of our own Markdown: headings, tables, lists, emphasis and code; no links, images or raw HTML."""
    parser = MarkdownIt("zero", {"html": False}).enable(
        ["heading", "table", "list", "emphasis", "backticks", "escape"]
    )
    parser.add_render_rule("table_open", lambda *_: _BOX)
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = parser.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h2"
    return Markup(parser.renderer.render(tokens, parser.options, {}))


_BOX = '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>\n'
