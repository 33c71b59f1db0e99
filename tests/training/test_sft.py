"""The cheaper loss on a CPU is TRL's loss, to the last gradient."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast
from trl import SFTTrainer

from securetune.encoding import EncodedData, EncodedRow
from securetune.training import sft
from securetune.training_settings import LoraSettings, TrainSettings
from tiny import FAMILIES

pytestmark = [
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]
# Rows of other lengths, with learnt tokens in other places.
ROWS = [
    EncodedRow(list(range(3, 3 + n)), [-100] * k + list(range(3 + k, 3 + n))) for n, k in ((9, 4), (14, 8))
]


def loss_and_gradient(trainer: Any, compute: Any) -> tuple[float, torch.Tensor]:
    batch = next(iter(trainer.get_train_dataloader()))
    batch.pop("num_items_in_batch", None)
    trainer.model.zero_grad()
    loss = compute(trainer, trainer.model, dict(batch))
    loss.backward()
    gradients = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
    return float(loss.detach()), torch.cat(gradients)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_the_loss_on_a_cpu_is_that_of_trl(
    family: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainSettings(batch_size=2, steps=1, lora=LoraSettings(r=2, alpha=4))
    model = sft.add_lora(FAMILIES[family](), settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    data = EncodedData(tuple(ROWS), 0, 23, 11, 0)
    trainer = sft.build_trainer(model, tokenizer, data, settings, tmp_path, 2)
    theirs, their_gradient = loss_and_gradient(trainer, SFTTrainer.compute_loss)

    base = model.get_base_model()
    forward = base.forward
    kept = []

    @functools.wraps(forward)
    def counted(*args: Any, **kwargs: Any) -> Any:
        outputs = forward(*args, **kwargs)
        kept.append(tuple(outputs.logits.shape[:2]))
        return outputs

    monkeypatch.setattr(base, "forward", counted)
    ours, our_gradient = loss_and_gradient(trainer, type(trainer).compute_loss)
    # Positions 3 to 12 predict a learnt token in some row; the others get no logits.
    assert kept == [(2, 10)]
    assert ours == pytest.approx(theirs, rel=1e-6)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-4, atol=1e-7)
    assert float(our_gradient.abs().max()) > 0


def test_another_loss_is_left_to_trl(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    settings = TrainSettings(batch_size=2, steps=1, trainer={"loss_type": "dft"})
    model = sft.add_lora(FAMILIES["llama"](), settings)
    trainer = sft.build_trainer(
        model, tokenizer, EncodedData(tuple(ROWS), 0, 23, 11, 0), settings, tmp_path, 2
    )
    ours = loss_and_gradient(trainer, type(trainer).compute_loss)[0]
    assert ours == pytest.approx(loss_and_gradient(trainer, SFTTrainer.compute_loss)[0], rel=1e-6)
