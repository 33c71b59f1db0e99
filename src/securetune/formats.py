"""The forms of training data: `messages`, `prompt`/`completion`, Alpaca and ShareGPT become conversations."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from securetune.dataset import ROLES, Conversation, Format, Message, TrainingData
from securetune.errors import DataError
from securetune.tables import Table, is_encodable, package_table, parse_hub_id, read_table

FORMATS: dict[Format, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt-completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "sharegpt": ("conversations",),
}
"""The columns that make a form; the first that fits is taken."""
_BESIDES = {"alpaca": ("input", "history")}
_ANYWHERE = ("system", "tools")
"""Columns that are read besides, in one form or in any."""

_ACCEPTED = (
    "`messages` (a list of {role, content}); `prompt` and `completion` (two strings or two such lists); "
    "`instruction`, `output` and perhaps `input` and `history` (Alpaca); `conversations` (ShareGPT, {from, "
    "value}); each perhaps with `system`"
)
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}

_log = logging.getLogger("securetune")


class _BadRow(Exception):
    """What is wrong with a row; becomes a `DataError` that names its place."""


def read_training_data(
    source: str | Path,
    *,
    name: str | None = None,
    license: str = "unknown",
    format: Format | None = None,
    split: str | None = None,
    subset: str | None = None,
    skip_bad_rows: bool = False,
) -> TrainingData:
    """Read training data from a jsonl, json, csv, tsv or parquet file, or a hub dataset.

    White space around each message is stripped, and empty system messages are left out. A column `system`
    is the system message. Columns that are not used are logged.

    Args:
        source: A file, or `id` or `id@revision` on the hub.
        name: By default the file's name without suffix, or the last part of the hub id.
        license: What to say about the licence; `unknown` gives way to what the hub states.
        format: By default detected from the columns and logged.
        split: Of a hub dataset; `train` by default.
        subset: Of a hub dataset that has several.
        skip_bad_rows: Leave out and count rows that cannot be used.

    Raises:
        DataError: The source or a row cannot be used; the message names it and the remedy.
    """
    location = str(source)
    table = read_table(location, split=split, subset=subset)
    hub_id = parse_hub_id(location)
    found = format or _detected(table)
    rows, bad_rows = _conversations(table, found, skip_bad_rows)
    data = TrainingData(
        name=name or (hub_id.id.split("/")[-1] if hub_id else Path(location).stem),
        source=location,
        license=table.license or license if license == "unknown" else license,
        format=found,
        rows=rows,
        bad_rows=bad_rows,
    )
    _log.info("%s: %d rows in the form %s", location, len(data), found)
    used = {*FORMATS[found], *_BESIDES.get(found, ()), *_ANYWHERE}
    if unused := [column for column in table.columns if column not in used]:
        _log.info("%s: columns that are not used: %s", location, ", ".join(unused))
    return data


def package_tuning_data() -> TrainingData:
    """Return the benign tuning set written for this project (CC0)."""
    table = package_table("tuning.jsonl")
    rows, _ = _conversations(table, "prompt-completion")
    return TrainingData("securetune-tuning", "securetune", "CC0-1.0", "prompt-completion", rows)


def has_answers(source: str | Path) -> bool:
    """Whether the columns of a source make it training data; otherwise it holds prompts at most.

    Raises:
        DataError: The source cannot be read.
    """
    return _form(read_table(source)) is not None


def _form(table: Table) -> Format | None:
    forms = (form for form, columns in FORMATS.items() if set(columns) <= set(table.columns))
    return next(forms, None)


def _detected(table: Table) -> Format:
    form = _form(table)
    if form is not None:
        return form
    raise DataError(
        f"{table.source} has the columns {', '.join(table.columns)}, which make no known form. "
        f"Rename them to one of: {_ACCEPTED}."
    )


def _conversations(
    table: Table, format: Format, skip_bad_rows: bool = False
) -> tuple[tuple[Conversation, ...], int]:
    """The rows that can be used, and how many were left out."""
    conversations: list[Conversation] = []
    bad: list[tuple[str, str]] = []
    for row in table.rows:
        try:
            conversations.append(Conversation(_messages(row.values, format), where=row.where))
        except _BadRow as error:
            bad.append((row.where, str(error)))
    if bad:
        where, problem = bad[0]
        others = ", ".join(place for place, _ in bad[1:4]) + (", ..." if len(bad) > 4 else "")
        more = f" ({len(bad) - 1} more: {others})" if others else ""
        found = f"{table.source}, {where}: {problem}{more}."
        if not skip_bad_rows:
            raise DataError(
                f"{found} Correct or remove such rows; `run` and `train` leave them out and count them "
                "with `--set data.skip_bad_rows=true`."
            )
        if not conversations:
            raise DataError(f"{found} No row can be used. Check the file and its form.")
        _log.warning("%s Left out %d of %d rows.", found, len(bad), len(table.rows))
    return tuple(conversations), len(bad)


def _messages(values: Mapping[str, object], format: Format) -> tuple[Message, ...]:
    if format == "messages":
        messages = _turns(values.get("messages"), "messages", "role", "content")
    elif format == "sharegpt":
        messages = _turns(values.get("conversations"), "conversations", "from", "value")
    elif format == "alpaca":
        prompt = _text(values.get("instruction"), "'instruction'")
        if values.get("input") not in (None, ""):
            extra = _text(values["input"], "'input'", may_be_empty=True)
            prompt = f"{prompt}\n\n{extra}" if extra else prompt
        messages = _history(values.get("history"))
        messages += [Message("user", prompt), Message("assistant", _text(values.get("output"), "'output'"))]
    else:
        messages = _prompt_and_completion(values.get("prompt"), values.get("completion"))
    if values.get("tools") not in (None, "", "[]", []):
        raise _BadRow("'tools' is not empty, and tool definitions are not trained here; expected none")
    if values.get("system") not in (None, ""):
        system = _text(values["system"], "'system'", may_be_empty=True)
        if system and messages[0].role == "system":
            raise _BadRow("there is a system message and a column 'system'; expected one of them")
        messages[:0] = [Message("system", system)] if system else []
    if messages[-1].role != "assistant":
        raise _BadRow(f"the last message is the {messages[-1].role}'s; expected the assistant's answer")
    if not any(message.role == "user" for message in messages):
        raise _BadRow("no message of the user; expected one before the answer")
    return tuple(messages)


def _history(value: object) -> list[Message]:
    """Alpaca's earlier turns, pairs of an instruction and its response."""
    messages: list[Message] = []
    pairs = [] if value in (None, "") else value
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise _BadRow(f"'history' holds {_named(value)}; expected a list of [instruction, response]")
    for prompt, answer in pairs:
        messages.append(Message("user", _text(prompt, "'history'")))
        messages.append(Message("assistant", _text(answer, "'history'")))
    return messages


