"""Finished parts of a map as JSON lines: what a kill leaves, and what several workers share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securetune.errors import ConfigError, StaleArtifactError

_ROUNDING = 1e-3
"""Relative difference up to which numbers in two headers are the same."""


@dataclass(frozen=True)
class Part:
    """A worker's share of a list of keys: every n-th one from the i-th on."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read `i/n`, with i from 1 to n.

        Raises:
            ConfigError: it is not of this form.
        """
        index, slash, count = text.partition("/")
        if not slash or not index.isdecimal() or not count.isdecimal() or not 1 <= int(index) <= int(count):
            raise ConfigError(f"--shard {text}: expected i/n with i from 1 to n, such as 1/4.")
        return cls(int(index) - 1, int(count))

    def of(self, keys: Sequence[str]) -> list[str]:
        """This worker's keys."""
        return list(keys[self.index :: self.count])

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.index + 1}of{self.count}"


class Rows:
    """Rows by key. Each worker appends to a file of its own; the files of all are read together.

    With an identity, the first line of each file is `{"header": identity}`, and files that were made from
    something else, or that do not say from what, are refused.
    """

    def __init__(
        self,
        directory: Path | None = None,
        name: str = "map",
        part: Part | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep rows in memory only, or below `directory` in `<name>.jsonl` or `<name>.<part>.jsonl`.

        Args:
            directory: of the files; without one, nothing is read or written.
            name: of the files.
            part: this worker's share, if the work is divided.
            identity: JSON-able values that the rows depend on; without it, headers are neither written nor
                compared.

        Raises:
            StaleArtifactError: see `refresh`.
        """
        self._directory, self._name, self._identity = directory, name, identity
        file = f"{name}.{part.name}.jsonl" if part else f"{name}.jsonl"
        self._path = directory / file if directory else None
        self.done: dict[str, Any] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what all workers have finished; a last line of ours that a kill cut off is removed.

        Raises:
            StaleArtifactError: the rows of a file were made from something else than the identity.
        """
        if self._directory is None:
            return
        for path in sorted([*self._directory.glob(f"{self._name}.*jsonl")]):
            raw = path.read_bytes()
            whole = raw[: raw.rfind(b"\n") + 1]
            if len(whole) < len(raw) and path == self._path:
                path.write_bytes(whole)
            lines = [json.loads(line) for line in whole.decode("utf-8").splitlines()]
            if lines and self._identity is not None:
                _check_header(path, lines[0].get("header"), self._identity)
            self.done |= {line["key"]: line["value"] for line in lines if "header" not in line}

    def append(self, key: str, value: Any) -> None:
        """Keep one row; it is on disk when this returns."""
        self.done[key] = value
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                if self._identity is not None and not stream.tell():
                    stream.write(json.dumps({"header": self._identity}, allow_nan=False) + "\n")
                stream.write(json.dumps({"key": key, "value": value}, allow_nan=False) + "\n")


def _check_header(path: Path, found: Any, expected: Mapping[str, Any]) -> None:
    if not isinstance(found, dict):
        wrong = ["it does not say from what its rows were made (an earlier version wrote no header)"]
    else:
        wrong = [
            f"{name}: found {found.get(name)}, expected {expected.get(name)}"
            for name in sorted(found.keys() | expected.keys())
            if not _same(found.get(name), expected.get(name))
        ]
    if wrong:
        raise StaleArtifactError(
            f"{path} does not belong to this analysis: {'; '.join(wrong)}. Remove the file if it was brought "
            "here by mistake, go back to the settings and the model that it was made with, or analyse into "
            "another directory (`--out`; `--redo analysis` measures everything again)."
        )


def _same(found: Any, expected: Any) -> bool:
    """Whether two values of a header agree; measured ones are rounded differently on other machines."""
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=_ROUNDING)
    return bool(found == expected)
