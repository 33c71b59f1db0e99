"""The report in a real browser: nothing hangs out of the page, on a phone or on a desk, light or dark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from browser import WIDTHS, console, measure
from report_data import flips, report_data, with_every_string
from securetune.report.build import render_html
from securetune.report.wording import printable


@pytest.mark.parametrize("tail", ["", "unbroken" * 60, " <b>words</b> that go on" * 20])
def test_nothing_hangs_out_of_the_page(tail: str, tmp_path: Path) -> None:
    for width, page in zip(WIDTHS, measure(render_html(with_every_string(report_data(), tail)), tmp_path)):
        assert page["client"] == width
        assert page["scroll"] == width
        assert page["out"] == []
        assert page["boxes"] == page["ruled"] >= 10
        assert page["height"] > 3000


def test_the_page_follows_the_colour_scheme(tmp_path: Path) -> None:
    (tmp_path / "light").mkdir()
    (tmp_path / "dark").mkdir()
    light = measure(render_html(report_data()), tmp_path / "light", "--blink-settings=preferredColorScheme=1")
    dark = measure(render_html(report_data()), tmp_path / "dark", "--blink-settings=preferredColorScheme=0")
    assert light[0]["paper"] == "rgb(252, 252, 250)"
    assert dark[0]["paper"] == "rgb(21, 25, 28)"


HOSTILE = (
    "\"'><script>document.title='taken'</script><img src=x onerror=alert(1)></td></table></details>"
    "<a href=//x>"
    "<style>body{display:none}</style>&lt;b&gt; {{ 7*7 }} \u202e"
)


def test_hostile_answers_stay_text_and_the_console_stays_silent(tmp_path: Path) -> None:
    shown = [
        replace(row, prompt=HOSTILE, answers=tuple(replace(a, text=HOSTILE) for a in row.answers))
        for row in flips(texts=True)
    ]
    data = report_data(flips=tuple(shown))
    for page in measure(render_html(data), tmp_path):
        assert page["live"] == 0
        assert page["out"] == []
        answers = sum(len(row.answers) for row in shown)
        assert page["text"].count(printable(HOSTILE)) == answers + len(shown)
    assert console(render_html(data), tmp_path) == []
    # Control: what the page's policy stops would be seen here.
    assert console(render_html(data).replace("</body>", "<script>1</script></body>"), tmp_path)
