"""Plans in real trainers: a tiny Llama, `transformers.Trainer` and TRL's `SFTTrainer`."""

from __future__ import annotations

from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    TrainerCallback,
)

from securetune.errors import PlanError, PlanNotAppliedError, TrainingError
from securetune.models.fingerprint import fingerprint
from securetune.plan import Phase, TuningPlan
from securetune.training.attach import attach, describe_match, freeze_unmoved
from securetune.training.param_groups import match_plan
from tiny import tiny_llama, tiny_tokenizer
from tiny_trainers import (
    FROZEN_MLP,
    ONES,
    RATE,
    SLOW_MLP,
    STILL_MLP,
    Edit,
    Weights,
    assert_same,
    mlp,
    swat,
    trained,
    unmoved,
    weights,
    with_lora,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
    # Adafactor of transformers calls an old signature of `add_`.
    pytest.mark.filterwarnings("ignore:This overload of add_ is deprecated"),
]

# Laws


@pytest.mark.parametrize("kind", ["trainer", "sft"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_plan_of_ones_is_the_unplanned_run_bit_for_bit(kind: str, lora: bool, make: Any) -> None:
    plain = trained(make(kind, lora))
    assert_same(trained(make(kind, lora), ONES), plain)
    # Control: another plan is another run.
    other = trained(make(kind, lora), SLOW_MLP)
    assert mlp(unmoved(plain, other)) < mlp(plain)


@pytest.mark.parametrize("kind", ["trainer", "sft"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_multiplier_zero_leaves_every_byte_and_everything_else_moves(
    kind: str, lora: bool, make: Any
) -> None:
    trainer = make(kind, lora)
    before = weights(trainer)
    after = trained(trainer, STILL_MLP)
    moved = before.keys() - unmoved(before, after)
    assert not mlp(moved)
    assert moved == {n for n, p in trainer.model.named_parameters() if p.requires_grad and ".mlp." not in n}


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_freezing_turns_gradients_off_and_leaves_every_byte(lora: bool, make: Any) -> None:
    trainer = make(lora=lora)
    before = weights(trainer)
    after = trained(trainer, FROZEN_MLP)
    assert mlp(before) <= unmoved(before, after)
    assert not any(p.requires_grad for n, p in trainer.model.named_parameters() if ".mlp." in n)
    groups = [group["group_name"] for group in trainer.optimizer.param_groups]
    assert groups == (["x1"] if lora else ["x1", "x1/no-decay"])


def test_a_plan_that_does_not_fit_changes_no_gradient_flag(make: Any) -> None:
    trainer = make()
    plan = TuningPlan.from_multipliers({"mlp": 0.0}, outside=0.0, freeze=True)
    with pytest.raises(PlanError, match="nothing would be trained"):
        attach(trainer, plan)
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())


def test_freezing_counts_tensors_once(make: Any) -> None:
    model = make().model
    assert freeze_unmoved(model, FROZEN_MLP) == 12
    assert freeze_unmoved(model, FROZEN_MLP) == 0
    assert freeze_unmoved(model, ONES) == 0


def test_movement_is_proportional_to_the_multiplier(make: Any) -> None:
    before = weights(make())
    steps = {
        multiplier: trained(
            make(max_steps=1, weight_decay=0.0), TuningPlan.from_multipliers({"mlp": multiplier})
        )
        for multiplier in (1.0, 0.01)
    }
    for name in mlp(before):
        fast, slow = (float((steps[m][name] - before[name]).norm()) for m in (1.0, 0.01))
        assert slow == pytest.approx(0.01 * fast, rel=1e-2)
    rest = before.keys() - mlp(before)
    assert_same({n: steps[1.0][n] for n in rest}, {n: steps[0.01][n] for n in rest})


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_sensitive_group_moves_from_the_phase_change_on(lora: bool, make: Any) -> None:
    seen: list[Weights] = []
    trainer = make(lora=lora, max_steps=6, warmup_steps=1, weight_decay=0.0)
    watch = Edit("on_step_end", lambda _: seen.append(weights(trainer)))
    attach(trainer, swat(0.5))
    trainer.add_callback(watch)
    start = weights(trainer)
    trainer.train()
    trainable = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    robust = {name for name in trainable if ".self_attn." in name}
    sensitive = trainable - robust
    assert not {name for name in robust if torch.equal(start[name], seen[2][name])}
    for state in seen[:3]:
        assert sensitive <= unmoved(start, state)
    # With LoRA, A follows B by one step.
    moved = sensitive - unmoved(start, seen[3])
    assert moved == ({name for name in sensitive if "lora_A" not in name} if lora else sensitive)
    assert not sensitive & unmoved(start, seen[4])
    assert [entry["phase"] for entry in trainer.securetune_guard.verified] == ["robust", "all"]
    assert [entry["step"] for entry in trainer.securetune_guard.verified] == [2, 4]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant_with_warmup", "polynomial"])
def test_an_empty_warm_up_is_the_unplanned_run(schedule: str, make: Any) -> None:
    options = {"lr_scheduler_type": schedule, "warmup_steps": 1}
    plain = trained(make(**options))
    empty = trained(make(**options), swat(1e-6))
    for name in plain:
        assert torch.allclose(plain[name], empty[name], rtol=0, atol=1e-7)
    # Control: a warm-up that is not empty is another run.
    other = trained(make(**options), swat(0.5))
    assert mlp(unmoved(plain, other)) == set()


def test_several_phases_with_ratios_are_in_the_log_step_by_step(make: Any) -> None:
    plan = TuningPlan(
        (Phase("a", 0.25, {"mlp": 0.5}, 1.0), Phase("b", 0.75, {"mlp": 0.1}, 0.2), Phase("c", 1.0, {}, 0.0))
    )
    with pytest.raises(PlanError, match="multiplier 0"):
        attach(make(), TuningPlan.from_multipliers({}, 0.0))
    trainer = make(max_steps=8, lr_scheduler_type="constant")
    trained(trainer, plan)
    rates = [
        (entry["lr/x1-x0.2-x0"], entry["lr/x0.5-x0.1-x0"])
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    expected = [(1.0, 0.5)] * 2 + [(0.2, 0.1)] * 4 + [(0.0, 0.0)] * 2
    assert rates == [tuple(pytest.approx(RATE * factor) for factor in pair) for pair in expected]


@pytest.mark.parametrize("kind", ["trainer", "sft"])
def test_the_rate_of_every_group_is_logged_and_is_the_one_of_that_step(kind: str, make: Any) -> None:
    trainer = make(kind, warmup_steps=2)
    trained(trainer, SLOW_MLP)
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["learning_rate"] for entry in entries] == pytest.approx([0, RATE / 2, RATE, RATE / 2])
    for entry in entries:
        assert entry["lr/x1"] == entry["lr/x1/no-decay"] == entry["learning_rate"]
        assert entry["lr/x0.1"] == pytest.approx(0.1 * entry["learning_rate"])
    assert all(key.startswith("lr/") is False for key in trainer.state.log_history[-1])


def test_the_guard_keeps_what_it_verified(make: Any) -> None:
    trainer = make(warmup_steps=2)
    trained(trainer, SLOW_MLP)
    (entry,) = trainer.securetune_guard.verified
    assert (entry["step"], entry["phase"]) == (2, "all")
    assert entry["groups"].keys() == {"x1", "x1/no-decay", "x0.1"}
    slow = entry["groups"]["x0.1"]
    assert slow["rate"] == pytest.approx(0.1 * RATE / 2)
    assert slow["tensors"] == slow["moved"] == 12
    assert slow["rms_movement"] == pytest.approx(0.1 * RATE / 2, rel=0.5)
    receipt = trainer.securetune_guard.receipt()
    assert (receipt["plan"], receipt["verified"]) == (SLOW_MLP.fingerprint, [entry])


def test_the_match_report_is_readable(make: Any) -> None:
    plan = TuningPlan.from_multipliers({"mlp": 0.1})
    lines = describe_match(match_plan(make().model, plan))
    assert lines[0] == "12 addresses matched by patterns, 39 trainable tensors"
    assert lines[1:] == ["  x1: 27 tensors, 98,880 parameters", "  x0.1: 12 tensors, 98,304 parameters"]


def test_the_match_report_is_logged_before_training(make: Any, caplog: Any) -> None:
    with caplog.at_level("INFO", logger="securetune"):
        trainer = attach(make(), SLOW_MLP)
    assert "\n".join(describe_match(trainer.securetune_match)) in caplog.text


# What must not disturb the check


@pytest.mark.parametrize(
    "options",
    [
        {"optim": "adamw_torch"},
        {"optim": "adamw_torch_fused"},
        {"optim": "adamw_torch", "weight_decay": 0.5, "learning_rate": 0.1},
        {"optim": "adamw_torch", "optim_args": "amsgrad=True"},
        {"optim": "sgd", "learning_rate": 0.1},
        {"optim": "sgd", "optim_args": "momentum=0.9"},
        {"optim": "adafactor"},
        {"optim": "adagrad"},
        {"optim": "rmsprop"},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "max_steps": 6},
        {"max_grad_norm": 1e-3},
        {"max_grad_norm": 0.0},
        {"bf16": True},
        {"adam_beta1": 0.0, "adam_beta2": 0.5, "adam_epsilon": 1e-3},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-4}},
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1e-9}},
        {"lr_scheduler_type": "inverse_sqrt", "warmup_steps": 2},
        {"gradient_checkpointing": True},
    ],
    ids=str,
)
def test_the_check_passes_with_optimizers_and_settings_of_all_kinds(
    options: dict[str, Any], make: Any
) -> None:
    trainer = make(**options)
    plan = TuningPlan.from_multipliers({"mlp": 0.1, "q_proj": 0.0})
    before = weights(trainer)
    after = trained(trainer, plan)
    (entry,) = trainer.securetune_guard.verified
    assert entry["step"] == (2 if options.get("warmup_steps") else 1)
    assert {name for name in unmoved(before, after) if "q_proj" in name} == {
        n for n in before if "q_proj" in n
    }
    assert entry["groups"]["x0.1"]["moved"] == 12


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW"])
@pytest.mark.parametrize(
    "settings",
    [
        {"foreach": True},
        {"foreach": False},
        {"fused": True},
        {"amsgrad": True},
        {"maximize": True},
        {"weight_decay": 20.0},
    ],
    ids=str,
)
def test_the_step_that_adam_implies_is_known_in_all_its_forms(
    optimizer: str, settings: dict[str, Any], make: Any
) -> None:
    # The trainer gives its own weight decay to every group.
    trainer = make(learning_rate=0.05, weight_decay=settings.get("weight_decay", 0.1))
    options = {"lr": 0.05, "eps": 1e-4, "betas": (0.5, 0.3), **settings}
    trainer.optimizer_cls_and_kwargs = (getattr(torch.optim, optimizer), options)
    trained(trainer, swat(0.5))
    assert [entry["step"] for entry in trainer.securetune_guard.verified] == [1, 3]


