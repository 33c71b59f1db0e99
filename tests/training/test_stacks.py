"""The same laws on every kind of training: a plan is applied, logged, resumed; another one is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback, get_linear_schedule_with_warmup

from securetune.errors import PlanError, PlanNotAppliedError
from securetune.plan import TuningPlan
from securetune.training.attach import attach
from securetune.training.param_groups import build_param_groups
from securetune.training.plan_optimizer import PlanOptimizer, finish, verify_steps
from securetune.training.schedule import add_phases_
from tiny import EXPERT_PARAMETERS, FAMILIES, FUSES_EXPERTS, tiny_llama
from tiny_trainers import RATE, Make, assert_same, factories, mlp, swat, unmoved, weights, with_lora

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
]

PLAN = TuningPlan.from_multipliers({"mlp": 0.0, "q_proj": 0.1}, outside=1.0)
OTHER = TuningPlan.from_multipliers({"mlp": 0.0, "q_proj": 0.2}, outside=1.0)
SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}


def with_saved_modules(make: Make, **options: Any) -> Any:
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head", "up_proj"])
    torch.manual_seed(0)
    return make(model=get_peft_model(tiny_llama(make.tokenizer), config), **options)


def experts(make: Make, **options: Any) -> Any:
    return make(model=FAMILIES["mixtral"](vocab_size=256).train(), **options)


def adapted_experts(make: Make, **options: Any) -> Any:
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], target_parameters=list(EXPERT_PARAMETERS))
    torch.manual_seed(0)
    model = get_peft_model(FAMILIES["mixtral"](vocab_size=256).train(), config)
    return make(model=model, **options)


def tied(make: Make, **options: Any) -> Any:
    model = FAMILIES["llama"](vocab_size=len(make.tokenizer), tie_word_embeddings=True).train()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    return make(model=model, **options)


def adapter(**changes: Any) -> Callable[..., Any]:
    def build(make: Make, **options: Any) -> Any:
        return make(model=with_lora(tiny_llama(make.tokenizer), **changes), **options)

    return build


def dpo(make: Make, **options: Any) -> Any:
    from trl import DPOConfig, DPOTrainer

    pairs = [
        {"prompt": f"Item {i}?", "chosen": f" It is {i}.", "rejected": " I cannot say."} for i in range(16)
    ]
    arguments = vars(make().args)
    kept = ("per_device_train_batch_size", "learning_rate", "logging_steps", "report_to", "seed", "use_cpu")
    settings: dict[str, Any] = {key: arguments[key] for key in kept}
    settings |= {"output_dir": str(make.output), "save_strategy": "no", "max_steps": 4, "bf16": False}
    callbacks = options.pop("callbacks", None)
    return DPOTrainer(
        with_lora(tiny_llama(make.tokenizer)),
        args=DPOConfig(**settings | {"gradient_checkpointing": False} | options),
        train_dataset=Dataset.from_list(pairs),
        processing_class=copy.deepcopy(make.tokenizer),
        callbacks=callbacks,
    )


def eight_bit(make: Make, **options: Any) -> Any:
    pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    return make(optim="adamw_bnb_8bit", **options)


STACKS: dict[str, Callable[..., Any]] = {
    "lora": adapter(),
    "dora": adapter(use_dora=True),
    "rslora": adapter(use_rslora=True),
    "modules_to_save": with_saved_modules,
    "moe": experts,
    "moe_lora": adapted_experts,
    "tied": tied,
    "sft": lambda make, **options: make("sft", lora=True, **options),
    "dpo": dpo,
    "8bit": eight_bit,
}
every_stack = pytest.mark.parametrize(
    "stack",
    [
        pytest.param(name, marks=pytest.mark.skipif(not FUSES_EXPERTS, reason="experts are not fused"))
        if name.startswith("moe")
        else name
        for name in STACKS
    ],
)


class Backend(TrainerCallback):
    """Stands for one of `report_to`."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.seen.append(dict(logs))


