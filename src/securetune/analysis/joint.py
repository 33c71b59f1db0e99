"""Do effects add up? Joint drift of robust and random sets against the additive prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np

from securetune.analysis.patterns import PatternTest, together_pattern
from securetune.analysis.perturb import Perturbation
from securetune.analysis.sampling import Sampler, root_mean_square
from securetune.analysis.search import rank_units, take_share, units_of
from securetune.analysis.sensitivity import SensitivityMap

ROBUST, ALONE = "most robust", "most robust, one at a time"
JOINT_SEEDS = 3 * 10**6
"""Added to the seed of the run: noise that neither the map, its check nor the search has used."""


@dataclass(frozen=True)
class JointStudy:
    """What is perturbed together, and how often."""

    shares: Sequence[float]
    """Of the parameters in a set; at least one below 1."""
    sizes: Sequence[float]
    """Of the noise, in units of the map's."""
    draws: int
    """On each robust set: the evidence for pattern C."""
    control_draws: int
    """On each random set, and on each matrix that is perturbed alone."""
    singles: int
    """Matrices of the largest robust set that are perturbed one at a time."""

    def measure(self, sampler: Sampler, closed: SensitivityMap, seed: int = 0) -> list[dict[str, Any]]:
        """Rows of measured and predicted drift. Every row has noise of its own.

        The prediction is the closed form's, at every size of the noise. The row of single matrices tells
        how far it is off before anything interacts: there, too, squares are added up.

        Args:
            sampler: on the prompts of `closed`.
            closed: the closed form for Gaussian noise.
            seed: of noise and random sets.
        """
        rng = np.random.default_rng(seed)
        seeds = count(seed + JOINT_SEEDS)
        units = units_of(closed.addresses, "matrix")
        found = []
        for share in self.shares:
            robust = take_share(rank_units(closed), closed.sizes, share)
            found += self._rows(sampler, closed, ROBUST, share, [robust], seeds, self.draws)
            for i in range(2 if share < 1 else 0):
                order = [units[k] for k in rng.permutation(len(units))]
                chosen = take_share(order, closed.sizes, share)
                found += self._rows(
                    sampler, closed, f"random {i}", share, [chosen], seeds, self.control_draws
                )
        share = max(share for share in self.shares if share < 1)
        robust = take_share(rank_units(closed), closed.sizes, share)
        some = sorted(rng.choice(robust, min(self.singles, len(robust)), replace=False).tolist())
        parts = [[index] for index in some]
        return found + self._rows(sampler, closed, ALONE, share, parts, seeds, self.control_draws)

    def _rows(
        self,
        sampler: Sampler,
        closed: SensitivityMap,
        which: str,
        share: float,
        parts: Sequence[Sequence[int]],
        seeds: count[int],
        draws: int,
    ) -> list[dict[str, Any]]:
        """One row per size of the noise; the squared drifts of `parts` are added up, draw by draw."""
        found = []
        every = [index for part in parts for index in part]
        for times in self.sizes:
            noise = Perturbation("gaussian", closed.noise_scale * times)
            squared = np.zeros(draws)
            for part in parts:
                addresses = [closed.addresses[index] for index in part]
                squared += np.square(sampler.joint_drift(addresses, noise, list(islice(seeds, draws))))
            predicted = times * closed.predicted_joint(every)
            measured = root_mean_square(np.sqrt(squared))
            found.append({
                "share": share, "set": which, "matrices": len(every), "noise": noise.size,
                "predicted": predicted, "measured": measured, "draws": np.sqrt(squared).tolist(),
                "ratio": measured / predicted if predicted else 0.0,
            })  # fmt: skip
        return found


def together_patterns(rows: Sequence[dict[str, Any]]) -> list[PatternTest]:
    """Pattern C for each size of the noise, by the draws on robust sets; the whole model is no such set.

    Args:
        rows: of `JointStudy.measure`.
    """
    tests = []
    for noise in dict.fromkeys(row["noise"] for row in rows):
        own = [row for row in rows if row["noise"] == noise and row["predicted"]]
        robust = [row for row in own if row["set"] == ROBUST and row["share"] < 1]
        ratios = [draw / row["predicted"] for row in robust for draw in row["draws"]]
        single = next((row["ratio"] for row in own if row["set"] == ALONE), None)
        tests.append(together_pattern(ratios, noise, single))
    return tests
