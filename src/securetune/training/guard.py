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

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check that the optimizer in use holds the plan's groups."""
        self._first_step = state.global_step
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
        if self._rates_only:
            self.check_rates(optimizer, scheduler, step)
            self.accept_rates(state.global_step)
        else:
            measure = _is_logged(args, state)
            self.before_step(optimizer, scheduler, step, model=kwargs.get("model"), measure=measure)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compare the movement with what the rates and the optimizer's state imply."""
        skipped = bool(getattr(kwargs["optimizer"], "step_was_skipped", False))
        self.after_step(unwrapped(kwargs["optimizer"]), state.global_step, skipped=skipped)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A run that never had a step to verify did not apply the plan."""
        # A resumed run may have no step left, or only one at rate 0; its plan was verified before.
        if not self.has_verified and self._first_step == 0:
            raise PlanNotAppliedError(
                "Training ended without one step at a positive learning rate, so the plan was never applied."
            )
        self.end()

    def receipt(self) -> dict[str, Any]:
        """What was planned and what was seen, for the run directory."""
        return {"plan": self.plan.fingerprint, "strategy": self.plan.strategy, "verified": self.verified}


def _is_logged(args: Any, state: Any) -> bool:
    """Whether the trainer logs after this step; by epoch, any step may be the last one of its epoch."""
    if str(getattr(args.logging_strategy, "value", args.logging_strategy)) != "steps":
        return str(getattr(args.logging_strategy, "value", args.logging_strategy)) == "epoch"
    step = state.global_step + 1
    return step % max(1, int(state.logging_steps)) == 0 or (step == 1 and args.logging_first_step)