@every_stack
def test_every_stack_follows_the_plan_and_logs_it(stack: str, make: Make) -> None:
    backend = Backend()
    trainer = attach(STACKS[stack](make, callbacks=[backend], max_steps=3), PLAN)
    before = weights(trainer)
    trainer.train()
    trainable = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert before.keys() - unmoved(before, weights(trainer)) == trainable - mlp(trainable)
    assert mlp(trainable)
    (entry,) = trainer.securetune_guard.verified
    groups = {name.partition("/")[0]: group for name, group in entry["groups"].items()}
    assert groups.keys() >= {"x0.1", "x0"}
    assert groups["x0.1"]["moved"] == groups["x0.1"]["tensors"] > 0 == groups["x0"]["moved"]
    first = backend.seen[0]
    assert first["lr/x0.1"] == pytest.approx(0.1 * RATE)
    assert first["lr/x0"] == first["update_norm/x0"] == 0 < first["update_norm/x0.1"]
    assert "grad_norm/x0.1" in first


@every_stack
def test_a_resumed_run_of_every_stack_equals_the_uninterrupted_one(
    stack: str, make: Make, tmp_path: Path
) -> None:
    def run(name: str, **options: Any) -> Any:
        trainer = attach(STACKS[stack](make, **SAVING, output_dir=str(tmp_path / name)), PLAN)
        trainer.train(**options)
        return weights(trainer)

    whole = run("whole")
    assert_same(run("again", resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2")), whole)


@every_stack
def test_every_stack_refuses_a_checkpoint_of_another_plan(stack: str, make: Make) -> None:
    attach(STACKS[stack](make, **SAVING | {"max_steps": 2}), OTHER).train()
    trainer = attach(STACKS[stack](make, **SAVING), PLAN)
    # Optimizers of bitsandbytes load past torch's hooks; the groups give them away when training begins.
    with pytest.raises((PlanError, PlanNotAppliedError), match=r"another plan|the plan's are"):
        trainer.train(resume_from_checkpoint=str(make.output / "checkpoint-2"))


@factories
def test_a_resumed_run_of_the_factory_equals_the_uninterrupted_one(make: Make, tmp_path: Path) -> None:
    def run(name: str, **options: Any) -> Any:
        trainer = make(**SAVING, output_dir=str(tmp_path / name))
        trainer.optimizer_cls_and_kwargs = (PlanOptimizer, {"plan": PLAN, "args": trainer.args})
        trainer.train(**options)
        return weights(trainer)

    whole = run("whole")
    assert_same(run("again", resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2")), whole)


def loop(model: Any, plan: TuningPlan, accelerated: bool, state: Path, steps: range) -> Any:
    """A loop of one's own that saves its state at the end, and reads it if it does not begin at step 0."""
    optimizer: Any = torch.optim.AdamW(build_param_groups(model, plan, lr=RATE), lr=RATE)
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, 4)
    add_phases_(scheduler, plan, 4)
    verify_steps(optimizer, plan, lr=RATE, scheduler=scheduler, model=model)
    accelerator = Accelerator(cpu=True)
    if accelerated:
        model, optimizer = accelerator.prepare(model, optimizer)
        accelerator.register_for_checkpointing(scheduler)
    if steps.start and accelerated:
        accelerator.load_state(str(state))
    elif steps.start:
        for item, values in zip((model, optimizer, scheduler), torch.load(state)):
            item.load_state_dict(values)
    ids = torch.arange(3, 27).reshape(2, 12)
    for _ in steps:
        accelerator.backward(model(input_ids=ids, labels=ids).loss)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    if accelerated:
        accelerator.save_state(str(state))
    else:
        torch.save([item.state_dict() for item in (model, optimizer, scheduler)], state)
    if steps.stop == 4:
        finish(optimizer)
    return {name: value.detach() for name, value in model.named_parameters()}


@pytest.mark.parametrize("accelerated", [False, True], ids=["plain", "accelerate"])
def test_a_loop_of_ones_own_is_resumed_and_refuses_another_plan(
    accelerated: bool, make: Make, tmp_path: Path
) -> None:
    def run(plan: TuningPlan, first: int, last: int, name: str = "state") -> Any:
        model = tiny_llama(make.tokenizer).train()
        return loop(model, plan, accelerated, tmp_path / name, range(first, last))

    whole = run(swat(0.5), 0, 4, "whole")
    run(swat(0.5), 0, 2)
    assert_same(run(swat(0.5), 2, 4), whole)
    run(OTHER, 0, 2)
    with pytest.raises(PlanError, match="another plan"):
        run(PLAN, 2, 4)
