"""Does any map predict what real tuning does? The deciding table of docs/analysis.md.

Usage: python bench/map_predicts.py [MODEL] [--adapter DIR] [--chat-template FILE] [--work runs/map-predicts]
       [--addresses 24] [--sets 12] [--seeds 2] [--prompts 60] [--steps 10] [--rate 2e-3] [--closed-form]
       [--quick]

Trains one address at a time, then random sets of a quarter of the parameters, with LoRA on our benign tuning
set, with every seed. On harmful prompts of the package's evaluation part, which no map has seen, it measures
the loss of refusals in two ways: the drop of the refusal rate (16 greedy tokens, list of Qi et al.), and the
drop of the mean refusal margin in units of its gap, which is finer but is what one of the proxies reads too.
Every map's score of the address, or of the set (`predicted_joint`), is then correlated with the mean loss
over the seeds; `update (signed)` is the fall of the proxy on harmful prompts, to first order. The ceiling is
the rank correlation between seeds, stepped up to their mean (Spearman-Brown): a map cannot be expected to
predict more. A map predicts if the 95% interval (bootstrap over addresses or sets) lies above zero.
Resumable: each training is one JSON file in the work directory, named by everything that it depends on. Last
line: one JSON object, {"ceilings": ..., "rows": [...]}.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from securetune.addressing import Address
from securetune.analysis.analyze import analysis_prompts
from securetune.analysis.perturb import Perturbation, equal_reference
from securetune.analysis.probe import fit_probe
from securetune.analysis.proxies import PROXIES, Proxy, fit_proxy, readings
from securetune.analysis.reliability import spearman_interval, specificity
from securetune.analysis.rows import Rows
from securetune.analysis.search import take_share
from securetune.analysis.sensitivity import MapTask, SensitivityMap
from securetune.analysis.updates import adapter_updates
from securetune.analysis_settings import AnalysisSettings
from securetune.encoding import encode
from securetune.errors import DataError
from securetune.evaluation.generate import Decoding, generate
from securetune.evaluation.judges import REFUSAL_LISTS
from securetune.evaluation.statistics import Rate
from securetune.files import digest, read_json, write_json
from securetune.formats import package_tuning_data
from securetune.models.fingerprint import fingerprint
from securetune.models.load import load_model
from securetune.models.module_map import ModuleMap
from securetune.plan import TuningPlan
from securetune.prompt_files import package_prompts
from securetune.terminal import quiet_libraries, set_up
from securetune.training.tune import tune
from securetune.training_settings import LoraSettings, TrainSettings

SHARE = 0.25
LOSSES = ("refusals", "margin")
JUDGE = REFUSAL_LISTS["refusal-list-qi"]
UNITS = ("addresses", "sets")


class Bench:
    """One model, its probe and its prompts."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model, self.tokenizer = self.load()
        self.modules = ModuleMap.of(self.model)
        self.linear = [
            a for a in self.modules.matrices() if isinstance(self.modules.module(a), torch.nn.Linear)
        ]
        self.probe = fit_probe(
            self.model, self.tokenizer, list(package_prompts("probe")), l2=options.probe_l2
        )
        texts, _ = analysis_prompts(package_prompts("selection"), 16 if options.quick else 48, 24, 0)
        self.texts = tuple(texts)
        harmful = package_prompts("evaluation").harmful
        self.asked = random.Random(0).sample(list(harmful), options.prompts)
        self.data = package_tuning_data()
        self.margin = self.proxy("refusal-margin")
        self.identity = [
            fingerprint(self.model),
            self.data.fingerprint,
            digest([prompt.text for prompt in self.asked]),
            options.steps,
            options.rate,
            options.batch_size,
        ]
        self.start = self.measured("start", self.model)

    def load(self) -> tuple[Any, Any]:
        """A fresh start model."""
        options = self.options
        model, tokenizer = load_model(options.model, options.adapter, chat_template=options.chat_template)
        return (model.merge_and_unload() if options.adapter else model), tokenizer

    def proxy(self, name: str) -> Proxy:
        """A proxy in its own units."""
        prompts = package_prompts("probe")
        return fit_proxy(name, self.model, self.tokenizer, self.modules, self.probe, prompts)

    def measured(self, key: str, model: Any) -> dict[str, float]:
        """Refusal rate on the harmful prompts, and mean margin in units of the gap; kept by key."""
        file = self.options.work / f"{digest([key, *self.identity])}.json"
        if not file.is_file():
            margins = readings(self.margin, model, self.tokenizer, [prompt.text for prompt in self.asked])
            answers = generate(model, self.tokenizer, self.asked, Decoding(16, 40))
            texts = {prompt.id: prompt.text for prompt in self.asked}
            said = [JUDGE.judge(texts[answer.prompt_id], answer.text).refused for answer in answers]
            refusals = Rate.of(said)
            found = {"refusals": refusals.value, "margin": float(margins.mean()) / self.margin.gap}
            write_json(file, {"what": key, **found, "unscored": refusals.unscored})
        return {name: float(read_json(file)[name]) for name in LOSSES}

    def train(self, addresses: list[Address] | None, seed: int) -> Path:
        """Tune with LoRA on these addresses (all linear layers without); return the adapter."""
        names = [self.modules.weight(a)[0].removesuffix(".weight") for a in addresses or []]
        directory = self.options.work / digest([names, seed, *self.identity])
        if not (directory / "losses.json").is_file():
            lora = LoraSettings(target_modules=tuple(names) if names else "all-linear")
            settings = TrainSettings(
                steps=self.options.steps,
                learning_rate=self.options.rate,
                batch_size=self.options.batch_size,
                lora=lora,
                save_steps=10**6,
                seed=seed,
                trainer={"bf16": True, "train_sampling_strategy": "group_by_length"},
            )
            rows = self.data.take(self.options.steps * settings.batch_size, seed)
            tune(
                self.load,
                encode(rows, self.tokenizer, 320),
                settings,
                TuningPlan.from_multipliers({}),
                directory,
            )
        return directory / "adapter"

    def losses(self, addresses: list[Address], seed: int) -> dict[str, float]:
        """What tuning these addresses alone lost of both measures."""
        from peft import PeftModel

        key = f"{seed} {' '.join(map(str, addresses))}"
        file = self.options.work / f"{digest([key, *self.identity])}.json"
        if file.is_file():
            after = self.measured(key, None)
        else:
            adapter = self.train(addresses, seed)
            adapted = PeftModel.from_pretrained(self.model, str(adapter))
            after = self.measured(key, adapted)
            adapted.unload()
            shutil.rmtree(adapter.parent)
        return {name: self.start[name] - after[name] for name in LOSSES}

    def mapped(self, task: MapTask) -> SensitivityMap:
        """A map, whose rows are kept in the work directory."""
        rows = Rows(self.options.work / "maps", digest(task.identity), identity=task.identity)
        task.measure(rows)
        return task.assemble(rows)

    def maps(self, addresses: tuple[Address, ...]) -> dict[str, SensitivityMap]:
        """Every proxy crossed with every kind, the LoRA steps, and the probe beyond generic drift.

        `low-rank` has the closed form of `gaussian`, up to a constant. The others are sampled as well, with
        one draw: two of them have none, and the sign of `scale` does not matter to first order.
        """
        found: dict[str, SensitivityMap] = {}
        updates = adapter_updates(self.model, self.train(None, 0))
        reference = equal_reference(self.modules)
        sampled = [("scale", 0.1), ("zero", 1.0), ("update", 1.0)]
        for name in PROXIES:
            try:
                proxy = self.proxy(name)
            except DataError as error:
                print(f"{name}: {error}")
                continue
            texts = self.texts if name != "generic" else tuple(package_prompts("selection").ordinary.texts())
            task = MapTask(self.model, self.tokenizer, self.modules, proxy, texts, addresses=addresses)
            found[f"{name}, gaussian"] = self.mapped(task)
            equal = Perturbation("gaussian-equal", 0.1, reference=reference)
            found[f"{name}, gaussian-equal"] = self.mapped(replace(task, perturbation=equal))
            for kind, size in sampled:
                one = Perturbation(kind, size, updates=updates if kind == "update" else None)
                found[f"{name}, {kind}"] = self.mapped(replace(task, perturbation=one))
                if not self.options.closed_form:
                    found[f"{name}, {kind} (sampled)"] = self.mapped(
                        replace(task, method="monte-carlo", draws=1, texts=texts[:8], perturbation=one)
                    )
            print(f"maps of {name} are made", flush=True)
        lora = found["probe, gaussian"]
        for norm, values in (("L2", lora.lora_l2), ("L1", lora.lora_l1)):
            found[f"probe, LoRA step ({norm})"] = replace(lora, per_prompt=np.asarray(values)[None, :])
        residual = specificity(found["probe, gaussian"], found["generic, gaussian"]).residual
        values = np.exp([residual.get(str(a), -np.inf) for a in addresses])
        found["probe beyond generic drift"] = replace(lora, per_prompt=values[None, :])
        sizes = np.array([self.modules.size(a) for a in addresses], dtype=float)
        found["number of parameters (control)"] = replace(lora, per_prompt=np.sqrt(sizes)[None, :])
        return found


