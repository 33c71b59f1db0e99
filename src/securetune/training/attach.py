"""attach(trainer, plan): put a plan into any transformers Trainer, and make sure that it takes effect."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from securetune.files import write_json
from securetune.models.module_map import ModuleMap
from securetune.plan import TuningPlan
from securetune.training import checks
from securetune.training.guard import PlanGuard
from securetune.training.param_groups import PlanMatch, build_param_groups, match_plan
from securetune.training.receipt import Movement, StartWeights, plan_receipt
from securetune.training.schedule import add_phases_

log = logging.getLogger("securetune")


def attach(trainer: Any, plan: TuningPlan, *, check_base: bool = True) -> Any:
    """Make `trainer` train every module at the rate its plan gives it. Call it before `trainer.train()`.

    The trainer's own optimizer class and settings stay; only its parameter groups change. The scheduler
    stays too; a plan of several phases needs one of the LambdaLR family (linear, cosine, constant, ...),
    whose factors are then multiplied by the phase's multiplier. At the first step with a positive rate,
    and after each change of phase, the optimizer's rates and the movement of the weights are compared
    with the plan, and training stops with `PlanNotAppliedError` if they disagree. The rate, gradient norm
    (after clipping) and update norm of every group are logged as `lr/<group>`, `grad_norm/<group>` and
    `update_norm/<group>`. What was planned and what happened is written as `plan_receipt.json` beside
    every model that the trainer saves.

    With Adam, a module at rate r moves about r per step whatever its gradient, so multipliers are ratios
    of movement. A group at rate 0 still collects moments and counts in gradient clipping; a plan with
    `freeze=True` turns its gradients off instead.

    What the patterns match is logged at level INFO (logger `securetune`).

    Args:
        trainer: any `transformers.Trainer`, also TRL's, with its model and adapter in place.
        plan: the plan.
        check_base: refuse a plan that was made for other base weights.

    Returns:
        The same trainer.

    Raises:
        PlanError: the plan does not fit the model or this trainer's optimizer, or the trainer already has
            an optimizer or a plan.
    """
    checks.check_trainer(trainer, plan)
    if check_base:
        checks.check_base(trainer.model, plan)
    checks.check_frozen(trainer.model, plan, ModuleMap.of(trainer.model).address_of)
    match = match_plan(trainer.model, plan)
    if plan.freeze:
        freeze_unmoved(trainer.model, plan)
    for pattern in match.untrained_patterns:
        log.warning("plan pattern `%s` matches only weights that are not trained", pattern)
    for pattern in match.shadowed_patterns:
        log.warning("plan pattern `%s` is shadowed: earlier patterns match all that it matches", pattern)
    log.info("plan %s: %s", plan.strategy, "\n".join(describe_match(match)))
    guard = PlanGuard(plan, trainer.args.learning_rate)
    start = _Start(trainer.model, plan, check_base=check_base)
    _bind_optimizer(trainer, plan, guard, start)
    _bind_scheduler(trainer, plan, guard)
    _bind_resume(trainer, plan, guard, start)
    _bind_log(trainer, guard)
    _bind_save(trainer, match, guard, start)
    trainer.add_callback(guard)
    trainer.securetune_plan = plan
    trainer.securetune_guard = guard
    trainer.securetune_match = match
    return trainer


class PlanTrainerMixin:
    """For people who write their own trainer class: `class MyTrainer(PlanTrainerMixin, SFTTrainer)`.

    Examples:
        >>> MyTrainer(model, args, train_dataset=rows, plan=plan)  # doctest: +SKIP
    """

    def __init__(self, *args: Any, plan: TuningPlan, check_base: bool = True, **kwargs: Any) -> None:
        """Build the trainer with its own arguments, then `attach` the plan."""
        super().__init__(*args, **kwargs)
        attach(self, plan, check_base=check_base)


def freeze_unmoved(model: Any, plan: TuningPlan) -> int:
    """Turn `requires_grad` off where the plan's multiplier is 0 in every phase; return how many tensors."""
    modules = ModuleMap.of(model)
    frozen = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not any(plan.multipliers_of(modules.address_of(name)))
    ]
    for parameter in frozen:
        checks.mark_frozen(parameter, plan)
    return len(frozen)


def describe_match(match: PlanMatch) -> list[str]:
    """The match report as lines for a terminal."""
    lines = [f"{match.addresses} addresses matched by patterns, {len(match.multipliers)} trainable tensors"]
    for group in match.groups:
        lines.append(f"  {group.name}: {group.tensors} tensors, {group.parameters:,} parameters")
    lines += [f"  pattern `{p}` matches only untrained weights" for p in match.untrained_patterns]
    lines += [f"  pattern `{p}` is shadowed by earlier patterns" for p in match.shadowed_patterns]
    return lines


