"""What cannot carry a plan: trainers, optimizers, checkpoints and settings that would drop its rates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from securetune.addressing import Address
from securetune.errors import PlanError
from securetune.files import read_json
from securetune.models.fingerprint import fingerprint
from securetune.plan import TuningPlan

_OWN_GROUPS = {
    "galore": "GaLore puts the projected matrices into groups of its own",
    "apollo": "APOLLO puts the projected matrices into groups of its own",
    "lomo": "LOMO updates the weights inside the backward pass, at one rate",
    "layerwise": "a layer-wise optimizer has one optimizer per parameter",
}
_FROZEN_BY = "securetune_frozen_by"


def check_trainer(trainer: Any, plan: TuningPlan) -> None:
    """Refuse a trainer in which the plan could not take effect.

    Raises:
        PlanError: with the reason.
    """
    if getattr(trainer, "securetune_plan", None) is not None:
        raise PlanError("This trainer already has a plan; build a new trainer for another one.")
    if trainer.optimizer is not None:
        raise PlanError(
            "The trainer already has an optimizer, so its parameter groups are fixed. Call `attach` before "
            "`train()` and do not pass `optimizers=`; use `optim=` or `optimizer_cls_and_kwargs=` instead."
        )
    if trainer.lr_scheduler is not None and len(plan.phases) > 1:
        raise PlanError(
            "The trainer already has a scheduler; a plan of several phases must build it. Drop it from "
            "`optimizers=` and set `lr_scheduler_type`."
        )
    if getattr(trainer, "model_init", None) is not None:
        raise PlanError(
            "The trainer has `model_init`, so `train()` would replace the model that the plan was attached "
            "to. Pass `model=` and build one trainer per model."
        )
    check_arguments(trainer.args)
    # `accelerate launch --use_deepspeed` brings a configuration that the arguments do not show.
    plugin = getattr(getattr(trainer.accelerator, "state", None), "deepspeed_plugin", None)
    if plugin is not None:
        check_deepspeed(plugin.deepspeed_config)


def check_arguments(args: Any) -> None:
    """Refuse training arguments under which parameter groups do not survive.

    Raises:
        PlanError: with the reason.
    """
    optim = str(getattr(args.optim, "value", args.optim))
    for word, reason in _OWN_GROUPS.items():
        if word in optim:
            raise PlanError(
                f"optim={optim} builds its own parameter groups and would drop the plan's rates: {reason}. "
                "Use an optimizer with one rate (adamw, adafactor, 8-bit, paged)."
            )
    if getattr(args, "deepspeed", None):
        config = getattr(getattr(args, "hf_deepspeed_config", None), "config", None)
        check_deepspeed(config if config is not None else args.deepspeed)
    fsdp = getattr(args, "fsdp_config", None) or {}
    version = int(fsdp.get("fsdp_version", fsdp.get("version", 1)))
    is_fsdp1 = bool(getattr(args, "fsdp", None)) and version == 1
    if is_fsdp1 and str(fsdp.get("use_orig_params", "true")).lower() == "false":
        raise PlanError(
            "fsdp_config has use_orig_params=false: FSDP1 then flattens all parameters into one, which has "
            "one rate. Set use_orig_params to true, or use fsdp_version 2."
        )


def check_deepspeed(config: Any) -> None:
    """Refuse a DeepSpeed configuration that would erase the groups.

    Args:
        config: a dictionary, or the path of a JSON file.

    Raises:
        PlanError: it has an optimizer or a scheduler of its own, or cannot be read.
    """
    if not isinstance(config, dict):
        config = _read_config(config)
    erased = [key for key in ("optimizer", "scheduler") if key in config]
    if erased:
        raise PlanError(
            f"The DeepSpeed configuration has {erased}: DeepSpeed would build them itself and give every "
            "parameter one rate. Remove these keys; the Trainer's optimizer is used then."
        )


def check_base(model: Any, plan: TuningPlan) -> None:
    """Refuse a plan that was made for other base weights.

    Raises:
        PlanError: the fingerprints differ.
    """
    if plan.base is None:
        return
    found = fingerprint(model)
    if found != plan.base:
        raise PlanError(
            f"The plan was made for base weights {plan.base}, this model has {found}. Analyse this "
            "model, or pass check_base=False to use the plan all the same."
        )


def check_frozen(model: Any, plan: TuningPlan, address_of: Callable[[str], Address | None]) -> None:
    """Refuse a model on which another plan has turned gradients off that this plan wants to train.

    Raises:
        PlanError: names the first such parameter.
    """
    for name, parameter in model.named_parameters():
        frozen_by = getattr(parameter, _FROZEN_BY, None)
        is_other = frozen_by is not None and not parameter.requires_grad
        if is_other and any(plan.multipliers_of(address_of(name))):
            raise PlanError(
                f"{name} was frozen by plan {frozen_by} of an earlier trainer on this model, and this plan "
                "trains it. Load the model again, or turn its gradients on: "
                "model.requires_grad_(True) before adding adapters."
            )


def mark_frozen(parameter: torch.nn.Parameter, plan: TuningPlan) -> None:
    """Turn a parameter's gradient off and remember for which plan."""
    parameter.requires_grad_(False)
    setattr(parameter, _FROZEN_BY, plan.fingerprint)


