"""How the report writes numbers and text: one form for each kind of value, `n/a` for what is missing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from securetune.report.data import ReportData

MISSING = "n/a"
_MINUS = "\u2212"

# Everything but the newline. Directional overrides could make a line read in another order, and half of a
# surrogate pair cannot be written as UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_number(value: object) -> bool:
    """Return whether `value` is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def told_system_prompt(text: str | None) -> str:
    """A system prompt that was asked for; an empty one replaces the template's own as well."""
    return "the chat template's own" if text is None else text or "(empty)"


def percent(value: float | None) -> str:
    """A rate in [0, 1] as a percentage with one decimal."""
    return MISSING if value is None or not is_number(value) else f"{value * 100:.1f}%"


def percent_interval(low: float | None, high: float | None) -> str:
    """Both ends of the interval of a rate."""
    if low is None or high is None or not (is_number(low) and is_number(high)):
        return MISSING
    return f"{low * 100:.1f}–{high * 100:.1f}%"


def points(value: float | None) -> str:
    """A difference of two rates in percentage points, with its sign."""
    return MISSING if value is None or not is_number(value) else f"{signed(value * 100, 1)} points"


def points_interval(low: float | None, high: float | None) -> str:
    """Both ends of the interval of a difference of rates."""
    if low is None or high is None or not (is_number(low) and is_number(high)):
        return MISSING
    return f"{signed(low * 100, 1)} to {signed(high * 100, 1)} points"


def nats(value: float | None) -> str:
    """A loss in nats per token."""
    return MISSING if value is None or not is_number(value) else f"{value:.3f}"


def nats_interval(low: float | None, high: float | None) -> str:
    """Both ends of the interval of a loss."""
    if low is None or high is None or not (is_number(low) and is_number(high)):
        return MISSING
    return f"{low:.3f}–{high:.3f}"


def p_value(value: float | None) -> str:
    """`p = 0.023`; below a thousandth `p < 0.001`."""
    if value is None or not is_number(value):
        return f"p {MISSING}"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def signed(value: float, digits: int) -> str:
    """A number with its sign; zero has none."""
    text = f"{abs(value):.{digits}f}"
    if not float(text):
        return text
    return f"{_MINUS if value < 0 else '+'}{text}"


def plain(value: object) -> str:
    """Any other value: numbers short and grouped, sequences joined, `n/a` for nothing."""
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(part) for part in value) or MISSING
    return str(value)


def facts(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Name and value of each entry; nested mappings with dotted names."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        rows += facts(value, f"{name}.") if isinstance(value, Mapping) else [(name, plain(value))]
    return rows


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def printable(text: str) -> str:
    """Return text without control characters; newlines stay, other line and column breaks become spaces."""
    text = re.sub("[\t\v\f\u2028\u2029]", " ", text.replace("\r\n", "\n"))
    return _SURROGATE.sub("\ufffd", _UNPRINTABLE.sub("", text))


def printable_data(data: ReportData) -> ReportData:
    """Return the same data with every string, mapping keys included, made printable."""
    return ReportData.from_json(_printable(data.to_json()))


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): _printable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(entry) for entry in value]
    return value
