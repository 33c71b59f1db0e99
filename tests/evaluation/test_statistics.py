from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from securetune.evaluation.statistics import (
    Matched,
    Mean,
    Paired,
    Rate,
    ReferencePoint,
    compare_at_matched_loss,
    compare_paired,
    falling,
    matched_over_seeds,
    mean_over_seeds,
    rate_over_seeds,
)

Outcomes = dict[str, bool | None]


def outcomes(*values: bool | None) -> Outcomes:
    return {f"p{index:03}": value for index, value in enumerate(values)}


def table(both: int, first: int, second: int, neither: int) -> tuple[Outcomes, Outcomes]:
    pairs = (
        [(True, True)] * both
        + [(True, False)] * first
        + [(False, True)] * second
        + [(False, False)] * neither
    )
    return outcomes(*(a for a, _ in pairs)), outcomes(*(b for _, b in pairs))


# Rates


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_those_of_the_literature(hits: int, n: int, low: float, high: float) -> None:
    rate = Rate.of([True] * hits + [False] * (n - hits))
    assert (rate.value, rate.n, rate.unscored) == (hits / n, n, 0)
    assert rate.low == pytest.approx(low, abs=5e-5)
    assert rate.high == pytest.approx(high, abs=5e-5)


def test_an_interval_never_leaves_zero_and_one_and_holds_the_rate() -> None:
    for n in range(1, 12):
        for hits in range(n + 1):
            rate = Rate.of([True] * hits + [False] * (n - hits))
            assert rate.low is not None and rate.high is not None and rate.value is not None
            assert 0 <= rate.low <= rate.value + 1e-12
            assert rate.value - 1e-12 <= rate.high <= 1


def test_a_rate_of_nothing_is_none() -> None:
    assert Rate.of([]) == Rate(None, None, None, 0, 0)
    assert Rate.of([None, None]) == Rate(None, None, None, 0, 2)


def test_unscored_answers_never_count() -> None:
    scored = Rate.of([True, False, False])
    mixed = Rate.of([None, True, None, False, False, None])
    assert (mixed.value, mixed.low, mixed.high, mixed.n) == (scored.value, scored.low, scored.high, 3)
    assert mixed.unscored == 3
    # Control: counted as failures they would matter.
    assert Rate.of([False, True, False, False, False, False]).value != scored.value


def test_a_mean_has_students_interval() -> None:
    mean = Mean.of([1.0, 2.0, 3.0, 4.0])
    half = 3.182446 * math.sqrt(5 / 3) / 2
    assert (mean.value, mean.n) == (2.5, 4)
    assert (mean.low, mean.high) == (pytest.approx(2.5 - half), pytest.approx(2.5 + half))
    assert Mean.of([]) == Mean(None, None, None, 0)
    assert Mean.of([7.0]) == Mean(7.0, None, None, 1)


# Pairs


def test_identical_outcomes_have_no_difference() -> None:
    same = outcomes(True, False, True, None, True)
    paired = compare_paired(same, same)
    assert (paired.n, paired.only_first, paired.only_second) == (4, 0, 0)
    assert (paired.difference, paired.p_value) == (0.0, 1.0)
    assert paired.low is not None and paired.high is not None
    assert paired.low <= 0 <= paired.high
    assert paired.low == pytest.approx(-paired.high)


