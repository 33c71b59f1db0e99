"""`full.json` as Markdown tables, for a terminal and for documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

LARGEST = 3
"""Residuals that are named for each proxy."""

Row = Mapping[str, Any]
Columns = Mapping[str, Callable[[Row], str]]
"""Header -> what a row shows."""


def markdown(content: Row) -> str:
    """Every section that `full.json` has as a table with a line above it that says what is compared.

    Args:
        content: of `full.json`, see `securetune.analysis.full.examine`.
    """
    against = f"against the {content['reference']}"
    compared: Columns = {
        "rank correlation [95%]": _interval("spearman"),
        "n": lambda row: str(row["n"]),
        "overlap (chance)": lambda row: f"{row['iou']:.2f} ({row['chance']:.2f})",
    }
    probes: Columns = {
        "AUROC": _of("auroc"),
        "shuffled labels": _of("shuffled_auroc"),
        "bag of words": _of("bag_of_words_auroc"),
    }
    draws: Columns = {"split-half over draws": _of("split_half_draws")}
    tables: dict[str, tuple[str, Columns]] = {
        "patterns": ("Patterns", _PATTERNS),
        "proxies": (f"Proxies, {against}", {"proxy": _what, **compared}),
        "specificity": (
            "Specificity: drift that generic drift explains, and the largest residuals of log drift",
            _SPECIFICITY,
        ),
        "probes": (
            "Probes, against the closed form of the probe in use",
            {"probe": _what, **probes, **compared},
        ),
        "stability": (
            "Stability: maps that differ by chance; halves and seeds against each other, prompts against the "
            "map's",
            {"maps": _what, **compared},
        ),
        "perturbations": (
            f"Perturbations, sampled, {against} on the same matrices and prompts",
            {"perturbation": _what, **compared, **draws},
        ),
        "joint": ("Joint drift; predicted: root of the sum of squares of the closed form", _JOINT),
        "refit": (
            "Moved or destroyed: AUROC on perturbed states of prompts that no probe was fitted on",
            _REFIT,
        ),
    }
    found = dict(content)
    if "specificity" in found:
        found["specificity"] = [{"what": name, **row} for name, row in content["specificity"].items()]
    shown = [
        _table(title, found[name], columns) for name, (title, columns) in tables.items() if name in found
    ]
    return "\n\n".join([content["sentence"], *shown, _reliability(content)])


def _table(title: str, rows: Iterable[Row], columns: Columns) -> str:
    """A title line and a table; a row with a `note` shows it in place of its values."""
    lines = [f"{title}:", "", _line(columns), _line(["---"] * len(columns))]
    for row in rows:
        if "note" in row:
            cells = [str(row["what"]), str(row["note"]), *[""] * (len(columns) - 2)]
        else:
            cells = [show(row) for show in columns.values()]
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _reliability(content: Row) -> str:
    needed, halves = content["prompts_needed"], content["split_half"]
    curve = [{"n": n, "value": value} for n, value in needed["curve"].items()]
    table = _table(
        "Reliability: rank correlation of the maps of n prompts and of n others",
        curve,
        {"prompts": lambda row: str(row["n"]), "rank correlation": _of("value")},
    )
    enough = f"{needed['enough']:g} is reached with {needed['needed']} prompts"
    if needed["needed"] is None:
        enough = f"{needed['enough']:g} is not reached"
    over_draws = "" if halves["draws"] is None else f"; over draws {_number(halves['draws'])}"
    return f"{table}\n\n{enough}. Split-half over prompts {_number(halves['prompts'])}{over_draws}."


def _what(row: Row) -> str:
    return str(row["what"])


def _of(key: str) -> Callable[[Row], str]:
    return lambda row: _number(row[key])


def _interval(key: str) -> Callable[[Row], str]:
    """A value with the interval beside it."""

    def show(row: Row) -> str:
        if row[key] is None:
            return "n/a"
        if row["low"] is None:
            return _number(row[key])
        return f"{_number(row[key])} [{_number(row['low'])}, {_number(row['high'])}]"

    return show


def _largest(row: Row) -> str:
    """The addresses with the largest residuals, in either direction."""
    order = sorted(row["residual"].items(), key=lambda item: -abs(item[1]))
    return ", ".join(f"{address} {value:+.2f}" for address, value in order[:LARGEST])


def _percent(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key]:.1%}"


def _spread(values: Sequence[float | None]) -> str:
    """Smallest to largest of the draws."""
    known = [value for value in values if value is not None]
    return f"{min(known):.3f} to {max(known):.3f}" if len(known) > 1 else ""


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


_PATTERNS: Columns = {
    "pattern": lambda row: str(row["pattern"]),
    "noise": lambda row: _plain(row["noise"]),
    "effect": lambda row: "n/a" if row["effect"] is None else f"{row['effect']:+.3f}",
    "p": lambda row: "n/a" if row["p_value"] is None else f"{row['p_value']:.2g}",
    "n": lambda row: str(row["n"]),
}
_SPECIFICITY: Columns = {
    "proxy": _what,
    "R squared [95%]": _interval("explained"),
    "rank correlation": _of("spearman"),
    "n": lambda row: str(row["n"]),
    "split-half of the generic map": _of("generic_split_half"),
    "largest residuals": _largest,
}
_JOINT: Columns = {
    "perturbed": lambda row: str(row["set"]),
    "share": _percent("share"),
    "matrices": lambda row: str(row["matrices"]),
    "noise": lambda row: _plain(row["noise"]),
    "draws": lambda row: str(len(row["draws"])),
    "predicted": lambda row: f"{row['predicted']:.3g}",
    "measured": lambda row: f"{row['measured']:.3g}",
    "ratio": lambda row: f"{row['ratio']:.2f}",
}
_REFIT: Columns = {
    "perturbed": _what,
    "noise": lambda row: _plain(row["noise"]),
    "unperturbed": _of("unperturbed_auroc"),
    "frozen": _of("frozen_auroc"),
    "frozen, draws": lambda row: _spread(row["frozen_draws"]),
    "frozen, recall": _percent("frozen_recall"),
    "fitted again": _of("refitted_auroc"),
    "fitted again, draws": lambda row: _spread(row["refitted_draws"]),
    "recovered": lambda row: "" if row["recovered"] is None else f"{row['recovered']:.0%}",
}