@pytest.mark.parametrize("options", [{"weight_decay": 0.5}, {"optim": "adamw_torch_fused"}, {"bf16": True}])
@pytest.mark.parametrize("factor", [0.9, 1.1, 0.0])
def test_the_check_is_not_blind_to_a_step_of_another_length(
    options: dict[str, Any], factor: float, make: Any
) -> None:
    trainer = attach(make(**options), SLOW_MLP)
    original = trainer.create_optimizer

    def create(model: Any = None) -> Any:
        optimizer = original() if model is None else original(model)
        step = optimizer.step

        def scaled_step(_self: Any, closure: Any = None) -> Any:
            slow = next(group for group in optimizer.param_groups if group["group_name"] == "x0.1")
            old = [parameter.detach().clone() for parameter in slow["params"]]
            result = step(closure)
            with torch.no_grad():
                for parameter, before in zip(slow["params"], old):
                    parameter.copy_(before + factor * (parameter - before))
            return result

        optimizer.step = MethodType(scaled_step, optimizer)
        return optimizer

    trainer.create_optimizer = create
    with pytest.raises(PlanNotAppliedError, match=r"mlp.*the planned rate is not the one in effect"):
        trainer.train()


def test_a_second_training_of_the_same_trainer_is_verified_again(make: Any) -> None:
    trainer = attach(make(), swat(0.5))
    trainer.train()
    trainer.train()
    assert [entry["step"] for entry in trainer.securetune_guard.verified] == [1, 3, 1, 3]


