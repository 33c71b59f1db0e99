"""The whole method on one page: analyse, plan, tune, evaluate, report. Every step is a stage of a Run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from securetune.analysed_model import AnalysedModel
from securetune.config import parse_strategy
from securetune.dataset import Conversation, TrainingData
from securetune.encoding import encode
from securetune.errors import SecureTuneError, StaleArtifactError
from securetune.evaluation.ask import check_system_prompts
from securetune.evaluation.evaluate import Evaluation, Suite, evaluate
from securetune.evaluation.generate import Decoding
from securetune.evaluation.judges import get_judges
from securetune.evaluation.model_files import ModelFiles, check_processes
from securetune.evaluation_settings import EvaluateSettings
from securetune.files import digest, write_json
from securetune.models.fingerprint import fingerprint_files
from securetune.models.load import read_chat_template
from securetune.plan import TuningPlan
from securetune.runs.directory import Stage
from securetune.start_model import asked_with, with_template
from securetune.strategies.build import build_plan, needs_robust_set
from securetune.training.receipt import total_movement
from securetune.training.replay import mix_rows, own_refusals, package_refusals
from securetune.training.sft import check_trainer_settings, total_steps
from securetune.training.snapshots import Snapshots
from securetune.training.tune import TuneResult, read_result, tune
from securetune.tuning_rows import training_rows

log = logging.getLogger("securetune")

REPLAY_TOKENS = 64
"""New tokens of the start model's refusals that self-replay learns (ours)."""


