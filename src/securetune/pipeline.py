"""The whole method on one page: analyse, plan, tune, evaluate, report. Every step is a stage of a Run."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from securetune.analysis.analyze import Analysis, analyze, join_processes, read_analysis
from securetune.analysis.rows import Part
from securetune.config import Config, parse_strategy
from securetune.dataset import Conversation
from securetune.encoding import encode
from securetune.errors import UsageError
from securetune.evaluation.evaluate import Evaluation, evaluate
from securetune.evaluation.generate import Decoding
from securetune.evaluation.judges import get_judges
from securetune.files import digest, read_json, write_json
from securetune.inputs import Prompts, Tuning, read_roles, read_tuning, training_rows
from securetune.models.fingerprint import (
    checkpoint_files,
    file_states,
    fingerprint,
    fingerprint_checkpoint,
    fingerprint_files,
)
from securetune.models.load import (
    Dtype,
    describe_model,
    dtype_name,
    load_model,
    load_tokenizer,
    merged_directory,
    resolve_model,
)
from securetune.plan import TuningPlan
from securetune.runs.directory import Run, Stage, environment
from securetune.strategies.build import build_plan, needs_robust_set
from securetune.training.replay import mix_replay, own_refusals
from securetune.training.sft import check_trainer_settings, total_steps
from securetune.training.tune import TuneResult, read_result, tune

log = logging.getLogger("securetune")

REPLAY_TOKENS = 64
"""New tokens of the start model's refusals that self-replay learns (ours)."""


COMMANDS = {"analysis": "analyze", "replay": "train", "tune": "train", "evaluate": "evaluate"}
"""Kind of stage -> the command that makes it."""


