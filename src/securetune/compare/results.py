"""Finished cells -> what they show: rates, matched values, ranking, areas, power. Runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from securetune.compare.cells import START, Cell, CellKey, Point
from securetune.compare.curves import (
    LOSS,
    Axis,
    BySeed,
    area_between,
    axes,
    curves,
    missing_runs,
    reference_point,
    share,
)
from securetune.compare.plans import plan_differences
from securetune.compare.power import Spread, power_table
from securetune.compare.ranking import Ranking, difference_over_seeds, rank
from securetune.compare.weakness import Place, weaknesses
from securetune.config import parse_strategy
from securetune.errors import UsageError
from securetune.evaluation.statistics import Matched, ReferencePoint, matched_over_seeds, rate_over_seeds
from securetune.report.wording import points, points_interval

LEAST = 0.5
"""A strategy is ranked if it lowers held-out loss at least by this share of what plain tuning does (ours):
matching at the loss of one that hardly learnt would tell nothing about the others."""
CONTROLS = ("random", "inverted")


def describe_cells(
    cells: Sequence[Cell], judge: str, baselines: Sequence[str], planned: Sequence[CellKey] = ()
) -> dict[str, Any]:
    """Everything that `comparison.json` holds.

    Args:
        cells: finished ones, with the start model.
        judge: whose verdicts count.
        baselines: of the configuration.
        planned: every run of the comparison, to name those that are missing.

    Raises:
        UsageError: the cells hold no verdicts of the judge.
    """
    cells = sorted(cells, key=lambda cell: (cell.key != START, cell.key))
    judges = {key.rpartition("/")[2] for cell in cells for key in cell.last.outcomes}
    if judge not in judges:
        raise UsageError(f"No verdicts of {judge} in the cells; they have {', '.join(sorted(judges))}.")
    weak = weaknesses(cells, judge)
    found = curves(cells, judge, LOSS, baselines, weak)
    finished = {cell.key for cell in cells}
    missing = [key for key in planned if key not in finished]
    ranking, rest = rank_at_matched_loss({name: one for name, one in found.items() if one})
    unmade = {key.strategy: "no run of it is finished" for key in missing if key.strategy not in found}
    rest["left_out"] = _without_curve(found, weak) | unmade | rest["left_out"]
    rest["seeds_left_out"] = missing_runs(cells)
    rest["points_left_out"] = [
        {**asdict(place), "reason": reason}
        for place, reason in sorted(weak.items())
        if place.name == START.strategy or found.get(place.name)
    ]
    return {
        "judge": judge,
        "cells": len(cells),
        "missing": [key.name for key in missing],
        "seconds": sum(cell.seconds for cell in cells),
        "primary": cells[0].primary,
        "suites": dict(cells[0].suites),
        "models": [_model(name, rate, points, cells[0], judge) for name, rate, points in _models(cells)],
        "matched": _matched(cells, judge, weak),
        "ranking": {**rest, "rows": [asdict(row) for row in ranking.rows], "sentence": ranking.sentence()},
        "pairs": [{**asdict(pair), "distinguishable": pair.distinguishable} for pair in ranking.pairs],
        "headlines": headlines(ranking),
        "areas": _areas(found),
        "curves": _curve_points(cells, judge, weak),
        "power": _power(found, rest["losses"]),
        "plans": plan_differences(cells),
    }


def _without_curve(found: Mapping[str, BySeed], weak: Mapping[Place, str]) -> dict[str, str]:
    """Why strategies have no curve at all."""
    reasons: dict[str, str] = {}
    for name in (name for name, by_seed in found.items() if not by_seed):
        source = "vanilla" if name == "early-stopping" else name
        own = [reason for place, reason in sorted(weak.items()) if place.name == source]
        reasons[name] = f"{own[0]}: no verdict" if own else "no seed has all of its runs"
    return reasons


def rank_at_matched_loss(found: Mapping[str, BySeed]) -> tuple[Ranking, dict[str, Any]]:
    """Rank curves at the lowest held-out loss that all of them reach, seed by seed.

    Returns:
        The ranking, and how it was made: `seeds`, `losses` by seed, `prompts` used, `left_out` with reasons.
    """
    nothing: dict[str, Any] = {"seeds": [], "losses": {}, "prompts": 0, "left_out": {}}
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in found.values()))) if found else []
    plain = found.get("vanilla", {})
    drops = {seed: plain[seed].highest - plain[seed].lowest for seed in seeds} if plain else {}
    if not seeds or not plain:
        reason = "no seed that all have" if plain else "there is no plain tuning to be matched with"
        return rank({}), nothing | {"left_out": {name: reason for name in found}}
    if min(drops.values()) <= 0:
        reason = "plain tuning did not lower the held-out loss"
        return rank({}), nothing | {"seeds": seeds, "left_out": {name: reason for name in found}}
    shares = {
        name: float(np.mean([(by_seed[s].highest - by_seed[s].lowest) / drops[s] for s in seeds]))
        for name, by_seed in found.items()
    }
    ranked = {name: by_seed for name, by_seed in found.items() if shares[name] >= LEAST}
    losses = {seed: max(by_seed[seed].lowest for by_seed in ranked.values()) for seed in seeds}
    values = {name: [by_seed[s].at(losses[s]) or {} for s in seeds] for name, by_seed in ranked.items()}
    left_out = {
        name: f"lowered the held-out loss by {value:.0%} of what plain tuning did: less trained, not safer"
        for name, value in shares.items()
        if name not in ranked
    }
    ranking = rank(values)
    for name in set(values) - {row.name for row in ranking.rows}:
        left_out[name] = "no prompt was scored under all seeds"
    return ranking, {
        "seeds": seeds,
        "losses": losses,
        "prompts": ranking.prompts,
        "left_out": left_out,
    }


def headlines(ranking: Ranking) -> list[str]:
    """Every strategy against plain tuning, and every plan made from the map against the random set."""
    names = [row.name for row in ranking.rows]
    lines = []
    for name in names:
        if name in ("vanilla", *CONTROLS):
            continue
        against = ["vanilla", *(["random"] if _uses_map(name) else [])]
        for other in against:
            pair = ranking.pair(name, other)
            if pair is None or pair.difference.value is None:
                continue
            sign = 1 if pair.first == name else -1
            gap = pair.difference
            ends = sorted(sign * end for end in (gap.low, gap.high) if end is not None)
            interval = f" [{points_interval(ends[0], ends[1])}]" if ends else ""
            verdict = "not distinguishable"
            if pair.distinguishable:
                verdict = "lower" if sign * (gap.value or 0) < 0 else "higher"
            label = "plain tuning at a smaller rate" if other == "vanilla" else "the random set"
            lines.append(
                f"{name} against {label}, at the same held-out loss: ASR {points(sign * (gap.value or 0))}"
                f"{interval}: {verdict}."
            )
    return lines


def _uses_map(name: str) -> bool:
    return name not in ("early-stopping", "ema") and parse_strategy(name)[0] in ("ml-lr", "freeze", "swat")


def _models(cells: Sequence[Cell]) -> list[tuple[str, float, dict[int, Point]]]:
    """(name, rate, last points by seed) of every tuned model, the start model first."""
    found: dict[tuple[str, float], dict[int, Point]] = {}
    for cell in cells:
        found.setdefault((cell.key.strategy, cell.key.rate), {})[cell.key.seed] = cell.last
        averaged = cell.series(ema=True)
        if averaged:
            found.setdefault(("ema", cell.key.rate), {})[cell.key.seed] = averaged[-1]
    return [(name, rate, by_seed) for (name, rate), by_seed in found.items()]


def _model(name: str, rate: float, by_seed: dict[int, Point], cell: Cell, judge: str) -> dict[str, Any]:
    lasts = list(by_seed.values())
    moved = [point.movement for point in lasts if point.movement is not None]
    return {
        "model": name,
        "rate": rate,
        "seeds": sorted(by_seed),
        "step": lasts[0].step,
        "held_out_loss": float(np.mean([point.loss for point in lasts])),
        "movement": float(np.mean(moved)) if moved else None,
        "suites": {
            suite: asdict(rate_over_seeds([point.outcomes[f"{suite}/{judge}"] for point in lasts]))
            for suite in cell.suites
        },
        "coherence": min((v for point in lasts for v in point.coherence.values()), default=None),
        "by_seed": {seed: share(p.outcomes[f"{cell.primary}/{judge}"]) for seed, p in by_seed.items()},
        "tasks": {
            task: asdict(rate_over_seeds([point.tasks[task] for point in lasts])) for task in lasts[0].tasks
        },
    }


def _matched(cells: Sequence[Cell], judge: str, weak: Mapping[Place, str]) -> list[dict[str, Any]]:
    """Every tuned model against plain tuning over its rates, at its own loss, movement and task score.

    A weak model has no difference, and plain tuning goes without its weak rates; the notes say so.
    """
    rows = []
    models = _models(cells)
    start = next(by_seed[0] for name, _, by_seed in models if name == START.strategy)
    rates = {rate: by_seed for name, rate, by_seed in models if name == "vanilla"}
    plain = {rate: one for rate, one in rates.items() if not _reason("vanilla", rate, one, weak)}
    for axis in axes(cells):
        for name, rate, by_seed in models:
            if name in (START.strategy, "vanilla"):
                continue
            complete = [seed for seed in by_seed if plain and all(seed in one for one in plain.values())]
            own = [_reference(by_seed[seed], cells[0].primary, judge, axis, None) for seed in complete]
            references = [
                [
                    _reference(point, cells[0].primary, judge, axis, one)
                    for one, point in [(0.0, start), *((r, plain[r][seed]) for r in sorted(plain))]
                ]
                for seed in complete
            ]
            usable = [
                (point, [p for p in curve if p is not None])
                for point, curve in zip(own, references)
                if point is not None
            ]
            if usable:
                matched = matched_over_seeds([point for point, _ in usable], [curve for _, curve in usable])
                lacking = sorted(set(by_seed) - set(complete))
                matched = replace(matched, note=_note(matched, axis, len(plain) < len(rates), lacking))
                reason = _reason(name, rate, by_seed, weak)
                if reason is not None:
                    note = f"no verdict: {reason}"
                    matched = replace(matched, difference=None, low=None, high=None, note=note)
                rows.append(
                    {"model": name, "rate": rate, "at": axis.name, "seeds": len(usable), **asdict(matched)}
                )
    return rows


def _reason(name: str, rate: float, by_seed: Mapping[int, Point], weak: Mapping[Place, str]) -> str | None:
    """Why the tuned models of a strategy at a rate are weak, if they are."""
    return next((weak[place] for p in by_seed.values() if (place := Place(name, rate, p.step)) in weak), None)


def _note(matched: Matched, axis: Axis, without_rates: bool, lacking: Sequence[int]) -> str | None:
    """Notes of the matching speak of held-out loss; along other axes they say less."""
    some = "some seeds or rates of plain tuning are left out"
    notes = (
        [f"without seed {', '.join(map(str, lacking))}, where plain tuning lacks a rate"] if lacking else []
    )
    if matched.difference is None:
        outside = "outside what plain tuning reached at these rates"
        notes += filter(None, [matched.note if axis is LOSS else outside])
    elif axis is LOSS and matched.note is not None:
        notes += [matched.note, *([some] if without_rates else [])]
    elif without_rates or matched.note is not None:
        notes.append(some)
    return "; ".join(notes) or None


def _reference(point: Point, suite: str, judge: str, axis: Axis, rate: float | None) -> ReferencePoint | None:
    return reference_point(point, suite, judge, axis, rate)


def _areas(found: Mapping[str, BySeed]) -> list[dict[str, Any]]:
    """Area between every curve and plain tuning, over the stretch of held-out loss that both cover."""
    plain, rows = found.get("vanilla", {}), []
    for name, by_seed in found.items():
        gaps = [area_between(curve, plain[seed]) for seed, curve in by_seed.items() if seed in plain]
        usable = [gap for gap in gaps if gap]
        if name != "vanilla" and usable:
            rows.append({"model": name, **asdict(difference_over_seeds(usable))})
    return rows


def _curve_points(cells: Sequence[Cell], judge: str, weak: Mapping[Place, str]) -> list[dict[str, Any]]:
    """Every point that was measured, mean over seeds: what a plot needs."""
    found: dict[tuple[str, float, int], list[Point]] = {}
    for cell in cells:
        for point in cell.points:
            name = "ema" if point.ema else cell.key.strategy
            found.setdefault((name, cell.key.rate, point.step), []).append(point)
    suite = f"{cells[0].primary}/{judge}"
    rows = []
    for (name, rate, step), own in found.items():
        moved = [point.movement for point in own if point.movement is not None]
        rows.append(
            {
                "model": name,
                "rate": rate,
                "step": step,
                "seeds": len(own),
                "held_out_loss": float(np.mean([point.loss for point in own])),
                "movement": float(np.mean(moved)) if moved else None,
                "asr": asdict(rate_over_seeds([point.outcomes[suite] for point in own])),
                "weak": weak.get(Place(name, rate, step)),
            }
        )
    return rows


def _power(found: Mapping[str, BySeed], losses: Mapping[int, float]) -> dict[str, Any]:
    """Prompts and seeds that differences need, from the mean spread of the pairs with plain tuning."""
    pairs = []
    for name, by_seed in found.items():
        if not by_seed.keys() >= losses.keys():
            continue
        values = [(by_seed[seed].at(loss), found["vanilla"][seed].at(loss)) for seed, loss in losses.items()]
        gaps = [{key: a[key] - b[key] for key in a if key in b} for a, b in values if a and b]
        if name != "vanilla" and len(gaps) == len(losses):
            pairs.append(gaps)
    both, prompts = Spread.measured(pairs), Spread.of_one_seed(pairs)
    measured = ["prompts", "seeds"] if both else ["prompts"] if prompts else []
    spread = both or prompts or Spread.assumed()
    return {"measured": measured, **asdict(spread), "needed": power_table(spread)}
