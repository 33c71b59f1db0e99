"""Two processes on a CPU: DDP by `accelerate launch`, and torch's `fully_shard` for the core.

The HF Trainer runs DDP on a CPU whatever `fsdp=` says, so FSDP inside it is not covered here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = str(Path(__file__).with_name("distributed_run.py"))
SOURCE = str(Path(__file__).parents[2] / "src")
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
          "--mixed_precision", "no", "--dynamo_backend", "no"]  # fmt: skip
TOLERANCE = 1e-5
"""Largest difference of a weight: gradients are averaged in another order."""

pytestmark = pytest.mark.slow


def run(arguments: list[str], port: int) -> None:
    if "accelerate.commands.launch" in arguments:
        arguments = [*arguments[:2], "--main_process_port", str(port), *arguments[2:]]
    environment = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=850
    )
    assert done.returncode == 0, done.stderr[-3000:]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_two_processes_with_the_same_global_batch_equal_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run([SCRIPT, "ddp", str(one), "4"], 29601)
    run([*LAUNCH, SCRIPT, "ddp", str(two), "2"], 29602)
    assert (read(one / "ddp.json")["processes"], read(two / "ddp.json")["processes"]) == (1, 2)
    assert [e["step"] for e in read(two / "ddp.json")["verified"]] == [1]
    rates, drift = (read(one / "ddp.json")[key] for key in ("lr/x0.1", "safety/drift"))
    assert read(two / "ddp.json")["lr/x0.1"] == rates and len(rates) == 4
    assert read(two / "ddp.json")["safety/drift"] == pytest.approx(drift, rel=1e-2) and min(drift) > 0
    alone, together = load_file(one / "weights.safetensors"), load_file(two / "weights.safetensors")
    assert max(float((alone[name] - together[name]).abs().max()) for name in alone) <= TOLERANCE
    assert any(not torch.equal(alone[name], torch.zeros_like(alone[name])) for name in alone)


def test_a_resumed_run_of_two_processes_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    run([*LAUNCH, SCRIPT, "resume", str(tmp_path)], 29604)
    for process in range(2):
        found = read(tmp_path / f"resume.{process}.json")
        assert (found["gap"], found["steps"], found["verified"]) == (0, 4, [3])
        assert found["refused"].startswith("PlanError: The checkpoint was written under another plan")


def test_fully_shard_keeps_groups_the_zero_group_and_checkpoints(tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29603"]
    run([*launch, SCRIPT, "fsdp2", str(tmp_path)], 29603)
    found = read(tmp_path / "fsdp2.json")
    assert set(found["moved"]) == {name for name in found["names"] if ".mlp." not in name}
    assert found["groups"] == ["x1", "x0"]
    assert [entry["step"] for entry in found["verified"]] == [1]
    assert found["gap"] == 0
    assert found["refused"].startswith("PlanError: The checkpoint was written under another plan")
