"""`securetune compare` on a tiny chat model: what it writes, how it resumes, what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from securetune.__main__ import main
from securetune.compare.cells import START, Cell, CellKey, plain_rate, plan_cells, read_cells
from securetune.compare.grid import Grid
from securetune.config import Config, load_settings, validate
from securetune.errors import ConfigError, DataError, PlanNotAppliedError, TrainingError, UsageError
from securetune.evaluation.vllm_engine import EngineError
from securetune.files import read_json
from securetune.pipeline import Pipeline
from securetune.training.snapshots import SnapshotCallback
from tiny_chat import ANSWER, FAST, REFUSAL, write_tuning_file

COMPARE = [
    "strategy.names=[ml-lr]",
    "compare.baselines=[plain-rates, ema, early-stopping]",
    "compare.plain_rates=[0.5, 1.0]",
    "compare.seeds=[0]",
    "compare.checkpoints=[0.5]",
    "compare.checkpoint_prompts=6",
    "compare.suites=[harmful, twins]",
]
CELLS = ["ml-lr.rate1.seed0", "start", "vanilla.rate0.5.seed0", "vanilla.rate1.seed0"]


def arguments(config: Path, out: Path, *more: str) -> list[str]:
    settings = [word for option in (*FAST, *COMPARE) for word in ("--set", option)]
    return ["-q", "compare", str(config), "--out", str(out), *settings, *more]


@pytest.fixture(scope="module")
def config(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("config")
    data = write_tuning_file(directory / "tuning.jsonl")
    path = directory / "compare.yaml"
    path.write_text(yaml.safe_dump({"model": {"id": str(chat_model)}, "data": {"source": str(data)}}))
    return path


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that was interrupted while it measured its third model, and then went on."""
    out = tmp_path_factory.mktemp("compare")
    measure = Grid.make
    made: list[str] = []

    def interrupted(self: Grid, key: CellKey) -> Cell:
        made.append(key.name)
        cell = measure(self, key)
        if len(made) == 2:
            raise KeyboardInterrupt
        return cell

    patch = pytest.MonkeyPatch()
    patch.setattr(Grid, "make", interrupted)
    assert main(arguments(config, out)) == 130
    assert made == ["start", "vanilla.rate1.seed0"]
    assert [path.stem for path in (out / "cells").glob("*.json")] == ["start"]
    trained = out / "work" / "tune" / "vanilla.rate1.seed0" / "stage.json"
    before = trained.stat().st_mtime_ns, (out / "cells" / "start.json").read_bytes()
    assert main(arguments(config, out)) == 0
    # The finished cell was skipped, and what the other one had trained was kept.
    assert made[2:] == ["vanilla.rate1.seed0", "vanilla.rate0.5.seed0", "ml-lr.rate1.seed0"]
    assert (trained.stat().st_mtime_ns, (out / "cells" / "start.json").read_bytes()) == before
    patch.undo()
    return out


def test_every_cell_has_verdicts_by_prompt_losses_and_movement(finished: Path) -> None:
    cells = {cell.key.name: cell for cell in read_cells(finished / "cells")}
    assert sorted(cells) == CELLS
    plain = cells["vanilla.rate1.seed0"]
    assert [(point.step, point.ema) for point in plain.points] == [
        (2, False),
        (2, True),
        (4, False),
        (4, True),
    ]
    judge = plain.inputs["evaluate"]["judges"][0]
    first, last = plain.series()
    assert len(first.outcomes[f"harmful/{judge}"]) == 6 and f"twins/{judge}" not in first.outcomes
    assert len(last.outcomes[f"harmful/{judge}"]) == len(last.outcomes[f"twins/{judge}"]) == 8
    assert first.outcomes[f"harmful/{judge}"].keys() < last.outcomes[f"harmful/{judge}"].keys()
    assert cells["start"].last.movement == 0 and cells["start"].plan is None
    planned = finished / "work" / "tune" / "ml-lr.rate1.seed0" / "plan.json"
    assert cells["ml-lr.rate1.seed0"].plan == read_json(planned)
    slow, averaged = cells["vanilla.rate0.5.seed0"].last, plain.series(ema=True)[-1]
    assert 0 < slow.movement < last.movement and 0 < averaged.movement < last.movement
    assert last.loss < cells["start"].last.loss, "tuning learns something here"
    for path in (finished / "cells").glob("*.json"):
        assert REFUSAL not in path.read_text() and ANSWER not in path.read_text()
    # Weights on the way are gone, the last ones stay.
    tuned = finished / "work" / "tune" / "vanilla.rate1.seed0"
    assert (tuned / "adapter").is_dir() and not (tuned / "snapshots").exists()


