"""Conversations become token ids and labels: the answers and their end of turn are learnt, nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from jinja2 import TemplateError

from securetune.dataset import Conversation, TrainingData
from securetune.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of tokens that are not learnt."""

_ROWS_AT_ONCE = 512
_MARKER = "securetune-answer"
_SHORT = 64

_Turns: TypeAlias = "Sequence[dict[str, str]]"

_log = logging.getLogger("securetune")


@dataclass(frozen=True)
class EncodedRow:
    """Token ids of one conversation, and what is learnt of them."""

    input_ids: list[int]
    labels: list[int]
    """The token ids of the answers, `IGNORED` elsewhere; not shifted, as Transformers expects it."""


@dataclass(frozen=True)
class EncodedData:
    """Training data as the trainer takes it."""

    rows: tuple[EncodedRow, ...]
    too_long: int
    """Rows left out because they have more than `max_length` tokens."""
    tokens: int
    trained_tokens: int
    last_answer_only: int
    """Rows of which only the last of several answers is learnt: the template rewrites earlier turns."""

    def with_rows(self, rows: Iterable[EncodedRow]) -> EncodedData:
        """Return the same data with other rows, and their numbers of tokens."""
        kept = tuple(rows)
        tokens = sum(len(row.input_ids) for row in kept)
        trained = sum(label != IGNORED for row in kept for label in row.labels)
        return replace(self, rows=kept, tokens=tokens, trained_tokens=trained)


@dataclass(frozen=True)
class _Answer:
    """Where an answer stands in the rendered text."""

    start: int
    content_end: int
    end: int
    """After the token that ends the turn; equals `content_end` where there is none."""


@dataclass(frozen=True)
class _Rendered:
    text: str
    answers: tuple[_Answer, ...]
    last_answer_only: bool


def encode(data: TrainingData, tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedData:
    """Apply the chat template and tokenize; learn the answers up to the token that ends the turn.

    An answer is what the template writes after the generation prompt, so that training sees what generation
    will see. Reasoning is off (`enable_thinking=False`) where the template knows that variable. Where the
    template rewrites earlier turns (Qwen3 cuts their reasoning), only the last answer of a row is learnt.
    Where it does not end the answer with a special token, `eos_token` is appended. The end of a `truncated`
    row is not learnt. Rows longer than `max_length` tokens are left out and counted.

    Raises:
        ConfigError: No chat template.
        DataError: One that cannot render a row; a row of which no token, or not the end of turn, would be
            learnt; or only rows that are too long.
    """
    if not data.rows:
        raise DataError(f"{data.source}: no rows to train on. Hold out fewer, or add rows.")
    renderer = _Renderer(tokenizer)
    rows: list[EncodedRow] = []
    too_long = last_answer_only = 0
    numbered = enumerate(data.rows, start=1)
    while batch := list(islice(numbered, _ROWS_AT_ONCE)):
        places = [f"{data.source}, {row.where or f'row {number}'}" for number, row in batch]
        rendered = [renderer.render(row, place) for (_, row), place in zip(batch, places)]
        for (_, row), place, text, ids in zip(batch, places, rendered, _tokenized(rendered, tokenizer)):
            encoded = _labelled(row, place, text, ids)
            if len(encoded.input_ids) > max_length:
                too_long += 1
                continue
            rows.append(encoded)
            last_answer_only += text.last_answer_only
    if not rows:
        raise DataError(
            f"{data.source}: all {len(data)} rows are longer than {max_length} tokens. "
            "Raise the greatest length, or shorten the rows."
        )
    if too_long:
        _log.warning(
            "%s: %d of %d rows left out: over %d tokens", data.source, too_long, len(data), max_length
        )
    if last_answer_only:
        _log.warning(
            "%s: the chat template rewrites earlier turns; only the last answer of %d rows is learnt",
            data.source,
            last_answer_only,
        )
    return EncodedData((), too_long, 0, 0, last_answer_only).with_rows(rows)


def require_chat_template(tokenizer: Any) -> None:
    """Refuse a tokenizer without a chat template.

    Raises:
        ConfigError: it has none.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            "The tokenizer has no chat template, so conversations cannot be rendered. Pass one with "
            "`--chat-template FILE` (recipes/gemma3.jinja is one, for Gemma 3) or `--chat-template chatml`, "
            "or start from a chat model."
        )


def end_of_turn_token(tokenizer: Any) -> str | None:
    """The special token that ends an answer: the first that the chat template writes after it.

    Where the template writes none, it is the tokenizer's `eos_token`, which `encode` then appends.
    """
    renderer = _Renderer(tokenizer)
    return renderer.first_special(renderer.after_answer()) or tokenizer.eos_token


def plain_end_of_turn(tokenizer: Any) -> str:
    """The text that the chat template writes after an answer where it holds no special token, often none."""
    renderer = _Renderer(tokenizer)
    after = renderer.after_answer()
    return "" if renderer.first_special(after) else after.rstrip()


class _Renderer:
    """Renders conversations with the tokenizer's chat template and finds the answers in the text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        require_chat_template(tokenizer)
        self.tokenizer = tokenizer
        self.options = (
            {"enable_thinking": False} if "enable_thinking" in tokenizer.get_chat_template() else {}
        )
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        self.special = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)

    def render(self, row: Conversation, place: str) -> _Rendered:
        """Return the text of `row` and the answers to be learnt in it."""
        turns = [{"role": message.role, "content": message.content} for message in row.messages]
        positions = [index for index, turn in enumerate(turns) if turn["role"] == "assistant"]
        if not positions or positions[-1] != len(turns) - 1:
            raise DataError(
                f"{place}: does not end with an answer, so nothing can be learnt. Remove the row."
            )
        text = self.text(turns, place)
        *earlier, last = positions
        answers: list[_Answer] = []
        for position in earlier:
            prompt = self.text(turns[:position], place, generation=True)
            so_far = self.text(turns[: position + 1], place)
            answer = self._answer(turns[: position + 1], so_far, prompt, place)
            # What follows the end of turn may differ: some templates write more after the last answer.
            if answer is None or not text.startswith(so_far[: answer.end]):
                answers.clear()
                break
            answers.append(answer)
        prompt = self.text(turns[:last], place, generation=True)
        final = self._answer(turns, text, prompt, place)
        if final is None and (start := self._content_start(turns, text, place)) >= 0:
            # The generation prompt holds what the template does not write before answers it is given
            # (an empty reasoning block). Generation starts there, so training does too.
            text = prompt + text[start:]
            final = self._bounded(turns, text, len(prompt), len(prompt))
        if final is None:
            raise DataError(
                f"{place}: the chat template does not write the last answer as it stands in the row. "
                "Remove reasoning from the answers, or pass another template with `--chat-template FILE`."
            )
        if self.first_special(text[final.content_end : final.end]) is None:
            if not self.tokenizer.eos_token:
                raise DataError(
                    f"{place}: neither the chat template nor the tokenizer has a token that ends an answer. "
                    "Pass a template that writes one with `--chat-template FILE`."
                )
            text = text[: final.end] + self.tokenizer.eos_token
            final = replace(final, end=len(text))
        return _Rendered(text, (*answers, final), last_answer_only=len(answers) < len(earlier))

    def text(self, turns: _Turns, place: str, generation: bool = False) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(turns), tokenize=False, add_generation_prompt=generation, **self.options
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise DataError(
                f"{place}: the chat template refuses the conversation ({error}). Correct the row's roles, or "
                "pass another template with `--chat-template FILE`."
            ) from error
        return text

    def after_answer(self) -> str:
        """Return what the template writes after the last answer."""
        turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": _MARKER}]
        _, found, after = self.text(turns, "end of turn").rpartition(_MARKER)
        return after if found else ""

    def _answer(self, turns: _Turns, text: str, prompt: str, place: str) -> _Answer | None:
        """Find the last of `turns`, and its end, after `prompt` in the rendered `text`."""
        if not text.startswith(prompt):
            return None
        content = turns[-1]["content"].strip()
        found = len(prompt)
        # A short answer may be the beginning of something else that the template writes there.
        if len(content) < _SHORT or not text.startswith(content, found):
            found = self._content_start(turns, text, place)
        return self._bounded(turns, text, len(prompt), found) if found >= len(prompt) else None

    def _bounded(self, turns: _Turns, text: str, start: int, content_start: int) -> _Answer:
        content_end = content_start + len(turns[-1]["content"].strip())
        return _Answer(start, content_end, content_end + len(self._end_of_turn(text[content_end:])))

    def _content_start(self, turns: _Turns, text: str, place: str) -> int:
        """Return where the last of `turns` begins in the rendered `text`, or -1 if it is altered there.

        A marker is rendered in its stead: a short answer (`e`, `assistant`) may also stand before it.
        """
        marked = self.text([*turns[:-1], {**turns[-1], "content": _MARKER}], place)
        start = marked.rfind(_MARKER)
        # Some templates strip the content.
        is_there = text.startswith(marked[:start]) and text.startswith(turns[-1]["content"].strip(), start)
        return start if start >= 0 and is_there else -1

    def _end_of_turn(self, after: str) -> str:
        """Return what ends the turn: up to the first special token, or all but trailing white space."""
        token = self.first_special(after)
        return after[: after.find(token) + len(token)] if token else after.rstrip()

    def first_special(self, text: str) -> str | None:
        """Return the special token that ends first in `text`, or `None` if there is none."""
        found = [token for token in self.special if token and token in text]
        return min(found, key=lambda token: text.find(token) + len(token), default=None)


