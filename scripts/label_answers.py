"""Draw answers of our own models, label them one by one without any judge, and check judges with them.

    python scripts/label_answers.py draw RUN_DIR... --out sample.jsonl [--harmful 200] [--harmless 120]
    python scripts/label_answers.py label sample.jsonl labels.jsonl --by "WHO OR WHAT LABELS"
    python scripts/label_answers.py check sample.jsonl labels.jsonl [--judge NAME ...] [--json]
    python scripts/label_answers.py evasion KINDS.jsonl --answers FILE [--answers FILE]

`draw` takes answers from `evaluate/MODEL/SUITE/responses.jsonl` of run directories, evenly over models and
suites; sample.jsonl holds texts and is not committed. `label` shows request and answer and asks for a label
of docs/labelling.md; it may be stopped and continued. labels.jsonl holds ids, hashes and labels only.
`check` prints the agreement of every judge, its recall of compliance on harmful prompts, and recall and false
alarms of the coherence rule on the answers labelled `incoherent` and the others.
`evasion` takes answers labelled `partial`, read once more and split into `partial` and `evasion` (KINDS), and
prints how far the judge's rule (`answer_classifier.declines`) agrees, by source; FILEs hold the texts (csv or
jsonl).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from securetune.evaluation.judge_check import LabelledAnswer, check, cohen_kappa, describe
from securetune.evaluation.judges import get_judges, is_coherent, judge_all
from securetune.evaluation.judges.answer_classifier import declines
from securetune.evaluation.statistics import Rate
from securetune.evaluation_settings import EvaluateSettings
from securetune.files import write_text
from securetune.prompt_files import package_prompts
from securetune.tables import read_table
from securetune.terminal import plain_lines

LABELS = {"r": "refusal", "e": "evasion", "p": "partial", "c": "compliance", "i": "incoherent"}


def main() -> None:
    """Read the arguments and do one of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("draw")
    one.add_argument("runs", nargs="+", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--prompts", type=Path, help="jsonl of id, text, harmful for prompts that are not ours")
    for name, default in (("harmful", 200), ("harmless", 120), ("seed", 0)):
        one.add_argument(f"--{name}", type=int, default=default)
    two = steps.add_parser("label")
    two.add_argument("sample", type=Path)
    two.add_argument("labels", type=Path)
    two.add_argument("--by", required=True)
    three = steps.add_parser("check")
    three.add_argument("sample", type=Path)
    three.add_argument("labels", type=Path)
    three.add_argument("--judge", action="append")
    three.add_argument("--json", action="store_true")
    four = steps.add_parser("evasion")
    four.add_argument("kinds", type=Path)
    four.add_argument("--answers", action="append", required=True)
    options = parser.parse_args()
    {"draw": draw, "label": label, "check": agreement, "evasion": evasion}[options.step](options)


def draw(options: argparse.Namespace) -> None:
    """Sample answers evenly over models and suites."""
    known = {
        prompt.id: (prompt.text, prompt.harmful) for part in package_prompts("evaluation") for prompt in part
    }
    if options.prompts is not None:
        known |= {row["id"]: (row["text"], row["harmful"]) for row in _lines(options.prompts)}
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in options.runs:
        for path in sorted(run.glob("evaluate/*/*/responses.jsonl")):
            model, suite = f"{run.name}/{path.parents[1].name}", path.parent.name
            for row in _lines(path):
                if row["text"].strip() and row["prompt_id"] in known:
                    text, harmful = known[row["prompt_id"]]
                    found = {"model": model, "suite": suite, "prompt_id": row["prompt_id"], "prompt": text}
                    found |= {"harmful": harmful, "answer": row["text"], "answer_sha256": _hash(row["text"])}
                    cells.setdefault((model, suite), []).append(found)
    rng = random.Random(options.seed)
    drawn = []
    for harmful, size in ((True, options.harmful), (False, options.harmless)):
        queues = [rng.sample(rows, len(rows)) for rows in cells.values() if rows[0]["harmful"] is harmful]
        picked: dict[str, dict[str, Any]] = {}
        while len(picked) < size and any(queues):
            for queue in queues:
                if queue and len(picked) < size:
                    row = queue.pop()
                    # The same text twice teaches nothing about a judge.
                    picked.setdefault(row["prompt_id"] + row["answer_sha256"], row)
        drawn += picked.values()
    rng.shuffle(drawn)
    write_text(options.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in drawn))
    print(f"{options.out}: {len(drawn)} answers of {len({row['model'] for row in drawn})} models")


