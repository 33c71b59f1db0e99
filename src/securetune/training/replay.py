"""Rows to mix in: self-replay (the start model's own refusals, no outside data), refusals of ours."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from securetune.dataset import Conversation, Message
from securetune.encoding import EncodedData
from securetune.errors import DataError
from securetune.evaluation.generate import Decoding, generate, read_answers
from securetune.evaluation.judges import DEFAULT_LIST, JUDGES, strip_reasoning
from securetune.progress import progress
from securetune.prompts import Prompt
from securetune.tables import package_table

log = logging.getLogger("securetune")


def own_refusals(
    load: Callable[[], tuple[Any, Any]], prompts: Sequence[Prompt], decoding: Decoding, path: Path
) -> list[Conversation]:
    """Rows of prompt -> the start model's own refusal; prompts that it does not refuse are left out.

    A reasoning block is cut off, as judges do; an answer that is still reasoning is left out.

    Answers are kept in `path`; the model is loaded only if some are missing there.

    Raises:
        DataError: the model refuses none of the prompts, so there is nothing to replay.
    """
    responses = read_answers(prompts, path)
    is_new = responses is None
    if responses is None:
        model, tokenizer = load()
        with progress("the start model's refusals", len(prompts)) as advance:
            responses = generate(model, tokenizer, prompts, decoding, path, advance)
    judge = JUDGES[DEFAULT_LIST]
    rows = [
        Conversation((Message("user", p.text), Message("assistant", final)), truncated=not r.ended)
        for p, r in zip(prompts, responses)
        if (final := strip_reasoning(r.text)) and judge.judge(p.text, r.text).refused
    ]
    if not rows:
        raise DataError(
            f"self-replay: the start model refuses none of {len(prompts)} harmful prompts, so it has no "
            "refusals to replay. Is it an aligned chat model? `securetune align` makes one."
        )
    if is_new:  # Later calls, one for each strategy and command, read the same answers.
        log.info("self-replay: the start model refuses %d of %d prompts", len(rows), len(prompts))
    return rows


def mix_rows(
    data: EncodedData, pools: Sequence[tuple[EncodedData, float]], seed: int
) -> tuple[EncodedData, list[int]]:
    """Replace shares of the rows by others, so that the number of rows and steps stays the same.

    All are encoded, so that a share is that of the rows that are trained on: rows that are too long have
    left them. A replaced row is not replaced again.

    Args:
        data: the benign rows.
        pools: the rows to mix in, such as refusals, each with its share in (0, 1).
        seed: of the places, and of the order within each pool.

    Returns:
        The mixed rows and how many of each pool are among them (at least one).

    Raises:
        DataError: a pool is empty, or the shares leave no benign row.
    """
    rng = random.Random(seed)
    counts = [max(1, round(share * len(data.rows))) for _, share in pools]
    if pools and (sum(counts) >= len(data.rows) or not all(pool.rows for pool, _ in pools)):
        found = ", ".join(f"{count} of a pool of {len(pool.rows)}" for count, (pool, _) in zip(counts, pools))
        raise DataError(f"Cannot mix {found} into {len(data.rows)} rows. Use smaller shares or shorter rows.")
    places = iter(rng.sample(range(len(data.rows)), sum(counts)))
    rows = list(data.rows)
    for count, (pool, _) in zip(counts, pools):
        order = list(pool.rows)
        rng.shuffle(order)
        for index in range(count):
            rows[next(places)] = order[index % len(order)]
    return data.with_rows(rows), counts


def package_refusals(prompts: Sequence[Prompt], seed: int) -> list[Conversation]:
    """Harmful prompts with refusals of our own wording, for `replay`."""
    # Refusals that name a harm would mostly name another one than the prompt's.
    table = package_table("refusals.jsonl")
    texts = [str(row.values["text"]) for row in table.rows if row.values["category"] == "any"]
    rng = random.Random(seed)
    return [Conversation((Message("user", p.text), Message("assistant", rng.choice(texts)))) for p in prompts]
