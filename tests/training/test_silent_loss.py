"""Every way we know to lose a plan without a word: each ends in an error that names the cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import PreTrainedTokenizerFast, TrainerCallback
from transformers.optimization import Adafactor

import securetune
from securetune.errors import PlanError, PlanNotAppliedError, SecureTuneError
from securetune.plan import Phase, TuningPlan
from securetune.plan_source import read_plan
from securetune.training.attach import attach
from securetune.training.checks import check_checkpoint, check_deepspeed
from securetune.training.param_groups import build_param_groups
from securetune.training.plan_optimizer import PlanOptimizer, finish, verify_steps
from securetune.training.schedule import add_phases_
from tiny import tiny_llama, tiny_tokenizer
from tiny_trainers import FROZEN_MLP, RATE, SLOW_MLP, STILL_MLP, Edit, Make, swat, with_lora

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
    pytest.mark.filterwarnings("ignore:Seems like `optimizer.step"),
]

Case = Callable[[Make, Path], Any]
CASES: dict[str, tuple[Case, type[SecureTuneError], str]] = {}


def loses(message: str, error: type[SecureTuneError] = PlanError) -> Callable[[Case], Case]:
    """Register a way to lose a plan, and what the error must say."""

    def register(case: Case) -> Case:
        CASES[case.__name__] = case, error, message
        return case

    return register


def train(make: Make, plan: TuningPlan = SLOW_MLP, *callbacks: TrainerCallback, **changes: Any) -> Any:
    trainer = attach(make(**changes), plan)
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train()
    return trainer


def other_optimizer(trainer: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(trainer.model.parameters(), lr=RATE)


# The plan and the model do not meet


@loses("'qproj' matches nothing")
def a_pattern_that_matches_nothing(make: Make, tmp: Path) -> None:
    train(make, TuningPlan.from_multipliers({"q_proj": 1.0, "qproj": 0.1}))


@loses("The paths are")
def a_plan_for_another_architecture(make: Make, tmp: Path) -> None:
    train(make, TuningPlan.from_multipliers({"attn.c_attn": 0.1}))


@loses("made for base weights 0123456789abcdef")
def a_plan_for_another_model(make: Make, tmp: Path) -> None:
    train(make, TuningPlan(SLOW_MLP.phases, base="0123456789abcdef"))


@loses(r"was made for base weights .* its modules were not analysed")
def an_imported_plan_for_another_model(make: Make, tmp: Path) -> None:
    TuningPlan(SLOW_MLP.phases, base="0123456789abcdef").save(tmp / "plan.json")
    read_plan(tmp, make().model)


@loses("plan version 2; this securetune reads 1")
def a_plan_file_of_a_later_version(make: Make, tmp: Path) -> None:
    content = SLOW_MLP.to_json() | {"version": 2}
    (tmp / "plan.json").write_text(json.dumps(content))
    read_plan(tmp)


@loses("touches no trainable parameter")
def targets_that_are_not_trained(make: Make, tmp: Path) -> None:
    model = get_peft_model(make().model, LoraConfig(r=2, target_modules=["q_proj"]))
    train(make, model=model)


@loses("touches no trainable parameter")
def an_adapter_outside_the_decoder_stack(make: Make, tmp: Path) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    train(make, model=get_peft_model(make().model, config))


@loses("no trainable parameter")
def a_model_without_gradients(make: Make, tmp: Path) -> None:
    model = make().model
    model.requires_grad_(False)
    train(make, model=model)


@loses("nothing would be trained")
def a_plan_of_zeros(make: Make, tmp: Path) -> None:
    train(make, TuningPlan.from_multipliers({"mlp": 0.0}, outside=0.0))


@loses(r"frozen by plan \w+ of an earlier trainer")
def two_trainers_on_one_model(make: Make, tmp: Path) -> None:
    model = make().model
    train(make, FROZEN_MLP, model=model)
    train(make, SLOW_MLP, model=model)


@loses("has `model_init`")
def a_model_that_is_built_again(make: Make, tmp: Path) -> None:
    trainer = make()
    trainer.model_init = lambda: tiny_llama(tiny_tokenizer())
    attach(trainer, SLOW_MLP)


# The optimizer


@loses("already has an optimizer")
def an_optimizer_of_the_users_own(make: Make, tmp: Path) -> None:
    model = make().model
    train(make, model=model, optimizers=(torch.optim.AdamW(model.parameters(), lr=RATE), None))


@loses("something replaced the optimizer after `attach`", PlanNotAppliedError)
def an_optimizer_swapped_before_training(make: Make, tmp: Path) -> None:
    trainer = attach(make(), SLOW_MLP)
    trainer.optimizer = other_optimizer(trainer)
    trainer.train()


@loses("did not step: something replaced it", PlanNotAppliedError)
def an_optimizer_swapped_during_training(make: Make, tmp: Path) -> None:
    trainer = attach(make(), SLOW_MLP)
    trainer.add_callback(
        Edit("on_train_begin", lambda _: setattr(trainer, "optimizer", other_optimizer(trainer)))
    )
    trainer.train()


@loses("GaLore puts the projected matrices into groups of its own")
def galore(make: Make, tmp: Path) -> None:
    attach(make(optim="galore_adamw", optim_target_modules=["q_proj"]), SLOW_MLP)


@loses("APOLLO puts the projected matrices")
def apollo(make: Make, tmp: Path) -> None:
    attach(make(optim="apollo_adamw", optim_target_modules=["q_proj"]), SLOW_MLP)


@loses("LOMO updates the weights inside the backward pass")
def lomo(make: Make, tmp: Path) -> None:
    attach(make(optim="lomo"), SLOW_MLP)


@loses("a layer-wise optimizer has one optimizer per parameter")
def layerwise(make: Make, tmp: Path) -> None:
    trainer = make()
    trainer.args.optim = "some_adamw_layerwise"
    attach(trainer, SLOW_MLP)


@loses("comes with parameter groups of its own")
def groups_with_rates_of_their_own(make: Make, tmp: Path) -> None:
    class LoraPlus(torch.optim.AdamW):
        def __init__(self, groups: Any, **options: Any) -> None:
            super().__init__(groups, **options)
            self.param_groups[0]["lr"] *= 16

    train(make, optimizer_cls_and_kwargs=(LoraPlus, {"lr": RATE}))


@loses("Adafactor sets its rate by itself")
def a_rate_that_the_optimizer_sets_by_itself(make: Make, tmp: Path) -> None:
    options = {"lr": None, "relative_step": True, "scale_parameter": True}
    train(make, optimizer_cls_and_kwargs=(Adafactor, options))


@loses("is not a torch optimizer")
def an_optimizer_without_groups(make: Make, tmp: Path) -> None:
    trainer = make()
    trainer.create_optimizer = lambda model=None: SimpleNamespace(step=lambda: None)
    attach(trainer, SLOW_MLP).train()


@loses("groups were added, dropped or renamed", PlanNotAppliedError)
def a_dropped_group(make: Make, tmp: Path) -> None:
    train(make, SLOW_MLP, Edit("on_step_begin", lambda optimizer: optimizer.param_groups.pop()))


@loses("groups were added, dropped or renamed", PlanNotAppliedError)
def an_added_group(make: Make, tmp: Path) -> None:
    def add(optimizer: Any) -> None:
        optimizer.add_param_group({"params": [("new", torch.nn.Parameter(torch.ones(2)))]})

    train(make, SLOW_MLP, Edit("on_step_begin", add))


@loses("trainable tensors are not in the optimizer", PlanNotAppliedError)
def an_adapter_added_after_the_optimizer(make: Make, tmp: Path) -> None:
    trainer = attach(make(), SLOW_MLP)
    trainer.add_callback(Edit("on_train_begin", lambda _: with_lora(trainer.model)))
    trainer.train()


@loses("whose gradient was turned off after the optimizer was built", PlanNotAppliedError)
def targets_frozen_when_training_begins(make: Make, tmp: Path) -> None:
    trainer = attach(make(), SLOW_MLP)
    mlp = trainer.model.model.layers[0].mlp
    trainer.add_callback(Edit("on_train_begin", lambda _: mlp.requires_grad_(False)))
    trainer.train()


@loses("whose gradient was turned off after the optimizer was built", PlanNotAppliedError)
def targets_frozen_during_training(make: Make, tmp: Path) -> None:
    trainer = attach(make(), SLOW_MLP)
    mlp = trainer.model.model.layers[0].mlp
    trainer.add_callback(Edit("on_step_begin", lambda _: mlp.requires_grad_(False), first=2))
    trainer.train()


@loses(r"x0\.1 has the rate .* none of its 12 tensors had a gradient in 8 steps", PlanNotAppliedError)
def targets_that_take_no_part_in_the_loss(make: Make, tmp: Path) -> None:
    trainer = attach(make(max_steps=9), SLOW_MLP)
    for layer in trainer.model.model.layers:
        layer.mlp.register_forward_hook(lambda module, inputs, output: output.detach())
    trainer.train()


@loses("already has a plan")
def a_second_plan(make: Make, tmp: Path) -> None:
    attach(attach(make(), SLOW_MLP), STILL_MLP)


# Rates and movement


@loses(r"Group x0\.1 has the learning rate", PlanNotAppliedError)
def a_callback_that_changes_a_rate(make: Make, tmp: Path) -> None:
    def even(optimizer: Any) -> None:
        optimizer.param_groups[2]["lr"] = optimizer.param_groups[0]["lr"]

    train(make, SLOW_MLP, Edit("on_step_begin", even, first=2))


@loses("just before the step", PlanNotAppliedError)
def a_callback_that_changes_a_rate_last(make: Make, tmp: Path) -> None:
    def even(optimizer: Any) -> None:
        optimizer.param_groups[2]["lr"] = optimizer.param_groups[0]["lr"]

    train(make, SLOW_MLP, Edit("on_pre_optimizer_step", even))


@loses("the planned rate is not the one in effect", PlanNotAppliedError)
def a_step_that_ignores_the_groups_rates(make: Make, tmp: Path) -> None:
    class OneRate(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            rates = [group["lr"] for group in self.param_groups]
            for group in self.param_groups:
                group["lr"] = rates[0]
            loss = super().step(closure)
            for group, rate in zip(self.param_groups, rates):
                group["lr"] = rate
            return loss

    OneRate.__name__ = "AdamW"
    train(make, optimizer_cls_and_kwargs=(OneRate, {"lr": RATE}))


@loses("although its rate is 0", PlanNotAppliedError)
def weights_that_move_at_rate_zero(make: Make, tmp: Path) -> None:
    trainer = attach(make(), STILL_MLP)
    weight = trainer.model.model.layers[0].mlp.up_proj.weight

    class Push(TrainerCallback):
        def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            weight.data += 1.0

    trainer.add_callback(Push())
    trainer.train()


def with_one_rate(kind: Any) -> Any:
    """The optimizer class with a step that gives every group the highest rate."""

    class OneRate(kind):  # type: ignore[misc]
        def step(self, closure: Any = None) -> Any:
            rates = [group["lr"] for group in self.param_groups]
            for group in self.param_groups:
                group["lr"] = max(rates)
            loss = super().step(closure)
            for group, rate in zip(self.param_groups, rates):
                group["lr"] = rate
            return loss

    return OneRate


def that_holds(kind: Any, name: str) -> Any:
    """The optimizer class with a step that leaves one group where it was."""

    class Holds(kind):  # type: ignore[misc]
        def step(self, closure: Any = None) -> Any:
            held = [p for group in self.param_groups if group["group_name"] == name for p in group["params"]]
            old = [parameter.detach().clone() for parameter in held]
            loss = super().step(closure)
            with torch.no_grad():
                for parameter, value in zip(held, old):
                    parameter.copy_(value)
            return loss

    return Holds


ADAFACTOR = {"lr": RATE, "scale_parameter": False, "relative_step": False}


@loses("the planned rate is not the one in effect", PlanNotAppliedError)
def an_adamw_of_another_name_with_one_rate(make: Make, tmp: Path) -> None:
    train(make, optimizer_cls_and_kwargs=(with_one_rate(torch.optim.AdamW), {"lr": RATE}))


@loses("the planned rate is not the one in effect", PlanNotAppliedError)
def an_adamw_of_another_name_that_holds_a_group(make: Make, tmp: Path) -> None:
    train(make, optimizer_cls_and_kwargs=(that_holds(torch.optim.AdamW, "x0.1"), {"lr": RATE}))


@loses("the planned rate is not the one in effect", PlanNotAppliedError)
def sgd_with_one_rate(make: Make, tmp: Path) -> None:
    train(make, optimizer_cls_and_kwargs=(with_one_rate(torch.optim.SGD), {"lr": RATE}))


@loses("the planned rate is not the one in effect", PlanNotAppliedError)
def sgd_with_momentum_and_one_rate(make: Make, tmp: Path) -> None:
    options = {"lr": RATE, "momentum": 0.9}
    train(make, optimizer_cls_and_kwargs=(with_one_rate(torch.optim.SGD), options))


@loses("x0.1 moved .* times as far for its rate as group x1", PlanNotAppliedError)
def adafactor_with_one_rate(make: Make, tmp: Path) -> None:
    train(make, optimizer_cls_and_kwargs=(with_one_rate(Adafactor), ADAFACTOR))


@loses("did not move", PlanNotAppliedError)
def adafactor_that_holds_a_group(make: Make, tmp: Path) -> None:
    train(make, optimizer_cls_and_kwargs=(that_holds(Adafactor, "x0.1"), ADAFACTOR))


@loses("did not move", PlanNotAppliedError)
def an_unknown_optimizer_that_does_not_move(make: Make, tmp: Path) -> None:
    class Idle(torch.optim.RMSprop):
        def step(self, closure: Any = None) -> Any:
            return None

    train(make, optimizer_cls_and_kwargs=(Idle, {"lr": 0.1}))


@loses("expected is at most", PlanNotAppliedError)
def an_unknown_optimizer_that_moves_too_far(make: Make, tmp: Path) -> None:
    class Far(torch.optim.RMSprop):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                group["lr"] *= 1000
            loss = super().step(closure)
            for group in self.param_groups:
                group["lr"] /= 1000
            return loss

    plan = TuningPlan.from_multipliers({"mlp": 1.0})
    train(make, plan, optimizer_cls_and_kwargs=(Far, {"lr": 2.0**-10}), learning_rate=2.0**-10)


@loses("although its rate is 0", PlanNotAppliedError)
def weights_that_move_at_rate_zero_between_verified_steps(make: Make, tmp: Path) -> None:
    trainer = attach(make(), STILL_MLP)
    weight = trainer.model.model.layers[0].mlp.up_proj.weight
    trainer.add_callback(Edit("on_pre_optimizer_step", lambda _: weight.data.add_(1.0), first=2))
    trainer.train()


@loses("although its rate is 0", PlanNotAppliedError)
def weights_that_move_at_rate_zero_before_their_phase(make: Make, tmp: Path) -> None:
    trainer = attach(make(), swat(0.75))
    weight = trainer.model.model.layers[0].mlp.up_proj.weight
    trainer.add_callback(Edit("on_pre_optimizer_step", lambda _: weight.data.add_(1.0), first=1))
    trainer.train()


def half_precision(make: Make, kind: Any) -> None:
    """Train norms not at all, the MLP at x0.3 with bfloat16 weights and an ordinary rate."""
    model = tiny_llama(make.tokenizer).to(torch.bfloat16)
    model.model.norm.requires_grad_(False)
    plan = TuningPlan.from_multipliers({"mlp": 0.3, "*layernorm": 0.0})
    train(make, plan, model=model, optimizer_cls_and_kwargs=(kind, {"lr": 1e-4}), learning_rate=1e-4)


@loses("the planned rate is not the one in effect", PlanNotAppliedError)
def bfloat16_weights_of_which_a_group_does_not_move(make: Make, tmp: Path) -> None:
    half_precision(make, that_holds(torch.optim.AdamW, "x0.3"))


@loses("the planned rate is not the one in effect", PlanNotAppliedError)
def bfloat16_weights_with_one_rate(make: Make, tmp: Path) -> None:
    half_precision(make, with_one_rate(torch.optim.AdamW))


@loses(r"rounded away in torch\.bfloat16", PlanNotAppliedError)
def steps_below_the_precision_of_the_weights(make: Make, tmp: Path) -> None:
    model = tiny_llama(make.tokenizer).to(torch.bfloat16)
    plan = TuningPlan.from_multipliers({"mlp": 0.01, "*layernorm": 0.0}, outside=0.0)
    train(make, plan, model=model, learning_rate=1e-4)


@loses(r"rounded away in torch\.bfloat16", PlanNotAppliedError)
def steps_of_an_unknown_optimizer_below_the_precision(make: Make, tmp: Path) -> None:
    model = tiny_llama(make.tokenizer).to(torch.bfloat16)
    plan = TuningPlan.from_multipliers({"mlp": 1.0}, outside=0.0)
    train(make, plan, model=model, optim="sgd", learning_rate=1e-7, weight_decay=0.0)


@loses("the plan was never applied", PlanNotAppliedError)
def a_run_that_never_leaves_the_warm_up(make: Make, tmp: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = True

    train(make, SLOW_MLP, Stop(), warmup_steps=3, lr_scheduler_type="constant_with_warmup")


# Schedules


@loses(r"x0\.1 has the learning rate 0\.001.*ConstantLR", PlanNotAppliedError)
def a_scheduler_that_flattens_the_rates(make: Make, tmp: Path) -> None:
    trainer = attach(make(), SLOW_MLP)

    def create(num_training_steps: int, optimizer: Any = None) -> Any:
        for group in trainer.optimizer.param_groups:
            group["lr"] = group["initial_lr"] = RATE
        trainer.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(trainer.optimizer, 1.0)
        return trainer.lr_scheduler

    trainer.create_scheduler = create
    trainer.train()


@loses("above the base learning rate", PlanNotAppliedError)
def a_scheduler_that_raises_the_rates(make: Make, tmp: Path) -> None:
    trainer = attach(make(), SLOW_MLP)

    def create(num_training_steps: int, optimizer: Any = None) -> Any:
        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: 2.0)
        return trainer.lr_scheduler

    trainer.create_scheduler = create
    trainer.train()


@loses("ReduceLROnPlateau cannot carry it")
def phases_on_a_schedule_that_cannot_carry_them(make: Make, tmp: Path) -> None:
    trainer = make()
    trainer.args.lr_scheduler_type = "reduce_lr_on_plateau"
    attach(trainer, swat(0.5)).train()


@loses("already has a scheduler")
def phases_on_a_scheduler_of_the_users_own(make: Make, tmp: Path) -> None:
    trainer = make()
    trainer.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(other_optimizer(trainer))
    attach(trainer, swat(0.5))


@loses("the plan says 0 x", PlanNotAppliedError)
def phases_that_the_scheduler_was_never_given(make: Make, tmp: Path) -> None:
    trainer = attach(make(), swat(0.5))

    def create(num_training_steps: int, optimizer: Any = None) -> Any:
        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: 1.0)
        trainer.securetune_guard.expect_schedule(num_training_steps)
        return trainer.lr_scheduler

    trainer.create_scheduler = create
    trainer.train()


# Distribution


@loses(r"has \['optimizer'\]: DeepSpeed would build them itself")
def a_deepspeed_optimizer(make: Make, tmp: Path) -> None:
    trainer = make()
    config = SimpleNamespace(config={"optimizer": {"type": "AdamW"}})
    trainer.args.deepspeed, trainer.args.hf_deepspeed_config = "ds.json", config
    attach(trainer, SLOW_MLP)


@loses(r"has \['scheduler'\]")
def a_deepspeed_scheduler_in_a_file(make: Make, tmp: Path) -> None:
    (tmp / "ds.json").write_text(json.dumps({"scheduler": {"type": "WarmupLR"}}))
    check_deepspeed(str(tmp / "ds.json"))


@loses(r"has \['optimizer'\]")
def a_deepspeed_plugin_of_accelerate(make: Make, tmp: Path) -> None:
    trainer = make()
    plugin = SimpleNamespace(deepspeed_config={"optimizer": {"type": "AdamW"}})
    trainer.accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin))
    attach(trainer, SLOW_MLP)


@loses("use_orig_params=false: FSDP1 then flattens")
def fsdp1_with_flat_parameters(make: Make, tmp: Path) -> None:
    trainer = make()
    trainer.args.fsdp, trainer.args.fsdp_config = "full_shard", {"version": 1, "use_orig_params": "false"}
    attach(trainer, SLOW_MLP)


# Resuming

SAVING = {"save_strategy": "steps", "save_steps": 2}


def resume(
    make: Make, first: TuningPlan | None, second: TuningPlan, *, save_only_model: bool = False, **changes: Any
) -> None:
    trainer = make(**SAVING, save_only_model=save_only_model)
    if first is not None:
        attach(trainer, first)
    trainer.train()
    trainer = attach(make(**SAVING, **changes), second)
    trainer.train(resume_from_checkpoint=str(make.output / "checkpoint-2"))


@loses("written under another plan")
def a_checkpoint_without_a_plan(make: Make, tmp: Path) -> None:
    resume(make, None, SLOW_MLP)


@loses("written under another plan")
def a_checkpoint_of_another_multiplier(make: Make, tmp: Path) -> None:
    resume(make, SLOW_MLP, TuningPlan.from_multipliers({"mlp": 0.2}))


@loses("members or phases differ")
def a_checkpoint_with_as_many_other_members(make: Make, tmp: Path) -> None:
    resume(make, TuningPlan.from_multipliers({"q_proj": 0.1}), TuningPlan.from_multipliers({"o_proj": 0.1}))


@loses("members or phases differ")
def a_checkpoint_with_another_phase_change(make: Make, tmp: Path) -> None:
    resume(make, swat(0.5), swat(0.75))


@loses("the old rate would win in silence")
def a_checkpoint_with_another_base_rate(make: Make, tmp: Path) -> None:
    resume(make, SLOW_MLP, SLOW_MLP, learning_rate=2 * RATE)


@loses("written under another plan")
def a_checkpoint_of_another_plan_without_the_optimizers_state(make: Make, tmp: Path) -> None:
    resume(make, SLOW_MLP, STILL_MLP, save_only_model=True)


@loses("has no state of the optimizer and the scheduler")
def a_checkpoint_without_the_optimizers_state(make: Make, tmp: Path) -> None:
    resume(make, swat(0.5), swat(0.5), save_only_model=True)


@loses("has no state of the optimizer and the scheduler")
def a_checkpoint_without_the_schedulers_state(make: Make, tmp: Path) -> None:
    attach(make(**SAVING), SLOW_MLP).train()
    (make.output / "checkpoint-2" / "scheduler.pt").unlink()
    trainer = attach(make(**SAVING), SLOW_MLP)
    trainer.train(resume_from_checkpoint=str(make.output / "checkpoint-2"))


@loses(r"another plan \(\w{16}, this one is")
def a_deepspeed_checkpoint_of_another_plan(make: Make, tmp: Path) -> None:
    attach(make(**SAVING), SLOW_MLP).train()
    check_checkpoint(make.output / "checkpoint-2", SLOW_MLP, RATE, is_deepspeed=True)
    check_checkpoint(make.output / "checkpoint-2", STILL_MLP, RATE, is_deepspeed=True)


@loses(r"end with the steps \[2, 4\], this run's with \[6, 12\]")
def a_checkpoint_of_a_run_of_another_length(make: Make, tmp: Path) -> None:
    resume(make, SLOW_MLP, SLOW_MLP, max_steps=12)  # Without phases it may go on longer.
    resume(make, swat(0.5), swat(0.5), max_steps=12)


@loses("the old rate would win in silence")
def a_loop_that_resumes_with_another_rate(make: Make, tmp: Path) -> None:
    model = make().model

    def planned(rate: float) -> Any:
        groups = build_param_groups(model, SLOW_MLP, lr=rate)
        return verify_steps(torch.optim.AdamW(groups, lr=rate), SLOW_MLP, lr=rate, model=model)

    planned(RATE).load_state_dict(planned(RATE).state_dict())
    planned(2 * RATE).load_state_dict(planned(RATE).state_dict())


@loses("a checkpoint of another plan was loaded", PlanNotAppliedError)
def a_checkpoint_that_is_loaded_past_the_hook(make: Make, tmp: Path) -> None:
    one, two = (TuningPlan.from_multipliers({name: 0.1}) for name in ("q_proj", "o_proj"))
    attach(make(**SAVING), one).train()
    trainer = attach(make(**SAVING), two)
    original = trainer.create_optimizer

    def without_hook(model: Any = None) -> Any:
        optimizer = original()
        optimizer._optimizer_load_state_dict_pre_hooks.clear()
        return optimizer

    trainer.create_optimizer = without_hook
    trainer.train(resume_from_checkpoint=str(make.output / "checkpoint-2"))


# Without a Trainer


@loses("has 2 phases, which the scheduler must carry")
def phases_in_an_optimizer_factory(make: Make, tmp: Path) -> None:
    trainer = make()
    PlanOptimizer()(trainer.model, trainer.args, plan=swat(0.5))


@loses("needs the training arguments")
def an_optimizer_factory_without_arguments(make: Make, tmp: Path) -> None:
    PlanOptimizer()(make().model, plan=SLOW_MLP)


@loses("do not come from a plan")
def a_loop_with_groups_of_its_own(make: Make, tmp: Path) -> None:
    verify_steps(other_optimizer(make()), SLOW_MLP, lr=RATE)


@loses("carried by the scheduler")
def a_loop_that_forgets_the_phases(make: Make, tmp: Path) -> None:
    optimizer = torch.optim.AdamW(build_param_groups(make().model, swat(0.5), lr=RATE), lr=RATE)
    verify_steps(optimizer, swat(0.5), lr=RATE)


@loses("does not hold the plan's groups")
def a_loop_whose_scheduler_has_another_optimizer(make: Make, tmp: Path) -> None:
    scheduler = torch.optim.lr_scheduler.LambdaLR(other_optimizer(make()), lambda step: 1.0)
    add_phases_(scheduler, swat(0.5), 4)


@loses(r"Group x0\.1 has the learning rate", PlanNotAppliedError)
def a_loop_that_sets_one_rate(make: Make, tmp: Path) -> None:
    model = make().model
    optimizer = torch.optim.AdamW(build_param_groups(model, SLOW_MLP, lr=RATE), lr=RATE)
    verify_steps(optimizer, SLOW_MLP, lr=RATE, model=model)
    for group in optimizer.param_groups:
        group["lr"] = RATE
    model(
        input_ids=torch.ones(1, 4, dtype=torch.long), labels=torch.ones(1, 4, dtype=torch.long)
    ).loss.backward()
    optimizer.step()


@loses("made no step at a positive learning rate", PlanNotAppliedError)
def an_optimizer_factory_whose_optimizer_is_swapped(make: Make, tmp: Path) -> None:
    trainer = make()
    planned = PlanOptimizer()(trainer.model, trainer.args, plan=SLOW_MLP)
    trainer.optimizer = planned
    swap = Edit("on_train_begin", lambda _: setattr(trainer, "optimizer", other_optimizer(trainer)))
    trainer.add_callback(swap)
    trainer.train()
    securetune.finish(planned)


@loses("made no step at a positive learning rate", PlanNotAppliedError)
def a_loop_that_steps_another_optimizer(make: Make, tmp: Path) -> None:
    model = make().model
    groups = build_param_groups(model, SLOW_MLP, lr=RATE)
    planned = verify_steps(torch.optim.AdamW(groups, lr=RATE), SLOW_MLP, lr=RATE)
    torch.optim.SGD(model.parameters(), lr=RATE).step()
    finish(planned)


@pytest.mark.parametrize("name", CASES)
def test_a_plan_that_would_be_lost_is_an_error_that_names_the_cause(
    name: str, make: Make, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    case, error, message = CASES[name]
    with pytest.raises(error, match=message):
        case(make, tmp_path)


def test_at_least_25_distinct_ways_are_covered() -> None:
    assert len(CASES) >= 25


def test_the_same_settings_without_the_cause_train(make: Make) -> None:
    """The positive control: what every case varies is no error by itself."""
    assert train(make).securetune_guard.verified
    assert train(make, swat(0.5)).securetune_guard.verified
    three = TuningPlan((Phase("a", 0.5, {"mlp": 0.1}, 1.0), Phase("b", 1.0, {}, 1.0)))
    resume(make, three, three)
    half_precision(make, torch.optim.AdamW)
    for kind, options in ((torch.optim.SGD, {"lr": RATE, "momentum": 0.9}), (Adafactor, ADAFACTOR)):
        assert train(make, optimizer_cls_and_kwargs=(kind, options)).securetune_guard.verified
