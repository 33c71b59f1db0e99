"""The robust set: as many parameters as possible within a drift budget, verified jointly."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from securetune.addressing import Address
from securetune.analysis.halves import random_halves
from securetune.analysis.rows import Rows
from securetune.analysis.sampling import root_mean_square
from securetune.analysis.sensitivity import SensitivityMap
from securetune.errors import ConfigError
from securetune.files import read_json, write_json

Granularity = Literal["matrix", "layer-block", "layer", "type-band"]
Method = Literal["bisect", "greedy", "random"]
Verify = Callable[[Sequence[Address], Sequence[int]], list[float]]
"""(addresses, seeds of the noise) -> sampled joint drift, one value per seed."""

BANDS = 3
"""Depth bands of `type-band` (ours)."""
SEARCH_SEEDS, FINAL_SEEDS = 10**6, 2 * 10**6
"""Added to the seed of the run: noise of the search, and of the verification of its result. Noise depends on
seed and address only, so a sampled map, whose seeds are small, must share them with neither."""


@dataclass(frozen=True)
class RobustSet:
    """Weight matrices that may move together with little effect on the proxy."""

    addresses: tuple[Address, ...]
    predicted: float
    """Joint drift that the map predicts."""
    verified: float
    """Joint drift as sampled, on other prompts than the map's: effects of single matrices do not add up. The
    noise was not used in the search, so it can lie above the budget."""
    draws: int
    share: float
    """Share of the stack's matrix parameters."""
    budget: float | None
    tests: int
    """Joint tests, the last verification among them."""
    method: str = "bisect"
    granularity: str = "matrix"
    seed: int = 0
    stability: float | None = None
    """Mean overlap (IoU) of the sets that random halves of the map's prompts choose at the same share."""
    chance: float | None = None
    """The same overlap if drift had nothing to do with the matrix: see `chance_overlap`."""
    stability_note: str | None = None
    """Why there is no stability."""
    seeds: tuple[int, ...] = ()
    """Of the noise of the last verification."""

    @property
    def excess(self) -> float:
        """Verified over predicted joint drift; above 1, the matrices are more sensitive together."""
        return self.verified / self.predicted if self.predicted else 1.0

    @property
    def fresh(self) -> bool:
        """Whether the noise of the last verification chose nothing; there may be no noise at all."""
        return bool(self.seeds) and self.seeds != (self.seed,)

    def save(self, path: Path) -> None:
        """Write the set as JSON."""
        content = dict(vars(self)) | {"addresses": [str(address) for address in self.addresses]}
        write_json(path, content)

    @classmethod
    def load(cls, path: Path) -> RobustSet:
        """Read a set."""
        content = read_json(path)
        content["addresses"] = tuple(Address.parse(text) for text in content["addresses"])
        content["seeds"] = tuple(content.get("seeds", ()))
        return cls(**content)


