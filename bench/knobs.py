"""Which ratio and share should `ml-lr` have? The embedded model and the set of bench/main_table.py, seed 0.

Usage: python bench/knobs.py [--work runs/bench] [--results bench/results/knobs] [--cells RATIO,SHARE ...]
       [--table]

`strategy.ratio` is the rate of the sensitive modules, `analysis.share` the share of the matrix parameters in
the robust set. Every cell stands beside its held-out loss and beside the uniform-rate curve at that loss,
from the cells of bench/main_table.py, which are run first where they are missing. Resumable like it.
Last line: one JSON object, {"cells": N, "rows": [...]} with the keys ratio, share, asr, low, high, n, loss
and matched.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from main_table import CURVE, JUDGE, SHARE, BenchPipeline, config, made_with, matched, percent, run_cell
from securetune.config import Config, validate
from securetune.evaluation.statistics import Rate
from securetune.files import read_json, write_json
from securetune.runs.directory import Run
from securetune.terminal import quiet_libraries, set_up

KNOBS = ((0.1, 0.5), (0.3, 0.5), (0.01, 0.25), (0.01, 0.75), (0.1, 0.25), (0.1, 0.75))
"""(ratio, share) beside those of the main table."""
MAIN = {(0.0, 0.5): "freeze", (0.01, 0.5): "ml-lr"}
"""Cells of the main table: `freeze` is the ratio 0."""


def knobs(text: str) -> tuple[float, float]:
    """`RATIO,SHARE` as numbers."""
    ratio, share = map(float, text.split(","))
    return ratio, share


def settings(ratio: float, share: float) -> Config:
    """The settings of the main table with other knobs."""
    content = config(0, ("ml-lr",)).model_dump(mode="json")
    content["strategy"]["ratio"] = ratio
    content["analysis"]["share"] = share
    return validate(Config, content)


def run_knobs(ratio: float, share: float, work: Path, results: Path) -> None:
    """Run one cell, unless its file is there."""
    path = results / f"ratio{ratio}-share{share}.json"
    if path.is_file():
        return
    run = Run(work / f"knobs-{ratio}-{share}")
    same = work / ("seed0" if share == SHARE else f"knobs-0.01-{share}") / "analysis"
    if same.is_dir() and not (run.path / "analysis").exists():
        run.path.mkdir(parents=True, exist_ok=True)
        (run.path / "analysis").symlink_to(same.resolve())
    pipeline = BenchPipeline(settings(ratio, share), run)
    found = pipeline.evaluate("ml-lr")
    verdicts = {f"{suite}/{judge}": outcomes for (suite, judge), outcomes in found.outcomes.items()}
    cell = {"model": "ml-lr", "seed": 0, "ratio": ratio, "share": share, "loss": found.held_out_loss}
    write_json(path, cell | {"outcomes": verdicts} | made_with(pipeline))


def table(results: Path, curve: Path) -> list[dict]:
    """One row per finished cell."""
    rows = []
    reference = {name: {0: read_json(curve / f"{name}.seed0.json")} for name in CURVE}
    for ratio, share in (*MAIN, *KNOBS):
        path = results / f"ratio{ratio}-share{share}.json"
        if name := MAIN.get((ratio, share)):
            path = curve / f"{name}.seed0.json"
        if not path.is_file():
            continue
        cell = read_json(path)
        rate = Rate.of(list(cell["outcomes"][f"harmful/{JUDGE}"].values()))
        row = {"ratio": ratio, "share": share, "asr": rate.value, "low": rate.low, "high": rate.high}
        row |= {"n": rate.n, "loss": cell["loss"]}
        rows.append(row | {"matched": matched("ml-lr", {**reference, "ml-lr": {0: cell}})})
    return rows


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/bench"))
    here = Path(__file__).parent / "results"
    parser.add_argument("--results", type=Path, default=here / "knobs")
    parser.add_argument("--cells", nargs="*", type=knobs, default=KNOBS, help="RATIO,SHARE to run now")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    set_up(verbose=False, quiet=False)
    quiet_libraries()
    if not options.table:
        for name in (*CURVE, *MAIN.values()):
            run_cell(name, 0, options.work, here / "main")
        for ratio, share in options.cells:
            run_knobs(ratio, share, options.work, options.results)
    rows = table(options.results, here / "main")
    print(
        "| ratio | share | ASR [95%] | held-out loss | vs uniform rate at same loss |\n|---|---|---|---|---|"
    )
    for row in rows:
        gap = row["matched"] or {"difference": None}
        text = percent(gap["difference"], "+")
        if gap["difference"] is not None:
            text += f" [{percent(gap['low'], '+')}, {percent(gap['high'], '+')}]"
        print(
            f"| {row['ratio']} | {row['share']} | {percent(row['asr'])} [{percent(row['low'])}, "
            f"{percent(row['high'])}] (n = {row['n']}) | {row['loss']:.3f} | {text} |"
        )
    print(json.dumps({"cells": len(rows), "rows": rows}))


if __name__ == "__main__":
    main()
