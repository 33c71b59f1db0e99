"""The settings that a command works with: from its options and the run directory, and back into it."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from securetune import terminal
from securetune.config import AlignSettings, Config, load_settings
from securetune.errors import ConfigError, UsageError
from securetune.runs.directory import Run, Stage
from securetune.settings import Settings

if TYPE_CHECKING:
    from securetune.pipeline import Pipeline

log = logging.getLogger("securetune")


def open_pipeline(options: dict[str, Any], *makes: str) -> Pipeline:
    """Build the pipeline of a command from its options: defaults, then the file, then flags, then --set.

    Args:
        options: of the command, by name.
        makes: kinds of stages that the command makes; what else it needs must be there.
    """
    from securetune.pipeline import Pipeline

    terminal.quiet_libraries()
    flags: dict[str, Any] = {"model": {"id": options["model"]}}
    if options.get("chat_template") is not None:
        flags["model"]["chat_template"] = options["chat_template"]
    if options.get("load_in_4bit"):
        flags["model"]["load_in_4bit"] = True
    if options.get("data") is not None:
        flags["data"] = {"source": options["data"]}
    if options.get("strategy"):
        flags["strategy"] = {"names": options["strategy"]}
    prompts = {key: options[key] for key in ("harmful", "benign") if options.get(key)}
    if prompts:
        flags["prompts"] = prompts
    if options.get("lm_eval"):
        flags["evaluate"] = {"lm_eval": options["lm_eval"]}
    run_directory = Run(options["out"])
    check_owner(run_directory, Config)
    config_file: Path | None = options["config"]
    if config_file is None and run_directory.config_file.is_file() and run_directory.stages():
        # A stage command on an existing run uses that run's settings.
        config_file = run_directory.config_file
        log.info("settings are those of %s, unless given here", config_file)
    config = load_settings(Config, config_file, list(options["set_"] or []), flags=flags)
    made = {*makes, *({"update"} if "analysis" in makes else ())}
    return Pipeline(config, run_directory, frozenset(made))


def check_owner(run: Run, kind: type[Settings]) -> None:
    """Refuse a run directory with the settings of another command, before they are read as one's own.

    Raises:
        ConfigError: `config.yaml` is not of this kind: `Config`, or `AlignSettings`.
    """
    try:
        found = yaml.safe_load(run.config_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return  # There is none, or whoever needs it says what is wrong with it.
    unknown = found.keys() - kind.model_fields.keys() if isinstance(found, dict) else set()
    other, command = (AlignSettings, "align") if kind is Config else (Config, "run")
    if unknown and unknown <= other.model_fields.keys():
        raise ConfigError(
            f"{run.path} is a directory of `securetune {command}` ({run.config_file.name} has "
            f"{', '.join(sorted(unknown))}); this command needs one of its own. Use another --out."
        )


@contextmanager
def recorded(pipeline: Pipeline, redo: list[str] | None = None, *, check: bool = True) -> Iterator[None]:
    """Do the work of a command on a run directory, and leave the settings there from which it was done.

    Settings are written when the inputs have been read, so that a call that is cut off can be continued;
    those of an earlier call are replaced once every stage has accepted the new ones. Without `check` the
    stages of the run itself accept nothing, so that the settings go beside them. A first call that
    fails because of a mistake leaves none, unless a stage has begun: later calls need its settings.
    """
    check_redo(pipeline, redo)
    if check:
        pipeline.check()
    for stage in redo or []:
        pipeline.run.redo(stage)
    kept = pipeline.run.config_file.is_file() and bool(pipeline.run.stages())
    if not kept:
        _write_config(pipeline, pipeline.run.config_file)
    try:
        yield
    except UsageError:
        run = pipeline.run
        if not kept and not any(Stage(run.path / name, {}).begun for name in run.stages()):
            run.config_file.unlink()
        raise
    _write_config(pipeline, pipeline.run.config_file if check else pipeline.run.compared_file)


def check_redo(pipeline: Pipeline, redo: list[str] | None) -> None:
    """Refuse what cannot be made again, before anything is removed.

    Raises:
        StaleArtifactError: there is no such stage.
        UsageError: this command does not make it.
    """
    for stage in redo or []:
        pipeline.run.check_redo(stage)
        if stage.partition("/")[0] not in pipeline.makes:
            raise UsageError(
                f"--redo {stage}: this command makes {', '.join(sorted(pipeline.makes))}. Pass it to "
                "`securetune run`, or to the command that makes the stage."
            )


def _write_config(pipeline: Pipeline, path: Path) -> None:
    """Write the settings; what was tuned in the run before stays among its strategies."""
    content = pipeline.config.model_dump(mode="json")
    tuned = [name.removeprefix("tune/") for name in pipeline.run.stages(done=True) if name[:5] == "tune/"]
    content["strategy"]["names"] = list(dict.fromkeys([*content["strategy"]["names"], *tuned]))
    pipeline.run.write_config(content, "securetune " + shlex.join(sys.argv[1:]), path)
