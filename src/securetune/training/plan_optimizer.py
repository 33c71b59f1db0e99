"""A plan in an optimizer: for `optimizer_cls_and_kwargs`, and for training loops without a Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import Trainer

from securetune.errors import PlanError, PlanNotAppliedError
from securetune.plan import TuningPlan
from securetune.training import checks
from securetune.training.attach import freeze_unmoved
from securetune.training.coverage import check_coverage
from securetune.training.param_groups import build_param_groups
from securetune.training.phase_clock import PhaseClock
from securetune.training.plan_check import PlanCheck, unwrapped


class PlanOptimizer:
    """An optimizer factory for `Trainer(..., optimizer_cls_and_kwargs=(PlanOptimizer, {"plan": plan}))`.

    The optimizer is the one that the training arguments name, with the plan's groups; its steps are
    verified as by `attach`, but there are no logs and no receipt. Needs transformers >= 5.2; `attach` does
    more and works everywhere.

    Examples:
        >>> trainer = SFTTrainer(
        ...     model,
        ...     args,
        ...     train_dataset=rows,
        ...     optimizer_cls_and_kwargs=(PlanOptimizer, {"plan": plan, "args": args}),
        ... )  # doctest: +SKIP
    """

    def __init__(self, *groups: Any, **options: Any) -> None:
        """Take no arguments.

        Raises:
            PlanError: transformers took the factory for an optimizer class.
        """
        if groups or options:
            raise PlanError(
                f"transformers {transformers.__version__} has no optimizer factories, which came with "
                "transformers 5.2. Use securetune.attach(trainer, plan)."
            )

    def __call__(
        self,
        opt_model: torch.nn.Module,
        training_args: Any = None,
        *,
        plan: TuningPlan | str | Path,
        args: Any = None,
        check_base: bool = True,
    ) -> torch.optim.Optimizer:
        """Build the optimizer.

        Args:
            opt_model: with every adapter in place.
            training_args: Axolotl passes the training arguments here.
            plan: the plan, or the path of its file.
            args: the training arguments, where the caller does not pass them.
            check_base: refuse a plan that was made for other base weights.

        Raises:
            PlanError: the plan, the arguments or the optimizer do not go together.
        """
        arguments = training_args if args is None else args
        if arguments is None:
            raise PlanError(
                "PlanOptimizer needs the training arguments: "
                'optimizer_cls_and_kwargs=(PlanOptimizer, {"plan": plan, "args": args}).'
            )
        plan = plan if isinstance(plan, TuningPlan) else TuningPlan.load(plan)
        if len(plan.phases) > 1:
            raise PlanError(
                f"The plan has {len(plan.phases)} phases, which the scheduler must carry; an optimizer "
                "factory does not see it. Use securetune.attach(trainer, plan)."
            )
        checks.check_arguments(arguments)
        if check_base:
            checks.check_base(opt_model, plan)
        if plan.freeze:
            freeze_unmoved(opt_model, plan)
        kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, opt_model)
        if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
            raise PlanError(f"optim={arguments.optim} is a factory that builds its own parameter groups.")
        rate = float(arguments.learning_rate)
        groups = build_param_groups(
            opt_model,
            plan,
            lr=rate,
            weight_decay=float(arguments.weight_decay),
            decay_names=set(Trainer.get_decay_parameter_names(None, opt_model)),
        )
        optimizer = kind(groups, **{"lr": rate, **options})
        return verify_steps(optimizer, plan, lr=rate, model=opt_model)


def verify_steps(
    optimizer: Any, plan: TuningPlan, *, lr: float, scheduler: Any = None, model: Any = None
) -> Any:
    """Check in any training loop that an optimizer built from `build_param_groups` follows the plan.

    The rates are compared at every `optimizer.step()`; the movement of the weights at the first step with
    a positive rate and after each change of phase. A checkpoint of another plan is refused on loading.
    Steps that a gradient scaler skips never reach the optimizer.

    Args:
        optimizer: the torch optimizer, before its first step; also as accelerate's `prepare` returns it.
        plan: the plan of its groups.
        lr: the base learning rate.
        scheduler: needed by a plan of several phases, after `add_phases_`.
        model: to check that every trainable parameter is in the optimizer.

    Returns:
        The optimizer; `finish(optimizer)` tells in the end what was verified.

    Raises:
        PlanError: the groups are not the plan's, or a plan of several phases has no scheduler to carry them.
        PlanNotAppliedError: later, out of `optimizer.step()`.
    """
    groups = optimizer.param_groups
    if not all("group_name" in group and "multipliers" in group for group in groups):
        raise PlanError(
            "The optimizer's groups do not come from a plan. Build it from "
            "`build_param_groups(model, plan, lr=...)`."
        )
    if any(len(group["multipliers"]) != len(plan.phases) for group in groups):
        raise PlanError("The optimizer's groups come from a plan with another number of phases.")
    inner = getattr(scheduler, "scheduler", scheduler)
    if len(plan.phases) > 1 and not hasattr(inner, "securetune_phases"):
        raise PlanError(
            "A plan of several phases is carried by the scheduler: call "
            "`add_phases_(scheduler, plan, total_steps)` and pass `scheduler=`."
        )
    check_coverage(model, optimizer)
    check = PlanCheck(plan, lr)
    check.expect(optimizer)
    check.expect_schedule(getattr(inner, "securetune_phases", 0))
    steps = {"made": 0, "is_dry": False}
    clock = PhaseClock(plan, inner)

    def before(stepping: Any, *_: Any) -> None:
        check.check_groups(stepping)
        steps["is_dry"] = not any(group["lr"] > 0 for group in stepping.param_groups)
        if steps["is_dry"]:
            # Nothing moves. torch's distributed checkpoints make such a step to create the state.
            return
        step = steps["made"] if inner is None else clock.tick()
        check.before_step(stepping, inner, step, model=model)

    def after(stepping: Any, *_: Any) -> None:
        if not steps["is_dry"]:
            check.after_step(stepping, steps["made"])
            steps["made"] += 1

    inside = unwrapped(optimizer)
    inside.register_step_pre_hook(before)
    inside.register_step_post_hook(after)
    inside.register_load_state_dict_pre_hook(checks.refuse_other_groups)
    inside.securetune_check, inside.securetune_clock, inside.securetune_steps = check, clock, steps
    inside.securetune_model = model
    return optimizer


def finish(optimizer: Any, steps: int | None = None) -> list[dict[str, Any]]:
    """Check the end of a run of `verify_steps` or `PlanOptimizer`, and return what was verified.

    Call it after the last step: nothing else notices there that another optimizer made the steps. With the
    scheduler (of `verify_steps`) or `steps` it also notices an optimizer that was replaced on the way.

    Args:
        optimizer: of `verify_steps` or `PlanOptimizer`.
        steps: optimizer steps that the loop has counted, at positive rates and not skipped by a scaler.

    Raises:
        PlanNotAppliedError: no step was made, or the optimizer was replaced; the last phase never came;
            weights with the multiplier 0 moved; or every step of the last phase was skipped.
    """
    inside = unwrapped(optimizer)
    check: PlanCheck = inside.securetune_check
    made = inside.securetune_steps["made"]
    if steps is not None and made != steps:
        raise PlanNotAppliedError(
            f"The loop counted {steps} optimizer steps, the optimizer that holds the plan made {made}: "
            "another one made the rest."
        )
    if not check.has_verified:
        raise PlanNotAppliedError(
            "The optimizer that holds the plan made no step at a positive learning rate: something replaced "
            "it, or the loop never called its `step()`."
        )
    inside.securetune_clock.finish()
    check_coverage(inside.securetune_model, optimizer)
    check.end()
    return check.verified