def test_the_tables_come_from_the_cells_alone(
    finished: Path, config: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cells").symlink_to(finished / "cells")
    monkeypatch.setattr("securetune.start_model.load_model", None)
    assert main(arguments(config, tmp_path, "--tables", "--json")) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == read_json(finished / "comparison.json")
    text = (tmp_path / "comparison.md").read_text()
    assert text == (finished / "comparison.md").read_text()
    page = (tmp_path / "comparison.html").read_text()
    assert "<svg" in page and content["ranking"]["sentence"] in page and "early-stopping</text>" in page
    for name in ("vanilla", "early-stopping", "ema", "ml-lr"):
        assert f"| {name} |" in text or f"Not ranked: {name}" in text
    ranked = {row["name"] for row in content["ranking"]["rows"]} | set(content["ranking"]["left_out"])
    assert ranked == {"vanilla", "early-stopping", "ema", "ml-lr"}
    assert {row["at"] for row in content["matched"]} == {"held-out loss", "movement"}
    own = [row for row in content["models"] if row["model"] == "start"]
    assert own[0]["suites"]["harmful"]["n"] == 8 and own[0]["movement"] == 0
    assert content["power"]["measured"] in ([], ["prompts"]), "one seed shows no spread between seeds"
    assert main(arguments(config, tmp_path, "--tables", "--judge", "refusal-list-wei")) == 0
    assert main(arguments(config, tmp_path / "nothing", "--tables")) == 1
    assert "expected start.json" in capsys.readouterr().err


def test_a_finished_cell_from_other_inputs_is_refused_by_name(
    finished: Path, config: Path, capsys: Any
) -> None:
    before = {path: path.read_bytes() for path in (finished / "cells").glob("*.json")}
    assert main(arguments(config, finished, "--set", "train.steps=5")) == 1
    assert (
        "vanilla.rate1.seed0.json was made from other inputs: train.steps: 4 -> 5" in capsys.readouterr().err
    )
    assert main(arguments(config, finished, "--set", "evaluate.max_new_tokens=9")) == 1
    assert "evaluate.max_new_tokens: 12 -> 9" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in (finished / "cells").glob("*.json")}
    other = Cell.read(finished / "cells" / "start.json")
    changed = replace(other, key=CellKey("vanilla", 1.0, 7), inputs={**other.inputs, "data": "x"})
    path = changed.write(finished / "cells")
    with pytest.raises(UsageError, match=r"seed7.json was made from other inputs: data: "):
        read_cells(finished / "cells")
    path.unlink()
    plain = Cell.read(finished / "cells" / "vanilla.rate1.seed0.json")
    train = {**plain.inputs["train"], "steps": 9}
    path = replace(plain, key=CellKey("vanilla", 1.0, 7), inputs={**plain.inputs, "train": train}).write(
        finished / "cells"
    )
    with pytest.raises(UsageError, match=r"seed7.json was made from other inputs: train.steps: "):
        read_cells(finished / "cells")
    path.unlink()
    for name in ("vanilla.rate1.seed0", "ml-lr.rate1.seed0"):
        asked = Cell.read(finished / "cells" / f"{name}.json").inputs["train"].get("prompts", {})
        assert ("analysed" in asked) is (name.startswith("ml-lr"))


