"""The benches of docs/analysis.md run from beginning to end on a tiny model, and print what they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "bench"
# The tiny model's refusal margin tells harmful from harmless by hardly more than nothing.
ANY_GAP = """
import runpy, sys
from pathlib import Path
from securetune.analysis import probe
probe.CHANCE = 1.0
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def last_line(*words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
    return found


def test_the_bench_of_the_map_prints_its_keys(chat_model: Path) -> None:
    found = last_line(str(BENCH / "analysis.py"), str(chat_model), "--quick", "--probe-l2", "1")
    for key in ("speedup", "over_one_pass", "spearman", "ceiling", "analyze_seconds", "share_of_epoch"):
        assert isinstance(found[key], float), key
    assert found["speedup"] > 1 and found["analyze_seconds"] > 0
    assert len(found["costs"]) == 4


@pytest.mark.slow
def test_the_deciding_bench_is_resumed_and_depends_on_what_it_measures(
    chat_model: Path, tmp_path: Path
) -> None:
    words = ["-c", ANY_GAP, str(BENCH / "map_predicts.py"), str(chat_model), "--quick", "--probe-l2", "1"]
    words += ["--work", str(tmp_path)]
    first = last_line(*words)
    assert {row["map"] for row in first["rows"]} >= {"probe, gaussian", "generic, zero (sampled)"}
    assert set(first["ceilings"]) == {"addresses", "sets"}
    made = sorted(tmp_path.glob("*.json"))
    stamps = [path.stat().st_mtime_ns for path in made]
    assert last_line(*words)["rows"] == first["rows"]
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.json"))] == stamps
    last_line(*words, "--rate", "1e-3")
    assert len(list(tmp_path.glob("*.json"))) > len(made), "another rate is measured anew"
