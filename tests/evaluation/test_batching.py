"""Batching changes an answer only where two tokens nearly tie, at the very step where it changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from securetune.evaluation import generate as module
from securetune.evaluation.generate import (
    Decoding,
    Response,
    end_tokens,
    generate,
    render_prompt,
    tokenize_rendered,
)
from securetune.prompt_files import package_prompts
from tiny import tiny_llama

TOKENS = 16
NEAR_TIE = 1e-3
"""Logits."""


def check_divergence(alone: list[int], logits: torch.Tensor, batched: list[int]) -> None:
    """Fail unless both are equal up to a step at which the batched token nearly ties with the greedy one.

    Args:
        alone: token ids of the unbatched greedy answer, up to and with the one that ends it.
        logits: `[steps, vocabulary]` of that answer.
        batched: token ids of the batched answer, likewise.
    """
    for step, (token, other) in enumerate(zip(alone, batched)):
        if token != other:
            gap = float(logits[step, token] - logits[step, other])
            assert gap < NEAR_TIE, f"step {step}: token {other} instead of {token}, {gap} logits below it"
            return
    assert len(alone) == len(batched)


def until_end(ids: list[int], ends: list[int]) -> list[int]:
    stop = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[: stop + 1]


def test_batched_answers_are_the_unbatched_greedy_ones_up_to_the_first_near_tie(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama(tokenizer).eval()
    prompts = list(package_prompts("evaluation").harmful)[:16]
    ends = end_tokens(model, tokenizer)
    found: dict[str, list[int]] = {}
    original = module._response

    def response(tokenizer: Any, key: str, ids: list[int], **rest: Any) -> Response:
        found[key] = until_end(ids, ends)
        return original(tokenizer, key, ids, **rest)

    monkeypatch.setattr(module, "_response", response)
    batched = generate(model, tokenizer, prompts, Decoding(TOKENS, 16))
    # Not one answer for all: the prompts decide.
    assert len({answer.text for answer in batched}) == len(found) == 16
    for prompt in prompts:
        ids = tokenize_rendered(tokenizer, [render_prompt(tokenizer, prompt.text)], "cpu")["input_ids"]
        with torch.inference_mode():
            output = model.generate(
                ids,
                max_new_tokens=TOKENS,
                do_sample=False,
                eos_token_id=ends,
                pad_token_id=tokenizer.pad_token_id,
                output_logits=True,
                return_dict_in_generate=True,
            )
        alone = until_end(output.sequences[0, ids.shape[1] :].tolist(), ends)
        check_divergence(alone, torch.cat(output.logits), found[prompt.id])


def test_a_near_tie_elsewhere_excuses_no_divergence() -> None:
    # Tokens 0 and 1 tie at step 0; at step 1 token 2 leads token 3 by far.
    logits = torch.tensor([[5.0, 5.0, 0.0, 0.0], [0.0, 0.0, 5.0, 1.0], [0.0, 0.0, 5.0, 1.0]])
    check_divergence([0, 2, 2], logits, [0, 2, 2])
    check_divergence([0, 2, 2], logits, [1, 3, 3])
    for batched in ([0, 3, 2], [2, 2, 2], [0, 2]):
        with pytest.raises(AssertionError):
            check_divergence([0, 2, 2], logits, batched)
