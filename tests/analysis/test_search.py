from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securetune.addressing import Address
from securetune.analysis.sampling import root_mean_square
from securetune.analysis.search import (
    FINAL_SEEDS,
    RobustSet,
    chance_overlap,
    find_robust_set,
    rank_units,
    stability,
    units_of,
)
from securetune.analysis.sensitivity import SensitivityMap
from securetune.errors import ConfigError

N = 64
ADDRESSES = tuple(Address(layer, "w") for layer in range(N))


def a_map(sizes: tuple[int, ...] = (10,) * N) -> SensitivityMap:
    drift = np.arange(1, N + 1, dtype=float)
    return SensitivityMap(ADDRESSES, sizes, np.tile(drift, (4, 1)), 0.1)


class Oracle:
    """Verified drift that is larger than predicted: robust modules are sensitive together."""

    def __init__(self) -> None:
        self.seeds: list[tuple[int, ...]] = []

    @property
    def calls(self) -> int:
        return len(self.seeds)

    def __call__(self, addresses: Sequence[Address], seeds: Sequence[int]) -> list[float]:
        self.seeds.append(tuple(seeds))
        return [float(len(addresses)) ** 1.5 for _ in seeds]


def test_a_share_takes_the_least_sensitive_matrices_and_verifies_once() -> None:
    verify = Oracle()
    found = find_robust_set(a_map(), verify, share=0.5, draws=2)
    assert found.addresses == ADDRESSES[: N // 2]
    assert found.share == 0.5 and found.excess == pytest.approx(found.verified / found.predicted)
    assert (verify.calls, found.tests, found.draws) == (1, 1, 2)
    assert found.verified == pytest.approx(32**1.5)
    assert found.predicted == pytest.approx(float(np.sqrt(np.sum(np.arange(1, 33) ** 2))))


def test_a_budget_keeps_the_longest_prefix_within_it_by_bisection() -> None:
    verify = Oracle()
    found = find_robust_set(a_map(), verify, budget=40.0)
    assert len(found.addresses) == 11  # 11^1.5 = 36.5 <= 40 < 12^1.5 = 41.6
    assert found.verified <= 40.0
    assert verify.calls <= np.ceil(np.log2(N)) + 2, "and one for the result"


def test_a_budget_that_nothing_fits_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"least sensitive matrix alone has the verified drift 1.*Raise"):
        find_robust_set(a_map(), Oracle(), budget=0.5)


def test_greedy_tests_every_unit_and_skips_what_does_not_fit() -> None:
    calls: list[list[Address]] = []

    def verify(addresses: Sequence[Address], seeds: Sequence[int]) -> list[float]:
        calls.append(list(addresses))
        return [9.0 if ADDRESSES[1] in addresses else 0.1 * len(addresses)]

    found = find_robust_set(a_map(), verify, budget=1.0, method="greedy")
    assert found.addresses == (ADDRESSES[0], *ADDRESSES[2:11])
    assert len(calls) == N + 1
    with pytest.raises(ConfigError, match="greedy"):
        find_robust_set(a_map(), verify, share=0.5, method="greedy")


def test_random_sets_depend_on_the_seed_and_drift_more() -> None:
    ranked = find_robust_set(a_map(), Oracle(), share=0.5)
    first, second = (find_robust_set(a_map(), Oracle(), share=0.5, method="random", seed=s) for s in (1, 2))
    assert first.addresses != second.addresses and len(first.addresses) == len(ranked.addresses)
    assert min(first.predicted, second.predicted) > ranked.predicted


@pytest.mark.parametrize(
    ("granularity", "units"), [("matrix", 24), ("layer-block", 12), ("layer", 6), ("type-band", 12)]
)
def test_units_partition_the_addresses(granularity: str, units: int) -> None:
    paths = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")
    addresses = [Address(layer, path) for layer in range(6) for path in paths]
    found = units_of(addresses, granularity)
    assert len(found) == units
    assert sorted(index for unit in found for index in unit) == list(range(24))


def test_whole_units_are_taken() -> None:
    addresses = tuple(Address(layer, path) for layer in range(4) for path in ("a.x", "a.y", "b.z"))
    drift = np.tile(np.arange(1.0, 13.0), (4, 1))
    found = find_robust_set(
        SensitivityMap(addresses, (1,) * 12, drift, 0.1), Oracle(), share=0.5, granularity="layer"
    )
    assert found.addresses == addresses[:6]


def test_stability_is_one_for_a_stable_map_and_chance_for_noise() -> None:
    stable, chance = stability(a_map(), 0.5, "matrix")
    assert stable == 1.0 and 0.25 < chance < 0.42
    noise = SensitivityMap(ADDRESSES, (10,) * N, np.random.default_rng(0).exponential(size=(20, N)), 0.1)
    value, chance = stability(noise, 0.5, "matrix")
    assert value is not None and abs(value - chance) < 0.12


def test_rank_prefers_many_parameters_for_little_drift() -> None:
    drift = np.array([[2.0, 1.0, 2.0]])
    sizes = (100, 1, 4)
    sensitivity = SensitivityMap(ADDRESSES[:3], sizes, drift, 0.1)
    assert rank_units(sensitivity) == [[0], [1], [2]]


def test_tests_are_logged_and_not_repeated_after_a_kill(tmp_path: Path) -> None:
    log = tmp_path / "search.jsonl"
    first = Oracle()
    found = find_robust_set(a_map(), first, budget=40.0, log_path=log)
    with log.open("a") as stream:
        stream.write('{"key": "3", "val')
    second = Oracle()
    assert find_robust_set(a_map(), second, budget=40.0, log_path=log) == found
    assert second.calls == 0 < first.calls


