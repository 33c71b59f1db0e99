"""Rates with intervals, paired comparisons, and safety interpolated at matched held-out loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from securetune.evaluation.crossed import BetweenSeeds, satterthwaite, variances


@dataclass(frozen=True)
class Rate:
    """A share of scored answers with its Wilson 95% interval; all `None` when nothing was scored."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Scored answers."""
    unscored: int

    @classmethod
    def of(cls, outcomes: Sequence[bool | None], confidence: float = 0.95) -> Rate:
        """Count `True` among the outcomes; `None` outcomes are unscored and leave the rate alone."""
        scored = [outcome for outcome in outcomes if outcome is not None]
        unscored = len(outcomes) - len(scored)
        if not scored:
            return cls(None, None, None, 0, unscored)
        hits = sum(scored)
        interval = stats.binomtest(hits, len(scored)).proportion_ci(confidence, "wilson")
        return cls(hits / len(scored), float(interval.low), float(interval.high), len(scored), unscored)


@dataclass(frozen=True)
class Mean:
    """A mean with its Student-t 95% interval over rows."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    p_value: float | None = None
    """Two-sided, of a mean of zero, by the same t; `None` without a spread."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """The mean of `values`; without spread information (n < 2) the interval is `None`."""
        n = len(values)
        if n == 0:
            return cls(None, None, None, 0)
        mean = float(np.mean(values))
        if n == 1:
            return cls(mean, None, None, 1)
        return cls.by_t(mean, float(np.std(values, ddof=1)) / math.sqrt(n), n - 1, n)

    @classmethod
    def by_t(cls, mean: float, error: float, freedom: float, n: int) -> Mean:
        """A mean with a standard error at so many degrees of freedom."""
        half = float(stats.t.ppf(0.975, freedom)) * error
        p_value = 2 * float(stats.t.sf(abs(mean) / error, freedom)) if error > 0 else None
        return cls(mean, mean - half, mean + half, n, p_value)


@dataclass(frozen=True)
class Paired:
    """Two models on the same prompts: who succeeded where the other did not."""

    n: int
    only_first: int
    only_second: int
    difference: float | None
    """Rate of the first minus rate of the second, on prompts scored for both."""
    low: float | None
    high: float | None
    p_value: float | None
    """Exact McNemar test (two-sided)."""


def compare_paired(
    first: Mapping[str, bool | None], second: Mapping[str, bool | None], confidence: float = 0.95
) -> Paired:
    """Compare outcomes by prompt id; prompts that either side left unscored do not count.

    The interval is Newcombe's hybrid score interval for paired proportions (Newcombe 1998, method 10).
    """
    pairs: list[tuple[bool, bool]] = []
    for key in sorted(first.keys() & second.keys()):
        a, b = first[key], second[key]
        if a is not None and b is not None:
            pairs.append((a, b))
    n = len(pairs)
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    if n == 0:
        return Paired(0, 0, 0, None, None, None, None)
    discordant = only_first + only_second
    p_value = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    both = sum(a and b for a, b in pairs)
    low, high = _newcombe(both, only_first, only_second, n, confidence)
    return Paired(n, only_first, only_second, (only_first - only_second) / n, low, high, p_value)


def _newcombe(both: int, only_first: int, only_second: int, n: int, confidence: float) -> tuple[float, float]:
    first, second = both + only_first, both + only_second
    neither = n - both - only_first - only_second
    p1, p2 = first / n, second / n
    a, b = (Rate.of([True] * hits + [False] * (n - hits), confidence) for hits in (first, second))
    assert a.low is not None and a.high is not None and b.low is not None and b.high is not None
    product = first * (n - first) * second * (n - second)
    phi = 0.0
    if product > 0:
        determinant = float(both * neither - only_first * only_second)
        # The continuity correction of method 10, only where the correlation is positive.
        determinant = max(determinant - n / 2, 0.0) if determinant > 0 else determinant
        phi = determinant / math.sqrt(product)
    d = p1 - p2
    lower = _root((p1 - a.low) ** 2 - 2 * phi * (p1 - a.low) * (b.high - p2) + (b.high - p2) ** 2)
    upper = _root((a.high - p1) ** 2 - 2 * phi * (a.high - p1) * (p2 - b.low) + (p2 - b.low) ** 2)
    return d - lower, d + upper


def _root(value: float) -> float:
    return math.sqrt(max(value, 0.0))


@dataclass(frozen=True)
class ReferencePoint:
    """One model: its held-out loss and its outcome on every prompt."""

    loss: float
    outcomes: Mapping[str, bool | None]
    rate: float | None = None
    """Its uniform rate: 0 for the start model, 1 for plain tuning; `None` for a model off the curve."""


@dataclass(frozen=True)
class Matched:
    """A model against plain tuning interpolated to the model's own held-out loss."""

    loss: float
    value: float | None
    reference: float | None
    """Rate that plain tuning at a uniform rate would have at this loss."""
    difference: float | None
    low: float | None
    high: float | None
    n: int
    note: str | None = None
    """Why there is no value, or which uniform rates the curve leaves out."""


