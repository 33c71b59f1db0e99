from __future__ import annotations

import pytest

from securetune.addressing import Address
from securetune.config import StrategySettings, parse_strategy
from securetune.errors import PlanError
from securetune.strategies.build import build_plan, mean_multiplier, needs_robust_set, random_set

SIZES = {Address(layer, path): size for layer in range(6) for path, size in (("q", 10), ("up", 30))}
ROBUST = tuple(Address(layer, "up") for layer in range(3, 6))
SETTINGS = StrategySettings(ratio=0.01)


def multipliers(name: str, seed: int = 0) -> dict[Address | None, tuple[float, ...]]:
    plan = build_plan(name, SETTINGS, SIZES, ROBUST, seed=seed)
    return {address: plan.multipliers_of(address) for address in (*SIZES, Address(0, "norm"), None)}


def test_vanilla_and_uniform_give_everything_one_rate() -> None:
    assert set(multipliers("vanilla").values()) == {(1.0,)}
    assert set(multipliers("uniform-0.3").values()) == {(0.3,)}
    assert set(multipliers("uniform").values()) == {(0.3,)}


def test_uniform_mean_is_the_parameter_weighted_mean_of_ml_lr() -> None:
    values = multipliers("ml-lr")
    mean = sum(values[address][0] * size for address, size in SIZES.items()) / sum(SIZES.values())
    assert multipliers("uniform-mean")[None][0] == pytest.approx(mean)
    assert mean_multiplier(SIZES, ROBUST, 0.01) == pytest.approx(mean)


def test_ml_lr_gives_the_robust_set_the_full_rate_and_the_rest_the_ratio() -> None:
    values = multipliers("ml-lr")
    assert all(values[a] == ((1.0,) if a in ROBUST else (0.01,)) for a in values)


def test_freeze_is_ml_lr_at_zero_with_gradients_off() -> None:
    plan = build_plan("freeze", SETTINGS, SIZES, ROBUST)
    assert plan.freeze and plan.multipliers_of(Address(0, "q")) == (0.0,)
    assert plan.multipliers_of(ROBUST[0]) == (1.0,)


def test_swat_warms_up_the_robust_set_and_then_trains_everything() -> None:
    values = multipliers("swat")
    assert values[ROBUST[0]] == (1.0, 1.0)
    assert values[Address(0, "q")] == values[None] == (0.0, 1.0)


def test_inverted_is_the_complement() -> None:
    values = multipliers("inverted")
    assert all(values[a] == ((0.01,) if a in ROBUST else (1.0,)) for a in SIZES)


def test_random_has_as_many_parameters_and_depends_on_the_seed() -> None:
    target = sum(SIZES[address] for address in ROBUST)
    sets = [frozenset(random_set(SIZES, target, seed)) for seed in range(8)]
    assert all(abs(sum(SIZES[a] for a in chosen) - target) <= 10 for chosen in sets)
    assert len(set(sets)) > 1
    assert multipliers("random", 3) == multipliers("random", 3)


def test_replay_changes_the_data_and_not_the_plan() -> None:
    assert multipliers("ml-lr+self-replay") == multipliers("ml-lr")
    assert multipliers("self-replay") == multipliers("vanilla")


@pytest.mark.parametrize(
    ("name", "parsed", "needs"),
    [
        ("vanilla", ("vanilla", None, ""), False),
        ("uniform-0.1", ("uniform", 0.1, ""), False),
        ("uniform-mean", ("uniform", None, ""), True),
        ("self-replay", ("vanilla", None, "self-replay"), False),
        ("swat+self-replay", ("swat", None, "self-replay"), True),
    ],
)
def test_names_are_parsed(name: str, parsed: tuple[str, float | None, str], needs: bool) -> None:
    assert parse_strategy(name) == parsed
    assert needs_robust_set(name) is needs


@pytest.mark.parametrize("name", ["mllr", "uniform-x", "uniform-0", "vanilla+mix", "self-replay+vanilla"])
def test_unknown_names_list_the_valid_ones(name: str) -> None:
    with pytest.raises(ValueError, match="uniform"):
        parse_strategy(name)


@pytest.mark.parametrize("name", ["ml-lr", "freeze", "swat", "random", "inverted", "uniform-mean"])
def test_an_empty_robust_set_is_an_error_with_a_remedy(name: str) -> None:
    with pytest.raises(PlanError, match=r"robust set is empty.*analysis\.drift_budget"):
        build_plan(name, SETTINGS, SIZES, ())
    # Control: what needs no robust set is built.
    assert build_plan("vanilla", SETTINGS, SIZES, ()).strategy == "vanilla"


def test_the_complement_of_everything_is_an_error() -> None:
    with pytest.raises(PlanError, match="12 of 12 matrices"):
        build_plan("inverted", SETTINGS, SIZES, tuple(SIZES))
