"""The check of the closed form names what is beyond the bound, and seldom anything else."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from securetune.addressing import Address
from securetune.analysis.agreement import NAMING_DRAWS, Agreement, compare, ratio_interval
from securetune.analysis.sensitivity import SensitivityMap
from securetune.analysis_settings import AnalysisSettings

BOUND = 2.0
N = 12


def a_map(per_draw: np.ndarray, addresses: tuple[Address, ...]) -> SensitivityMap:
    """A sampled map of one prompt; `[draws, addresses]`."""
    drift = np.sqrt(np.mean(per_draw**2, axis=0))
    return SensitivityMap(addresses, (1,) * len(addresses), drift[None], 0.1, per_draw=per_draw)


def checked(true: np.ndarray, predicted: np.ndarray, seed: int, draws: int = 4) -> Agreement:
    """What `check_map` does, with drifts of `true` times a Gaussian: all prompts move together."""
    rng = np.random.default_rng(seed)
    addresses = tuple(Address(i, "w") for i in range(len(true)))
    first = a_map(np.abs(true * rng.normal(size=(draws, len(true)))), addresses)
    expected = SensitivityMap(addresses, (1,) * len(true), predicted[None], 0.1)
    doubtful = [row["address"] for row in compare(expected, first, BOUND).doubtful]
    places = [i for i, address in enumerate(addresses) if str(address) in doubtful]
    again = np.abs(true[places] * rng.normal(size=(NAMING_DRAWS, len(places))))
    more = a_map(again, tuple(addresses[i] for i in places)) if places else None
    return compare(expected, first, BOUND, more=more)


def test_a_perfect_map_is_hardly_ever_said_to_fail() -> None:
    true = np.exp(np.random.default_rng(0).normal(size=N))
    found = [checked(true, true, seed) for seed in range(200)]
    doubtful = sum(len(agreement.doubtful) for agreement in found) / (200 * N)
    assert doubtful > 0.05, "the control: four draws alone are beyond a factor of 2 that often"
    assert sum(len(agreement.outside) for agreement in found) / (200 * N) < 0.005


def test_four_draws_alone_name_little() -> None:
    """Without more draws the interval is wide, and it is the interval that counts."""
    rng = np.random.default_rng(0)
    addresses = tuple(Address(i, "w") for i in range(1000))
    ones = SensitivityMap(addresses, (1,) * 1000, np.ones((1, 1000)), 0.1)
    found = compare(ones, a_map(np.abs(rng.normal(size=(4, 1000))), addresses), BOUND)
    assert len(found.doubtful) > 50 and len(found.outside) < 10


def test_matrices_far_beyond_the_bound_are_named_with_their_interval() -> None:
    true = np.ones(N)
    predicted = true.copy()
    predicted[3], predicted[7] = 5.0, 0.2
    named = [checked(true, predicted, seed) for seed in range(50)]
    for address in ("3.w", "7.w"):
        assert sum(address in agreement.outside for agreement in named) > 40
    agreement = next(agreement for agreement in named if "3.w" in agreement.outside)
    row = next(row for row in agreement.doubtful if row["address"] == "3.w")
    assert row["draws"] == NAMING_DRAWS and row["low"] < 0.2 < row["high"] < 1 / BOUND
    assert any(f"({NAMING_DRAWS} draws), ratio within [" in line for line in agreement.describe())
    assert agreement.draws == 4, "the rank correlation is that of the first draws"


@pytest.mark.parametrize("draws", [4, 32])
def test_the_interval_holds_the_ratio_as_often_as_it_says(draws: int) -> None:
    rng = np.random.default_rng(0)
    rows = np.abs(rng.normal(size=(1000, draws)))
    held = [low <= 1.5 <= high for low, high in (ratio_interval(row, 1 / 1.5) for row in rows)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


def test_too_few_draws_for_a_ceiling_are_refused() -> None:
    with pytest.raises(ValidationError, match="check_draws"):
        AnalysisSettings(check_draws=3)
    true = np.exp(np.random.default_rng(0).normal(size=N))
    assert checked(true, true, 0).ceiling is not None
