"""Write the report of a run: one HTML file that needs nothing else, and Markdown for pull requests."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from securetune.files import write_text
from securetune.report.categories import draw_categories
from securetune.report.curves import draw_timeline, draw_training
from securetune.report.data import ReportData
from securetune.report.heat_map import draw_heat_map
from securetune.report.lookup import Lookup
from securetune.report.markdown import code_block, finalize
from securetune.report.movement import draw_movement
from securetune.report.result_tables import Cell
from securetune.report.scatter import draw_scatter
from securetune.report.view import build_view
from securetune.report.wording import printable_data


def write_report(data: ReportData, directory: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` (beside, then renamed) and return their paths."""
    return (
        write_text(directory / "report.html", render_html(data)),
        write_text(directory / "report.md", render_markdown(data)),
    )


def render_html(data: ReportData) -> str:
    """Return the report as one HTML page without script and without any reference to another file."""
    found = Lookup(printable_data(data))
    drift = found.data.drift
    figures = {
        "scatter": None if found.external else draw_scatter(found),
        "heat_map": draw_heat_map(drift) if drift is not None else None,
        "training_figures": draw_training(found),
        "timeline_figures": draw_timeline(found),
        "category_figures": draw_categories(found),
        "movement_figure": draw_movement(found),
    }
    return templates("html").get_template("report.html").render(**build_view(found), **figures)


def render_markdown(data: ReportData) -> str:
    """Return the report as GitHub-flavoured Markdown."""
    found = Lookup(printable_data(data))
    view = build_view(found)
    view["command"] = code_block(found.data.command)
    return templates("md").get_template("report.md").render(**view)


@lru_cache
def templates(kind: str) -> Environment:
    """Return the templates of one `kind`: `html` escapes for HTML, `md` for Markdown."""
    environment = Environment(
        loader=PackageLoader("securetune.report"),
        autoescape=kind == "html",
        finalize=finalize if kind == "md" else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["cell"] = lambda value: isinstance(value, Cell)
    return environment
