"""`securetune align`: settings from flags, file and run directory, then the alignment."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from securetune import terminal
from securetune.config import AlignSettings, load_settings
from securetune.run_settings import check_owner
from securetune.runs.directory import Run


def align_model(
    model: str,
    out: Path,
    config: Path | None,
    overrides: list[str],
    *,
    refuse: list[str] | None,
    help_with: list[str] | None,
    exclude: list[str] | None,
    chat_template: str | None,
    load_in_4bit: bool,
    redo: list[str],
) -> tuple[dict[str, Any], str]:
    """Align a model in the run directory `out`; returns what the command prints, as content and as text."""
    from securetune.training.align import align, load_start

    terminal.quiet_libraries()
    start: dict[str, Any] = {"id": model}
    if chat_template is not None:
        start["chat_template"] = chat_template
    if load_in_4bit:
        start["load_in_4bit"] = True
    chosen = {"refuse": refuse, "help": help_with, "exclude": exclude}
    flags: dict[str, Any] = {key: value for key, value in chosen.items() if value}
    run = Run(out)
    check_owner(run, AlignSettings)
    if config is None and run.config_file.is_file():
        # A second call on a run uses that run's settings.
        config = run.config_file
    settings = load_settings(AlignSettings, config, overrides, flags=flags | {"model": start})
    for stage in redo:
        run.redo(stage)
    result = align(partial(load_start, settings, out), settings, out)
    content = {"adapter": str(result.weights), "steps": result.steps}
    return content, f"adapter: {result.weights} ({result.steps} steps)"
