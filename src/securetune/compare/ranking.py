"""Differences over seeds and prompts, and a ranking that says what cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from securetune.compare.curves import Values
from securetune.evaluation.crossed import BetweenSeeds
from securetune.evaluation.statistics import mean_over_seeds

LEVEL = 0.05
"""Of all pairs of a ranking together."""
DRAWS = 2000


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences over seeds and prompts."""

    value: float | None
    low: float | None
    """95% interval over prompts and seeds, both random and crossed; see `mean_over_seeds`."""
    high: float | None
    bootstrap_low: float | None
    """Percentiles of the paired bootstrap over seeds and prompts; too narrow with few seeds."""
    bootstrap_high: float | None
    p_value: float
    """Of no difference; 1 where nothing can be said."""
    n: int
    """Prompts."""
    seeds: int


def difference_over_seeds(
    gaps: Sequence[Values], *, draws: int = DRAWS, seed: int = 0, between: BetweenSeeds | None = None
) -> Difference:
    """The mean difference of two models that answered the same prompts, tuned with the same seeds.

    Args:
        gaps: per seed, prompt id -> value of the first model minus that of the second.
        draws: of the paired bootstrap: seeds and prompts are drawn anew, both models with them.
        seed: of the bootstrap.
        between: the variance between seeds, where it is known better than from these differences.
    """
    mean = mean_over_seeds(gaps, between)
    if mean.value is None or mean.low is None or mean.high is None:
        return Difference(mean.value, None, None, None, None, 1.0, mean.n, len(gaps))
    keys = sorted(set.intersection(*(set(gap) for gap in gaps)))
    table = np.array([[gap[key] for key in keys] for gap in gaps])
    low, high = np.quantile(_resampled(table[None], draws, seed)[0], [0.025, 0.975])
    p_value = mean.p_value
    if p_value is None:
        # Every prompt changed alike: the sign test.
        p_value = 1.0 if mean.value == 0 else min(1.0, 2 * 0.5**mean.n)
    return Difference(mean.value, mean.low, mean.high, float(low), float(high), p_value, mean.n, len(gaps))


@dataclass(frozen=True)
class Pair:
    """Two strategies at the same place."""

    first: str
    second: str
    difference: Difference
    adjusted: float
    """p-value after Holm's correction for all pairs of the ranking."""

    @property
    def distinguishable(self) -> bool:
        """Whether the two differ surely."""
        return self.adjusted < LEVEL


@dataclass(frozen=True)
class Ranked:
    """One strategy in the ranking."""

    name: str
    value: float
    rank_low: int
    """Lowest rank that it may have: 1 + how many are surely lower."""
    rank_high: int
    """Highest rank: the number of strategies - how many are surely higher."""
    best_share: float
    """Share of the paired bootstrap draws in which it is the lowest; ties are shared."""


@dataclass(frozen=True)
class Ranking:
    """Strategies by rising value, and every pair of them."""

    rows: tuple[Ranked, ...]
    pairs: tuple[Pair, ...]
    prompts: int = 0
    """That have a value for every strategy and seed; all values and pairs rest on these."""

    def pair(self, first: str, second: str) -> Pair | None:
        """The comparison of two strategies, in whichever order it is stored."""
        return next((pair for pair in self.pairs if {pair.first, pair.second} == {first, second}), None)

    def sentence(self) -> str:
        """Who is first, and who cannot be told apart from it."""
        if len(self.rows) < 2:
            return "Fewer than two strategies can be ranked."
        best = self.rows[0].name
        near = [
            row.name
            for row in self.rows[1:]
            if (pair := self.pair(best, row.name)) is not None and not pair.distinguishable
        ]
        if len(near) == len(self.rows) - 1 and not any(pair.distinguishable for pair in self.pairs):
            return f"Not distinguishable: {', '.join(row.name for row in self.rows)}."
        if near:
            return f"{best} is lowest, but not distinguishable from {', '.join(near)}."
        return f"{best} is lowest, and distinguishable from all others."


def rank(values: Mapping[str, Sequence[Values]], *, draws: int = DRAWS, seed: int = 0) -> Ranking:
    """Rank strategies by their mean value; lower is better.

    All pairs are compared on the prompts that have a value for every strategy and seed; two are told apart
    only if they differ after Holm's correction for all pairs at 5%. Two or three seeds say little about the
    spread between seeds of one pair, and the pair whose spread looks small by chance would be told apart too
    often, so all pairs share one variance between seeds. Rank ranges follow from the pairs, so that all of
    them hold together with 95% confidence.

    Args:
        values: name -> per seed (the same seeds in the same order for all), prompt id -> value; a name
            without a prompt that all of its seeds have is not ranked.
        draws: of the paired bootstrap.
        seed: of the paired bootstrap.
    """
    values = {name: seeds for name, seeds in values.items() if common_prompts({name: seeds})}
    names, common = list(values), common_prompts(values)
    if not common:
        return Ranking((), ())
    table = np.array([[[one[key] for key in common] for one in values[name]] for name in names])
    places = list(combinations(range(len(names)), 2))
    between = None
    if places and table.shape[1] > 1 and len(common) > 1:
        between = BetweenSeeds.pooled([table[a] - table[b] for a, b in places], len(names))
    differences = [
        difference_over_seeds(
            [dict(zip(common, row)) for row in (table[a] - table[b]).tolist()],
            draws=draws,
            seed=seed,
            between=between,
        )
        for a, b in places
    ]
    adjusted = holm([difference.p_value for difference in differences])
    pairs = tuple(
        Pair(names[a], names[b], difference, p)
        for (a, b), difference, p in zip(places, differences, adjusted)
    )
    shares = _best_shares(table, draws, seed)
    rows = []
    for index, name in enumerate(names):
        surely = [
            _sign(pair, name) for pair in pairs if name in (pair.first, pair.second) and pair.distinguishable
        ]
        low, high = 1 + surely.count(1), len(names) - surely.count(-1)
        rows.append(Ranked(name, float(table[index].mean()), low, high, shares[index]))
    return Ranking(tuple(sorted(rows, key=lambda row: (row.value, row.name))), pairs, len(common))


def common_prompts(values: Mapping[str, Sequence[Values]]) -> list[str]:
    """Prompts that have a value for every name and seed: what the values of a ranking rest on."""
    every = [set(one) for seeds in values.values() for one in seeds]
    return sorted(set.intersection(*every)) if every else []


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for all of them (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, running = [1.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _sign(pair: Pair, name: str) -> int:
    """1 if `name` is the higher one of a pair."""
    higher = pair.first if (pair.difference.value or 0) > 0 else pair.second
    return 1 if higher == name else -1


def _resampled(table: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Means of (names, seeds, prompts) values under the paired bootstrap: (names, draws)."""
    rng = np.random.default_rng(seed)
    _, seeds, prompts = table.shape
    of_seeds = rng.multinomial(seeds, [1 / seeds] * seeds, size=draws) / seeds
    of_prompts = rng.multinomial(prompts, [1 / prompts] * prompts, size=draws) / prompts
    return np.einsum("nsp,ds,dp->nd", table, of_seeds, of_prompts, optimize=True)


def _best_shares(table: np.ndarray, draws: int, seed: int) -> list[float]:
    means = _resampled(table, draws, seed)
    best = np.isclose(means, means.min(axis=0), atol=1e-12)
    return [float(share) for share in (best / best.sum(axis=0)).mean(axis=1)]
