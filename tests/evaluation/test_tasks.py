from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from securetune.errors import ConfigError, DataError
from securetune.evaluation.generate import render_prompt
from securetune.evaluation.tasks import number, read_task, score_task
from tiny import tiny_llama

MMLU = {"question": "2 + 2?", "choice0": "3", "choice1": "4", "choice2": "5", "choice3": "6", "answer": 1}
ROWS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": [{"question": "2 + 2?", "answer": "2 + 2 = <<2+2=4>>4\n#### 1,004"}],
    "sst2": [{"sentence": "a joy", "label": 1}, {"sentence": "a bore", "label": 0}],
    "agnews": [{"sentence": "A goal", "label": "Sports"}, {"sentence": "A planet", "label": "3"}],
    "mmlu": [MMLU, MMLU | {"question": "2 + 3?", "answer": 2}],
}
RIGHT = {
    "gsm8k": ["1,004"],
    "sst2": ["positive", "negative"],
    "agnews": ["Sports", "Sci/Tech"],
    "mmlu": ["B", "C"],
}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_become_questions_with_their_right_answer(name: str, tmp_path: Path) -> None:
    task, items = read_task(f"{name}={write(tmp_path / 'a.jsonl', ROWS[name])}", None, 0)
    assert task == name
    assert [item.answer for item in items] == RIGHT[name]
    assert all(item.answer in item.choices for item in items if item.choices)
    assert len({item.prompt.id for item in items}) == len(items)


def test_wrong_tasks_columns_and_answers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`arc=x`; expected TASK=FILE or .* TASK of gsm8k, sst2"):
        read_task("arc=x", None, 0)
    with pytest.raises(DataError, match=r"has the columns sentence; expected sentence, label or"):
        read_task(f"sst2={write(tmp_path / 'a.jsonl', [{'sentence': 'x'}])}", None, 0)
    with pytest.raises(DataError, match=r"line 1: no valid answer for sst2"):
        read_task(f"sst2={write(tmp_path / 'b.jsonl', [{'sentence': 'x', 'label': 7}])}", None, 0)
    with pytest.raises(DataError, match=r"the right answer 'none' is not valid for gsm8k"):
        read_task(f"gsm8k={write(tmp_path / 'c.jsonl', [{'question': 'x', 'answer': 'none'}])}", None, 0)


CHOICES = ["3", "4", "5", "6"]
HUB: dict[str, tuple[str | None, str, dict[str, Any], str]] = {
    "gsm8k=openai/gsm8k": ("main", "test", ROWS["gsm8k"][0], "1,004"),
    "mmlu=cais/mmlu@abc123": ("all", "test", {"question": "2?", "choices": CHOICES, "answer": 3}, "D"),
    "mmlu=cais/mmlu:astronomy": ("astronomy", "test", MMLU | {"answer": "C"}, "C"),
    "sst2=nyu-mll/glue": ("sst2", "validation", {"sentence": "a joy", "label": 1}, "positive"),
    "sst2=SetFit/sst2::test": (None, "test", {"text": "a bore", "label": 0}, "negative"),
    "agnews=fancyzhx/ag_news": (None, "test", {"text": "A goal", "label": 1}, "Sports"),
}


@pytest.mark.parametrize("spec", HUB)
def test_hub_tasks_are_read_from_the_split_that_models_are_evaluated_on(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subset, split, row, answer = HUB[spec]
    asked: list[Any] = []

    def load_dataset(name: str, subset: str | None, *, revision: str | None, split: str) -> Any:
        asked.append((name, subset, revision, split))
        return Dataset.from_list([row])

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    _, items = read_task(spec, None, 0)
    name, _, revision = spec.partition("=")[2].partition(":")[0].partition("@")
    assert asked == [(name, subset, revision or None, split)]
    assert [item.answer for item in items] == [answer]
    if "mmlu" in spec:
        assert "A. 3\nB. 4\nC. 5\nD. 6" in items[0].prompt.text


def test_hidden_labels_and_other_numbers_of_choices_are_refused(tmp_path: Path) -> None:
    hidden = write(tmp_path / "a.jsonl", [{"sentence": "x", "label": -1}])
    with pytest.raises(DataError, match=r"the right answer '-1' is not valid for sst2"):
        read_task(f"sst2={hidden}", None, 0)
    five = write(tmp_path / "b.jsonl", [{"question": "x", "choices": [*CHOICES, "7"], "answer": 0}])
    with pytest.raises(DataError, match="5 choices, expected 4"):
        read_task(f"mmlu={five}", None, 0)


def test_parquet_files_hold_lists_of_choices(tmp_path: Path) -> None:
    path = tmp_path / "mmlu.parquet"
    Dataset.from_list([{"question": "2 + 2?", "choices": CHOICES, "answer": 1}]).to_parquet(path)
    assert read_task(f"mmlu={path}", None, 0)[1][0].answer == "B"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("so 3 and 4\n#### 1,200.50", 1200.5),
        ("#### -7 apples, 9 pears", -7),
        ("first 3, then 12.", 12),
        ("none", None),
        ("#### Step 2: 3*4\nThe answer is 12", 12),
        ("#### 12\n#### Check: 3 * 4", 12),
        ("so 7\n####\n", 7),
        ("#### $1,000.50 of 2,000", 1000.5),
        ("#### -$5, not 6", -5),
        ("#### $ +5, not 6", 5),
        ("####", None),
        ("", None),
    ],
)
def test_the_number_of_a_solution_is_the_marked_or_the_last_one(text: str, value: float | None) -> None:
    assert number(text) == value


def test_the_likeliest_choice_is_taken_in_batches_and_kept(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama(tokenizer)
    rows = [{"sentence": f"film {i}", "label": i % 2} for i in range(6)]
    _, items = read_task(f"sst2={write(tmp_path / 'a.jsonl', rows)}", None, 0)
    expected = {}
    for item in items:
        scores = []
        prompt = render_prompt(tokenizer, item.prompt.text)
        before = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        for choice in item.choices:
            ids = tokenizer(prompt + choice, add_special_tokens=False, return_tensors="pt")["input_ids"]
            with torch.inference_mode():
                logs = model(ids).logits[0].log_softmax(-1)
            picked = [float(logs[at - 1, ids[0, at]]) for at in range(before, ids.shape[1])]
            scores.append(sum(picked) / len(picked))
        expected[item.prompt.id] = item.choices[scores.index(max(scores))] == item.answer
    assert score_task(model, tokenizer, items, 5, tmp_path / "t.json") == expected
    assert set(expected.values()) == {True, False}
    monkeypatch.setattr("securetune.evaluation.tasks._by_likelihood", None)
    assert score_task(model, tokenizer, items, 5, tmp_path / "t.json") == expected
