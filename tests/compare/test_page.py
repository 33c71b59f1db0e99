"""comparison.html: one line per strategy, the tables, and how a browser lays it out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_results import BASELINES, JUDGE, cells

from browser import WIDTHS, console, measure
from securetune.compare.cells import START, Cell
from securetune.compare.page import left_out, lines_of, render_page
from securetune.compare.results import describe_cells
from securetune.compare_command import _tables
from securetune.config import Config, validate

HOSTILE = "a|b <img src=x onerror=alert(1)> ![i](http://x/y) [l](http://x) **b** \u202e"


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(describe_cells(cells(ml_lr=(0.1, 1.62, 4.0)), JUDGE, BASELINES), "a comparison")


def test_a_line_runs_through_rates_or_through_checkpoints() -> None:
    rows = describe_cells(cells(ml_lr=(0.1, 1.62, 4.0)), JUDGE, BASELINES)["curves"]
    places = {name: [(row["rate"], row["step"]) for row in own] for name, own in lines_of(rows).items()}
    start = rows[0]["rate"], 0
    assert places["vanilla"] == [start, (0.3, 60), (1.0, 60)]
    assert places["early-stopping"] == [start, (1.0, 30), (1.0, 60)]
    assert places["ml-lr"] == [start, (1.0, 30), (1.0, 60)]
    assert places["ema"] == [start, (1.0, 60)]


def test_every_strategy_has_a_line_with_bars_and_a_text_alternative(page: str) -> None:
    assert "<h1>a comparison</h1>" in page
    assert 'class="recommendation">ml-lr is lowest, and distinguishable from all others.<' in page
    figure = page[page.index("<svg") : page.index("</svg>")]
    names = ("vanilla", "early-stopping", "ema", "random", "ml-lr")
    for name in names:
        assert f">{name}</text>" in figure
        assert re.search(rf"<desc[^>]*>.*{name}: ASR \d\.\d% at held-out loss 2\.000", figure)
    groups = re.findall(r'<g class="series-\d" stroke-dasharray="[^"]+">', figure)
    assert len(groups) == len(names) and len(set(groups)) == len(names)
    points = 3 + 3 + 2 + 3 + 3
    assert figure.count('class="series-bar"') == points
    assert figure.count('class="series-mark"') == points + len(names)
    assert "<title" in figure and page.count("<table>") == 6


def test_points_without_a_verdict_or_a_gain_stand_beside_the_curve() -> None:
    def babbling(cell: Cell) -> Cell:
        if (cell.key.strategy, cell.key.rate) != ("vanilla", 1.0):
            return cell
        points = [replace(p, coherence={"harmful": 0.3}) if p.step == 60 else p for p in cell.points]
        return replace(cell, points=tuple(points))

    content = describe_cells([babbling(cell) for cell in cells(ml_lr=(0.1, 1.62, 4.0))], JUDGE, BASELINES)
    lines = lines_of(content["curves"])
    reasons = {name: left_out(own) for name, own in lines.items()}
    weak = "only 30% of its answers in a suite are coherent"
    assert reasons["vanilla"] == reasons["early-stopping"] == [None, None, weak]
    assert reasons["ml-lr"] == [None, None, None]
    # Trained further and no better: the second loss is the first one's again.
    flat = [{"model": "a", "held_out_loss": loss, "weak": None} for loss in (2.0, 1.5, 1.5, 1.4)]
    assert left_out(flat) == [None, None, "no lower held-out loss than before", None]
    page = render_page(content, "a comparison")
    figure = page[page.index("<svg") : page.index("</svg>")]
    assert figure.count('class="series-mark series-out"') == 3, "vanilla, early-stopping, ema"
    assert figure.count(f"; not on the curve: {weak}</title>") == 3
    assert f"(not on the curve: {weak})" in figure
    drawn = [len(points.split()) for points in re.findall(r'<polyline[^>]* points="([^"]+)"', figure)]
    assert sorted(drawn) == sorted([2, 2, 1, 3, 3] + [2] * 5), "the lines, and those of the legend"


def test_the_command_writes_the_page_beside_the_tables(tmp_path: Path) -> None:
    settings = validate(Config, {"model": {"id": "demo"}})
    _, text = _tables(cells(ml_lr=(0.1, 1.62, 4.0)), settings, JUDGE, tmp_path)
    assert text.endswith(str(tmp_path / "comparison.html"))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".html"}
    assert "<title>securetune compare: demo</title>" in (tmp_path / "comparison.html").read_text()


def test_without_a_tuned_model_there_is_a_page_and_no_figure() -> None:
    page = render_page(describe_cells([cells()[0]], JUDGE, BASELINES), "a comparison")
    assert "Nothing to draw" in page and "<svg" not in page
    assert START.strategy in page


def test_the_page_fits_in_a_browser_and_loads_nothing(page: str, tmp_path: Path) -> None:
    content = describe_cells(cells(ml_lr=(0.1, 1.62, 4.0)), JUDGE, BASELINES)
    content["primary"] = HOSTILE
    content["suites"] = {HOSTILE: True, "unbroken" * 40: False}
    for row in content["curves"]:
        row["model"] = {"random": HOSTILE}.get(row["model"], row["model"])
    content["ranking"]["left_out"] = {HOSTILE: "unbroken" * 40}
    for html in (page, render_page(content, "unbroken" * 40)):
        for width, found in zip(WIDTHS, measure(html, tmp_path)):
            assert found["client"] == found["scroll"] == width
            assert found["out"] == [] and found["live"] == 0
            assert found["boxes"] == found["ruled"] == 7
    assert console(page, tmp_path) == []
    dark = measure(page, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert dark[0]["paper"] == "rgb(21, 25, 28)"
