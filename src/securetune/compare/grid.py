"""Run the cells of a comparison that are missing, in sequence or as one of several shards."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from securetune.analysis.rows import Part
from securetune.compare.cells import (
    START,
    Cell,
    CellKey,
    Point,
    check_comparable,
    check_same_inputs,
    plain_rate,
    plan_cells,
)
from securetune.compare.power import DIFFERENCES, Spread
from securetune.config import Config, parse_strategy
from securetune.errors import ConfigError, SecureTuneError, StaleArtifactError, TrainingError, UsageError
from securetune.evaluation.evaluate import Evaluation, Suite
from securetune.evaluation.judges.verdict import RULES
from securetune.evaluation.kept_verdicts import judge_version
from securetune.files import digest
from securetune.models.load import read_chat_template
from securetune.pipeline import Pipeline
from securetune.plan import TuningPlan
from securetune.runs.directory import Run, Stage
from securetune.strategies.build import needs_robust_set
from securetune.training.sft import total_steps
from securetune.training.snapshots import Snapshots

log = logging.getLogger("securetune")

MAKES = frozenset(("analysis", "replay", "tune", "evaluate"))


class Grid:
    """The cells of one configuration below one directory.

    `cells` (by default `<out>/cells`) gets one JSON file per finished cell; `<out>/work` holds analysis,
    weights and answers, and may go when the cells are there. Each shard works in a directory of its own, so
    that shards may run at the same time.
    """

    def __init__(
        self, config: Config, out: Path, part: Part | None = None, cells: Path | None = None
    ) -> None:
        if config.evaluate.lm_eval:
            raise ConfigError(
                "evaluate.lm_eval: a comparison has no place for these scores. Leave it out here, and use "
                "`securetune evaluate --lm-eval` on the models that matter."
            )
        self.config, self.part, self.cells = config, part or Part(), cells or out / "cells"
        work = out / "work" if part is None else out / "work" / f"shard-{part.name}"
        self.base = Pipeline(config, Run(work), MAKES)
        self.keys = plan_cells(config)

    def own(self) -> list[CellKey]:
        """The cells of this shard."""
        return self.keys[self.part.index :: self.part.count]

    def missing(self) -> list[CellKey]:
        """Cells of any shard that are not finished."""
        return [key for key in self.keys if not self._path(key).is_file()]

    def _path(self, key: CellKey) -> Path:
        return self.cells / f"{key.name}.json"

    def _check_finished(self) -> None:
        """Refuse finished cells, planned or not, that those to be made cannot be compared with."""
        planned = {}
        for key in self.keys:
            path, inputs = self._path(key), self.inputs(key)
            if path.is_file():
                check_same_inputs(Cell.read(path).inputs, inputs, path)
            planned[path] = Cell(key, inputs, self.base.prompts.primary, {}, (), 0.0)
        others = (path for path in sorted(self.cells.glob("*.json")) if path not in planned)
        check_comparable(planned | {path: Cell.read(path) for path in others})

    def steps(self) -> tuple[int, list[int]]:
        """Optimizer steps of a run, and the earlier ones after which the model is measured."""
        total = total_steps(len(self.base.tuning.train), self.config.train)
        early = {round(share * total) for share in self.config.compare.checkpoints}
        return total, sorted(step for step in early if 0 < step < total)

    def suites(self) -> list[Suite]:
        """What the tuned models are asked.

        Raises:
            ConfigError: an unknown suite, or the main harmful one is not among them.
        """
        prompts, wanted = self.base.prompts, self.config.compare.suites
        names = [suite.name for suite in prompts.suites]
        if wanted is not None:
            unknown = sorted(set(wanted) - set(names))
            if unknown or prompts.primary not in wanted:
                raise ConfigError(
                    f"compare.suites: {', '.join(unknown) or 'no ' + prompts.primary}; expected names among "
                    f"{', '.join(names)}, with `{prompts.primary}`, the main harmful suite, one of them."
                )
        return [suite for suite in prompts.suites if wanted is None or suite.name in wanted]

    def early_suites(self) -> list[Suite]:
        """What is asked at earlier steps: some prompts of the main harmful suite."""
        suite = next(suite for suite in self.suites() if suite.name == self.base.prompts.primary)
        limit = min(self.config.compare.checkpoint_prompts or len(suite.prompts), len(suite.prompts))
        return [replace(suite, prompts=suite.prompts.take(limit, self.config.seed))]

    def run(self) -> None:
        """Make every cell of this shard that is not there.

        A run that fails, for whatever reason, does not stop the others, and keeps what it made. Without the
        start model there is nothing to compare with, and no other is made.

        Raises:
            StaleArtifactError: a finished cell, or a stage that was begun, was made from other inputs.
            TrainingError: some runs failed; the others are finished.
        """
        self._check_finished()
        failed = []
        for number, key in enumerate(self.own(), start=1):
            if self._path(key).is_file():
                continue
            log.info("cell %d of %d: %s", number, len(self.own()), key.name)
            try:
                self.make(key).write(self.cells)
            except Exception as error:
                if key == START or isinstance(error, StaleArtifactError):
                    raise
                known = isinstance(error, SecureTuneError)
                log.error("%s: %s%s", key.name, "" if known else f"{type(error).__name__}: ", error)
                log.debug("%s", key.name, exc_info=error)
                failed.append(key.name)
            else:
                self._tidy(key)
        if failed:
            raise TrainingError(
                f"{len(failed)} of {len(self.own())} cells failed (see above): {', '.join(failed)}. "
                "The same command goes on with them. The others are finished: `--tables` shows them."
            )

    def redo(self, stage: str) -> None:
        """Remove a stage of this shard, so that it is made again, with the cell that was made from it.

        With `tune/CELL` the answers of its weights go as well.

        Raises:
            StaleArtifactError: there is no such stage.
            UsageError: the stage is of no single cell, or needs weights that went when its cell was finished.
        """
        path = self.base.run.check_redo(stage)
        kind, *names = path.relative_to(self.base.run.path).parts
        if kind in ("tune", "evaluate"):
            if not names:
                raise UsageError(f"--redo {stage}: name one cell, such as {kind}/{self.own()[-1].name}.")
            cell = self.cells / f"{names[0]}.json"
            if kind == "evaluate" and names[0] != START.strategy and cell.is_file():
                raise UsageError(
                    f"--redo {stage}: {cell} is finished, and its weights on the way are gone. "
                    f"Pass --redo tune/{names[0]} to make all of it again."
                )
            cell.unlink(missing_ok=True)
            if kind == "tune":
                shutil.rmtree(self.base.run.path / "evaluate" / names[0], ignore_errors=True)
        shutil.rmtree(path)

    def describe(self) -> tuple[dict[str, Any], str]:
        """What would be run, and which differences could be seen; runs nothing."""
        total, early = self.steps()
        prompts = next(len(s.prompts) for s in self.suites() if s.name == self.base.prompts.primary)
        seeds = len(set(self.config.compare.seeds))
        spread = Spread.assumed()
        content: dict[str, Any] = {
            "cells": [key.name for key in self.own()],
            "missing": [key.name for key in self.missing()],
            "steps": total,
            "checkpoints": early,
            "suites": {suite.name: len(suite.prompts) for suite in self.suites()},
            "power": {f"{size:g}": spread.power(size, prompts, seeds) for size in DIFFERENCES},
        }
        lines = [
            f"{len(self.own())} cells, {len(self.missing())} of all {len(self.keys)} missing; "
            f"{total} steps each, measured after {', '.join(map(str, [*early, total]))}",
            *(f"  {name}" for name in content["cells"]),
            "asked: " + ", ".join(f"{name} ({n})" for name, n in content["suites"].items()),
            f"with {prompts} prompts and {seeds} seeds a true difference is seen with a chance of "
            + ", ".join(
                f"{chance:.0%} ({float(size) * 100:g} points)" for size, chance in content["power"].items()
            )
            + " (assumed: 30% of the prompts differ, seeds deviate by 3 points); nothing was run",
        ]
        return content, "\n".join(lines)

    def inputs(self, key: CellKey) -> dict[str, Any]:
        """What the numbers of a cell depend on, JSON-able."""
        base, config = self.base, self.config
        evaluate = config.evaluate.model_dump(mode="json", include=_ASKED)
        if config.evaluate.chat_template is not None:
            evaluate["chat_template"] = digest(read_chat_template(config.evaluate.chat_template))
        evaluate["task_files"] = config.evaluate.task_digests
        evaluate["judge_rules"] = RULES
        evaluate["judge_versions"] = {
            name: judge_version(name, config.evaluate) for name in config.evaluate.judges
        }
        inputs = {
            "model": base.base,
            "precision": base.precision,
            "chat_template": digest(base.tokenizer.chat_template),
            "data": base.tuning.train.fingerprint,
            "held_out": base.tuning.held_out.fingerprint,
            "max_length": config.data.max_length,
            "harmful_rows": _rows(base.tuning.harmful, config.data.harmful_share),
            "suites": {suite.name: suite.fingerprint for suite in self.suites()},
            "checkpoint_suites": {suite.name: suite.fingerprint for suite in self.early_suites()},
            "evaluate": evaluate,
            "checkpoints": list(config.compare.checkpoints),
            "seed": config.seed,
        }
        return inputs if key == START else inputs | {"train": self._trained_by(key)}

    def _trained_by(self, key: CellKey) -> dict[str, Any]:
        """What the training of a cell depends on, besides the data; no more, so that a grid can grow."""
        settings, tuning = self._settings(key), self.base.tuning
        trained: dict[str, Any] = settings.train.model_dump(
            mode="json", exclude={"micro_batch_size", "save_steps"}
        )
        if key.strategy == "vanilla":
            return trained | {"ema_decay": self._ema_decay(key)}
        trained["strategy"] = settings.strategy.model_dump(mode="json", exclude={"names", "refusals"})
        prompts, replay = self.base.prompts, parse_strategy(key.strategy)[2]
        asked = {"refused": prompts.probe.harmful.fingerprint} if replay else {}
        if replay == "replay" and tuning.refusals is not None:
            asked = {}
            trained["refusals"] = _rows(tuning.refusals, settings.strategy.refusal_share)
        if needs_robust_set(key.strategy):
            trained["analysis"] = settings.analysis.model_dump(mode="json", exclude={"batch_size"})
            asked["analysed"] = digest(prompts.fingerprints(*prompts.probe, *prompts.selection))
        return trained | {"prompts": asked}

    def _ema_decay(self, key: CellKey) -> float | None:
        """Of the run whose weights are averaged: plain tuning at its main rate."""
        wanted = "ema" in self.config.compare.baselines and key.strategy == "vanilla"
        return self.config.compare.ema_decay if wanted and key.rate == plain_rate(self.keys) else None

    def _settings(self, key: CellKey) -> Config:
        train = self.config.train
        changed = {"seed": key.seed, "learning_rate": train.learning_rate * key.rate}
        return self.config.model_copy(update={"train": train.model_copy(update=changed)})

    def pipeline(self, key: CellKey) -> Pipeline:
        """The pipeline that trains one cell."""
        snapshots = Snapshots(tuple(self.steps()[1]), self._ema_decay(key))
        return Pipeline(self._settings(key), self.base.run, MAKES, key.tag, snapshots)

    def make(self, key: CellKey) -> Cell:
        """Train and measure one cell; resumes where it stopped."""
        began, suites, settings = time.monotonic(), self.suites(), self.config.evaluate
        if key == START:
            evaluation = self.base.measure("start", None, suites, settings)
            point = _point(0, False, evaluation, 0.0)
            return self._cell(key, (point,), began)
        pipeline = self.pipeline(key)
        result = pipeline.train(key.strategy)
        outputs = Stage(result.directory, {}).outputs
        total, _ = self.steps()
        found = []
        for name, kept in outputs.get("snapshots", {}).items():
            step, _, ema = name.partition("-")
            last = int(step) == total
            weights = result.directory / "snapshots" / name / result.weights.name
            evaluation = pipeline.measure(
                f"{key.name}/step-{name}",
                (weights, kept["weights"]),
                suites if last else self.early_suites(),
                settings if last else settings.model_copy(update={"tasks": ()}),
                key.strategy,
            )
            found.append(_point(int(step), bool(ema), evaluation, kept["movement"]))
        evaluation = pipeline.measure(
            f"{key.name}/step-{total}",
            (result.weights, str(outputs["weights"])),
            suites,
            settings,
            key.strategy,
        )
        found.append(_point(total, False, evaluation, outputs["movement"]))
        points = tuple(sorted(found, key=lambda point: (point.step, point.ema)))
        plan = TuningPlan.load(result.directory / "plan.json")
        return replace(self._cell(key, points, began), plan=plan.to_json())

    def _cell(self, key: CellKey, points: tuple[Point, ...], began: float) -> Cell:
        harmful = {suite.name: suite.harmful for suite in self.suites()}
        seconds = time.monotonic() - began
        return Cell(key, self.inputs(key), self.base.prompts.primary, harmful, points, seconds)

    def _tidy(self, key: CellKey) -> None:
        """Drop the weights on the way of a finished cell; its last ones stay."""
        directory = self.base.run.path / "tune" / key.name
        shutil.rmtree(directory / "snapshots", ignore_errors=True)


_ASKED = {
    "engine", "max_new_tokens", "judges", "system_prompt", "tasks", "task_limit", "rubric", "guard_models",
}  # fmt: skip


def _rows(rows: Any, share: float) -> dict[str, Any] | None:
    return None if rows is None else {"rows": rows.fingerprint, "share": share}


def _point(step: int, ema: bool, evaluation: Evaluation, movement: float | None) -> Point:
    if evaluation.held_out_loss is None:
        raise ConfigError("A comparison needs rows held out: data.held_out.")
    outcomes = {f"{suite}/{judge}": events for (suite, judge), events in evaluation.outcomes.items()}
    coherence = {
        result.suite: result.value
        for result in evaluation.results
        if result.metric == "coherence" and result.value is not None
    }
    return Point(step, ema, evaluation.held_out_loss, movement, outcomes, evaluation.tasks, coherence)
