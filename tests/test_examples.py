"""The examples run on a tiny model, as far as their libraries install beside ours."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from peft import PeftModel
from transformers import PreTrainedTokenizerFast, Trainer

from securetune.errors import MissingDependencyError, PlanError
from securetune.plan import TuningPlan
from tiny import tiny_llama
from tiny_trainers import SLOW_MLP, STILL_MLP, Make

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


@pytest.fixture
def inputs(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> tuple[str, str]:
    """A model directory and a plan file."""
    tiny_llama(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model"), str(STILL_MLP.save(tmp_path / "plan.json"))


@pytest.mark.parametrize("name", ["trl_sft", "trl_dpo", "trl_grpo"])
def test_trl_examples_train_under_the_plan(
    name: str, example: Any, inputs: tuple[str, str], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    example(name).main(*inputs, str(tmp_path / "out"), "2")
    receipt = json.loads((tmp_path / "out" / "plan_receipt.json").read_text())
    assert receipt["applied"]["plan"] == STILL_MLP.fingerprint
    assert receipt["applied"]["verified"]
    moved = {address for address, distance in receipt["movement"].items() if distance > 0}
    assert moved
    assert not any(".mlp." in address for address in moved)
    PeftModel.from_pretrained(tiny_llama(tokenizer), str(tmp_path / "out"))


def test_the_plain_trainer_example(example: Any, inputs: tuple[str, str], tmp_path: Path) -> None:
    example("plain_trainer").main(*inputs, str(tmp_path / "out"), "2")
    receipt = json.loads((tmp_path / "out" / "plan_receipt.json").read_text())
    assert receipt["movement"]["0.mlp.up_proj"] == 0 < receipt["movement"]["0.self_attn.q_proj"]


def test_the_accelerate_example(
    example: Any, inputs: tuple[str, str], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    example("accelerate_loop").main(*inputs, str(tmp_path / "out"), "2")
    adapted = PeftModel.from_pretrained(tiny_llama(tokenizer), str(tmp_path / "out"))
    grown = {n for n, p in adapted.named_parameters() if "lora_B" in n and p.abs().max() > 0}
    assert grown
    assert not any(".mlp." in name for name in grown)


def test_the_llama_factory_launcher_attaches_before_training(
    example: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "train", Trainer.train)  # restored afterwards
    example("llama_factory.launch").attach_on_train(SLOW_MLP)
    trainer = make()
    trainer.train()
    assert trainer.securetune_guard.verified


@pytest.mark.parametrize("trains", [True, False], ids=["sft", "ppo"])
def test_the_llama_factory_launcher_stops_when_no_trainer_took_the_plan(
    trains: bool, example: Any, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Trainer, "train", Trainer.train)  # restored afterwards
    monkeypatch.setattr(sys, "argv", ["launch.py", "train.yaml"])
    monkeypatch.setenv("SECURETUNE_PLAN", str(SLOW_MLP.save(tmp_path / "plan.json")))
    trainer = make()
    tuner: Any = ModuleType("llamafactory.train.tuner")
    # Its PPO trainer has a method of its own, `ppo_train`.
    tuner.run_exp = lambda: trainer.train() if trains else trainer.create_optimizer()
    for name in ("llamafactory", "llamafactory.train"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "llamafactory.train.tuner", tuner)
    main = example("llama_factory.launch").main
    if trains:
        main()
        assert trainer.securetune_guard.verified
    else:
        with pytest.raises(SystemExit, match="the plan was not attached"):
            main()


@pytest.fixture
def axolotl(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin module, with a stand-in for Axolotl's base class; Axolotl itself pins other versions."""
    base: Any = ModuleType("axolotl.integrations.base")
    base.BasePlugin = type("BasePlugin", (), {})
    monkeypatch.setitem(sys.modules, "axolotl", ModuleType("axolotl"))
    monkeypatch.setitem(sys.modules, "axolotl.integrations", ModuleType("axolotl.integrations"))
    monkeypatch.setitem(sys.modules, "axolotl.integrations.base", base)
    monkeypatch.delitem(sys.modules, "securetune.training.axolotl", raising=False)
    module = importlib.import_module("securetune.training.axolotl")
    yield module
    sys.modules.pop("securetune.training.axolotl", None)


class Settings(SimpleNamespace):
    def get(self, key: str) -> Any:
        return getattr(self, key, None)


def test_the_axolotl_plugin_attaches_or_refuses(axolotl: Any, make: Make, tmp_path: Path) -> None:
    path = str(SLOW_MLP.save(tmp_path / "plan.json"))
    trainer, plugin = make(), axolotl.SecureTunePlugin()
    settings = Settings(securetune_plan=path, securetune_any_base=False, output_dir=str(tmp_path / "out"))
    plugin.post_trainer_create(settings, trainer)
    trainer.train()
    assert trainer.securetune_guard.verified
    # Axolotl saves the weights itself, and calls this before and after.
    plugin.post_train(settings, trainer.model)
    plugin.post_train(settings, trainer.model)
    receipt = json.loads((tmp_path / "out" / "plan_receipt.json").read_text())
    assert receipt["applied"]["verified"]
    groups = Settings(securetune_plan=path, securetune_any_base=False, lr_groups=[{"name": "a"}])
    with pytest.raises(PlanError, match=r"\['lr_groups'\] and a securetune plan both set rates"):
        axolotl.SecureTunePlugin().post_trainer_create(groups, make())
    with pytest.raises(PlanError, match="names no plan"):
        axolotl.SecureTunePlugin().post_trainer_create(Settings(securetune_plan=None), make())


def test_the_axolotl_plugin_refuses_other_weights(axolotl: Any, make: Make, tmp_path: Path) -> None:
    other = TuningPlan(SLOW_MLP.phases, base="0123456789abcdef").save(tmp_path / "plan.json")
    plugin, settings = axolotl.SecureTunePlugin(), Settings(securetune_plan=str(other))
    settings.securetune_any_base = False
    with pytest.raises(PlanError, match="made for base weights"):
        plugin.post_trainer_create(settings, make())
    settings.securetune_any_base = True
    plugin.post_trainer_create(settings, make())


def test_the_axolotl_yaml_names_the_plugin_and_its_settings(axolotl: Any) -> None:
    content = yaml.safe_load((EXAMPLES / "axolotl" / "config.yaml").read_text())
    module, _, name = content["plugins"][0].rpartition(".")
    assert hasattr(importlib.import_module(module), name)
    ours = {key for key in content if key.startswith("securetune_")}
    assert ours <= axolotl.SecureTuneArgs.model_fields.keys()
    assert axolotl.SecureTunePlugin().get_input_args() == f"{module}.SecureTuneArgs"


def test_the_plugin_without_axolotl_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "securetune.training.axolotl", raising=False)
    monkeypatch.setitem(sys.modules, "axolotl.integrations.base", None)
    with pytest.raises(MissingDependencyError, match="pip install axolotl"):
        importlib.import_module("securetune.training.axolotl")
