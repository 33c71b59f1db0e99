"""ASR against held-out loss: the trade-off that the report is about, as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from securetune.report.data import Result
from securetune.report.lookup import Lookup
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
from securetune.report.wording import is_number, nats, percent

_SIZE = (760, 420)
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 740, 18, 366
_CHARACTER, _HEIGHT, _RADIUS, _ARROW = 6.9, 15, 6, 24


@dataclass(frozen=True)
class _Point:
    model: str
    loss: Result
    asr: Result
    x: float
    y: float
    on_curve: bool


def draw_scatter(found: Lookup) -> tuple[Markup, bool] | None:
    """Return the figure and whether loss intervals run past its frame; `None` with nothing to draw."""
    rows = _rows(found)
    if not rows:
        return None
    losses = [loss.value for _, loss, _ in rows if loss.value is not None]
    ends = [end for _, loss, _ in rows for end in (loss.low, loss.high) if end is not None]
    full = spread([*losses, *ends], 0.05)
    narrow = spread(losses, 0.25)
    # Rows differ far more than models do: the intervals would squeeze the points into one spot.
    clipped = full[1] - full[0] > 3 * (narrow[1] - narrow[0])
    across = Axis(*(narrow if clipped else full), _LEFT, _RIGHT)
    rates = [asr.value or 0 for _, _, asr in rows] + [asr.high for _, _, asr in rows if asr.high is not None]
    up = Axis(0, max(0.1, min(1.0, max(rates) * 1.08)), _BOTTOM, _TOP)
    curve = {found.start, found.vanilla, *found.uniform}
    points = [
        _Point(model, loss, asr, across.clamp(loss.value or 0), up.clamp(asr.value or 0), model in curve)
        for model, loss, asr in rows
    ]
    places = {p.model: (p.x, p.y) for p in points}
    reference = [places[model] for model in found.curve if model in places]
    parts = [*safety_frame(across, up)]
    if len(reference) > 1:
        parts.append(polyline(reference, "curve"))
    parts += [bar for point in points for bar in _bars(point, across, up, clipped)]
    parts += [_marker(point) for point in points]
    parts += _labels(points, reference, up)
    description = "; ".join(
        f"{p.model}: ASR {percent(p.asr.value)} at held-out loss {nats(p.loss.value)}" for p in points
    )
    title = "ASR against held-out loss, with 95% intervals"
    return figure("scatter", title, description, _SIZE, parts), clipped


def _rows(found: Lookup) -> list[tuple[str, Result, Result]]:
    rows = []
    for model in found.models:
        loss, asr = found.result(model, None, "held_out_loss", None), found.asr(model)
        if loss is not None and asr is not None and is_number(loss.value) and is_number(asr.value):
            rows.append((model, loss, asr))
    return rows


def _bars(point: _Point, across: Axis, up: Axis, clipped: bool) -> list[Markup]:
    parts = []
    if point.asr.low is not None and point.asr.high is not None:
        parts.append(line(point.x, up.clamp(point.asr.low), point.x, up.clamp(point.asr.high), "bar"))
    if point.loss.low is not None and point.loss.high is not None:
        left, right = across.clamp(point.loss.low), across.clamp(point.loss.high)
        if clipped:
            # Bars across the whole frame would say less: arrows stand for "further than shown".
            left, right = max(left, point.x - _ARROW), min(right, point.x + _ARROW)
            for tip, inward in ((left, 4), (right, -4)):
                corner = [(tip + inward, point.y - 3), (tip, point.y), (tip + inward, point.y + 3)]
                parts.append(polyline(corner, "bar"))
        parts.append(line(left, point.y, right, point.y, "bar"))
    return parts


def _marker(point: _Point) -> Markup:
    hover = element("title", f"{point.model}: ASR {percent(point.asr.value)}, loss {nats(point.loss.value)}")
    if point.on_curve:
        return element("circle", hover, cx=point.x, cy=point.y, r=4.5, class_="reference")
    x, y, r = point.x, point.y, _RADIUS
    corners = f"{x:.1f},{y - r:.1f} {x + r:.1f},{y:.1f} {x:.1f},{y + r:.1f} {x - r:.1f},{y:.1f}"
    return element("polygon", hover, points=corners, class_="strategy")


def _labels(points: list[_Point], reference: list[tuple[float, float]], up: Axis) -> list[Markup]:
    """Put each label where it covers the least: beside, above or below its point."""
    taken = [(p.x - _RADIUS, p.y - _RADIUS, p.x + _RADIUS, p.y + _RADIUS) for p in points]
    for p in points:
        if p.asr.low is not None and p.asr.high is not None:
            taken.append((p.x - 2, up.clamp(p.asr.high), p.x + 2, up.clamp(p.asr.low)))
        taken.append((p.x - _ARROW, p.y - 3, p.x + _ARROW, p.y + 3))
    for (x1, y1), (x2, y2) in pairwise(reference):
        steps = 12
        for step in range(steps + 1):
            x, y = x1 + (x2 - x1) * step / steps, y1 + (y2 - y1) * step / steps
            taken.append((x - 2, y - 2, x + 2, y + 2))
    parts = []
    for point in points:
        content = shortened(point.model, 28)
        width = len(content) * _CHARACTER
        best: tuple[float, tuple[float, float, float, float]] | None = None
        for order, (dx, dy) in enumerate(_places(width)):
            x, y = point.x + dx, point.y + dy
            box = (x, y - _HEIGHT + 3, x + width, y + 3)
            outside = x < _LEFT or box[2] > _RIGHT + 16 or box[1] < 2 or box[3] > _BOTTOM
            cost = sum(_overlap(box, other) for other in taken) + order + (1e6 if outside else 0)
            if best is None or cost < best[0]:
                best = (cost, box)
        assert best is not None
        taken.append(best[1])
        parts.append(text(content, best[1][0], best[1][3] - 3, class_="name"))
    return parts


def _places(width: float) -> list[tuple[float, float]]:
    near, far = 10, 26
    return [
        (near, -6),
        (near, 14),
        (-near - width, -6),
        (-near - width, 14),
        (near, -far),
        (near, far + 8),
        (-near - width, -far),
        (-near - width, far + 8),
    ]


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
