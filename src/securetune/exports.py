"""A plan for other tools: Axolotl, LLaMA-Factory, PEFT, mergekit; and the JSON schema of plan files."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from securetune.addressing import Address, canonical_name
from securetune.errors import PlanError
from securetune.models.module_map import ModuleMap
from securetune.models.saved_form import as_saved
from securetune.plan import FORMAT, VERSION, TuningPlan


def to_axolotl(plan: TuningPlan, model: Any, *, lr: float) -> dict[str, Any]:
    """Axolotl settings: `learning_rate`, and `lr_groups` with absolute rates.

    Axolotl matches substrings, so every module is written out in full with a trailing dot, and the result
    is compared with the model. What no group names, norms and biases included, has `learning_rate`, which
    is the plan's `outside` rate.

    Args:
        plan: of one phase.
        model: the base model, before or after PEFT.
        lr: the base learning rate, multiplier 1.

    Raises:
        PlanError: the plan has phases, or Axolotl cannot express it.
    """
    phase = _only_phase(plan, "Axolotl's lr_groups")
    modules = ModuleMap.of(model)
    by_rate: dict[float, list[str]] = {}
    for address in _matrices(modules, plan):
        if (multiplier := phase.multiplier(address)) != phase.outside:
            by_rate.setdefault(multiplier, []).append(f"{modules.stack}.{address}.")
    matrices = set(modules.matrices())
    other = [
        a for a in modules.addresses() if a not in matrices and phase.multiplier(a) != phase.outside
        and modules.trainable(a)
    ]  # fmt: skip
    if other:
        raise PlanError(
            f"Axolotl gives norms and biases its base rate, and the plan gives {other[0]} (and "
            f"{len(other) - 1} more) another one than `outside`. Use the plugin "
            "(securetune.training.axolotl.SecureTunePlugin), or a plan whose patterns name matrices only."
        )
    for needles in by_rate.values():
        _check_exact(needles, modules)
    groups = [
        {"name": f"x{multiplier:g}", "modules": needles, "lr": lr * multiplier}
        for multiplier, needles in sorted(by_rate.items(), reverse=True)
    ]
    return {"learning_rate": lr * phase.outside, "lr_groups": groups}


def to_peft(plan: TuningPlan, model: Any, *, at_least: float | None = None) -> dict[str, list[str]]:
    """Keyword arguments of `LoraConfig` that adapt only modules with a high multiplier.

    A selection says only in or out: modules below `at_least` get no adapter, as in a plan that freezes them.

    Args:
        plan: of one phase.
        model: the base model.
        at_least: the smallest multiplier that is adapted; default is the highest one of the plan.

    Returns:
        `target_modules` (full paths, which PEFT matches exactly) and `target_parameters` (fused experts).

    Raises:
        PlanError: the plan has phases, or nothing is selected.
    """
    phase = _only_phase(plan, "a PEFT target selection")
    modules = ModuleMap.of(model)
    multipliers = {address: phase.multiplier(address) for address in _matrices(modules, plan)}
    limit = max(multipliers.values()) if at_least is None else at_least
    chosen = [address for address, value in multipliers.items() if value >= limit and value > 0]
    if not chosen:
        raise PlanError(
            f"No module has a multiplier of at least {limit:g}; the highest is {max(multipliers.values()):g}."
        )
    linear = [a for a in chosen if isinstance(modules.module(a), (nn.Linear, Conv1D))]
    return {
        "target_modules": [f"{modules.stack}.{address}" for address in linear],
        "target_parameters": [f"{modules.stack}.{a}" for a in chosen if a not in set(linear)],
    }


def to_llama_factory(plan: TuningPlan, model: Any, *, at_least: float | None = None) -> dict[str, str]:
    """LLaMA-Factory settings that put LoRA on the modules with a high multiplier only; see `to_peft`.

    Raises:
        PlanError: as `to_peft`, and for fused expert parameters, which LLaMA-Factory cannot name.
    """
    targets = to_peft(plan, model, at_least=at_least)
    if targets["target_parameters"]:
        raise PlanError(
            f"LLaMA-Factory cannot adapt the fused expert parameter {targets['target_parameters'][0]}. "
            "Use the launcher (examples/llama_factory/), which attaches the plan itself."
        )
    return {"finetuning_type": "lora", "lora_target": ",".join(targets["target_modules"])}


def to_mergekit(
    plan: TuningPlan, model: Any, *, base: str, tuned: str, at_least: float | None = None
) -> dict[str, Any]:
    """A mergekit recipe that keeps a tuned model's robust modules and restores the rest to the start model.

    The recipe adds the tuned model's difference to the start model, with weight 0 in every module whose
    multiplier is below `at_least`. Its filters are names of the checkpoint, in which experts are not fused,
    and are compared with every tensor of it.

    Args:
        plan: of one phase; its multipliers tell sensitive modules from robust ones.
        model: the base model.
        base: path or hub id of the start model.
        tuned: path or hub id of the tuned model, merged.
        at_least: the smallest multiplier that keeps its tuned weights; default is the plan's highest.

    Raises:
        PlanError: the plan has phases, or restores nothing, or mergekit's substrings cannot express it.
    """
    phase = _only_phase(plan, "a mergekit recipe")
    modules = ModuleMap.of(model)
    limit = max(phase.multiplier(a) for a in modules.addresses()) if at_least is None else at_least
    sensitive = {address for address in modules.addresses() if phase.multiplier(address) < limit}
    if not sensitive:
        raise PlanError(f"Every module has a multiplier of at least {limit:g}: there is nothing to restore.")
    outside = 0.0 if phase.outside < limit else 1.0
    saved = _saved_names(model, modules)
    needles = (
        needle for address in sorted(sensitive) for needle in _needles(modules, address, saved[address])
    )
    weight: list[dict[str, Any]] = [{"filter": needle, "value": 0.0} for needle in needles]
    weight += [{"filter": f"{modules.stack}.", "value": 1.0}, {"value": outside}]
    for address, names in saved.items():
        wanted = outside if address is None else float(address not in sensitive)
        for name in names:
            # mergekit's rule: the first entry without a filter, or whose filter is a substring.
            value = next(entry["value"] for entry in weight if entry.get("filter", "") in name)
            if value != wanted:
                raise PlanError(
                    f"mergekit would give the tensor {name} the weight {value:g}, and the plan asks for "
                    f"{wanted:g}: its names do not begin with {modules.stack}, or contain one another. "
                    "Mix the two models yourself."
                )
    return {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "models": [{"model": tuned, "parameters": {"weight": weight}}],
        "dtype": "float32",
    }


def plan_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of plan files of the present version."""
    number = {"type": "number", "minimum": 0}
    phase = {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "until", "multipliers", "outside"],
        "properties": {
            "name": {"type": "string"},
            "until": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "multipliers": {"type": "object", "additionalProperties": number},
            "outside": number,
        },
    }
    properties = {
        "format": {"const": FORMAT},
        "version": {"const": VERSION},
        "strategy": {"type": "string"},
        "base": {"type": ["string", "null"], "description": "fingerprint of the base weights"},
        "freeze": {"type": "boolean"},
        "phases": {"type": "array", "minItems": 1, "items": phase},
        "provenance": {"type": "object"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"securetune plan, version {VERSION}",
        "description": (
            "Versions count up by one. A reader of version n reads every version up to n, by migrating it "
            "one version at a time, and refuses later ones."
        ),
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _only_phase(plan: TuningPlan, target: str) -> Any:
    if len(plan.phases) > 1:
        raise PlanError(
            f"The plan has {len(plan.phases)} phases; {target} knows one. Use securetune.attach, or export "
            "a plan of one phase."
        )
    return plan.phases[0]


def _matrices(modules: ModuleMap, plan: TuningPlan) -> tuple[Address, ...]:
    for pattern in plan.patterns:
        modules.select(pattern)  # raises if it names nothing
    return modules.matrices()


def _saved_names(model: Any, modules: ModuleMap) -> dict[Address | None, list[str]]:
    """Address -> names in the checkpoint of its parameters; `None` -> those outside the stack."""
    owned = {address: modules.parameters(address) for address in modules.addresses()}
    return {
        address: [
            saved
            for name, value in parameters
            for saved in as_saved(model, canonical_name(name), torch.empty_like(value, device="meta"))
        ]
        for address, parameters in (*owned.items(), (None, modules.outside()))
    }


def _needles(modules: ModuleMap, address: Address, names: list[str]) -> list[str]:
    """Substrings that the address's names in the checkpoint have: its path, or else all of them."""
    path = f"{modules.stack}.{address}."
    return [path] if all(name.startswith(path) for name in names) else names


def _check_exact(needles: list[str], modules: ModuleMap) -> None:
    """Every substring must match the parameters of one address, and all of them."""
    named = [(name, address) for address in modules.addresses() for name, _ in modules.parameters(address)]
    named += [(name, None) for name, _ in modules.outside()]  # type: ignore[misc]
    for needle in needles:
        hit = {address for name, address in named if needle in name}
        if len(hit) != 1 or None in hit:
            shown = sorted(str(address) for address in hit) or "nothing"
            raise PlanError(
                f"The substring {needle!r} does not match exactly one address of this model, but {shown}; "
                "a tool that matches substrings cannot express the plan. Use securetune.attach."
            )
