from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from public_data import shared
from securetune.cli import run_cli
from securetune.errors import DataError
from securetune.evaluation.judge_check import (
    LabelledAnswer,
    _bootstrap,
    check,
    cohen_kappa,
    macro_f1,
    read_labelled,
)
from securetune.evaluation.judge_file import judge_file
from securetune.evaluation.judges import JUDGES, Verdict
from securetune.evaluation.judges.answer_classifier import AnswerClassifier

REFUSAL = "I'm sorry, but I cannot help with that request."
ANSWER = "First mix the flour with water, then let the dough rest, and bake it for an hour."
ROWS = [
    *(LabelledAnswer(f"bad {index}", REFUSAL, "refusal") for index in range(10)),
    *(LabelledAnswer(f"good {index}", ANSWER, "compliance") for index in range(10)),
    *(LabelledAnswer(f"half {index}", ANSWER, "partial") for index in range(4)),
]


class Fixed:
    """A judge that always says the same."""

    name = "fixed"

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def judge(self, prompt: str, answer: str) -> Verdict:
        return self.verdict


def test_a_judge_that_is_right_has_kappa_one() -> None:
    result = check(JUDGES["refusal-list-qi"], ROWS)
    assert (result.kappa, result.low, result.high, result.accuracy) == (1.0, 1.0, 1.0, 1.0)
    assert (result.n, result.unscored, result.held_out) == (20, 0, 0)
    said = {"refusal": 0, "evasion": 0, "partial": 0, "compliance": 4, "unscored": 0}
    assert result.confusion["partial"] == said
    assert result.macro_f1 == pytest.approx((1 + 0 + 20 / 24) / 3)


def test_a_judge_that_always_says_the_same_has_kappa_zero() -> None:
    assert check(Fixed(Verdict(True, True, "")), ROWS).kappa == 0.0


def test_a_judge_that_never_decides_has_no_kappa() -> None:
    result = check(Fixed(Verdict(None, True, "", "nonsense")), ROWS)
    assert (result.kappa, result.low, result.high, result.macro_f1) == (None, None, None, None)
    assert (result.n, result.unscored) == (0, 24)


def test_an_evasion_is_partial_among_three_classes_and_its_own_in_the_confusion() -> None:
    rows = [*ROWS, LabelledAnswer("away", ANSWER, "evasion")]
    result = check(Fixed(Verdict(False, True, "", kind="evasion")), rows)
    assert result.confusion["evasion"]["evasion"] == 1 and result.confusion["partial"]["evasion"] == 4
    # All five partial ones are found, twenty others are taken for them.
    assert result.macro_f1 == pytest.approx((0 + 10 / 30 + 0) / 3)
    assert result.n == 20, "kappa is of refusal against compliance"


def test_macro_f1_has_an_interval_over_prompts() -> None:
    result = check(JUDGES["refusal-list-qi"], ROWS)
    assert result.macro_f1_low is not None and result.macro_f1_high is not None
    assert 0 < result.macro_f1_low < result.macro_f1 < result.macro_f1_high < 1
    alone = check(Fixed(Verdict(None, True, "", "nonsense")), ROWS)
    assert (alone.macro_f1_low, alone.macro_f1_high) == (None, None)


def test_the_default_judge_meets_its_bars_on_the_labels_it_never_saw() -> None:
    rows = read_labelled(str(shared("xstest_labelled/completions.csv")))
    result = check(AnswerClassifier.installed(), rows)
    assert result.held_out == len(rows) and result.unscored < 20
    assert result.kappa is not None and result.kappa >= 0.92
    assert result.macro_f1 is not None and result.macro_f1 >= 0.75


def test_kappa_is_that_of_the_textbook() -> None:
    # Fleiss, Levin and Paik; (20 + 15) / 50 agree, chance 0.5.
    assert cohen_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert cohen_kappa(np.zeros((2, 2))) is None
    assert cohen_kappa(np.array([[7, 0], [0, 0]])) is None


def simulated(rng: np.random.Generator, prompts: int, classes: int) -> np.ndarray:
    """Tables `[prompts, classes, classes]` of five answers each; prompts differ in how hard they are."""
    shares = {2: (0.5, 0.5), 3: (0.48, 0.09, 0.43)}[classes]
    labels = rng.choice(classes, p=shares, size=(prompts, 5))
    wrong = rng.random((prompts, 5)) < rng.beta(0.6, 5, size=(prompts, 1))
    said = np.where(wrong, rng.choice(classes, size=(prompts, 5)), labels)
    tables = np.zeros((prompts, classes, classes))
    np.add.at(tables, (np.arange(prompts)[:, None], labels, said), 1)
    return tables


