"""How many prompts and seeds a difference of a given size needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from securetune.compare.curves import Values
from securetune.evaluation.crossed import satterthwaite, variances

POWER, LEVEL = 0.8, 0.05
MOST_PROMPTS = 20_000
FEWEST_CHANGED = 6
"""Verdicts that a difference must change: fewer, all one way, leave McNemar's exact test above 5%."""


@dataclass(frozen=True)
class Spread:
    """Variances of a paired difference (first minus second outcome) of one prompt and seed."""

    of_prompts: float
    """Between prompts, in what every seed shares."""
    of_seeds: float
    """Between seeds, in what every prompt shares."""
    residual: float

    @classmethod
    def measured(cls, pairs: Sequence[Sequence[Values]]) -> Spread | None:
        """The mean over pairs of models; `None` without a pair of at least two seeds and prompts.

        A component of one pair may come out below zero by chance. Only the mean is kept from that: bounding
        each pair, or taking the median, would say with few seeds that they hardly differ.

        Args:
            pairs: for every pair, per seed, prompt id -> difference.
        """
        found = []
        for gaps in pairs:
            keys = sorted(set.intersection(*(set(gap) for gap in gaps))) if gaps else []
            seeds, prompts = len(gaps), len(keys)
            if seeds > 1 and prompts > 1:
                table = np.array([[gap[key] for key in keys] for gap in gaps])
                by_prompt, by_seed, residual = variances(table)
                parts = (by_prompt - residual) * prompts, (by_seed - residual) * seeds
                found.append((*parts, residual * seeds * prompts))
        return cls(*np.mean(found, axis=0).clip(min=0.0).tolist()) if found else None

    @classmethod
    def assumed(cls, discordant: float = 0.3, seed_deviation: float = 0.03) -> Spread:
        """Before anything is measured (ours): so many prompts answered differently, half of it by chance."""
        return cls(discordant / 2, seed_deviation**2, discordant / 2)

    @classmethod
    def of_one_seed(cls, pairs: Sequence[Sequence[Values]]) -> Spread | None:
        """As `assumed`, with the variance over prompts that one seed shows; `None` if it shows none.

        Args:
            pairs: as for `measured`.
        """
        found = [np.var([*gap.values()], ddof=1) for gaps in pairs for gap in gaps if len(gap) > 1]
        variance = float(np.mean(found)) if found else 0.0
        return cls.assumed(variance) if variance > 0 else None

    def error(self, prompts: int, seeds: int) -> tuple[float, float]:
        """Standard error and degrees of freedom that `mean_over_seeds` would have."""
        residual = self.residual / (prompts * seeds)
        of_prompts = self.of_prompts / prompts + residual
        # With one seed, its own effect is not seen, and intervals cover the prompts alone.
        of_seeds = self.of_seeds / seeds + residual if seeds > 1 else 0.0
        variance = max(of_prompts + of_seeds - residual, of_prompts, of_seeds) if seeds > 1 else of_prompts
        return math.sqrt(variance), satterthwaite(variance, of_prompts, of_seeds, (seeds, prompts))

    def power(self, difference: float, prompts: int, seeds: int) -> float:
        """Chance that a difference of this size is told apart from none at 5%."""
        error, freedom = self.error(prompts, seeds)
        if error == 0:
            return 1.0
        threshold = float(stats.t.ppf(1 - LEVEL / 2, freedom))
        return float(stats.nct.sf(threshold, freedom, difference / error))

    def prompts_needed(self, difference: float, seeds: int) -> int | None:
        """Fewest prompts at which the power is 80%; `None` if no number up to 20,000 does with so many seeds.

        More prompts can lower the power: they leave the variance between seeds alone, and as its share grows
        the degrees of freedom fall to seeds - 1. So numbers are tried upwards, each about a tenth above the
        one before (ours), and the first that does is refined. They begin where the difference changes
        `FEWEST_CHANGED` verdicts: below, the normal approximation would promise too much (ours).
        """
        fewest = max(2, math.ceil(FEWEST_CHANGED / difference))
        tried = np.unique(np.geomspace(fewest, MOST_PROMPTS, 100).astype(int)).tolist()
        enough = (index for index, n in enumerate(tried) if self.power(difference, n, seeds) >= POWER)
        first = next(enough, None)
        if first is None:
            return None
        low, high = tried[max(0, first - 1)], tried[first]
        while low < high:
            middle = (low + high) // 2
            low, high = (
                (low, middle) if self.power(difference, middle, seeds) >= POWER else (middle + 1, high)
            )
        return low


DIFFERENCES = (0.05, 0.1, 0.2)
SEEDS = (1, 3, 5, 10)


def power_table(spread: Spread) -> list[dict[str, float | int | None]]:
    """Prompts needed for differences of 5, 10 and 20 points with 1, 3, 5 and 10 seeds."""
    return [
        {"difference": difference, "seeds": seeds, "prompts": spread.prompts_needed(difference, seeds)}
        for difference in DIFFERENCES
        for seeds in SEEDS
    ]