@dataclass
class Pipeline(AnalysedModel):
    """One configuration in one run directory. Methods are stages; each picks up what is there."""

    tag: str = ""
    """Behind the name of every tuned model, where one run directory holds several of a strategy."""
    snapshots: Snapshots | None = None
    """What training keeps of the weights on the way."""
    failed: dict[str, str] = field(default_factory=dict)
    """Strategies that failed in `execute`, with the reason; they are in no evaluation."""

    def __post_init__(self) -> None:
        """Refuse unknown judges, engines and trainer settings before hours of answers, not after."""
        get_judges(self.config.evaluate.judges, self.config.evaluate)
        if self.makes & {"evaluate", "compare"}:
            check_processes(self.config.evaluate)
        if "tune" in self.makes:
            check_trainer_settings(self.config.train)

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
        mixed = self._mixed_in(name)
        stage = self._tune_stage(name, plan, mixed)
        if stage.done:
            return read_result(stage.path)
        started, continued = time.monotonic(), (stage.path / "checkpoints").is_dir()
        steps = total_steps(len(self.tuning.train), config.train)
        rows = training_rows(self.tuning, steps * config.train.batch_size, config.train.seed)
        data = encode(rows, self.tokenizer, config.data.max_length)
        pools = [
            (encode(part, self.tokenizer, config.data.max_length), share) for part, share in mixed.values()
        ]
        data, counts = mix_rows(data, pools, config.train.seed)
        settings = config.train.model_copy(update={"steps": steps})
        load = partial(self.load_start, quantised=True)
        probe = self.analyze().directory if config.train.watch_steps else None
        result = tune(load, data, settings, plan, stage.path, snapshots=self.snapshots, probe=probe)
        plan.save(stage.path / "plan.json")
        facts = {
            "rows": len(data.rows),
            "too_long": data.too_long,
            "replay_rows": dict(zip(mixed, counts)).get("replay", 0),
            "harmful_rows": dict(zip(mixed, counts)).get("harmful", 0),
            "seconds": None if continued else time.monotonic() - started,
        }
        write_json(stage.path / "facts.json", facts)
        kept = {path.parent.name: _identified(path) for path in result.snapshots}
        if self.snapshots is not None:
            self.snapshots.check(kept, steps, stage.path)
        stage.finish({**_identified(result.weights), "snapshots": kept})
        return result

    def _mixed_in(self, name: str) -> dict[str, tuple[TrainingData, float]]:
        """Rows that replace some of the benign ones, with their share: `harmful`, `replay`."""
        data, strategy, kind = self.config.data, self.config.strategy, parse_strategy(name)[2]
        mixed = {}
        if self.tuning.harmful is not None:
            mixed["harmful"] = (self.tuning.harmful, data.harmful_share)
        if kind == "self-replay":
            mixed["replay"] = (self.tuning.train.with_rows(self.refusals()), strategy.replay_share)
        elif kind == "replay":
            given = self.tuning.refusals
            if given is None:
                own = package_refusals(list(self.prompts.probe.harmful), self.config.seed)
                given = self.tuning.train.with_rows(own)
            mixed["replay"] = (given, strategy.refusal_share)
        return mixed

    def _tune_stage(self, name: str, plan: TuningPlan, mixed: dict[str, tuple[TrainingData, float]]) -> Stage:
        inputs = {
            **self._inputs(self.precision),
            **self._knobs(name),
            "plan": plan.fingerprint,
            "data": self.tuning.train.fingerprint,
            "max_length": self.config.data.max_length,
            "train": self.config.train.model_dump(mode="json"),
            "replay": None,
            "replay_share": None,
        }
        for kind, (rows, share) in mixed.items():
            inputs[kind] = rows.fingerprint
            inputs[f"{kind}_share"] = share
        if self.snapshots is not None:
            inputs["snapshots"] = asdict(self.snapshots)
        return self._stage(f"tune/{name}{self.tag}", inputs)

    def _knobs(self, name: str) -> dict[str, float]:
        """The settings behind a plan, so that a change is refused by their names, before that of the plan."""
        settings, kind = self.config.strategy, parse_strategy(name)[0]
        if kind == "swat":
            return {"strategy.warmup_share": settings.warmup_share}
        made_of_ratio = kind in ("ml-lr", "random", "inverted") or name.partition("+")[0] == "uniform"
        return {"strategy.ratio": settings.ratio} if made_of_ratio else {}

    def evaluate(self, name: str) -> Evaluation:
        """Evaluate the start model (`start`) or a tuned one."""
        if name == "start":
            return self.measure(name, None, self.prompts.suites, self.config.evaluate)
        result = self.train(name)
        weights = str(Stage(result.directory, {}).outputs["weights"])
        return self.measure(name, (result.weights, weights), self.prompts.suites, self.config.evaluate, name)

    def measure(
        self,
        name: str,
        weights: tuple[Path, str] | None,
        suites: Sequence[Suite],
        settings: EvaluateSettings,
        strategy: str | None = None,
    ) -> Evaluation:
        """Evaluate weights as the stage `evaluate/<name>`.

        Args:
            name: of the model in results.
            weights: adapter or model directory and its fingerprint; `None` is the start model.
            suites: what to ask.
            settings: how.
            strategy: that tuned it.
        """
        inputs = {
            **self._inputs(self.precision),
            "tuned_weights": None if weights is None else weights[1],
            "suites": {suite.name: suite.fingerprint for suite in suites},
            "held_out": self.tuning.held_out.fingerprint,
            "max_length": self.config.data.max_length,
            "max_new_tokens": settings.max_new_tokens,
            "batch_size": settings.batch_size,
            "system_prompt": settings.system_prompt,
            **settings.further_inputs,
        }
        if settings.chat_template is not None:
            inputs["asked_with"] = digest(read_chat_template(settings.chat_template))
        self.check_asking(suites, self.tokenizer, settings)
        stage = self._stage(f"evaluate/{name}", inputs)
        load: Callable[[], tuple[Any, Any]] = partial(self.load_start, quantised=True)
        if weights is not None:
            load = partial(self.load_tuned, weights[0])
        evaluation = evaluate(
            partial(with_template, load, settings.chat_template),
            name, strategy, suites, self.tuning.encoded_held_out.rows, settings, stage.path,
            self._files(None if weights is None else weights[0], settings),
        )  # fmt: skip
        stage.finish()
        return evaluation

    def _files(self, weights: Path | None, settings: EvaluateSettings) -> ModelFiles | None:
        """Where processes of their own load a model from, if any is asked for."""
        if not settings.needs_files:
            return None
        tokenizer = asked_with(self.tokenizer, settings.chat_template)
        place = self.run.path / ("tokenizer" if settings.chat_template is None else "tokenizer-asked")
        quantised = self.config.model.load_in_4bit
        return ModelFiles.of(self.source, weights, tokenizer, place, self.dtype, quantised)

    def check(self) -> None:
        """Read the data and the prompts, so that mistakes in them show before anything is written."""
        self.check_asking(self.prompts.suites, self.tokenizer, self.config.evaluate)

    def check_asking(self, suites: Sequence[Suite], tokenizer: Any, settings: EvaluateSettings) -> None:
        """Try every system prompt that will be used in the template that models are asked with.

        Raises:
            ConfigError: the chat template has no place for one.
        """
        tokenizer = asked_with(tokenizer, settings.chat_template)
        check_system_prompts(tokenizer, [suite.attack for suite in suites], settings)

    def evaluate_all(self, *, required: bool) -> dict[str, Evaluation]:
        """Evaluate the start model and every tuned one; what is missing is said before the first answer.

        Args:
            required: whether the strategies must be tuned; if not, and none of them is, only the start model
                is measured.
        """
        names = self.models()
        if not required and not any((self.run.path / "tune" / name).is_dir() for name in names[1:]):
            log.info("no tuned model in %s: only the start model is measured", self.run.path)
            names = names[:1]
        for name in names[1:]:
            self.train(name)
        return {name: self.evaluate(name) for name in names}

    def models(self) -> list[str]:
        """`start` and every strategy of the configuration that has not failed."""
        return ["start", *(name for name in self.config.strategy.names if name not in self.failed)]

    def report(self, *, show_text: bool = False) -> Path:
        """Write `results.json`, `report.{json,html,md}` and the model cards; return the HTML."""
        from securetune.report.assemble import report_run

        evaluations = {name: self.evaluate(name) for name in self.models()}
        return report_run(self, evaluations, show_text=show_text)

    def execute(self) -> Path:
        """Everything, in the order in which a cut-off run is most useful; a strategy may fail alone."""
        self.evaluate("start")
        for name in self.models()[1:]:
            if parse_strategy(name)[2] == "self-replay":
                self._attempt(name, self.refusals)
        for name in self.models()[1:]:
            self._attempt(name, partial(self.train, name))
        if any(needs_robust_set(name) for name in self.models()[1:]):
            self.plan("ml-lr").save(self.run.path / "plan.json")
        for name in self.models()[1:]:
            self._attempt(name, partial(self.evaluate, name))
        self.run.write_failed(self.failed)
        return self.report()

    def _attempt(self, name: str, work: Callable[[], Any]) -> None:
        """Do work for one strategy; if that fails, go on without it, unless no strategy is left."""
        try:
            work()
        except SecureTuneError as error:
            self.failed[name] = str(error)
            if isinstance(error, StaleArtifactError) or self.models() == ["start"]:
                raise
            log.error("%s failed and is left out, the others go on: %s", name, error)


def _identified(weights: Path) -> dict[str, Any]:
    """What stages that build on weights, and comparisons, need to know about them."""
    return {"weights": fingerprint_files(weights), "movement": total_movement(weights)}
