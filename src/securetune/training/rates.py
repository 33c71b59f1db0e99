"""Do the optimizer's groups have the rates that the plan gives them?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from securetune.errors import PlanNotAppliedError


def checked_rates(
    optimizer: Any, scheduler: Any, wanted: Mapping[str, float], base_rate: float
) -> dict[str, float]:
    """Return the rate of every group, if it is the planned one.

    All groups' rates must stand in the ratio of their multipliers, and be what the schedule set.

    Args:
        optimizer: in use.
        scheduler: of the optimizer, if there is one.
        wanted: multiplier of every group in this phase.
        base_rate: of multiplier 1, before the schedule.

    Raises:
        PlanNotAppliedError: a group is missing, or has another rate.
    """
    rates = {group.get("group_name", "unnamed"): float(group["lr"]) for group in optimizer.param_groups}
    kind = type(scheduler).__name__ if scheduler else "unknown"
    if rates.keys() != wanted.keys():
        raise PlanNotAppliedError(
            f"The optimizer's groups {list(rates)} are not the plan's {list(wanted)}: groups were added, "
            "dropped or renamed after the optimizer was built. Build groups from the plan only."
        )
    # The reference is what the schedule makes of the fastest group.
    top = max(wanted, key=lambda name: wanted[name])
    unit = rates[top] / wanted[top] if wanted[top] else 0.0
    for name, multiplier in wanted.items():
        if not _is_close(rates[name], unit * multiplier):
            raise PlanNotAppliedError(
                f"Group {name} has the learning rate {rates[name]:.3g}; the plan says {multiplier:g} x "
                f"{unit:.3g} = {unit * multiplier:.3g}. The scheduler ({kind}) or a callback changed it."
            )
    if unit > base_rate * (1 + 1e-6):
        raise PlanNotAppliedError(
            f"The rate of multiplier 1 is {unit:.3g}, above the base learning rate {base_rate:.3g}. "
            f"The scheduler ({kind}) or a callback raised it."
        )
    if isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        for (name, rate), scheduled in zip(rates.items(), scheduler.get_last_lr()):
            if not _is_close(rate, float(scheduled)):
                raise PlanNotAppliedError(
                    f"Group {name} has the learning rate {rate:.3g}; the scheduler ({kind}) set "
                    f"{float(scheduled):.3g}. A callback changed it."
                )
    return rates


def _is_close(rate: float, planned: float) -> bool:
    return abs(rate - planned) <= 1e-6 * max(planned, abs(rate))
