"""How far each layer's weights moved, beside how sensitive the layer is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import zip_longest

from markupsafe import Markup

from securetune.report.data import Training
from securetune.report.lookup import Lookup
from securetune.report.result_tables import Cell, Table
from securetune.report.svg import element, figure, line, shortened, text
from securetune.report.wording import MISSING, is_number, percent, plain

_LEFT, _PANEL, _BAR = 120, 76, 56
_LONGEST = 640
"""Pixels of all layers together."""


def draw_movement(found: Lookup) -> Markup | None:
    """Return one panel of sensitivity and one of movement per model, by layer; `None` without movements."""
    moved = {entry.model: layer_norms(entry.movement) for entry in found.data.training if entry.movement}
    moved = {model: norms for model, norms in moved.items() if norms}
    if not moved:
        return None
    drift = found.data.drift
    sensitivity = layer_norms(drift.drift) if drift is not None else []
    layers = max(len(sensitivity), *(len(norms) for norms in moved.values()))
    step = min(22.0, _LONGEST / layers)
    highest = max(max(norms) for norms in moved.values())
    panels = [("sensitivity", sensitivity, max(sensitivity), "drift")] if sensitivity else []
    panels += [(model, norms, highest, "bar-moved") for model, norms in moved.items()]
    parts: list[Markup] = []
    right = _LEFT + layers * step
    for index, (name, values, top, class_) in enumerate(panels):
        parts += _bars(name, values, top, class_, index * _PANEL + 18 + _BAR, step, right)
    bottom = len(panels) * _PANEL + 18
    every = 1 if layers <= 12 else 5
    for layer in range(0, layers, every):
        x = _LEFT + (layer + 0.5) * step
        parts.append(text(str(layer), x, bottom, class_="tick", text_anchor="middle"))
    parts.append(text("layer", _LEFT - 10, bottom, class_="tick", text_anchor="end"))
    description = "; ".join(
        f"{model}: ||dW|| {math.hypot(*norms):.3g} in all layers, most in layer {norms.index(max(norms))}"
        for model, norms in moved.items()
    )
    size = (max(right + 10, 420), bottom + 10)
    return figure("movement", "Movement of each layer beside its sensitivity", description, size, parts)


def _bars(
    name: str, values: list[float], top: float, class_: str, base: float, step: float, right: float
) -> list[Markup]:
    """One panel: its name, its highest value, one bar per layer."""
    said = text(shortened(name, 16), _LEFT - 10, base - 4, class_="name", text_anchor="end")
    parts = [
        element("g", element("title", name), said),
        text(f"{top:.3g}", _LEFT - 10, base - _BAR + 8, class_="tick", text_anchor="end"),
        line(_LEFT, base - _BAR, right, base - _BAR, "grid"),
        line(_LEFT, base, right, base, "axis"),
    ]
    for layer, value in enumerate(values):
        height = _BAR * value / top if top else 0.0
        what = "drift" if class_ == "drift" else "||dW||"
        hover = element("title", f"{name}, layer {layer}: {what} {value:.3g}")
        box = {"x": _LEFT + layer * step + 1, "y": base - height, "width": max(step - 2, 1)}
        parts.append(element("rect", hover, **box, height=height, class_=class_))
    return parts


def layer_norms(values: Mapping[str, float]) -> list[float]:
    """Root of the sum of squares over the modules of each layer; names that are no addresses are left out."""
    squares: dict[int, float] = {}
    for address, value in values.items():
        layer = address.partition(".")[0]
        if layer.isdecimal() and is_number(value):
            squares[int(layer)] = squares.get(int(layer), 0.0) + value * value
    return [math.sqrt(squares.get(layer, 0.0)) for layer in range(max(squares, default=-1) + 1)]


def movement_table(found: Lookup) -> Table:
    """Total movement of each model, and how it relates to the map."""
    drift = found.data.drift
    rows: list[list[Cell | str]] = []
    for entry in found.data.training:
        if not entry.movement:
            rows.append([entry.model, MISSING, MISSING, MISSING, entry.movement_note or MISSING])
            continue
        total = math.hypot(*entry.movement.values())
        outside = math.hypot(*(norm for name, norm in entry.movement.items() if not name[:1].isdecimal()))
        note = f"{plain(outside)} outside the layers" if outside else "–"
        robust = _share(entry, set(drift.robust)) if drift is not None else None
        rank = _rank_correlation(entry.movement, drift.drift) if drift is not None else None
        rows.append(
            [entry.model, plain(total), percent(robust), MISSING if rank is None else f"{rank:.2f}", note]
        )
    columns = ["Model", "Total movement ||dW||", "In the robust set", "Rank correlation with drift", "Notes"]
    return Table("Movement of the weights", columns, rows)


def layer_table(found: Lookup) -> Table:
    """The panels in numbers: sensitivity and movement by layer."""
    drift = found.data.drift
    moved = {entry.model: layer_norms(entry.movement) for entry in found.data.training if entry.movement}
    series = ([layer_norms(drift.drift)] if drift is not None else []) + list(moved.values())
    rows: list[list[Cell | str]] = [
        [str(layer), *(MISSING if value is None else f"{value:.3g}" for value in values)]
        for layer, values in enumerate(zip_longest(*series))
    ]
    names = ["Sensitivity"] * (drift is not None) + list(moved)
    return Table("Sensitivity and movement by layer", ["Layer", *names], rows)


def _share(entry: Training, chosen: set[str]) -> float | None:
    """Share of the squared movement that went into some modules."""
    assert entry.movement is not None
    total = sum(norm * norm for norm in entry.movement.values())
    inside = sum(norm * norm for address, norm in entry.movement.items() if address in chosen)
    return inside / total if total else None


def _rank_correlation(movement: Mapping[str, float], drift: Mapping[str, float]) -> float | None:
    """Spearman's, over the modules that both know; `None` of fewer than three or of constant values."""
    from scipy import stats

    both = [(movement[key], drift[key]) for key in movement if key in drift]
    first, second = ({pair[side] for pair in both} for side in (0, 1))
    if len(both) < 3 or len(first) < 2 or len(second) < 2:
        return None
    return float(stats.spearmanr([a for a, _ in both], [b for _, b in both]).statistic)
