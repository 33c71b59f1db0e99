"""Tests of the patterns that arXiv 2410.04524 reports, on this model, with effect sizes and p-values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from securetune.addressing import Address
from securetune.analysis.sensitivity import SensitivityMap

_QUERY_KEY = re.compile(r"^(?:[qk]|query|key)(?:_[ab])?(?:_proj)?$")
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
LEVEL = 0.05
"""p-values below it are called a finding."""


@dataclass(frozen=True)
class PatternTest:
    """One pattern: how large it is here, and how often chance gives as much."""

    pattern: str
    """`A`, `B` or `C`."""
    effect: float | None
    """A: mean rank correlation of depth and drift within a module type (negative: early layers are more
    sensitive). B: mean log ratio of the drift of Q and K to that of the other types in the same layer.
    C: log ratio of the measured joint drift (root mean square over draws) to the additive prediction."""
    p_value: float | None
    """Two-sided. A and B: by permutation. C: by a t-test."""
    n: int
    """A: module types. B: layers. C: independent draws of noise."""
    sentence: str
    noise: float | None = None
    """C: size of the perturbation."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dictionary."""
        return asdict(self)


def depth_pattern(sensitivity: SensitivityMap, permutations: int = 2000, seed: int = 0) -> PatternTest:
    """Pattern A: early layers are more sensitive. Permutes whole layers, the same way in every module type.

    A layer that is sensitive in one type tends to be so in all, so the types are no independent evidence.
    Layers are exchangeable under the null: a drift that wanders slowly with depth can pass for a relation.
    """
    series = [
        (np.array([layer for layer, _ in rows]), np.array([drift for _, drift in rows]))
        for rows in _by_path(sensitivity).values()
        if len(rows) > 2 and len({drift for _, drift in rows}) > 1
    ]
    if not series:
        return PatternTest("A", None, None, 0, "Depth cannot be tested: fewer than three layers.")
    layers = np.unique(np.concatenate([at for at, _ in series]))
    places = [(np.searchsorted(layers, at), _standardised(stats.rankdata(drift))) for at, drift in series]

    def effects(depths: np.ndarray) -> np.ndarray:
        """Mean rank correlation for each row of `depths` `[n, layers]`, which holds every depth once."""
        found = [_standardised(depths[:, at].argsort(1).argsort(1)) @ ranks for at, ranks in places]
        return np.asarray(np.mean(found, axis=0))

    rng = np.random.default_rng(seed)
    order = np.arange(len(layers))
    found = float(effects(order[None])[0])
    shuffled = effects(rng.permuted(np.tile(order, (permutations, 1)), axis=1))
    p = float((1 + (np.abs(shuffled) >= abs(found) - 1e-12).sum()) / (permutations + 1))
    what = "Early layers are more" if found < 0 else "Late layers are more"
    return PatternTest("A", found, p, len(series), _sentence(
        p, f"{what} sensitive (mean rank correlation of depth and drift {found:+.2f})",
        f"No relation of depth and sensitivity is shown (mean rank correlation {found:+.2f})",
    ))  # fmt: skip


