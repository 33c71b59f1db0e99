"""Evaluate a model that we did not train, against the model it was tuned from."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from securetune.encoding import encode
from securetune.evaluation.evaluate import Evaluation, evaluate
from securetune.evaluation.model_files import ModelFiles
from securetune.evaluation_settings import EvaluateSettings
from securetune.files import digest, write_json
from securetune.inputs import Prompts, read_roles
from securetune.models.fingerprint import checkpoint_files, fingerprint_files
from securetune.models.load import (
    adapter_directory,
    is_adapter,
    load_model,
    load_tokenizer,
    read_chat_template,
    resolve_model,
)
from securetune.pipeline import Pipeline
from securetune.report.assemble import compare_outcomes
from securetune.report.data import EXTERNAL, Comparison
from securetune.report.external import report_against
from securetune.report.wording import p_value, percent, points, points_interval
from securetune.start_model import asked_with, with_template

log = logging.getLogger("securetune")

OTHER_TEMPLATE = (
    "The two models have different chat templates, and each is asked with its own: what differs may be the "
    "template's doing, the held-out loss too. --chat-template asks both with one."
)
OTHER_TOKENS = (
    "The two models have different tokens, so their held-out losses, in nats per token, cannot be compared "
    "and are not measured."
)


@dataclass(frozen=True)
class ModelComparison:
    """Two models on the same prompts."""

    evaluations: dict[str, Evaluation]
    """Of `start` and `tuned`."""
    comparisons: tuple[Comparison, ...]
    """`tuned` against `start`, per suite and judge."""
    report: Path
    """report.html."""


def compare_models(pipeline: Pipeline, tuned: str, *, show_text: bool = False) -> ModelComparison:
    """Evaluate `tuned` (a model or a PEFT adapter) and the pipeline's model on the same prompts.

    The held-out loss is measured only when the configuration names tuning data and both models have the same
    tokens. One model is in memory at a time; `tuned` is looked for, and both chat templates are tried, before
    anything is answered. What differs besides the weights is in the log and in the report. Stages are
    `compare/start` and `compare/tuned`; `compare/results.json` and `compare/comparisons.json` hold the
    numbers, `compare/report.*` show them.

    Args:
        pipeline: of the start model.
        tuned: path or hub id.
        show_text: put the prompts and answers whose verdict flipped into the report, too.

    Raises:
        UsageError: there is no such model or adapter, or its weights are not safetensors.
        ConfigError: a chat template has no place for a system prompt that will be used.
    """
    evaluations, tuned_source = {}, _find_tuned(pipeline, tuned)
    load = partial(pipeline.load_start, quantised=True)
    start = _Source("start", pipeline.config.model.id, None, pipeline.tokenizer, load, pipeline.source)
    prompts = _prompts(pipeline)
    unlike = _differences(start, tuned_source, pipeline.config.evaluate)
    for line in unlike:
        log.warning("%s", line)
    for source in (start, tuned_source):
        pipeline.check_asking(prompts.suites, source.tokenizer, pipeline.config.evaluate)
    for source in (start, tuned_source):
        evaluations[source.name] = _evaluate(pipeline, source, prompts, loss=OTHER_TOKENS not in unlike)
        gc.collect()  # A model holds cycles; the next one needs its memory.
    comparisons = compare_outcomes(evaluations, ("start",), pipeline.config.evaluate.judges)
    rows = [dict(vars(result)) for evaluation in evaluations.values() for result in evaluation.results]
    directory = pipeline.run.path / "compare"
    write_json(directory / "results.json", rows)
    write_json(directory / "comparisons.json", [dict(vars(row)) for row in comparisons])
    report = report_against(pipeline, tuned, prompts, evaluations, unlike, show_text=show_text)
    return ModelComparison(evaluations, comparisons, report)


def _prompts(pipeline: Pipeline) -> Prompts:
    """What both models are asked; without tuning data there is nothing that prompts could overlap with."""
    data = pipeline.tuning if pipeline.config.data.source != "package" else None
    return read_roles(pipeline.config, data.train if data else None)


@dataclass(frozen=True)
class _Source:
    """One of the two models: what identifies it, and how it is loaded to be measured."""

    name: str
    id: str
    weights: str | None
    """Fingerprint of the tuned model's files; `None` for the start model."""
    tokenizer: Any
    load: Callable[[], tuple[Any, Any]]
    place: str
    """What is loaded, as `load_model` takes it."""
    adapter: Path | None = None
    """A PEFT adapter on top."""


