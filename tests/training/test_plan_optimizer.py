"""Plans without `attach`: the optimizer factory, the mixin, and loops of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import Trainer

from securetune.errors import PlanError, PlanNotAppliedError
from securetune.plan import TuningPlan
from securetune.training.attach import PlanTrainerMixin
from securetune.training.param_groups import build_param_groups
from securetune.training.plan_optimizer import PlanOptimizer, finish, verify_steps
from securetune.training.schedule import add_phases_
from tiny import FAMILIES, FUSES_EXPERTS
from tiny_trainers import (
    FROZEN_MLP,
    RATE,
    SLOW_MLP,
    STILL_MLP,
    Make,
    assert_same,
    factories,
    mlp,
    rows,
    swat,
    trained,
    unmoved,
    weights,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")


def with_factory(make: Make, plan: Any, kind: str = "trainer", **changes: Any) -> Any:
    trainer = make(kind, **changes)
    trainer.optimizer_cls_and_kwargs = (PlanOptimizer, {"plan": plan, "args": trainer.args})
    return trainer


@factories
@pytest.mark.parametrize("kind", ["trainer", "sft"])
@pytest.mark.parametrize("plan", [SLOW_MLP, FROZEN_MLP], ids=["rates", "freeze"])
def test_the_factory_trains_as_attach_does(kind: str, plan: TuningPlan, make: Make) -> None:
    expected = trained(make(kind), plan)
    trainer = with_factory(make, plan, kind)
    assert_same(trained(trainer), expected)
    assert [e["step"] for e in finish(trainer.optimizer)] == [1]


@factories
@pytest.mark.parametrize("optim", ["adamw_torch", "adafactor", "sgd"])
def test_the_factory_keeps_the_users_optimizer(optim: str, make: Make) -> None:
    plain = make(optim=optim)
    plain.create_optimizer()
    planned = with_factory(make, SLOW_MLP, optim=optim)
    planned.create_optimizer()
    assert type(planned.optimizer) is type(plain.optimizer)
    assert planned.optimizer.defaults == plain.optimizer.defaults


def test_the_factory_takes_axolotls_call_and_a_path(make: Make, tmp_path: Path) -> None:
    trainer = make()
    path = SLOW_MLP.save(tmp_path / "plan.json")
    optimizer = PlanOptimizer()(trainer.model, trainer.args, plan=path)
    assert [group["group_name"] for group in optimizer.param_groups] == ["x1", "x1/no-decay", "x0.1"]


def test_transformers_without_factories_are_named() -> None:
    with pytest.raises(PlanError, match=r"came with transformers 5\.2.*securetune\.attach"):
        PlanOptimizer([], lr=RATE)  # as transformers 4.57 calls it


def test_the_factory_refuses_a_checkpoint_of_another_plan(make: Make) -> None:
    trainer = make()
    one = PlanOptimizer()(trainer.model, trainer.args, plan=SLOW_MLP)
    two = PlanOptimizer()(trainer.model, trainer.args, plan=STILL_MLP)
    two.load_state_dict(two.state_dict())
    with pytest.raises(PlanError, match="written under another plan"):
        two.load_state_dict(one.state_dict())


def test_the_mixin_is_attach(make: Make) -> None:
    class MyTrainer(PlanTrainerMixin, Trainer):
        pass

    expected = trained(make(), SLOW_MLP)
    plain = make()
    trainer = MyTrainer(plain.model, plain.args, train_dataset=rows(), plan=SLOW_MLP)
    assert_same(trained(trainer), expected)
    with pytest.raises(PlanError, match="made for base weights"):
        MyTrainer(make().model, plain.args, plan=TuningPlan(SLOW_MLP.phases, base="0123456789abcdef"))


# A loop of one's own


def loop(model: Any, plan: TuningPlan, steps: int = 4, edit: Any = None) -> Any:
    optimizer = torch.optim.AdamW(build_param_groups(model, plan, lr=RATE), lr=RATE)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (2 * steps))
    add_phases_(scheduler, plan, steps)
    verify_steps(optimizer, plan, lr=RATE, scheduler=scheduler, model=model)
    ids = torch.arange(3, 27).reshape(2, 12)
    for step in range(steps):
        if edit is not None and step == 2:
            edit(optimizer)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return optimizer


def test_a_plain_loop_follows_the_plan_and_its_phases(make: Make) -> None:
    trainer = make()
    before = weights(trainer)
    optimizer = loop(trainer.model, STILL_MLP)
    assert mlp(unmoved(before, weights(trainer))) == mlp(before)
    assert [entry["step"] for entry in finish(optimizer)] == [1]
    phased = loop(make().model, swat(0.5))
    assert [(e["step"], e["phase"]) for e in finish(phased)] == [(1, "robust"), (3, "all")]


def test_a_plain_loop_is_stopped_when_a_rate_changes(make: Make) -> None:
    def even(optimizer: Any) -> None:
        optimizer.param_groups[-1]["lr"] = RATE

    with pytest.raises(PlanNotAppliedError, match="has the learning rate"):
        loop(make().model, SLOW_MLP, edit=even)


def test_an_optimizer_that_accelerate_has_prepared_is_verified(make: Make) -> None:
    for plan, error in ((SLOW_MLP, None), (STILL_MLP, "although its rate is 0")):
        model, accelerator = make().model, Accelerator(cpu=True)
        optimizer = torch.optim.AdamW(build_param_groups(model, plan, lr=RATE), lr=RATE)
        model, optimizer = accelerator.prepare(model, optimizer)
        assert verify_steps(optimizer, plan, lr=RATE, model=model) is optimizer
        ids = torch.arange(3, 27).reshape(2, 12)
        accelerator.backward(model(input_ids=ids, labels=ids).loss)
        optimizer.step()
        if error is None:
            assert [entry["step"] for entry in finish(optimizer)] == [1]
        else:  # The hooks are those of the optimizer inside.
            model.model.layers[0].mlp.up_proj.weight.data.add_(1.0)
            with pytest.raises(PlanNotAppliedError, match=error):
                finish(optimizer)


def test_a_phase_that_rounds_to_no_step_is_a_warning(make: Make, caplog: Any) -> None:
    loop(make().model, swat(0.5))
    assert "has no step" not in caplog.text
    loop(make().model, swat(0.1))
    assert "phase `robust` of the plan has no step: it ends with step 0 of 4" in caplog.text


@pytest.mark.skipif(not FUSES_EXPERTS, reason="transformers 4 names Mixtral's experts differently")
def test_experts_without_a_gradient_are_followed_until_they_have_one() -> None:
    model = FAMILIES["mixtral"](vocab_size=128).train()
    plan = TuningPlan.from_multipliers({"mlp": 0.1})
    optimizer = torch.optim.AdamW(build_param_groups(model, plan, lr=RATE), lr=RATE)
    verify_steps(optimizer, plan, lr=RATE, model=model)
    for _ in range(3):
        ids = torch.randint(3, 120, (2, 12))
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    (entry,) = finish(optimizer)
    slow = entry["groups"]["x0.1"]
    assert slow["moved"] == slow["tensors"] > 0
