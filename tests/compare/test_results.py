"""Finished cells -> tables: matched loss, movement and score, left out and headlines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from securetune.compare.cells import START, Cell, CellKey, Point
from securetune.compare.results import describe_cells
from securetune.compare.tables import write_tables
from securetune.errors import UsageError

JUDGE = "judge"
BASELINES = ("plain-rates", "ema", "early-stopping", "replay", "random")
SUITES = {"harmful": True, "twins": False}
EASE = np.random.default_rng(0).permutation((np.arange(120) + 0.5) / 120)
"""A prompt is answered where the model's ASR is above its ease: outcomes are paired."""


def point(
    step: int, asr: float, loss: float, *, moved: float, ema: bool = False, score: float = 0.0
) -> Point:
    events = {f"p{i:03}": bool(EASE[i] < asr) for i in range(120 if step in (0, 60) else 60)}
    tasks = {"gsm8k": {f"q{i}": i < round(score * 20) for i in range(20)}} if step in (0, 60) else {}
    outcomes: dict[str, Any] = {f"harmful/{JUDGE}": events}
    if step in (0, 60):
        outcomes[f"twins/{JUDGE}"] = {f"t{i}": i < 3 for i in range(30)}
    return Point(step, ema, loss, moved, outcomes, tasks)


def tuned(
    name: str, rate: float, seed: int, asr: float, loss: float, moved: float, score: float = 0.3
) -> Cell:
    """A run whose ASR and loss go in a straight line from the start model's (2%, 2.0) to its end."""
    sway = 0.01 * (seed - 1)
    halfway = point(30, (0.02 + asr + sway) / 2, (2.0 + loss) / 2, moved=moved / 2)
    end = point(60, asr + sway, loss + sway / 10, moved=moved, score=score)
    points = [halfway, end]
    if name == "vanilla" and rate == 1:
        points.append(replace(point(60, asr - 0.2, loss + 0.1, moved=moved / 2, score=score), ema=True))
    return Cell(CellKey(name, rate, seed), {"train": {"seed": seed}}, "harmful", SUITES, tuple(points), 1.0)


def cells(**extra: tuple[float, float, float]) -> list[Cell]:
    found = [Cell(START, {}, "harmful", SUITES, (point(0, 0.02, 2.0, moved=0.0),), 1.0)]
    for seed in (0, 1, 2):
        found += [tuned("vanilla", 0.3, seed, 0.5, 1.7, 3.0, 0.2), tuned("vanilla", 1.0, seed, 0.9, 1.6, 8.0)]
        found += [tuned("random", 1.0, seed, 0.7, 1.65, 5.0)]
        found += [tuned(name.replace("_", "-"), 1.0, seed, *numbers) for name, numbers in extra.items()]
    return found


def test_a_planted_strategy_is_first_at_matched_loss_and_controls_are_told_apart() -> None:
    content = describe_cells(cells(ml_lr=(0.1, 1.62, 4.0)), JUDGE, BASELINES)
    ranking = content["ranking"]
    assert ranking["rows"][0]["name"] == "ml-lr"
    assert ranking["sentence"] == "ml-lr is lowest, and distinguishable from all others."
    # The lowest loss that all of them reach is where the average of the plain weights ends.
    assert list(ranking["losses"].values()) == pytest.approx([1.7, 1.7, 1.7])
    lines = [line for line in content["headlines"] if line.startswith("ml-lr")]
    assert [line.rsplit(": ", 1)[1] for line in lines] == ["lower.", "lower."]
    assert "the random set" in lines[1] and "plain tuning" in lines[0]
    text = write_tables(content)
    assert "**ml-lr is lowest, and distinguishable from all others.**" in text
    assert text.count("###") == 6 and "nan" not in text


def test_a_strategy_on_the_plain_curve_is_not_distinguishable_from_it() -> None:
    # Where plain tuning at rate 0.3 ends.
    content = describe_cells(cells(ml_lr=(0.5, 1.7, 3.0)), JUDGE, BASELINES)
    line = next(line for line in content["headlines"] if line.startswith("ml-lr against plain"))
    assert line.endswith("not distinguishable.")
    assert "ml-lr" in [row["name"] for row in content["ranking"]["rows"]]
    matched = {(row["model"], row["at"]): row for row in content["matched"]}
    row = matched["ml-lr", "held-out loss"]
    assert row["difference"] == pytest.approx(0.0) and row["low"] <= 0 <= row["high"]
    area = next(row for row in content["areas"] if row["model"] == "random")
    assert area["low"] is not None


