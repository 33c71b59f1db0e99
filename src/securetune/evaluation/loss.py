"""Held-out loss on the tuning distribution: the usefulness axis of every comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from securetune.encoding import IGNORED, EncodedRow
from securetune.errors import TrainingError
from securetune.evaluation.generate import input_device, without_gradients
from securetune.memory import Halving


def held_out_losses(
    model: Any,
    tokenizer: Any,
    rows: Sequence[EncodedRow],
    batch_size: int = 8,
    what: str = "the held-out loss",
    progress: Callable[[int], None] | None = None,
) -> list[float]:
    """Mean negative log-likelihood per trained token, in nats, of each row.

    Rows are batched by length; padding goes to the right and does not count. A batch that does not fit
    into memory is halved. `what` is measured, in errors; `progress` is called with the rows just done.

    Raises:
        TrainingError: a loss is not finite, or one row does not fit into memory.
    """
    losses = [0.0] * len(rows)
    halving = Halving(what)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].input_ids))
    was_training = model.training
    model.eval()
    try:
        with without_gradients(model):
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                found = halving.run(
                    lambda part: _losses(model, tokenizer, [rows[index] for index in part]), batch
                )
                for index, loss in zip(batch, found):
                    losses[index] = loss
                if progress is not None:
                    progress(len(batch))
    finally:
        model.train(was_training)
    wrong = [index for index, loss in enumerate(losses) if not math.isfinite(loss)]
    if wrong:
        raise TrainingError(
            f"{what.capitalize()} is {losses[wrong[0]]} on row {wrong[0] + 1}, and not finite on "
            f"{len(wrong)} of {len(rows)} rows: the model is broken or overflows. Lower train.learning_rate, "
            "or set model.dtype to float32."
        )
    return losses


def _losses(model: Any, tokenizer: Any, rows: Sequence[EncodedRow]) -> list[float]:
    """Losses of one batch."""
    import torch
    from torch.nn.functional import cross_entropy

    width = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), width), tokenizer.pad_token_id)
    labels = torch.full((len(rows), width), IGNORED)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for line, row in enumerate(rows):
        length = len(row.input_ids)
        ids[line, :length] = torch.tensor(row.input_ids)
        labels[line, :length] = torch.tensor(row.labels)
        mask[line, :length] = 1
    device = input_device(model)
    logits = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
    shifted = labels[:, 1:].to(logits.device)
    token = cross_entropy(
        logits[:, :-1].float().transpose(1, 2), shifted, ignore_index=IGNORED, reduction="none"
    )
    return (token.sum(dim=1) / (shifted != IGNORED).sum(dim=1)).tolist()
