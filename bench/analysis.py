"""What does the map cost, and does sampling agree with it? The claims of docs/analysis.md, in one run.

Usage: python bench/analysis.py [MODEL] [--adapter DIR] [--chat-template FILE] [--noise 0.1]
       [--no-agreement] [--no-analyze] [--quick]

Agreement: 60 random addresses, 32 draws, 16 prompts. Cost at 64 prompts and all addresses: (a) the literal
scan, one full forward pass per address and draw, (b) the sampled scan that recomputes later layers only, both
extrapolated from a timed sample of addresses, (c) the closed form, run in full; and one plain forward and
backward pass over the same prompts with gradients of all weights. Then a default `analyze` from a fresh
directory, against one LoRA epoch over 5,000 rows, by counted FLOPs and by wall time.
Last line: one JSON object with speedup, over_one_pass, spearman, ceiling, analyze_seconds, share_of_epoch.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from securetune.analysis.agreement import compare
from securetune.analysis.analyze import analysis_prompts
from securetune.analysis.perturb import Perturbation, perturbed
from securetune.analysis.probe import fit_probe
from securetune.analysis.proxies import ProbeLogit
from securetune.analysis.sampling import Sampler
from securetune.analysis.sensitivity import MapTask, map_sensitivity
from securetune.analysis_settings import AnalysisSettings
from securetune.config import Config, validate
from securetune.encoding import encode
from securetune.formats import package_tuning_data
from securetune.models.hidden_states import batches_by_length, encode_prompts
from securetune.models.load import load_model
from securetune.models.module_map import ModuleMap
from securetune.pipeline import Pipeline
from securetune.prompt_files import package_prompts
from securetune.runs.directory import Run
from securetune.terminal import quiet_libraries, set_up
from securetune.training.tune import add_lora
from securetune.training_settings import TrainSettings

DRAWS, PROMPTS, CHECK_PROMPTS, ADDRESSES = 32, 64, 16, 60
EPOCH_ROWS = 5000


def measured(work: Callable[[], object]) -> tuple[float, float, object]:
    """Seconds, peak memory above the start in MiB (of the accelerator, if there is one), and the result."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # Memory that earlier work freed would hide the peak.
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else _resident()
    peak, stop = [before], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], _resident())

    thread = threading.Thread(target=watch, daemon=True)
    if not cuda:
        thread.start()
    started = time.perf_counter()
    result = work()
    if cuda:
        torch.cuda.synchronize()
        peak[0] = torch.cuda.max_memory_allocated()
    seconds = time.perf_counter() - started
    stop.set()
    return seconds, (peak[0] - before) / 2**20, result


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def a_task(model: object, tokenizer: object, noise: float, prompts: int, l2: float) -> MapTask:
    """The default map on `prompts` selection prompts."""
    probe = fit_probe(model, tokenizer, list(package_prompts("probe")), l2=l2)
    texts, _ = analysis_prompts(package_prompts("selection"), prompts, 0, 0)
    proxy = ProbeLogit(probe)
    return MapTask(
        model, tokenizer, ModuleMap.of(model), proxy, tuple(texts), Perturbation("gaussian", noise)
    )


def agreement(task: MapTask, addresses: int, draws: int) -> dict:
    """Rank correlation with sampling on random addresses."""
    chosen = tuple(sorted(random.Random(0).sample(task.modules.matrices(), addresses)))
    small = replace(task, texts=task.texts[:CHECK_PROMPTS], addresses=chosen)
    found = map_sensitivity(small)
    sampled = map_sensitivity(replace(small, method="monte-carlo", draws=draws))
    result = compare(found, sampled, 2.0)
    print("\n".join(result.describe()), flush=True)
    return result.to_json()


def costs(task: MapTask, sample: int) -> dict:
    """Seconds and peak MiB of (a), (b), (c) and of one plain pass."""
    matrices = task.modules.matrices()
    chosen = random.Random(1).sample(matrices, sample)
    runs = len(matrices) * DRAWS
    plain_pass(task)  # The first pass of a process is slower than the others.
    table = {"one plain forward and backward pass": measured(lambda: plain_pass(task))[:2]}
    table["(c) closed form"] = measured(lambda: map_sensitivity(task))[:2]

    def literal() -> None:
        for address in chosen:
            with perturbed(task.modules, [address], task.perturbation, 0), torch.inference_mode():
                for batch in batches(task):
                    task.proxy.read(task.model, batch)

    seconds, peak, _ = measured(literal)
    table["(a) literal scan"] = (seconds / len(chosen) * runs, peak)
    start, kept, sampler = measured(
        lambda: Sampler(task.model, task.tokenizer, task.modules, task.proxy, task.texts, task.batch_size)
    )
    seconds, peak, _ = measured(lambda: [sampler.squared_drift([a], task.perturbation, 0) for a in chosen])
    table["(b) sampled scan"] = (start + seconds / len(chosen) * runs, kept + peak)
    print(f"| {len(matrices)} addresses, {len(task.texts)} prompts | seconds | peak MiB |\n|---|---|---|")
    for name, (seconds, peak) in table.items():
        print(f"| {name} | {seconds:.1f} | {peak:.0f} |")
    return {name: {"seconds": seconds, "peak_mib": peak} for name, (seconds, peak) in table.items()}


