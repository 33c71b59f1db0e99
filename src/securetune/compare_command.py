"""The command `securetune compare`: run the grid, then write its tables. No logic, as in cli.py."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from securetune import terminal
from securetune.cli_options import Json, Redo, Set


def compare(
    config: Annotated[Path, typer.Argument(help="YAML settings: model, data, strategy, compare, ...")],
    out: Annotated[Path, typer.Option(help="Directory of the comparison.")] = Path("runs/compare"),
    cells: Annotated[
        Path | None,
        typer.Option(help="Directory of finished cells; OUT/cells if not named.", show_default=False),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="Run only part i/n of the cells; without it the tables are made.")
    ] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Run nothing; tables of what is finished.")
    ] = False,
    judge: Annotated[str | None, typer.Option(help="Whose verdicts the tables use.")] = None,
    set_: Set = None,
    redo: Redo = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show cells and what differences can be seen; run nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Strategies x rates x seeds on one data set, with curves, baselines, ranking and power; resumable."""
    from securetune.analysis.rows import Part
    from securetune.compare.cells import read_cells
    from securetune.compare.grid import Grid
    from securetune.config import Config, load_settings
    from securetune.runs.directory import Run

    terminal.quiet_libraries()
    settings = load_settings(Config, config, list(set_ or []))
    part = None if shard is None else Part.parse(shard)
    if not tables:
        grid = Grid(settings, out, part, cells)
        if dry_run:
            content, text = grid.describe()
            terminal.emit(content, as_json=json, text=text)
            return
        grid.base.check()
        command = "securetune " + shlex.join(sys.argv[1:])
        Run(out).write_config(settings.model_dump(mode="json"), command)
        for stage in redo or []:
            grid.redo(stage)
        grid.run()
        if part is not None:
            rest = [key.name for key in grid.missing()]
            text = (
                f"{grid.cells}: all cells of shard {shard} are there; of the others {len(rest)} are missing"
            )
            terminal.emit({"cells": str(grid.cells), "missing": rest}, as_json=json, text=text)
            return
    content, text = _tables(read_cells(cells or out / "cells"), settings, judge, out)
    terminal.emit(content, as_json=json, text=text)


def _tables(cells: Any, settings: Any, judge: str | None, out: Path) -> tuple[dict[str, Any], str]:
    from securetune.compare.cells import plan_cells
    from securetune.compare.page import render_page
    from securetune.compare.results import describe_cells
    from securetune.compare.tables import write_tables
    from securetune.files import write_json, write_text

    judge = judge or settings.evaluate.judges[0]
    content = describe_cells(cells, judge, settings.compare.baselines, plan_cells(settings))
    text = write_tables(content)
    write_json(out / "comparison.json", content)
    write_text(out / "comparison.md", text)
    page = write_text(
        out / "comparison.html", render_page(content, f"securetune compare: {settings.model.id}")
    )
    return content, f"{text}\n{page}"
