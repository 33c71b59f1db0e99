"""What a run directory holds about one evaluated model: suites, judges, verdicts, answers, losses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from securetune.errors import UsageError
from securetune.evaluation.judges import Verdict
from securetune.evaluation.kept_verdicts import JUDGES_FILE
from securetune.files import read_json
from securetune.runs.directory import Run
from securetune.tables import read_table


@dataclass(frozen=True)
class Evaluated:
    """What a run directory holds about one model."""

    path: Path

    @classmethod
    def find(cls, place: str) -> Evaluated:
        """`RUN` or `RUN:MODEL`; without a model, the run's only tuned model, or its only model.

        Raises:
            UsageError: no such run or model, or several that could be meant.
        """
        run, model = (place, "") if Path(place).is_dir() else place.rpartition(":")[::2]
        places = {
            path.parent.name: path.parent
            for kind in ("compare", "evaluate")  # Of two by one name, the run's own.
            for path in Path(run).glob(f"{kind}/*/stage.json")
        }
        found = sorted(places)
        tuned = [name for name in found if name != "start"] or found
        if not model and len(tuned) == 1:
            model = tuned[0]
        if model not in found:
            names = ", ".join(found) or "none"
            raise UsageError(f"{place}: the evaluated models are: {names}. Name one as RUN:MODEL.")
        return cls(places[model])

    def suites(self) -> dict[str, bool]:
        """Suite -> whether its prompts are harmful."""
        found = self.path.glob("*/suite.json")
        return {path.parent.name: bool(read_json(path)["harmful"]) for path in sorted(found)}

    def judges(self) -> set[str]:
        """Judges whose verdicts are stored for every suite."""
        by_suite = [
            {path.name.removeprefix("verdicts.").removesuffix(".jsonl") for path in folder.glob("verdicts.*")}
            for folder in (self.path / suite for suite in self.suites())
        ]
        return set.intersection(*by_suite) if by_suite else set()

    @property
    def first_judge(self) -> str | None:
        """The judge that gives the run's own verdict; `None` if the run does not say."""
        run = Run(self.path.parents[1])
        path = run.compared_file if self.path.parent.name == "compare" else run.config_file
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        judges = ((settings or {}).get("evaluate") or {}).get("judges")
        return judges[0] if judges else None

    def verdicts(self, suite: str, judge: str) -> dict[str, Verdict]:
        """Answer id -> verdict."""
        table = read_table(self.path / suite / f"verdicts.{judge}.jsonl")
        rows = [dict(row.values) for row in table.rows]
        return {str(row.pop("prompt_id")): Verdict(**row) for row in rows}  # type: ignore[arg-type]

    def judge_facts(self, suite: str, judge: str) -> dict[str, Any] | None:
        """Which version of a judge gave the verdicts of a suite; `None` if that was not recorded."""
        path = self.path / suite / JUDGES_FILE
        facts: dict[str, Any] | None = read_json(path).get(judge) if path.is_file() else None
        return facts

    def answers(self, suite: str) -> dict[str, str]:
        """Answer id -> its text; empty if the texts were not stored."""
        folder = self.path / suite
        path = folder / "responses.jsonl"
        if not path.is_file() or (folder / "texts_dropped").is_file():
            return {}
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        return {row["prompt_id"]: row["text"] for row in rows}

    def losses(self) -> list[float]:
        """Held-out losses by row, in nats per token; empty if none were measured."""
        path = self.path / "held_out.json"
        return list(read_json(path)["losses"]) if path.is_file() else []
