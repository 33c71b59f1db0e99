from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from report_data import JUDGES, LAYERS, PATHS, report_data, with_every_string
from securetune.report.build import render_html, render_markdown, write_report
from securetune.report.data import ReportData
from securetune.report.lookup import Lookup
from securetune.report.markdown import escape_markdown
from securetune.report.result_tables import judge_tables
from securetune.report.scatter import draw_scatter
from securetune.report.wording import nats, percent, printable

HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(1)>|`c` [a](javascript:alert(1)) "
    "![i](http://evil.example/x.png) </svg></style></details>{{ 7*7 }} @octocat https://evil.example\n"
    "# head\n```\n\x00\x1b[31m\u202e\ud800&lt;b&gt;\\| end"
)
PAGE_TAGS = """html head meta title style body header main section footer h1 h2 h3 p div span dl dt dd ul li
table thead tbody tr th td figure figcaption details summary pre code"""
SVG_TAGS = "svg desc g text line polyline polygon circle rect"
TAGS = {*PAGE_TAGS.split(), *SVG_TAGS.split()}
PAGE_ATTRIBUTES = (
    "lang charset http-equiv content name id class scope role tabindex aria-label aria-labelledby"
)
SVG_ATTRIBUTES = "viewbox width height x y x1 x2 y1 y2 cx cy r points transform text-anchor fill-opacity"
ATTRIBUTES = {*PAGE_ATTRIBUTES.split(), *SVG_ATTRIBUTES.split()}


class Page(HTMLParser):
    """Elements, attributes, ids and visible text of a page."""

    VOID = ("meta",)

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.style = ""
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("h1", "h2"):
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text += data
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings[-1] += data


def unescaped_pipes(row: str) -> int:
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", row))


def tables(markdown: str) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for line in markdown.split("\n"):
        if line.startswith("|"):
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def nothing(data: ReportData) -> ReportData:
    """The same models with every number that may be missing, missing."""
    gone: dict[str, Any] = {"value": None, "low": None, "high": None}
    drift = data.drift
    assert drift is not None
    return replace(
        data,
        results=tuple(replace(row, **gone, n=0, unscored=120) for row in data.results),
        comparisons=tuple(
            replace(row, difference=None, low=None, high=None, p_value=None) for row in data.comparisons
        ),
        matched=tuple(replace(row, **gone, reference=None, difference=None) for row in data.matched),
        drift=replace(drift, split_half=None, probe={"auroc": None, "n": 0, "transfer": {}}),
        settings={"system_prompt": None},
        training=(),
    )


