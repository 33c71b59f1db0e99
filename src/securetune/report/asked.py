"""How suites were asked, what kinds of answers came, how far judges disagree: plain values of a report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SuiteCard:
    """How one suite was asked."""

    suite: str
    harmful: bool
    template: str | None
    """Text with `{prompt}`; `None` asks directly."""
    system_prompt: str | None
    """`None`: the chat template's own."""
    beginning: str | None
    """What every answer was forced to begin with."""
    decoding: tuple[str, ...]
    """One per answer to a prompt; an attack succeeds if any answer does."""
    new_tokens: int
    n: int
    made_elsewhere: int = 0
    """Prompts in the words of a file of adversarial prompts; they are in no report."""
    suffix_search: str | None = None
    """Bounds of the search; suffixes are in no report."""


@dataclass(frozen=True)
class Disagreement:
    """Share of the prompts of a suite on which two judges say something else about one model."""

    model: str
    suite: str
    first: str
    second: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    """Prompts that both scored."""
    unscored: int


@dataclass(frozen=True)
class AnswerKind:
    """Share of one kind among the answers of a model to a suite."""

    model: str
    suite: str
    judge: str
    kind: str
    """`refusal`, `evasion`, `partial` or `compliance`."""
    value: float | None
    low: float | None
    high: float | None
    n: int
    """Answers whose kind is known."""
    unscored: int
