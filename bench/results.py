"""The tables of docs/results.md: data files, the missing cells of every comparison, then the tables.

Usage: python bench/results.py [--only core gsm8k] [--shard i/n] [--tables]

Resumable: a finished cell is a JSON file with verdicts by prompt id and no texts under `bench/results/`, and
is not run again. 200 harmful prompts: 100 AdvBench, 60 HarmBench standard, 40 MaliciousInstruct. The tables
replace what stands between the markers of docs/results.md. Last line: one JSON object,
{NAME: {"cells", "seconds", "sentence", "headlines"}}.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from bf16_products import use_float32_products
from securetune.__main__ import main as securetune
from securetune.compare.cells import plan_cells, read_cells
from securetune.compare.results import describe_cells
from securetune.compare.tables import write_tables
from securetune.config import Config, load_settings
from securetune.errors import UsageError
from securetune.files import write_json, write_text
from shared_data import disjoint, public_set, sample, shared

ROOT = Path(__file__).resolve().parents[1]
DATA = Path("runs/results-data")
RECIPES = {"core": "recipes/results.yaml", "gsm8k": "recipes/results_gsm8k.yaml"}


def write_data() -> None:
    """The public rows and prompts that the recipes name, written once."""
    if not (DATA / "alpaca.json").is_file():
        rows = json.loads(shared("alpaca/alpaca_data_5k.json").read_text())
        write_json(DATA / "alpaca.json", [row for row in rows if row["output"].strip()])
    if not (DATA / "gsm8k.jsonl").is_file():
        lines = [json.loads(line) for line in shared("gsm8k/train_2k.jsonl").read_text().splitlines()]
        rows = [{"prompt": row["question"], "completion": row["answer"]} for row in lines]
        write_text(DATA / "gsm8k.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    if not (DATA / "harmful.jsonl").is_file():
        sets = disjoint(
            [public_set("advbench"), public_set("harmbench-standard"), public_set("maliciousinstruct")]
        )
        chosen = [prompt for part, n in zip(sets, (100, 60, 40)) for prompt in sample(part, n)]
        write_text(DATA / "harmful.jsonl", "".join(json.dumps({"prompt": p.text}) + "\n" for p in chosen))


def run(name: str, shard: str | None) -> None:
    """Run the missing cells of one comparison."""
    words = [*("--out", f"runs/results-{name}"), *("--cells", str(ROOT / "bench" / "results" / name))]
    code = securetune(["compare", RECIPES[name], *words, *(["--shard", shard] if shard else [])])
    if code:
        raise SystemExit(code)


def tables(name: str, document: Path) -> dict:
    """Put the tables of one comparison between its markers; return what the last line says of it."""
    settings = load_settings(Config, ROOT / RECIPES[name], [])
    cells = read_cells(ROOT / "bench" / "results" / name)
    planned = plan_cells(settings)
    content = describe_cells(cells, settings.evaluate.judges[0], settings.compare.baselines, planned)
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    written = write_tables(content)
    print(written)
    block = f"{begin}\n{written}\n{end}"
    found = document.read_text(encoding="utf-8")
    text, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, found, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(
            f"{document}: expected the markers `{begin}` and `{end}` once, found them {count} times"
        )
    write_text(document, text)
    return {
        "cells": len(cells),
        "seconds": sum(cell.seconds for cell in cells),
        "sentence": content["ranking"]["sentence"],
        "headlines": content["headlines"],
    }


def main() -> None:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--shard", help="i/n: run only this part of the cells, and write no tables")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    options = parser.parse_args()
    write_data()
    if not options.tables and use_float32_products():
        print("this CPU has no bfloat16 units: products of bfloat16 are computed in float32 and rounded,")
        print("so that the warning of slow bf16 does not apply")
    for name in [] if options.tables else options.only:
        run(name, options.shard)
    if options.shard:
        print(
            f"part {options.shard} of {', '.join(options.only)} is done; run without --shard for the tables"
        )
        print(json.dumps({"shard": options.shard, "grids": options.only}))
        return
    try:
        print(json.dumps({name: tables(name, ROOT / "docs" / "results.md") for name in options.only}))
    except UsageError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
