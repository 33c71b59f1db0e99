"""A plan and a model -> optimizer parameter groups. Framework-free; every parameter lands in one group."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import nn

from securetune.addressing import Address
from securetune.errors import ModelLayoutError, PlanError
from securetune.models.module_map import ModuleMap
from securetune.plan import TuningPlan


@dataclass(frozen=True)
class GroupReport:
    """One learning-rate group of a match report."""

    name: str
    multipliers: tuple[float, ...]
    """One per phase."""
    tensors: int
    parameters: int


@dataclass(frozen=True)
class PlanMatch:
    """How a plan meets a model: what would be trained at which rate."""

    multipliers: dict[str, tuple[float, ...]]
    """Trainable parameter name -> multiplier per phase."""
    addresses: int
    """Addresses that some pattern matches."""
    untrained_patterns: tuple[str, ...]
    """Patterns that match addresses of which none is trainable."""
    shadowed_patterns: tuple[str, ...]
    """Patterns without effect: everything that they match, an earlier one matches first."""
    groups: tuple[GroupReport, ...]


def match_plan(model: nn.Module, plan: TuningPlan, modules: ModuleMap | None = None) -> PlanMatch:
    """Match a plan against the trainable parameters of a model, before or after PEFT.

    Raises:
        PlanError: a pattern matches no address, or the plan touches no trainable parameter.
    """
    return _match(model, plan, modules or ModuleMap.of(model), must_touch=True)


def _match(model: nn.Module, plan: TuningPlan, modules: ModuleMap, *, must_touch: bool) -> PlanMatch:
    trainable: dict[str, tuple[Address | None, int]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            trainable[name] = (modules.address_of(name), parameter.numel())
    if not trainable:
        raise PlanError(
            "The model has no trainable parameter. Attach the plan after adding the adapter "
            "(or unfreeze the weights that should be tuned)."
        )
    matched: dict[str, set[Address]] = {pattern: set() for pattern in plan.patterns}
    for phase in plan.phases:
        for address in modules.addresses():
            if (first := phase.pattern(address)) is not None:
                matched[first].add(address)
    for pattern in plan.patterns:
        try:
            modules.select(pattern)  # raises if it names nothing, even when an earlier pattern shadows it
        except ModelLayoutError as error:
            raise PlanError(f"The plan does not fit the model: {error}") from error
    live = {owner for owner, _ in trainable.values() if owner is not None}
    untrained = tuple(p for p in plan.patterns if matched[p] and not matched[p] & live)
    if must_touch and plan.patterns and not any(found & live for found in matched.values()):
        raise PlanError(
            f"The plan touches no trainable parameter: {len(trainable)} tensors are trainable, and none "
            f"belongs to an address that a pattern matches. Check `target_modules` of the adapter."
        )
    multipliers = {name: plan.multipliers_of(owner) for name, (owner, _) in trainable.items()}
    if not any(any(values) for values in multipliers.values()):
        raise PlanError(
            "The plan gives every trainable parameter the multiplier 0: nothing would be trained."
        )
    sizes = {name: size for name, (_, size) in trainable.items()}
    return PlanMatch(
        multipliers,
        len(set().union(*matched.values())) if matched else 0,
        untrained,
        tuple(pattern for pattern in plan.patterns if not matched[pattern]),
        _group_reports(multipliers, sizes),
    )


def group_name(multipliers: tuple[float, ...]) -> str:
    """Name of a group, e.g. `x1` or `x0-x1` for two phases; other multipliers have another name."""
    return "-".join(f"x{value:g}" if float(f"{value:g}") == value else f"x{value!r}" for value in multipliers)


def _group_reports(
    multipliers: dict[str, tuple[float, ...]], sizes: dict[str, int]
) -> tuple[GroupReport, ...]:
    # The fastest group first: trainers log the rate of group 0 only.
    order = sorted(set(multipliers.values()), key=lambda values: (-max(values), tuple(-v for v in values)))
    reports = []
    for key in order:
        names = [name for name, values in multipliers.items() if values == key]
        reports.append(GroupReport(group_name(key), key, len(names), sum(sizes[name] for name in names)))
    return tuple(reports)


def build_param_groups(
    model: nn.Module,
    plan: TuningPlan,
    *,
    lr: float,
    weight_decay: float = 0.0,
    decay_names: Collection[str] | None = None,
) -> list[dict[str, Any]]:
    """Return optimizer groups for `torch.optim`, each with its learning rate and named parameters.

    A plan of one phase puts its multipliers into `lr`. With several phases every group starts at the base
    rate, and the scheduler must carry the multipliers: `add_phases_(scheduler, plan, total_steps)`.

    Args:
        model: with every adapter already added.
        plan: what to apply.
        lr: the base learning rate, multiplier 1.
        weight_decay: decay of the parameters in `decay_names`; others get 0.
        decay_names: parameter names that decay; `None` is all of them.

    Raises:
        PlanError: see `match_plan`.
    """
    # What a plan freezes is not trainable any more, so a frozen plan may touch nothing that is left.
    match = _match(model, plan, ModuleMap.of(model), must_touch=not plan.freeze)
    parameters = dict(model.named_parameters())
    groups: list[dict[str, Any]] = []
    for report in match.groups:
        names = [name for name, values in match.multipliers.items() if values == report.multipliers]
        for decays in (True, False):
            members = [n for n in names if (decay_names is None or n in decay_names) is decays]
            if members:
                groups.append(
                    {
                        "params": [(name, parameters[name]) for name in members],
                        "lr": lr * (report.multipliers[0] if len(plan.phases) == 1 else 1.0),
                        "weight_decay": weight_decay if decays else 0.0,
                        "group_name": report.name if decays else f"{report.name}/no-decay",
                        "multipliers": list(report.multipliers),
                        "base_rate": lr,
                        "phase_ends": [phase.until for phase in plan.phases],
                    }
                )
    placed = sum(len(group["params"]) for group in groups)
    assert placed == len(match.multipliers), f"{placed} of {len(match.multipliers)} tensors were placed"
    return groups