def _prompt_and_completion(prompt: object, completion: object) -> list[Message]:
    if isinstance(prompt, list) and isinstance(completion, list):
        turns = _turns(prompt, "prompt", "role", "content")
        return turns + _turns(completion, "completion", "role", "content")
    if isinstance(prompt, list) or isinstance(completion, list):
        raise _BadRow("one of 'prompt' and 'completion' is a list; expected two strings or two lists")
    return [
        Message("user", _text(prompt, "'prompt'")),
        Message("assistant", _text(completion, "'completion'")),
    ]


def _turns(value: object, column: str, role_key: str, content_key: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        found = "an empty list" if isinstance(value, list) else _named(value)
        hint = " (a csv cannot hold lists; use jsonl)" if isinstance(value, str) else ""
        raise _BadRow(f"'{column}' holds {found}; expected a list of {{{role_key}, {content_key}}}{hint}")
    messages = []
    for number, turn in enumerate(value, start=1):
        place = f"message {number} of '{column}'"
        if not isinstance(turn, dict) or role_key not in turn or content_key not in turn:
            found = f"the keys {', '.join(map(str, turn))}" if isinstance(turn, dict) else _named(turn)
            raise _BadRow(f"{place} has {found}; expected {role_key!r} and {content_key!r}")
        stated = turn[role_key]
        named = _SHAREGPT_ROLES.get(str(stated), stated) if column == "conversations" else stated
        role = next((known for known in ROLES if known == named), None)
        if role is None:
            expected = ("system", "human", "gpt") if column == "conversations" else ROLES
            raise _BadRow(f"{place} has the {role_key} {stated!r}; expected {', '.join(expected)}")
        content = _text(turn[content_key], place, may_be_empty=role == "system")
        if content:
            messages.append(Message(role, content))
    if not messages:
        raise _BadRow(f"'{column}' holds nothing but empty messages; expected a prompt and an answer")
    return messages


def _text(value: object, what: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise _BadRow(f"{what} holds {_named(value)}; expected text")
    if not value.strip() and not may_be_empty:
        raise _BadRow(f"{what} is empty; expected text")
    if not is_encodable(value):
        raise _BadRow(f"{what} holds half of a surrogate pair; expected text")
    return value.strip()


def _named(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
