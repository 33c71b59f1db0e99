"""The options that commands share."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from securetune.analysis_settings import SECTIONS

Model = Annotated[
    str, typer.Argument(help="Hub id (name@revision), directory, .gguf file, `demo` or `demo-base`.")
]
Data = Annotated[
    str | None, typer.Option(help="Tuning data: file, hub id, or `package` for ours.", show_default=False)
]
Out = Annotated[Path, typer.Option(help="Run directory; a second call picks up what is there.")]
Strategy = Annotated[
    list[str] | None, typer.Option(help="Strategies to compare (repeatable), e.g. ml-lr, uniform-0.3, swat.")
]
Harmful = Annotated[
    list[str] | None,
    typer.Option(
        help="Your harmful prompts (split into roles): FILE, FILE:column or FILE:column:label=VALUE."
    ),
]
Benign = Annotated[
    list[str] | None,
    typer.Option(
        help="Your benign prompts (split into roles): FILE, FILE:column or FILE:column:label=VALUE."
    ),
]


def _known(sections: list[str] | None) -> list[str] | None:
    for name in sections or []:
        if name not in SECTIONS:
            raise typer.BadParameter(f"{name!r} is no part of --full; its parts: {', '.join(SECTIONS)}.")
    return sections


Only = Annotated[
    list[str] | None,
    typer.Option(callback=_known, help=f"Only this part of --full (repeatable): {', '.join(SECTIONS)}."),
]
Template = Annotated[str | None, typer.Option(help="Chat template: file, Jinja text or `chatml`.")]
FourBit = Annotated[bool, typer.Option("--load-in-4bit", help="Quantise the base to train and measure.")]
Redo = Annotated[list[str] | None, typer.Option(help="Make a stage again, e.g. analysis, tune/ml-lr.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be trained; train nothing.")]
LmEval = Annotated[
    list[str] | None, typer.Option(help="Tasks of lm-evaluation-harness to score, too (repeatable).")
]
ShowText = Annotated[
    bool, typer.Option("--show-text", help="Show the prompts and answers whose verdict flipped, too.")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"securetune {metadata.version('securetune')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: a.b=c (repeatable).")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML settings.")]