def test_a_scheduler_that_was_built_before_training_does_not_apply_phases_twice(make: Any) -> None:
    plan = TuningPlan((Phase("a", 0.5, {"mlp": 0.1}, 1.0), Phase("b", 1.0, {"mlp": 0.5}, 1.0)))
    trainer = attach(make(lr_scheduler_type="constant"), plan)
    trainer.create_optimizer_and_scheduler(4)
    trainer.create_scheduler(4)
    slow = [group["group_name"] for group in trainer.optimizer.param_groups].index("x0.1-x0.5")
    assert [trainer.lr_scheduler.lr_lambdas[slow](step) for step in range(4)] == [0.1, 0.1, 0.5, 0.5]
    trainer.train()
    rates = [entry["lr/x0.1-x0.5"] for entry in trainer.state.log_history if "loss" in entry]
    assert rates == pytest.approx([0.1 * RATE] * 2 + [0.5 * RATE] * 2)


# What the guard stops


def scaled(factor: float, index: int | None = None) -> Any:
    def edit(optimizer: Any) -> None:
        groups = optimizer.param_groups if index is None else [optimizer.param_groups[index]]
        for group in groups:
            group["lr"] *= factor

    return edit


@pytest.mark.parametrize("event", ["on_train_begin", "on_step_begin", "on_pre_optimizer_step"])
@pytest.mark.parametrize("index", [0, 2, None])
def test_a_callback_that_changes_a_rate_is_stopped(event: str, index: int | None, make: Any) -> None:
    harmless = make()
    attach(harmless, SLOW_MLP).add_callback(Edit(event, scaled(1.0, index)))
    harmless.train()
    trainer = make()
    before = weights(trainer)
    attach(trainer, SLOW_MLP).add_callback(Edit(event, scaled(0.5, index)))
    with pytest.raises(PlanNotAppliedError, match="learning rate"):
        trainer.train()
    if event != "on_pre_optimizer_step":
        assert unmoved(before, weights(trainer)) == before.keys()