def query_key_pattern(sensitivity: SensitivityMap, permutations: int = 2000, seed: int = 0) -> PatternTest:
    """Pattern B: Q and K are more sensitive than other types. Permutes the types within each layer.

    Layers are the sample and types are fixed: a finding says that Q and K differ from the others in this
    model, not that two other types would differ less.
    """
    layers: dict[int, list[tuple[bool, float]]] = {}
    for address, drift in zip(*sensitivity.by_type()):
        if drift > 0:
            layers.setdefault(address.layer, []).append((is_query_key(address), float(np.log(drift))))
    rows = [
        (np.array([flag for flag, _ in row]), np.array([value for _, value in row]))
        for row in layers.values()
    ]
    rows = [(flags, values) for flags, values in rows if flags.any() and not flags.all()]
    if not rows:
        return PatternTest(
            "B", None, None, 0, "Q and K cannot be tested: this model has no matrices of theirs."
        )

    def effect(shuffle: Callable[[np.ndarray], np.ndarray]) -> float:
        parts = [(flags, shuffle(values)) for flags, values in rows]
        return float(np.mean([values[flags].mean() - values[~flags].mean() for flags, values in parts]))

    rng = np.random.default_rng(seed)
    found = effect(lambda values: values)
    as_large = sum(abs(effect(rng.permutation)) >= abs(found) - 1e-12 for _ in range(permutations))
    p = (1 + as_large) / (permutations + 1)
    times = np.exp(abs(found))
    what = "more" if found > 0 else "less"
    return PatternTest("B", found, p, len(rows), _sentence(
        p, f"Q and K are {what} sensitive than the other types (by a factor of {times:.2f})",
        f"No difference of Q and K from the other types is shown (factor {np.exp(found):.2f})",
    ))  # fmt: skip


def together_pattern(ratios: Sequence[float], noise: float, single: float | None = None) -> PatternTest:
    """Pattern C: robust matrices are sensitive together. Tests that the mean squared ratio is 1.

    If single effects add up, the squared ratio of a draw is a mean of squares of Gaussians, whose cube root
    is close to normal with a mean of 1 minus its variance (Wilson and Hilferty, 1931). The t-test is on the
    sum of that mean and variance; it needs no degrees of freedom, which are few and unknown: prompts move
    together.

    Args:
        ratios: drift measured jointly over the closed form's additive prediction, one per independent draw of
            noise on robust sets.
        noise: size of the perturbation.
        single: the same ratio of robust matrices perturbed one at a time. Where it is not 1, the closed form
            fails for single matrices already, and the joint ratio is not all interaction.
    """
    n = len(ratios)
    if n < 4:
        return PatternTest(
            "C",
            None,
            None,
            n,
            f"Joint drift at noise {noise:g} cannot be tested: fewer than four draws.",
            noise,
        )
    squared = np.square(ratios)
    roots = np.cbrt(squared)
    variance = float(roots.var(ddof=1))
    error = float(np.sqrt(variance / n + 2 * variance**2 / (n - 1)))
    departure = float(roots.mean()) + variance - 1
    if error < 1e-12:
        p = 1.0 if abs(departure) < 1e-9 else 0.0
    else:
        p = float(2 * stats.t.sf(abs(departure) / error, n - 1))
    times = float(np.sqrt(squared.mean()))
    alone = "" if single is None else f"; one at a time {single:.2f} times"
    measured = f"at noise {noise:g} ({times:.2f} times the closed form's prediction{alone})"
    what = "more" if departure > 0 else "less"
    return PatternTest("C", float(np.log(max(times, 1e-30))), p, n, _sentence(
        p, f"Robust matrices that move together drift {what} than predicted {measured}",
        f"No departure of the joint drift of robust matrices from adding up is shown {measured}",
    ), noise)  # fmt: skip


def describe(tests: Sequence[PatternTest]) -> str:
    """What holds for this model, in words."""
    return "In this model: " + " ".join(test.sentence for test in tests)


def is_query_key(address: Address) -> bool:
    """Whether the matrix makes queries or keys and nothing else."""
    head, _, last = address.path.rpartition(".")
    return bool(_QUERY_KEY.match(last)) and bool(_ATTENTION.search(head))


def _by_path(sensitivity: SensitivityMap) -> Mapping[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for address, drift in zip(*sensitivity.by_type()):
        found.setdefault(address.path, []).append((address.layer, float(drift)))
    return found


def _standardised(values: np.ndarray) -> np.ndarray:
    """Centred and of unit length over the last axis, so that products are correlations."""
    centred = values - values.mean(-1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=-1, keepdims=True))


def _sentence(p: float, finding: str, nothing: str) -> str:
    return f"{finding if p < LEVEL else nothing}, p = {p:.2g}."
