"""Does the first order hold? The map compared with sampling on a few random addresses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from securetune.addressing import Address
from securetune.analysis.perturb import FIXED
from securetune.analysis.sensitivity import MapTask, SensitivityMap, map_sensitivity, rank_correlation
from securetune.analysis.weights import is_expert
from securetune.models.module_map import ModuleMap

NAMING_DRAWS = 32
"""Fresh draws of a matrix whose sampled drift lies beyond the bound, before it is named (ours)."""
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
    """Addresses whose ratio is beyond the bound with its whole interval: there the first order fails."""
    experts: tuple[str, ...]
    """Experts among the addresses: routing is discrete, and gradients do not see it switch."""
    doubtful: tuple[dict[str, Any], ...] = ()
    """Addresses whose ratio is beyond the bound by point estimate: `address`, `sampled` and `draws` (more
    draws, where they were made), and `low` and `high`, the 95% interval of the ratio (`None`: infinite)."""

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
            predicted, sampled = values[address]
            lines.append(f"  expert {address}: predicted {predicted:.4g}, sampled {sampled:.4g}")
        if self.outside:
            lines.append(f"  beyond a factor of {self.bound:g}, the first order does not hold at:")
        for row in self.doubtful:
            if row["address"] in self.outside:
                lines.append(
                    f"    {row['address']}: predicted {values[row['address']][0]:.4g}, sampled "
                    f"{row['sampled']:.4g} ({row['draws']} draws), ratio within [{_shown(row['low'])}, "
                    f"{_shown(row['high'])}]"
                )
        return lines


def check_map(
    task: MapTask, found: SensitivityMap, *, addresses: int, prompts: int, draws: int, bound: float
) -> Agreement:
    """Sample a few addresses of a map; those that seem to be beyond the bound, once more with more draws.

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
    again = replace(
        task,
        method="monte-carlo",
        addresses=chosen,
        draws=draws,
        texts=task.texts[: len(rows)],
        seed=task.seed + 1,
        paired=False,
    )
    predicted, sampled = found.at(chosen, rows), map_sensitivity(again)
    doubtful = tuple(address for address, _ in _doubtful(predicted, sampled, bound))
    more = None
    if doubtful:
        more = map_sensitivity(
            replace(again, addresses=doubtful, draws=NAMING_DRAWS, seed=again.seed + draws)
        )
    return compare(predicted, sampled, bound, _experts(task.modules, chosen), more)


def compare(
    predicted: SensitivityMap,
    sampled: SensitivityMap,
    bound: float,
    experts: Sequence[Address] = (),
    more: SensitivityMap | None = None,
) -> Agreement:
    """Compare two maps of the same addresses and prompts.

    Args:
        predicted: the closed form.
        sampled: the same addresses, sampled.
        bound: see `Agreement`.
        experts: the fused experts among them.
        more: the addresses whose ratio in `sampled` is beyond the bound, sampled again: what they are named
            by. Their first draws selected them, so they do not count.
    """
    first, second = predicted.drift, sampled.drift
    ratio = _ratios(first, second)
    half = sampled.split_half_draws()
    assert sampled.per_draw is not None
    rows = []
    for address, expected in _doubtful(predicted, sampled, bound):
        source = sampled if more is None else more
        place = source.addresses.index(address)
        assert source.per_draw is not None
        values = source.per_draw[:, place]
        if sampled.perturbation in FIXED:  # Nothing is drawn: the ratio is known.
            low = high = float(values[0]) / expected if expected else np.inf
        else:
            low, high = ratio_interval(values, expected)
        rows.append({
            "address": str(address), "sampled": float(source.drift[place]), "draws": len(values),
            "low": low if np.isfinite(low) else None, "high": high if np.isfinite(high) else None,
            "outside": low > bound or high < 1 / bound,
        })  # fmt: skip
    positive = (first > 0) & (second > 0)
    return Agreement(
        addresses=tuple(str(address) for address in predicted.addresses),
        predicted=tuple(map(float, first)),
        sampled=tuple(map(float, second)),
        prompts=len(sampled.per_prompt),
        draws=len(sampled.per_draw),
        spearman=rank_correlation(first, second),
        ceiling=None if half is None else float(np.sqrt(max(0.0, 2 * half / (1 + half)))),
        median_ratio=float(np.median(ratio[positive])) if positive.any() else None,
        bound=bound,
        outside=tuple(str(row["address"]) for row in rows if row["outside"]),
        experts=tuple(str(address) for address in experts),
        doubtful=tuple(rows),
    )


def ratio_interval(draws: np.ndarray, expected: float, level: float = 0.95) -> tuple[float, float]:
    """Interval of the ratio of the true root-mean-square drift to `expected`.

    A draw's squared drift counts as chi-squared with one degree of freedom: to first order it has at least
    one, and no more where all prompts move together. The interval is at least as wide as it must be.

    Args:
        draws: root-mean-square drift over the prompts, one per draw.
        expected: drift; 0 makes the ratio of anything but 0 infinite.
        level: of confidence.
    """
    total, n = float(np.sum(np.square(draws))), len(draws)
    if expected == 0:
        return (1.0, 1.0) if total == 0 else (np.inf, np.inf)
    most, least = (float(stats.chi2.ppf((1 + sign * level) / 2, n)) for sign in (1, -1))
    return float(np.sqrt(total / most)) / expected, float(np.sqrt(total / least)) / expected


def _ratios(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Sampled over predicted drift; infinite where only one of them is 0, 1 where both are."""
    positive = (first > 0) & (second > 0)
    ratio = np.divide(second, first, out=np.ones_like(first), where=positive)
    ratio[positive != ((first > 0) | (second > 0))] = np.inf
    return np.asarray(ratio)


def _doubtful(
    predicted: SensitivityMap, sampled: SensitivityMap, bound: float
) -> list[tuple[Address, float]]:
    """Address and predicted drift where the ratio is beyond the bound."""
    ratio = _ratios(predicted.drift, sampled.drift)
    return [
        (address, float(expected))
        for address, expected, value in zip(predicted.addresses, predicted.drift, ratio)
        if not 1 / bound <= value <= bound
    ]


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


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"
