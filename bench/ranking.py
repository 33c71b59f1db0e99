"""How often a ranking tells equal strategies apart.

With one variance between seeds for all pairs, as `rank` has it, and with each pair's own.

python bench/ranking.py [--trials 300]; about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations

import numpy as np

from securetune.compare.ranking import LEVEL, difference_over_seeds, holm, rank

PROMPTS, NAMES = 100, "abcdefghi"
POINTS: dict[str, list[float]] = {
    "0": [0] * 9,
    "2": [2] * 9,
    "4": [4] * 9,
    "5": [5] * 9,
    "one 6, eight 1.5": [6] + [1.5] * 8,
    "two 5, seven 2": [5] * 2 + [2] * 7,
    "four 5, five 1": [5] * 4 + [1] * 5,
}
"""Standard deviation of the ASR between the seeds of each of nine strategies, in points."""


def world(rng: np.random.Generator, seeds: int, points: list[float]) -> dict[str, list[dict[str, float]]]:
    """Strategies of one kind, which answer the same prompts; only chance tells their seeds apart."""
    ease = 2 * rng.standard_normal(PROMPTS) - 1.5
    middle = 1 / (1 + np.exp(-ease))
    slope = 100 * np.mean(middle * (1 - middle))  # points of ASR per logit
    found = {}
    for name, spread in zip(NAMES, points):
        logits = ease + spread / slope * rng.standard_normal((seeds, 1))
        drawn = rng.random((seeds, PROMPTS)) < 1 / (1 + np.exp(-logits))
        found[name] = [{str(i): float(value) for i, value in enumerate(row)} for row in drawn]
    return found


def alarms(seeds: int, points: list[float], trials: int) -> dict[str, int]:
    """Rankings in which any pair of equal strategies is told apart."""
    rng = np.random.default_rng(0)
    common = own = 0
    for _ in range(trials):
        values = world(rng, seeds, points)
        common += any(pair.distinguishable for pair in rank(values, draws=1).pairs)
        gaps = [
            [{key: x[key] - y[key] for key in x} for x, y in zip(values[a], values[b])]
            for a, b in combinations(NAMES, 2)
        ]
        own += min(holm([difference_over_seeds(gap, draws=1).p_value for gap in gaps])) < LEVEL
    return {"common": common, "own": own, "of": trials}


def main() -> None:
    """Print one line of json per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    trials = parser.parse_args().trials
    for seeds in (2, 3):
        for name, points in POINTS.items():
            print(json.dumps({"seeds": seeds, "points": name, **alarms(seeds, points, trials)}), flush=True)


if __name__ == "__main__":
    main()
