"""judge-check: how far judges agree with labels that people gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from securetune.errors import DataError
from securetune.evaluation.judges import Judge, Verdict, judge_all
from securetune.evaluation.judges.answer_classifier import AnswerClassifier, training_fold
from securetune.evaluation.judges.rubric import log_cost
from securetune.evaluation.judges.verdict import KINDS, Kind
from securetune.tables import read_table

LABELS: Mapping[str, Kind] = {
    "1_full_compliance": "compliance",
    "2_full_refusal": "refusal",
    "3_partial_refusal": "partial",
    "full_compliance": "compliance",
    "full_refusal": "refusal",
    "partial_refusal": "partial",
    **{kind: kind for kind in get_args(Kind)},
}
DRAWS = 2000


@dataclass(frozen=True)
class LabelledAnswer:
    """An answer and what people say that it is."""

    prompt: str
    answer: str
    label: Kind


@dataclass(frozen=True)
class Agreement:
    """One judge against the labels."""

    kappa: float | None
    """Cohen's kappa of refusal against compliance, on scored answers with one of these two labels."""
    low: float | None
    """95% percentile bootstrap over prompts: answers to one prompt are drawn together."""
    high: float | None
    macro_f1: float | None
    """Mean F1 of refusal, partial and compliance over all scored answers; without `kind`, as refused says.
    Evasions are partial here, because the labels of XSTest do not tell them apart."""
    macro_f1_low: float | None
    """95% percentile bootstrap over prompts, as for kappa."""
    macro_f1_high: float | None
    n: int
    """Answers that kappa is about."""
    unscored: int
    accuracy: float | None
    """Share of the same answers on which judge and label agree."""
    confusion: Mapping[str, Mapping[str, int]]
    """Label -> what the judge says -> answers, unscored ones included."""
    held_out: int
    """Training answers of the judge, judged by weights that saw neither their model nor their prompt."""


def read_labelled(path: str) -> list[LabelledAnswer]:
    """Read a table with the columns prompt, completion and final_label.

    Raises:
        DataError: a column is missing, also in one row, or a label is none of `LABELS`.
    """
    table = read_table(path)
    missing = {"prompt", "completion", "final_label"} - set(table.columns)
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(sorted(missing))}; found {', '.join(table.columns)}. "
            "Expected prompt, completion and final_label."
        )
    rows = []
    for row in table.rows:
        prompt, answer, label = (table.text(row, name) for name in ("prompt", "completion", "final_label"))
        label = label.strip()
        if label not in LABELS:
            raise DataError(f"{path}, {row.where}: label {label!r}; expected one of {', '.join(LABELS)}.")
        rows.append(LabelledAnswer(prompt, answer, LABELS[label]))
    return rows


def check(judge: Judge, rows: Sequence[LabelledAnswer]) -> Agreement:
    """Judge every answer and compare with the labels."""
    log_cost(judge, [(row.prompt, row.answer) for row in rows])
    verdicts, held_out = _judge(judge, rows)
    confusion: dict[str, dict[str, int]] = {
        label: dict.fromkeys([*get_args(Kind), "unscored"], 0) for label in get_args(Kind)
    }
    clear: dict[str, np.ndarray] = {}
    kinds: dict[str, np.ndarray] = {}
    for row, verdict in zip(rows, verdicts):
        said = said_kind(verdict)
        confusion[row.label][said or "unscored"] += 1
        if said is not None:
            three = kinds.setdefault(row.prompt, np.zeros((3, 3)))
            three[_of_three(row.label), _of_three(said)] += 1
        if row.label in ("refusal", "compliance") and verdict.refused is not None:
            cells = clear.setdefault(row.prompt, np.zeros((2, 2)))
            cells[int(row.label == "refusal"), int(verdict.refused)] += 1
    tables = np.array(list(clear.values())).reshape(-1, 2, 2)
    of_three = np.array(list(kinds.values())).reshape(-1, 3, 3)
    total = tables.sum(axis=0)
    low, high = _bootstrap(tables, cohen_kappa)
    f1_low, f1_high = _bootstrap(of_three, macro_f1)
    n = int(total.sum())
    return Agreement(
        kappa=cohen_kappa(total),
        low=low,
        high=high,
        macro_f1=macro_f1(of_three.sum(axis=0)),
        macro_f1_low=f1_low,
        macro_f1_high=f1_high,
        n=n,
        unscored=sum(said_kind(verdict) is None for verdict in verdicts),
        accuracy=float(np.trace(total)) / n if n else None,
        confusion=confusion,
        held_out=held_out,
    )


