"""Kill a run in each stage, run it again: finished stages stay, training continues, results are equal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from securetune.__main__ import main
from securetune.files import read_json
from tiny_chat import fast_options, write_tuning_file

STAGES = {
    # A file whose appearance means that the stage has begun but not ended.
    "evaluate the start model": "evaluate/start/harmful/responses.jsonl",
    "analysis": "analysis/probe.json",
    "training": "tune/ml-lr/checkpoints/checkpoint-2/trainer_state.json",
    "replay": "replay/responses.jsonl",
    "evaluate a tuned model": "evaluate/ml-lr/twins/responses.jsonl",
}


def arguments(model: Path, data: Path, out: Path) -> list[str]:
    return ["-q", "run", str(model), "--data", str(data), "--out", str(out), *fast_options()]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tuning_file(tmp_path_factory.mktemp("data") / "tuning.jsonl")


@pytest.fixture(scope="module")
def uninterrupted(chat_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("whole")
    assert main(arguments(chat_model, data, out)) == 0
    return read_json(out / "results.json")


def test_a_run_killed_in_every_stage_ends_like_an_uninterrupted_one(
    chat_model: Path, data: Path, uninterrupted: Any, tmp_path: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "2"}
    killed = []
    for stage, sign in STAGES.items():
        process = subprocess.Popen(
            [sys.executable, "-m", "securetune", *arguments(chat_model, data, tmp_path)],
            env=environment,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 300
        while not (tmp_path / sign).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed.append(stage)
        _, errors = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), errors.decode()
        finished = {p: p.read_bytes() for p in tmp_path.rglob("stage.json") if read_json(p)["done"]}
        weights = {
            p: p.stat().st_mtime_ns for p in tmp_path.rglob("tune/*/adapter/adapter_model.safetensors")
        }
    assert len(killed) >= 4, f"only killed in {killed}: the test must interrupt the run"
    assert main(arguments(chat_model, data, tmp_path)) == 0
    seconds = {p.parent.name: read_json(p)["seconds"] for p in tmp_path.rglob("tune/*/facts.json")}
    assert all(
        (value is None) == (name == "ml-lr" and "training" in killed) for name, value in seconds.items()
    )
    for path, content in finished.items():
        assert path.read_bytes() == content, f"{path} was made again"
    for path, stamp in weights.items():
        if (path.parents[1] / "stage.json") in finished:
            assert path.stat().st_mtime_ns == stamp, f"{path} was made again"
    found = read_json(tmp_path / "results.json")
    assert [(r["model"], r["suite"], r["metric"]) for r in found] == [
        (r["model"], r["suite"], r["metric"]) for r in uninterrupted
    ]
    for row, expected in zip(found, uninterrupted):
        # Rates are equal; losses agree to rounding (a resumed step sums in another order).
        assert row["value"] == pytest.approx(expected["value"], abs=1e-4), row


def test_an_interrupt_exits_130_and_says_that_the_command_continues(
    chat_model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("securetune.pipeline.Pipeline.execute", interrupted)
    assert main(arguments(chat_model, data, tmp_path)) == 130
    assert "continues" in capsys.readouterr().err
