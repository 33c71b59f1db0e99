"""Ways to lose a plan after a first step that was right, or of which no step tells: none is silent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_safety_callback import PROMPTS, probe_of
from test_silent_loss import ADAFACTOR, SAVING, with_one_rate
from transformers import AutoModelForCausalLM, TrainerCallback
from transformers.optimization import Adafactor

from securetune.errors import ConfigError, PlanError, PlanNotAppliedError
from securetune.models.fingerprint import fingerprint
from securetune.plan import TuningPlan
from securetune.training.attach import attach
from securetune.training.checks import check_checkpoint
from securetune.training.param_groups import build_param_groups
from securetune.training.plan_optimizer import finish, verify_steps
from securetune.training.schedule import add_phases_
from tiny import tiny_llama, tiny_tokenizer
from tiny_trainers import ONES, RATE, SLOW_MLP, STILL_MLP, Edit, Make, swat, weights, with_lora

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
    pytest.mark.filterwarnings("ignore:Seems like `optimizer.step"),
    pytest.mark.filterwarnings("ignore:Adapter .* was active which is now deleted"),
]

IDS = torch.arange(3, 27).reshape(2, 12)


class Once(Edit):
    """Does something once, at the end of the third step."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.done = False

        def edit(_: Any) -> None:
            if not self.done:
                self.done = True
                act()

        super().__init__("on_step_end", edit, first=3)


def change_midway(make: Make, change: Callable[[Any], Any], **options: Any) -> None:
    trainer = attach(make(max_steps=6, **options), SLOW_MLP)
    trainer.add_callback(Once(lambda: change(trainer)))
    trainer.train()


def swap_optimizer(trainer: Any) -> None:
    other = torch.optim.AdamW(trainer.model.parameters(), lr=RATE)
    trainer.optimizer = trainer.accelerator.prepare(other)


def replace_tensors(trainer: Any) -> None:
    for block in trainer.model.model.layers:
        block.mlp.up_proj.weight = torch.nn.Parameter(block.mlp.up_proj.weight.detach().clone())


