"""Safety-utility curves: ASR against held-out loss, task score or ||dW||, and what lies between two."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from securetune.compare.cells import START, Cell, CellKey, Outcomes, Point, plain_rate
from securetune.compare.weakness import Place, place_of
from securetune.evaluation.statistics import ReferencePoint, falling, interpolation

Values = Mapping[str, float]
"""Prompt id -> 0 or 1, or what lies between them on a curve."""


@dataclass(frozen=True)
class Axis:
    """What two models are matched at. Curves run towards smaller x, as held-out loss does."""

    name: str
    task: str | None = None

    def x(self, point: Point) -> float | None:
        """Smaller: more was learnt, or the weights moved further."""
        if self.task is not None:
            score = share(point.tasks.get(self.task, {}))
            return None if score is None else -score
        if self.name == "movement":
            return None if point.movement is None else -point.movement
        return point.loss


LOSS, MOVEMENT = Axis("held-out loss"), Axis("movement")


def axes(cells: Sequence[Cell]) -> list[Axis]:
    """Held-out loss, movement, and the score of every task."""
    tasks = sorted({task for cell in cells for task in cell.last.tasks})
    return [LOSS, MOVEMENT, *(Axis(f"score on {task}", task) for task in tasks)]


def share(outcomes: Outcomes) -> float | None:
    """Share of the scored ones that happened; `None` if none was scored."""
    scored = [bool(value) for value in outcomes.values() if value is not None]
    return sum(scored) / len(scored) if scored else None


@dataclass(frozen=True)
class Curve:
    """One seed's points from the start model on, as far as x falls; straight lines between them."""

    points: tuple[ReferencePoint, ...]

    @classmethod
    def through(cls, points: Sequence[ReferencePoint]) -> Curve:
        """Points in the order of how far each was trained; those that gained nothing are left out."""
        kept = falling([(index, point.loss) for index, point in enumerate(points)])
        return cls(tuple(points[index] for index in kept))

    @property
    def lowest(self) -> float:
        """The end of the curve."""
        return self.points[-1].loss if self.points else math.inf

    @property
    def highest(self) -> float:
        """Its start."""
        return self.points[0].loss if self.points else -math.inf

    def at(self, x: float) -> dict[str, float] | None:
        """Values by prompt, of those that both neighbours scored; `None` beyond the ends."""
        if not self.points or not self.lowest <= x <= self.highest:
            return None
        if len(self.points) == 1:
            weights = np.ones(1)
        else:
            weights = interpolation(np.array([p.loss for p in self.points])[::-1], x)[::-1]
        used = [(float(w), p.outcomes) for w, p in zip(weights, self.points) if w > 0]
        keys = [k for k in used[0][1] if all(outcomes.get(k) is not None for _, outcomes in used)]
        return {key: sum(w * bool(outcomes[key]) for w, outcomes in used) for key in keys}


def area_between(curve: Curve, reference: Curve) -> dict[str, float] | None:
    """Mean height of `curve` above `reference` by prompt, over the stretch of x that both cover.

    That is the area between the curves over the length of the stretch, exact for straight lines.
    """
    low, high = max(curve.lowest, reference.lowest), min(curve.highest, reference.highest)
    if not low < high:
        return None
    inner = {p.loss for p in (*curve.points, *reference.points) if low < p.loss < high}
    places = np.array(sorted({low, high, *inner}))
    widths = np.diff(places)
    weights = (np.append(widths, 0) + np.append(0, widths)) / (2 * (high - low))
    pairs = [(curve.at(float(x)), reference.at(float(x))) for x in places]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    keys = sorted(set.intersection(*(a.keys() & b.keys() for a, b in both)))
    return {key: float(sum(w * (a[key] - b[key]) for w, (a, b) in zip(weights, both))) for key in keys}


BySeed = dict[int, Curve]


def missing_runs(cells: Sequence[Cell]) -> dict[int, list[str]]:
    """Seed -> names of the runs that another seed has and this one has not; without complete seeds."""
    keys = [cell.key for cell in cells if cell.key != START]
    runs = sorted({(key.strategy, key.rate) for key in keys})
    wanted = {seed: [CellKey(*run, seed) for run in runs] for seed in sorted({key.seed for key in keys})}
    missing = {seed: [key.name for key in own if key not in keys] for seed, own in wanted.items()}
    return {seed: names for seed, names in missing.items() if names}


def curves(
    cells: Sequence[Cell], judge: str, axis: Axis, baselines: Sequence[str], weak: Collection[Place] = ()
) -> dict[str, BySeed]:
    """Name -> seed -> curve. Plain tuning runs over its rates, its checkpoints are `early-stopping`.

    Other strategies run over their rates if they have several, else over their checkpoints. A seed that lacks
    a rate which another seed has would have another curve, and gets none. Curves go without `weak` points; a
    strategy that has no other has no seeds.
    """
    start = next(cell for cell in cells if cell.key == START)
    keys = [cell.key for cell in cells]
    plain = plain_rate(keys)
    found: dict[str, BySeed] = {}

    def add(name: str, seed: int, own: Sequence[tuple[Cell, Point]]) -> None:
        points = [point for cell, point in own if place_of(cell, point) not in weak]
        by_seed = found.setdefault(name, {})
        if points:
            measured = [reference_point(point, start.primary, judge, axis) for point in (start.last, *points)]
            by_seed[seed] = Curve.through([point for point in measured if point is not None])

    for strategy, seed in dict.fromkeys((key.strategy, key.seed) for key in keys if key != START):
        own = sorted(
            (cell for cell in cells if (cell.key.strategy, cell.key.seed) == (strategy, seed)),
            key=lambda cell: cell.key.rate,
        )
        if len(own) < len({key.rate for key in keys if key.strategy == strategy}):
            found.setdefault(strategy, {})
        elif strategy == "vanilla" or len(own) > 1:
            add(strategy, seed, [(cell, cell.last) for cell in own])
        else:
            add(strategy, seed, [(own[0], point) for point in own[0].series()])
        for cell in own:
            if strategy == "vanilla" and cell.key.rate == plain:
                if "early-stopping" in baselines and len(cell.series()) > 1:
                    add("early-stopping", seed, [(cell, point) for point in cell.series()])
                if cell.series(ema=True):
                    add("ema", seed, [(cell, point) for point in cell.series(ema=True)])
    return found


def reference_point(
    point: Point, suite: str, judge: str, axis: Axis, rate: float | None = None
) -> ReferencePoint | None:
    """A point with its outcomes on the main harmful suite; `None` where the axis was not measured."""
    x = axis.x(point)
    outcomes = point.outcomes.get(f"{suite}/{judge}")
    return None if x is None or outcomes is None else ReferencePoint(x, outcomes, rate)
