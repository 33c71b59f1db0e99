"""The variance of a mean over prompts and seeds, both random and crossed (two-way clustering)."""

from __future__ import annotations

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


def satterthwaite(variance: float, of_prompts: float, of_seeds: float, shape: tuple[int, ...]) -> float:
    """Degrees of freedom of the variance of a mean over (seeds, prompts); at least 1."""
    seeds, prompts = shape
    parts = of_prompts**2 / (prompts - 1) + of_seeds**2 / max(seeds - 1, 1)
    return max(variance**2 / parts, 1.0) if parts > 0 else float(prompts - 1)