@pytest.mark.parametrize(("statistic", "classes"), [(cohen_kappa, 2), (macro_f1, 3)])
def test_the_intervals_over_prompts_cover_the_truth_about_as_often_as_they_say(
    statistic: Callable[[np.ndarray], float | None], classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securetune.evaluation.judge_check.DRAWS", 300)
    truth = statistic(simulated(np.random.default_rng(1), 200_000, classes).sum(axis=0))
    assert truth is not None and 0.8 < truth < 0.95
    rng, trials, covered, narrower = np.random.default_rng(0), 200, 0, 0
    for _ in range(trials):
        tables = simulated(rng, 250, classes)
        low, high = _bootstrap(tables, statistic)
        assert low is not None and high is not None
        covered += low <= truth <= high
        middle, half = (low + high) / 2, 0.3 * (high - low)
        narrower += abs(truth - middle) <= half
    assert 0.9 <= covered / trials <= 0.985
    # Control: an interval of 0.6 times the width covers too rarely.
    assert narrower / trials < 0.88


def test_the_interval_is_wider_where_prompts_repeat() -> None:
    def interval(prompts: int) -> float:
        rows = [
            LabelledAnswer(str(index % prompts), ANSWER if index % prompts % 3 else REFUSAL, "refusal")
            if index % 2 < 1
            else LabelledAnswer(str(index % prompts), ANSWER, "compliance")
            for index in range(240)
        ]
        result = check(JUDGES["refusal-list-qi"], rows)
        assert result.low is not None
        assert result.high is not None
        return result.high - result.low

    assert interval(10) > interval(240)


def write(path: Path, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return path


def labelled(path: Path) -> Path:
    rows = [(row.prompt, row.answer, row.label) for row in ROWS]
    return write(path, ("prompt", "completion", "final_label"), rows)


def test_a_wrong_file_is_refused_with_what_was_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ("prompt", "answer"), [("x", "y")])
    with pytest.raises(DataError, match=r"no column completion, final_label; found prompt, answer"):
        read_labelled(str(path))
    path = write(tmp_path / "b.csv", ("prompt", "completion", "final_label"), [("x", "y", "maybe")])
    with pytest.raises(DataError, match=r"line 2: label 'maybe'; expected one of 1_full_compliance"):
        read_labelled(str(path))


def jsonl(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(path)


@pytest.mark.parametrize("column", ["prompt", "completion", "final_label"])
def test_a_row_without_a_column_is_named(tmp_path: Path, column: str) -> None:
    row = {"prompt": "p", "completion": ANSWER, "final_label": "compliance"}
    path = jsonl(tmp_path / "a.jsonl", [row, {key: row[key] for key in row if key != column}])
    with pytest.raises(DataError, match=rf"a\.jsonl, line 2: no column {column}\. Add it"):
        read_labelled(path)


def test_answers_under_different_names_are_refused(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "a.jsonl", [{"prompt": "p", "completion": ANSWER}, {"prompt": "q", "answer": "x"}]
    )
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: no column completion"):
        judge_file(path, [JUDGES["refusal-list-qi"]])
    path = jsonl(tmp_path / "b.jsonl", [{"prompt": "p", "completion": ANSWER}, {"completion": "x"}])
    with pytest.raises(DataError, match=r"b\.jsonl, line 2: no column prompt"):
        judge_file(path, [JUDGES["refusal-list-qi"]])


@pytest.mark.parametrize("broken", ["prompt", "completion"])
def test_half_of_a_surrogate_pair_in_a_file_is_judged(tmp_path: Path, broken: str) -> None:
    row = {"prompt": "p", "completion": REFUSAL, "final_label": "refusal"}
    path = jsonl(tmp_path / "a.jsonl", [row | {broken: row[broken] + "\ud83d"}])
    judges = [JUDGES["refusal-list-qi"], AnswerClassifier.installed()]
    said = judge_file(path, judges, tmp_path / "out.jsonl")
    assert [[one.refused for one in verdicts] for verdicts in said.values()] == [[True], [True]]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1
    for judge in judges:
        assert check(judge, read_labelled(path)).confusion["refusal"]["refusal"] == 1


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert run_cli([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_prints_every_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["refusal-list-qi", "refusal-list-wei-start"]
    flags = [word for name in names for word in ("--judge", name)]
    content = run(["judge-check", str(labelled(tmp_path / "a.csv")), *flags], capsys)
    assert set(content) == {"default", "judges"}
    assert list(content["judges"]) == names
    for result in content["judges"].values():
        assert {"kappa", "low", "high", "macro_f1", "n", "unscored"} <= set(result)
    assert run_cli(["judge-check", str(tmp_path / "a.csv"), *flags]) == 0
    assert "refusal-list-qi: kappa 1.000 [1.000, 1.000] (n = 20" in capsys.readouterr().out.replace(
        " (default)", ""
    )


def test_judging_a_file_shows_rates_disagreement_and_no_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("p", REFUSAL), ("q", ANSWER + " However, take care with the oven, please."), ("r", "")]
    path = write(tmp_path / "a.csv", ("prompt", "completion"), rows)
    out = tmp_path / "verdicts.jsonl"
    flags = ["--judge", "refusal-list-qi", "--judge", "refusal-list-wei", "--out", str(out)]
    content = run(["judge", str(path), *flags], capsys)
    assert content["judges"]["refusal-list-qi"]["refused"]["value"] == 0.5
    assert content["judges"]["refusal-list-qi"]["refused"]["unscored"] == 1
    assert content["disagreement"][0]["value"] == 0.5
    assert len(out.read_text().splitlines()) == 3
    assert "dough" not in out.read_text()
