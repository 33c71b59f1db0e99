"""Rows of a local file or a hub dataset, each with the place it came from.

Prompt sets and training data are read through here, so that a wrong encoding, a malformed line or a missing
file is reported in the same words: the file, the line or row, and what to do.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from securetune.errors import DataError

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt", ".parquet")
"""The kinds of local files that can be read."""

_HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
_LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    where: str
    """`line 7` in a text file, `row 7` elsewhere; both count from 1."""
    values: Mapping[str, object]


@dataclass(frozen=True)
class Table:
    """The rows of one source."""

    source: str
    columns: tuple[str, ...]
    """The names that occur in any row, in order of first appearance."""
    rows: tuple[Row, ...]
    license: str | None = None
    """What the hub states; `None` for files."""

    def text(self, row: Row, column: str) -> str:
        """Return a cell as text; empty where it holds null.

        Raises:
            DataError: The row has no such column, as rows of json may.
        """
        if column not in row.values:
            raise DataError(f"{self.source}, {row.where}: no column {column}. Add it, or remove the row.")
        value = row.values[column]
        return "" if value is None else str(value)


class HubId(NamedTuple):
    """A dataset on the hub."""

    id: str
    revision: str | None


def parse_hub_id(location: str) -> HubId | None:
    """Return the hub id in `location` (`id` or `id@revision`), or `None` where it must be a local path.

    What exists on disk, ends like a data file or is written like a path is never a hub id.
    """
    match = _HUB_ID.fullmatch(location)
    if match is None or Path(location).exists() or Path(match["id"]).suffix.lower() in SUFFIXES:
        return None
    return HubId(match["id"], match["revision"])


def read_table(location: str | Path, *, split: str | None = None, subset: str | None = None) -> Table:
    """Read a csv, tsv, json, jsonl, txt or parquet file, or a hub dataset (`id` or `id@revision`).

    Text is UTF-8. Blank lines are no rows. `split` (by default `train`) and `subset` are of hub datasets.

    Raises:
        DataError: The source is missing, empty or malformed, or a file was given a split; the message names
            file, line and remedy.
    """
    source = str(location)
    hub_id = parse_hub_id(source)
    if hub_id is None and (split or subset):
        raise DataError(
            f"{source} is a local file, which has no split {split!r} or subset {subset!r}; only hub datasets "
            "have them. Leave these settings out."
        )
    table = _read_hub(source, hub_id, split or "train", subset) if hub_id else _read_file(source)
    if not table.rows:
        raise DataError(f"{source} holds no rows; expected at least one. Check that it is the right source.")
    return table


def package_table(file_name: str) -> Table:
    """Read a jsonl file of the package's own data."""
    source = f"securetune/data/{file_name}"
    try:
        text = (resources.files("securetune") / "data" / file_name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{source} is missing from the installation. Reinstall securetune.") from error
    return _table(source, _jsonl_rows(source, text))


def is_encodable(text: str) -> bool:
    r"""Return whether `text` can be written as UTF-8: JSON may hold half of a surrogate pair (`\ud83d`)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_file(source: str) -> Table:
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if path.is_dir():
        raise DataError(f"{source} is a directory; expected a file. Pass one of the files in it.")
    if not path.exists():
        raise DataError(
            f"{source} does not exist. Pass a {_listed(SUFFIXES)} file, or a hub id `owner/name`."
        )
    if suffix not in SUFFIXES:
        raise DataError(
            f"{source} ends in {suffix or 'no suffix'!r}; expected {_listed(SUFFIXES)}. Convert or rename it."
        )
    if suffix == ".parquet":
        return _read_parquet(source, path)
    text = _decoded(source, path)
    if suffix in (".csv", ".tsv"):
        columns, rows = _csv_rows(source, text, "\t" if suffix == ".tsv" else ",")
        return Table(source, columns, tuple(rows))
    if suffix == ".json":
        return _table(source, _json_rows(source, text))
    if suffix == ".txt":
        return _table(source, (Row(f"line {n}", {"text": line}) for n, line in _lines(text)))
    return _table(source, _jsonl_rows(source, text))


def _decoded(source: str, path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}. Check its permissions.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{source}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8. "
            "Save the file as UTF-8, e.g. with `iconv -f WINDOWS-1252 -t UTF-8`."
        ) from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines(): it also breaks at form feeds and U+2028, which may stand inside a prompt.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _csv_rows(source: str, text: str, delimiter: str) -> tuple[tuple[str, ...], list[Row]]:
    limit = csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: tuple[str, ...] = ()
    rows: list[Row] = []
    line = 1
    try:
        for cells in reader:
            if not header and cells:
                header = tuple(cell.strip() for cell in cells)
                if len(set(header)) < len(header):
                    raise DataError(f"{source}, line {line}: a column name occurs twice. Rename one of them.")
            elif cells and len(cells) != len(header):
                raise DataError(
                    f"{source}, line {line}: found {len(cells)} cells, expected {len(header)} "
                    f"({', '.join(header)}). Put quotes around cells that contain the separator."
                )
            elif cells:
                rows.append(Row(f"line {line}", dict(zip(header, cells))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{source}, line {line}: {error}. Put quotes around the cell and double the quotes inside it."
        ) from error
    finally:
        csv.field_size_limit(limit)
    return header, rows


def _json_rows(source: str, text: str) -> Iterator[Row]:
    if not text.strip():
        return iter(())
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            # Several objects, one a line: jsonl under the name of json.
            return _jsonl_rows(source, text)
        raise DataError(f"{source}, line {error.lineno}: {error.msg}. Correct the JSON there.") from error
    items = content
    if isinstance(content, dict):
        items = _items_of(content)
    if not isinstance(items, list):
        raise DataError(
            f"{source} holds a JSON {type(content).__name__}; expected a list of objects or strings. "
            "Wrap the rows in a list, or write one object a line (.jsonl)."
        )
    return (Row(f"row {n}", _object(f"{source}, row {n}", item)) for n, item in enumerate(items, start=1))


def _items_of(content: dict[str, Any]) -> object:
    """Return the rows of `{"data": [{...}, ...]}` or `{"column": [...], "column": [...]}`, or `None`.

    What is no list (`"parameters": {...}`) and empty lists are passed over.
    """
    columns = {name: cells for name, cells in content.items() if isinstance(cells, list) and cells}
    if len({len(cells) for cells in columns.values()}) != 1:
        return None
    first = next(iter(columns.values()))
    if len(columns) == 1 and isinstance(first[0], dict):
        return first
    return [dict(zip(columns, cells)) for cells in zip(*columns.values())]


def _jsonl_rows(source: str, text: str) -> Iterator[Row]:
    for number, line in _lines(text):
        try:
            item = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{source}, line {number}: not valid JSON ({error.msg} at column {error.colno}). "
                "Write one JSON object a line."
            ) from error
        yield Row(f"line {number}", _object(f"{source}, line {number}", item))


def _object(place: str, item: object) -> Mapping[str, object]:
    if isinstance(item, str):
        return {"text": item}
    if isinstance(item, dict):
        return item
    raise DataError(
        f"{place}: found {type(item).__name__}, expected an object or a string. Correct or remove the row."
    )


def _read_parquet(source: str, path: Path) -> Table:
    # Imported here: pyarrow comes with datasets and takes a while.
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        items: list[dict[str, object]] = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{source} is not a readable parquet file ({error}). Write it again.") from error
    return _numbered(source, items)


def _read_hub(source: str, hub_id: HubId, split: str, subset: str | None) -> Table:
    import datasets

    try:
        loaded = datasets.load_dataset(hub_id.id, subset, revision=hub_id.revision, split=split)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise DataError(
            f"{source} is no local file, and its split {split!r} cannot be loaded from the hub: {reason} "
            f"{_offered(hub_id, subset)}Check the spelling, the settings `split` and `subset`, and the "
            "network, or pass a local file."
        ) from error
    return _numbered(source, loaded, license=loaded.info.license or None)


def _offered(hub_id: HubId, subset: str | None) -> str:
    """The subsets and splits that a hub dataset has, as a sentence; empty where they cannot be found out."""
    import datasets

    try:
        subsets = datasets.get_dataset_config_names(hub_id.id, revision=hub_id.revision)
        if subset not in subsets and (subset is not None or len(subsets) > 1):
            return f"Its subsets are {', '.join(subsets)}. "
        splits = datasets.get_dataset_split_names(hub_id.id, subset, revision=hub_id.revision)
    except (OSError, ValueError, RuntimeError, KeyError):  # The reason is in the message already.
        return ""
    return f"Its splits are {', '.join(splits)}. "


def _numbered(source: str, items: Iterable[Mapping[str, object]], license: str | None = None) -> Table:
    return _table(source, (Row(f"row {n}", item) for n, item in enumerate(items, start=1)), license)


def _table(source: str, rows: Iterable[Row], license: str | None = None) -> Table:
    found = tuple(rows)
    columns = dict.fromkeys(str(column) for row in found for column in row.values)
    return Table(source, tuple(columns), found, license)


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"
