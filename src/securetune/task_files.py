"""Questions of tasks, from local files or the hub: GSM8K (a number), SST-2 and AG News (labels), MMLU."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from securetune.errors import ConfigError, DataError
from securetune.files import digest, file_digest
from securetune.prompts import Prompt, drawn
from securetune.tables import Row, Table, parse_hub_id, read_table

LETTERS = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Item:
    """One question with its right answer."""

    prompt: Prompt
    answer: str
    choices: tuple[str, ...] = ()
    """What the right answer is one of; empty: a number at the end of a worked solution."""


@dataclass(frozen=True)
class TaskSet:
    """The questions of one task, as they are asked."""

    task: str
    source: str
    """File or hub id, as the user wrote it."""
    subset: str | None
    """What was read of a hub dataset; `None` for files."""
    split: str | None
    license: str
    items: tuple[Item, ...]
    """In the order of their ids, which is not that of the rows."""
    available: int
    """Questions of the source, before the limit."""
    duplicates: int
    """Rows left out because another has the same question and answer."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the questions with their choices and answers, in whatever order they stand."""
        return digest(sorted([item.prompt.text, item.choices, item.answer] for item in self.items))

    @property
    def identity(self) -> dict[str, Any]:
        """What scores depend on, JSON-able; wherever the file lies."""
        return {
            "subset": self.subset,
            "split": self.split,
            "n": len(self.items),
            "items": self.fingerprint,
        }


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


def split_spec(spec: str) -> tuple[str, str]:
    """Split `TASK=SOURCE`.

    Raises:
        ConfigError: an unknown task.
    """
    name, equals, source = spec.partition("=")
    if not equals or name not in TASKS:
        raise ConfigError(
            f"evaluate.tasks: `{spec}`; expected TASK=FILE or TASK=HUB_ID[@REVISION][:SUBSET[:SPLIT]] with "
            f"TASK of {', '.join(TASKS)}."
        )
    return name, source


def read_task(spec: str, limit: int | None, seed: int = 0) -> TaskSet:
    """Read `TASK=FILE` or `TASK=HUB_ID[@REVISION][:SUBSET[:SPLIT]]`, at most `limit` questions of it.

    The draw is seeded and does not depend on the order of the rows. What was read is kept in memory; a file
    with another content is read again.

    Raises:
        ConfigError: an unknown task.
        DataError: a column is missing or a row has no valid answer.
    """
    path = Path(split_spec(spec)[1]).expanduser()
    return _read_task(spec, limit, seed, file_digest(path) if path.is_file() else None)


@lru_cache(maxsize=8)
def _read_task(spec: str, limit: int | None, seed: int, content: str | None) -> TaskSet:
    name, source = split_spec(spec)
    task = TASKS[name]
    table, subset, split = _read(task, source)
    if not any(set(columns) <= set(table.columns) for columns in task.columns):
        forms = " or ".join(", ".join(columns) for columns in task.columns)
        raise DataError(f"{source} has the columns {', '.join(table.columns)}; expected {forms}.")
    found = {item.prompt.id: item for item in (_item(task, source, row) for row in table.rows)}
    ids = sorted(found)
    kept = drawn(len(ids), min(limit or len(ids), len(ids)), seed, source)
    return TaskSet(
        name, source, subset, split, table.license or "unknown", tuple(found[ids[index]] for index in kept),
        len(ids), len(table.rows) - len(ids),
    )  # fmt: skip


def _read(task: Task, source: str) -> tuple[Table, str | None, str | None]:
    """A local file, or what models are evaluated on of a hub dataset, with its subset and split."""
    location, *rest = source.split(":")
    is_file = Path(source).expanduser().exists()
    if is_file or (hub := parse_hub_id(location)) is None or len(rest) > 2:
        return read_table(source), None, None
    named_subset, named_split = (*rest, "", "")[:2]
    subset, split = named_subset or task.subsets.get(hub.id), named_split or task.split
    return read_table(location, split=split, subset=subset), subset, split


def _item(task: Task, source: str, row: Row) -> Item:
    try:
        question, answer, choices = task.read(row.values)
    except (ValueError, IndexError, KeyError) as error:
        raise DataError(f"{source}, {row.where}: no valid answer for {task.name} ({error}).") from error
    answer = answer.strip()
    if not answer or (choices and answer not in choices) or (not choices and number(answer) is None):
        raise DataError(f"{source}, {row.where}: the right answer {answer!r} is not valid for {task.name}.")
    key = hashlib.sha256("\0".join((question, *choices, answer)).encode()).hexdigest()[:12]
    return Item(Prompt(key, question, False), answer, choices)


_DIGITS = r"\d[\d,]*(?:\.\d+)?"
_MARKED = re.compile(rf"####[ \t]*[$€£¥]?[ \t]*([-+]?)[ \t]*[$€£¥]?[ \t]*({_DIGITS})")


def number(text: str) -> float | None:
    """The number that the last `####` with one directly behind it marks, else the last number in the text.

    A sign and a currency may stand before a marked number.
    """
    if marked := _MARKED.findall(text):
        return _value("".join(marked[-1]))
    found = re.findall(rf"-?{_DIGITS}", text)
    return _value(found[-1]) if found else None


def _value(digits: str) -> float:
    return float(digits.replace(",", ""))
