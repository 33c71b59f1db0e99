"""What is read of a tensor and of a step: samples, loss scalers, closures, precision, devices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from securetune.errors import PlanNotAppliedError
from securetune.plan import TuningPlan
from securetune.training.attach import attach
from securetune.training.group_norms import update_norm
from securetune.training.movement import SAMPLE, sample
from securetune.training.param_groups import build_param_groups
from securetune.training.plan_optimizer import finish, verify_steps
from securetune.training.schedule import add_phases_
from tiny import tiny_llama
from tiny_trainers import RATE, SLOW_MLP, Make, swat

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
IDS = torch.arange(3, 27).reshape(2, 12)


@pytest.mark.parametrize("shape", [(4096, 4096), (16384, 1024), (5000, 7), (8, 64, 96), (64,), (1,), ()])
def test_a_sample_reaches_every_column(shape: tuple[int, ...]) -> None:
    columns = torch.arange(shape[-1]).expand(shape) if shape else torch.zeros(())
    found = sample(columns)
    assert found.numel() == min(SAMPLE, columns.numel())
    assert len(set(found.tolist())) == min(SAMPLE, *(shape[-1:] or (1,)))
    if len(shape) == 2:
        rows = sample(torch.arange(shape[0])[:, None].expand(shape).contiguous())
        assert float(rows[-1]) >= 0.9 * (shape[0] - 1)  # Down to the end, too.


def scaled_run(make: Make, overflow_at: int, kind: Any = torch.optim.AdamW) -> tuple[list[bool], Any]:
    """Four steps of a fused optimizer under a loss scaler, one of which overflows."""
    Accelerator(cpu=True)
    model, plan = tiny_llama(make.tokenizer), swat(0.5)
    optimizer = kind(build_param_groups(model, plan, lr=RATE), lr=RATE, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    add_phases_(scheduler, plan, 4)
    verify_steps(optimizer, plan, lr=RATE, scheduler=scheduler, model=model)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    wrapped = AcceleratedOptimizer(optimizer, device_placement=False, scaler=scaler)
    weight, moved = model.model.layers[0].self_attn.q_proj.weight, []
    for step in range(4):
        wrapped.zero_grad()
        scaler.scale(model(input_ids=IDS, labels=IDS).loss).backward()
        if step == overflow_at:
            weight.grad[0, 0] = float("inf")
        old = weight.detach().clone()
        wrapped.step()
        assert not wrapped.step_was_skipped  # Of a fused optimizer, accelerate does not know.
        moved.append(not torch.equal(weight, old))
        scheduler.step()
    return moved, optimizer


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize(("overflow_at", "steps"), [(-1, [1, 3]), (0, [2, 3]), (2, [1, 4])])
def test_steps_that_a_loss_scaler_skips_inside_a_fused_optimizer_do_not_count(
    overflow_at: int, steps: list[int], kind: Any, make: Make
) -> None:
    moved, optimizer = scaled_run(make, overflow_at, kind)
    assert moved == [step != overflow_at for step in range(4)]
    entries = finish(optimizer)
    assert [entry["step"] for entry in entries] == steps
    assert all(group["moved"] for entry in entries for group in entry["groups"].values() if group["rate"])


def test_a_last_phase_of_skipped_steps_only_is_an_error(make: Make) -> None:
    model, plan = tiny_llama(make.tokenizer), swat(0.75)
    optimizer = torch.optim.AdamW(build_param_groups(model, plan, lr=RATE), lr=RATE, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    add_phases_(scheduler, plan, 4)
    verify_steps(optimizer, plan, lr=RATE, scheduler=scheduler, model=model)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for step in range(4):
        optimizer.zero_grad()
        scaler.scale(model(input_ids=IDS, labels=IDS).loss).backward()
        if step == 3:
            model.model.norm.weight.grad[0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
    with pytest.raises(PlanNotAppliedError, match="All steps of the last phase were skipped"):
        finish(optimizer)


def closure_run(make: Make, *, held: bool) -> Any:
    """Two steps with a closure; `held`: hooks put one group back where it was."""
    model = tiny_llama(make.tokenizer)
    optimizer = torch.optim.AdamW(build_param_groups(model, SLOW_MLP, lr=RATE), lr=RATE)
    group, old = optimizer.param_groups[-1]["params"], []

    def put_back(*_: Any) -> None:
        with torch.no_grad():
            for parameter, value in zip(group, old):
                parameter.copy_(value)

    if held:
        optimizer.register_step_pre_hook(lambda *_: old.extend(value.detach().clone() for value in group))
        optimizer.register_step_post_hook(put_back)
    verify_steps(optimizer, SLOW_MLP, lr=RATE, model=model)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    return finish(optimizer)


def test_steps_with_a_closure_are_verified(make: Make) -> None:
    (entry,) = closure_run(make, held=False)
    assert all(group["moved"] == group["tensors"] > 0 for group in entry["groups"].values())
    with pytest.raises(PlanNotAppliedError, match="the planned rate is not the one in effect"):
        closure_run(make, held=True)


def test_half_precision_that_loses_half_of_the_steps_is_a_warning(make: Make, caplog: Any) -> None:
    def run(dtype: torch.dtype) -> str:
        caplog.clear()
        model = tiny_llama(make.tokenizer).to(dtype)
        model.model.norm.requires_grad_(False)
        plan = TuningPlan.from_multipliers({"mlp": 0.3, "*layernorm": 0.0})
        attach(make(model=model, learning_rate=1e-4, max_steps=2), plan).train()
        return str(caplog.text)

    assert "group x0.3: in 12 of 12 tensors half of the steps or more" in run(torch.bfloat16)
    assert "group x1:" not in caplog.text
    assert "rounded" not in run(torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_a_group_may_lie_on_two_devices() -> None:
    parameters = [torch.zeros(4), torch.zeros(5, device="cuda")]
    samples = {id(value): torch.ones_like(value) for value in parameters}
    assert update_norm(parameters, samples) == update_norm(parameters[::-1], samples) == 3.0