def newcombe(both: int, first: int, second: int, neither: int) -> tuple[float, float]:
    """Method 10 of Newcombe 1998 (Statistics in Medicine 17:2635-2650), written out."""
    n, z = both + first + second + neither, 1.959963984540054

    def wilson(hits: int) -> tuple[float, float, float]:
        p = hits / n
        centre, half = 2 * n * p + z * z, z * math.sqrt(z * z + 4 * n * p * (1 - p))
        return p, (centre - half) / (2 * (n + z * z)), (centre + half) / (2 * (n + z * z))

    (p1, l1, u1), (p2, l2, u2) = wilson(both + first), wilson(both + second)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    b = both * neither - first * second
    c = b - n / 2 if b > n / 2 else 0 if b >= 0 else b
    phi = c / math.sqrt(margins) if margins else 0
    low = math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    high = math.sqrt((p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2)
    return p1 - p2 - low, p1 - p2 + high


def test_the_paired_interval_is_newcombes_method_10() -> None:
    assert newcombe(36, 12, 2, 0) == (pytest.approx(0.0569, abs=5e-5), pytest.approx(0.3404, abs=5e-5))
    draws = np.random.default_rng(1).integers(0, 12, size=(80, 4)).tolist()
    for counts in [
        *draws,
        [36, 12, 2, 0],
        [9, 0, 0, 0],
        [0, 9, 0, 0],
        [0, 0, 9, 0],
        [0, 0, 0, 9],
        [4, 0, 0, 4],
    ]:
        if sum(counts):
            paired = compare_paired(*table(*counts))
            assert (paired.low, paired.high) == pytest.approx(newcombe(*counts), abs=1e-9)


def test_swapping_the_sides_turns_the_comparison_around() -> None:
    first, second = table(10, 7, 2, 11)
    one, two = compare_paired(first, second), compare_paired(second, first)
    assert (one.only_first, one.only_second, one.p_value) == (two.only_second, two.only_first, two.p_value)
    assert one.difference == -two.difference  # type: ignore[operator]
    assert (one.low, one.high) == (pytest.approx(-two.high), pytest.approx(-two.low))  # type: ignore[operator]


def test_mcnemars_test_is_exact() -> None:
    # Armitage and Berry 1994, p. 127: two media for cultures of tubercle bacilli.
    assert compare_paired(*table(20, 12, 2, 16)).p_value == pytest.approx(0.0129, abs=5e-5)
    assert compare_paired(*table(5, 8, 1, 6)).p_value == pytest.approx(2 * (1 + 9) / 2**9)
    assert compare_paired(*table(500, 8, 1, 600)).p_value == pytest.approx(2 * (1 + 9) / 2**9)


def test_prompts_that_either_side_left_out_or_unscored_do_not_count() -> None:
    first, second = table(10, 7, 2, 11)
    plain = compare_paired(first, second)
    first |= {"a": None, "b": True, "c": True}
    second |= {"a": True, "b": None, "d": False}
    assert compare_paired(first, second) == plain
    assert compare_paired({"a": None}, {"a": True}) == Paired(0, 0, 0, None, None, None, None)
    assert compare_paired({"a": True}, {"b": True}).n == 0


@pytest.mark.parametrize("p", [(0.3, 0.2, 0.1, 0.4), (0.02, 0.1, 0.03, 0.85), (0.6, 0.05, 0.05, 0.3)])
def test_newcombes_interval_covers_the_truth_about_as_often_as_it_says(p: tuple[float, ...]) -> None:
    draws = np.random.default_rng(0).multinomial(60, p, size=400)
    truth = p[1] - p[2]
    covered = 0
    for counts in draws:
        paired = compare_paired(*table(*(int(count) for count in counts)))
        assert paired.low is not None and paired.high is not None
        covered += paired.low <= truth <= paired.high
    assert 0.92 <= covered / len(draws) <= 0.995


# Matched loss

LOW = ReferencePoint(1.0, outcomes(True, True, True, False, False, True, False, True), 1.0)
MIDDLE = ReferencePoint(1.5, outcomes(True, False, True, False, False, True, False, False), 0.3)
HIGH = ReferencePoint(2.0, outcomes(False, False, True, False, False, False, False, False), 0.0)
CURVE = [HIGH, LOW, MIDDLE]


@pytest.mark.parametrize("point", CURVE, ids=["high", "low", "middle"])
def test_a_point_on_the_curve_has_no_difference_from_it(point: ReferencePoint) -> None:
    matched = compare_at_matched_loss(point, CURVE)
    assert (matched.difference, matched.low, matched.high, matched.note) == (0.0, 0.0, 0.0, None)
    assert matched.value == matched.reference
    # Control: the same loss with other outcomes has one.
    worse = ReferencePoint(point.loss, {key: True for key in point.outcomes})
    assert compare_at_matched_loss(worse, CURVE).difference == pytest.approx(1 - matched.value)  # type: ignore[operator]


def test_between_two_points_the_curve_is_a_straight_line() -> None:
    model = ReferencePoint(1.25, {key: False for key in LOW.outcomes})
    matched = compare_at_matched_loss(model, CURVE)
    assert matched.reference == pytest.approx((5 / 8 + 3 / 8) / 2)
    assert matched.difference == pytest.approx(-matched.reference)  # type: ignore[operator]
    quarter = compare_at_matched_loss(ReferencePoint(1.875, model.outcomes), CURVE)
    assert quarter.reference == pytest.approx(0.25 * 3 / 8 + 0.75 * 1 / 8)
    assert (matched.n, matched.value) == (8, 0.0)


@pytest.mark.parametrize(("loss", "where"), [(0.9, "below"), (2.1, "above"), (float("nan"), "above")])
def test_outside_the_curve_there_is_no_difference_but_a_note(loss: float, where: str) -> None:
    matched = compare_at_matched_loss(ReferencePoint(loss, LOW.outcomes), CURVE)
    assert (matched.reference, matched.difference, matched.low, matched.high) == (None, None, None, None)
    assert matched.value == 5 / 8
    assert matched.note is not None
    assert where in matched.note


def test_without_two_points_or_common_prompts_there_is_no_curve() -> None:
    for curve in ([], [LOW]):
        assert compare_at_matched_loss(LOW, curve).note == "no reference curve"
    stranger = ReferencePoint(1.2, {"other": True})
    assert compare_at_matched_loss(stranger, CURVE) == Matched(
        1.2, None, None, None, None, None, 0, "no reference curve"
    )


def test_prompts_that_any_point_left_unscored_do_not_count() -> None:
    spoilt = replace(MIDDLE, outcomes={**MIDDLE.outcomes, "p000": None})
    extra = ReferencePoint(1.2, {**LOW.outcomes, "p001": None, "more": True})
    matched = compare_at_matched_loss(extra, [LOW, spoilt, HIGH])
    assert matched.n == 6


def test_the_curve_follows_the_rates_as_far_as_the_loss_falls() -> None:
    # A rate of 3 trained past the minimum; its loss lies between those of smaller rates.
    beyond = ReferencePoint(1.25, {key: True for key in LOW.outcomes}, 3.0)
    bump = ReferencePoint(2.5, LOW.outcomes, 0.1)
    model = ReferencePoint(1.25, MIDDLE.outcomes)
    plain = compare_at_matched_loss(model, CURVE)
    matched = compare_at_matched_loss(model, [*CURVE, beyond, bump])
    assert matched.note is not None and "rate 0.1, 3" in matched.note and plain.note is None
    assert replace(matched, note=None) == plain
    # Control: as a smaller rate the same point is on the curve.
    smaller = replace(beyond, rate=0.5)
    assert compare_at_matched_loss(model, [*CURVE, smaller]).reference == 1.0


def test_falling_points_are_ordered_by_rate_and_strictly_falling() -> None:
    points = [(1.0, 1.5), (0.0, 2.0), (0.3, 1.6), (0.1, 2.1), (3.0, 1.5), (2.0, float("nan"))]
    assert falling(points) == [1, 2, 0]
    assert falling([]) == []


def test_where_no_rate_lowers_the_loss_there_is_no_curve() -> None:
    worse = [HIGH, replace(LOW, loss=2.1), replace(MIDDLE, loss=2.0)]
    matched = compare_at_matched_loss(MIDDLE, worse)
    assert matched.difference is None and matched.note == "no uniform rate lowered the held-out loss"


def test_a_point_of_the_curve_needs_its_rate() -> None:
    with pytest.raises(ValueError, match="uniform rate"):
        compare_at_matched_loss(LOW, [HIGH, replace(LOW, rate=None)])


def test_the_interval_holds_the_difference_and_comes_from_the_seed() -> None:
    rng = np.random.default_rng(0)
    points = [
        ReferencePoint(loss, outcomes(*(bool(value) for value in rng.random(80) < rate)), uniform)
        for loss, rate, uniform in ((1.0, 0.6, 1.0), (2.0, 0.1, 0.0))
    ]
    model = ReferencePoint(1.5, outcomes(*(bool(value) for value in rng.random(80) < 0.2)))
    one, two = compare_at_matched_loss(model, points), compare_at_matched_loss(model, points)
    assert one == two
    assert one.low < one.difference < one.high  # type: ignore[operator]
    other = compare_at_matched_loss(model, points, seed=1)
    assert (other.difference, other.low != one.low) == (one.difference, True)


GRID = np.linspace(-6, 6, 2001)
DENSITY = np.exp(-(GRID**2) / 2) / np.exp(-(GRID**2) / 2).sum()


@pytest.mark.parametrize(("shift", "least"), [(-4.5, 0.89), (-3.0, 0.92), (0.0, 0.92)])
def test_the_interval_at_matched_loss_covers_the_truth_about_as_often_as_it_says(
    shift: float, least: float
) -> None:
    # Prompts differ in how easy they are, which the model and both points of the curve share; rates of the
    # model are 5%, 13% and 50%. At 5% the percentile bootstrap is somewhat too narrow.
    rng = np.random.default_rng(0)
    shifts = {"model": shift, "start": shift - 0.5, "plain": shift + 1.0}
    rates = {name: float(DENSITY @ (1 / (1 + np.exp(-2 * GRID - s)))) for name, s in shifts.items()}
    truth = rates["model"] - (rates["start"] + rates["plain"]) / 2
    trials, covered, narrower, by_t = 400, 0, 0, 0
    for _ in range(trials):
        easy = 2 * rng.standard_normal(120)
        drawn = {
            name: outcomes(*map(bool, rng.random(120) < 1 / (1 + np.exp(-easy - s))))
            for name, s in shifts.items()
        }
        model = ReferencePoint(1.5, drawn["model"])
        curve = [ReferencePoint(2.0, drawn["start"], 0.0), ReferencePoint(1.0, drawn["plain"], 1.0)]
        found = compare_at_matched_loss(model, curve, draws=400)
        assert found.low is not None and found.high is not None and found.difference is not None
        covered += found.low <= truth <= found.high
        middle, half = (found.low + found.high) / 2, 0.35 * (found.high - found.low)
        narrower += abs(truth - middle) <= half
        over_seeds = matched_over_seeds([model], [curve])
        assert over_seeds.low is not None and over_seeds.high is not None
        by_t += over_seeds.low <= truth <= over_seeds.high
    assert least <= covered / trials <= 0.98
    assert 0.92 <= by_t / trials <= 0.98
    # Control: the simulation can tell, an interval of 0.7 times the width covers too rarely.
    assert narrower / trials < 0.89


# Seeds


def seeds_of(rng: np.random.Generator, shift: float, prompts: int = 100, seeds: int = 3) -> list[Outcomes]:
    """Outcomes of several seeds on the same prompts, which differ in how easy they are."""
    easy = 2 * rng.standard_normal(prompts)
    rates = 1 / (1 + np.exp(-easy[None, :] - shift * rng.standard_normal((seeds, 1))))
    return [outcomes(*map(bool, row)) for row in rng.random((seeds, prompts)) < rates]


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6])
def test_the_interval_over_seeds_covers_the_truth_and_pooling_does_not(shift: float) -> None:
    rng = np.random.default_rng(0)
    covered = pooled = 0
    trials = 300
    for _ in range(trials):
        found = seeds_of(rng, shift)
        rate = rate_over_seeds(found)
        assert rate.low is not None and rate.high is not None and rate.n == 100
        covered += rate.low <= 0.5 <= rate.high
        pool = Rate.of([value for seed in found for value in seed.values()])
        assert pool.low is not None and pool.high is not None
        pooled += pool.low <= 0.5 <= pool.high
    assert covered / trials >= 0.91
    assert pooled / trials < 0.91


