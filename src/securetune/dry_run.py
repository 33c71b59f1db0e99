"""What a run would do, without training: matched modules, groups, rates, tokens, time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from securetune.addressing import Address
from securetune.config import parse_strategy
from securetune.encoding import encode
from securetune.inputs import training_rows
from securetune.models.module_map import ModuleMap
from securetune.pipeline import Pipeline
from securetune.progress import duration
from securetune.strategies.build import build_plan, needs_robust_set
from securetune.training.attach import freeze_unmoved
from securetune.training.param_groups import match_plan
from securetune.training.sft import add_lora, total_steps


def describe_dry_run(pipeline: Pipeline) -> tuple[dict[str, Any], str]:
    """Match every strategy's plan against the model as it would be trained, and estimate the time."""
    config = pipeline.config
    steps = total_steps(len(pipeline.tuning.train), config.train)
    rows = training_rows(pipeline.tuning, steps * config.train.batch_size, config.train.seed)
    data = encode(rows, pipeline.tokenizer, config.data.max_length)
    tokens_per_step = data.tokens / len(data.rows) * config.train.batch_size
    content: dict[str, Any] = {
        "model": config.model.id,
        "steps": steps,
        "rows": len(data.rows),
        "too_long": data.too_long,
        "tokens": data.tokens,
        "trained_tokens": data.trained_tokens,
        "strategies": {},
    }
    lines = [
        f"{config.model.id}: {steps} steps of {config.train.batch_size} rows; {len(data.rows)} rows, "
        f"{data.tokens:,} tokens ({data.trained_tokens:,} trained), {data.too_long} rows too long"
    ]
    model, _ = pipeline.load_start(quantised=True)
    if config.train.method == "lora":
        model = add_lora(model, config.train)
    for name in config.strategy.names:
        row = content["strategies"][name] = _match(pipeline, name, model)
        lines += _lines(name, row, config.train.learning_rate)
    seconds = _estimate(pipeline, model, steps, tokens_per_step)
    content["estimated_seconds"] = seconds
    lines.append(
        f"estimated time, from one timed forward pass (without the analysis): {duration(seconds)}; "
        "nothing was trained"
    )
    return content, "\n".join(lines)


def _match(pipeline: Pipeline, name: str, model: Any) -> dict[str, Any]:
    """What a strategy would train at which rate; the model is left as it was."""
    config = pipeline.config
    if not needs_robust_set(name):
        plan = build_plan(name, config.strategy, seed=config.train.seed)
    elif "analysis" in pipeline.run.stages(done=True):
        plan = pipeline.plan(name)
    else:
        size = f"{config.analysis.share:.0%} of the matrix parameters"
        if config.analysis.drift_budget is not None:
            size = f"as much as moves with a joint drift of {config.analysis.drift_budget:g}"
        return {
            "note": f"its robust set ({size}) is not known before the analysis, nor are its groups; "
            f"`securetune analyze {config.model.id} --out {pipeline.run.path}` finds it, `run` does so itself"
        }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if plan.freeze:
        freeze_unmoved(model, plan)
    match = match_plan(model, plan)
    for parameter in trained:
        parameter.requires_grad_(True)
    modules = ModuleMap.of(model)
    groups = [
        {
            **vars(group),
            "modules": _by_path(
                modules.address_of(n) for n, m in match.multipliers.items() if m == group.multipliers
            ),
        }
        for group in match.groups
    ]
    return {
        "addresses": match.addresses,
        "parameters": sum(group.parameters for group in match.groups),
        "replay": parse_strategy(name)[2],
        "groups": groups,
        "untrained_patterns": list(match.untrained_patterns),
        "shadowed_patterns": list(match.shadowed_patterns),
    }


def _by_path(addresses: Iterable[Address | None]) -> dict[str, str]:
    """Path -> layers, e.g. `self_attn.q_proj` -> `0-3,7`; weights outside the stack have no layers."""
    layers: dict[str, set[int]] = {}
    for address in addresses:
        layers.setdefault("outside the stack" if address is None else address.path, set())
        if address is not None:
            layers[address.path].add(address.layer)
    return {path: _ranges(sorted(found)) for path, found in layers.items()}


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as a pattern writes them: `0-3,7`."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends))


def _lines(name: str, row: Mapping[str, Any], learning_rate: float) -> list[str]:
    if "note" in row:
        return [f"{name}: {row['note']}"]
    chosen = f"{row['addresses']} addresses matched by patterns" if row["addresses"] else "no pattern"
    replay = ", with replayed refusals" if row["replay"] else ""
    lines = [f"{name}: {row['parameters']:,} trained parameters, {chosen}{replay}"]
    for group in row["groups"]:
        rates = ", then ".join(f"{learning_rate * multiplier:g}" for multiplier in group["multipliers"])
        lines.append(
            f"  {group['name']}: rate {rates}; {group['tensors']} tensors, {group['parameters']:,} parameters"
        )
        lines += [f"    {path} {layers}".rstrip() for path, layers in group["modules"].items()]
    lines += [f"  pattern `{p}` matches only untrained weights" for p in row["untrained_patterns"]]
    return lines + [f"  pattern `{p}` is shadowed by earlier patterns" for p in row["shadowed_patterns"]]


def _estimate(pipeline: Pipeline, model: Any, steps: int, tokens_per_step: float) -> float:
    """Seconds of a whole run: a step is three forward passes; an answer token costs about four in a batch."""
    import torch

    width = 64
    ids = torch.full((8, width), pipeline.tokenizer.eos_token_id or 0, device=model.device)

    def forward() -> float:
        started = time.monotonic()
        model(input_ids=ids)
        if model.device.type == "cuda":
            # The call returns before the work is done.
            torch.cuda.synchronize()
        return time.monotonic() - started

    with torch.inference_mode():
        forward()
        per_token = forward() / ids.numel()
    config = pipeline.config
    prompts = sum(len(suite.prompts) for suite in pipeline.prompts.suites)
    models = len(config.strategy.names) + 1
    training = len(config.strategy.names) * steps * tokens_per_step * per_token * 3
    answering = models * prompts * (config.evaluate.max_new_tokens * 4 + width) * per_token
    return training + answering
