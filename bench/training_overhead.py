"""What a plan costs in time and memory: plain SFT, ml-lr, swat, freeze and the safety callback, interleaved.

Usage: python bench/training_overhead.py [--model demo-base] [--rounds 4] [--steps 4] [--batch 8]

A planned step is a plain step plus what our hooks add, so the difference is measured where it arises: the
time in optimizer steps, trainer callbacks and logging. Whole steps vary by more than it. Every round trains
each variant for a few steps on a fresh adapter, in turn. Steps that verify the movement of the weights come a
few times in a run, whatever its length: they are left out of the ratios, and what they add is given apart, in
seconds a run. Memory is the peak of a process of its own.
Last line: one JSON object, {"planned_over_plain", "memory_ratio", "freeze_over_plain", "callback_share", the
95% interval of each, and "verifying_seconds" of each plan}.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from securetune.analysis.classifiers import LinearClassifier
from securetune.analysis.probe import Probe
from securetune.config import StrategySettings
from securetune.encoding import EncodedData, encode
from securetune.formats import package_tuning_data
from securetune.models.fingerprint import fingerprint
from securetune.models.load import load_model
from securetune.models.module_map import ModuleMap
from securetune.plan import TuningPlan
from securetune.strategies.build import build_plan
from securetune.terminal import quiet_libraries
from securetune.training.attach import attach
from securetune.training.guard import PlanGuard
from securetune.training.safety_callback import SafetyCallback
from securetune.training.tune import add_lora, build_trainer
from securetune.training_settings import LoraSettings, TrainSettings

VARIANTS = ("plain", "ml-lr", "swat", "freeze")
SAFETY_EVERY = 50
APART = 6
"""Steps of a run that are in no window: the first and the last one, and up to 4 that verify (two phases, and
after each the step in which LoRA's A factors first have a gradient)."""


@dataclass
class Timer:
    """Seconds inside the wrapped functions; nested calls count once."""

    seconds: float = 0.0
    _depth: int = field(default=0, repr=False)

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time added up."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.inside():
                return function(*args, **kwargs)

        return timed

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Add the time of a block."""
        started, self._depth = time.perf_counter(), self._depth + 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self.seconds += time.perf_counter() - started


class Steps(TrainerCallback):
    """Seconds of every step, and of the hooks in it; without the first step, a warm-up, and the last."""

    def __init__(self, timer: Timer, guard: PlanGuard | None) -> None:
        self.timer, self.guard = timer, guard
        self.whole: list[float] = []
        self.hooks: list[float] = []
        self.verifying: list[float] = []
        """Of the hooks, in steps in which the guard compared weights; these are in no other list."""
        self._mark = (0.0, 0.0)
        self._verifies = False

    def on_step_begin(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Close the step before."""
        now = (time.perf_counter(), self.timer.seconds)
        if self._verifies:
            self.verifying.append(now[1] - self._mark[1])
        elif state.global_step > 1:
            self.whole.append(now[0] - self._mark[0])
            self.hooks.append(now[1] - self._mark[1])
        self._mark = now

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Note whether the guard, called before, has copied weights to compare."""
        self._verifies = self.guard is not None and bool(self.guard._before)


def rows(tokenizer: Any, count: int) -> EncodedData:
    """The first rows of the package's tuning set."""
    data = package_tuning_data()
    return encode(data.with_rows(list(data.rows)[:count]), tokenizer, 512)


def plan_of(name: str, modules: ModuleMap) -> TuningPlan | None:
    """The plan of a variant; the robust set is the upper half of the layers, so that freezing helps."""
    if name == "plain":
        return None
    sizes = {address: modules.size(address) for address in modules.matrices()}
    robust = [address for address in sizes if address.layer >= modules.layers // 2]
    return build_plan(name, StrategySettings(), sizes, robust)


def train(model: Any, tokenizer: Any, data: EncodedData, name: str, steps: int, batch: int) -> Steps:
    """Train a fresh adapter for at least so many steps that verify nothing."""
    settings = TrainSettings(
        steps=steps + APART, batch_size=batch, learning_rate=5e-4, lora=LoraSettings(r=8)
    )
    adapted = add_lora(model, settings)
    timer = Timer()
    with tempfile.TemporaryDirectory() as directory:
        trainer = build_trainer(adapted, tokenizer, data, settings, Path(directory), batch)
        trainer.args.save_strategy = "no"
        plan = plan_of(name, ModuleMap.of(adapted))
        if plan is not None:
            attach(trainer, plan)
        watch = Steps(timer, getattr(trainer, "securetune_guard", None))
        trainer.log = timer.wrap(trainer.log)
        trainer.callback_handler.call_event = timer.wrap(trainer.callback_handler.call_event)
        create = trainer.create_optimizer

        def timed_optimizer(*args: Any) -> Any:
            optimizer = create(*args)
            optimizer.step = timer.wrap(optimizer.step)
            return optimizer

        trainer.create_optimizer = timed_optimizer
        trainer.add_callback(watch)
        trainer.train()
    adapted.unload()
    return watch


def verifying_seconds(planned: list[Steps], plain: list[Steps]) -> float:
    """What verifying adds to the hooks of one run."""
    ordinary = float(np.mean([seconds for steps in plain for seconds in steps.hooks]))
    return float(np.mean([sum(steps.verifying) - ordinary * len(steps.verifying) for steps in planned]))


def measure_callback(model: Any, tokenizer: Any, data: EncodedData, repeats: int) -> list[float]:
    """Seconds of single measurements of the safety callback."""
    adapted = add_lora(model, TrainSettings(lora=LoraSettings(r=8)))
    weight = torch.ones(model.config.hidden_size)
    scale = torch.ones_like(weight)
    probe = Probe(LinearClassifier(weight, 0.0, 0 * scale, scale), fingerprint(model), 1.0, {})
    with tempfile.TemporaryDirectory() as directory:
        trainer = build_trainer(adapted, tokenizer, data, TrainSettings(steps=1), Path(directory), 1)
        callback = SafetyCallback(trainer, probe, every=SAFETY_EVERY)
        seconds = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            callback._measure(trainer.model)
            seconds.append(time.perf_counter() - started)
    adapted.unload()
    return seconds[1:]


def ratio(numerator: list[float], denominator: list[float], seed: int = 0) -> tuple[float, float, float]:
    """Ratio of means with a 95% bootstrap interval."""
    rng = np.random.default_rng(seed)
    top, bottom = np.asarray(numerator), np.asarray(denominator)
    draws = [rng.choice(top, len(top)).mean() / rng.choice(bottom, len(bottom)).mean() for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(top.mean() / bottom.mean()), float(low), float(high)


def overhead(planned: list[Steps], plain: list[Steps], seed: int = 0) -> tuple[float, float, float]:
    """1 + (time in hooks, planned minus plain) / plain step, with a 95% bootstrap interval."""
    rng = np.random.default_rng(seed)
    added = np.concatenate([steps.hooks for steps in planned])
    base = np.concatenate([steps.hooks for steps in plain])
    whole = np.concatenate([steps.whole for steps in plain])

    def once(a: Any, b: Any, w: Any) -> float:
        return float(1 + (a.mean() - b.mean()) / w.mean())

    draws = [once(*(rng.choice(x, len(x)) for x in (added, base, whole))) for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return once(added, base, whole), float(low), float(high)


def peak_memory(model: str, name: str, batch: int) -> float:
    """Peak resident memory of a process of its own, in MiB."""
    command = [sys.executable, __file__, "--model", model, "--memory-of", name, "--batch", str(batch)]
    # Freed tensors go back at once, so that the peak is what was in use and not what the allocator kept.
    returning = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **returning}
    )
    return float(done.stdout.strip().splitlines()[-1])


def own_peak() -> float:
    """Peak resident memory of this process in MiB; `ru_maxrss` would begin with that of the parent."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo-base")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--memory-rounds", type=int, default=2)
    parser.add_argument("--memory-only", action="store_true", help="measure nothing else")
    parser.add_argument("--memory-of", choices=VARIANTS)
    options = parser.parse_args()
    quiet_libraries()
    model, tokenizer = load_model(options.model)
    data = rows(tokenizer, options.batch * (options.steps + APART))
    if options.memory_of:
        train(model, tokenizer, data, options.memory_of, 2, options.batch)
        print(own_peak())
        return
    memory: dict[str, list[float]] = {"plain": [], "ml-lr": []}
    for _ in range(options.memory_rounds):
        for name, peaks in memory.items():
            peaks.append(peak_memory(options.model, name, options.batch))
    if options.memory_only:
        value, low, high = ratio(memory["ml-lr"], memory["plain"])
        content = {"memory_ratio": value, "memory_ratio_interval": [low, high], "peak_mib": memory}
        print(json.dumps(content))
        return
    found: dict[str, list[Steps]] = {name: [] for name in VARIANTS}
    callback: list[float] = []
    for index in range(options.rounds):
        # Another order in every round, so that no variant always runs on the warmer machine.
        for name in (*VARIANTS[index % 4 :], *VARIANTS[: index % 4]):
            found[name].append(train(model, tokenizer, data, name, options.steps, options.batch))
        callback += measure_callback(model, tokenizer, data, 1)
    whole = {name: [s for steps in found[name] for s in steps.whole] for name in VARIANTS}
    per_interval = [SAFETY_EVERY * seconds for seconds in whole["plain"]]
    results = {
        "planned_over_plain": max(overhead(found[name], found["plain"]) for name in ("ml-lr", "swat")),
        "memory_ratio": ratio(memory["ml-lr"], memory["plain"]),
        "freeze_over_plain": ratio(whole["freeze"], whole["plain"]),
        "callback_share": ratio(callback, per_interval),
    }
    print(f"{'':22}{'value':>9}{'95% interval':>20}")
    for key, (value, low, high) in results.items():
        print(f"{key:22}{value:9.4f}   [{low:.4f}, {high:.4f}]")
    for name in VARIANTS:
        hooks = np.concatenate([steps.hooks for steps in found[name]])
        print(f"{name:10} step {np.mean(whole[name]):.3f} s, in hooks {1000 * hooks.mean():.2f} ms")
    once = {name: verifying_seconds(found[name], found["plain"]) for name in VARIANTS[1:]}
    print("verifying the plan, once a run: " + ", ".join(f"{name} {once[name]:.3f} s" for name in once))
    content = {"peak_mib": memory} | {key: value for key, (value, _, _) in results.items()}
    content |= {f"{key}_interval": [low, high] for key, (_, low, high) in results.items()}
    content["verifying_seconds"] = once
    print(json.dumps(content | {"model": options.model, "steps": len(whole["plain"])}))


if __name__ == "__main__":
    main()