class _Start:
    """The model that the plan was attached to, and its weights then."""

    def __init__(self, model: Any, plan: TuningPlan, *, check_base: bool) -> None:
        self.model, self.plan, self.check_base = model, plan, check_base
        self.weights = StartWeights.of(model)
        self.is_late = False
        """Whether the model was wrapped or replaced since."""
        self.is_resumed = False

    def refresh(self, model: Any) -> None:
        """Look again at a model that was wrapped (an adapter was added) or replaced after `attach`."""
        if model is self.model:
            return
        if self.check_base:
            checks.check_base(model, self.plan)
        self.model, self.weights, self.is_late = model, StartWeights.of(model), True

    def movement(self, model: Any) -> Movement:
        """Total movement since the start, or why it is not known."""
        if self.is_late and self.is_resumed:
            return Movement(None, "an adapter was added after `attach`, and the run was resumed")
        return self.weights.movement(model)


def _bind_optimizer(trainer: Any, plan: TuningPlan, guard: PlanGuard, start: _Start) -> None:
    original = trainer.create_optimizer

    def create_optimizer(model: Any = None) -> torch.optim.Optimizer:
        if trainer.optimizer is not None:
            return trainer.optimizer
        target = trainer.model if model is None else model
        start.refresh(trainer.model)
        if plan.freeze:
            # An adapter that was added or loaded since has its gradients on.
            freeze_unmoved(target, plan)
        optimizer = original() if model is None else original(model)
        # The rate that the user gave the optimizer, which need not be `learning_rate`.
        rate, decay = checks.check_optimizer(optimizer), trainer.args.weight_decay
        decay_names = set(trainer.get_decay_parameter_names(target))
        groups = build_param_groups(target, plan, lr=rate, weight_decay=decay, decay_names=decay_names)
        checks.check_own_groups(optimizer, groups)
        guard.base_rate = rate
        # The optimizer is kept as the trainer built it, class, defaults and hooks; it has no state yet.
        optimizer.param_groups.clear()
        for group in groups:
            optimizer.add_param_group(group)
        optimizer.register_load_state_dict_pre_hook(checks.refuse_other_groups)
        optimizer.register_step_post_hook(guard.count)
        guard.expect(optimizer)
        return optimizer

    trainer.create_optimizer = create_optimizer


def _bind_scheduler(trainer: Any, plan: TuningPlan, guard: PlanGuard) -> None:
    original = trainer.create_scheduler

    def create_scheduler(num_training_steps: int, optimizer: Any = None) -> Any:
        scheduler = original(num_training_steps=num_training_steps, optimizer=optimizer)
        add_phases_(scheduler, plan, num_training_steps)
        guard.expect_schedule(num_training_steps)
        return scheduler

    trainer.create_scheduler = create_scheduler


def _bind_resume(trainer: Any, plan: TuningPlan, guard: PlanGuard, start: _Start) -> None:
    original = trainer._load_optimizer_and_scheduler

    def load(checkpoint: str | None) -> None:
        if checkpoint is not None:
            is_deepspeed = getattr(trainer, "is_deepspeed_enabled", False)
            checks.check_checkpoint(Path(checkpoint), plan, guard.base_rate, is_deepspeed=is_deepspeed)
            start.is_resumed = True
        original(checkpoint)

    trainer._load_optimizer_and_scheduler = load


def _bind_log(trainer: Any, guard: PlanGuard) -> None:
    original = trainer.log

    def log_with_rates(logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            # Those of the step just made, as `learning_rate`; the optimizer already holds the next ones.
            logs |= {f"lr/{name}": rate for name, rate in guard.rates.items()}
            logs |= guard.norms_at(trainer.state.global_step)
        original(logs, *args, **kwargs)

    trainer.log = log_with_rates


def _bind_save(trainer: Any, match: PlanMatch, guard: PlanGuard, start: _Start) -> None:
    original = trainer.save_model

    def receipt(measure: bool = True) -> dict[str, Any]:
        model = trainer.accelerator.unwrap_model(trainer.model)
        return plan_receipt(guard, match, start.movement(model) if measure else None)

    def save_model(output_dir: str | None = None, _internal_call: bool = False) -> None:
        original(output_dir, _internal_call)
        if trainer.args.should_save:
            # Checkpoints come often: their receipt leaves out the total movement.
            path = Path(output_dir or trainer.args.output_dir) / "plan_receipt.json"
            write_json(path, receipt(measure=not _internal_call))

    trainer.save_model = save_model
    trainer.securetune_receipt = receipt