def test_models_are_matched_at_movement_and_score_as_well() -> None:
    content = describe_cells(cells(ml_lr=(0.1, 1.62, 5.5)), JUDGE, BASELINES)
    matched = {(row["model"], row["at"]): row for row in content["matched"]}
    at_movement = matched["ml-lr", "movement"]
    # ||dW|| 5.5 is halfway between 3 and 8: plain tuning would be at 70%.
    assert at_movement["reference"] == pytest.approx(0.7, abs=0.01)
    assert at_movement["difference"] == pytest.approx(-0.6, abs=0.01)
    at_score = matched["ml-lr", "score on gsm8k"]
    assert at_score["reference"] == pytest.approx(0.9, abs=0.01)
    assert {key for key, _ in matched} == {"ml-lr", "random", "ema"}


def test_what_hardly_learnt_is_left_out_and_does_not_move_the_match() -> None:
    content = describe_cells(cells(freeze=(0.02, 1.95, 0.5)), JUDGE, BASELINES)
    assert "less trained, not safer" in content["ranking"]["left_out"]["freeze"]
    assert "freeze" not in [row["name"] for row in content["ranking"]["rows"]]
    assert max(content["ranking"]["losses"].values()) == pytest.approx(1.7)
    assert "Not ranked: freeze: " in write_tables(content)


def test_where_plain_tuning_learns_nothing_nothing_is_ranked() -> None:
    flat = [
        cell if cell.key == START else replace(cell, points=tuple(replace(p, loss=2.1) for p in cell.points))
        for cell in cells()
    ]
    content = describe_cells(flat, JUDGE, BASELINES)
    assert content["ranking"]["rows"] == [] and content["headlines"] == []
    assert set(content["ranking"]["left_out"].values()) == {"plain tuning did not lower the held-out loss"}
    assert "Fewer than two strategies" in write_tables(content)


def test_the_order_of_cells_and_prompts_changes_nothing() -> None:
    straight = cells(ml_lr=(0.1, 1.62, 4.0))
    turned = [
        replace(cell, points=tuple(replace(p, outcomes={k: dict(reversed(v.items())) for k, v in
                p.outcomes.items()}) for p in cell.points))
        for cell in reversed(straight)
    ]  # fmt: skip
    assert describe_cells(turned, JUDGE, BASELINES) == describe_cells(straight, JUDGE, BASELINES)


def test_an_unfinished_grid_is_shown_as_far_as_it_goes() -> None:
    partial = [
        cell for cell in cells(ml_lr=(0.1, 1.62, 4.0)) if (cell.key.strategy, cell.key.seed) != ("random", 2)
    ]
    content = describe_cells(partial, JUDGE, BASELINES)
    assert content["ranking"]["seeds"] == [0, 1]
    assert content["ranking"]["seeds_left_out"] == {2: ["random.rate1.seed2"]}
    slow = [cell for cell in cells() if (cell.key.rate, cell.key.seed) != (0.3, 1)]
    lacking = describe_cells(slow, JUDGE, BASELINES)
    assert lacking["ranking"]["seeds"] == [0, 2] and {row["seeds"] for row in lacking["areas"]} == {2}
    assert "Seed 1 is not in the ranking: vanilla.rate0.3.seed1 missing." in write_tables(lacking)
    assert {row["model"]: len(row["seeds"]) for row in content["models"]}["random"] == 2
    only = [cell for cell in partial if cell.key.strategy in ("start", "random")]
    alone = describe_cells(only, JUDGE, BASELINES)
    assert alone["ranking"]["rows"] == [] and alone["matched"] == []
    write_tables(alone)


def test_an_unknown_judge_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="No verdicts of nobody in the cells; they have judge"):
        describe_cells(cells(), "nobody", BASELINES)


def test_a_strategy_that_babbles_is_not_ranked_whatever_its_rate() -> None:
    found = cells(ml_lr=(0.1, 1.62, 4.0))
    babbling = [
        replace(cell, points=tuple(replace(p, coherence={"harmful": 0.6, "twins": 1.0}) for p in cell.points))
        if cell.key.strategy == "ml-lr"
        else cell
        for cell in found
    ]
    content = describe_cells(babbling, JUDGE, BASELINES)
    assert "ml-lr" not in [row["name"] for row in content["ranking"]["rows"]]
    assert content["ranking"]["left_out"]["ml-lr"].startswith(
        "only 60% of its answers in a suite are coherent"
    )
    assert content["ranking"]["rows"], "the others are ranked"
    assert "| 60.0% |" in write_tables(content)


def test_one_seed_says_that_intervals_are_over_prompts_alone() -> None:
    one = [cell for cell in cells() if cell.key.seed == 0]
    assert "over prompts alone: one seed" in write_tables(describe_cells(one, JUDGE, BASELINES))
    assert "over prompts and seeds" in write_tables(describe_cells(cells(), JUDGE, BASELINES))
