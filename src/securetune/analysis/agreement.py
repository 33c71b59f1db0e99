"""Does the first order hold? The map compared with sampling on a few random addresses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from securetune.addressing import Address
from securetune.analysis.sensitivity import MapTask, SensitivityMap, map_sensitivity, rank_correlation
from securetune.analysis.weights import is_expert
from securetune.models.module_map import ModuleMap

EXPERTS = 4
"""Experts that are sampled where no other address is: routing is discrete, so some always are (ours)."""


@dataclass(frozen=True)
class Agreement:
    """Predicted against sampled drift, on the same prompts."""

    addresses: tuple[str, ...]
    predicted: tuple[float, ...]
    sampled: tuple[float, ...]
    prompts: int
    draws: int
    spearman: float | None
    ceiling: float | None
    """The correlation that a perfect map would have with samples as noisy as these: the root of the
    Spearman-Brown corrected split-half correlation over draws."""
    median_ratio: float | None
    """Median of sampled over predicted drift."""
    bound: float
    """Largest ratio, either way, that counts as agreement."""
    outside: tuple[str, ...]
    """Addresses beyond the bound: there the first order fails."""
    experts: tuple[str, ...]
    """Experts among the addresses: routing is discrete, and gradients do not see it switch."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dictionary."""
        return asdict(self)

    def describe(self) -> list[str]:
        """Lines for a terminal."""
        lines = [
            f"check: {len(self.addresses)} matrices sampled ({self.draws} draws, {self.prompts} prompts): "
            f"rank correlation {_shown(self.spearman)} (ceiling {_shown(self.ceiling)}), median ratio "
            f"sampled to predicted {_shown(self.median_ratio)}"
        ]
        values = dict(zip(self.addresses, zip(self.predicted, self.sampled)))
        for address in self.experts:
            lines.append(f"  expert {address}: {_pair(values[address])}")
        if self.outside:
            lines.append(f"  beyond a factor of {self.bound:g}, the first order does not hold at:")
            lines += [f"    {address}: {_pair(values[address])}" for address in self.outside]
        return lines


def check_map(
    task: MapTask, found: SensitivityMap, *, addresses: int, prompts: int, draws: int, bound: float
) -> Agreement:
    """Sample a few addresses of a map.

    Args:
        task: how the map was made.
        found: the map.
        addresses: drawn at random from the linear layers, and as many from the experts, if there are any (of
            0, still some experts).
        prompts: the first so many of the map's.
        draws: per address.
        bound: see `Agreement`.
    """
    chosen = _chosen(task.modules, found.addresses, addresses, task.seed)
    rows = range(min(prompts, len(task.texts)))
    texts = task.texts[: len(rows)]
    again = replace(
        task, method="monte-carlo", addresses=chosen, draws=draws, texts=texts, seed=task.seed + 1
    )
    sampled = map_sensitivity(again)
    return compare(found.at(chosen, rows), sampled, bound, _experts(task.modules, chosen))


def compare(
    predicted: SensitivityMap, sampled: SensitivityMap, bound: float, experts: Sequence[Address] = ()
) -> Agreement:
    """Compare two maps of the same addresses and prompts."""
    first, second = predicted.drift, sampled.drift
    positive = (first > 0) & (second > 0)
    ratio = np.divide(second, first, out=np.ones_like(first), where=positive)
    ratio[positive != ((first > 0) | (second > 0))] = np.inf
    half = sampled.split_half_draws()
    assert sampled.per_draw is not None
    names = [str(address) for address in predicted.addresses]
    return Agreement(
        addresses=tuple(names),
        predicted=tuple(map(float, first)),
        sampled=tuple(map(float, second)),
        prompts=len(sampled.per_prompt),
        draws=len(sampled.per_draw),
        spearman=rank_correlation(first, second),
        ceiling=None if half is None else float(np.sqrt(max(0.0, 2 * half / (1 + half)))),
        median_ratio=float(np.median(ratio[positive])) if positive.any() else None,
        bound=bound,
        outside=tuple(name for name, value in zip(names, ratio) if not 1 / bound <= value <= bound),
        experts=tuple(str(address) for address in experts),
    )


def _chosen(modules: ModuleMap, addresses: Sequence[Address], n: int, seed: int) -> tuple[Address, ...]:
    experts = _experts(modules, addresses)
    linear = [address for address in addresses if address not in set(experts)]
    rng = random.Random(seed)
    counts = ((linear, n), (experts, n or EXPERTS))
    drawn = [rng.sample(group, min(count, len(group))) for group, count in counts]
    return tuple(sorted(address for group in drawn for address in group))


def _experts(modules: ModuleMap, addresses: Sequence[Address]) -> list[Address]:
    """Addresses of experts: stacked, or listed one by one."""
    return [address for address in addresses if is_expert(modules, address)]


def _pair(values: tuple[float, float]) -> str:
    return f"predicted {values[0]:.4g}, sampled {values[1]:.4g}"


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"