def falling(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (rate, held-out loss) pairs that make a curve, by ascending rate.

    A pair stays if its loss is below that of every smaller rate. So the curve ends at the lowest loss, and
    rates that trained more without learning more are not on it. Not finite losses never are.
    """
    kept: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: points[i][0]):
        loss = points[index][1]
        if math.isfinite(loss) and (not kept or loss < points[kept[-1]][1]):
            kept.append(index)
    return kept


def compare_at_matched_loss(
    model: ReferencePoint, reference: Sequence[ReferencePoint], *, draws: int = 2000, seed: int = 0
) -> Matched:
    """Compare a model's rate with the uniform-rate curve at the same held-out loss.

    The curve is piecewise linear in held-out loss through the reference points (start model, uniform rates,
    plain tuning) that are `falling`; a note names those that are not. Prompts are resampled in pairs
    (percentile bootstrap); the interval covers the choice of prompts, not of seeds. Outside the span of the
    curve there is no value, and a note says so.
    """
    matched, gap = _gaps(model, reference)
    if gap is None:
        return matched
    gaps = np.array(list(gap.values()))
    sample = np.random.default_rng(seed).integers(0, len(gaps), size=(draws, len(gaps)))
    low, high = np.quantile(gaps[sample].mean(axis=1), [0.025, 0.975])
    return replace(matched, low=float(low), high=float(high))


def _gaps(
    model: ReferencePoint, reference: Sequence[ReferencePoint]
) -> tuple[Matched, dict[str, float] | None]:
    """The comparison without its interval, and by prompt the own outcome minus that of the curve."""
    rates = [_rate_of(point) for point in reference]
    kept = falling([(rate, point.loss) for rate, point in zip(rates, reference)])
    curve = [reference[index] for index in kept]
    left_out = sorted(rate for index, rate in enumerate(rates) if index not in kept)
    note = None
    if left_out:
        names = ", ".join(f"{rate:g}" for rate in left_out)
        note = f"not on the curve, because a smaller rate reached as low a held-out loss: rate {names}"
    keys = _common([model, *curve])
    nothing = Matched(model.loss, None, None, None, None, None, len(keys))
    if not keys or len(curve) < 2:
        reason = "no uniform rate lowered the held-out loss" if keys and left_out else "no reference curve"
        return replace(nothing, note=reason), None
    own = np.array([bool(model.outcomes[key]) for key in keys], dtype=float)
    value = float(own.mean())
    losses = np.array([point.loss for point in curve])
    if not losses[-1] <= model.loss <= losses[0]:
        where = "below" if model.loss < losses[-1] else "above"
        outside = f"held-out loss lies {where} that of every uniform rate"
        return replace(nothing, value=value, note="; ".join(filter(None, [outside, note]))), None
    table = np.array([[bool(point.outcomes[key]) for key in keys] for point in curve], dtype=float)
    # Losses descend along the curve.
    by_prompt = interpolation(losses[::-1], model.loss)[::-1] @ table
    gap = own - by_prompt
    reference_value = float(by_prompt.mean())
    matched = Matched(model.loss, value, reference_value, float(gap.mean()), None, None, len(keys), note)
    return matched, dict(zip(keys, gap.tolist()))


def _rate_of(point: ReferencePoint) -> float:
    if point.rate is None:
        raise ValueError("a point of the reference curve needs its uniform rate")
    return point.rate


def _common(points: Sequence[ReferencePoint]) -> list[str]:
    """Prompts that are scored for every point."""
    first, *others = points
    return sorted(
        key
        for key, outcome in first.outcomes.items()
        if outcome is not None and all(point.outcomes.get(key) is not None for point in others)
    )


def mean_over_seeds(
    values: Sequence[Mapping[str, float | None]], between: BetweenSeeds | None = None
) -> Mean:
    """The mean of one value per seed and prompt, with a 95% interval over prompts and seeds.

    The same prompts are asked of every seed, so seeds x prompts values are not so many independent ones.
    Both factors are random and crossed: the variance of the mean is that between prompt means plus that
    between seed means minus the residual's (Cameron, Gelbach and Miller 2011, two-way clustering; never less
    than either), with Student's t at Satterthwaite's degrees of freedom. A bootstrap over three seeds would
    be too narrow: it cannot leave their range. With one seed the interval covers the prompts alone.

    Args:
        values: per seed, prompt id -> value; prompts that any seed left unscored do not count.
        between: the variance between seed means, where it is known better than from these values.

    Returns:
        The mean; `n` counts prompts.
    """
    if not values:
        return Mean(None, None, None, 0)
    keys = sorted(set.intersection(*({k for k, v in seed.items() if v is not None} for seed in values)))
    if len(keys) < 2:
        return Mean.of([float(np.mean([float(seed[key] or 0) for seed in values])) for key in keys])
    table = np.array([[float(seed[key] or 0) for key in keys] for seed in values])
    if len(values) == 1:
        return Mean.of(table[0].tolist())
    mean, (of_prompts, of_seeds, of_residual) = float(table.mean()), variances(table)
    of_seeds = of_seeds if between is None else between.variance
    variance = max(of_prompts + of_seeds - of_residual, of_prompts, of_seeds)
    known = None if between is None else between.freedom
    freedom = satterthwaite(variance, of_prompts, of_seeds, table.shape, known)
    return Mean.by_t(mean, math.sqrt(variance), freedom, len(keys))


def rate_over_seeds(outcomes: Sequence[Mapping[str, bool | None]]) -> Rate:
    """A rate over seeds that answered the same prompts; `n` counts prompts, `unscored` those left out.

    The interval is Wilson's at the number of independent prompts that would give the variance of
    `mean_over_seeds` (Kish's effective size), at most the number of prompts: it stays within [0, 1] and is
    not empty where nothing, or everything, happened.
    """
    if len(outcomes) == 1:
        return Rate.of(list(outcomes[0].values()))
    mean = mean_over_seeds(outcomes)
    asked = len({key for seed in outcomes for key in seed})
    if mean.value is None:
        return Rate(None, None, None, 0, asked)
    effective = float(mean.n)
    spread = mean.value * (1 - mean.value)
    if mean.high is not None and mean.high > mean.value and spread > 0:
        effective = min(effective, spread * (_Z / (mean.high - mean.value)) ** 2)
    low, high = _wilson(mean.value, effective)
    return Rate(mean.value, low, high, mean.n, asked - mean.n)


_Z = float(stats.norm.ppf(0.975))


def _wilson(rate: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval of a rate on `n` trials, which need not be whole."""
    centre = (rate + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(rate * (1 - rate) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def matched_over_seeds(
    models: Sequence[ReferencePoint], references: Sequence[Sequence[ReferencePoint]]
) -> Matched:
    """Compare one model tuned with several seeds with the curve of the same seed each time.

    The mean difference and its interval are those of `mean_over_seeds`; seeds whose loss is outside their
    curve have no difference, and the note says how many did.

    Args:
        models: the model, once per seed.
        references: the points of the uniform-rate curve of each of these seeds.
    """
    found = [_gaps(model, curve) for model, curve in zip(models, references)]
    notes = list(dict.fromkeys(matched.note for matched, _ in found if matched.note))
    gaps = [gap for _, gap in found if gap is not None]
    if not gaps:
        values = [matched.value for matched, _ in found]
        value = None if None in values else float(np.mean([value or 0.0 for value in values]))
        loss = float(np.mean([matched.loss for matched, _ in found]))
        return replace(found[0][0], loss=loss, value=value, note="; ".join(notes))
    if len(gaps) < len(found):
        notes.insert(0, f"{len(gaps)} of {len(found)} seeds")
    usable = [matched for matched, gap in found if gap is not None]
    loss, value, reference = (
        float(np.mean([getattr(matched, name) for matched in usable]))
        for name in ("loss", "value", "reference")
    )
    mean = mean_over_seeds(gaps)
    note = "; ".join(notes) or None
    return Matched(loss, value, reference, mean.value, mean.low, mean.high, mean.n, note)


def interpolation(losses: np.ndarray, loss: float) -> np.ndarray:
    """Weights of the points of a piecewise linear curve at `loss`; `losses` ascend."""
    weights = np.zeros(len(losses))
    right = int(np.clip(np.searchsorted(losses, loss), 1, len(losses) - 1))
    span = losses[right] - losses[right - 1]
    share = 0.0 if span == 0 else float((loss - losses[right - 1]) / span)
    weights[right - 1], weights[right] = 1 - share, share
    return weights