def _find_tuned(pipeline: Pipeline, tuned: str) -> _Source:
    """The tuned model: an adapter for the start model, or weights of its own.

    Raises:
        UsageError: there is no such model or adapter, or its weights are not safetensors.
    """
    settings = pipeline.config.model
    if is_adapter(tuned):
        adapter = adapter_directory(tuned)
        load = partial(pipeline.load_adapter, adapter)
        own = "tuned", tuned, fingerprint_files(adapter), pipeline.tokenizer
        return _Source(*own, load, pipeline.source, adapter)
    source, revision = resolve_model(tuned)
    files = checkpoint_files(source, revision)
    template = settings.chat_template
    tokenizer = load_tokenizer(source, revision=revision, chat_template=template)
    load = partial(
        load_model,
        tuned,
        dtype=pipeline.dtype,
        load_in_4bit=settings.load_in_4bit,
        chat_template=template,
        device_map=settings.device_map,
    )
    return _Source("tuned", tuned, fingerprint_files(files[0].parent), tokenizer, load, tuned)


def _differences(start: _Source, tuned: _Source, settings: EvaluateSettings) -> tuple[str, ...]:
    """What sets the two apart besides their weights."""
    found = []
    if start.tokenizer.get_vocab() != tuned.tokenizer.get_vocab():
        found.append(OTHER_TOKENS)
    if settings.chat_template is None and start.tokenizer.chat_template != tuned.tokenizer.chat_template:
        found.append(OTHER_TEMPLATE)
    return tuple(found)


def _evaluate(pipeline: Pipeline, source: _Source, prompts: Prompts, *, loss: bool) -> Evaluation:
    """Evaluate one of the two; the inputs are those of a run's own evaluations, for `gate`."""
    config, settings = pipeline.config, pipeline.config.evaluate
    data = pipeline.tuning if loss and config.data.has_own_held_out else None
    suites = prompts.suites
    template = source.tokenizer.chat_template
    inputs = {
        "model": pipeline.base,
        "source": source.id,
        "tuned_weights": source.weights,
        "precision": pipeline.precision,
        "chat_template": None if template is None else digest(template),
        "suites": {suite.name: suite.fingerprint for suite in suites},
        "max_new_tokens": settings.max_new_tokens,
        "batch_size": settings.batch_size,
        "system_prompt": settings.system_prompt,
        "held_out": data.held_out.fingerprint if data else None,
        "max_length": config.data.max_length if data else None,
        **settings.further_inputs,
    }
    if settings.chat_template is not None:
        inputs["asked_with"] = digest(read_chat_template(settings.chat_template))
    stage = pipeline.run.stage(f"compare/{source.name}", inputs)
    held_out = encode(data.held_out, source.tokenizer, config.data.max_length).rows if data else ()
    strategy = None if source.weights is None else EXTERNAL
    load = partial(with_template, source.load, settings.chat_template)
    files = None
    if settings.needs_files:
        tokenizer = asked_with(source.tokenizer, settings.chat_template)
        place = stage.path.with_name(f"tokenizer-{source.name}")
        quantised = config.model.load_in_4bit
        files = ModelFiles.of(source.place, source.adapter, tokenizer, place, pipeline.dtype, quantised)
    evaluation = evaluate(load, source.name, strategy, suites, held_out, settings, stage.path, files)
    stage.finish()
    return evaluation


def describe_comparisons(comparisons: tuple[Comparison, ...]) -> str:
    """Lines for a terminal: every paired comparison, judges side by side."""
    return "\n".join(
        f"{row.model} against {row.against}: {row.metric.replace('_', '-')} on {row.suite} "
        f"{points(row.difference)} [{points_interval(row.low, row.high)}], McNemar {p_value(row.p_value)}, "
        f"n = {row.n} (only {row.model} {row.only_model}, only {row.against} {row.only_against}; "
        f"judge: {row.judge or 'none'})"
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
