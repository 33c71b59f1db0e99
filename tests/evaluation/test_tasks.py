from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from securetune.config import Config, validate
from securetune.errors import ConfigError, DataError
from securetune.evaluation.evaluate import evaluate
from securetune.evaluation.generate import answer_gap, render_prompt
from securetune.evaluation.tasks import _by_likelihood, score_task
from securetune.evaluation_settings import EvaluateSettings
from securetune.prompts import Prompt
from securetune.report import cards
from securetune.task_files import LETTERS, Item, _read_task, number, read_task
from tiny import CHAT_TEMPLATE, FAMILIES, tiny_llama

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
BEGINS = {
    "gsm8k": ["2 + 2?"],
    "sst2": ["a joy", "a bore"],
    "agnews": ["A goal", "A planet"],
    "mmlu": ["2 + 2?", "2 + 3?"],
}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_become_questions_with_their_right_answer(name: str, tmp_path: Path) -> None:
    found = read_task(f"{name}={write(tmp_path / 'a.jsonl', ROWS[name])}", None)
    items = found.items
    assert (found.task, found.available, found.duplicates) == (name, len(ROWS[name]), 0)
    asked = [next(item for item in items if begins in item.prompt.text) for begins in BEGINS[name]]
    assert [item.answer for item in asked] == RIGHT[name]
    assert all(item.answer in item.choices for item in items if item.choices)
    assert len({item.prompt.id for item in items}) == len(items)


def test_wrong_tasks_columns_and_answers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`arc=x`; expected TASK=FILE or .* TASK of gsm8k, sst2"):
        read_task("arc=x", None)
    with pytest.raises(DataError, match=r"has the columns sentence; expected sentence, label or"):
        read_task(f"sst2={write(tmp_path / 'a.jsonl', [{'sentence': 'x'}])}", None)
    with pytest.raises(DataError, match=r"line 1: no valid answer for sst2"):
        read_task(f"sst2={write(tmp_path / 'b.jsonl', [{'sentence': 'x', 'label': 7}])}", None)
    with pytest.raises(DataError, match=r"the right answer 'none' is not valid for gsm8k"):
        read_task(f"gsm8k={write(tmp_path / 'c.jsonl', [{'question': 'x', 'answer': 'none'}])}", None)


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
    found = read_task(spec, None)
    name, _, revision = spec.partition("=")[2].partition(":")[0].partition("@")
    assert asked == [(name, subset, revision or None, split)]
    assert [item.answer for item in found.items] == [answer]
    assert (found.subset, found.split) == (subset, split)
    if "mmlu" in spec:
        assert "A. 3\nB. 4\nC. 5\nD. 6" in found.items[0].prompt.text


def test_hidden_labels_and_other_numbers_of_choices_are_refused(tmp_path: Path) -> None:
    hidden = write(tmp_path / "a.jsonl", [{"sentence": "x", "label": -1}])
    with pytest.raises(DataError, match=r"the right answer '-1' is not valid for sst2"):
        read_task(f"sst2={hidden}", None)
    five = write(tmp_path / "b.jsonl", [{"question": "x", "choices": [*CHOICES, "7"], "answer": 0}])
    with pytest.raises(DataError, match="5 choices, expected 4"):
        read_task(f"mmlu={five}", None)


def test_parquet_files_hold_lists_of_choices(tmp_path: Path) -> None:
    path = tmp_path / "mmlu.parquet"
    Dataset.from_list([{"question": "2 + 2?", "choices": CHOICES, "answer": 1}]).to_parquet(path)
    assert read_task(f"mmlu={path}", None).items[0].answer == "B"


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
    items = read_task(f"sst2={write(tmp_path / 'a.jsonl', rows)}", None).items
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


