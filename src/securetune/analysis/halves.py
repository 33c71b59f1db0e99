"""Random halves of the rows of a map; the prompts of a pair stay together."""

from __future__ import annotations

import numpy as np


def shuffled_units(n: int, paired: bool, rng: np.random.Generator) -> np.ndarray:
    """Row numbers `[units, rows of a unit]` in random order.

    Args:
        n: rows.
        paired: rows 2k and 2k + 1 are a harmful prompt and its twin: nearly the same text, so one of them in
            each half would make the halves agree whatever the other prompts say.
        rng: of the order.

    Raises:
        ValueError: an odd number of rows cannot be pairs.
    """
    return rng.permutation(np.arange(n).reshape(-1, 2 if paired else 1))


def random_halves(n: int, paired: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of two random halves, whole units each; see `shuffled_units`."""
    first, second = np.array_split(shuffled_units(n, paired, rng), 2)
    return first.ravel(), second.ravel()