def test_a_callback_that_changes_a_rate_late_is_stopped(make: Any) -> None:
    trainer = make()
    attach(trainer, SLOW_MLP).add_callback(Edit("on_step_begin", scaled(10.0, 2), first=3))
    with pytest.raises(PlanNotAppliedError, match=r"Group x0\.1 has the learning rate"):
        trainer.train()
    assert trainer.state.global_step == 3


def test_a_callback_that_changes_a_rate_for_the_step_alone_is_stopped(make: Any) -> None:
    trainer = make()
    steps: list[float] = []
    attach(trainer, SLOW_MLP)
    original = trainer.create_optimizer

    def create(model: Any = None) -> Any:
        optimizer = original() if model is None else original(model)
        step = optimizer.step

        def sly_step(_self: Any, closure: Any = None) -> Any:
            rates = [group["lr"] for group in optimizer.param_groups]
            scaled(2.0)(optimizer)
            result = step(closure)
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = rate
            steps.extend(rates)
            return result

        optimizer.step = MethodType(sly_step, optimizer)
        return optimizer

    trainer.create_optimizer = create
    with pytest.raises(PlanNotAppliedError, match="the planned rate is not the one in effect"):
        trainer.train()
    assert steps


def test_a_scheduler_that_flattens_the_rates_is_stopped(make: Any) -> None:
    trainer = attach(make(), SLOW_MLP)

    def create_scheduler(num_training_steps: int, optimizer: Any = None) -> Any:
        for group in trainer.optimizer.param_groups:
            group["lr"] = group["initial_lr"] = RATE
        trainer.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(trainer.optimizer, 1.0)
        return trainer.lr_scheduler

    trainer.create_scheduler = create_scheduler
    with pytest.raises(PlanNotAppliedError, match=r"x0\.1 has the learning rate 0\.001.*ConstantLR"):
        trainer.train()


def test_a_rate_above_the_base_rate_is_stopped(make: Any) -> None:
    trainer = attach(make(), SLOW_MLP)

    def create_scheduler(num_training_steps: int, optimizer: Any = None) -> Any:
        double = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: 2.0)
        trainer.lr_scheduler = double
        return double

    trainer.create_scheduler = create_scheduler
    with pytest.raises(PlanNotAppliedError, match=r"above the base learning rate"):
        trainer.train()


def test_an_optimizer_that_was_swapped_after_attach_is_stopped(make: Any) -> None:
    trainer = attach(make(), SLOW_MLP)
    trainer.optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=RATE)
    with pytest.raises(PlanNotAppliedError, match="something replaced the optimizer after `attach`"):
        trainer.train()
    late = attach(make(), SLOW_MLP)

    def swap(_: Any) -> None:
        late.optimizer = torch.optim.AdamW(late.model.parameters(), lr=RATE)

    late.add_callback(Edit("on_train_begin", swap))
    with pytest.raises(PlanNotAppliedError, match="did not step: something replaced it"):
        late.train()