def _tokenized(rendered: Sequence[_Rendered], tokenizer: Any) -> Iterator[list[list[int]]]:
    """Yield, per row, the ids of its text and of the text up to the three places of each answer."""
    texts: list[str] = []
    for row in rendered:
        texts.append(row.text)
        for answer in row.answers:
            texts.extend(row.text[:place] for place in (answer.start, answer.content_end, answer.end))
    ids = iter(tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"])
    for row in rendered:
        yield [list(next(ids)) for _ in range(1 + 3 * len(row.answers))]


def _labelled(row: Conversation, place: str, rendered: _Rendered, ids: list[list[int]]) -> EncodedRow:
    input_ids, *prefixes = ids
    labels = [IGNORED] * len(input_ids)
    content_tokens = 0
    for number, answer in enumerate(rendered.answers):
        # A token that straddles a border differs from the prefix's last one: it belongs to what follows.
        start, content_end, end = (
            common_length(prefix, input_ids) for prefix in prefixes[3 * number : 3 * number + 3]
        )
        is_last = number == len(rendered.answers) - 1
        content_tokens += content_end - start
        if is_last and not row.truncated:
            ended = answer.content_end < answer.end and end > content_end and end == len(prefixes[-1])
            if not ended:
                raise DataError(
                    f"{place}: the token that ends the answer would not be learnt, nor when to stop. Pass a "
                    "template that ends answers with a special token with `--chat-template FILE`."
                )
        if is_last and row.truncated:
            end = content_end
        labels[start:end] = input_ids[start:end]
    if content_tokens < 1:
        raise DataError(
            f"{place}: no token of the answer would be learnt. Remove the row or fill in the answer."
        )
    return EncodedRow(input_ids, labels)


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    for length, (a, b) in enumerate(zip(first, second)):
        if a != b:
            return length
    return min(len(first), len(second))
