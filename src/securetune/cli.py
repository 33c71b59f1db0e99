"""The command line. No logic: every command reads its options, calls one function, prints one result."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from securetune import terminal
from securetune.cli_options import (
    Benign,
    ConfigFile,
    Data,
    DryRun,
    FourBit,
    Harmful,
    Json,
    LmEval,
    Model,
    Only,
    Out,
    Redo,
    Set,
    ShowText,
    Strategy,
    Template,
    Version,
)
from securetune.compare_command import compare
from securetune.errors import SecureTuneError, TrainingError, UsageError
from securetune.judging_commands import COMMANDS
from securetune.run_settings import check_redo, open_pipeline, recorded

log = logging.getLogger("securetune")

app = typer.Typer(
    name="securetune",
    help="Fine-tune a chat model without losing its safety, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the libraries say.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.")] = False,
    version: Version = False,
) -> None:
    terminal.set_up(verbose=verbose, quiet=quiet)


@app.command()
def run(
    model: Model,
    data: Data = None,
    strategy: Strategy = None,
    out: Out = Path("runs/run"),
    config: ConfigFile = None,
    set_: Set = None,
    harmful: Harmful = None,
    benign: Benign = None,
    chat_template: Template = None,
    load_in_4bit: FourBit = False,
    redo: Redo = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Do everything: analyse, tune with each strategy, evaluate, compare, report."""
    pipeline = open_pipeline(locals(), "analysis", "replay", "tune", "evaluate")
    if dry_run:
        _dry_run(pipeline, redo, json)
        return
    with recorded(pipeline, redo):
        report = pipeline.execute()
    _emit_report(report, json)
    if pipeline.failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in pipeline.failed.items())
        raise TrainingError(f"The report lacks what failed. {reasons}")


@app.command()
def analyze(
    model: Model,
    out: Out = Path("runs/run"),
    data: Data = None,
    method: Annotated[
        str | None, typer.Option(help="closed-form (default) or monte-carlo.", show_default=False)
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Also measure how far the map can be believed.")
    ] = False,
    only: Only = None,
    shard: Annotated[
        str | None, typer.Option(help="Measure only part i/n of the map; run without it to merge.")
    ] = None,
    config: ConfigFile = None,
    set_: Set = None,
    harmful: Harmful = None,
    benign: Benign = None,
    chat_template: Template = None,
    load_in_4bit: FourBit = False,
    redo: Redo = None,
    json: Json = False,
) -> None:
    """Fit the probe, map every module's sensitivity, search and verify the robust set, write plan.json."""
    chosen = {"analysis.method": method, "analysis.quantised": load_in_4bit or None}
    settings = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    pipeline = open_pipeline(locals() | {"set_": [*settings, *(set_ or [])]}, "analysis")
    with recorded(pipeline, redo):
        if shard is not None:
            from securetune.analysis.rows import Part

            part = Part.parse(shard)
            path = pipeline.map_part(part)
            text = (
                f"{path}/map.{part.name}.jsonl; when all parts are there, run without --shard to merge them"
            )
            terminal.emit({"shard": shard, "directory": str(path)}, as_json=json, text=text)
            return
        analysis = pipeline.analyze()
        path = pipeline.plan("ml-lr").save(pipeline.run.path / "plan.json")
    if os.environ.get("RANK", "0") != "0":
        return  # One process of `accelerate launch` speaks for all.
    from securetune.summary import describe_analysis

    content, text = describe_analysis(analysis, path, pipeline.examine(only) if full or only else None)
    terminal.emit(content, as_json=json, text=text)


