"""Every trainable tensor is in the optimizer, and what the optimizer holds takes part in training."""

from __future__ import annotations

from typing import Any

from securetune.errors import PlanNotAppliedError
from securetune.training.movement import Before


def check_coverage(model: Any, optimizer: Any) -> None:
    """Every trainable parameter must be in the optimizer.

    Raises:
        PlanNotAppliedError: one is not.
    """
    if model is None:
        return
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    named = model.named_parameters()
    missing = [name for name, value in named if value.requires_grad and id(value) not in held]
    if missing:
        raise PlanNotAppliedError(
            f"{len(missing)} trainable tensors are not in the optimizer, such as {missing[0]}: they were "
            "added or unfrozen after the optimizer was built. Add adapters before `trainer.train()`."
        )


def check_trainable(optimizer: Any) -> None:
    """What the optimizer holds must have its gradients on.

    Raises:
        PlanNotAppliedError: one tensor has not.
    """
    for group in optimizer.param_groups:
        for index, parameter in enumerate(group["params"]):
            if not parameter.requires_grad:
                name = (group.get("param_names") or {index: "a tensor"})[index]
                raise PlanNotAppliedError(
                    f"Group {group['group_name']} holds {name}, whose gradient was turned off after the "
                    "optimizer was built (LISA, gradual unfreezing, a callback): the plan would not move it. "
                    "Turn that off, or give the module the multiplier 0."
                )


def check_all_trained(optimizer: Any, before: dict[int, Before], idle: set[int], steps: int) -> None:
    """A group at a positive rate must have had a gradient somewhere.

    Args:
        optimizer: with the plan's groups.
        before: id -> what this step compares.
        idle: ids of the tensors without a gradient in all of the followed steps.
        steps: their number.

    Raises:
        PlanNotAppliedError: a group has had none.
    """
    for group in optimizer.param_groups:
        held = [id(parameter) for parameter in group["params"]]
        # Shards of other processes are empty here.
        if group["lr"] > 0 and idle.issuperset(held) and any(before[key].values.numel() for key in held):
            raise PlanNotAppliedError(
                f"Group {group['group_name']} has the rate {group['lr']:.3g}, but none of its {len(held)} "
                f"tensors had a gradient in {steps} steps in which others had one: its modules take no "
                "part in the loss (detached, bypassed or run without gradients)."
            )