NO_NEWLINE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'Q: ' + message['content'] + '\n' }}"
    "{% else %}{{ 'A:GAP' + message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'A:' }}{% endif %}"
)
TEMPLATES = {
    "a line of its own": (CHAT_TEMPLATE, ""),
    " A": (NO_NEWLINE.replace("GAP", " "), " "),
    "A": (NO_NEWLINE.replace("GAP", ""), ""),
    "reasoning": (CHAT_TEMPLATE.replace("assistant\n' }}", "assistant\n<think>\n\n</think>\n\n' }}"), ""),
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_choice_is_that_of_the_text_alone_whatever_is_in_the_batch(
    family: str, template: str, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, gap = TEMPLATES[template]
    monkeypatch.setattr(tokenizer, "chat_template", text)
    assert answer_gap(tokenizer) == gap
    length = "n_positions" if family == "gpt2" else "max_position_embeddings"
    model = FAMILIES[family](len(tokenizer), **{length: 512})
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    prompts = [Prompt(f"q{i}", "word " * (3 + 5 * (i % 6)) + f"question {i}?", False) for i in range(12)]

    def chosen(size: int) -> dict[str, str]:
        found = {}
        for letter in LETTERS:
            asked = [Item(prompt, letter, LETTERS) for prompt in prompts]
            right = _by_likelihood(model, tokenizer, asked, size)
            found |= {key: letter for key, is_right in right.items() if is_right}
        return found

    def likeliest(prompt: Prompt) -> str:
        before = render_prompt(tokenizer, prompt.text) + gap
        scores = {}
        for letter in LETTERS:
            ids = tokenizer(before + letter, add_special_tokens=False, return_tensors="pt")["input_ids"]
            with torch.inference_mode():
                scores[letter] = float(model(ids).logits[0, -2].log_softmax(-1)[ids[0, -1]])
        return max(scores, key=scores.__getitem__)

    one = chosen(1)
    assert one == chosen(48) == {prompt.id: likeliest(prompt) for prompt in prompts}
    assert family != "gpt2" or len(set(one.values())) > 1  # Control: the question decides.


def mmlu(n: int, **changes: Any) -> list[dict[str, Any]]:
    return [MMLU | {"question": f"{i} + 2?", "answer": i % 4} | changes for i in range(n)]


def test_the_order_and_repetition_of_rows_change_nothing(tmp_path: Path) -> None:
    path, rows = tmp_path / "m.jsonl", mmlu(30)
    first = read_task(f"mmlu={write(path, [*rows, rows[3]])}", 8)
    assert (len(first.items), first.available, first.duplicates) == (8, 30, 1)
    random.Random(1).shuffle(rows)
    second = read_task(f"mmlu={write(path, [rows[0], *rows])}", 8)
    assert second == first
    ids = {item.prompt.id for item in first.items}
    assert ids < {item.prompt.id for item in read_task(f"mmlu={path}", 9).items}


def test_a_question_with_two_answers_is_two_questions(tmp_path: Path) -> None:
    found = read_task(f"mmlu={write(tmp_path / 'm.jsonl', [MMLU, MMLU | {'answer': 2}])}", None)
    assert sorted(item.answer for item in found.items) == ["B", "C"] and found.duplicates == 0


def inputs(*tasks: str) -> Any:
    return EvaluateSettings(tasks=tasks).further_inputs


def test_stage_inputs_identify_what_is_asked_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inputs() == EvaluateSettings().task_digests == {}
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "m.jsonl", mmlu(6))
    before = inputs("mmlu=~/m.jsonl")
    write(tmp_path / "moved.jsonl", mmlu(6)[::-1])
    assert inputs(f"mmlu={tmp_path / 'moved.jsonl'}") == before
    seen = [before]
    for rows in (mmlu(6, answer=3), mmlu(6, choice3="7"), mmlu(5)):
        write(tmp_path / "m.jsonl", rows)
        seen.append(inputs("mmlu=~/m.jsonl"))
    assert all(seen.count(one) == 1 for one in seen)


def test_stage_inputs_of_a_hub_task_follow_its_split_and_content(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = mmlu(4)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: Dataset.from_list(rows))
    spec = "mmlu=cais/mmlu@inputs"
    before = inputs(spec)
    assert (before["tasks"]["mmlu"]["subset"], before["tasks"]["mmlu"]["split"]) == ("all", "test")
    assert inputs(f"{spec}:all:dev") != before and inputs(f"{spec}:all:test") == before
    rows[0]["answer"] = 2
    _read_task.cache_clear()
    assert inputs(spec) != before


def test_two_sources_of_one_task_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.tasks: .*mmlu is there more than once, and a task has"):
        validate(
            Config, {"model": {"id": "demo"}, "evaluate": {"tasks": ["mmlu=law.jsonl", "mmlu=med.jsonl"]}}
        )


def test_scores_are_kept_for_the_same_answers_only(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    calls = []

    def load() -> Any:
        calls.append(1)
        return tiny_llama(tokenizer), tokenizer

    def right(answer: int) -> set[bool | None]:
        path = write(tmp_path / "m.jsonl", [MMLU | {"answer": answer}])
        settings = EvaluateSettings(tasks=(f"mmlu={path}",), judges=("refusal-list-qi",))
        found = evaluate(load, "start", None, [], [], settings, tmp_path / "out")
        return set(found.tasks["mmlu"].values())

    scores = {answer: right(answer) for answer in range(4)}
    assert sorted(map(str, scores.values())) == ["{False}", "{False}", "{False}", "{True}"]
    assert len(calls) == 4
    assert right(3) == scores[3] and len(calls) == 4


def test_task_cards_state_source_number_limit_and_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: Dataset.from_list(ROWS["sst2"]))
    monkeypatch.setattr(cards, "_rows_card", lambda *_: None)
    monkeypatch.setattr(cards, "held_out_card", lambda *_: None)
    monkeypatch.setattr(cards, "mixed_cards", lambda *_: [])
    path = write(tmp_path / "m.jsonl", [*mmlu(1200), mmlu(1)[0]])
    settings = EvaluateSettings(tasks=(f"mmlu={path}", "sst2=nyu-mll/glue@cards"), task_limit=50)
    pipeline: Any = SimpleNamespace(
        config=SimpleNamespace(evaluate=settings),
        tuning=SimpleNamespace(train=SimpleNamespace(bad_rows=0)),
        prompts=SimpleNamespace(cards=lambda: []),
    )
    *_, own, hub = cards.data_cards(pipeline, [])
    assert (own.role, own.name, own.source, own.n, own.left_out) == ("task", "mmlu", path, 50, 0)
    assert own.fingerprint == settings.task_sets[0].fingerprint
    assert own.note == (
        "50 of 1,200 questions, drawn (evaluate.task_limit); 1 repeated rows of the source were dropped"
    )
    assert (hub.source, hub.n, hub.note) == ("nyu-mll/glue@cards", 2, "subset sst2; split validation")
