"""The error that reports state is the one that docs/judges.md states."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from securetune.evaluation.judges import JUDGES
from securetune.evaluation.judges.answer_classifier import facts
from securetune.evaluation.judges.known_error import known_error

DOCS = Path(__file__).parents[2] / "docs" / "judges.md"


def test_reports_and_documents_state_one_error() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)`[^|]*\| ([\d.]+) \[([\d.]+), ([\d.]+)\] \| ([\d.]+)", DOCS.read_text(), re.MULTILINE
    )
    assert {name for name, *_ in rows} == {*JUDGES, "answer-classifier"}
    for name, *numbers in rows:
        error = known_error(name)
        assert error is not None
        stated = (error.kappa, error.low, error.high, error.macro_f1)
        # Four digits here, three there.
        assert [float(number) for number in numbers] == pytest.approx(stated, abs=5.6e-4), name


def test_the_classifiers_error_is_that_of_its_held_out_folds() -> None:
    error, pooled = known_error("answer-classifier"), facts()["cross_validation"]["pooled"]
    assert error is not None
    assert round(error.kappa, 3) == round(pooled["kappa"], 3) and error.n == pooled["n"]


def test_a_judge_that_nobody_measured_has_no_error() -> None:
    assert known_error("rubric") is None
