"""Small panels over optimizer steps, one per tuned model, plain tuning faintly behind: loss and safety."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from securetune.report.lookup import Lookup
from securetune.report.svg import Axis, decimals, element, figure, line, polyline, shortened, spread, text
from securetune.report.wording import is_number, nats, percent, signed

_SIZE = (300, 190)
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 286, 30, 150
_MOST_POINTS = 300

Curve = list[tuple[int, float]]
_MEASURES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "drift": ("Drift of the probe", nats),
    "refusal_margin": ("Refusal margin", lambda value: signed(value, 2)),
    "asr": ("ASR", percent),
}
"""Measure of the safety callback -> its name, and how its values are written."""


def draw_training(found: Lookup) -> list[Markup]:
    """Return one panel of training losses per tuned model, all with the same axes."""
    curves = {entry.model: list(entry.losses) for entry in found.data.training}
    return _panels("training", "Training loss", curves, found.vanilla, nats)


def draw_timeline(found: Lookup) -> list[tuple[str, list[Markup]]]:
    """Return, per measure of safety, its name and one panel per model that was watched while it was tuned."""
    drawn = []
    for measure, (name, written) in _MEASURES.items():
        curves: dict[str, Curve] = {}
        for point in found.data.timeline:
            if point.metric == measure:
                curves.setdefault(point.model, []).append((point.step, point.value))
        if panels := _panels(f"timeline-{measure}", name, curves, found.vanilla, written):
            drawn.append((name, panels))
    return drawn


def _panels(
    key: str,
    what: str,
    curves: Mapping[str, Curve],
    behind: str,
    written: Callable[[float], str],
) -> list[Markup]:
    curves = {model: _points(curve) for model, curve in curves.items()}
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return []
    across = Axis(0, max(1, *(step for step, _ in points)), _LEFT, _RIGHT)
    up = Axis(*spread([value for _, value in points], 0.06), _BOTTOM, _TOP)
    faint = curves.get(behind, [])
    return [
        _panel(f"{key}-{index}", f"{what} of {model}", model, curve, faint, across, up, written)
        for index, (model, curve) in enumerate(curves.items())
    ]


def _points(values: Sequence[tuple[int, float]]) -> Curve:
    points = [(step, value) for step, value in values if is_number(value)]
    stride = -(-len(points) // _MOST_POINTS) or 1
    # Counted from the end, so that the last point stays.
    return points[::-1][::stride][::-1]


def _panel(
    key: str,
    title: str,
    model: str,
    curve: Curve,
    behind: Curve,
    across: Axis,
    up: Axis,
    written: Callable[[float], str],
) -> Markup:
    parts = [text(shortened(model, 34), _LEFT, 17, class_="name")]
    ticks = up.ticks(3)
    digits = decimals(ticks)
    for tick in ticks:
        parts.append(line(_LEFT, up(tick), _RIGHT, up(tick), "grid"))
        label = f"{tick:.{digits}f}"
        parts.append(text(label, _LEFT - 6, up(tick) + 4, class_="tick", text_anchor="end"))
    for tick in across.ticks(4):
        if tick == int(tick):
            parts.append(line(across(tick), _BOTTOM, across(tick), _BOTTOM + 4, "axis"))
            parts.append(text(f"{tick:g}", across(tick), _BOTTOM + 17, class_="tick", text_anchor="middle"))
    parts.append(line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis"))
    parts.append(
        text("optimizer step", (_LEFT + _RIGHT) / 2, _BOTTOM + 34, class_="tick", text_anchor="middle")
    )
    if behind != curve:
        parts.append(polyline([(across(step), up(value)) for step, value in behind], "behind"))
    parts.append(polyline([(across(step), up(value)) for step, value in curve], "loss"))
    if not curve:
        return figure(key, title, "Nothing was logged.", _SIZE, parts)
    parts.append(element("circle", cx=across(curve[-1][0]), cy=up(curve[-1][1]), r=3, class_="end"))
    parts.append(text(f"last {written(curve[-1][1])}", _RIGHT, 17, class_="tick", text_anchor="end"))
    description = (
        f"From {written(curve[0][1])} at step {curve[0][0]} to {written(curve[-1][1])} at step "
        f"{curve[-1][0]}."
    )
    return figure(key, title, description, _SIZE, parts)
