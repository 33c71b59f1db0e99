"""Finished cells -> tables: matched loss, movement and score, left out and headlines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securetune.compare.cells import START, Cell, CellKey, Point
from securetune.compare.plans import plan_differences
from securetune.compare.results import describe_cells
from securetune.compare.tables import write_tables
from securetune.errors import UsageError
from securetune.plan import TuningPlan

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


def test_a_model_beyond_plain_tuning_has_the_values_of_all_its_seeds() -> None:
    content = describe_cells(cells(replay=(0.6, 1.2, 20.0)), JUDGE, BASELINES)
    model = next(row for row in content["models"] if row["model"] == "replay")
    assert len(set(model["by_seed"].values())) == 3
    rows = {row["at"]: row for row in content["matched"] if row["model"] == "replay"}
    for row in (rows["held-out loss"], rows["movement"]):
        assert row["difference"] is None and row["note"] and row["seeds"] == 3
        assert row["value"] == pytest.approx(model["suites"]["harmful"]["value"])
    assert rows["held-out loss"]["loss"] == pytest.approx(model["held_out_loss"])


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
    assert all(row["seeds"] == 2 for row in lacking["matched"]) and lacking["matched"]
    assert all("without seed 1, where plain tuning lacks a rate" in row["note"] for row in lacking["matched"])
    assert all("without seed" not in (row["note"] or "") for row in content["matched"])
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


def changed(found: list[Cell], strategy: str, change: Any) -> list[Cell]:
    return [
        replace(cell, points=tuple(map(change, cell.points))) if cell.key.strategy == strategy else cell
        for cell in found
    ]


def values_of(content: dict[str, Any]) -> dict[str, float]:
    return {row["name"]: row["value"] for row in content["ranking"]["rows"]}


def test_unscored_answers_of_one_strategy_change_no_other_and_give_it_no_verdict() -> None:
    found = cells(swat=(0.7, 1.62, 4.0))

    def without_compliances(point: Point) -> Point:
        events = point.outcomes[f"harmful/{JUDGE}"]
        hidden = {key: None if event else event for key, event in events.items()}
        return replace(point, outcomes={**point.outcomes, f"harmful/{JUDGE}": hidden})

    straight = describe_cells(found, JUDGE, BASELINES)
    content = describe_cells(changed(found, "swat", without_compliances), JUDGE, BASELINES)
    assert "swat" in values_of(straight) and "swat" not in values_of(content)
    alone = describe_cells([cell for cell in found if cell.key.strategy != "swat"], JUDGE, BASELINES)
    assert values_of(content) == values_of(alone)
    assert "answers to harmful are unscored: no verdict" in content["ranking"]["left_out"]["swat"]
    row = next(row for row in content["matched"] if row["model"] == "swat")
    assert row["difference"] is None and row["note"].startswith("no verdict: ")
    assert "swat" not in [row["model"] for row in content["areas"]]


def test_every_strategy_is_ranked_or_left_out_with_a_reason() -> None:
    found = cells(swat=(0.7, 1.62, 4.0), ml_lr=(0.1, 1.62, 4.0))
    nothing = changed(
        found, "swat", lambda p: replace(p, outcomes={key: dict.fromkeys(v) for key, v in p.outcomes.items()})
    )
    content = describe_cells(nothing, JUDGE, BASELINES)
    assert {*values_of(content), *content["ranking"]["left_out"]} == {
        *("vanilla", "random", "early-stopping", "ema", "swat", "ml-lr")
    }
    assert content["ranking"]["prompts"] == 60


def test_a_rate_that_babbles_leaves_its_curve_and_no_more() -> None:
    found = cells(ml_lr=(0.1, 1.62, 4.0))
    babble = [
        replace(cell, points=tuple(replace(p, coherence={"harmful": 0.5}) for p in cell.points))
        for cell in (tuned("vanilla", 3.0, seed, 0.95, 1.58, 9.0) for seed in (0, 1, 2))
    ]
    content = describe_cells([*found, *babble], JUDGE, BASELINES)
    assert values_of(content) == values_of(describe_cells(found, JUDGE, BASELINES))
    text = write_tables(content)
    assert "vanilla (rate 3, step 60) is left out of its curve: only 50% of its answers" in text
    row = next(row for row in content["matched"] if row["model"] == "ml-lr")
    assert "some seeds or rates of plain tuning are left out" in row["note"]


def test_a_checkpoint_that_babbles_leaves_the_curve() -> None:
    found = cells(swat=(0.1, 1.4, 4.0))
    halfway = changed(
        found, "swat", lambda p: replace(p, coherence={"harmful": 0.2 if p.step == 30 else 1.0})
    )
    places = describe_cells(halfway, JUDGE, BASELINES)["ranking"]["points_left_out"]
    assert [(place["name"], place["step"]) for place in places] == [("swat", 30)]
    assert describe_cells(found, JUDGE, BASELINES)["ranking"]["points_left_out"] == []


def test_without_any_usable_plain_tuning_the_reason_is_said() -> None:
    content = describe_cells(
        changed(cells(), "vanilla", lambda p: replace(p, coherence={"harmful": 0.5})), JUDGE, BASELINES
    )
    left_out = content["ranking"]["left_out"]
    assert left_out["vanilla"].startswith("only 50%") and left_out["early-stopping"].startswith("only 50%")
    assert left_out["random"] == "there is no plain tuning to be matched with"


def test_planned_runs_that_are_missing_are_named() -> None:
    found = cells(ml_lr=(0.1, 1.62, 4.0))
    planned = [cell.key for cell in found]
    assert describe_cells(found, JUDGE, BASELINES, planned)["missing"] == []
    some = [cell for cell in found if cell.key.strategy != "random" and cell.key.rate != 0.3]
    content = describe_cells(some, JUDGE, BASELINES, planned)
    assert content["ranking"]["left_out"]["random"] == "no run of it is finished"
    text = write_tables(content)
    assert text.count("**6 of 13 planned runs are missing:** ") == 1
    assert "Not ranked: random: no run of it is finished." in text


def planned(cell: Cell, *patterns: str) -> Cell:
    plan = TuningPlan.from_multipliers(dict.fromkeys(patterns, 1.0), outside=0.01)
    return replace(cell, plan=plan.to_json())


def test_runs_of_a_strategy_with_different_plans_are_named() -> None:
    found = cells(ml_lr=(0.1, 1.62, 4.0))
    others = [cell for cell in found if cell.key.strategy != "ml-lr"]
    first, second, third = (cell for cell in found if cell.key.strategy == "ml-lr")
    one = [planned(cell, "0.mlp", "q_proj") for cell in (first, second, third)]
    assert plan_differences([*others, *one]) == []
    assert plan_differences(found) == []  # Of the time before plans were recorded.
    differ = [*others, *one[:2], planned(third, "0.mlp", "k_proj", "v_proj")]
    [sentence] = plan_differences(differ)
    assert sentence == (
        "The runs of ml-lr had 2 different plans (seeds 0, 1: 2 patterns; seeds 2: 3 patterns; 1 are in all)."
    )
    content = describe_cells(differ, JUDGE, BASELINES)
    assert sentence in write_tables(content)
    assert sentence not in write_tables(describe_cells([*others, *one], JUDGE, BASELINES))
    [sentence] = plan_differences([*others, first, *one[1:]])
    assert sentence.endswith("whether they are the same: the plans of ml-lr with seed 0.")
    # The random set is drawn anew under every seed.
    random = [planned(cell, str(i)) for i, cell in enumerate(others) if cell.key.strategy == "random"]
    assert plan_differences(random) == []


def test_a_plan_survives_the_file_of_its_cell(tmp_path: Path) -> None:
    cell = planned(cells()[1], "q_proj")
    assert Cell.read(cell.write(tmp_path)) == cell
