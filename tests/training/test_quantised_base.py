"""LoRA on 4-bit and 8-bit bases, and optimizers with 8-bit or paged states: the plan holds there too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, prepare_model_for_kbit_training
from test_safety_callback import PROMPTS, probe_of
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from securetune.__main__ import main
from securetune.errors import PlanError
from securetune.training.attach import attach
from securetune.training.safety_callback import SafetyCallback
from tiny import tiny_llama
from tiny_chat import fast_options, write_tuning_file
from tiny_trainers import SLOW_MLP, STILL_MLP, Make, assert_same, mlp, swat, trained, unmoved, weights

pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")

SAVING = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2, "lr_scheduler_type": "constant"}


@pytest.fixture(scope="module")
def saved(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base")
    tiny_llama(tokenizer).save_pretrained(directory)
    return directory


@pytest.fixture(params=[4, 8])
def base(request: Any, saved: Path) -> Any:
    """Builds the quantised base anew."""
    how = (
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"} if request.param == 4 else {"load_in_8bit": True}
    )

    def load() -> Any:
        model = AutoModelForCausalLM.from_pretrained(
            saved, quantization_config=BitsAndBytesConfig(**how), device_map={"": "cpu"}, dtype=torch.float32
        )
        return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)

    return load


def test_a_plan_holds_on_a_quantised_base_and_the_base_stays(make: Make, base: Any) -> None:
    trainer = attach(make(lora=True, model=base(), learning_rate=1e-2, max_steps=4), STILL_MLP)
    before = weights(trainer)
    trainer.train()
    after = weights(trainer)
    factors = {name for name in before if "lora_" in name}
    assert unmoved(before, after) == (before.keys() - factors) | mlp(factors)
    assert any(value.dtype in (torch.uint8, torch.int8) for value in before.values())  # Quantised indeed.
    assert trainer.securetune_guard.verified[0]["step"] == 1
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert all(any(key.startswith("lr/") for key in entry) for entry in logged)
    movement = trainer.securetune_receipt()["movement"]
    assert {name for name, moved in movement.items() if not moved} == {n for n in movement if ".mlp." in n}
    assert any(movement.values())


@pytest.mark.parametrize("plan", [SLOW_MLP, swat(0.5)], ids=["rates", "phases"])
def test_a_resumed_run_on_a_quantised_base_equals_the_uninterrupted_one(
    plan: Any, make: Make, base: Any, tmp_path: Path
) -> None:
    expected = trained(make(lora=True, model=base(), **SAVING, output_dir=str(tmp_path / "whole")), plan)
    again = make(lora=True, model=base(), **SAVING, output_dir=str(tmp_path / "again"))
    checkpoint = str(tmp_path / "whole" / "checkpoint-2")
    assert_same(trained(again, plan, resume_from_checkpoint=checkpoint), expected)


def test_another_plan_is_refused_on_a_quantised_base(make: Make, base: Any, tmp_path: Path) -> None:
    trained(make(lora=True, model=base(), **SAVING), SLOW_MLP)
    checkpoint = str(tmp_path / "out" / "checkpoint-2")
    with pytest.raises(PlanError, match="written under another plan"):
        attach(make(lora=True, model=base(), **SAVING), STILL_MLP).train(resume_from_checkpoint=checkpoint)


@pytest.mark.parametrize(
    "optimizer", ["adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "lion_8bit"]
)
def test_optimizers_with_8_bit_and_paged_states_follow_the_plan(optimizer: str, make: Make) -> None:
    # Small tensors, such as LoRA's here, get 32-bit states: whole weights are trained.
    trainer = attach(make(optim=optimizer, max_steps=4), STILL_MLP)
    before = weights(trainer)
    trainer.train()
    assert unmoved(before, weights(trainer)) == mlp(before)
    states = [value for state in trainer.optimizer.state.values() for value in state.values()]
    eight = any(torch.is_tensor(value) and value.dtype == torch.uint8 for value in states)
    assert eight is ("8bit" in optimizer)
    assert "bitsandbytes" in type(trainer.optimizer.optimizer).__module__
    assert trainer.securetune_guard.verified[0]["step"] == 1


def test_run_with_a_4_bit_base_ends_in_a_report_and_a_stock_adapter(
    chat_model: Path, tmp_path: Path, tokenizer: Any
) -> None:
    data, out = write_tuning_file(tmp_path / "tuning.jsonl"), tmp_path / "run"
    call = ["-q", "run", str(chat_model), "--data", str(data), "--out", str(out), "--load-in-4bit"]
    assert main([*call, *fast_options()]) == 0
    assert (out / "report.html").is_file()
    receipt = json.loads((out / "tune" / "ml-lr" / "receipt.json").read_text())
    assert receipt["verified"]
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(
        chat_model, quantization_config=how, device_map={"": "cpu"}, dtype=torch.float32
    )
    adapted = PeftModel.from_pretrained(model, str(out / "tune" / "ml-lr" / "adapter"))
    assert any(value.abs().max() > 0 for name, value in adapted.named_parameters() if "lora_B" in name)


def test_watching_a_quantised_base_changes_nothing(make: Make, base: Any) -> None:
    # On some CPUs a forward pass without gradients packs 4-bit weights, and packed ones pass no gradient on.
    def trained_with(*, watching: bool) -> Any:
        trainer = make("sft", lora=True, model=base(), learning_rate=1e-2)
        if watching:
            probe = probe_of(trainer.model)
            trainer.add_callback(SafetyCallback(trainer, probe, prompts=PROMPTS, every=1, asr_prompts=0))
        return trained(trainer)

    assert_same(trained_with(watching=True), trained_with(watching=False))
