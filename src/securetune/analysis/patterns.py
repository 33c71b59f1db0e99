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
    C: mean log ratio of the measured joint drift to the additive prediction."""
    p_value: float | None
    """Two-sided, by permutation."""
    n: int
    """A: module types. B: layers. C: joint tests."""
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dictionary."""
        return asdict(self)


def depth_pattern(sensitivity: SensitivityMap, permutations: int = 2000, seed: int = 0) -> PatternTest:
    """Pattern A: early layers are more sensitive. Permutes the layers within each module type."""
    series = [
        (np.array([layer for layer, _ in rows]), np.array([drift for _, drift in rows]))
        for rows in _by_path(sensitivity).values()
        if len(rows) > 2 and len({drift for _, drift in rows}) > 1
    ]
    if not series:
        return PatternTest("A", None, None, 0, "Depth cannot be tested: fewer than three layers.")
    ranks = [(stats.rankdata(layers), stats.rankdata(drift)) for layers, drift in series]

    def effect(shuffle: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.mean([np.corrcoef(layers, shuffle(drift))[0, 1] for layers, drift in ranks]))

    found, p = _permuted(effect, permutations, seed)
    what = "Early layers are more" if found < 0 else "Late layers are more"
    return PatternTest("A", found, p, len(series), _sentence(
        p, f"{what} sensitive (mean rank correlation of depth and drift {found:+.2f})",
        f"Depth and sensitivity are not related (mean rank correlation {found:+.2f})",
    ))  # fmt: skip


def query_key_pattern(sensitivity: SensitivityMap, permutations: int = 2000, seed: int = 0) -> PatternTest:
    """Pattern B: Q and K are more sensitive than other types. Permutes the types within each layer."""
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

    found, p = _permuted(effect, permutations, seed)
    times = np.exp(abs(found))
    what = "more" if found > 0 else "less"
    return PatternTest("B", found, p, len(rows), _sentence(
        p, f"Q and K are {what} sensitive than the other types (by a factor of {times:.2f})",
        f"Q and K are not told apart from the other types (factor {np.exp(found):.2f})",
    ))  # fmt: skip


def together_pattern(ratios: Sequence[float], permutations: int = 2000, seed: int = 0) -> PatternTest:
    """Pattern C: robust matrices are sensitive together.

    Args:
        ratios: measured joint drift over the additive prediction, one per tested set.
        permutations: sign flips of the log ratios.
        seed: of the flips.
    """
    logs = np.log([ratio for ratio in ratios if ratio > 0])
    if len(logs) < 3:
        return PatternTest("C", None, None, len(logs), "Joint drift cannot be tested: fewer than three sets.")
    rng = np.random.default_rng(seed)
    found = float(logs.mean())
    flips = rng.choice([-1.0, 1.0], (permutations, len(logs)))
    p = float((1 + (np.abs((flips * logs).mean(1)) >= abs(found) - 1e-12).sum()) / (permutations + 1))
    times = float(np.exp(found))
    what = "more" if found > 0 else "less"
    return PatternTest("C", found, p, len(logs), _sentence(
        p, f"Matrices that move together drift {what} than single effects add up to ({times:.2f} times)",
        f"Single effects add up: the joint drift is {times:.2f} times the prediction",
    ))  # fmt: skip


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


def _permuted(
    effect: Callable[[Callable[[np.ndarray], np.ndarray]], float], permutations: int, seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    found = effect(lambda values: values)
    as_large = sum(abs(effect(rng.permutation)) >= abs(found) - 1e-12 for _ in range(permutations))
    return found, (1 + as_large) / (permutations + 1)


def _sentence(p: float, finding: str, nothing: str) -> str:
    return f"{finding if p < LEVEL else nothing}, p = {p:.2g}."
