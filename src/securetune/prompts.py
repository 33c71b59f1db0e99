"""Prompts, and sets of them that know their source, licence and fingerprint."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from securetune.errors import DataError
from securetune.files import digest


@dataclass(frozen=True)
class Prompt:
    """One request to a model."""

    id: str
    """In files of the user: 12 hex digits of the text's SHA-256, the same wherever the row stands."""
    text: str
    harmful: bool
    category: str | None = None
    pair: str | None = None
    """What a harmful prompt and its harmless twin have in common."""
    where: str | None = field(default=None, compare=False)
    """Its place in the source, e.g. `line 7`."""


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one source."""

    name: str
    source: str
    """File or hub id, as the user wrote it."""
    license: str
    prompts: tuple[Prompt, ...]
    duplicates: int = 0
    """Rows left out when reading because an earlier row had exactly the same text."""

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    def texts(self) -> list[str]:
        """Return the texts in order."""
        return [prompt.text for prompt in self.prompts]

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the exact texts, as ids are, and labels, in whatever order they stand."""
        return digest(sorted([prompt.harmful, prompt.text] for prompt in self.prompts))

    def take(self, n: int, seed: int) -> PromptSet:
        """Return `n` prompts drawn without replacement, in their present order.

        Same prompts, in whatever order, seed and `n` give the same draw; a smaller `n` gives some of those of
        a larger one.

        Raises:
            DataError: The set has fewer than `n` prompts.
        """
        drawn_from = sorted(prompt.id for prompt in self.prompts)
        kept = drawn(len(drawn_from), n, seed, f"prompt set {self.name!r} ({self.source})")
        ids = {drawn_from[index] for index in kept}
        return replace(self, prompts=tuple(prompt for prompt in self.prompts if prompt.id in ids))

    def card(self) -> dict[str, str | int]:
        """Return what a report says about the set."""
        return {
            "name": self.name,
            "source": self.source,
            "license": self.license,
            "n": len(self),
            "fingerprint": self.fingerprint,
        }


class _Comparable(dict[int, "str | None"]):
    """Translation table of `normalise`: made on demand, one character at a time."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        value: str | None = character
        if character in "'\u2019\u02bc" or category == "Cf":
            value = None
        elif category.startswith("P"):
            value = " "
        self[code] = value
        return value


_COMPARABLE = _Comparable()


def normalise(text: str) -> str:
    """Return `text` as it is compared: NFKC, casefolded, without punctuation, white space collapsed.

    Apostrophes and invisible characters vanish, other punctuation parts words. Text of nothing but
    punctuation keeps it.

    Examples:
        >>> normalise("Don't   STOP the how-to!")
        'dont stop the how to'
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_COMPARABLE).split()) or " ".join(folded.split())


def drawn(size: int, n: int, seed: int, what: str) -> list[int]:
    """Return `n` of the indices below `size`, in ascending order; `what` is named if there are too few.

    Same size and seed: the draw of a smaller `n` is part of the draw of a larger one.
    """
    if not 0 <= n <= size:
        raise DataError(f"{what} has {size} rows; {n} were asked for. Ask for 0 to {size}.")
    indices = list(range(size))
    random.Random(seed).shuffle(indices)
    return sorted(indices[:n])