def second_adapter(trainer: Any) -> None:
    trainer.model.add_adapter("b", LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    trainer.model.base_model.set_adapter(["default", "b"])


def adapter_loaded_again(trainer: Any) -> None:
    path = trainer.args.output_dir + "-adapter"
    trainer.model.save_pretrained(path)
    trainer.model.delete_adapter("default")
    trainer.model.load_adapter(path, "default", is_trainable=True)
    trainer.model.set_adapter("default")


def exchange_members(trainer: Any) -> None:
    groups = {group["group_name"]: group for group in trainer.optimizer.param_groups}
    first, second = groups["x1"]["params"], groups["x0.1"]["params"]
    same = next(p for p in first if p.shape == second[-1].shape)
    place = next(index for index, p in enumerate(first) if p is same)
    first[place], second[-1] = second[-1], first[place]


@pytest.mark.parametrize(
    ("change", "lora", "message"),
    [
        (swap_optimizer, False, "did not step: something replaced it after `attach`, by step 4"),
        (replace_tensors, False, "not in the optimizer, such as .*up_proj.*replaced or unfrozen"),
        (second_adapter, True, r"not in the optimizer, such as .*\.b\."),
        (adapter_loaded_again, True, "not in the optimizer, such as .*lora_A"),
        (exchange_members, True, "holds another tensor where the plan put"),
    ],
)
def test_what_is_replaced_midway_is_an_error(
    change: Callable[[Any], Any], lora: bool, message: str, make: Make
) -> None:
    with pytest.raises(PlanNotAppliedError, match=message):
        change_midway(make, change, lora=lora, weight_decay=0.0)


def test_what_is_unfrozen_midway_is_an_error(make: Make) -> None:
    model = tiny_llama(make.tokenizer)
    model.model.embed_tokens.requires_grad_(False)
    with pytest.raises(PlanNotAppliedError, match=r"not in the optimizer, such as .*embed_tokens"):
        change_midway(make, lambda trainer: trainer.model.requires_grad_(True), model=model)


def test_another_model_after_attach_is_refused(make: Make) -> None:
    base = tiny_llama(make.tokenizer)
    plan = TuningPlan(SLOW_MLP.phases, base=fingerprint(base))
    trainer = attach(make(model=base), plan)
    trainer.model = trainer.model_wrapped = tiny_llama(make.tokenizer, seed=5)
    with pytest.raises(PlanError, match="The plan was made for base weights"):
        trainer.train()


# Phases and their clock


class StepsAgain(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kwargs["lr_scheduler"].step()


def test_a_scheduler_that_something_else_steps_is_an_error(make: Make) -> None:
    trainer = attach(make(max_steps=8, lr_scheduler_type="constant"), swat(0.5))
    trainer.add_callback(StepsAgain())
    with pytest.raises(PlanNotAppliedError, match="counts 2 steps where the optimizer has made 1"):
        trainer.train()


def loop(
    make: Make,
    *,
    plan: TuningPlan | None = None,
    total: int = 8,
    ticks: int = 1,
    every: int = 1,
    swap: bool = False,
    counted: int | None = None,
    scheduled: bool = True,
) -> list[str]:
    """Eight steps of a loop of one's own; the phases that were verified."""
    plan = plan or swat(0.5)
    model = make().model
    optimizer = torch.optim.AdamW(build_param_groups(model, plan, lr=RATE), lr=RATE)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    add_phases_(scheduler, plan, total)
    given = scheduler if scheduled else None
    verify_steps(optimizer, plan, lr=RATE, scheduler=given, model=model)
    stepped: Any = optimizer
    for step in range(1, 9):
        if swap and step == 4:
            stepped = torch.optim.AdamW(model.parameters(), lr=RATE)
        model(input_ids=IDS, labels=IDS).loss.backward()
        stepped.step()
        stepped.zero_grad()
        for _ in range(ticks if step % every == 0 else 0):
            scheduler.step()
    return [entry["phase"] for entry in finish(optimizer, counted)]


def test_phases_that_would_come_at_other_times_are_an_error(make: Make) -> None:
    assert loop(make) == ["robust", "all"]
    # Several counts a step, or one in several, are right if the phases were laid over as many.
    assert loop(make, ticks=2, total=16) == ["robust", "all"]
    assert loop(make, every=4, total=2) == ["robust", "all"]
    with pytest.raises(
        PlanNotAppliedError, match=r"counts 10 steps, 2 per step .* laid over 8: they came too early"
    ):
        loop(make, ticks=2)
    with pytest.raises(
        PlanNotAppliedError, match="Phase `all` of the plan never came: the scheduler counted 0"
    ):
        loop(make, ticks=0)
    with pytest.raises(
        PlanNotAppliedError, match="never came: the scheduler counted 7 at the last step, of 32"
    ):
        loop(make, total=32)


def test_an_optimizer_that_is_swapped_in_a_loop_is_noticed_at_its_end(make: Make) -> None:
    with pytest.raises(PlanNotAppliedError, match="went on by 6 steps after the last step of the optimizer"):
        loop(make, swap=True, plan=SLOW_MLP)
    with pytest.raises(PlanNotAppliedError, match=r"The loop counted 8 optimizer steps, .* made 3"):
        loop(make, swap=True, plan=SLOW_MLP, scheduled=False, counted=8)
    assert loop(make, plan=SLOW_MLP, counted=8) == ["all"]


def test_a_run_that_stops_before_its_last_phase_says_so(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    trainer = attach(make(max_steps=8), swat(0.5))

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = state.global_step >= 2

    trainer.add_callback(Stop())
    trainer.train()
    assert "training ended in phase `robust` of the plan; phase `all` was never reached" in caplog.text


# Optimizers that are not known exactly


def eight_bit() -> Any:
    return pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed").optim.AdamW8bit


@pytest.mark.parametrize("multiplier", [0.1, 0.05])
@pytest.mark.parametrize("pattern", ["o_proj", "v_proj", "down_proj"])
def test_a_lost_multiplier_is_noticed_whatever_the_gradients(
    pattern: str, multiplier: float, make: Make
) -> None:
    plan = TuningPlan.from_multipliers({pattern: multiplier})
    for kind, options in ((eight_bit(), {"lr": RATE}), (Adafactor, ADAFACTOR)):
        trainer = attach(make(optimizer_cls_and_kwargs=(with_one_rate(kind), options)), plan)
        with pytest.raises(PlanNotAppliedError, match="does not follow the rates of its groups"):
            trainer.train()
        own = attach(make(optimizer_cls_and_kwargs=(kind, options)), plan)
        own.train()
        assert own.securetune_guard.verified, "the optimizer itself follows them"


def test_a_resumed_8_bit_run_with_another_base_rate_is_refused(make: Make) -> None:
    eight_bit()
    options = {**SAVING, "optim": "adamw_bnb_8bit", "lr_scheduler_type": "constant"}
    attach(make(**options), SLOW_MLP).train()
    trainer = attach(make(**options, learning_rate=2 * RATE), SLOW_MLP)
    with pytest.raises(
        PlanNotAppliedError, match=r"has the base rate 0\.001 of a checkpoint, this run's is 0\.002"
    ):
        trainer.train(resume_from_checkpoint=str(make.output / "checkpoint-2"))


def test_a_deepspeed_checkpoint_of_another_base_rate_is_refused(make: Make) -> None:
    attach(make(**SAVING), SLOW_MLP).train()
    with pytest.raises(PlanError, match="the old rate would win in silence"):
        check_checkpoint(make.output / "checkpoint-2", SLOW_MLP, 2 * RATE, is_deepspeed=True)


# What the user's optimizer had of its own


def own_optimizer(make: Make, build: Callable[[dict[str, Any]], Any], plan: TuningPlan = ONES) -> Any:
    trainer = make(max_steps=2, weight_decay=0.1)

    def create_optimizer(model: Any = None) -> Any:
        trainer.optimizer = build(dict(trainer.model.named_parameters()))
        return trainer.optimizer

    trainer.create_optimizer = create_optimizer
    attach(trainer, plan).train()
    return trainer


def split(named: dict[str, Any], **options: Any) -> Any:
    parts: dict[bool, list[Any]] = {True: [], False: []}
    for name, value in named.items():
        parts["embed" in name].append(value)
    return torch.optim.AdamW([{"params": parts[True], **options}, {"params": parts[False]}], lr=RATE)


def test_options_of_the_users_optimizer_are_kept_or_refused(make: Make) -> None:
    with pytest.raises(PlanError, match=r"decays model\.embed_tokens.* by 0\.5"):
        own_optimizer(make, lambda named: split(named, weight_decay=0.5))
    with pytest.raises(PlanError, match="groups with betas of their own"):
        own_optimizer(make, lambda named: split(named, betas=(0.5, 0.6)))
    some = [".self_attn."]
    with pytest.raises(PlanError, match=r"leaves out .* trainable tensors"):
        own_optimizer(make, lambda n: torch.optim.AdamW([n[k] for k in n if some[0] in k], lr=RATE))
    kept = {"lr": RATE / 2, "betas": (0.5, 0.6)}
    trainer = attach(make(optimizer_cls_and_kwargs=(torch.optim.AdamW, kept), max_steps=1), SLOW_MLP)
    trainer.train()
    assert {group["betas"] for group in trainer.optimizer.param_groups} == {(0.5, 0.6)}
    assert trainer.securetune_guard.rates == {
        name: pytest.approx(RATE / 2 * (0.1 if "x0.1" in name else 1))
        for name in trainer.securetune_guard.rates
    }
    assert trainer.securetune_receipt()["base_rate"] == RATE / 2


# Groups and steps that come to nothing


def test_a_group_without_gradients_is_an_error_in_a_short_run_too(make: Make) -> None:
    trainer = attach(make(max_steps=6), SLOW_MLP)
    for block in trainer.model.model.layers:
        block.mlp.register_forward_hook(lambda module, given, out: out.detach())
    with pytest.raises(PlanNotAppliedError, match=r"Group x0\.1.* had a gradient in 6 steps"):
        trainer.train()


def test_a_group_whose_steps_float32_rounds_away_is_an_error(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    plan = TuningPlan.from_multipliers({"*layernorm": 1e-3})
    slow = {"learning_rate": 2e-5, "lr_scheduler_type": "constant"}
    with pytest.raises(PlanNotAppliedError, match=r"Group x0\.001\S* cannot move: .* rounded away"):
        attach(make(**slow), plan).train()
    assert attach(make(learning_rate=2e-3), plan).train()
    # Where others of the group can move, it is a warning: norms of size 1 beside matrices of size 0.02.
    caplog.clear()
    assert attach(make(**slow, weight_decay=0.0), TuningPlan.from_multipliers({"0-3": 1e-3})).train()
    assert "in 8 of 36 tensors half of the steps or more (up to 100%) are rounded away" in caplog.text


# What is written down


def test_an_adapter_added_after_attach_is_no_movement(make: Make, tmp_path: Path) -> None:
    tiny_llama(make.tokenizer).save_pretrained(tmp_path / "base")
    trainer = attach(make(model=AutoModelForCausalLM.from_pretrained(tmp_path / "base")), STILL_MLP)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    trainer.model = get_peft_model(trainer.model, config)
    before = weights(trainer)
    trainer.train()
    moved = trainer.securetune_receipt()["movement"]
    assert {moved[name] for name in moved if ".mlp." in name} == {0.0}
    assert all(moved[name] > 0 for name in moved if "self_attn" in name) and before


def test_norms_are_those_of_the_step_that_is_logged(make: Make) -> None:
    class Log(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_log |= state.global_step in (2, 6)

    trainer = attach(make(max_steps=8, logging_steps=4, callbacks=[Log()]), SLOW_MLP)
    trainer.train()
    entries = {entry["step"]: entry for entry in trainer.state.log_history if "loss" in entry}
    assert [step for step, entry in entries.items() if "grad_norm/x1" in entry] == [4, 8]
    assert {2, 6} <= entries.keys() and all("lr/x1" in entry for entry in entries.values())


def test_a_budget_that_the_trainers_best_checkpoint_would_defeat_is_refused(make: Make) -> None:
    from securetune.training.safety_callback import SafetyCallback

    options = {"save_total_limit": 1, "metric_for_best_model": "loss", "save_strategy": "steps"}
    trainer = make(model=with_lora(tiny_llama(make.tokenizer)), **options)
    safety = {"tokenizer": tiny_tokenizer(), "prompts": PROMPTS, "every": 2, "asr_prompts": 0}
    trainer.add_callback(SafetyCallback(trainer, probe_of(trainer.model), budget=0.5, **safety))
    with pytest.raises(ConfigError, match="may delete the last one inside the budget"):
        trainer.train()