def ceiling(by_seed: np.ndarray) -> float | None:
    """Reliability of the mean over seeds: mean rank correlation between seeds, by Spearman-Brown.

    Args:
        by_seed: losses `[seeds, units]`.
    """
    seeds = len(by_seed)
    pairs = [spearman_interval(by_seed[i], by_seed[j])[0] for i in range(seeds) for j in range(i + 1, seeds)]
    known = [value for value in pairs if value is not None]
    if not known:
        return None
    mean = float(np.mean(known))
    return max(-1.0, seeds * mean / (1 + (seeds - 1) * mean)) if mean > -1 else -1.0


def shown(row: dict[str, Any]) -> str:
    """A cell of the table."""
    if row["correlation"] is None:
        return "n/a"
    verdict = (
        "predicts" if row["low"] > 0 else "predicts the opposite" if row["high"] < 0 else "does not predict"
    )
    return f"{row['correlation']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] {verdict}"


def main() -> None:
    """Train, map, correlate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--adapter")
    parser.add_argument("--chat-template")
    parser.add_argument("--work", type=Path, default=Path("runs/map-predicts"))
    parser.add_argument("--addresses", type=int, default=24)
    parser.add_argument("--sets", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--probe-l2", type=float, default=AnalysisSettings().probe_l2)
    parser.add_argument("--closed-form", action="store_true", help="leave out the sampled maps")
    parser.add_argument("--quick", action="store_true", help="4 addresses, 4 sets, 2 steps: a smoke test")
    options = parser.parse_args()
    if options.quick:
        options.addresses, options.sets, options.steps, options.batch_size = 4, 4, 2, 2
        options.prompts = 8
    set_up(verbose=False, quiet=True)
    quiet_libraries()
    bench = Bench(options)
    print(f"start model: {bench.start}", flush=True)
    rng = random.Random(0)
    singles = [[a] for a in sorted(rng.sample(bench.linear, min(options.addresses, len(bench.linear))))]
    sizes = [bench.modules.size(a) for a in bench.linear]
    sets = []
    for _ in range(options.sets):
        order = rng.sample(range(len(bench.linear)), len(bench.linear))
        sets.append(sorted(bench.linear[i] for i in take_share([[i] for i in order], sizes, SHARE)))
    units = {"addresses": singles, "sets": sets}
    found: dict[tuple[str, str], np.ndarray] = {}
    ceilings: dict[str, dict[str, Any]] = {}
    for kind in UNITS:
        rows = [[bench.losses(unit, seed) for unit in units[kind]] for seed in range(options.seeds)]
        ceilings[kind] = {}
        for loss in LOSSES:
            table = np.array([[one[loss] for one in row] for row in rows])
            found[kind, loss] = table.mean(0)
            ceilings[kind][loss] = ceiling(table)
            print(
                f"{kind}: loss of {loss} {table.mean():+.3f}, deviation over {kind} "
                f"{table.mean(0).std():.3f}, ceiling {ceilings[kind][loss]}",
                flush=True,
            )
    table_rows = []
    maps = bench.maps(tuple(bench.linear))
    place = {address: i for i, address in enumerate(maps["probe, gaussian"].addresses)}
    scored: dict[str, Callable[[list[int]], float]] = {n: m.predicted_joint for n, m in maps.items()}
    for name in PROXIES[:-1]:
        if f"{name}, update" in maps:
            # A known change has a sign: how far the proxy falls, in the mean over harmful prompts.
            falls = -maps[f"{name}, update"].per_prompt[::2].mean(0)
            scored[f"{name}, update (signed)"] = lambda chosen, falls=falls: float(falls[chosen].sum())
    for name, score in scored.items():
        row: dict[str, Any] = {"map": name}
        for kind in UNITS:
            joint = np.array([score([place[a] for a in unit]) for unit in units[kind]])
            for loss in LOSSES:
                value, low, high = spearman_interval(joint, found[kind, loss])
                row[f"{kind}, {loss}"] = {"correlation": value, "low": low, "high": high, "n": len(joint)}
        table_rows.append(row)
    columns = [f"{kind}, {loss}" for kind in UNITS for loss in LOSSES]
    print(f"| map | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for row in table_rows:
        print(f"| {row['map']} | {' | '.join(shown(row[column]) for column in columns)} |")
    summary = {"model": options.model, "steps": options.steps, "rate": options.rate, "seeds": options.seeds}
    print(json.dumps(summary | {"start": bench.start, "ceilings": ceilings, "rows": table_rows}))


if __name__ == "__main__":
    main()
