"""Phases of a plan as factors on top of the user's own learning-rate schedule."""

from __future__ import annotations

import logging
from typing import Any

import torch

from securetune.errors import PlanError
from securetune.plan import TuningPlan

log = logging.getLogger("securetune")


def phase_steps(plan: TuningPlan, total: int) -> list[int]:
    """The optimizer step, of `total`, at which each phase ends."""
    return [round(phase.until * total) for phase in plan.phases]


def phase_at(plan: TuningPlan, step: int, total: int) -> int:
    """Index of the phase that the 0-based optimizer step `step` of `total` belongs to."""
    ends = phase_steps(plan, total)
    return next((index for index, end in enumerate(ends) if step < end), len(ends) - 1)


def add_phases_(scheduler: Any, plan: TuningPlan, total: int) -> None:
    """Multiply a LambdaLR's factors by each group's multiplier of the current phase, in place and once.

    The factors of the user's schedule stay; the rates of the step that comes next are set at once.

    Args:
        scheduler: over an optimizer whose groups `build_param_groups` made.
        plan: the plan of these groups; a plan of one phase needs no factors and is left alone.
        total: optimizer steps of the whole run, counted as the scheduler counts them.

    Raises:
        PlanError: the scheduler cannot carry factors per group, or its groups are not the plan's.
    """
    scheduler = getattr(scheduler, "scheduler", scheduler)  # Accelerate wraps it.
    if len(plan.phases) == 1 or hasattr(scheduler, "securetune_phases"):
        return
    if not isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        raise PlanError(
            f"A plan of several phases needs a schedule of the LambdaLR family (linear, cosine, constant, "
            f"...); {type(scheduler).__name__} cannot carry it. Set `lr_scheduler_type`."
        )

    def planned(inner: Any, multipliers: list[float]) -> Any:
        return lambda step: inner(step) * multipliers[phase_at(plan, step, total)]

    groups = scheduler.optimizer.param_groups
    if any(len(group.get("multipliers", ())) != len(plan.phases) for group in groups):
        raise PlanError(
            "The scheduler's optimizer does not hold the plan's groups. Build it from "
            "`build_param_groups(model, plan, lr=...)`."
        )
    ends = phase_steps(plan, total)
    for phase, start, end in zip(plan.phases, [0, *ends], ends):
        if start == end:
            log.warning(
                "phase `%s` of the plan has no step: it ends with step %d of %d", phase.name, end, total
            )
    for group in groups:
        group["phase_steps"] = ends  # In checkpoints, for `refuse_other_groups`.
    scheduler.lr_lambdas = [
        planned(inner, group["multipliers"]) for inner, group in zip(scheduler.lr_lambdas, groups)
    ]
    for group, base, factor in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas):
        group["lr"] = base * factor(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in groups]
    # Not an attribute that the class declares.
    setattr(scheduler, "securetune_phases", total)  # noqa: B010
