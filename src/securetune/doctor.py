"""doctor: is this installation complete, and how would a plan meet a model?"""

from __future__ import annotations

import importlib.util
from typing import Any

from securetune.embedding_model import PACKAGE as EMBEDDING_PACKAGE
from securetune.errors import MissingDependencyError
from securetune.models.demo import cache_directory, find_gguf
from securetune.plan import TuningPlan
from securetune.plan_source import read_plan
from securetune.runs.directory import environment


def diagnose(model_id: str | None, plan_source: str | None) -> tuple[dict[str, Any], str]:
    """Check packages, accelerator and embedded model; with a model, its layout; with a plan, the match.

    A plan is a file, a directory or a hub repository. The match is that with a LoRA adapter on all linear
    layers; `attach` logs the one with your own trainer. A plan without a model is read and described; that
    its patterns match something is not checked then.

    Raises:
        PlanError: the plan cannot be read, or does not fit the model.
    """
    plan = None if plan_source is None else read_plan(plan_source)
    content: dict[str, Any] = {"versions": environment(), **_machine()}
    lines = [f"{name}: {version}" for name, version in content["versions"].items()]
    lines += [f"accelerator: {content['accelerator']}", f"cache: {content['cache']}"]
    lines += [f"{name}: {state}" for name, state in content["optional"].items()]
    if model_id is not None:
        found, more = _model(model_id, plan)
        content |= found
        lines += more
    elif plan is not None:
        content["plan"] = {
            "strategy": plan.strategy,
            "base": plan.base,
            "phases": [phase.name for phase in plan.phases],
            "patterns": list(plan.patterns),
        }
        lines += [
            f"plan {plan.strategy}: {len(plan.phases)} phases, {len(plan.patterns)} patterns, made for "
            f"{'any base' if plan.base is None else f'base {plan.base}'}; not matched with a model: give one "
            f"(`securetune doctor MODEL --plan {plan_source}`)"
        ]
    return content, "\n".join(lines)


def _machine() -> dict[str, Any]:
    import torch

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none (CPU)"
    try:
        embedded = f"ready ({find_gguf().name})"
    except MissingDependencyError as error:
        embedded = str(error)
    optional = {"embedded model": embedded}
    packages = {"trl": "train, align, run", "gguf": "demo", "bitsandbytes": "4-bit bases"}
    for package, purpose in (packages | {EMBEDDING_PACKAGE: "the judge answer-classifier"}).items():
        there = importlib.util.find_spec(package) is not None
        optional[package] = "installed" if there else f"not installed (needed for: {purpose})"
    return {"accelerator": accelerator, "cache": str(cache_directory()), "optional": optional}


def _model(model_id: str, plan: TuningPlan | None) -> tuple[dict[str, Any], list[str]]:
    from securetune.models.fingerprint import fingerprint
    from securetune.models.load import load_model
    from securetune.models.module_map import ModuleMap
    from securetune.terminal import quiet_libraries
    from securetune.training.attach import describe_match
    from securetune.training.param_groups import match_plan
    from securetune.training.sft import add_lora
    from securetune.training_settings import TrainSettings

    quiet_libraries()
    model, tokenizer = load_model(model_id)
    modules = ModuleMap.of(model)
    content: dict[str, Any] = {
        "fingerprint": fingerprint(model),
        "layers": modules.layers,
        "matrices": len(modules.matrices()),
        "paths": list(modules.paths()),
        "chat_template": bool(tokenizer.chat_template),
    }
    lines = [
        f"{model_id}: fingerprint {content['fingerprint']}, {modules.layers} layers in {modules.stack}, "
        f"{content['matrices']} matrices",
        f"paths: {', '.join(content['paths'])}",
        "chat template: " + ("yes" if content["chat_template"] else "no; pass --chat-template"),
    ]
    if plan is not None:
        matches_base = plan.base in (None, content["fingerprint"])
        match = match_plan(add_lora(model, TrainSettings()), plan)
        content["plan"] = {
            "matches_base": matches_base,
            "addresses": match.addresses,
            "groups": [dict(vars(group)) for group in match.groups],
            "untrained_patterns": list(match.untrained_patterns),
            "shadowed_patterns": list(match.shadowed_patterns),
        }
        note = "" if matches_base else f" It was made for other base weights ({plan.base})."
        lines += [f"plan {plan.strategy} with a LoRA adapter on all linear layers:{note}"]
        lines += describe_match(match)
    return content, lines