def test_an_adapter_that_is_added_before_training_follows_the_plan(make: Any) -> None:
    trainer = make()
    attach(trainer, STILL_MLP)
    with_lora(trainer.model)
    before = weights(trainer)
    trainer.train()
    moved = before.keys() - unmoved(before, weights(trainer))
    assert moved
    assert all("lora_" in name and ".mlp." not in name for name in moved)


def test_an_adapter_that_is_added_before_training_is_frozen_by_the_plan(make: Any) -> None:
    trainer = attach(make(), FROZEN_MLP)
    with_lora(trainer.model)
    trainer.train()
    trained_names = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert trained_names
    assert not mlp(trained_names)


def test_weights_that_are_added_after_the_optimizer_are_stopped(make: Any) -> None:
    trainer = attach(make(), SLOW_MLP)
    trainer.add_callback(Edit("on_train_begin", lambda _: with_lora(trainer.model)))
    with pytest.raises(PlanNotAppliedError, match=r"56 trainable tensors are not in the optimizer"):
        trainer.train()


def half(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return tiny_llama(tokenizer).to(torch.bfloat16)


def test_steps_that_bfloat16_rounds_away_are_explained(make: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    norms_apart = TuningPlan.from_multipliers({"*layernorm": 0.0, "mlp": 0.01})
    trainer = attach(make(model=half(tokenizer), learning_rate=1e-4), norms_apart)
    freeze_unmoved(trainer.model, TuningPlan.from_multipliers({"*layernorm": 0.0, "*": 1.0}, outside=0.0))
    with pytest.raises(
        PlanNotAppliedError, match=r"mlp.* rounded away in torch\.bfloat16\. Keep the trained"
    ):
        trainer.train()
    # Controls: a rate that bfloat16 can hold; and the same plan with weights that can hold it.
    model = half(tokenizer)
    model.model.norm.requires_grad_(False)
    enough = TuningPlan.from_multipliers({"*layernorm": 0.0, "mlp": 0.5})
    trained(make(model=model, learning_rate=1e-2), enough)
    trained(make(learning_rate=1e-4), norms_apart)


def test_an_adapter_on_a_half_precision_model_stays_in_float32(
    make: Any, tokenizer: PreTrainedTokenizerFast
) -> None:
    trainer = make("sft", lora=True, model=half(tokenizer))
    trained(trainer, TuningPlan.from_multipliers({"mlp": 1e-3}))
    assert len(trainer.securetune_guard.verified) == 1


def test_weights_that_are_no_numbers_any_more_are_stopped(make: Any) -> None:
    trainer = make(max_grad_norm=0.0)

    def spoil(_: Any) -> None:
        next(trainer.model.parameters()).grad.fill_(float("nan"))

    trainer.add_callback(Edit("on_pre_optimizer_step", spoil))
    with pytest.raises(TrainingError, match="not finite after a step"):
        trained(trainer, SLOW_MLP)


def test_a_run_without_one_step_at_a_positive_rate_is_stopped(make: Any) -> None:
    trainer = attach(make(max_steps=3, warmup_steps=3, lr_scheduler_type="constant_with_warmup"), SLOW_MLP)

    def stop(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = True

    callback = TrainerCallback()
    callback.on_step_end = stop  # type: ignore[method-assign]
    trainer.add_callback(callback)
    with pytest.raises(PlanNotAppliedError, match="the plan was never applied"):
        trainer.train()


def test_an_exception_in_training_is_not_masked(make: Any) -> None:
    def fail(_: Any) -> None:
        raise KeyError("the user's own")

    trainer = attach(make(), SLOW_MLP)
    trainer.add_callback(Edit("on_step_begin", fail))
    with pytest.raises(KeyError, match="the user's own"):
        trainer.train()


# What attach refuses


def test_a_trainer_that_already_has_an_optimizer_is_refused(make: Any) -> None:
    trainer = make()
    trainer.create_optimizer()
    with pytest.raises(PlanError, match="already has an optimizer"):
        attach(trainer, SLOW_MLP)
    with pytest.raises(PlanError, match="already has an optimizer"):
        finished = make()
        finished.train()
        attach(finished, SLOW_MLP)


def test_a_second_plan_is_refused(make: Any) -> None:
    trainer = attach(make(), SLOW_MLP)
    with pytest.raises(PlanError, match="already has a plan"):
        attach(trainer, SLOW_MLP)


@pytest.mark.parametrize(
    "optim", ["galore_adamw", "galore_adamw_layerwise", "apollo_adamw", "lomo", "adalomo"]
)
def test_optimizers_with_groups_of_their_own_are_refused_by_name(optim: str, make: Any) -> None:
    trainer = make(optim=optim, optim_target_modules=["q_proj"])
    with pytest.raises(PlanError, match=f"optim={optim} builds its own parameter groups"):
        attach(trainer, SLOW_MLP)


def test_a_trainer_that_builds_groups_with_several_rates_is_refused(make: Any) -> None:
    trainer = make()

    def several_rates(model: Any = None) -> Any:
        first, *rest = trainer.model.parameters()
        trainer.optimizer = torch.optim.AdamW([{"params": [first], "lr": 1e-2}, {"params": rest}], lr=RATE)
        return trainer.optimizer

    trainer.create_optimizer = several_rates
    attach(trainer, SLOW_MLP)
    with pytest.raises(PlanError, match=r"groups of its own \(rates \[0\.001, 0\.01\]"):
        trainer.train()


def test_groups_with_keys_of_their_own_are_refused(make: Any) -> None:
    trainer = make()

    def ranked(model: Any = None) -> Any:
        trainer.optimizer = torch.optim.AdamW(
            [{"params": list(trainer.model.parameters()), "rank": 4}], lr=RATE
        )
        return trainer.optimizer

    trainer.create_optimizer = ranked
    attach(trainer, SLOW_MLP)
    with pytest.raises(PlanError, match=r"extra keys \['rank'\]"):
        trainer.train()


def test_phases_need_a_schedule_that_can_carry_them(make: Any) -> None:
    trainer = make()
    # Its arguments ask for an evaluation set, which makes no difference here.
    trainer.args.lr_scheduler_type = "reduce_lr_on_plateau"
    attach(trainer, swat(0.5))
    with pytest.raises(PlanError, match="ReduceLROnPlateau cannot carry it"):
        trainer.train()
    one_phase = make()
    one_phase.args.lr_scheduler_type = "reduce_lr_on_plateau"
    trained(one_phase, SLOW_MLP)


def test_a_scheduler_of_the_users_own_cannot_carry_phases(make: Any) -> None:
    trainer = make()
    optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=RATE)
    trainer.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    with pytest.raises(PlanError, match="already has a scheduler"):
        attach(trainer, swat(0.5))


def test_deepspeed_settings_that_erase_the_rates_are_refused(make: Any) -> None:
    trainer = make()
    settings = {"optimizer": {"type": "AdamW"}, "scheduler": {"type": "WarmupLR"}}
    trainer.args.deepspeed, trainer.args.hf_deepspeed_config = "ds.json", SimpleNamespace(config=settings)
    with pytest.raises(PlanError, match=r"DeepSpeed configuration has \['optimizer', 'scheduler'\]"):
        attach(trainer, SLOW_MLP)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_plan_for_other_base_weights_is_refused(lora: bool, make: Any) -> None:
    own = fingerprint(tiny_llama(tiny_tokenizer()))
    phases = SLOW_MLP.phases
    trained(make(lora=lora), TuningPlan(phases, base=own))
    other = TuningPlan(phases, base="0123456789abcdef")
    with pytest.raises(PlanError, match=f"base weights 0123456789abcdef, this model has {own}"):
        attach(make(lora=lora), other)
    attach(make(lora=lora), other, check_base=False).train()


def test_patterns_that_match_only_untrained_weights_are_logged(make: Any, caplog: Any) -> None:
    model = get_peft_model(make().model, LoraConfig(r=2, target_modules=["q_proj"]))
    attach(make(model=model), TuningPlan.from_multipliers({"mlp": 0.1, "q_proj": 0.5}))
    assert "`mlp` matches only weights that are not trained" in caplog.text
    caplog.clear()
    attach(make(), FROZEN_MLP)
    assert caplog.text == ""


def test_shadowed_patterns_are_logged_and_in_the_match_report(make: Any, caplog: Any) -> None:
    trainer = attach(make(), TuningPlan.from_multipliers({"*": 0.1, "q_proj": 0.5}))
    assert "`q_proj` is shadowed" in caplog.text
    assert "  pattern `q_proj` is shadowed by earlier patterns" in describe_match(trainer.securetune_match)


# Resuming

SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 6, "warmup_steps": 1}


@pytest.mark.parametrize(
    "plan", [SLOW_MLP, FROZEN_MLP, swat(0.5), swat(0.3)], ids=["rates", "freeze", "a", "b"]
)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_resumed_run_equals_the_uninterrupted_one(
    plan: TuningPlan, lora: bool, make: Any, tmp_path: Path
) -> None:
    whole = make(lora=lora, **SAVING, output_dir=str(tmp_path / "whole"))
    expected = trained(whole, plan)
    resumed = make(lora=lora, **SAVING, output_dir=str(tmp_path / "again"))
    checkpoint = str(tmp_path / "whole" / "checkpoint-2")
    assert_same(trained(resumed, plan, resume_from_checkpoint=checkpoint), expected)
    assert resumed.securetune_guard.verified[0]["step"] == 3
    for one, two in zip(whole.state.log_history[2:6], resumed.state.log_history[2:6]):
        assert {k: v for k, v in one.items() if k.startswith("lr/")} == {
            k: v for k, v in two.items() if k.startswith("lr/")
        }


@pytest.mark.parametrize(
    "other",
    [
        None,
        TuningPlan.from_multipliers({"mlp": 0.2}),
        TuningPlan.from_multipliers({"self_attn": 0.1}),
        TuningPlan.from_multipliers({"0-1.mlp": 0.1}),
        TuningPlan.from_multipliers({"mlp.up_proj": 0.1, "mlp.down_proj": 0.1, "self_attn.o_proj": 0.1}),
    ],
    ids=["none", "multiplier", "module", "fewer", "others"],
)
def test_resuming_under_another_plan_is_refused(other: TuningPlan | None, make: Any, tmp_path: Path) -> None:
    trained(make(**SAVING), other)
    checkpoint = str(tmp_path / "out" / "checkpoint-2")
    trainer = attach(make(**SAVING), SLOW_MLP)
    with pytest.raises(PlanError, match="written under another plan"):
        trainer.train(resume_from_checkpoint=checkpoint)


def test_resuming_with_another_phase_change_or_base_rate_is_refused(make: Any, tmp_path: Path) -> None:
    trained(make(**SAVING), swat(0.5))
    checkpoint = str(tmp_path / "out" / "checkpoint-2")
    with pytest.raises(PlanError, match=r"members or phases differ"):
        attach(make(**SAVING), swat(0.7)).train(resume_from_checkpoint=checkpoint)
    with pytest.raises(PlanError, match="the old rate would win in silence"):
        attach(make(**SAVING, learning_rate=2e-3), swat(0.5)).train(resume_from_checkpoint=checkpoint)


def test_an_optimizer_that_loads_past_the_hook_is_caught_when_training_begins(
    make: Any, tmp_path: Path
) -> None:
    trained(make(**SAVING), TuningPlan.from_multipliers({"self_attn.q_proj": 0.1}))
    checkpoint = str(tmp_path / "out" / "checkpoint-2")
    trainer = attach(make(**SAVING), TuningPlan.from_multipliers({"self_attn.o_proj": 0.1}))
    original = trainer.create_optimizer

    def without_hook(model: Any = None) -> Any:
        optimizer = original()
        optimizer._optimizer_load_state_dict_pre_hooks.clear()
        return optimizer

    trainer.create_optimizer = without_hook
    with pytest.raises(PlanNotAppliedError, match="a checkpoint of another plan was loaded"):
        trainer.train(resume_from_checkpoint=checkpoint)


def test_resuming_a_finished_run_is_no_error(make: Any, tmp_path: Path) -> None:
    expected = trained(make(**SAVING), SLOW_MLP)
    checkpoint = str(tmp_path / "out" / "checkpoint-6")
    again = trained(make(**SAVING), SLOW_MLP, resume_from_checkpoint=checkpoint)
    for name in expected:
        assert torch.allclose(expected[name], again[name], atol=1e-6)