def units_of(addresses: Sequence[Address], granularity: str) -> list[list[int]]:
    """Indices of the addresses that are taken or left together.

    `matrix`: each alone. `layer-block`: `3.self_attn`, `3.mlp`. `layer`: a whole decoder block. `type-band`:
    one path over a third of the depth.
    """
    layers = 1 + max(address.layer for address in addresses)
    keys: dict[object, list[int]] = {}
    for index, address in enumerate(addresses):
        key: object = {
            "matrix": address,
            "layer-block": (address.layer, address.path.partition(".")[0]),
            "layer": address.layer,
            "type-band": (address.path, address.layer * BANDS // layers),
        }[granularity]
        keys.setdefault(key, []).append(index)
    return list(keys.values())


def rank_units(sensitivity: SensitivityMap, granularity: str = "matrix") -> list[list[int]]:
    """Units by squared drift per parameter, ascending: most parameters for least predicted drift (ours).

    Source: arXiv 2410.04524 searches with heuristics guided by the classifier; order and thresholds are
    not stated in the text available.
    """
    units = units_of(sensitivity.addresses, granularity)
    return _ranked(units, sensitivity.drift**2, np.array(sensitivity.sizes))


def find_robust_set(
    sensitivity: SensitivityMap,
    verify: Verify,
    *,
    draws: int | None = 4,
    share: float | None = None,
    budget: float | None = None,
    method: str = "bisect",
    granularity: str = "matrix",
    seed: int = 0,
    log_path: Path | None = None,
) -> RobustSet:
    """Take units in rank order up to a share of the parameters, or as many as fit a drift budget.

    With a budget, `bisect` finds the longest prefix of the ranking whose *verified* joint drift stays within
    it, by a logarithmic number of joint tests. `greedy` is the literal reading of the paper: it goes down the
    ranking, keeps a unit if the set with it stays within the budget, and tests every unit, with new noise
    each time: the same noise lets units pass whose noise cancels. `random` is `bisect` on a random ranking.
    Tests are logged and found on resuming. The set is verified once more, with noise that chose nothing.

    Args:
        sensitivity: the map that orders the candidates.
        verify: sampled joint drift, on other prompts than the map's.
        draws: of noise per test; `None` for a perturbation that draws nothing: a set is then run once.
        share: of the matrix parameters, in (0, 1]; ignored with a budget.
        budget: largest drift of a test, in units of the proxy's gap.
        method: see above.
        granularity: see `units_of`.
        seed: of the random ranking and the noise.
        log_path: JSONL of tests, each with its seeds, method and budget.

    Raises:
        ConfigError: no unit fits the budget alone, or `greedy` has no budget.
    """
    order = rank_units(sensitivity, granularity)
    if method == "random":
        order = [order[index] for index in np.random.default_rng(seed).permutation(len(order))]
    settings = {"method": method, "granularity": granularity, "budget": budget}
    tests = _Tests(sensitivity, verify, _noise_seeds(seed, draws, SEARCH_SEEDS), settings, log_path)
    if budget is None:
        if method == "greedy":
            raise ConfigError(
                "analysis.search: `greedy` needs analysis.drift_budget; a share leaves no choice."
            )
        assert share is not None
        chosen = take_share(order, sensitivity.sizes, share)
    elif method == "greedy":
        chosen = _greedy(order, tests, budget)
    else:
        count = _bisect(len(order), lambda k: tests.drift(_joined(order[:k])) <= budget)
        chosen = _joined(order[:count])
    if not chosen:
        raise ConfigError(_nothing_fits(order, tests, settings))
    overlap, chance, note = _stability(sensitivity, chosen, settings, seed)
    seeds = _noise_seeds(seed, draws, FINAL_SEEDS)
    found = tests.draws(chosen, seeds)
    sizes = np.array(sensitivity.sizes)
    return RobustSet(
        addresses=tuple(sorted(sensitivity.addresses[index] for index in chosen)),
        predicted=sensitivity.predicted_joint(chosen),
        verified=root_mean_square(found),
        draws=len(found),
        share=float(sizes[chosen].sum() / sizes.sum()),
        budget=budget,
        tests=len(tests.asked),
        method=method,
        granularity=granularity,
        seed=seed,
        stability=overlap,
        chance=chance,
        stability_note=note,
        seeds=seeds,
    )


def take_share(order: Sequence[Sequence[int]], sizes: Sequence[int], share: float) -> list[int]:
    """Indices of the first units that reach `share` of the parameters."""
    chosen: list[int] = []
    needed = (share - 1e-9) * sum(sizes)
    for unit in order:
        if sum(sizes[index] for index in chosen) >= needed:
            break
        chosen.extend(unit)
    return chosen


def stability(
    sensitivity: SensitivityMap, share: float, granularity: str, seed: int = 0, splits: int = 50
) -> tuple[float | None, float]:
    """Mean IoU of the sets that two random halves of the prompts rank first, and the IoU by chance.

    Pairs of prompts stay together. The first is `None` with fewer than four prompts.
    """
    chance = chance_overlap(sensitivity, sensitivity, share, granularity, seed, splits)
    n = len(sensitivity.per_prompt)
    if n < 4:
        return None, chance
    rng = np.random.default_rng(seed)
    sizes = np.array(sensitivity.sizes)
    units = units_of(sensitivity.addresses, granularity)
    found = []
    for _ in range(splits):
        halves = [
            np.mean(sensitivity.per_prompt[rows] ** 2, axis=0)
            for rows in random_halves(n, sensitivity.paired, rng)
        ]
        sets = [
            set(take_share(_ranked(units, squared, sizes), sensitivity.sizes, share)) for squared in halves
        ]
        found.append(iou(*sets))
    return float(np.mean(found)), chance


def chance_overlap(
    first: SensitivityMap,
    second: SensitivityMap,
    share: float,
    granularity: str,
    seed: int = 0,
    draws: int = 50,
) -> float:
    """Mean IoU of the sets of two maps of the same addresses when the drifts of `second` are permuted.

    Sizes stay in place: the ranking is by drift per parameter, so sets overlap by size alone.
    """
    rng = np.random.default_rng(seed)
    sizes = np.array(first.sizes)
    units = units_of(first.addresses, granularity)
    chosen = set(take_share(_ranked(units, first.drift**2, sizes), first.sizes, share))
    squared = second.drift**2
    found = [
        iou(chosen, set(take_share(_ranked(units, rng.permutation(squared), sizes), first.sizes, share)))
        for _ in range(draws)
    ]
    return float(np.mean(found))


def iou(first: set[int], second: set[int]) -> float:
    """Intersection over union of two sets; 1 if both are empty."""
    union = first | second
    return len(first & second) / len(union) if union else 1.0


def _ranked(units: Sequence[list[int]], squared: np.ndarray, sizes: np.ndarray) -> list[list[int]]:
    return sorted(units, key=lambda unit: float(squared[unit].sum() / sizes[unit].sum()))


def _stability(
    sensitivity: SensitivityMap, chosen: Sequence[int], settings: dict[str, Any], seed: int
) -> tuple[float | None, float | None, str | None]:
    """Stability, chance, and why there is none: only a prefix of the map's ranking can be chosen again."""
    if settings["method"] == "random":
        return None, None, "the map chose nothing"
    if settings["method"] == "greedy":
        return None, None, "each half of the prompts would need joint tests of its own"
    share = sum(sensitivity.sizes[index] for index in chosen) / sum(sensitivity.sizes)
    overlap, chance = stability(sensitivity, share, settings["granularity"], seed)
    return overlap, chance, "fewer than four prompts" if overlap is None else None


def _nothing_fits(order: Sequence[Sequence[int]], tests: _Tests, settings: dict[str, Any]) -> str:
    turns = range(len(order)) if settings["method"] == "greedy" else [0]
    best = min(turns, key=lambda turn: tests.drift(order[turn], turn))
    which, unit = {
        "bisect": ("the least sensitive {} alone", order[0]),
        "random": ("the first {} of the random order alone", order[0]),
        "greedy": ("of every {} alone, the best", order[best]),
    }[settings["method"]]
    return (
        f"No robust set: {which.format(settings['granularity'])} has the verified drift "
        f"{tests.drift(unit, best):.4g}, above analysis.drift_budget {settings['budget']:g}. Raise the "
        "budget, or leave it out and set analysis.share."
    )


def _noise_seeds(seed: int, draws: int | None, first: int) -> tuple[int, ...]:
    return (seed,) if draws is None else tuple(range(seed + first, seed + first + draws))


def _joined(units: Sequence[Sequence[int]]) -> list[int]:
    return [index for unit in units for index in unit]


def _greedy(order: Sequence[Sequence[int]], tests: _Tests, budget: float) -> list[int]:
    chosen: list[int] = []
    for turn, unit in enumerate(order):
        if tests.drift([*chosen, *unit], turn) <= budget:
            chosen.extend(unit)
    return chosen


def _bisect(n: int, fits: Callable[[int], bool]) -> int:
    """The largest k in [0, n] that fits, assuming that fewer fit if more do."""
    low, high = 0, n
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


class _Tests:
    """Joint tests of sets, each done once and logged with what was predicted."""

    def __init__(
        self,
        sensitivity: SensitivityMap,
        verify: Verify,
        seeds: tuple[int, ...],
        settings: dict[str, Any],
        path: Path | None,
    ) -> None:
        self.sensitivity, self.verify, self.seeds, self.settings = sensitivity, verify, seeds, settings
        self.rows = Rows(path.parent, path.stem) if path else Rows()
        self.asked: set[str] = set()
        """Keys of this search; the log may hold those of another one."""

    def drift(self, chosen: Sequence[int], turn: int = 0) -> float:
        shift = turn * len(self.seeds)
        return root_mean_square(self.draws(chosen, tuple(seed + shift for seed in self.seeds)))

    def draws(self, chosen: Sequence[int], seeds: tuple[int, ...]) -> list[float]:
        if not chosen:
            return [0.0]
        addresses = sorted(self.sensitivity.addresses[index] for index in chosen)
        text = " ".join(map(str, (*addresses, *seeds)))
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.asked.add(key)
        if key not in self.rows.done:
            draws = self.verify(addresses, seeds)
            row = self.settings | {
                "addresses": [str(address) for address in addresses],
                "predicted": self.sensitivity.predicted_joint(chosen),
                "seeds": list(seeds),
                "draws": draws,
            }
            self.rows.append(key, row)
        return list(self.rows.done[key]["draws"])