@app.command()
def train(
    model: Model,
    data: Data = None,
    strategy: Strategy = None,
    out: Out = Path("runs/run"),
    config: ConfigFile = None,
    set_: Set = None,
    harmful: Harmful = None,
    benign: Benign = None,
    chat_template: Template = None,
    load_in_4bit: FourBit = False,
    redo: Redo = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Tune with each strategy; analyses first where a strategy needs it."""
    pipeline = open_pipeline(locals(), "analysis", "replay", "tune")
    if dry_run:
        _dry_run(pipeline, redo, json)
        return
    with recorded(pipeline, redo):
        results = {name: pipeline.train(name) for name in pipeline.config.strategy.names}
    content = {
        name: {"weights": str(r.weights), "steps": r.steps, "last_loss": r.losses[-1][1]}
        for name, r in results.items()
    }
    lines = [f"{name}: {row['weights']} ({row['steps']} steps)" for name, row in content.items()]
    terminal.emit(content, as_json=json, text="\n".join(lines))


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="The model, or a tuned model or adapter with --against.")],
    against: Annotated[str | None, typer.Option(help="The model it was tuned from.")] = None,
    data: Data = None,
    strategy: Strategy = None,
    out: Out = Path("runs/run"),
    config: ConfigFile = None,
    set_: Set = None,
    harmful: Harmful = None,
    benign: Benign = None,
    chat_template: Template = None,
    load_in_4bit: FourBit = False,
    lm_eval: LmEval = None,
    redo: Redo = None,
    show_text: ShowText = False,
    json: Json = False,
) -> None:
    """Measure ASR, over-refusal and held-out loss of a run's models, or of any TUNED --against BASE."""
    from securetune.report.assemble import all_results, compare_outcomes
    from securetune.report.evidence import disagreements
    from securetune.summary import describe_report, describe_results

    if against is not None:
        from securetune.compare.models import compare_models, describe_comparisons, describe_judges

        if strategy:
            raise UsageError("--strategy names models of a run; --against compares TUNED with BASE alone.")
        pipeline = open_pipeline(locals() | {"model": against}, "compare")
        with recorded(pipeline, redo, check=False):
            compared = compare_models(pipeline, model, show_text=show_text)
        evaluations = compared.evaluations
    else:
        if show_text:
            raise UsageError(
                "--show-text is for the report of --against; `securetune report` has it for a run's."
            )
        pipeline = open_pipeline(locals(), "evaluate")
        with recorded(pipeline, redo):
            evaluations = pipeline.evaluate_all(required=bool(strategy))
    judges = pipeline.config.evaluate.judges
    rows = compare_outcomes(evaluations, ("start",), judges)
    differ = disagreements(evaluations)
    content, text = describe_results(all_results(evaluations), judges[0], rows, differ)
    if against is not None:
        content["comparisons"] = [dict(vars(row)) for row in compared.comparisons]
        text = "\n".join([text, describe_judges(evaluations), describe_comparisons(compared.comparisons)])
        written, _ = describe_report(compared.report)
        content, text = written | content, f"{text}\n{written['recommendation']}\nreport: {compared.report}"
    terminal.emit(content, as_json=json, text=text)


@app.command()
def report(
    model: Model,
    data: Data = None,
    strategy: Strategy = None,
    out: Out = Path("runs/run"),
    config: ConfigFile = None,
    set_: Set = None,
    harmful: Harmful = None,
    benign: Benign = None,
    chat_template: Template = None,
    show_text: ShowText = False,
    json: Json = False,
) -> None:
    """Write results.json, report.html and report.md of a run from stored answers; answers nothing again."""
    pipeline = open_pipeline(locals())
    pipeline.failed = pipeline.run.failed()
    with recorded(pipeline):
        path = pipeline.report(show_text=show_text)
    _emit_report(path, json)


@app.command()
def align(
    model: Model,
    out: Out = Path("runs/align"),
    config: ConfigFile = None,
    set_: Set = None,
    refuse: Annotated[
        list[str] | None, typer.Option(help="Refusal rows, or harmful prompts as FILE:column.")
    ] = None,
    help_with: Annotated[list[str] | None, typer.Option(help="Harmless prompts as FILE:column.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Prompts never to train on.")] = None,
    chat_template: Template = None,
    load_in_4bit: FourBit = False,
    redo: Redo = None,
    json: Json = False,
) -> None:
    """Teach a chat model to refuse harmful requests, and only those; writes a PEFT adapter."""
    from securetune.align_command import align_model

    content, text = align_model(
        model, out, config, list(set_ or []), refuse=refuse, help_with=help_with, exclude=exclude,
        chat_template=chat_template, load_in_4bit=load_in_4bit, redo=list(redo or []),
    )  # fmt: skip
    terminal.emit(content, as_json=json, text=text)


for _command in (compare, *COMMANDS):
    app.command()(_command)


@app.command()
def doctor(
    model: Annotated[str | None, typer.Argument(help="Also check a model, and a plan against it.")] = None,
    plan: Annotated[str | None, typer.Option(help="Plan file, directory or hub repository to match.")] = None,
    json: Json = False,
) -> None:
    """Check the installation, and how a plan would meet a model."""
    from securetune.doctor import diagnose

    content, text = diagnose(model, plan)
    terminal.emit(content, as_json=json, text=text)


@app.command()
def export(
    plan: Annotated[str, typer.Argument(help="Plan file, directory or hub repository; `-` for the schema.")],
    model: Annotated[str | None, typer.Argument(help="The base model that the plan is for.")] = None,
    to: Annotated[str, typer.Option(help="axolotl, llama-factory, peft, mergekit or schema.")] = "axolotl",
    lr: Annotated[float | None, typer.Option(help="Base learning rate (axolotl).")] = None,
    tuned: Annotated[str | None, typer.Option(help="The tuned model, merged (mergekit).")] = None,
    at_least: Annotated[float | None, typer.Option(help="Smallest multiplier that is selected.")] = None,
    any_base: Annotated[bool, typer.Option("--any-base", help="Accept a plan for other weights.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write YAML or JSON here instead of stdout.")] = None,
    json: Json = False,
) -> None:
    """Write a plan as settings of Axolotl, LLaMA-Factory, PEFT or mergekit, or the schema of plan files."""
    from securetune.export_command import export_plan

    content, text = export_plan(
        plan, model, to=to, lr=lr, tuned=tuned, at_least=at_least, any_base=any_base, out=out
    )
    terminal.emit(content, as_json=json, text=text)


# Typer bundles click in newer versions and depends on it in older ones; this is its ClickException in both.
_USAGE_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def run_cli(arguments: list[str]) -> int:
    """Run the command line; returns the exit code, prints errors of users without a traceback."""
    try:
        result = app(args=arguments, standalone_mode=False, prog_name="securetune")
        code = result if isinstance(result, int) else 0
    except typer.Exit as stop:
        code = int(stop.exit_code)
    except _USAGE_ERROR as error:
        return _fail(f"{error.format_message()} See `securetune --help`.", 1)
    except SecureTuneError as error:
        return _fail(str(error), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except Exception as error:
        log.debug("%s", error, exc_info=True)
        hint = "" if log.isEnabledFor(logging.DEBUG) else " Run with -v before the command for the traceback."
        return _fail(f"{type(error).__name__}: {error}.{hint}", 2)
    if code == 130:  # Newer versions of typer turn an interrupt into this exit code.
        return _fail("Interrupted; the same command continues where it stopped.", 130)
    return code


def _fail(message: str, code: int) -> int:
    sys.stderr.write(terminal.plain_lines(f"securetune: {message}") + "\n")
    return code


def _dry_run(pipeline: Any, redo: list[str] | None, as_json: bool) -> None:
    from securetune.dry_run import describe_dry_run

    check_redo(pipeline, redo)
    content, text = describe_dry_run(pipeline)
    terminal.emit(content, as_json=as_json, text=text)


def _emit_report(path: Path, as_json: bool) -> None:
    from securetune.summary import describe_report

    content, text = describe_report(path)
    terminal.emit(content, as_json=as_json, text=text)
