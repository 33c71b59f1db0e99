"""What a run would do, without training: matched modules, groups, rates, tokens, time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from securetune.addressing import Address
from securetune.config import parse_strategy
from securetune.encoding import encode
from securetune.models.load import merged_path
from securetune.models.module_map import ModuleMap
from securetune.pipeline import Pipeline
from securetune.progress import duration
from securetune.runs.directory import Run
from securetune.strategies.build import build_plan, needs_robust_set
from securetune.training.attach import freeze_unmoved
from securetune.training.param_groups import match_plan
from securetune.training.sft import add_lora, total_steps
from securetune.tuning_rows import training_rows


def describe_dry_run(pipeline: Pipeline) -> tuple[dict[str, Any], str]:
    """Match every strategy's plan against the model as it would be trained, and estimate the time."""
    # One that makes nothing: what is there is used as it is.
    pipeline = _without_merge(Pipeline(pipeline.config, pipeline.run, frozenset()))
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
    seconds, analysis = _estimate(pipeline, model, steps, tokens_per_step)
    content["estimated_seconds"], content["estimated_analysis_seconds"] = seconds + analysis, analysis
    lines.append(
        f"estimated time, from one timed forward pass: {duration(seconds + analysis)}, "
        f"{duration(analysis)} of them the analysis; nothing was trained"
    )
    return content, "\n".join(lines)


def _without_merge(pipeline: Pipeline) -> Pipeline:
    """On the model without its adapter, unless their merge is there: a dry run makes none.

    Modules, sizes and times are the same. What is known of the merge, such as its analysis, is not used.
    """
    settings = pipeline.config.model
    if settings.adapter is None:
        return pipeline
    if merged_path(settings.id, settings.adapter, pipeline.run.path, pipeline.dtype).is_dir():
        return pipeline
    config = pipeline.config.model_copy(update={"model": settings.model_copy(update={"adapter": None})})
    # A directory without stages: those that are there belong to the merge.
    return Pipeline(config, Run(pipeline.run.path / "none"), pipeline.makes)


def _match(pipeline: Pipeline, name: str, model: Any) -> dict[str, Any]:
    """What a strategy would train at which rate; the model is left as it was."""
    config = pipeline.config
    if not needs_robust_set(name):
        plan = build_plan(name, config.strategy, seed=config.train.seed)
    elif "analysis" in pipeline.run.stages(done=True):
        plan = pipeline.plan(name)
    else:
        return _before_analysis(pipeline, name, model)
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


def _before_analysis(pipeline: Pipeline, name: str, model: Any) -> dict[str, Any]:
    """Rates, shares and all modules of a strategy whose robust set is not known yet."""
    config = pipeline.config
    share, budget = config.analysis.share, config.analysis.drift_budget
    robust, other = Address(0, "robust"), Address(0, "other")
    sizes = {robust: round(1000 * share), other: 1000 - round(1000 * share)}
    plan = build_plan(name, config.strategy, sizes, [robust])
    chosen = [next(iter(phase.multipliers.values()), phase.outside) for phase in plan.phases]
    split = [("set", chosen, share), ("the rest", [phase.outside for phase in plan.phases], 1 - share)]
    base = parse_strategy(name)[0]
    if base == "inverted":
        split = [(split[0][0], chosen, 1 - share), (*split[1][:2], share)]
    if base == "uniform":
        split = [("all", chosen, 1.0)]
    size = f"{share:.0%} of the matrix parameters"
    if budget is not None:
        size = f"as much as moves with a joint drift of {budget:g}"
    match = match_plan(model, build_plan("vanilla", config.strategy))
    modules = ModuleMap.of(model)
    return {
        "note": f"its robust set ({size}) is not known before the analysis, nor which modules are in it; "
        "`securetune analyze` finds it, `run` does so itself",
        "parameters": sum(group.parameters for group in match.groups),
        "split": [
            {"name": part, "multipliers": rates, "share": None if budget is not None else held}
            for part, rates, held in split
        ],
        "modules": _by_path(modules.address_of(tensor) for tensor in match.multipliers),
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
    def rates(multipliers: Sequence[float]) -> str:
        return ", then ".join(f"{learning_rate * multiplier:g}" for multiplier in multipliers)

    if "note" in row:
        lines = [f"{name}: {row['parameters']:,} trained parameters; {row['note']}"]
        for part in row["split"]:
            share = "" if part["share"] is None else f"; {part['share']:.0%} of the matrix parameters"
            lines.append(f"  {part['name']}: rate {rates(part['multipliers'])}{share}")
        return [*lines, "  in", *(f"    {path} {layers}".rstrip() for path, layers in row["modules"].items())]
    chosen = f"{row['addresses']} addresses matched by patterns" if row["addresses"] else "no pattern"
    replay = ", with replayed refusals" if row["replay"] else ""
    lines = [f"{name}: {row['parameters']:,} trained parameters, {chosen}{replay}"]
    for group in row["groups"]:
        lines.append(
            f"  {group['name']}: rate {rates(group['multipliers'])}; {group['tensors']} tensors, "
            f"{group['parameters']:,} parameters"
        )
        lines += [f"    {path} {layers}".rstrip() for path, layers in group["modules"].items()]
    lines += [f"  pattern `{p}` matches only untrained weights" for p in row["untrained_patterns"]]
    return lines + [f"  pattern `{p}` is shadowed by earlier patterns" for p in row["shadowed_patterns"]]


def _estimate(pipeline: Pipeline, model: Any, steps: int, tokens_per_step: float) -> tuple[float, float]:
    """Seconds of training and answering, and of the analysis if it is still to be made.

    A step is three forward passes; an answer token costs about four in a batch.
    """
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
    needed = bool(config.train.watch_steps) or any(map(needs_robust_set, config.strategy.names))
    if not needed or "analysis" in pipeline.run.stages(done=True):
        return training + answering, 0.0
    return training + answering, _analysis_passes(pipeline, model) * width * per_token


def _analysis_passes(pipeline: Pipeline, model: Any) -> int:
    """Prompts that the analysis runs forward: probe, map, sampled check, joint verification.

    The closed form counts three passes for a prompt, as a training step does. Drawing the noise is left out.
    """
    settings, matrices = pipeline.config.analysis, len(ModuleMap.of(model).matrices())
    probe = sum(map(len, pipeline.prompts.probe)) + sum(
        len(suite.prompts) for suite in pipeline.prompts.suites
    )
    per_prompt = 3 if settings.method == "closed-form" else 1 + matrices * settings.draws
    check = settings.check_addresses * settings.check_draws * settings.check_prompts
    # A budget is searched for; the result, or a share, is verified once.
    tests = 1 if settings.drift_budget is None else 1 + matrices.bit_length()
    verify = tests * settings.verify_draws * settings.verify_prompts
    return probe + settings.prompts * per_prompt + check + verify
