"""What the program says of its maps is what docs/analysis.md says that we measured."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from report_data import report_data
from securetune.analysis.known_validity import BEST, VALIDITY, known_validity
from securetune.report.build import render_html, render_markdown

DOCUMENT = Path(__file__).parents[2] / "docs" / "analysis.md"
NAMES = {"probe": "probe", "refusal-margin": "margin", "refusal-direction": "direction"}
KINDS = {
    "gaussian": "noise relative to the weights",
    "gaussian-equal": "noise of equal norm",
    "update": "`update`",
    "zero": "`zero`, sampled",
    "scale": "`scale`, sampled",
}


@pytest.mark.parametrize(("proxy", "kind"), VALIDITY)
def test_the_numbers_are_those_of_the_document(proxy: str, kind: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8").replace("**", "")
    start = re.escape(f"| {NAMES[proxy]}, {KINDS[kind]}")
    (row,) = re.findall(rf"^{start}(?: \(the default\))? \|(.*)\|$", text, flags=re.MULTILINE)
    found = [float(number) for number in re.findall(r"-?\d\.\d\d", row)]
    assert found == [*VALIDITY[proxy, kind].single, *VALIDITY[proxy, kind].sets]


def test_a_map_that_is_not_shown_to_predict_training_is_reported_as_such() -> None:
    shown, said = known_validity("probe", "gaussian")
    assert not shown and "not shown to predict" in said and "0.11 [-0.39, 0.54]" in said
    assert "analysis.perturbation=update" in said
    assert known_validity("probe", "low-rank")[1] == said.replace("gaussian", "low-rank")
    assert "not shown" in known_validity("probe", "zero")[1]
    assert (
        known_validity("generic", "zero")[0] is False and "not known" in known_validity("generic", "zero")[1]
    )
    assert known_validity(*BEST) == (True, known_validity(*BEST)[1])
    assert all(VALIDITY[BEST].single[1] >= one.single[1] for one in VALIDITY.values())
    plain = report_data()
    assert plain.drift is not None
    unproven = report_data(drift=replace(plain.drift, unproven=said))
    for render in (render_html, render_markdown):
        assert "not shown to predict" in render(unproven) and "not shown to predict" not in render(plain)
