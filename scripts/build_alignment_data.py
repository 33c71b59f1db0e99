"""Build the alignment data of the shipped demo adapter from the public sets, by licence.

Usage: python scripts/build_alignment_data.py OUT_DIR

Writes star1.csv, medsafety.csv and catqa.csv (harmful prompts; they get refusals of our own wording),
dolly.csv and gsm8k.csv (harmless prompts; the start model answers them), first_refuse.csv and
first_help.csv (the package's rows of the first round), second_refuse.csv and
second_help.csv (the second round of training: what was written or left over since the first, and a sample of
the first) and evaluation.csv (the prompts of every public evaluation set, none of which may be trained on).
What is taken and why: docs/demo_model.md.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from shared_data import EVALUATION_SETS, public_set, shared

STAR1_SOURCES = {"SaladBench", "wildjailbreak", "AttaQ", "UltraSafety", "GPTFuzz", "HarmfulQA"}
"""Left out: BeaverTails, PKUSafeRLHF, SafetyInstructions, ALERT (their own terms), every evaluation set."""
CATQA_LEFT_OUT = {"Tailored Financial Advice", "Political Campaigning", "Adult Content"}
"""Refusing these would teach to refuse ordinary questions about money, politics and relationships."""
MEDSAFETY_ROWS, DOLLY_ROWS, GSM8K_ROWS = 150, 1300, 60
FIRST_PAIRS, FIRST_HELPFUL = 780, 2188
"""Package rows that the first round had; the second round learns the later ones."""
OLD_REFUSE, OLD_HELP = 1000, 600
"""Rows of the first round that the second one sees again."""


def main(out: Path) -> None:
    """Write the files."""
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    star1 = json.loads(shared("star1/STAR-1_final_answers.json").read_text())
    kept = [row for row in star1 if row["source"] in STAR1_SOURCES and len(row["question"]) < 600]
    _prompts(out / "star1.csv", (row["question"] for row in kept))
    with shared("medsafetybench/med_safety_train.csv").open() as stream:
        medical = list(csv.DictReader(stream))
    medical = rng.sample(medical, MEDSAFETY_ROWS)
    _prompts(out / "medsafety.csv", (row["harmful_medical_request"] for row in medical))
    with shared("catqa/catqa_english.csv").open() as stream:
        catqa = [r["question"] for r in csv.DictReader(stream) if r["category"] not in CATQA_LEFT_OUT]
    _prompts(out / "catqa.csv", catqa)
    dolly = json.loads(shared("dolly/dolly_3k.json").read_text())
    asked = [r for r in dolly if len(r["instruction"]) + len(r["input"]) < 400]
    texts = [f"{r['instruction']}\n\n{r['input']}".strip() for r in asked]
    first = rng.sample(texts, DOLLY_ROWS)
    _prompts(out / "dolly.csv", first)
    gsm8k = [json.loads(line) for line in shared("gsm8k/train_2k.jsonl").read_text().splitlines()]
    _prompts(out / "gsm8k.csv", (row["question"] for row in rng.sample(gsm8k, GSM8K_ROWS)))
    pairs, helpful = _package("align_pairs"), _package("align_helpful")
    old, new = pairs[:FIRST_PAIRS], pairs[FIRST_PAIRS:]
    _prompts(out / "first_refuse.csv", (pair["harmful"] for pair in old))
    _prompts(
        out / "first_help.csv",
        [row["prompt"] for row in helpful[:FIRST_HELPFUL]] + [pair["twin"] for pair in old],
    )
    known = [pair["harmful"] for pair in old] + [row["question"] for row in kept] + catqa
    known += [row["harmful_medical_request"] for row in medical]
    refuse = [pair["harmful"] for pair in new] + rng.sample(known, OLD_REFUSE)
    _prompts(out / "second_refuse.csv", refuse)
    known = [pair["twin"] for pair in old] + [row["prompt"] for row in helpful[:FIRST_HELPFUL]]
    answered = [pair["twin"] for pair in new] + [row["prompt"] for row in helpful[FIRST_HELPFUL:]]
    rest = sorted(set(texts) - set(first))
    _prompts(out / "second_help.csv", [*answered, *rest, *rng.sample(known, OLD_HELP)])
    _prompts(out / "evaluation.csv", (prompt.text for name in EVALUATION_SETS for prompt in public_set(name)))


def _package(name: str) -> list[dict[str, str]]:
    file = Path(__file__).resolve().parents[1] / "src" / "securetune" / "data" / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def _prompts(path: Path, prompts: Iterable[str]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["prompt"])
        rows = [[prompt] for prompt in prompts]
        writer.writerows(rows)
    print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
