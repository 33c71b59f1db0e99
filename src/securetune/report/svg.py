"""Building blocks of the figures: escaped elements, axes, ticks. No script, no colours outside style.css."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

Attribute = str | float | int


def element(name: str, *children: str, **attributes: Attribute) -> Markup:
    """Return one element; children and attributes are escaped unless they are `Markup`.

    `_` in attribute names stands for `-`, a trailing one is dropped (`class_`).
    """
    parts = [f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items()]
    inner = Markup("").join(children)
    return Markup(f"<{name}{''.join(parts)}>{inner}</{name}>")


def figure(
    key: str, title: str, description: str, size: tuple[float, float], children: Sequence[Markup]
) -> Markup:
    """Return an accessible `<svg>`; `key` makes its ids unique in the page."""
    width, height = size
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", description, id=f"{key}-desc"),
        *children,
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
    )


def text(content: str, x: float, y: float, **attributes: Attribute) -> Markup:
    """Return a text element."""
    return element("text", content, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Return a line through points."""
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def shortened(content: str, length: int) -> str:
    """Return at most `length` characters of a label, on one line."""
    content = " ".join(content.split())
    return content if len(content) <= length else content[: length - 1] + "…"


@dataclass(frozen=True)
class Axis:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def clamp(self, value: float) -> float:
        """The pixel of a value, moved to the nearer end if it lies outside."""
        return self(min(max(value, self.low), self.high))

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values within the range."""
        rough = (self.high - self.low) / max(count, 1)
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(
            factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999
        )
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def spread(values: Sequence[float], margin: float) -> tuple[float, float]:
    """Return the range of values with a margin (a share of the range); never empty."""
    low, high = min(values), max(values)
    room = (high - low) * margin or max(abs(high) * 0.05, 1e-3)
    return low - room, high + room


def decimals(ticks: Sequence[float]) -> int:
    """How many decimals tell the ticks apart."""
    gap = min((b - a for a, b in pairwise(ticks)), default=1.0)
    digits = 0
    while digits < 6 and abs(round(gap, digits) - gap) > gap * 0.01:
        digits += 1
    return digits


def _value(value: Attribute) -> str:
    if isinstance(value, str):
        return str(escape(value))
    rounded = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if rounded in ("-0", "") else rounded


def safety_frame(across: Axis, up: Axis) -> list[Markup]:
    """Grid, ticks and labels of a plot of ASR over held-out loss."""
    left, right, bottom, top = across.start, across.end, up.start, up.end
    parts = []
    for tick in up.ticks():
        parts.append(line(left, up(tick), right, up(tick), "grid"))
        parts.append(text(f"{tick * 100:g}%", left - 8, up(tick) + 4, class_="tick", text_anchor="end"))
    ticks = across.ticks(6)
    digits = decimals(ticks)
    for tick in ticks:
        parts.append(line(across(tick), bottom, across(tick), bottom + 5, "axis"))
        label = f"{tick:.{digits}f}"
        parts.append(text(label, across(tick), bottom + 19, class_="tick", text_anchor="middle"))
    parts.append(line(left, bottom, right, bottom, "axis"))
    label, middle = "held-out loss, nats per token (further left: learnt more)", (left + right) / 2
    parts.append(text(label, middle, bottom + 42, class_="label", text_anchor="middle"))
    label, middle = "ASR (further down: safer)", (top + bottom) / 2
    turn = f"rotate(-90 16 {middle:g})"
    parts.append(text(label, 16, middle, class_="label", text_anchor="middle", transform=turn))
    return parts
