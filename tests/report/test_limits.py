"""Limits that the report reads off the judges."""

from __future__ import annotations

import pytest

from report_data import report_data, result
from securetune.evaluation.judges.answer_classifier import NAME
from securetune.evaluation.judges.embedding import SENTENCES, START_TOKENS
from securetune.report.limits import limits


@pytest.mark.parametrize("key", ["max_new_tokens", "new tokens per answer"])
def test_a_judge_that_reads_the_beginning_is_told_where_answers_may_go_on(key: str) -> None:
    def told(tokens: int, judge: str) -> bool:
        row = result("ml-lr", "harmful", "asr", 9, 120, judge)
        data = report_data(settings={key: tokens}, results=(*report_data().results, row))
        text = f"reads the first {START_TOKENS} tokens and the first {SENTENCES} sentences or lines"
        return any(text in line for line in limits(data))

    assert told(START_TOKENS + 1, NAME)
    assert not told(START_TOKENS, NAME)
    assert not told(START_TOKENS + 1, "refusal-list-qi")
