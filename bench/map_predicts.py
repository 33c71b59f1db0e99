"""Does any map predict what real tuning does? The deciding table of docs/analysis.md.

Usage: python bench/map_predicts.py [MODEL] [--adapter DIR] [--work runs/map-predicts] [--addresses 40]
       [--sets 20] [--steps 10] [--rate 2e-3] [--quick]

Trains one address at a time, then random sets of a quarter of the parameters, with LoRA on our benign tuning
set (same rows, order and seed every time), and measures the loss of refusals: the drop of the mean refusal
margin on harmful prompts that no map has seen. Every map's score of the address, or of the set (root of the
sum of squares), is then correlated with it. Resumable: each training is one JSON file in the work directory.
Last line: one JSON object, {"rows": [{"map", "addresses": {...}, "sets": {...}}]}.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from securetune.addressing import Address
from securetune.analysis.analyze import analysis_prompts
from securetune.analysis.perturb import Perturbation, equal_reference
from securetune.analysis.probe import fit_probe
from securetune.analysis.proxies import PROXIES, Proxy, fit_proxy, readings
from securetune.analysis.reliability import spearman_interval, specificity
from securetune.analysis.search import take_share
from securetune.analysis.sensitivity import MapTask, SensitivityMap, map_sensitivity
from securetune.analysis.updates import adapter_updates
from securetune.encoding import encode
from securetune.errors import DataError
from securetune.files import digest, read_json, write_json
from securetune.formats import package_tuning_data
from securetune.models.load import load_model
from securetune.models.module_map import ModuleMap
from securetune.plan import TuningPlan
from securetune.prompt_files import package_prompts
from securetune.terminal import quiet_libraries, set_up
from securetune.training.tune import tune
from securetune.training_settings import LoraSettings, TrainSettings

SHARE = 0.25


class Bench:
    """One model, its probe and its prompts."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model, self.tokenizer = self.load()
        self.modules = ModuleMap.of(self.model)
        self.linear = [
            a for a in self.modules.matrices() if isinstance(self.modules.module(a), torch.nn.Linear)
        ]
        self.probe = fit_probe(self.model, self.tokenizer, list(package_prompts("probe")), l2=1e-2)
        texts, others = analysis_prompts(package_prompts("selection"), 16 if options.quick else 48, 24, 0)
        self.texts = tuple(texts)
        self.harmful = others[::2]
        self.margin = self.proxy("refusal-margin")
        self.before = self.refusal_margin(self.model)

    def load(self) -> tuple[object, object]:
        """A fresh start model."""
        model, tokenizer = load_model(self.options.model, self.options.adapter)
        return (model.merge_and_unload() if self.options.adapter else model), tokenizer

    def proxy(self, name: str) -> Proxy:
        """A proxy in its own units."""
        prompts = package_prompts("probe")
        return fit_proxy(name, self.model, self.tokenizer, self.modules, self.probe, prompts)

    def refusal_margin(self, model: object) -> float:
        """Mean margin on harmful prompts, in units of the gap."""
        return float(readings(self.margin, model, self.tokenizer, self.harmful).mean()) / self.margin.gap

    def train(self, addresses: list[Address] | None) -> Path:
        """Tune with LoRA on these addresses (all linear layers without); return the adapter."""
        names = [self.modules.weight(a)[0].removesuffix(".weight") for a in addresses or []]
        key = digest([names, self.options.steps, self.options.rate])
        directory = self.options.work / key
        if not (directory / "losses.json").is_file():
            lora = LoraSettings(target_modules=tuple(names) if names else "all-linear")
            settings = TrainSettings(
                steps=self.options.steps, learning_rate=self.options.rate, lora=lora, save_steps=10**6
            )
            rows = package_tuning_data().take(self.options.steps * settings.batch_size, 0)
            data = encode(rows, self.tokenizer, 512)
            tune(self.load, data, settings, TuningPlan.from_multipliers({}), directory)
        return directory / "adapter"

    def loss_of_refusals(self, addresses: list[Address]) -> float:
        """Drop of the margin after tuning these addresses alone."""
        from peft import PeftModel

        key = digest([[str(a) for a in addresses], self.options.steps, self.options.rate])
        file = self.options.work / f"{key}.json"
        if not file.is_file():
            adapter = self.train(addresses)
            adapted = PeftModel.from_pretrained(self.model, str(adapter))
            after = self.refusal_margin(adapted)
            adapted.unload()
            shutil.rmtree(adapter.parent)
            write_json(file, {"addresses": [str(a) for a in addresses], "drop": self.before - after})
        return float(read_json(file)["drop"])

    def maps(self, addresses: tuple[Address, ...]) -> dict[str, SensitivityMap]:
        """Every map: closed forms of all proxies, sampled kinds of the probe."""
        found: dict[str, SensitivityMap] = {}
        for name in PROXIES:
            try:
                proxy = self.proxy(name)
            except DataError as error:
                print(f"{name}: {error}")
                continue
            texts = self.texts if name != "generic" else tuple(package_prompts("selection").ordinary.texts())
            task = MapTask(self.model, self.tokenizer, self.modules, proxy, texts, addresses=addresses)
            found[f"{name}, closed form"] = map_sensitivity(task)
        lora = found["probe, closed form"]
        for norm, values in (("L2", lora.lora_l2), ("L1", lora.lora_l1)):
            found[f"probe, LoRA step ({norm})"] = replace(lora, per_prompt=np.asarray(values)[None, :])
        generic = found["generic, closed form"]
        residual = specificity(found["probe, closed form"], generic).residual
        values = np.exp([residual.get(str(a), -np.inf) for a in addresses])
        found["probe beyond generic drift"] = replace(lora, per_prompt=values[None, :])
        updates = adapter_updates(self.model, self.train(None))
        task = MapTask(
            self.model, self.tokenizer, self.modules, self.proxy("probe"), self.texts[:16],
            method="monte-carlo", addresses=addresses, draws=4,
        )  # fmt: skip
        reference = equal_reference(self.modules)
        for kind in ("gaussian", "gaussian-equal", "scale", "zero", "low-rank", "update"):
            size = 1.0 if kind == "update" else 0.1
            perturbation = Perturbation(kind, size, reference=reference, updates=updates)
            found[f"probe, sampled {kind}"] = map_sensitivity(replace(task, perturbation=perturbation))
        return found


