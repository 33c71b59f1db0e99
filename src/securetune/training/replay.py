"""Self-replay: a share of the training rows are the start model's own refusals. No outside data."""

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
from securetune.evaluation.judges import DEFAULT_JUDGE, JUDGES, strip_reasoning
from securetune.progress import progress
from securetune.prompts import Prompt

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
    judge = JUDGES[DEFAULT_JUDGE]
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


def mix_replay(data: EncodedData, refusals: EncodedData, share: float, seed: int) -> tuple[EncodedData, int]:
    """Replace a share of the rows by refusals, so that the number of rows and steps stays the same.

    Both are encoded, so that the share is that of the rows that are trained on: rows that are too long
    have left both.

    Returns:
        The mixed rows and how many of them are refusals (at least one).
    """
    rng = random.Random(seed)
    count = max(1, round(share * len(data.rows)))
    places = rng.sample(range(len(data.rows)), count)
    pool = list(refusals.rows)
    rng.shuffle(pool)
    rows = list(data.rows)
    for index, place in enumerate(places):
        rows[place] = pool[index % len(pool)]
    return data.with_rows(rows), count