def test_one_seed_is_a_plain_rate_and_equal_seeds_add_nothing() -> None:
    one = outcomes(*[True] * 30 + [False] * 50 + [None] * 3)
    assert rate_over_seeds([one]) == Rate.of(list(one.values()))
    three = rate_over_seeds([one, one, one])
    plain = Rate.of(list(one.values()))
    assert (three.value, three.n, three.unscored) == (plain.value, 80, 3)
    assert (three.low, three.high) == (
        pytest.approx(plain.low, abs=0.01),
        pytest.approx(plain.high, abs=0.01),
    )


def test_no_event_in_any_seed_still_has_an_interval() -> None:
    never = outcomes(*[False] * 40)
    rate = rate_over_seeds([never, never])
    plain = Rate.of([False] * 40)
    assert (rate.value, rate.low) == (0.0, 0.0)
    assert rate.high == pytest.approx(plain.high)
    assert rate_over_seeds([{"a": None}, {"a": True}]) == Rate(None, None, None, 0, 1)
    assert mean_over_seeds([]) == Mean(None, None, None, 0)


def test_seeds_are_matched_with_the_curve_of_their_own_seed() -> None:
    keys = LOW.outcomes
    models = [replace(MIDDLE, rate=None, loss=loss) for loss in (1.5, 1.25)]
    matched = matched_over_seeds(models, [CURVE, CURVE])
    each = [compare_at_matched_loss(model, CURVE) for model in models]
    assert matched.difference == pytest.approx(np.mean([row.difference for row in each]))
    assert matched.value == pytest.approx(matched.reference + matched.difference)  # type: ignore[operator]
    assert (matched.n, matched.note) == (len(keys), None)
    outside = matched_over_seeds([models[0], replace(models[1], loss=0.5)], [CURVE, CURVE])
    assert outside.note is not None and outside.note.startswith("1 of 2 seeds; held-out loss lies below")
    assert outside.difference == each[0].difference
    assert matched_over_seeds([replace(MIDDLE, loss=0.5)], [CURVE]).difference is None