def label(options: argparse.Namespace) -> None:
    """Ask for a label of every answer that has none yet."""
    if not options.labels.is_file():
        head = {"labelled_by": options.by, "date": date.today().isoformat(), "guide": "docs/labelling.md"}
        write_text(options.labels, json.dumps(head) + "\n")
    done = {(row["model"], row["answer_sha256"], row["prompt_id"]) for row in _lines(options.labels)[1:]}
    rows = _lines(options.sample)
    for number, row in enumerate(rows, start=1):
        if (row["model"], row["answer_sha256"], row["prompt_id"]) in done:
            continue
        print(f"\n[{number}/{len(rows)}] REQUEST: {plain_lines(row['prompt'])}")
        print(f"ANSWER: {plain_lines(row['answer'])}")
        kinds = "(r)efusal (e)vasion (p)artial (c)ompliance (i)ncoherent"
        said = _ask(f"{kinds}, u after it if unsure, (q)uit: ", row)
        if said is None:
            return
        with options.labels.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(said) + "\n")


def _ask(question: str, row: dict[str, Any]) -> dict[str, Any] | None:
    while True:
        reply = input(question).strip().lower()
        if reply == "q":
            return None
        if reply[:1] in LABELS and reply[1:] in ("", "u"):
            break
    kind, harmful = LABELS[reply[0]], None
    while row["harmful"] and kind in ("compliance", "partial") and harmful is None:
        harmful = {"y": True, "n": False}.get(
            input("further along after reading it? (y/n): ").strip().lower()
        )
    keys = ("model", "suite", "prompt_id", "answer_sha256")
    return {key: row[key] for key in keys} | {"label": kind, "harmful": harmful, "unsure": reply[1:] == "u"}


def agreement(options: argparse.Namespace) -> None:
    """Agreement of judges with the labels, and their recall of compliance on harmful prompts."""
    texts = {(r["model"], r["prompt_id"], r["answer_sha256"]): r for r in _lines(options.sample)}
    labels = _lines(options.labels)[1:]
    missing = [row for row in labels if (row["model"], row["prompt_id"], row["answer_sha256"]) not in texts]
    if missing:
        raise SystemExit(f"{len(missing)} labels have no answer with their hash; first: {missing[0]}")
    kept = [row for row in labels if row["label"] != "incoherent"]
    found = [texts[row["model"], row["prompt_id"], row["answer_sha256"]] for row in kept]
    rows = [LabelledAnswer(text["prompt"], text["answer"], row["label"]) for row, text in zip(kept, found)]
    settings = EvaluateSettings()
    judges = get_judges(options.judge or settings.judges, settings)
    results = {judge.name: check(judge, rows) for judge in judges}
    content, text = describe(results, settings.judges[0], str(options.labels))
    complied = [t for row, t in zip(kept, found) if row["label"] == "compliance" and t["harmful"]]
    for judge in judges:
        verdicts = judge_all(judge, [(row["prompt"], row["answer"]) for row in complied])
        rate = Rate.of([None if v.refused is None else not v.refused for v in verdicts])
        content["judges"][judge.name]["recall_of_compliance"] = dict(vars(rate))
        text += f"\n{judge.name}: recall of compliance on harmful prompts {rate}"
    content["incoherent"] = len(labels) - len(kept)
    for name, rate in coherence(labels, texts).items():
        content[f"coherence_{name}"] = dict(vars(rate))
        text += f"\ncoherence: {name.replace('_', ' ')} {rate}"
    print(json.dumps(content) if options.json else text)


def evasion(options: argparse.Namespace) -> None:
    """Agreement of the rule that tells evasion from partial with labels, by source."""
    texts = {}
    for file in options.answers:
        for row in read_table(file).rows:
            text = str(row.values.get("completion") or row.values.get("answer") or "")
            texts[_hash(text)] = text
    labels = _lines(options.kinds)[1:]
    if missing := [row for row in labels if row["answer_sha256"] not in texts]:
        raise SystemExit(f"{len(missing)} labels have no answer with their hash; first: {missing[0]}")
    for source in dict.fromkeys(row["source"] for row in labels):
        own = [row for row in labels if row["source"] == source]
        said = [not declines(texts[row["answer_sha256"]]) for row in own]
        table = np.zeros((2, 2))
        for row, evades in zip(own, said):
            table[int(row["kind"] == "evasion"), int(evades)] += 1
        pairs = [(row["kind"], evades) for row, evades in zip(own, said)]
        found = {
            kind: Rate.of([evades == (kind == "evasion") for label, evades in pairs if label == kind])
            for kind in ("evasion", "partial")
        }
        told = ", ".join(f"{kind} found {rate}" for kind, rate in found.items())
        print(f"{source}: kappa {cohen_kappa(table):.3f} (n = {len(own)}), {told}")


def coherence(
    labels: list[dict[str, Any]], texts: dict[tuple[str, str, str], dict[str, Any]]
) -> dict[str, Rate]:
    """Shares of the answers labelled `incoherent`, and of all others, that `is_coherent` rejects."""
    found: dict[bool, list[bool | None]] = {True: [], False: []}
    for row in labels:
        answer = texts[row["model"], row["prompt_id"], row["answer_sha256"]]["answer"]
        found[row["label"] == "incoherent"].append(not is_coherent(answer))
    return {"recall": Rate.of(found[True]), "false_alarms": Rate.of(found[False])}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
