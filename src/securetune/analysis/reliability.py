"""How far can a map be believed? Stability between maps, prompts needed, and what generic drift explains."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from securetune.analysis.halves import shuffled_units
from securetune.analysis.search import chance_overlap, iou, rank_units, take_share
from securetune.analysis.sensitivity import SensitivityMap, rank_correlation

ENOUGH = 0.95
"""Rank correlation with the map of all other prompts at which a map counts as stable (ours)."""


@dataclass(frozen=True)
class MapComparison:
    """One map against another of the same addresses."""

    what: str
    spearman: float | None
    low: float | None
    """95% interval, bootstrap over addresses."""
    high: float | None
    n: int
    """Addresses."""
    iou: float
    """Overlap of the sets that the two maps choose at the same share of parameters."""
    chance: float
    """The same overlap with the drifts of one map permuted: see `search.chance_overlap`."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dictionary."""
        return asdict(self)


def compare_maps(
    what: str,
    reference: SensitivityMap,
    other: SensitivityMap,
    share: float,
    granularity: str = "matrix",
    seed: int = 0,
) -> MapComparison:
    """Rank correlation with interval, and overlap of the chosen sets, of two maps.

    Args:
        what: how `other` differs.
        reference: a map of at least the addresses of `other`.
        other: the map to compare.
        share: of parameters in the sets.
        granularity: of the sets, see `search.units_of`.
        seed: of the bootstrap and of the permutations.
    """
    reference = reference.at(other.addresses)
    value, low, high = spearman_interval(reference.drift, other.drift, seed)
    sets = [take_share(rank_units(found, granularity), found.sizes, share) for found in (reference, other)]
    chance = chance_overlap(reference, other, share, granularity, seed)
    overlap = iou(set(sets[0]), set(sets[1]))
    return MapComparison(what, value, low, high, len(other.addresses), overlap, chance)


def spearman_interval(
    first: np.ndarray, second: np.ndarray, seed: int = 0, samples: int = 1000
) -> tuple[float | None, float | None, float | None]:
    """Spearman correlation with a 95% percentile interval by bootstrap over elements; None if undefined."""
    value = rank_correlation(first, second)
    if value is None:
        return None, None, None
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(first), (samples, len(first)))
    found = [rank_correlation(first[draw], second[draw]) for draw in draws]
    low, high = np.percentile([value for value in found if value is not None], [2.5, 97.5])
    return value, float(low), float(high)


def prompts_needed(sensitivity: SensitivityMap, repeats: int = 30, seed: int = 0) -> dict[str, Any]:
    """Mean rank correlation of the map of n random prompts with that of as many others, by n.

    Pairs of prompts stay together.

    Returns:
        `curve`: `{n: correlation}` for n = 2, 4, 8, ... up to half of the prompts, and `needed`: the
        smallest n at which it reaches `ENOUGH`, or None.
    """
    squared = sensitivity.per_prompt**2
    total = len(squared)
    rng = np.random.default_rng(seed)
    curve: dict[int, float] = {}
    n = 2
    while 2 * n <= total:
        orders = [shuffled_units(total, sensitivity.paired, rng).ravel() for _ in range(repeats)]
        halves = [(squared[order[:n]].mean(0), squared[order[n : 2 * n]].mean(0)) for order in orders]
        found = [value for pair in halves if (value := rank_correlation(*pair)) is not None]
        if found:
            curve[n] = float(np.mean(found))
        n *= 2
    needed = next((n for n, value in curve.items() if value >= ENOUGH), None)
    return {"curve": {str(n): value for n, value in curve.items()}, "needed": needed, "enough": ENOUGH}


@dataclass(frozen=True)
class Specificity:
    """How much of the safety drift of matrices is drift of anything at all."""

    spearman: float | None
    explained: float | None
    """Share of the variance of log safety drift that log generic drift explains (R squared)."""
    low: float | None
    """95% interval of `explained`, bootstrap over addresses."""
    high: float | None
    generic_split_half: float | None
    """Split-half reliability of the generic map: noise in it lowers `explained`."""
    n: int
    residual: dict[str, float]
    """Address -> log safety drift beyond what generic drift predicts; a possible score."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dictionary."""
        return asdict(self)


def specificity(
    safety: SensitivityMap, generic: SensitivityMap, seed: int = 0, samples: int = 1000
) -> Specificity:
    """Regress log safety drift on log generic drift over the addresses that both move.

    Args:
        safety: map of a safety proxy.
        generic: map of the control.
        seed: of the bootstrap.
        samples: of the bootstrap.
    """
    reliability = generic.split_half()
    generic = generic.at(safety.addresses)
    moved = (safety.drift > 0) & (generic.drift > 0)
    names = [str(a) for a, is_moved in zip(safety.addresses, moved) if is_moved]
    if moved.sum() < 3:
        return Specificity(None, None, None, None, reliability, int(moved.sum()), {})
    x, y = np.log(generic.drift[moved]), np.log(safety.drift[moved])
    if np.ptp(x) == 0:
        residual = dict(zip(names, (y - y.mean()).tolist()))
        return Specificity(None, 0.0, None, None, reliability, len(x), residual)
    line = stats.linregress(x, y)
    residual = y - (line.intercept + line.slope * x)
    draws = np.random.default_rng(seed).integers(0, len(x), (samples, len(x)))
    low, high = np.percentile(_explained(x[draws], y[draws]), [2.5, 97.5])
    return Specificity(
        rank_correlation(x, y), float(line.rvalue**2), float(low), float(high), reliability, len(x),
        dict(zip(names, residual.tolist())),
    )  # fmt: skip


def _explained(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared correlation of every row; rows without variance are left out."""
    x, y = (values - values.mean(1, keepdims=True) for values in (x, y))
    scale = (x**2).sum(1) * (y**2).sum(1)
    return np.asarray(((x * y).sum(1) ** 2)[scale > 0] / scale[scale > 0])