def said_kind(verdict: Verdict) -> Kind | None:
    """The kind of answer that a verdict says; from `refused` where the judge tells no kinds apart."""
    if verdict.kind is not None or verdict.refused is None:
        return verdict.kind
    return "refusal" if verdict.refused else "compliance"


def _of_three(kind: Kind) -> int:
    return KINDS.index("partial" if kind == "evasion" else kind)


def _judge(judge: Judge, rows: Sequence[LabelledAnswer]) -> tuple[list[Verdict], int]:
    """Judge the answers; those the judge was trained on by the weights that never saw them."""
    folds: dict[int | None, list[int]] = {}
    for index, row in enumerate(rows):
        trained = isinstance(judge, AnswerClassifier)
        folds.setdefault(training_fold(row.prompt, row.answer) if trained else None, []).append(index)
    verdicts: list[Verdict | None] = [None] * len(rows)
    for fold, indices in folds.items():
        own = judge if fold is None else AnswerClassifier(fold)
        pairs = [(rows[index].prompt, rows[index].answer) for index in indices]
        for index, verdict in zip(indices, judge_all(own, pairs)):
            verdicts[index] = verdict
    held_out = sum(len(indices) for fold, indices in folds.items() if fold is not None)
    return [verdict for verdict in verdicts if verdict is not None], held_out


def cohen_kappa(table: np.ndarray) -> float | None:
    """Cohen's kappa of a square table of counts; `None` if it is empty or chance agreement is perfect."""
    n = float(table.sum())
    if n == 0:
        return None
    chance = float(table.sum(axis=0) @ table.sum(axis=1)) / n**2
    return None if chance == 1 else (float(np.trace(table)) / n - chance) / (1 - chance)


def macro_f1(table: np.ndarray) -> float | None:
    """Mean F1 over the classes that have labels, of a square table of counts (label, said)."""
    labelled, said = table.sum(axis=1), table.sum(axis=0)
    scores = [2 * table[k, k] / (labelled[k] + said[k]) for k in range(len(table)) if labelled[k]]
    return float(np.mean(scores)) if scores else None


def _bootstrap(
    tables: np.ndarray, statistic: Callable[[np.ndarray], float | None]
) -> tuple[float | None, float | None]:
    """95% interval of a statistic of `[prompts, k, k]` counts; prompts are drawn with replacement."""
    if len(tables) < 2:
        return None, None
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(tables), np.full(len(tables), 1 / len(tables)), size=DRAWS)
    drawn = np.tensordot(counts, tables, axes=1)
    values = [value for table in drawn if (value := statistic(table)) is not None]
    if not values:
        return None, None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def describe(
    results: Mapping[str, Agreement], default: str, source: str | Path
) -> tuple[dict[str, Any], str]:
    """Agreement of every judge as a JSON object and as text."""
    content = {
        "default": default,
        "judges": {name: dict(vars(result)) for name, result in results.items()},
    }
    lines = [f"{source}: agreement with the labels, refusal against compliance (95% interval over prompts)"]
    for name, result in results.items():
        mark = " (default)" if name == default else ""
        if result.kappa is None or result.low is None or result.high is None:
            lines.append(f"{name}{mark}: no kappa (n = {result.n}, {result.unscored} unscored)")
        else:
            lines.append(
                f"{name}{mark}: kappa {result.kappa:.3f} [{result.low:.3f}, {result.high:.3f}] "
                f"(n = {result.n}, {result.unscored} unscored), agreement {result.accuracy:.1%}, "
                f"macro-F1 of three classes {result.macro_f1:.3f} "
                f"[{result.macro_f1_low:.3f}, {result.macro_f1_high:.3f}]"
            )
        if result.held_out:
            lines.append(
                f"  {result.held_out} answers are its training data: judged by weights that saw neither the "
                "model nor the prompt of the answer"
            )
        for label, counts in result.confusion.items():
            cells = ", ".join(f"{said} {count}" for said, count in counts.items() if count)
            if cells:
                lines.append(f"  labelled {label}: judged {cells}")
    return content, "\n".join(lines)
