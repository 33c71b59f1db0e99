"""Evaluate a model that we did not train, against the model it was tuned from."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from securetune.encoding import encode
from securetune.evaluation.evaluate import Evaluation, evaluate
from securetune.files import digest, write_json
from securetune.inputs import read_roles
from securetune.models.fingerprint import fingerprint
from securetune.models.load import load_model
from securetune.pipeline import Pipeline
from securetune.report.assemble import compare_outcomes
from securetune.report.data import Comparison
from securetune.report.wording import p_value, percent, points, points_interval


@dataclass(frozen=True)
class ModelComparison:
    """Two models on the same prompts."""

    evaluations: dict[str, Evaluation]
    """Of `start` and `tuned`."""
    comparisons: tuple[Comparison, ...]
    """`tuned` against `start`, per suite and judge."""


def compare_models(pipeline: Pipeline, tuned: str) -> ModelComparison:
    """Evaluate `tuned` (a model or a PEFT adapter) and the pipeline's model on the same prompts.

    The held-out loss is measured only when the configuration names tuning data. One model is in memory at a
    time. Stages are `compare/start` and `compare/tuned`; `compare/results.json` and
    `compare/comparisons.json` hold the numbers.
    """
    evaluations = {"start": _evaluate(pipeline, None)}
    gc.collect()  # A model holds cycles; the next one needs its memory.
    evaluations["tuned"] = _evaluate(pipeline, tuned)
    comparisons = compare_outcomes(evaluations, ("start",), pipeline.config.evaluate.judges)
    rows = [dict(vars(result)) for evaluation in evaluations.values() for result in evaluation.results]
    directory = pipeline.run.path / "compare"
    write_json(directory / "results.json", rows)
    write_json(directory / "comparisons.json", [dict(vars(row)) for row in comparisons])
    return ModelComparison(evaluations, comparisons)


def _evaluate(pipeline: Pipeline, tuned: str | None) -> Evaluation:
    """Evaluate the start model (`None`) or the tuned one."""
    config = pipeline.config
    name = "start" if tuned is None else "tuned"
    data = pipeline.tuning if config.data.source != "package" else None
    suites = read_roles(config, data.train if data else None).suites

    @lru_cache(maxsize=1)
    def load() -> tuple[Any, Any]:
        return pipeline.load_start() if tuned is None else _load_tuned(pipeline, tuned)

    model, tokenizer = load()
    inputs = {
        "model": fingerprint(model),
        "source": config.model.id if tuned is None else tuned,
        "precision": pipeline.dtype,
        "chat_template": digest(tokenizer.chat_template),
        "suites": {suite.name: suite.fingerprint for suite in suites},
        "max_new_tokens": config.evaluate.max_new_tokens,
        "batch_size": config.evaluate.batch_size,
        "system_prompt": config.evaluate.system_prompt,
        "held_out": data.held_out.fingerprint if data else None,
        "max_length": config.data.max_length if data else None,
        **({"tasks": [config.evaluate.tasks, config.evaluate.task_limit]} if config.evaluate.tasks else {}),
    }
    stage = pipeline.run.stage(f"compare/{name}", inputs)
    held_out = encode(data.held_out, tokenizer, config.data.max_length).rows if data else ()
    strategy = None if tuned is None else "external"
    evaluation = evaluate(load, name, strategy, suites, held_out, config.evaluate, stage.path)
    stage.finish()
    return evaluation


def describe_comparisons(comparisons: tuple[Comparison, ...]) -> str:
    """Lines for a terminal: every paired comparison, judges side by side."""
    return "\n".join(
        f"{row.model} against {row.against}: {row.metric.replace('_', '-')} on {row.suite} "
        f"{points(row.difference)} [{points_interval(row.low, row.high)}], McNemar {p_value(row.p_value)}, "
        f"n = {row.n} (only {row.model} {row.only_model}, only {row.against} {row.only_against}; "
        f"judge: {row.judge})"
        for row in comparisons
    )


def describe_judges(evaluations: dict[str, Evaluation]) -> str:
    """Lines for a terminal: the rates of every judge side by side, never averaged."""
    lines = []
    for name, evaluation in evaluations.items():
        judged = [row for row in evaluation.results if row.judge is not None]
        for suite in dict.fromkeys(row.suite for row in judged):
            cells = [f"{row.judge} {percent(row.value)}" for row in judged if row.suite == suite]
            lines.append(f"{name} on {suite}: " + ", ".join(cells))
    return "\n".join(lines)


def _load_tuned(pipeline: Pipeline, tuned: str) -> tuple[Any, Any]:
    settings = pipeline.config.model
    if (Path(tuned) / "adapter_config.json").is_file():
        from peft import PeftModel

        model, tokenizer = pipeline.load_start()
        return PeftModel.from_pretrained(model, tuned).merge_and_unload().eval(), tokenizer
    return load_model(
        tuned, dtype=pipeline.dtype, chat_template=settings.chat_template, device_map=settings.device_map
    )