def test_seeds_tuned_at_another_rate_or_decay_are_not_pooled(
    finished: Path, config: Path, tmp_path: Path, capsys: Any
) -> None:
    cells = tmp_path / "cells"
    shutil.copytree(finished / "cells", cells)
    call = arguments(config, tmp_path, "--set", "compare.seeds=[1]")
    assert main([*call, "--set", "train.learning_rate=0.02"]) == 1
    told = capsys.readouterr().err
    assert "seed0.json was made from other inputs: train.learning_rate: " in told and " -> 0.02" in told
    assert sorted(path.name for path in cells.iterdir()) == [f"{name}.json" for name in CELLS]
    slow, plain = (Cell.read(cells / f"vanilla.rate{rate}.seed0.json") for rate in ("0.5", "1"))
    assert slow.inputs["train"]["learning_rate"] == 0.5 * plain.inputs["train"]["learning_rate"]
    for other in ({"learning_rate": 0.02}, {"ema_decay": 0.5}):
        inputs = {**plain.inputs, "train": plain.inputs["train"] | other}
        path = replace(plain, key=CellKey("vanilla", 1.0, 1), inputs=inputs).write(cells)
        with pytest.raises(
            UsageError, match=rf"seed1.json was made from other inputs: train.{next(iter(other))}"
        ):
            read_cells(cells)
        path.unlink()
    assert len(read_cells(cells)) == len(CELLS)


def test_shards_make_the_same_cells_side_by_side(
    finished: Path, config: Path, tmp_path: Path, capsys: Any
) -> None:
    assert main(arguments(config, tmp_path, "--shard", "2/2", "--set", "compare.baselines=[early-stopping]",
                          "--set", "strategy.names=[vanilla]", "--json")) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["missing"] == ["start"]
    assert main(arguments(config, tmp_path, "--shard", "1/2", "--set", "compare.baselines=[early-stopping]",
                          "--set", "strategy.names=[vanilla]", "--json")) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["missing"] == []
    for name in ("start", "vanilla.rate1.seed0"):
        one, two = (Cell.read(path / "cells" / f"{name}.json") for path in (finished, tmp_path))
        for first, second in zip(one.series(), two.points, strict=True):
            assert (first.step, first.outcomes) == (second.step, second.outcomes)
            assert (first.loss, first.movement) == pytest.approx((second.loss, second.movement), rel=1e-5)


def test_a_failed_cell_keeps_its_weights_on_the_way_and_a_finished_one_is_made_again(
    config: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    less = ["--set", "compare.baselines=[early-stopping]", "--set", "strategy.names=[vanilla]"]
    call = arguments(config, tmp_path, *less)
    tuned, cell = "tune/vanilla.rate1.seed0", tmp_path / "cells" / "vanilla.rate1.seed0.json"
    with monkeypatch.context() as patch:
        patch.setattr(SnapshotCallback, "_save", lambda *_: None)
        assert main(call) == 2
        assert "lacks weights on the way (step 2)" in capsys.readouterr().err and not cell.exists()

    def out_of_memory(*_: Any) -> None:
        raise TrainingError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "measure", out_of_memory)
        assert main([*call, "--redo", tuned]) == 2
    assert (tmp_path / "work" / tuned / "snapshots" / "2").is_dir()
    assert main(call) == 0
    assert [point.step for point in Cell.read(cell).points] == [2, 4]
    before = cell.stat().st_mtime_ns
    assert main([*call, "--redo", "evaluate/vanilla.rate1.seed0/step-2"]) == 1
    assert f"Pass --redo {tuned}" in capsys.readouterr().err and cell.stat().st_mtime_ns == before
    assert main([*call, "--redo", tuned]) == 0
    assert cell.stat().st_mtime_ns > before