def batches(task: MapTask) -> list:
    """The prompts of a task, encoded as the map does."""
    return [
        encode_prompts(task.model, task.tokenizer, [task.texts[i] for i in batch], task.proxy.endings)
        for batch in batches_by_length(task.texts, task.batch_size)
    ]


def plain_pass(task: MapTask) -> None:
    """One forward and backward pass with gradients of all weights, as training makes them."""
    for batch in batches(task):
        task.proxy.read(task.model, batch).sum().backward()
    task.model.zero_grad(set_to_none=True)


def a_config(options: argparse.Namespace) -> Config:
    """Defaults, but for the model and the noise."""
    model = {"id": options.model, "adapter": options.adapter, "chat_template": options.chat_template}
    return validate(
        Config, {"model": model, "analysis": {"noise_scale": options.noise, "probe_l2": options.probe_l2}}
    )


def analyze_once(options: argparse.Namespace) -> None:
    """A default `analyze` in a fresh directory: load, probe, map, check, search, verification."""
    with tempfile.TemporaryDirectory() as directory:
        Pipeline(a_config(options), Run(Path(directory))).analyze()


def epoch(model: object, tokenizer: object, batches_timed: int) -> tuple[float, int]:
    """Seconds and FLOPs of one LoRA epoch over 5,000 rows of our tuning set, from a sample of batches."""
    data = encode(package_tuning_data(), tokenizer, 512)
    rows = random.Random(0).sample(data.rows, batches_timed * 8)
    adapted = add_lora(model, TrainSettings())
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=5e-4)

    def step(batch: list) -> None:
        width = max(len(row.input_ids) for row in batch)
        pad = [width - len(row.input_ids) for row in batch]
        ids = torch.tensor([row.input_ids + [0] * n for row, n in zip(batch, pad)])
        labels = torch.tensor([row.labels + [-100] * n for row, n in zip(batch, pad)])
        mask = torch.tensor([[1] * len(row.input_ids) + [0] * n for row, n in zip(batch, pad)])
        ids, labels, mask = (t.to(adapted.device) for t in (ids, labels, mask))
        adapted(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step(rows[:8])
    seconds, _, _ = measured(lambda: [step(rows[i : i + 8]) for i in range(0, len(rows), 8)])
    with FlopCounterMode(display=False) as counter:
        for start in range(0, len(rows), 8):
            step(rows[start : start + 8])
    adapted.unload()
    times = EPOCH_ROWS / len(rows)
    return seconds * times, int(counter.get_total_flops() * times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--adapter")
    parser.add_argument("--chat-template", help="of a model without one")
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--no-agreement", action="store_true", help="leave out the first part")
    parser.add_argument("--no-analyze", action="store_true", help="leave out the last part")
    parser.add_argument("--probe-l2", type=float, default=AnalysisSettings().probe_l2)
    parser.add_argument("--quick", action="store_true", help="few draws and prompts: a smoke test")
    options = parser.parse_args()
    set_up(verbose=False, quiet=True)
    quiet_libraries()
    model, tokenizer = load_model(options.model, options.adapter, chat_template=options.chat_template)
    if options.adapter:
        model = model.merge_and_unload()
    task = a_task(model, tokenizer, options.noise, 16 if options.quick else PROMPTS, options.probe_l2)
    n = min(8 if options.quick else ADDRESSES, len(task.modules.matrices()))
    found = {} if options.no_agreement else agreement(task, n, 4 if options.quick else DRAWS)
    table = costs(task, 4 if options.quick else 16)
    closed = table["(c) closed form"]["seconds"]
    summary = {
        "model": options.model,
        "noise": options.noise,
        "threads": torch.get_num_threads(),
        "device": str(model.device),
        "speedup": table["(a) literal scan"]["seconds"] / closed,
        "over_one_pass": closed / table["one plain forward and backward pass"]["seconds"],
        "spearman": found.get("spearman"),
        "ceiling": found.get("ceiling"),
        "costs": table,
    }
    if not options.no_analyze:
        seconds, flops = epoch(model, tokenizer, 1 if options.quick else 8)
        del model, task
        summary["analyze_seconds"] = measured(lambda: analyze_once(options))[0]
        with FlopCounterMode(display=False) as counter:
            analyze_once(options)
        shares = {
            "by_wall_time": summary["analyze_seconds"] / seconds,
            "by_flops": counter.get_total_flops() / flops,
        }
        summary |= {"share_of_epoch": max(shares.values()), "shares": shares, "epoch_seconds": seconds}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
