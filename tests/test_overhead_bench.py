"""bench/training_overhead.py leaves the steps that verify a plan out of its ratios."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from tiny import tiny_llama

pytest.importorskip("trl", reason="the extra `trl` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")


@pytest.mark.parametrize(("name", "verifying"), [("plain", 0), ("ml-lr", 2), ("swat", 4)])
def test_steps_that_verify_are_counted_apart(
    name: str, verifying: int, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "bench"))
    bench = importlib.import_module("training_overhead")
    data = bench.rows(tokenizer, 10)
    steps = bench.train(tiny_llama(tokenizer), tokenizer, data, name, steps=4, batch=1)
    # LoRA's A factors are compared one step after the B factors, in every phase.
    assert len(steps.verifying) == verifying
    assert len(steps.whole) == len(steps.hooks) == 4 + (4 - verifying)
