from __future__ import annotations

import random

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from securetune.encoding import EncodedRow
from securetune.errors import TrainingError
from securetune.evaluation.loss import held_out_losses
from tiny import FAMILIES, tiny_tokenizer


def rows(count: int = 9) -> list[EncodedRow]:
    rng = random.Random(0)
    made = []
    for _ in range(count):
        ids = [rng.randrange(3, 120) for _ in range(rng.randrange(4, 24))]
        start = rng.randrange(1, len(ids))
        labels = [-100] * start + ids[start:]
        if len(ids) > 10:
            labels[-2] = -100
        made.append(EncodedRow(ids, labels))
    return made


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "mixtral", "bloom"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_loss_of_every_row_is_the_models_own(family: str, batch_size: int) -> None:
    model, tokenizer = FAMILIES[family](), tiny_tokenizer()
    losses = held_out_losses(model, tokenizer, rows(), batch_size)
    for row, loss in zip(rows(), losses):
        with torch.inference_mode():
            own = model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
        assert loss == pytest.approx(float(own), abs=2e-5)
    assert len({round(loss, 4) for loss in losses}) == len(losses)


def test_only_trained_tokens_count(tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    ids = [5, 6, 7, 8, 9, 10]
    every = EncodedRow(ids, [-100, *ids[1:]])
    first, rest = EncodedRow(ids, [-100, 6, *[-100] * 4]), EncodedRow(ids, [-100, -100, *ids[2:]])
    all_of_it, one, four = held_out_losses(tiny_model, tokenizer, [every, first, rest])
    assert all_of_it == pytest.approx((one + 4 * four) / 5, abs=1e-5)
    # The first token is never predicted, whatever its label.
    (same,) = held_out_losses(tiny_model, tokenizer, [EncodedRow(ids, ids)])
    assert same == pytest.approx(all_of_it, abs=1e-6)


def test_the_model_keeps_its_mode_even_when_it_fails(
    tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    held_out_losses(tiny_model.train(), tokenizer, rows(2))
    assert tiny_model.training
    with pytest.raises(IndexError):
        held_out_losses(tiny_model, tokenizer, [EncodedRow([5, 10_000], [-100, 5])])
    assert tiny_model.training
    assert held_out_losses(tiny_model, tokenizer, []) == []
    done: list[int] = []
    held_out_losses(tiny_model, tokenizer, rows(5), 2, progress=done.append)
    assert done == [2, 2, 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_an_error_not_a_number(
    value: float, tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_model.model.norm.weight.data.fill_(value)
    with pytest.raises(TrainingError, match=r"held-out loss is nan on row 1, and not finite on 9 of 9 rows"):
        held_out_losses(tiny_model, tokenizer, rows())


def test_running_out_of_memory_halves_the_batch_and_changes_no_loss(
    tiny_model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = held_out_losses(tiny_model, tokenizer, rows())
    original = tiny_model.forward

    def hungry(input_ids: torch.Tensor, **options: torch.Tensor) -> object:
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(input_ids=input_ids, **options)

    monkeypatch.setattr(tiny_model, "forward", hungry)
    assert held_out_losses(tiny_model, tokenizer, rows()) == pytest.approx(whole, abs=2e-5)
    assert "the held-out loss goes on with batches of 2" in caplog.text
