"""PlanGuard: watches one training run and stops it when the plan is not what happens to the weights."""

from __future__ import annotations

import logging
from typing import Any

from transformers import TrainerCallback

from securetune.errors import PlanNotAppliedError
from securetune.plan import TuningPlan
from securetune.training.plan_check import PlanCheck, unwrapped

log = logging.getLogger("securetune")


class PlanGuard(PlanCheck, TrainerCallback):
    """A PlanCheck that is driven by a `transformers.Trainer`."""

    def __init__(self, plan: TuningPlan, base_rate: float) -> None:
        super().__init__(plan, base_rate)
        self._first_step = 0
        self._rates_only = False
        self._made = self._made_before = 0
        """Steps of the optimizer that holds the plan, as its own hook counts them."""
        self._clock: int | None = None
        """What the scheduler must count at the next step."""
        self._norms_step = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check that the optimizer in use holds the plan's groups."""
        self._first_step = state.global_step
        self._clock = None
        self.begin()
        self._rates_only = "DeepSpeed" in type(kwargs.get("optimizer")).__name__
        if self._rates_only:
            log.warning(
                "DeepSpeed keeps the weights in buffers of its own: the plan's rates are checked at every "
                "step, the movement of the weights only after training, in plan_receipt.json."
            )
        self.check_groups(unwrapped(kwargs.get("optimizer")))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check the rates; copy a sample of every tensor, if this step is one to verify or to log."""
        optimizer, scheduler = unwrapped(kwargs["optimizer"]), kwargs.get("lr_scheduler")
        # The schedule does not count steps that a gradient scaler skipped; the trainer does.
        step = getattr(scheduler, "last_epoch", state.global_step)
        self._check_clock(step, scheduler)
        self._made_before = self._made
        if self._rates_only:
            self.check_rates(optimizer, scheduler, step)
            self.accept_rates(state.global_step)
        else:
            measure = _is_logged(args, state)
            self._norms_step = state.global_step + 1 if measure else self._norms_step
            is_last = state.global_step + 1 >= state.max_steps
            told = {"model": kwargs.get("model"), "measure": measure, "is_last": is_last}
            self.before_step(optimizer, scheduler, step, **told)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compare the movement with what the rates and the optimizer's state imply."""
        skipped = bool(getattr(kwargs["optimizer"], "step_was_skipped", False))
        if self._clock is not None:
            self._clock += not skipped
        if not (skipped or self._rates_only or self._made > self._made_before):
            raise PlanNotAppliedError(
                "The optimizer that holds the plan did not step: something replaced it after `attach`, by "
                f"step {state.global_step + 1}. Use `optim=` or `optimizer_cls_and_kwargs=` to choose one."
            )
        self.after_step(unwrapped(kwargs["optimizer"]), state.global_step, skipped=skipped)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A run that never had a step to verify did not apply the plan."""
        # A resumed run may have no step left, or only one at rate 0; its plan was verified before.
        if not self.has_verified and self._first_step == 0:
            raise PlanNotAppliedError(
                "Training ended without one step at a positive learning rate, so the plan was never applied."
            )
        if self._phase is not None and self._phase < len(self.plan.phases) - 1:
            log.warning(
                "training ended in phase `%s` of the plan; phase `%s` was never reached",
                *(self.plan.phases[self._phase].name, self.plan.phases[-1].name),
            )
        self.end()

    def count(self, *_: Any) -> None:
        """Count a step; made for `Optimizer.register_step_post_hook`."""
        self._made += 1

    def norms_at(self, step: int) -> dict[str, float]:
        """The groups' norms if they are those of this step; none of an earlier one."""
        return self.norms if step == self._norms_step else {}

    def _check_clock(self, step: int, scheduler: Any) -> None:
        """The phases follow the scheduler's count, which must go on by one with every step."""
        if len(self.plan.phases) > 1 and self._clock is not None and step != self._clock:
            raise PlanNotAppliedError(
                f"The scheduler ({type(scheduler).__name__}) counts {step} steps where the optimizer has "
                f"made {self._clock}: something else steps it, and the phases would come at other times."
            )
        self._clock = step

    def receipt(self) -> dict[str, Any]:
        """What was planned and what was seen, for the run directory."""
        return {"plan": self.plan.fingerprint, "strategy": self.plan.strategy, "verified": self.verified}


def _is_logged(args: Any, state: Any) -> bool:
    """Whether the trainer logs after this step; by epoch, any step may be the last one of its epoch."""
    if str(getattr(args.logging_strategy, "value", args.logging_strategy)) != "steps":
        return str(getattr(args.logging_strategy, "value", args.logging_strategy)) == "epoch"
    step = state.global_step + 1
    return step % max(1, int(state.logging_steps)) == 0 or (step == 1 and args.logging_first_step)
