"""The variance of a mean over prompts and seeds, both random and crossed (two-way clustering)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def variances(table: np.ndarray) -> tuple[float, float, float]:
    """Variance of the mean of seeds x prompts values: between prompts, between seeds, of the residual."""
    seeds, prompts = table.shape
    by_prompt, by_seed = table.mean(axis=0), table.mean(axis=1)
    residual = table - by_prompt[None, :] - by_seed[:, None] + table.mean()
    return (
        float(by_prompt.var(ddof=1)) / prompts,
        float(by_seed.var(ddof=1)) / seeds,
        float((residual**2).sum()) / ((seeds - 1) * (prompts - 1) * seeds * prompts),
    )


@dataclass(frozen=True)
class BetweenSeeds:
    """A variance of a mean between seeds, known from more than the mean's own values."""

    variance: float
    freedom: int

    @classmethod
    def pooled(cls, tables: Sequence[np.ndarray], models: int) -> BetweenSeeds:
        """The mean over all pairs of models: two or three seeds of one pair hardly show it.

        Args:
            tables: seeds x prompts differences of every pair, on the same seeds and prompts.
            models: how many there are; the variance has (models - 1) (seeds - 1) degrees of freedom, as that
                of models x seeds in an analysis of variance. It is taken to be alike for all pairs.
        """
        found = [variances(table)[1] for table in tables]
        return cls(float(np.mean(found)), (models - 1) * (len(tables[0]) - 1))


def satterthwaite(
    variance: float,
    of_prompts: float,
    of_seeds: float,
    shape: tuple[int, ...],
    freedom_of_seeds: int | None = None,
) -> float:
    """Degrees of freedom of the variance of a mean over (seeds, prompts); at least 1."""
    seeds, prompts = shape
    parts = of_prompts**2 / (prompts - 1) + of_seeds**2 / (freedom_of_seeds or max(seeds - 1, 1))
    return max(variance**2 / parts, 1.0) if parts > 0 else float(prompts - 1)
