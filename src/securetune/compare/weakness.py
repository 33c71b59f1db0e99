"""Measured points that cannot carry a verdict: too many answers are incoherent or unscored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from securetune.compare.cells import Cell, Point
from securetune.report.lookup import MAX_UNSCORED, MIN_COHERENT


@dataclass(frozen=True, order=True)
class Place:
    """One model of a comparison, whatever its seed."""

    name: str
    """Strategy, or `ema` for the moving average of plain tuning."""
    rate: float
    step: int


def place_of(cell: Cell, point: Point) -> Place:
    """Where a point of a cell stands."""
    return Place("ema" if point.ema else cell.key.strategy, cell.key.rate, point.step)


def weaknesses(cells: Sequence[Cell], judge: str) -> dict[Place, str]:
    """Place -> why no verdict can rest on it, under any of its seeds.

    Whether babble counts as an attack success or as safe depends on the judge; answers that were not scored
    are missing, and seldom at random. Either would decide a ranking. The bounds are those of the report.
    """
    found: dict[Place, str] = {}
    for cell in cells:
        for point in cell.points:
            reason = _weakness(point, f"{cell.primary}/{judge}")
            if reason is not None:
                found.setdefault(place_of(cell, point), reason)
    return found


def _weakness(point: Point, key: str) -> str | None:
    coherent = min(point.coherence.values(), default=1.0)
    if coherent < MIN_COHERENT:
        return f"only {coherent:.0%} of its answers in a suite are coherent"
    outcomes = point.outcomes.get(key, {})
    unscored = sum(value is None for value in outcomes.values())
    if unscored > MAX_UNSCORED * len(outcomes):
        return f"{unscored} of {len(outcomes)} answers to {key.rpartition('/')[0]} are unscored"
    return None
