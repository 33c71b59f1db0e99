"""Task scores from local files or hub ids: exact match (GSM8K), labels (SST-2, AG News), letters (MMLU)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securetune.errors import ConfigError, DataError
from securetune.evaluation.generate import Decoding, generate, render_prompt, tokenize_rendered
from securetune.files import read_json, write_json
from securetune.prompts import Prompt, drawn
from securetune.tables import Row, Table, parse_hub_id, read_table

NUMBER_TOKENS = 256
"""New tokens for a worked solution; a label or letter is read from likelihoods instead."""
LETTERS = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Item:
    """One question with its right answer."""

    prompt: Prompt
    answer: str
    choices: tuple[str, ...] = ()
    """What the right answer is one of; empty: a number at the end of a worked solution."""


@dataclass(frozen=True)
class Task:
    """How the rows of a file become questions. Zero-shot, in the chat template; the wording is ours."""

    name: str
    columns: tuple[tuple[str, ...], ...]
    """The sets of columns that a table may have; one of them has to be there."""
    read: Callable[[Mapping[str, object]], tuple[str, str, tuple[str, ...]]]
    """Row -> (question, right answer, choices)."""
    split: str = "test"
    """Of a hub dataset, if none is named; never the rows that models are tuned on."""
    subsets: Mapping[str, str] = field(default_factory=dict)
    """Hub id -> subset, where the dataset has several and one of them is the task."""


def _gsm8k(row: Mapping[str, object]) -> tuple[str, str, tuple[str, ...]]:
    question = f"{row['question']}\n\nWork it out, and end with a line `#### NUMBER`."
    return question, str(row["answer"]).rpartition("####")[2], ()


def _sst2(row: Mapping[str, object]) -> tuple[str, str, tuple[str, ...]]:
    kinds = ("negative", "positive")
    question = f"Is this film review positive or negative? Answer with one word.\n\n{_text(row)}"
    return question, _choice(row["label"], kinds), kinds


def _agnews(row: Mapping[str, object]) -> tuple[str, str, tuple[str, ...]]:
    kinds = ("World", "Sports", "Business", "Sci/Tech")
    question = f"Is this news about World, Sports, Business or Sci/Tech? Answer with one.\n\n{_text(row)}"
    return question, _choice(row["label"], kinds), kinds


def _mmlu(row: Mapping[str, object]) -> tuple[str, str, tuple[str, ...]]:
    given = row.get("choices")
    texts = given if isinstance(given, list) else [row[f"choice{index}"] for index in range(len(LETTERS))]
    if len(texts) != len(LETTERS):
        raise ValueError(f"{len(texts)} choices, expected {len(LETTERS)}")
    options = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, texts))
    question = f"{row['question']}\n{options}\n\nAnswer with the letter of the right option."
    return question, _choice(row["answer"], LETTERS), LETTERS


def _text(row: Mapping[str, object]) -> object:
    return row["sentence"] if "sentence" in row else row["text"]


def _choice(label: object, kinds: tuple[str, ...]) -> str:
    """The choice that a label names by its index or as a word; hidden labels (-1) are no index."""
    text = str(label).strip()
    return kinds[int(text)] if re.fullmatch(r"\d+", text) else text


_LABELLED = (("sentence", "label"), ("text", "label"))
TASKS: dict[str, Task] = {
    "gsm8k": Task("gsm8k", (("question", "answer"),), _gsm8k, subsets={"openai/gsm8k": "main"}),
    # The labels of SST-2's test split are hidden.
    "sst2": Task("sst2", _LABELLED, _sst2, "validation", subsets={"nyu-mll/glue": "sst2", "glue": "sst2"}),
    "agnews": Task("agnews", _LABELLED, _agnews),
    "mmlu": Task(
        "mmlu",
        (("question", *(f"choice{i}" for i in range(4)), "answer"), ("question", "choices", "answer")),
        _mmlu,
        subsets={"cais/mmlu": "all"},
    ),
}


def read_task(spec: str, limit: int | None, seed: int) -> tuple[str, list[Item]]:
    """Read `TASK=FILE` or `TASK=HUB_ID[@REVISION][:SUBSET[:SPLIT]]`, at most `limit` rows of it (seeded).

    Raises:
        ConfigError: an unknown task.
        DataError: a column is missing or a row has no valid answer.
    """
    name, equals, source = spec.partition("=")
    if not equals or name not in TASKS:
        raise ConfigError(
            f"evaluate.tasks: `{spec}`; expected TASK=FILE or TASK=HUB_ID[@REVISION][:SUBSET[:SPLIT]] with "
            f"TASK of {', '.join(TASKS)}."
        )
    task = TASKS[name]
    table = _read(task, source)
    if not any(set(columns) <= set(table.columns) for columns in task.columns):
        forms = " or ".join(", ".join(columns) for columns in task.columns)
        raise DataError(f"{source} has the columns {', '.join(table.columns)}; expected {forms}.")
    kept = drawn(len(table.rows), min(limit or len(table.rows), len(table.rows)), seed, source)
    return name, [_item(task, source, table.rows[index]) for index in kept]


def _read(task: Task, source: str) -> Table:
    """A local file, or the split of a hub dataset that models are evaluated on."""
    location, *rest = source.split(":")
    if Path(source).exists() or (hub := parse_hub_id(location)) is None or len(rest) > 2:
        return read_table(source)
    subset, split = (*rest, "", "")[:2]
    return read_table(location, split=split or task.split, subset=subset or task.subsets.get(hub.id))


def _item(task: Task, source: str, row: Row) -> Item:
    try:
        question, answer, choices = task.read(row.values)
    except (ValueError, IndexError, KeyError) as error:
        raise DataError(f"{source}, {row.where}: no valid answer for {task.name} ({error}).") from error
    answer = answer.strip()
    if not answer or (choices and answer not in choices) or (not choices and number(answer) is None):
        raise DataError(f"{source}, {row.where}: the right answer {answer!r} is not valid for {task.name}.")
    key = hashlib.sha256(f"{question}\0{row.where}".encode()).hexdigest()[:12]
    return Item(Prompt(key, question, False), answer, choices)


def score_task(
    model: Any, tokenizer: Any, items: Sequence[Item], batch_size: int, path: Path
) -> dict[str, bool | None]:
    """Whether each question is answered rightly, by id; an answer without a number is wrong, not unscored.

    Results are kept in `path` (no texts) and not measured again.
    """
    wanted = {item.prompt.id for item in items}
    if path.is_file() and set(stored := read_json(path)) == wanted:
        return dict(stored)
    if items and items[0].choices:
        right = _by_likelihood(model, tokenizer, items, batch_size)
    else:
        answers = path.with_suffix(".jsonl")
        said = generate(
            model, tokenizer, [item.prompt for item in items], Decoding(NUMBER_TOKENS, batch_size), answers
        )
        right = {item.prompt.id: number(a.text) == number(item.answer) for item, a in zip(items, said)}
        answers.unlink(missing_ok=True)
    write_json(path, right)
    return dict(right)


def number(text: str) -> float | None:
    """The number that the last `####` with one directly behind it marks, else the last number in the text.

    A sign and a currency may stand before a marked number.
    """
    if marked := _MARKED.findall(text):
        return _value("".join(marked[-1]))
    found = re.findall(rf"-?{_DIGITS}", text)
    return _value(found[-1]) if found else None


_DIGITS = r"\d[\d,]*(?:\.\d+)?"
_MARKED = re.compile(rf"####[ \t]*[$€£¥]?[ \t]*([-+]?)[ \t]*[$€£¥]?[ \t]*({_DIGITS})")


def _value(digits: str) -> float:
    return float(digits.replace(",", ""))


def _by_likelihood(
    model: Any, tokenizer: Any, items: Sequence[Item], batch_size: int
) -> dict[str, bool | None]:
    """Take the choice with the highest likelihood per token as the beginning of the answer."""
    import torch

    pairs = [(item, choice) for item in items for choice in item.choices]
    scores: list[float] = []
    for start in range(0, len(pairs), batch_size):
        batch = pairs[start : start + batch_size]
        prompts = [render_prompt(tokenizer, item.prompt.text) for item, _ in batch]
        ids = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        whole = tokenize_rendered(
            tokenizer, [prompt + choice for prompt, (_, choice) in zip(prompts, batch)], model.device
        )
        with torch.inference_mode():
            logits = model(**whole).logits.float().log_softmax(-1)
        for row, own in enumerate(ids):
            length = int(whole["attention_mask"][row].sum())
            # A choice may melt into the prompt's last token: then one token of it is scored.
            new = max(1, length - len(own))
            tokens = whole["input_ids"][row, -new:]
            picked = logits[row, -new - 1 : -1].gather(1, tokens[:, None])
            scores.append(float(picked.mean()))
    right: dict[str, bool | None] = {}
    for index, item in enumerate(items):
        own = scores[index * len(item.choices) : (index + 1) * len(item.choices)]
        right[item.prompt.id] = item.choices[max(range(len(own)), key=own.__getitem__)] == item.answer
    return right