def correlation(scores: list[float], drops: list[float]) -> dict:
    """Spearman correlation with a 95% interval, of the loss of refusals and of its size."""
    signed = spearman_interval(np.array(scores), np.array(drops))
    size = spearman_interval(np.array(scores), np.abs(drops))
    return {
        "n": len(scores),
        **dict(zip(("loss", "low", "high"), signed)),
        **dict(zip(("size", "size_low", "size_high"), size)),
    }


def shown(row: dict) -> str:
    """A cell of the table."""
    if row["loss"] is None:
        return f"n/a (n = {row['n']})"
    interval = f"[{row['low']:+.2f}, {row['high']:+.2f}]"
    return f"{row['loss']:+.2f} {interval} (n = {row['n']}), size {row['size']:+.2f}"


def main() -> None:
    """Train, map, correlate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--adapter")
    parser.add_argument("--work", type=Path, default=Path("runs/map-predicts"))
    parser.add_argument("--addresses", type=int, default=40)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--quick", action="store_true", help="4 addresses, 3 sets, 2 steps: a smoke test")
    options = parser.parse_args()
    if options.quick:
        options.addresses, options.sets, options.steps = 4, 3, 2
    set_up(verbose=False, quiet=True)
    quiet_libraries()
    bench = Bench(options)
    rng = random.Random(0)
    singles = [[a] for a in sorted(rng.sample(bench.linear, min(options.addresses, len(bench.linear))))]
    sizes = [bench.modules.size(a) for a in bench.linear]
    sets = []
    for _ in range(options.sets):
        order = rng.sample(range(len(bench.linear)), len(bench.linear))
        sets.append([bench.linear[i] for i in take_share([[i] for i in order], sizes, SHARE)])
    drops = {}
    for kind, units in (("addresses", singles), ("sets", sets)):
        drops[kind] = [bench.loss_of_refusals(sorted(unit)) for unit in units]
        print(
            f"{kind}: loss of refusals {np.mean(drops[kind]):+.3f} +- {np.std(drops[kind]):.3f} gaps",
            flush=True,
        )
    rows = []
    for name, found in bench.maps(tuple(bench.linear)).items():
        squared = dict(zip(found.addresses, found.drift**2))
        row = {"map": name}
        for kind, units in (("addresses", singles), ("sets", sets)):
            scores = [float(np.sqrt(sum(squared[a] for a in unit))) for unit in units]
            row[kind] = correlation(scores, drops[kind])
        rows.append(row)
    print("| map | one address trained | random set trained |\n|---|---|---|")
    for row in rows:
        print(f"| {row['map']} | {shown(row['addresses'])} | {shown(row['sets'])} |")
    print(json.dumps({"model": options.model, "steps": options.steps, "rate": options.rate, "rows": rows}))


if __name__ == "__main__":
    main()
