"""The public prompt sets that benchmarks and tests read; never committed."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

from securetune.overlap import without_overlap
from securetune.prompt_files import read_prompts
from securetune.prompts import PromptSet, drawn


def shared(name: str) -> Path:
    """Return a file of the public data: below `$SECURETUNE_DATA`, else `../shared/data`."""
    root = os.environ.get("SECURETUNE_DATA")
    folder = Path(root) if root else Path(__file__).resolve().parents[2] / "shared" / "data"
    path = folder / name
    if not path.is_file():
        raise SystemExit(f"public data not found: {path}; set SECURETUNE_DATA to the folder that holds it")
    return path


_FILES = {
    "advbench": ("advbench/harmful_behaviors.csv", "goal", True),
    "maliciousinstruct": ("maliciousinstruct/MaliciousInstruct.txt", None, True),
    "jailbreakbench": ("jailbreakbench/harmful-behaviors.csv", "Goal", True),
    "strongreject": ("strongreject/strongreject_dataset.csv", "forbidden_prompt", True),
    "simplesafetytests": ("simplesafetytests/simplesafetytests.csv", "prompts_final", True),
    "jailbreakbench-benign": ("jailbreakbench/benign-behaviors.csv", "goal", False),
    "alpacaeval": ("alpaca_eval/alpaca_eval_instructions.json", "instruction", False),
    "oktest": ("oktest/OKTest.csv", "prompt", False),
    "or-bench": ("or_bench/or_bench_hard_sample.csv", "prompt", False),
}
EVALUATION_SETS = (*_FILES, "harmbench-standard", "xstest-safe", "xstest-unsafe", "mt-bench", "vicuna")
"""Every set that `public_set` reads; nothing that we train on may come near them."""


def public_set(name: str) -> PromptSet:
    """Read one public prompt set by its short name."""
    if name == "harmbench-standard":
        return _filtered("harmbench/harmbench_behaviors_text_all.csv", "Behavior", True, name,
                         "FunctionalCategory", "standard")  # fmt: skip
    if name in ("xstest-safe", "xstest-unsafe"):
        label = name.removeprefix("xstest-")
        return _filtered("xstest/xstest_prompts.csv", "prompt", label == "unsafe", name, "label", label)
    if name in ("mt-bench", "vicuna"):
        return _first_turns(name)
    file, column, harmful = _FILES[name]
    return read_prompts(str(shared(file)), harmful=harmful, column=column, name=name)


def sample(prompts: PromptSet, n: int, seed: int = 0) -> PromptSet:
    """At most `n` prompts, drawn by their places in the public file, so that kept cells stay comparable."""
    if len(prompts) <= n:
        return prompts
    kept = drawn(len(prompts), n, seed, prompts.name)
    return replace(prompts, prompts=tuple(prompts.prompts[index] for index in kept))


def disjoint(sets: list[PromptSet]) -> list[PromptSet]:
    """Later sets lose the prompts that (nearly) equal one of an earlier set."""
    kept: list[PromptSet] = []
    for prompts in sets:
        rest, dropped = without_overlap(prompts, kept)
        if dropped:
            print(f"{prompts.name}: {dropped} prompts (nearly) equal one of an earlier set; left out")
        kept.append(rest)
    return kept


def shuffled(items: list[str], seed: int = 0) -> list[str]:
    """A seeded permutation."""
    return random.Random(seed).sample(items, len(items))


def _filtered(file: str, column: str, harmful: bool, name: str, key: str, value: str) -> PromptSet:
    import csv
    from dataclasses import replace

    from securetune.prompts import normalise

    with shared(file).open(encoding="utf-8") as stream:
        wanted = {normalise(row[column]) for row in csv.DictReader(stream) if row[key] == value}
    whole = read_prompts(str(shared(file)), harmful=harmful, column=column, name=name)
    return replace(whole, prompts=tuple(p for p in whole if normalise(p.text) in wanted))


def _first_turns(name: str) -> PromptSet:
    import json

    from securetune.prompts import Prompt

    file = {"mt-bench": "mt_bench/question.jsonl", "vicuna": "vicuna_bench/question.jsonl"}[name]
    rows = [json.loads(line) for line in shared(file).read_text().splitlines()]
    prompts = tuple(Prompt(f"{name}-{row['question_id']}", row["turns"][0], False) for row in rows)
    return PromptSet(name, file, "Apache-2.0", prompts)