@pytest.mark.parametrize(
    "error",
    [
        TrainingError("x"),
        PlanNotAppliedError("x"),
        DataError("x"),
        EngineError("x"),
        OSError("disk full"),
        RuntimeError("CUDA error: device-side assert triggered"),
    ],
)
def test_whatever_fails_in_one_cell_the_others_are_made(
    error: Exception,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made: list[str] = []

    def make(_: Grid, key: CellKey) -> Cell:
        if key.strategy == "vanilla" and key.rate == 0.5:
            raise error
        made.append(key.name)
        return Cell(key, {}, "harmful", {"harmful": True}, (), 0.0)

    monkeypatch.setattr(Grid, "make", make)
    grid = Grid(load_settings(Config, config, [*FAST, *COMPARE]), tmp_path)
    with pytest.raises(TrainingError, match=r"1 of 4 cells failed .*: vanilla\.rate0\.5\.seed0"):
        grid.run()
    assert str(error) in caplog.text
    assert sorted([*made, "vanilla.rate0.5.seed0"]) == CELLS


def test_without_the_start_model_no_other_cell_is_made(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[CellKey] = []

    def make(_: Grid, key: CellKey) -> Cell:
        made.append(key)
        raise DataError("no prompts")

    monkeypatch.setattr(Grid, "make", make)
    with pytest.raises(DataError, match="no prompts"):
        Grid(load_settings(Config, config, [*FAST, *COMPARE]), tmp_path).run()
    assert made == [START]


def test_a_dry_run_lists_the_cells_and_runs_nothing(config: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(arguments(config, tmp_path, "--dry-run", "--json")) == 0
    content = json.loads(capsys.readouterr().out)
    assert sorted(content["cells"]) == CELLS == sorted(content["missing"])
    assert (content["steps"], content["checkpoints"]) == (4, [2])
    assert content["power"]["0.2"] > content["power"]["0.05"]
    assert not (tmp_path / "cells").exists()


def test_an_unknown_suite_is_refused_before_anything_is_run(config: Path, tmp_path: Path) -> None:
    for suites, word in (("[harmful, nope]", "nope"), ("[twins]", "no harmful")):
        settings = load_settings(Config, config, [*FAST, f"compare.suites={suites}"])
        with pytest.raises(ConfigError, match=word):
            Grid(settings, tmp_path).suites()


# The grid


def keys(**content: Any) -> list[CellKey]:
    return plan_cells(validate(Config, {"model": {"id": "x"}, **content}))


def test_baselines_are_in_every_comparison() -> None:
    found = keys(strategy={"names": ["swat"]})
    assert found[0] == START
    assert {key.strategy for key in found} == {"start", "vanilla", "swat", "replay", "random"}
    assert {key.rate for key in found if key.strategy == "vanilla"} == {0.1, 0.3, 0.6, 1.0}
    assert {key.seed for key in found[1:]} == {0, 1, 2}
    assert plain_rate(found) == 1.0
    assert len(set(found)) == len(found)


def test_strategies_run_at_every_rate_and_uniform_rates_are_plain_tuning() -> None:
    found = keys(
        strategy={"names": ["vanilla", "uniform-0.03", "ml-lr", "uniform-0.3+self-replay"]},
        compare={"rates": [1.0, 2.0], "baselines": [], "seeds": [5]},
    )
    assert {(key.strategy, key.rate) for key in found[1:]} == {
        ("vanilla", 1.0), ("vanilla", 2.0), ("vanilla", 0.03), ("ml-lr", 1.0), ("ml-lr", 2.0),
        ("uniform-0.3+self-replay", 1.0), ("uniform-0.3+self-replay", 2.0),
    }  # fmt: skip
    assert {key.seed for key in found[1:]} == {5}
    assert (
        keys(strategy={"names": ["vanilla"]}, compare={"baselines": [], "rates": [0.2, 0.4]})[1].rate == 0.4
    )


def test_scores_that_would_be_thrown_away_are_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(config, tmp_path / "out", "--set", "evaluate.lm_eval=[arc_easy]")) == 1
    assert "evaluate.lm_eval" in capsys.readouterr().err
