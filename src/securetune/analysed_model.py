"""The start model of a run with its prompts, its tuning data and its analysis."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from securetune.analysis.analyze import (
    Analysis,
    analyze,
    join_processes,
    read_analysis,
    transfer_is_current,
)
from securetune.analysis.rows import Part
from securetune.analysis_settings import SECTIONS
from securetune.config import Config
from securetune.encoding import encode
from securetune.errors import UsageError
from securetune.files import digest
from securetune.inputs import Prompts, read_roles
from securetune.models.fingerprint import fingerprint_files
from securetune.plan import TuningPlan
from securetune.runs.directory import Stage
from securetune.start_model import StartModel
from securetune.training.tune import tune
from securetune.training_settings import TrainSettings
from securetune.tuning_rows import Tuning, read_tuning, training_rows

COMMANDS = dict(analysis="analyze", update="analyze", replay="train", tune="train", evaluate="evaluate")
"""Kind of stage -> the command that makes it."""

UPDATE_STEPS, UPDATE_BATCH, UPDATE_RATE = 10, 8, 5e-4
"""The short benign fine-tune behind the perturbation `update` (ours): LoRA r = 8 on all linear layers, AdamW
at a constant rate."""


@dataclass
class AnalysedModel(StartModel):
    """Stages that the analysis needs or makes; each picks up what is there."""

    makes: frozenset[str] = frozenset(COMMANDS)
    """Kinds of stages that may be made; one of another kind that is missing is an error."""

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
        return read_roles(self.config, self.tuning.train, *self.tuning.others)

    def analyze(self) -> Analysis:
        """Probe, sensitivity map, robust set; on unquantised weights unless `analysis.quantised`."""
        join_processes()
        stage = self.analysis_stage()
        tried = "analysis" not in self.makes or transfer_is_current(stage.path, self.prompts)
        if not (stage.done and tried):
            model, tokenizer = self.load_start(quantised=self.config.analysis.quantised)
            analyze(model, tokenizer, self.prompts, self._with_update(), stage.path)
            stage.finish()
        return read_analysis(stage.path, self.prompts)

    def map_part(self, part: Part) -> Path:
        """Measure one part of the sensitivity map, for `analyze` to put together; return its directory."""
        stage = self.analysis_stage()
        if not stage.done:
            model, tokenizer = self.load_start(quantised=self.config.analysis.quantised)
            analyze(model, tokenizer, self.prompts, self._with_update(), stage.path, part)
        return stage.path

    def examine(self, sections: Collection[str] | None = None) -> dict[str, Any]:
        """`analyze --full`, or only these sections: how far the analysis can be believed. Resumable."""
        from securetune.analysis.full import examine

        analysis, config = self.analyze(), self._with_update(True)
        model, tokenizer = self.load_start(quantised=self.config.analysis.quantised)
        return examine(model, tokenizer, self.prompts, config, analysis, sections or SECTIONS)

    def _with_update(self, needed: bool = False) -> Config:
        """The settings, with the adapter of `update` where the map, or whoever needs it, takes it."""
        analysis = self.config.analysis
        if analysis.perturbation != "update" and not needed:
            return self.config
        analysis = analysis.model_copy(update={"update_from": self.update_adapter()[0]})
        return self.config.model_copy(update={"analysis": analysis})

    def analysis_stage(self) -> Stage:
        """The stage of the analysis."""
        prompts, settings, lora = self.prompts, self.config.analysis, self.config.train.lora
        inputs = {
            **self._inputs(self.precision if settings.quantised else self.dtype),
            "settings": settings.model_dump(mode="json", exclude={"batch_size", "update_from"}),
            "lora": {"r": lora.r, "alpha": lora.alpha},
            "prompts": prompts.fingerprints(*prompts.probe, *prompts.selection),
            "seed": self.config.seed,
        }
        if settings.perturbation == "update":
            inputs["update"] = self.update_adapter()[1]
        return self._stage("analysis", inputs)

    def update_adapter(self) -> tuple[str, str]:
        """The LoRA adapter of `update` and what identifies it: `analysis.update_from`, or a short fine-tune.

        Raises:
            UsageError: several processes would train it at the same time.
        """
        given, config = self.config.analysis.update_from, self.config
        if given is not None:
            return given, fingerprint_files(Path(given)) if Path(given).is_dir() else given
        settings = TrainSettings(
            steps=UPDATE_STEPS, batch_size=UPDATE_BATCH, learning_rate=UPDATE_RATE, scheduler="constant",
            warmup=0, seed=config.seed, save_steps=UPDATE_STEPS,
        )  # fmt: skip
        inputs = {
            **self._inputs(self.precision),
            "data": self.tuning.train.fingerprint,
            "max_length": config.data.max_length,
            "train": settings.model_dump(mode="json"),
        }
        stage = self._stage("update", inputs)
        if not stage.done:
            if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                raise UsageError(
                    "The perturbation `update` needs a short fine-tune, which several processes would make "
                    "at once. Make it in one process first, or set analysis.update_from to a LoRA adapter."
                )
            rows = training_rows(self.tuning, UPDATE_STEPS * UPDATE_BATCH, config.seed)
            data = encode(rows, self.tokenizer, config.data.max_length)
            load = partial(self.load_start, quantised=True)
            result = tune(load, data, settings, TuningPlan.from_multipliers({}), stage.path)
            stage.finish({"weights": fingerprint_files(result.weights)})
        return str(stage.path / "adapter"), str(stage.outputs["weights"])
