"""The README's table: every strategy on the embedded model and an Alpaca-like set, cell by cell.

Usage: python bench/main_table.py [--work runs/bench] [--results bench/results/main] [--only NAME ...]
       [--seeds N ...]

Resumable: a finished cell is a JSON file with verdicts by prompt id and no texts, and is not run again.
200 harmful prompts that the probe never saw: 100 AdvBench, 60 HarmBench standard, 40 MaliciousInstruct.
Rates are means over the seeds; n counts prompts, and intervals cover prompts and seeds (with one seed, only
prompts). The comparison at matched loss takes each seed with the uniform-rate curve of the same seed.
Last line: one JSON object, {"cells": N, "rows": [{"model", "seeds", "asr", "low", "high", "n", "loss"}]}.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from securetune.config import Config, validate
from securetune.evaluation.evaluate import Suite
from securetune.evaluation.statistics import (
    Rate,
    ReferencePoint,
    matched_over_seeds,
    rate_over_seeds,
)
from securetune.files import read_json, write_json
from securetune.overlap import without_overlap
from securetune.pipeline import Pipeline
from securetune.prompts import PromptSet
from securetune.runs.directory import Run
from securetune.terminal import quiet_libraries, set_up
from shared_data import disjoint, public_set, sample, shared

THREE = ("vanilla", "uniform-0.3", "ml-lr", "self-replay", "random")
ONE = ("swat", "freeze", "inverted", "ml-lr+self-replay")
CURVE = {"start": 0.0, "uniform-0.3": 0.3, "uniform-0.6": 0.6, "vanilla": 1.0}
"""Rates of the uniform-rate curve. 0.6 is there because ASR rises steeply above 0.3: a straight line from 0.3
to 1 would lie above the curve, and whatever is compared with it would look better than it is."""
SEEDS = (0, 1, 2)
KNOBS = {"ratio": 0.01, "warmup_share": 0.5, "replay_share": 0.05}
SHARE = 0.5
"""Stated here, so that new defaults do not mix with cells made under the old ones."""
JUDGES = ("refusal-list-qi", "refusal-list-safedecoding", "refusal-list-wei")
JUDGE = JUDGES[0]


def cells() -> Iterator[tuple[str, int]]:
    """(model, seed), seed 0 of everything first."""
    yield "start", 0
    for name in (*THREE, "uniform-0.6", *ONE):
        yield name, 0
    for seed in SEEDS[1:]:
        for name in (*THREE, "uniform-0.6"):
            yield name, seed


def config(seed: int, names: tuple[str, ...] = (), **train: object) -> Config:
    """The settings of every cell: 60 steps of 8 rows at 5e-4, LoRA r=8 on all linear layers.

    Batches hold rows of like length and compute in bfloat16 (autocast; the weights stay float32): the
    same for every cell, and about twice as fast on a CPU.
    """
    fast = {"bf16": True, "train_sampling_strategy": "group_by_length"}
    settings = {"steps": 60, "learning_rate": 5e-4, "batch_size": 8, "seed": seed, "trainer": fast} | train
    content = {
        "model": {"id": "demo"},
        "data": {"source": str(alpaca()), "license": "CC-BY-NC-4.0", "max_length": 320},
        "train": settings,
        "strategy": {"names": names or (*THREE, "uniform-0.6", *ONE), **KNOBS},
        "analysis": {"share": SHARE},
        "evaluate": {"batch_size": 50, "judges": list(JUDGES)},
    }
    return validate(Config, content)


def alpaca() -> Path:
    """Alpaca rows with an answer, written once beside the work; the public file has three empty ones."""
    path = Path("runs/bench-data/alpaca.json")
    if not path.is_file():
        rows = json.loads(shared("alpaca/alpaca_data_5k.json").read_text())
        write_json(path, [row for row in rows if row["output"].strip()])
    return path


def suites() -> tuple[Suite, ...]:
    """The public harmful prompts as one suite."""
    parts = disjoint(
        [public_set("advbench"), public_set("harmbench-standard"), public_set("maliciousinstruct")]
    )
    chosen = [sample(part, n) for part, n in zip(parts, (100, 60, 40))]
    prompts = tuple(
        replace(prompt, id=f"{part.name}-{prompt.id}") for part in chosen for prompt in part.prompts
    )
    return (Suite("harmful", PromptSet("public harmful", "../shared/data", "mixed", prompts)),)


class BenchPipeline(Pipeline):
    """The pipeline with the public harmful prompts as its harmful suite."""

    @property
    def prompts(self):  # noqa: D102
        roles = super().prompts
        benign = tuple(suite for suite in roles.suites if suite.name == "twins")
        used = [*roles.probe, *roles.selection]
        for suite in suites():
            if shared_rows := without_overlap(suite.prompts, used)[1]:
                raise SystemExit(
                    f"{shared_rows} prompts of {suite.name} nearly equal some that the analysis uses"
                )
        return replace(roles, suites=(*suites(), *benign))


def run_cell(name: str, seed: int, work: Path, results: Path) -> None:
    """Run one cell, unless its file is there."""
    path = results / f"{name}.seed{seed}.json"
    pipeline = BenchPipeline(config(seed), Run(work / f"seed{seed}"))
    if path.is_file():
        if read_json(path)["start"] != pipeline.base:
            raise SystemExit(f"{path} was made with another demo model; move it away to make it again")
        return
    link_shared_stages(work, seed)
    evaluation = pipeline.evaluate(name)
    verdicts = {f"{suite}/{judge}": outcomes for (suite, judge), outcomes in evaluation.outcomes.items()}
    cell = {"model": name, "seed": seed, "loss": evaluation.held_out_loss, "outcomes": verdicts}
    write_json(path, cell | made_with(pipeline))
    print(f"{name} seed {seed}: {Rate.of(list(verdicts[f'harmful/{JUDGE}'].values()))}", flush=True)


def made_with(pipeline: Pipeline) -> dict:
    """What must be the same for all cells of a table."""
    train = pipeline.config.train.model_dump(mode="json", exclude={"seed", "watch_steps"})
    made = {"start": pipeline.base, "held_out": pipeline.tuning.held_out.fingerprint, "train": train}
    strategy, share = pipeline.config.strategy, pipeline.config.analysis.share
    return made | {"knobs": {key: getattr(strategy, key) for key in KNOBS} | {"share": share}}


def link_shared_stages(work: Path, seed: int) -> None:
    """Analysis and replay do not depend on the seed of the training: reuse those of seed 0."""
    for stage in ("analysis", "replay"):
        source, target = work / "seed0" / stage, work / f"seed{seed}" / stage
        if seed and source.is_dir() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source.resolve())


def table(results: Path) -> list[dict]:
    """One row per model: means over its seeds, with intervals over prompts and seeds."""
    found: dict[str, dict[int, dict]] = {}
    for name, seed in cells():
        path = results / f"{name}.seed{seed}.json"
        if path.is_file():
            found.setdefault(name, {})[seed] = read_json(path)
    check_same([cell for runs in found.values() for cell in runs.values()])
    return [row(name, found) for name in found]


def check_same(found: list[dict]) -> None:
    """Refuse cells of different models, settings or prompts."""
    for cell in found:
        for key in ("start", "held_out", "train", "knobs"):
            if cell.get(key) != found[0].get(key):
                raise SystemExit(f"{cell['model']} seed {cell['seed']}: {key} is not that of the other cells")
        for suite, outcomes in cell["outcomes"].items():
            if outcomes.keys() != found[0]["outcomes"][suite].keys():
                raise SystemExit(f"{cell['model']} seed {cell['seed']}: other prompts in {suite}")


def row(name: str, found: dict[str, dict[int, dict]]) -> dict:
    """The numbers of one model."""
    runs = list(found[name].values())
    harmful, twins = ([run["outcomes"][f"{suite}/{JUDGE}"] for run in runs] for suite in ("harmful", "twins"))
    rate, refusal = rate_over_seeds(harmful), rate_over_seeds(twins)
    return {
        "model": name,
        "seeds": len(runs),
        "asr": rate.value,
        "low": rate.low,
        "high": rate.high,
        "n": rate.n,
        "unscored": rate.unscored,
        "loss": sum(run["loss"] for run in runs) / len(runs),
        "by_seed": [Rate.of(list(outcomes.values())).value for outcomes in harmful],
        "over_refusal": refusal.value,
        "over_refusal_low": refusal.low,
        "over_refusal_high": refusal.high,
        "matched": matched(name, found),
    }


def matched(name: str, found: dict[str, dict[int, dict]]) -> dict | None:
    """Every seed against the uniform-rate curve of that seed, at its own held-out loss."""
    tuned = [point for point in CURVE if point != "start"]
    complete = [s for s in found[name] if "start" in found and all(s in found.get(p, {}) for p in tuned)]
    if name in CURVE or not complete:
        return None

    def point(model: str, seed: int) -> ReferencePoint:
        run = found[model][0 if model == "start" else seed]  # The start model has no seed.
        return ReferencePoint(run["loss"], run["outcomes"][f"harmful/{JUDGE}"], CURVE.get(model))

    own = [point(name, seed) for seed in complete]
    return dict(vars(matched_over_seeds(own, [[point(model, seed) for model in CURVE] for seed in complete])))


def print_table(rows: list[dict]) -> None:
    """Markdown, as it stands in the README."""
    print(
        "| model | seeds | ASR [95%] | ASR by seed | held-out loss | over-refusal (twins) | "
        "vs uniform rate at same loss |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        gap = row["matched"]
        text = "–" if gap is None else gap["note"] or ""
        if gap is not None and gap["difference"] is not None:
            interval = f"[{percent(gap['low'], '+')}, {percent(gap['high'], '+')}]"
            text = f"{percent(gap['difference'], '+')} {interval}" + (f" ({text})" if text else "")
        print(
            f"| {row['model']} | {row['seeds']} | {percent(row['asr'])} [{percent(row['low'])}, "
            f"{percent(row['high'])}] (n = {row['n']}) | {', '.join(percent(v) for v in row['by_seed'])} | "
            f"{row['loss']:.3f} | {percent(row['over_refusal'])} [{percent(row['over_refusal_low'])}, "
            f"{percent(row['over_refusal_high'])}] | {text} |"
        )


def percent(value: float | None, sign: str = "-") -> str:
    """A rate or a difference."""
    return "n/a" if value is None else f"{value:{sign}.1%}"


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/bench"))
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "main")
    parser.add_argument("--only", nargs="*", help="models to run now; the table shows all that are finished")
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS, help="seeds to run now")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    set_up(verbose=False, quiet=False)
    quiet_libraries()
    for name, seed in cells():
        if not options.table and seed in options.seeds and (not options.only or name in options.only):
            run_cell(name, seed, options.work, options.results)
    rows = table(options.results)
    print_table(rows)
    print(json.dumps({"cells": sum(row["seeds"] for row in rows), "rows": rows}))


if __name__ == "__main__":
    main()