@dataclass
class Pipeline:
    """One configuration in one run directory. Methods are stages; each picks up what is there."""

    config: Config
    run: Run
    makes: frozenset[str] = frozenset(COMMANDS)
    """Kinds of stages that may be made; one of another kind that is missing is an error."""

    def __post_init__(self) -> None:
        """Refuse unknown judges and trainer settings before hours of answers, not after."""
        get_judges(self.config.evaluate.judges, self.config.evaluate)
        if "tune" in self.makes:
            check_trainer_settings(self.config.train)

    @cached_property
    def source(self) -> str:
        """What every load reads: the model or, with `model.adapter`, their merge, made once.

        Quantised weights cannot take a merge, and an adapter trained on a merge must name it as its base.
        """
        settings = self.config.model
        if settings.adapter is None:
            return settings.id
        return str(merged_directory(settings.id, settings.adapter, self.run.path, self.dtype))

    @property
    def dtype(self) -> Dtype:
        """Precision of all weights that are not quantised, e.g. `bfloat16`."""
        settings = self.config.model
        # Full tuning in half precision would round small steps away.
        full = self.config.train.method == "full" and settings.dtype == "auto"
        return "float32" if full else dtype_name(settings.dtype)

    @property
    def precision(self) -> str:
        """How the start model and every tuned one are loaded to train, to answer and to measure losses."""
        return f"4-bit NF4, {self.dtype}" if self.config.model.load_in_4bit else self.dtype

    def load_start(self, *, quantised: bool = False) -> tuple[Any, Any]:
        """The start model; quantised if that is asked for here and in the settings."""
        settings = self.config.model
        return load_model(
            self.source,
            dtype=self.dtype,
            load_in_4bit=quantised and settings.load_in_4bit,
            chat_template=settings.chat_template,
            device_map=settings.device_map,
        )

    def load_tuned(self, weights: Path) -> tuple[Any, Any]:
        """A tuned model as the start model is measured, with an adapter on top or with its own weights."""
        settings = self.config.model
        if weights.name == "model":
            return load_model(
                str(weights),
                dtype=self.dtype,
                chat_template=settings.chat_template,
                device_map=settings.device_map,
            )
        from peft import PeftModel

        model, tokenizer = self.load_start(quantised=True)
        model = PeftModel.from_pretrained(model, str(weights)).eval()
        # Merged, a model answers faster; half precision would round small updates away, and offloaded
        # weights cannot take a merge.
        exact = self.dtype == "float32" and not settings.load_in_4bit and settings.device_map is None
        return (model.merge_and_unload() if exact else model), tokenizer

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer alone."""
        source, revision = resolve_model(self.source)
        template = self.config.model.chat_template
        return load_tokenizer(source, revision=revision, chat_template=template)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The start model's fingerprint, architecture, parameters and layers.

        Kept in `model.json` for as long as the files of the model stay the same.
        """
        source, revision = resolve_model(self.source)
        quantised = self.config.model.load_in_4bit
        versions = environment()
        valid_for = {
            "files": file_states(checkpoint_files(source, revision)),
            "quantised": quantised,
            "versions": [versions["securetune"], versions["transformers"]],
        }
        path = self.run.path / "model.json"
        kept = read_json(path) if path.is_file() else {}
        if kept.get("valid_for") != valid_for:
            own = fingerprint_checkpoint(source, revision) if quantised else fingerprint(self.load_start()[0])
            kept = {"fingerprint": own, **describe_model(source, revision), "valid_for": valid_for}
            write_json(path, kept)
        return dict(kept)

    @property
    def base(self) -> str:
        """Fingerprint of the start model."""
        return str(self.identity["fingerprint"])

    def _inputs(self, precision: str) -> dict[str, Any]:
        """What every stage that runs the model depends on."""
        template = self.tokenizer.chat_template
        return {
            "model": self.base,
            "precision": precision,
            "chat_template": None if template is None else digest(template),
        }

    def _stage(self, name: str, inputs: dict[str, Any]) -> Stage:
        """Open a stage.

        Raises:
            StaleArtifactError: it was made from other inputs.
            UsageError: it is not finished, and may not be made now.
        """
        kind, _, strategy = name.partition("/")
        stage = self.run.stage(name, inputs, begin=kind in self.makes)
        if not stage.done and kind not in self.makes:
            chosen = f" --strategy {strategy}" if strategy not in ("", "start") else ""
            raise UsageError(
                f"{stage.path} is missing or not finished, and this command does not make it. Make it with "
                f"`securetune {COMMANDS[kind]} {self.config.model.id} --out {self.run.path}{chosen}`, or "
                "everything with `securetune run`; --strategy names what to take instead."
            )
        return stage

    @cached_property
    def tuning(self) -> Tuning:
        """The tuning data."""
        return read_tuning(self.config, self.tokenizer)

    @cached_property
    def prompts(self) -> Prompts:
        """Prompt sets by role."""
        return read_roles(self.config, self.tuning.train)

    def analyze(self) -> Analysis:
        """Probe, sensitivity map, robust set; on unquantised weights unless `analysis.quantised`."""
        join_processes()
        stage = self.analysis_stage()
        if not stage.done:
            model, tokenizer = self.load_start(quantised=self.config.analysis.quantised)
            analyze(model, tokenizer, self.prompts, self.config, stage.path)
            stage.finish()
        return read_analysis(stage.path)

    def map_part(self, part: Part) -> Path:
        """Measure one part of the sensitivity map, for `analyze` to put together; return its directory."""
        stage = self.analysis_stage()
        if not stage.done:
            model, tokenizer = self.load_start(quantised=self.config.analysis.quantised)
            analyze(model, tokenizer, self.prompts, self.config, stage.path, part)
        return stage.path

    def examine(self) -> dict[str, Any]:
        """`analyze --full`: how far the analysis can be believed. Resumable."""
        from securetune.analysis.full import examine

        analysis = self.analyze()
        model, tokenizer = self.load_start(quantised=self.config.analysis.quantised)
        return examine(model, tokenizer, self.prompts, self.config, analysis)

    def analysis_stage(self) -> Stage:
        """The stage of the analysis."""
        prompts = self.prompts
        inputs = {
            **self._inputs(self.dtype),
            "settings": self.config.analysis.model_dump(mode="json"),
            "prompts": prompts.fingerprints(*prompts.probe, *prompts.selection),
            "seed": self.config.seed,
        }
        return self._stage("analysis", inputs)

    def plan(self, name: str) -> TuningPlan:
        """The plan of a strategy, analysing the model first if the strategy needs it."""
        settings, seed = self.config.strategy, self.config.train.seed
        if not needs_robust_set(name):
            return build_plan(name, settings, base=self.base)
        analysis = self.analyze()
        sizes = dict(zip(analysis.map.addresses, analysis.map.sizes))
        plan = build_plan(name, settings, sizes, analysis.robust.addresses, base=self.base, seed=seed)
        return replace(plan, provenance={**plan.provenance, "analysis": analysis.provenance})

    def refusals(self) -> list[Conversation]:
        """The start model's own refusals to the probe's harmful prompts."""
        harmful = self.prompts.probe.harmful
        inputs = {
            **self._inputs(self.precision),
            "prompts": harmful.fingerprint,
            "tokens": REPLAY_TOKENS,
        }
        stage = self._stage("replay", inputs)
        decoding = Decoding(REPLAY_TOKENS, self.config.evaluate.batch_size)
        load = partial(self.load_start, quantised=True)
        rows = own_refusals(load, list(harmful), decoding, stage.path / "responses.jsonl")
        stage.finish()
        return rows

    def train(self, name: str) -> TuneResult:
        """Tune the start model with one strategy."""
        config = self.config
        plan = self.plan(name)
        refusals = self.refusals() if parse_strategy(name)[2] else None
        stage = self._tune_stage(name, plan, refusals)
        if stage.done:
            return read_result(stage.path)
        started = time.monotonic()
        steps = total_steps(len(self.tuning.train), config.train)
        rows = training_rows(self.tuning, steps * config.train.batch_size, config.train.seed)
        data = encode(rows, self.tokenizer, config.data.max_length)
        replayed = 0
        if refusals is not None:
            replay = encode(rows.with_rows(refusals), self.tokenizer, config.data.max_length)
            data, replayed = mix_replay(data, replay, config.strategy.replay_share, config.train.seed)
        settings = config.train.model_copy(update={"steps": steps})
        result = tune(partial(self.load_start, quantised=True), data, settings, plan, stage.path)
        plan.save(stage.path / "plan.json")
        facts = {
            "rows": len(data.rows),
            "too_long": data.too_long,
            "replay_rows": replayed,
            "seconds": time.monotonic() - started,
        }
        write_json(stage.path / "facts.json", facts)
        stage.finish({"weights": fingerprint_files(result.weights)})
        return result

    def _tune_stage(self, name: str, plan: TuningPlan, refusals: list[Conversation] | None) -> Stage:
        replayed = [[row.opening, row.messages[-1].content] for row in refusals or ()]
        inputs = {
            **self._inputs(self.precision),
            "plan": plan.fingerprint,
            "data": self.tuning.train.fingerprint,
            "max_length": self.config.data.max_length,
            "train": self.config.train.model_dump(mode="json"),
            "replay": digest(replayed) if replayed else None,
            "replay_share": self.config.strategy.replay_share if replayed else None,
        }
        return self._stage(f"tune/{name}", inputs)

    def evaluate(self, name: str) -> Evaluation:
        """Evaluate the start model (`start`) or a tuned one."""
        result = None if name == "start" else self.train(name)
        settings = self.config.evaluate
        inputs = {
            **self._inputs(self.precision),
            "tuned_weights": None if result is None else Stage(result.directory, {}).outputs["weights"],
            "suites": {suite.name: suite.fingerprint for suite in self.prompts.suites},
            "held_out": self.tuning.held_out.fingerprint,
            "max_length": self.config.data.max_length,
            "max_new_tokens": settings.max_new_tokens,
            "batch_size": settings.batch_size,
            "system_prompt": settings.system_prompt,
            **({"tasks": [settings.tasks, settings.task_limit]} if settings.tasks else {}),
        }
        stage = self._stage(f"evaluate/{name}", inputs)
        evaluation = evaluate(
            partial(self.load_start, quantised=True)
            if result is None
            else partial(self.load_tuned, result.weights),
            name,
            None if result is None else name,
            self.prompts.suites,
            self.tuning.encoded_held_out.rows,
            settings,
            stage.path,
        )
        stage.finish()
        return evaluation

    def check(self) -> None:
        """Read the data and the prompts, so that mistakes in them show before anything is written."""
        _ = self.prompts

    def models(self) -> list[str]:
        """`start` and every strategy of the configuration."""
        return ["start", *self.config.strategy.names]

    def report(self) -> Path:
        """Write `results.json`, `report.json`, `report.html` and `report.md`; return the HTML."""
        from securetune.report.assemble import assemble
        from securetune.report.build import write_report

        evaluations = {name: self.evaluate(name) for name in self.models()}
        data = assemble(self, evaluations)
        write_json(self.run.path / "results.json", [dict(vars(result)) for result in data.results])
        write_json(self.run.path / "report.json", data.to_json())
        return write_report(data, self.run.path)[0]

    def execute(self) -> Path:
        """Everything, in the order in which a cut-off run is most useful."""
        self.evaluate("start")
        for name in self.config.strategy.names:
            self.train(name)
        for name in self.config.strategy.names:
            self.evaluate(name)
        return self.report()