def test_both_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    html, markdown = write_report(report_data(), tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["report.html", "report.md"]
    assert html.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert markdown.read_text(encoding="utf-8").startswith("# Safety of tuned models")


def test_the_page_is_well_formed_and_complete() -> None:
    page = Page(render_html(report_data()))
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.headings == [
        "Safety of tuned models: demo",
        "Safety and usefulness",
        "Attack success by suite and harm category",
        "General ability",
        "Judges side by side",
        "Prompts whose verdict flipped",
        "Against a uniform rate at the same held-out loss",
        "Map of drift",
        "Training",
        "Plan receipts: planned, applied, moved",
        "Limits of the evidence",
        "What was run",
        "How to reproduce",
        "All numbers",
    ]
    assert page.text.index("Use self-replay") < page.text.index("Safety and usefulness")


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = Page(render_html(with_every_string(report_data(), " https://evil.example/x")))
    assert not page.tags & {"script", "img", "link", "iframe", "object", "embed", "a", "use", "image", "base"}
    assert not page.attributes & {"src", "href", "xlink:href", "style", "srcset", "action", "data"}
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert "http" not in page.style


def test_hostile_strings_stay_text() -> None:
    data = with_every_string(report_data(), HOSTILE)
    html = render_html(data)
    page = Page(html)
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES
    assert page.open == []
    shown = printable(HOSTILE)
    assert "\ufffd" in shown
    # Every place where a string of the data is printed in full.
    assert page.text.count(shown) > 100
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", html)
    html.encode("utf-8")


def test_a_hostile_metric_stays_text() -> None:
    data = report_data()
    row = replace(data.results[0], metric=HOSTILE)
    page = Page(render_html(replace(data, results=(*data.results, row))))
    assert page.tags <= TAGS
    assert printable(HOSTILE) in page.text


def test_hostile_strings_stay_text_in_markdown() -> None:
    markdown = render_markdown(with_every_string(report_data(), HOSTILE))
    fence = re.search(r"^(`{4,})text\n.*?^\1$", markdown, re.DOTALL | re.MULTILINE)
    assert fence is not None
    assert "<script>alert(1)</script>" in fence[0]
    rest = markdown.replace(fence[0], "")
    assert set(re.findall(r"<[^>]*>?", rest)) == {"<details>", "</details>", "<summary>", "</summary>"}
    assert not re.search(r"(?<!\\)`", rest)
    assert not re.search(r"(?<!\\)\]\(", rest)
    assert "://" not in rest.replace("\\://", "")
    assert "@octocat" not in rest
    assert not re.search("^# head", rest, re.MULTILINE)
    markdown.encode("utf-8")


@pytest.mark.parametrize("hostile", ["", HOSTILE, "|", "\\", "\\|", "a\nb", "`|`"])
def test_markdown_tables_keep_their_shape(hostile: str) -> None:
    markdown = render_markdown(with_every_string(report_data(), hostile))
    found = tables(markdown)
    assert len(found) == 23
    for table in found:
        assert set(table[1]) <= set("|- ")
        assert len({unescaped_pipes(row) for row in table}) == 1


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain-text 1.5%", "plain-text 1.5%"),
        ("self_attn.q_proj", "self_attn.q_proj"),
        ("_a_ *b*", "\\_a\\_ \\*b\\*"),
        ("- item", "\\- item"),
        ("---", "\\---"),
        ("1. item", "1\\. item"),
        ("+1.0 points", "+1.0 points"),
        ("a\r\n\tb", "a b"),
        ("me@host @you", "me@host @\u2060you"),
        ("www.x.org http://x.org", "www\\.x.org http\\://x.org"),
    ],
)
def test_markdown_escapes_only_what_would_be_read(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


def test_every_result_is_shown() -> None:
    data = report_data()
    page, markdown = Page(render_html(data)).text, render_markdown(data)
    for row in data.results:
        value = nats(row.value) if row.metric == "held_out_loss" else percent(row.value)
        assert value in page
        assert value in markdown
        assert f"n = {row.n}" in page
    for comparison in data.comparisons:
        assert f"{comparison.model} against {comparison.against}" in page


def test_every_part_of_the_run_is_shown() -> None:
    data = report_data()
    for text in (Page(render_html(data)).text, render_markdown(data)):
        for part in (
            data.command,
            "0.0005",
            "2.8.0+cpu",
            "134,515,008",
            "CC0-1.0",
            "9f86d081884c7d65",
            "105 of 210 modules",
            "0.941",
            "0.910 (n = 450)",
            "safer than a smaller uniform rate",
            "not distinguishable",
            "1,221,121",
            "one seed",
        ):
            assert part in text


def test_missing_values_read_as_such() -> None:
    data = nothing(report_data())
    for text in (Page(render_html(data)).text, render_markdown(data)):
        assert text.count("n/a") > 50
        assert not re.search(r"\b(None|nan|inf)\b", text)
        assert "The evidence is insufficient" in text


def test_numbers_that_are_not_finite_are_missing() -> None:
    data = report_data()
    odd = [replace(row, value=float("nan"), low=float("-inf"), high=float("inf")) for row in data.results]
    text = Page(render_html(replace(data, results=tuple(odd)))).text
    assert not re.search(r"\b(nan|inf)\b", text)


def test_an_empty_run_still_makes_a_report() -> None:
    data = report_data(
        results=(), comparisons=(), matched=(), drift=None, training=(), data=(), versions={}, model={},
        categories=(), judge_errors=(), timeline=(), flips=(), abilities=(),
    )  # fmt: skip
    page = Page(render_html(data))
    assert "There is no map in this run." in page.text
    assert "svg" not in page.tags
    assert "n/a" in render_markdown(data)


def test_the_map_marks_the_robust_set_by_shape() -> None:
    html = render_html(report_data())
    svg = re.search(r'<svg [^>]*aria-labelledby="heat-map.*?</svg>', html, re.DOTALL)
    assert svg is not None
    assert svg[0].count('class="robust"') == 105 + 1
    assert svg[0].count("<title>") == LAYERS * len(PATHS) + len(PATHS)
    assert "12.mlp.down_proj: drift" in svg[0]


def test_figures_are_well_formed_and_described() -> None:
    html = render_html(with_every_string(report_data(), HOSTILE))
    figures = re.findall(r"<svg .*?</svg>", html, re.DOTALL)
    # Trade-off, map, losses, safety over steps (3 measures of 2 models), categories, movement.
    assert len(figures) == 2 + 5 + 6 + 1 + 1
    for figure in figures:
        root = ElementTree.fromstring(figure)
        assert root.get("role") == "img"
        assert [child.tag for child in root][:2] == ["title", "desc"]


def test_the_scatter_draws_the_uniform_curve_and_names_every_model() -> None:
    drawn = draw_scatter(Lookup(report_data()))
    assert drawn is not None
    svg, clipped = drawn
    assert clipped
    root = ElementTree.fromstring(str(svg))
    curve = next(part for part in root.iter("polyline") if part.get("class") == "curve")
    assert len((curve.get("points") or "").split()) == 4
    names = {part.text for part in root.iter("text") if part.get("class") == "name"}
    assert names == {"start", "vanilla", "uniform-0.3", "uniform-0.1", "ml-lr", "self-replay"}


def test_the_data_survives_json() -> None:
    data = report_data()
    again = ReportData.from_json(json.loads(json.dumps(data.to_json())))
    assert again == data
    assert render_html(again) == render_html(data)
    assert render_markdown(again) == render_markdown(data)


def test_rows_left_out_and_suites_of_the_user_are_shown() -> None:
    data = report_data()
    rows = [replace(row, suite="mine") for row in data.results if row.metric in ("asr", "over_refusal")]
    rows = [replace(row, metric="over_refusal") for row in rows]
    entry = replace(data.training[0], too_long=7)
    card = replace(data.data[0], left_out=9, note="7 longer than 512 tokens; 2 unusable")
    data = replace(
        data, results=(*data.results, *rows), training=(entry, *data.training[1:]),
        data=(card, *data.data[1:]),
    )  # fmt: skip
    for text in (Page(render_html(data)).text, render_markdown(data)):
        assert "Over-refusal on mine" in text
        assert "7 longer than 512 tokens; 2 unusable" in text
        assert "Rows too long to train on: 7 for vanilla" in text


def test_judges_stand_side_by_side_and_no_mean_of_them_is_shown() -> None:
    found = judge_tables(Lookup(report_data()))
    assert {tuple(table.columns[1:]) for table in found} == {JUDGES}
    start = {row.judge: row for row in report_data().results if (row.model, row.metric) == ("start", "asr")}
    shown = next(row for row in found[0].rows if row[0] == "start")
    assert [cell.value for cell in shown[1:]] == [percent(start[j].value) for j in JUDGES]  # type: ignore[union-attr]


def test_the_markdown_has_the_map_and_the_loss_curves_in_numbers() -> None:
    markdown = render_markdown(report_data())
    assert markdown.count("●") == 105 + 1
    assert "(step 60)" in markdown
