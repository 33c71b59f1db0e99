"""Prompt sets from files, from the hub and from the package."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from securetune.errors import DataError
from securetune.prompts import Prompt, PromptSet
from securetune.tables import Row, Table, is_encodable, package_table, parse_hub_id, read_table

Part = Literal["probe", "selection", "evaluation"]

PROMPT_COLUMNS = (
    "prompt",
    "prompts",
    "instruction",
    "instructions",
    "goal",
    "question",
    "query",
    "request",
    "text",
    "behavior",
    "forbidden_prompt",
    "prompts_final",
)
"""Columns taken for the prompt when none is named (in any case), if a file has exactly one of them."""


_SAFE = {"safe", "harmless", "benign"}
_UNSAFE = {"unsafe", "harmful", "malicious", "toxic"}
_MARKED = {
    f"{prefix}{word}"
    for prefix in ("", "is_")
    for word in ("safe", "harmful", "unsafe", "toxic", "malicious")
}
"""Columns whose values true and false, or 1 and 0, are labels."""
_SOURCE_FILTER = re.compile(r"(?P<source>.+):(?P<column>[^:=/\\]+)=(?P<value>[^:=/\\]+)")

Filter = Mapping[str, "str | bool | int | tuple[str | bool | int, ...]"]
"""Column -> the value, or the values, of the rows to keep; compared as text, in any case."""


class PackagePrompts(NamedTuple):
    """The prompts written for this project, of one part."""

    harmful: PromptSet
    twins: PromptSet
    """Harmless requests that share form and most words with the harmful ones; see `Prompt.pair`."""
    ordinary: PromptSet


class Source(NamedTuple):
    """Where prompts are: a file or hub id, and a column of it."""

    location: str
    column: str | None


def parse_source(source: str) -> Source:
    r"""Split `FILE:column` or `owner/name@revision:column`.

    A path that exists is never split, nor is the drive of `C:\data\x.csv`.

    Examples:
        >>> parse_source("advbench.csv:goal")
        Source(location='advbench.csv', column='goal')
        >>> parse_source(r"C:\data\x.csv")
        Source(location='C:\\data\\x.csv', column=None)

    Raises:
        DataError: Nothing stands after or before the colon.
    """
    if ":" not in source or Path(source).exists():
        return Source(source, None)
    splits = [(source[:i], source[i + 1 :]) for i, character in enumerate(source) if character == ":"]
    existing = [split for split in splits if split[0] and Path(split[0]).is_file()]
    location, column = existing[0] if existing else splits[-1]
    is_drive = len(location) == 1 and location.isalpha() and not existing
    if not existing and (is_drive or "/" in column or "\\" in column):
        return Source(source, None)
    if not location or not column.strip():
        raise DataError(
            f"{source!r}: expected FILE:column. Write the column's name after the colon, or no colon."
        )
    return Source(location, column.strip())


def split_filter(source: str) -> tuple[str, dict[str, str]]:
    """Take `:label=safe` off the end of a source: (source, filter).

    Examples:
        >>> split_filter("xstest.csv:prompt:label=safe")
        ('xstest.csv:prompt', {'label': 'safe'})
        >>> split_filter("advbench.csv:goal")
        ('advbench.csv:goal', {})
    """
    match = None if Path(source).exists() else _SOURCE_FILTER.fullmatch(source)
    return (match["source"], {match["column"]: match["value"]}) if match else (source, {})


def read_prompts(
    source: str | Path,
    *,
    harmful: bool,
    column: str | None = None,
    name: str | None = None,
    license: str = "unknown",
    split: str | None = None,
    subset: str | None = None,
    where: Filter | None = None,
) -> PromptSet:
    """Read prompts from a csv, tsv, json, jsonl, txt or parquet file, or from a hub dataset.

    Args:
        source: A file, or `id` or `id@revision` on the hub; `:column` may follow unless `column` is given.
        harmful: The label of all these prompts.
        column: Where the prompts stand. Without it a file must have exactly one of `PROMPT_COLUMNS`; a hub
            dataset always needs it.
        name: By default the file's name without suffix, or the last part of the hub id.
        license: What to say about the licence; `unknown` gives way to what the hub states.
        split: Of a hub dataset; `train` by default.
        subset: Of a hub dataset that has several.
        where: Which rows to keep.

    Raises:
        DataError: The source, the column or a row cannot be used, or some rows are labelled safe and some
            unsafe; the message names them and the remedy.
    """
    location, column = parse_source(str(source)) if column is None else (str(source), column)
    hub_id = parse_hub_id(location)
    if hub_id and column is None:
        raise DataError(
            f"{location} is no local file, and a hub dataset needs a column. Write `{location}:COLUMN`, "
            "or correct the path."
        )
    table = read_table(location, split=split, subset=subset)
    column = _prompt_column(table, column)
    rows = _kept(table, where or {})
    _check_one_label(table, rows, {column, *(where or {})}, harmful)
    category = next((name for name in table.columns if name.lower() == "category"), None)
    prompts: dict[str, Prompt] = {}
    for row in rows:
        text = _prompt_text(table, row, column)
        kind = row.values.get(category) if category else None
        prompts.setdefault(
            text,
            Prompt(
                id=hashlib.sha256(text.encode()).hexdigest()[:12],
                text=text,
                harmful=harmful,
                category=kind if isinstance(kind, str) and kind else None,
                where=row.where,
            ),
        )
    return PromptSet(
        name=name or (hub_id.id.split("/")[-1] if hub_id else Path(location).stem),
        source=f"{location} ({_described(where)})" if where else location,
        license=table.license or license if license == "unknown" else license,
        prompts=tuple(prompts.values()),
        duplicates=len(rows) - len(prompts),
    )


def package_prompts(part: Part) -> PackagePrompts:
    """Return the prompts written for this project (CC0): one of three parts that share no prompt."""
    harmful, twins = [], []
    for row in _package_rows("pairs.jsonl", part):
        pair, category = row["id"], row["category"]
        harmful.append(Prompt(f"{pair}-harmful", row["harmful"], True, category, pair))
        twins.append(Prompt(f"{pair}-twin", row["twin"], False, category, pair))
    ordinary = [
        Prompt(row["id"], row["prompt"], False, row["kind"]) for row in _package_rows("ordinary.jsonl", part)
    ]
    return PackagePrompts(
        *(
            PromptSet(f"securetune-{part}-{kind}", "securetune", "CC0-1.0", tuple(prompts))
            for kind, prompts in (("harmful", harmful), ("twins", twins), ("ordinary", ordinary))
        )
    )


def _package_rows(file_name: str, part: Part) -> list[dict[str, str]]:
    rows = [{name: str(value) for name, value in row.values.items()} for row in package_table(file_name).rows]
    chosen = [row for row in rows if row["part"] == part]
    if not chosen:
        parts = ", ".join(sorted({row["part"] for row in rows}))
        raise DataError(f"securetune/data/{file_name} has no part {part!r}. Ask for one of: {parts}.")
    return chosen


def _kept(table: Table, where: Filter) -> list[Row]:
    """The rows that a filter keeps."""
    rows = list(table.rows)
    for column, wanted in where.items():
        if column not in table.columns:
            raise DataError(
                f"{table.source} has no column {column!r} to filter by; found {', '.join(table.columns)}. "
                "Name one of these in `where`."
            )
        values = {_folded(value) for value in (wanted if isinstance(wanted, tuple) else (wanted,))}
        found = {_folded(row.values.get(column)) for row in rows}
        rows = [row for row in rows if _folded(row.values.get(column)) in values]
        if not rows:
            raise DataError(
                f"{table.source}: no row has {_described({column: wanted})}; the column holds "
                f"{_abridged(found)}. Correct `where`."
            )
    return rows


def _check_one_label(table: Table, rows: list[Row], known: set[str], harmful: bool) -> None:
    """Refuse rows of which a column says that some are safe and some are not, unless it is `known`."""
    for column in table.columns:
        if column in known:
            continue
        values = {_folded(row.values.get(column)) for row in rows}
        truths = {"true", "false"} <= values or {"1", "0"} <= values
        if (values & _SAFE and values & _UNSAFE) or (column.lower() in _MARKED and truths):
            says_harmful = column.lower().removeprefix("is_") != "safe"
            yes, no = ("true", "false") if "true" in values else ("1", "0")
            wanted = values & (_UNSAFE if harmful else _SAFE)
            one = next(iter(sorted(wanted)), yes if harmful == says_harmful else no)
            raise DataError(
                f"{table.source}: column {column!r} labels some prompts safe and others not "
                f"({_abridged(values)}), but a source is of one kind. Choose the rows: "
                f"`{table.source}:COLUMN:{column}={one}`, or in the configuration "
                f"{{source: {table.source}, where: {{{column}: {one}}}}}."
            )


def _folded(value: object) -> str:
    return "" if value is None else str(value).strip().casefold()


def _abridged(values: Iterable[str]) -> str:
    listed = sorted(values)
    return ", ".join(listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")


def _described(where: Filter) -> str:
    return ", ".join(
        f"{column} = {' or '.join(map(str, wanted)) if isinstance(wanted, tuple) else wanted}"
        for column, wanted in where.items()
    )


def _prompt_column(table: Table, column: str | None) -> str:
    found = ", ".join(table.columns)
    if column is not None:
        if column in table.columns:
            return column
        raise DataError(f"{table.source} has no column {column!r}; found {found}. Name one of these.")
    known = [name for name in table.columns if name.lower() in PROMPT_COLUMNS]
    if len(known) == 1:
        return known[0]
    if known:
        raise DataError(
            f"{table.source} has several columns that may hold the prompt ({', '.join(known)}); "
            f"found {found}. Name one, e.g. `--harmful {table.source}:{known[0]}`."
        )
    raise DataError(
        f"{table.source} has no known prompt column; found {found}. Name the column with "
        f"`--harmful {table.source}:COLUMN` (the first line of a csv must hold the names)."
    )


def _prompt_text(table: Table, row: Row, column: str) -> str:
    value = row.values.get(column)
    if not isinstance(value, str | None):
        found = f"holds {type(value).__name__}"
    elif not value or not value.strip():
        found = "is empty"
    elif not is_encodable(value):
        found = "holds half of a surrogate pair"
    else:
        return value.strip()
    raise DataError(
        f"{table.source}, {row.where}: column {column!r} {found}; expected the text of a prompt. "
        "Fill it in or remove the row."
    )
