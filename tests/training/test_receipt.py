"""What is logged while a plan trains, and the receipt that it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, TrainerCallback

from securetune.models.module_map import ModuleMap
from securetune.plan import TuningPlan
from securetune.training.attach import attach
from tiny import FAMILIES, FUSES_EXPERTS, tiny_llama
from tiny_trainers import RATE, SLOW_MLP, STILL_MLP, Make, trained, weights, with_lora

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
]


def receipt(make: Make) -> Any:
    return json.loads((make.output / "plan_receipt.json").read_text())


def entries(trainer: Any) -> list[dict[str, float]]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_rates_and_norms_of_every_group_are_logged_and_true(make: Make) -> None:
    states: list[dict[str, torch.Tensor]] = []
    trainer = make(max_steps=3, weight_decay=0.0)

    class Watch(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            states.append(weights(trainer))

    attach(trainer, SLOW_MLP)
    trainer.add_callback(Watch())
    states.append(weights(trainer))
    trainer.train()
    for entry, before, after in zip(entries(trainer), states, states[1:]):
        slow = [name for name in before if ".mlp." in name]
        moved = sum(float((after[n] - before[n]).square().sum()) for n in slow) ** 0.5
        # Of 8,192 elements a tensor every other one is read.
        assert entry["update_norm/x0.1"] == pytest.approx(moved, rel=0.05)
        squares = sum(v**2 for key, v in entry.items() if key.startswith("grad_norm/"))
        assert squares**0.5 == pytest.approx(min(1.0, entry["grad_norm"]), rel=1e-3)


def test_norms_are_measured_only_at_steps_that_are_logged(make: Make) -> None:
    trainer = make(max_steps=4, logging_steps=2)
    calls: list[bool] = []
    attach(trainer, SLOW_MLP)
    original = trainer.securetune_guard.before_step

    def before_step(*args: Any, measure: bool = False, **kwargs: Any) -> None:
        calls.append(measure)
        original(*args, measure=measure, **kwargs)

    trainer.securetune_guard.before_step = before_step
    trainer.train()
    assert calls == [False, True, False, True]
    assert all("update_norm/x0.1" in entry for entry in entries(trainer))


def test_the_log_reaches_a_reporting_callback(make: Make) -> None:
    seen: list[dict[str, float]] = []

    class Backend(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            seen.append(dict(logs))

    # Callbacks given to the trainer come before ours, as those of `report_to` do.
    trained(make(callbacks=[Backend()]), SLOW_MLP)
    assert {"lr/x0.1", "grad_norm/x0.1", "update_norm/x0.1"} <= seen[0].keys()


def test_the_receipt_of_an_adapter_says_how_far_each_address_moved(make: Make) -> None:
    trainer = make(lora=True)
    trained(trainer, STILL_MLP)
    trainer.save_model()
    found = receipt(make)
    assert (found["planned"], found["base_rate"]) == (STILL_MLP.to_json(), RATE)
    assert [entry["step"] for entry in found["applied"]["verified"]] == [1]
    merged = trainer.model.merge_and_unload()
    start = ModuleMap.of(tiny_llama(make.tokenizer))
    modules = ModuleMap.of(merged)
    for address in modules.matrices():
        change = modules.weight(address)[1] - start.weight(address)[1]
        assert found["movement"][str(address)] == pytest.approx(float(change.detach().norm()), abs=1e-5)
        assert (found["movement"][str(address)] == 0) is (".mlp." in f".{address}")


@pytest.mark.parametrize("options", [{"use_dora": True}, {"use_rslora": True}, {"init_lora_weights": False}])
def test_the_movement_of_every_kind_of_adapter_is_measured_from_its_start(
    options: dict[str, Any], make: Make
) -> None:
    start = with_lora(tiny_llama(make.tokenizer), **options).merge_and_unload()
    trainer = make(model=with_lora(tiny_llama(make.tokenizer), **options))
    trained(trainer, SLOW_MLP)
    trainer.save_model()
    found = receipt(make)["movement"]
    merged = ModuleMap.of(trainer.model.merge_and_unload())
    for address in merged.matrices():
        change = merged.weight(address)[1] - ModuleMap.of(start).weight(address)[1]
        assert found[str(address)] == pytest.approx(float(change.detach().norm()), rel=1e-3, abs=1e-5)
        assert found[str(address)] > 0


def test_modules_to_save_are_measured_and_follow_the_plan(make: Make) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head", "up_proj"])
    trainer = make(model=get_peft_model(tiny_llama(make.tokenizer), config))
    trained(trainer, TuningPlan.from_multipliers({"up_proj": 0.0}))
    trainer.save_model()
    found = receipt(make)["movement"]
    assert found["0.mlp.up_proj"] == 0
    assert found["lm_head"] > 0
    assert found["0.self_attn.q_proj"] > 0


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", *(["mixtral"] if FUSES_EXPERTS else [])])
def test_full_tuning_is_measured_against_the_checkpoint_it_started_from(
    family: str, make: Make, tmp_path: Path
) -> None:
    FAMILIES[family](vocab_size=256).save_pretrained(tmp_path / "start")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "start")
    trainer = make(model=model)
    before = weights(trainer)
    after = trained(trainer, SLOW_MLP)
    trainer.save_model()
    found = receipt(make)["movement"]
    modules, squares = ModuleMap.of(model), dict[str, float]()
    for name in before:
        key = str(modules.address_of(name) or name.removesuffix(".weight"))
        squares[key] = squares.get(key, 0.0) + float((after[name] - before[name]).square().sum())
    assert found == {key: pytest.approx(square**0.5, rel=1e-4) for key, square in squares.items()}
    assert min(found["1.self_attn.q_proj"], found["model.norm"]) > 0


def test_a_start_that_cannot_be_read_again_is_said_so(make: Make, tmp_path: Path) -> None:
    trained_trainer = make()
    trained(trained_trainer, SLOW_MLP)
    trained_trainer.save_model()
    assert receipt(make)["movement"] is None
    assert "cannot be read again" in receipt(make)["movement_reason"]


def test_checkpoints_have_a_receipt_too_and_stock_peft_loads_beside_it(make: Make) -> None:
    trainer = make(lora=True, save_strategy="steps", save_steps=2)
    trained(trainer, SLOW_MLP)
    checkpoint = make.output / "checkpoint-2"
    content = json.loads((checkpoint / "plan_receipt.json").read_text())
    assert content["movement"] is None
    assert content["applied"]["plan"] == SLOW_MLP.fingerprint
    PeftModel.from_pretrained(tiny_llama(make.tokenizer), str(checkpoint))


def test_loras_a_factors_are_verified_when_they_first_have_a_gradient(make: Make) -> None:
    trainer = make(lora=True)
    trained(trainer, SLOW_MLP)
    (entry,) = trainer.securetune_guard.verified
    for group in entry["groups"].values():
        assert group["moved"] == group["tensors"]
