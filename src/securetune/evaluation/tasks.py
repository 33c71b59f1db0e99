"""Task scores: exact match of a number (GSM8K), the likeliest label (SST-2, AG News) or letter (MMLU)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from securetune.encoding import IGNORED, EncodedRow, common_length
from securetune.evaluation.generate import Decoding, answer_gap, generate, render_prompt
from securetune.evaluation.loss import held_out_losses
from securetune.files import read_json, write_json
from securetune.progress import progress
from securetune.task_files import Item, number

NUMBER_TOKENS = 256
"""New tokens for a worked solution; a label or letter is read from likelihoods instead."""


def stored_scores(items: Sequence[Item], path: Path) -> dict[str, bool | None] | None:
    """What `score_task` left in `path`; `None` if these are not all the items, or others."""
    if not path.is_file():
        return None
    stored = dict(read_json(path))
    return stored if stored.keys() == {item.prompt.id for item in items} else None


def score_task(
    model: Any,
    tokenizer: Any,
    items: Sequence[Item],
    batch_size: int,
    path: Path,
    label: str = "questions",
) -> dict[str, bool | None]:
    """Whether each question is answered rightly, by id; an answer without a number is wrong, not unscored.

    Results are kept in `path` (no texts) and not measured again; `label` stands before the progress.
    """
    if (stored := stored_scores(items, path)) is not None:
        return stored
    with progress(label, sum(len(item.choices) or 1 for item in items)) as advance:
        if items and items[0].choices:
            right = _by_likelihood(model, tokenizer, items, batch_size, advance)
        else:
            answers, prompts = path.with_suffix(".jsonl"), [item.prompt for item in items]
            said = generate(model, tokenizer, prompts, Decoding(NUMBER_TOKENS, batch_size), answers, advance)
            right = {item.prompt.id: number(a.text) == number(item.answer) for item, a in zip(items, said)}
            answers.unlink(missing_ok=True)
    write_json(path, right)
    return dict(right)


def _by_likelihood(
    model: Any,
    tokenizer: Any,
    items: Sequence[Item],
    batch_size: int,
    advance: Callable[[int], None] | None = None,
) -> dict[str, bool | None]:
    """Take the choice with the highest likelihood per token as the beginning of the answer.

    A choice stands where the chat template puts an answer (` A` behind `ASSISTANT:`).
    """
    gap, rows = answer_gap(tokenizer), []
    for item in items:
        prompt = render_prompt(tokenizer, item.prompt.text) + gap
        texts = [prompt, *(prompt + choice for choice in item.choices)]
        alone, *told = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        # A prompt's last token may melt into a choice: then it is scored, with every choice.
        given = min(common_length(alone, ids) for ids in told)
        rows += [EncodedRow(ids, [IGNORED] * given + ids[given:]) for ids in told]
    losses = iter(held_out_losses(model, tokenizer, rows, batch_size, "the loss of a choice", advance))
    right: dict[str, bool | None] = {}
    for item in items:
        own = {choice: next(losses) for choice in item.choices}
        right[item.prompt.id] = min(own, key=own.__getitem__) == item.answer
    return right
