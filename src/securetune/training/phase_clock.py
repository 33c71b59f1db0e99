"""The scheduler's count in a loop of one's own: the phases of a plan follow it."""

from __future__ import annotations

from typing import Any

from securetune.errors import PlanNotAppliedError
from securetune.plan import TuningPlan
from securetune.training.schedule import phase_at


class PhaseClock:
    """Compares what a scheduler counts with the steps of the optimizer that holds the plan.

    A loop may step its scheduler once per optimizer step, once per epoch, or several times (accelerate does,
    once per process): what matters is that the count fits `total_steps` of `add_phases_`.
    """

    def __init__(self, plan: TuningPlan, scheduler: Any) -> None:
        self.plan, self.scheduler = plan, scheduler
        self.total = int(getattr(scheduler, "securetune_phases", 0))
        self._seen: int | None = None
        self._advance = 1
        """The most that the scheduler went on between two steps."""

    def tick(self) -> int:
        """Return the scheduler's count just before a step.

        Raises:
            PlanNotAppliedError: it has gone on beyond the end of the plan's phases.
        """
        now = int(self.scheduler.last_epoch)
        if self._seen is not None:
            self._advance = max(self._advance, now - self._seen)
        if self.total and now >= self.total + self._advance:
            raise PlanNotAppliedError(
                f"The scheduler counts {now} steps, {self._advance} per step of the optimizer, and the "
                f"plan's phases were laid over {self.total}: they came too early. Give `add_phases_` the "
                "number that the scheduler will count (under accelerate, every step once per process)."
            )
        self._seen = now
        return now

    def finish(self) -> None:
        """Check the end of the run.

        Raises:
            PlanNotAppliedError: the scheduler went on without the optimizer, or the last phase never came.
        """
        if self.scheduler is None or self._seen is None:
            return
        ahead = int(self.scheduler.last_epoch) - self._seen
        if ahead > self._advance:
            raise PlanNotAppliedError(
                f"The scheduler went on by {ahead} steps after the last step of the optimizer that holds the "
                "plan: something replaced that optimizer, and another one made the steps since."
            )
        last = phase_at(self.plan, self.total - 1, self.total) if self.total else 0
        if self.total and phase_at(self.plan, self._seen, self.total) < last:
            raise PlanNotAppliedError(
                f"Phase `{self.plan.phases[last].name}` of the plan never came: the scheduler counted "
                f"{self._seen} at the last step, of {self.total} that `add_phases_` was given. Call "
                "`scheduler.step()` after every optimizer step, and give `add_phases_` the number of steps."
            )
