"""The statistics of reliability and patterns find what is planted, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securetune.addressing import Address
from securetune.analysis import patterns
from securetune.analysis.halves import random_halves
from securetune.analysis.joint import ALONE, ROBUST, together_patterns
from securetune.analysis.reliability import compare_maps, prompts_needed, spearman_interval, specificity
from securetune.analysis.sensitivity import SensitivityMap

PATHS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj")
ADDRESSES = tuple(Address(layer, path) for layer in range(12) for path in PATHS)


def a_map(values: np.ndarray, prompts: int = 16, noise: float = 0.1, seed: int = 0) -> SensitivityMap:
    rng = np.random.default_rng(seed)
    rows = values * np.exp(noise * rng.standard_normal((prompts, len(values))))
    return SensitivityMap(ADDRESSES, (10,) * len(ADDRESSES), rows, 0.1)


def planted(*, depth: float = 0.0, query_key: float = 0.0, seed: int = 0) -> SensitivityMap:
    base = np.random.default_rng(seed).normal(scale=0.3, size=len(ADDRESSES))
    for index, address in enumerate(ADDRESSES):
        base[index] += depth * address.layer + query_key * patterns.is_query_key(address)
    return a_map(np.exp(base), seed=seed)


def test_depth_is_found_with_its_sign_and_not_by_chance() -> None:
    early, late = (patterns.depth_pattern(planted(depth=d)) for d in (-0.3, 0.3))
    assert early.effect is not None and early.effect < -0.7 and early.p_value is not None
    assert early.p_value < 0.01 and "Early layers are more sensitive" in early.sentence
    assert "Late layers are more sensitive" in late.sentence
    values = [patterns.depth_pattern(planted(seed=s), permutations=200).p_value for s in range(20)]
    assert sum(value is not None and value < 0.05 for value in values) <= 4


def test_query_and_key_are_found_with_their_sign() -> None:
    more, less = (patterns.query_key_pattern(planted(query_key=q)) for q in (1.0, -1.0))
    assert more.effect == pytest.approx(1.0, abs=0.3) and "Q and K are more sensitive" in more.sentence
    assert "Q and K are less sensitive" in less.sentence and less.n == 12
    values = [patterns.query_key_pattern(planted(seed=s), permutations=200).p_value for s in range(20)]
    assert sum(value is not None and value < 0.05 for value in values) <= 4


def test_a_fused_projection_cannot_be_tested() -> None:
    addresses = tuple(Address(layer, path) for layer in range(4) for path in ("attn.c_attn", "mlp.c_fc"))
    fused = SensitivityMap(addresses, (1,) * 8, np.ones((4, 8)), 0.1)
    found = patterns.query_key_pattern(fused)
    assert found.effect is None and "cannot be tested" in found.sentence


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("self_attn.q_proj", True),
        ("self_attn.q_b_proj", True),
        ("attention.key", True),
        ("self_attn.qkv_proj", False),
        ("self_attn.o_proj", False),
        ("mlp.k_proj", False),
    ],
)
def test_queries_and_keys_are_told_by_name(path: str, expected: bool) -> None:
    assert patterns.is_query_key(Address(0, path)) is expected


def test_layers_with_effects_common_to_all_types_are_no_relation_of_depth() -> None:
    """The false alarm rate of pattern A under a random effect of each layer, the same in every type."""
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        layer = rng.normal(size=12)
        logs = np.array([layer[address.layer] + 0.2 * rng.normal() for address in ADDRESSES])
        found = patterns.depth_pattern(a_map(np.exp(logs), prompts=2, seed=seed), 400, seed)
        assert found.p_value is not None
        alarms += found.p_value < 0.05
        if found.p_value >= 0.05:
            assert "No relation of depth and sensitivity is shown" in found.sentence
    assert 2 <= alarms <= 20, "10 are expected of 200; 20 is 3.2 standard deviations more"


def test_types_that_miss_a_layer_are_tested_with_the_others() -> None:
    whole = planted(depth=-0.3)
    kept = [address for address in ADDRESSES if address.layer % 3 or address.path != PATHS[0]]
    found = patterns.depth_pattern(whole.at(kept))
    assert found.n == 4 and found.effect is not None and found.effect < -0.7


def joint_draws(n: int, freedom: int, seed: int, times: float = 1.0) -> list[float]:
    """Ratios whose squares are chi-squared over their degrees of freedom."""
    squares = np.random.default_rng(seed).chisquare(freedom, n) / freedom
    return list(times * np.sqrt(squares))


@pytest.mark.parametrize("freedom", [1, 3, 20])
def test_additive_joint_drift_seldom_passes_for_an_interaction(freedom: int) -> None:
    tests = [patterns.together_pattern(joint_draws(24, freedom, seed), 0.1) for seed in range(400)]
    alarms = sum(test.p_value is not None and test.p_value < 0.05 for test in tests)
    assert alarms <= 35, "20 are expected of 400; 35 is 3.4 standard deviations more"
    assert any("No departure" in test.sentence for test in tests)


def test_joint_excess_is_found_with_its_size_and_says_what_single_matrices_do() -> None:
    more = patterns.together_pattern(joint_draws(24, 3, 0, times=2.0), 0.5, 1.3)
    assert more.effect == pytest.approx(np.log(2), abs=0.3) and more.p_value is not None
    assert more.p_value < 0.01 and more.noise == 0.5 and more.n == 24
    assert "drift more than predicted at noise 0.5" in more.sentence and "1.30 times" in more.sentence
    less = patterns.together_pattern(joint_draws(24, 3, 0, times=0.4), 0.5)
    assert "drift less" in less.sentence
    few = patterns.together_pattern([3.0, 3.1, 2.9], 0.5)
    assert few.p_value is None and "cannot be tested" in few.sentence
    sentence = patterns.describe([more])
    assert sentence.startswith("In this model: ") and sentence.endswith(".")


def test_pattern_c_takes_the_robust_sets_of_one_noise_and_nothing_else() -> None:
    def row(which: str, share: float, noise: float, draws: list[float]) -> dict[str, Any]:
        return {"set": which, "share": share, "noise": noise, "predicted": 2.0, "ratio": 1.5, "draws": draws}

    robust = [2 * draw for draw in joint_draws(12, 3, 1)]
    rows = [row(ROBUST, 0.25, 0.1, robust[:6]), row(ROBUST, 0.5, 0.1, robust[6:])]
    rows += [row("random 0", 0.25, 0.1, [90.0] * 6), row(ROBUST, 1.0, 0.1, [90.0] * 6)]
    rows += [row(ALONE, 0.5, 0.1, [3.0] * 4), row(ROBUST, 0.25, 0.5, [9.0, 8.0, 10.0, 9.5])]
    small, large = together_patterns(rows)
    assert (small.noise, small.n, large.noise, large.n) == (0.1, 12, 0.5, 4)
    assert small.p_value is not None and small.p_value > 0.05 and "1.50 times" in small.sentence
    assert large.p_value is not None and large.p_value < 0.05


@pytest.mark.parametrize("n", [4, 6, 24])
def test_halves_keep_pairs_whole(n: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = random_halves(n, True, rng)
        assert sorted([*first, *second]) == list(range(n))
        assert {index ^ 1 for index in first} == set(first)
    with pytest.raises(ValueError, match="reshape"):
        random_halves(5, True, rng)


def test_twins_do_not_make_a_map_of_noise_reliable() -> None:
    """Pairs have nothing in common, twins everything."""
    pairs = np.random.default_rng(0).exponential(size=(32, len(ADDRESSES)))
    rows = np.repeat(pairs, 2, axis=0)
    together = SensitivityMap(ADDRESSES, (10,) * len(ADDRESSES), rows, 0.1, paired=True)
    apart = replace(together, paired=False)
    honest, flattered = together.split_half(), apart.split_half()
    assert honest is not None and flattered is not None
    assert honest < 0.1 and flattered > 0.2
    kept, mixed = (prompts_needed(found)["curve"]["32"] for found in (together, apart))
    assert kept < 0.1 and mixed > 0.2


def test_a_map_remembers_its_pairs(tmp_path: Path) -> None:
    found = replace(a_map(np.ones(len(ADDRESSES))), paired=True)
    found.save(tmp_path / "map.json")
    loaded = SensitivityMap.load(tmp_path / "map.json")
    assert loaded.paired and loaded.at(ADDRESSES[:4]).paired
    assert not loaded.at(ADDRESSES, [0, 3, 5]).paired, "some prompts need not be pairs"


def test_maps_are_compared_by_the_granularity_of_the_search() -> None:
    """Layers agree, matrices within them do not."""
    rng = np.random.default_rng(0)
    layer = np.array([10.0**address.layer for address in ADDRESSES])
    first, second = (a_map(layer * np.exp(rng.normal(size=len(layer)))) for _ in range(2))
    assert compare_maps("other", first, second, 1 / 24, "layer").iou == 1.0
    assert compare_maps("other", first, second, 1 / 24, "matrix").iou < 1.0


def test_equal_maps_agree_and_unrelated_ones_overlap_by_chance() -> None:
    rng = np.random.default_rng(0)
    first, other = (a_map(rng.exponential(size=len(ADDRESSES))) for _ in range(2))
    same = compare_maps("itself", first, first, 0.5)
    assert same.spearman == pytest.approx(1.0) and same.iou == 1.0
    unrelated = compare_maps("other", first, other, 0.5)
    assert unrelated.low is not None and unrelated.high is not None
    assert unrelated.low < 0.3 and abs(unrelated.iou - unrelated.chance) < 0.2
    assert spearman_interval(np.ones(5), np.arange(5.0)) == (None, None, None)


def test_noisier_maps_need_more_prompts() -> None:
    values = np.exp(np.random.default_rng(0).normal(size=len(ADDRESSES)))
    clean = prompts_needed(a_map(values, prompts=64, noise=0.1))
    noisy = prompts_needed(a_map(values, prompts=64, noise=2.0))
    assert clean["needed"] == 2 and (noisy["needed"] is None or noisy["needed"] > 4)
    assert list(clean["curve"]) == ["2", "4", "8", "16", "32"]


def test_specificity_tells_generic_drift_from_its_own() -> None:
    rng = np.random.default_rng(0)
    generic = a_map(np.exp(rng.normal(size=len(ADDRESSES))), noise=0.01)
    copied = specificity(a_map(generic.drift * 3, noise=0.01), generic)
    assert copied.explained is not None and copied.explained > 0.98
    assert copied.low is not None and 0.95 < copied.low <= copied.explained
    assert copied.generic_split_half is not None and copied.generic_split_half > 0.95
    special = generic.drift.copy()
    special[5] *= 50
    found = specificity(a_map(special, noise=0.01), generic)
    assert max(found.residual, key=lambda name: found.residual[name]) == str(ADDRESSES[5])
    unrelated = specificity(a_map(np.exp(rng.normal(size=len(ADDRESSES)))), generic)
    assert unrelated.explained is not None and unrelated.explained < 0.2
    assert unrelated.high is not None and unrelated.high > unrelated.explained
    noise = a_map(np.ones(len(ADDRESSES)), noise=1.0)
    value = specificity(generic, noise).generic_split_half
    assert value is not None and value < 0.5, "an unreliable control is seen to be one"
