"""Trainers on a tiny Llama, and what tests do with them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from datasets import Dataset
from packaging.version import Version
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from securetune.plan import Phase, TuningPlan
from securetune.training.attach import attach
from tiny import tiny_llama

Weights = dict[str, torch.Tensor]
ONES = TuningPlan.from_multipliers({"0-1.*": 1.0}, outside=1.0)
SLOW_MLP = TuningPlan.from_multipliers({"mlp": 0.1}, outside=1.0)
STILL_MLP = TuningPlan.from_multipliers({"mlp": 0.0}, outside=1.0)
FROZEN_MLP = TuningPlan.from_multipliers({"mlp": 0.0}, outside=1.0, freeze=True)
RATE = 1e-3

factories = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.2"),
    reason="optimizer factories came with transformers 5.2",
)


def rows(count: int = 16, length: int = 12) -> Dataset:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 200, (count, length), generator=generator).tolist()
    return Dataset.from_list([{"input_ids": row, "labels": row} for row in ids])


def with_lora(model: LlamaForCausalLM, **changes: Any) -> Any:
    torch.manual_seed(0)
    return get_peft_model(
        model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", **changes)
    )


class Make:
    """Build a trainer on a fresh tiny model: `make(kind, lora, model=..., callbacks=..., **arguments)`."""

    def __init__(self, output: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.output = output
        self.tokenizer = tokenizer

    def __call__(
        self,
        kind: str = "trainer",
        lora: bool = False,
        *,
        model: Any = None,
        callbacks: Any = None,
        **changes: Any,
    ) -> Any:
        given = ("optimizer_cls_and_kwargs", "optimizers")
        extra: dict[str, Any] = {key: changes.pop(key) for key in given if key in changes}
        arguments: dict[str, Any] = {
            "output_dir": str(self.output),
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "learning_rate": RATE,
            "weight_decay": 0.1,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "seed": 3,
            **changes,
        }
        model = tiny_llama(self.tokenizer) if model is None else model
        model = with_lora(model) if lora else model
        extra |= {"train_dataset": rows(), "callbacks": callbacks}
        if kind == "trainer":
            trainer = Trainer(model, TrainingArguments(**arguments), **extra)
        else:
            arguments |= {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": None}
            from trl import SFTConfig, SFTTrainer

            processing = copy.deepcopy(self.tokenizer)
            trainer = SFTTrainer(model, SFTConfig(**arguments), processing_class=processing, **extra)
        trainer.remove_callback(PrinterCallback)
        return trainer


def weights(trainer: Any) -> Weights:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def trained(trainer: Any, plan: TuningPlan | None = None, **options: Any) -> Weights:
    if plan is not None:
        attach(trainer, plan)
    trainer.train(**options)
    return weights(trainer)


def assert_same(one: Weights, two: Weights) -> None:
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def unmoved(before: Weights, after: Weights) -> set[str]:
    return {name for name in before if torch.equal(before[name], after[name])}


def mlp(names: Any) -> set[str]:
    return {name for name in names if ".mlp." in name}


def swat(until: float, warmed: str = "self_attn") -> TuningPlan:
    return TuningPlan((Phase("robust", until, {warmed: 1.0}, 0.0), Phase("all", 1.0, {}, 1.0)), "swat")


class Edit(TrainerCallback):
    """Calls a function with the optimizer at one event of every step from `first` on."""

    def __init__(self, event: str, edit: Any, first: int = 0) -> None:
        def act(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step >= first:
                edit(kwargs["optimizer"])

        setattr(self, event, act)
