"""Every trainable tensor is in the optimizer, and what the optimizer holds takes part in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securetune.addressing import unwrapped_name
from securetune.errors import PlanNotAppliedError
from securetune.training.movement import sample


def check_coverage(model: Any, optimizer: Any) -> None:
    """Every trainable parameter must be in the optimizer, and every group must hold what its names say.

    Raises:
        PlanNotAppliedError: one is not, or a group holds another tensor.
    """
    if model is None:
        return
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    owners: dict[str, int] = {}
    missing = []
    for name, value in model.named_parameters(remove_duplicate=False):
        owners[unwrapped_name(name)] = id(value)
        if value.requires_grad and id(value) not in held:
            missing.append(name)
    if missing:
        raise PlanNotAppliedError(
            f"{len(missing)} trainable tensors are not in the optimizer, such as {missing[0]}: they were "
            "added, replaced or unfrozen after the optimizer was built, so nothing would train them. Do that "
            "before `trainer.train()`."
        )
    for group in optimizer.param_groups:
        for name, parameter in zip(group.get("param_names", ()), group["params"]):
            if owners.get(unwrapped_name(name), id(parameter)) != id(parameter):
                raise PlanNotAppliedError(
                    f"Group {group['group_name']} holds another tensor where the plan put {name}: its "
                    "members were replaced or exchanged after the optimizer was built."
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


def check_all_trained(optimizer: Any, rates: Mapping[str, float], idle: set[int], steps: int) -> None:
    """A group at a positive rate must have had a gradient somewhere.

    Args:
        optimizer: with the plan's groups.
        rates: of each group at the step just made; the optimizer may hold the next ones.
        idle: ids of the tensors without a gradient in all of the followed steps.
        steps: their number.

    Raises:
        PlanNotAppliedError: a group has had none.
    """
    for group in optimizer.param_groups:
        held = [id(parameter) for parameter in group["params"]]
        # Shards of other processes are empty here.
        has_values = any(sample(parameter).numel() for parameter in group["params"])
        rate = rates[group["group_name"]]
        if rate > 0 and idle.issuperset(held) and has_values:
            raise PlanNotAppliedError(
                f"Group {group['group_name']} has the rate {rate:.3g}, but none of its {len(held)} "
                f"tensors had a gradient in {steps} steps in which others had one: its modules take no "
                "part in the loss (detached, bypassed or run without gradients)."
            )
