"""The data we ship: sizes, parts, disjointness, and no near-copies of public evaluation sets."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from public_data import shared
from securetune.encoding import encode
from securetune.evaluation.judges import JUDGES
from securetune.formats import package_tuning_data
from securetune.overlap import check_disjoint, overlap
from securetune.prompt_files import package_prompts, read_prompts
from securetune.prompts import Prompt, PromptSet, normalise
from securetune.tables import package_table
from tiny import tiny_tokenizer

PUBLIC = {
    "advbench/harmful_behaviors.csv": "goal",
    "harmbench/harmbench_behaviors_text_all.csv": "Behavior",
    "jailbreakbench/harmful-behaviors.csv": "Goal",
    "jailbreakbench/benign-behaviors.csv": "goal",
    "strongreject/strongreject_dataset.csv": "forbidden_prompt",
    "maliciousinstruct/MaliciousInstruct.txt": None,
    "xstest/xstest_prompts.csv": "prompt",
    "alpaca_eval/alpaca_eval_instructions.json": "instruction",
    "oktest/OKTest.csv": "prompt",
}


def package_set(file: str, column: str) -> PromptSet:
    rows = [row.values for row in package_table(file).rows]
    prompts = tuple(Prompt(str(row["id"]), str(row[column]), False) for row in rows)
    return PromptSet(file, "securetune", "CC0-1.0", prompts)


def trained_on() -> list[PromptSet]:
    """What the embedded model was aligned on, and our tuning data."""
    columns = [("align_helpful.jsonl", "prompt"), ("tuning.jsonl", "prompt")]
    columns += [("align_pairs.jsonl", "harmful"), ("align_pairs.jsonl", "twin")]
    return [package_set(file, column) for file, column in columns]


def test_there_are_enough_pairs_over_enough_categories() -> None:
    rows = [row.values for row in package_table("pairs.jsonl").rows]
    assert len(rows) >= 200
    by_category = Counter((row["category"], row["part"]) for row in rows)
    assert len({category for category, _ in by_category}) >= 10
    assert len({part for _, part in by_category}) == 3


def shared_words(one: str, other: str) -> float:
    """Words, with their number, that are in both, as a share of the longer text's."""
    first, second = (Counter(normalise(text).split()) for text in (one, other))
    return (first & second).total() / max(first.total(), second.total())


def test_twins_share_most_words_with_their_harmful_prompts() -> None:
    rows = [row.values for row in package_table("pairs.jsonl").rows]
    harmful, twins = ([str(row[side]) for row in rows] for side in ("harmful", "twin"))
    shares = sorted(map(shared_words, harmful, twins))
    assert shares[0] >= 0.4
    assert shares[len(rows) // 20] >= 0.5 and shares[len(rows) // 2] >= 0.65
    strangers = sorted(map(shared_words, harmful, [*twins[1:], twins[0]]))
    assert strangers[len(rows) // 2] < 0.2 and strangers[-len(rows) // 20] < 0.4


def test_there_are_enough_ordinary_instructions_and_tuning_rows() -> None:
    assert len(package_table("ordinary.jsonl").rows) >= 150
    data = package_tuning_data()
    assert len(data) >= 800
    tasks = {row.values["task"] for row in package_table("tuning.jsonl").rows}
    assert len(tasks) >= 30
    encoded = encode(data, tiny_tokenizer(), 2048)
    assert encoded.too_long == 0


def test_the_roles_are_disjoint_and_alignment_prompts_stay_clear_of_them() -> None:
    parts = {part: list(package_prompts(part)) for part in ("probe", "selection", "evaluation")}  # type: ignore[arg-type]
    check_disjoint(parts)
    for part in ("selection", "evaluation"):
        for prompts in parts[part]:
            for ours in trained_on():
                assert not overlap(ours, prompts, near=True), ours.name


def test_refusals_are_refusals_and_tuning_answers_are_not() -> None:
    judge = JUDGES["refusal-list-qi"]
    refusals = [str(row.values["text"]) for row in package_table("refusals.jsonl").rows]
    assert sum(bool(judge.judge("", text).refused) for text in refusals) >= 0.9 * len(refusals)
    answers = [str(row.values["completion"]) for row in package_table("tuning.jsonl").rows]
    assert sum(bool(judge.judge("", text).refused) for text in answers) <= 0.02 * len(answers)


@pytest.mark.parametrize("file", sorted(PUBLIC))
def test_no_prompt_of_ours_nearly_equals_a_public_evaluation_prompt(file: str) -> None:
    both = {"label": ("safe", "unsafe")} if file.startswith("xstest/") else None
    public = read_prompts(str(shared(file)), harmful=True, column=PUBLIC[file], where=both)
    ours = [prompts for part in ("probe", "selection", "evaluation") for prompts in package_prompts(part)]  # type: ignore[arg-type]
    for prompts in [*ours, *trained_on()]:
        assert not overlap(prompts, public, near=True), prompts.name


def test_every_line_is_ascii_clean_json_without_control_characters() -> None:
    folder = Path(package_table.__code__.co_filename).parent / "data"
    for path in folder.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            assert all(ch.isprintable() or ch in "\n\t" for value in row.values() for ch in str(value)), row
