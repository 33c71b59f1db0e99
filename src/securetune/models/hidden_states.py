"""Prompts -> token ids -> hidden states of the last layer at the last prompt token."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from securetune.errors import SecureTuneError
from securetune.evaluation.generate import input_device, render_prompt, tokenize_rendered
from securetune.memory import empty_cache, is_out_of_memory

log = logging.getLogger("securetune")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Encoded:
    """A batch of prompts as a model takes it, padded on the left."""

    texts: tuple[str, ...]
    inputs: dict[str, torch.Tensor]
    """Arguments of the model, each `[prompts * endings, tokens]`; the endings of a prompt are neighbours."""

    @property
    def rows_per_prompt(self) -> int:
        """Sequences of each prompt: one per ending."""
        return len(self.inputs["input_ids"]) // len(self.texts)


def backbone(model: Any) -> Any:
    """The model without its output head; its `last_hidden_state` is the last layer after the final norm."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model


def encode_prompts(
    model: Any, tokenizer: Any, texts: Sequence[str], endings: Sequence[Sequence[int]] = ((),)
) -> Encoded:
    """Render prompts in the chat template, put each of `endings` (token ids) after each, and pad.

    Position ids count from the first token of each prompt, as in generation, so that nothing depends on
    what a prompt is padded to.
    """
    rendered = [render_prompt(tokenizer, text) for text in texts]
    inputs = tokenize_rendered(tokenizer, rendered, input_device(model))
    if any(endings):
        inputs = _with_endings(inputs, endings, tokenizer.pad_token_id)
    if "position_ids" in inspect.signature(backbone(model).forward).parameters:
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp_min(0)
    return Encoded(tuple(texts), inputs)


def _with_endings(inputs: Any, endings: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    width = max(map(len, endings))
    rows, masks = [], []
    for line, seen in zip(ids, mask):
        prompt = line[seen.bool()]
        for ending in endings:
            row = torch.cat([prompt, prompt.new_tensor(list(ending), dtype=torch.long)])
            missing = ids.shape[1] + width - len(row)
            rows.append(torch.cat([row.new_full((missing,), pad), row]))
            masks.append(torch.cat([row.new_zeros(missing), torch.ones_like(row)]))
    return {"input_ids": torch.stack(rows), "attention_mask": torch.stack(masks)}


def last_hidden(model: Any, encoded: Encoded) -> torch.Tensor:
    """Last-layer states `[rows, hidden]` at the last token; differentiable."""
    return torch.as_tensor(backbone(model)(**encoded.inputs, use_cache=False).last_hidden_state[:, -1])


def last_logits(model: Any, encoded: Encoded, tokens: int = 1) -> torch.Tensor:
    """Next-token logits `[rows, tokens, vocabulary]` at the last `tokens` positions; differentiable."""
    logits = model(**encoded.inputs, use_cache=False, logits_to_keep=tokens).logits
    return torch.as_tensor(logits[:, -tokens:])


def last_token_states(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    batch_size: int = 16,
    advance: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Hidden states of the last layer (after the final norm) at the last token of each prompt.

    The chat template is applied with its generation prompt; batches are padded on the left, and halved when
    memory runs out.

    Returns:
        float32 on the CPU, `[prompts, hidden]`.

    Raises:
        SecureTuneError: one prompt alone does not fit into memory.
    """

    def read(batch: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            encoded = encode_prompts(model, tokenizer, [texts[i] for i in batch])
            return last_hidden(model, encoded).float().cpu()

    states: dict[int, torch.Tensor] = {}
    for batch, hidden in in_micro_batches(texts, batch_size, read):
        states.update(zip(batch, hidden))
        if advance is not None:
            advance(len(batch))
    return torch.stack([states[index] for index in range(len(texts))])


def batches_by_length(texts: Sequence[str], size: int) -> list[list[int]]:
    """Indices of `texts` in batches of at most `size`, similar lengths together, so that little is padded."""
    order = sorted(range(len(texts)), key=lambda index: (len(texts[index]), texts[index]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def in_micro_batches(
    texts: Sequence[str], size: int, work: Callable[[list[int]], ResultT]
) -> Iterator[tuple[list[int], ResultT]]:
    """Run `work` on batches of indices of `texts`, similar lengths together.

    Out of memory halves the batch, says so and goes on from there.

    Raises:
        SecureTuneError: one prompt alone does not fit into memory.
    """
    waiting = batches_by_length(texts, size)
    while waiting:
        batch = waiting.pop(0)
        too_large = False
        try:
            result = work(batch)
        except (RuntimeError, MemoryError) as error:
            size = halved(len(batch), error)
            rest = [index for part in (batch, *waiting) for index in part]
            waiting = [rest[start : start + size] for start in range(0, len(rest), size)]
            too_large = True
        if too_large:  # Outside of `except`, whose traceback would keep the tensors alive.
            empty_cache()
        else:
            yield batch, result


def halved(size: int, error: Exception) -> int:
    """The size of batches to go on with after an error while `size` prompts were worked on; it is logged.

    Raises:
        Exception: `error`, if it does not say that memory ran out.
        SecureTuneError: one prompt alone does not fit into memory.
    """
    if not is_out_of_memory(error):
        raise error
    if size == 1:
        raise SecureTuneError(
            "Out of memory with one prompt at a time. Load the model in bfloat16, quantised or with "
            'device_map="auto".'
        ) from error
    size = (size + 1) // 2
    log.warning("out of memory: micro-batches have %d prompts now", size)
    return size