def check_optimizer(optimizer: Any) -> float:
    """Refuse an optimizer whose groups the plan would overwrite; return its one rate.

    Raises:
        PlanError: it has several rates, group keys that its class does not know, or state.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise PlanError(
            f"The trainer built a {type(optimizer).__name__}, which is not a torch optimizer and has no "
            "parameter groups to hold the plan's rates."
        )
    groups = optimizer.param_groups
    if any(group.get("lr", 0.0) is None for group in groups):
        raise PlanError(
            f"{type(optimizer).__name__} sets its rate by itself (lr=None, as Adafactor with "
            "relative_step=True), so the plan's rates would have no effect. Give it a rate: lr=..., "
            "relative_step=False."
        )
    rates = {float(group["lr"]) for group in groups if "lr" in group}
    extra = {key for group in groups for key in group} - set(optimizer.defaults) - {"params", "param_names"}
    if len(rates) > 1 or extra or not rates:
        raise PlanError(
            f"{type(optimizer).__name__} comes with parameter groups of its own (rates {sorted(rates)}, "
            f"extra keys {sorted(extra)}); the plan would replace them. Use an optimizer with one rate."
        )
    # Some optimizers (Adagrad) have state from the start, at step 0.
    if any(float(state.get("step", 0)) > 0 for state in optimizer.state.values()):
        raise PlanError("The optimizer already has state; attach the plan before the first step.")
    return rates.pop()


def check_own_groups(optimizer: Any, groups: list[dict[str, Any]]) -> None:
    """Refuse an optimizer whose members or options would be lost when the plan's groups replace its own.

    Args:
        optimizer: as the trainer built it.
        groups: the plan's, from `build_param_groups`.

    Raises:
        PlanError: it leaves trainable parameters out, or gives some of them a decay or options of their own.
    """
    name = type(optimizer).__name__
    planned = {id(tensor): (label, group) for group in groups for label, tensor in group["params"]}
    held = {id(tensor): group for group in optimizer.param_groups for tensor in group["params"]}
    missing = [
        label for key, (label, group) in planned.items() if key not in held and any(group["multipliers"])
    ]
    if missing:
        raise PlanError(
            f"The trainer's {name} leaves out {len(missing)} trainable tensors, such as {missing[0]}; the "
            "plan would train them. Turn their gradients off, or give them the multiplier 0."
        )
    own = [key for key in optimizer.defaults if key not in ("lr", "weight_decay")]
    for key in own:
        values = [group.get(key) for group in optimizer.param_groups]
        if any(value != values[0] for value in values):
            raise PlanError(
                f"The trainer's {name} has groups with {key} of their own ({values}); the plan would replace "
                "them. Use one value for all."
            )
        if values and values[0] != optimizer.defaults[key]:
            for group in groups:
                group[key] = values[0]
    for key, (label, group) in planned.items():
        decay = held[key].get("weight_decay") if key in held else None
        if decay is not None and decay != group["weight_decay"]:
            raise PlanError(
                f"The trainer's {name} decays {label} by {decay:g}; the plan would decay it by "
                f"{group['weight_decay']:g} (the trainer's `weight_decay` and `get_decay_parameter_names`). "
                "Set the decay there."
            )


def check_checkpoint(checkpoint: Path, plan: TuningPlan, base_rate: float, *, is_deepspeed: bool) -> None:
    """Refuse a checkpoint whose optimizer state cannot be compared with the plan by `refuse_other_groups`.

    The Trainer goes on without a word where the state is missing: the schedule and its phases would start
    again at 0. DeepSpeed loads it past torch's optimizer; there the receipt of the checkpoint is compared.

    Raises:
        PlanError: the optimizer's or scheduler's state is missing, or the receipt names another plan, another
            base rate, or none.
    """
    names = [path.name for path in checkpoint.iterdir()]
    has_state = "scheduler.pt" in names and any("optimizer" in name for name in names)
    if has_state and not is_deepspeed:
        return
    receipt = checkpoint / "plan_receipt.json"
    content = read_json(receipt) if receipt.is_file() else None
    written = "none" if content is None else TuningPlan.from_json(content["planned"]).fingerprint
    if written != plan.fingerprint:
        raise PlanError(
            f"The checkpoint {checkpoint} was written under another plan ({written}, this one is "
            f"{plan.fingerprint}). Resume with the plan of the checkpoint, or start a new run from its "
            "weights."
        )
    if content is not None and content["base_rate"] != base_rate:
        raise PlanError(
            f"The checkpoint's base rate is {content['base_rate']}, this run's {base_rate}: the old rate "
            "would win in silence. Start a new run from its weights."
        )
    if not is_deepspeed:
        raise PlanError(
            f"The checkpoint {checkpoint} has no state of the optimizer and the scheduler "
            "(save_only_model=True, or the files were deleted): the schedule, and the plan's phases, would "
            "start again. Start a new run from its weights."
        )


def refuse_other_groups(optimizer: Any, state: dict[str, Any]) -> None:
    """Refuse a checkpoint whose groups have other members or multipliers, before it is loaded.

    Made for `Optimizer.register_load_state_dict_pre_hook`.

    Raises:
        PlanError: the checkpoint was written under another plan or base rate.
    """

    def key(group: dict[str, Any]) -> tuple[Any, ...]:
        names = ("group_name", "multipliers", "phase_ends", "param_names")
        values = (group.get(name) for name in names)
        return tuple(tuple(value) if isinstance(value, (list, tuple)) else value for value in values)

    saved, planned = state["param_groups"], optimizer.param_groups
    if [key(group) for group in saved] != [key(group) for group in planned]:
        names = [group.get("group_name", "unnamed") for group in saved]
        raise PlanError(
            f"The checkpoint was written under another plan: its groups are {names}, the plan's are "
            f"{[group['group_name'] for group in planned]} (or their members or phases differ). Resume with "
            "the plan of the checkpoint, or start a new run from its weights."
        )
    for before, now in zip(saved, planned):
        if before.get("base_rate") != now.get("base_rate"):
            raise PlanError(
                f"The checkpoint's base rate is {before.get('base_rate')}, this run's "
                f"{now.get('base_rate')}: the old rate would win in silence. Start a new run from its "
                "weights."
            )
        if before.get("phase_steps") != now.get("phase_steps"):
            raise PlanError(
                f"The phases of the checkpoint's run end with the steps {before.get('phase_steps')}, this "
                f"run's with {now.get('phase_steps')}: it has another number of steps (`max_steps`, epochs, "
                "batch size), and the phases would move. Resume with the same number, or start a new run "
                "from its weights."
            )


def _read_config(source: Any) -> dict[str, Any]:
    try:
        content = json.loads(Path(str(source)).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlanError(f"Cannot read the DeepSpeed configuration {source}: {error}") from error
    if not isinstance(content, dict):
        raise PlanError(f"The DeepSpeed configuration {source} is not a JSON object.")
    return content
