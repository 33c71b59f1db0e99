"""judge: verdicts of several judges on the answers of a file, side by side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from securetune.errors import DataError
from securetune.evaluation.judges import Judge, Verdict, judge_all
from securetune.evaluation.judges.rubric import log_cost
from securetune.evaluation.statistics import Rate
from securetune.files import write_text
from securetune.tables import read_table

ANSWER_COLUMNS = ("completion", "answer", "response", "text")


def judge_file(path: str, judges: Sequence[Judge], out: Path | None = None) -> dict[str, list[Verdict]]:
    """Judge every answer of a table; with `out`, write one line per answer: row, hash and verdicts, no text.

    Raises:
        DataError: there is no column `prompt`, or none of `ANSWER_COLUMNS`; or a row lacks one of the two.
    """
    table = read_table(path)
    column = next((name for name in ANSWER_COLUMNS if name in table.columns), None)
    if column is None or "prompt" not in table.columns:
        raise DataError(
            f"{path}: found the columns {', '.join(table.columns)}; expected prompt and one of "
            f"{', '.join(ANSWER_COLUMNS)}. Rename them."
        )
    pairs = [(table.text(row, "prompt"), table.text(row, column)) for row in table.rows]
    for judge in judges:
        log_cost(judge, pairs)
    verdicts = {judge.name: judge_all(judge, pairs) for judge in judges}
    if out is not None:
        lines = [
            json.dumps(
                {
                    "row": row.where,
                    "answer_sha256": hashlib.sha256(answer.encode(errors="replace")).hexdigest(),
                    "verdicts": {name: asdict(said[index]) for name, said in verdicts.items()},
                }
            )
            for index, (row, (_, answer)) in enumerate(zip(table.rows, pairs))
        ]
        write_text(out, "\n".join(lines) + "\n")
    return verdicts


def describe(verdicts: Mapping[str, list[Verdict]]) -> tuple[dict[str, Any], str]:
    """Rates of every judge, and how often each pair of judges disagrees on what both scored."""
    content: dict[str, Any] = {"judges": {}, "disagreement": []}
    lines = []
    for name, said in verdicts.items():
        refused = Rate.of([verdict.refused for verdict in said])
        harmful = Rate.of([verdict.harmful for verdict in said])
        coherent = Rate.of([verdict.coherent for verdict in said])
        scores = [verdict.score for verdict in said if verdict.score is not None]
        rates = {"refused": refused, "harmful": harmful, "coherent": coherent}
        content["judges"][name] = {key: asdict(rate) for key, rate in rates.items()}
        content["judges"][name]["mean_score"] = sum(scores) / len(scores) if scores else None
        lines.append(f"{name}: " + "; ".join(f"{key} {_rate(rate)}" for key, rate in rates.items()))
    names = list(verdicts)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            pairs = [(a.refused, b.refused) for a, b in zip(verdicts[first], verdicts[second])]
            rate = Rate.of([None if a is None or b is None else a != b for a, b in pairs])
            content["disagreement"].append({"judges": [first, second], **asdict(rate)})
            lines.append(f"{first} and {second} disagree on refusing: {_rate(rate)}")
    return content, "\n".join(lines)


def _rate(rate: Rate) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return f"n/a ({rate.unscored} without a verdict)"
    return f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}] (n = {rate.n}, {rate.unscored} without)"