def test_a_set_survives_saving(tmp_path: Path) -> None:
    found = find_robust_set(a_map(), Oracle(), share=0.25)
    found.save(tmp_path / "set.json")
    assert RobustSet.load(tmp_path / "set.json") == found


def test_the_result_is_verified_with_noise_that_the_search_has_not_used() -> None:
    """The noise of the search is kind to the set that it chose; other noise is not."""

    def verify(addresses: Sequence[Address], seeds: Sequence[int]) -> list[float]:
        seen.append(tuple(seeds))
        return [len(addresses) * (1.0 if seed < FINAL_SEEDS else 3.0) for seed in seeds]

    for method in ("bisect", "greedy"):
        seen: list[tuple[int, ...]] = []  # greedy asks every question of other noise, bisect all of the same
        found = find_robust_set(a_map(), verify, budget=10.0, method=method, draws=3)
        assert len(found.addresses) == 10 and found.verified == 30.0
        assert found.seeds == seen[-1] and not set(found.seeds) & {s for seeds in seen[:-1] for s in seeds}
        assert found.fresh and found.tests == len(seen)
        assert len(set(seen)) == (len(seen) if method == "greedy" else 2)


def test_greedy_does_not_gather_units_whose_noise_cancels() -> None:
    """Joint drift is the length of a sum of random vectors: under one draw, a chosen sum stays short."""

    def verify(addresses: Sequence[Address], seeds: Sequence[int]) -> list[float]:
        places = [ADDRESSES.index(address) for address in addresses]
        noise = [np.random.default_rng(seed).normal(size=(N, 2)) for seed in seeds]
        return [float(np.linalg.norm(one[places].sum(0))) for one in noise]

    budget = 2.5
    found = find_robust_set(a_map(), verify, budget=budget, method="greedy", draws=2)
    fixed: list[Address] = []
    for address in ADDRESSES:
        if root_mean_square(verify([*fixed, address], (10**6, 10**6 + 1))) <= budget:
            fixed.append(address)
    assert len(fixed) > 1.5 * len(found.addresses), "the same draws of noise let far more pass"


def test_what_draws_nothing_is_run_once_per_set() -> None:
    verify = Oracle()
    found = find_robust_set(a_map(), verify, budget=40.0, draws=None)
    assert found.draws == 1 and not found.fresh
    assert set(verify.seeds) == {(0,)} and verify.calls == found.tests
    assert verify.calls <= np.ceil(np.log2(N)) + 1, "the result was tested by the search already"


def test_the_log_says_how_every_test_was_made(tmp_path: Path) -> None:
    log = tmp_path / "search.jsonl"
    find_robust_set(a_map(), Oracle(), budget=40.0, method="random", seed=5, draws=2, log_path=log)
    rows = [json.loads(line)["value"] for line in log.read_text().splitlines()]
    assert all(
        (row["method"], row["granularity"], row["budget"]) == ("random", "matrix", 40.0) for row in rows
    )
    assert all(len(row["draws"]) == len(row["seeds"]) == 2 and row["predicted"] > 0 for row in rows)


def test_tests_of_an_earlier_search_in_the_log_are_not_counted(tmp_path: Path) -> None:
    log = tmp_path / "search.jsonl"
    find_robust_set(a_map(), Oracle(), budget=40.0, log_path=log)
    assert find_robust_set(a_map(), Oracle(), share=0.5, log_path=log).tests == 1


def test_the_error_names_the_unit_that_was_tried() -> None:
    with pytest.raises(ConfigError, match="first matrix of the random order alone"):
        find_robust_set(a_map(), Oracle(), budget=0.5, method="random")
    with pytest.raises(ConfigError, match=r"of every matrix alone, the best has the verified drift 1,"):
        find_robust_set(a_map(), Oracle(), budget=0.5, method="greedy")


def test_only_a_prefix_of_the_ranking_has_a_stability() -> None:
    for method, reason in (("random", "chose nothing"), ("greedy", "joint tests")):
        found = find_robust_set(a_map(), Oracle(), budget=40.0, method=method)
        assert found.stability is None and found.chance is None
        assert found.stability_note is not None and reason in found.stability_note
    ranked = find_robust_set(a_map(), Oracle(), budget=40.0)
    assert ranked.stability == 1.0 and ranked.stability_note is None


def test_where_sizes_decide_the_ranking_sets_overlap_without_any_agreement() -> None:
    """Drifts differ by less than neighbouring sizes do, so drift per parameter takes the largest first."""
    rng = np.random.default_rng(0)
    sizes = tuple(int(100 * 1.5**index) for index in range(N))
    sensitivity = SensitivityMap(ADDRESSES, sizes, rng.uniform(1, 1.2, (20, N)), 0.1)
    assert chance_overlap(sensitivity, sensitivity, 0.9, "matrix") == 1.0
    assert chance_overlap(a_map(), a_map(), 0.5, "matrix") == pytest.approx(1 / 3, abs=0.08), "equal sizes"


def test_twins_do_not_make_a_map_of_noise_stable() -> None:
    """Twins that move alike, pairs that have nothing in common."""
    pairs = np.random.default_rng(0).exponential(size=(12, N))
    noise = SensitivityMap(ADDRESSES, (10,) * N, np.repeat(pairs, 2, axis=0), 0.1, paired=True)
    apart, chance = stability(noise, 0.5, "matrix")
    assert apart is not None and abs(apart - chance) < 0.12
    mixed, _ = stability(replace(noise, paired=False), 0.5, "matrix")
    assert mixed is not None and mixed > chance + 0.12, "the control: one of each pair in each half"
