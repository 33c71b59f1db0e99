"""The run directory: stages that know their inputs, are resumed when cut off, and refused when stale."""

from __future__ import annotations

import json
import logging
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from securetune.errors import StaleArtifactError
from securetune.files import read_json, write_json, write_text

log = logging.getLogger("securetune")

_PACKAGES = ("securetune", "torch", "transformers", "peft", "trl", "datasets", "accelerate", "safetensors")


@dataclass(frozen=True)
class Stage:
    """One stage's directory. It is done if and only if `stage.json` says so; that file is written last."""

    path: Path
    inputs: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Whether the stage is finished."""
        marker = self.path / "stage.json"
        return marker.is_file() and bool(read_json(marker)["done"])

    @property
    def begun(self) -> bool:
        """Whether the stage is finished, or anything was made for it."""
        return self.done or any(file.name != "stage.json" for file in self.path.iterdir())

    @property
    def outputs(self) -> Mapping[str, Any]:
        """What a finished stage said about its result."""
        return dict(read_json(self.path / "stage.json")["outputs"])

    def finish(self, outputs: Mapping[str, Any] | None = None) -> None:
        """Mark the stage as finished.

        Args:
            outputs: JSON-able digests of the result, for the inputs of the stages that build on it.
        """
        if not self.done:
            content = {"inputs": self.inputs, "outputs": outputs or {}, "done": True}
            write_json(self.path / "stage.json", content)


class Run:
    """A directory that holds everything one run made: `<path>/<stage>/stage.json` and the stage's files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config_file(self) -> Path:
        """The settings of the run, where a command has written them."""
        return self.path / "config.yaml"

    def write_failed(self, failed: Mapping[str, str]) -> None:
        """Note the strategies that failed, name -> why, for reports made later; without any, no file."""
        path = self.path / "failed.json"
        if failed:
            write_json(path, failed)
        else:
            path.unlink(missing_ok=True)

    def failed(self) -> dict[str, str]:
        """The strategies that failed and were not evaluated since, name -> why."""
        path = self.path / "failed.json"
        noted: dict[str, str] = read_json(path) if path.is_file() else {}
        done = self.stages(done=True)
        return {name: why for name, why in noted.items() if f"evaluate/{name}" not in done}

    def stages(self, *, done: bool = False) -> list[str]:
        """Names of the stages that were begun, or only of those that are done, sorted."""
        return sorted(
            str(marker.parent.relative_to(self.path))
            for marker in self.path.rglob("stage.json")
            if not done or read_json(marker)["done"]
        )

    def stage(self, name: str, inputs: Mapping[str, Any], *, begin: bool = True) -> Stage:
        """Open a stage for work or for reading.

        Args:
            name: directory below the run, e.g. `tune/ml-lr`.
            inputs: JSON-able values that the stage's result depends on.
            begin: mark the stage as begun if it is new.

        Raises:
            StaleArtifactError: the stage was made, or begun, from other inputs; names what changed.
        """
        plain = json.loads(json.dumps(inputs))
        stage = Stage(self.path / name, plain)
        marker = stage.path / "stage.json"
        if marker.is_file() and stage.begun:
            changed = differences(read_json(marker)["inputs"], plain)
            if changed:
                raise StaleArtifactError(
                    f"{stage.path} was made from other inputs: {'; '.join(changed)}. "
                    f"Go back to the earlier ones, use another --out, or pass --redo {name} to the command "
                    "that makes it (`run` makes everything)."
                )
        elif begin:
            # A stage that failed before it made anything does not hold later calls to its inputs.
            write_json(marker, {"inputs": plain, "outputs": {}, "done": False})
        return stage

    def check_redo(self, name: str) -> Path:
        """The directory of a stage that can be made again.

        Raises:
            StaleArtifactError: there is no such stage.
        """
        directory = (self.path / name).resolve()
        if self.path.resolve() not in directory.parents:
            raise StaleArtifactError(
                f"--redo {name}: not a stage below {self.path}. Name one as the run directory does, e.g. "
                "tune/ml-lr."
            )
        stages = self.stages()
        if not any(stage == name or stage.startswith(f"{name}/") for stage in stages):
            raise StaleArtifactError(
                f"--redo {name}: no such stage in {self.path}; there are {', '.join(stages) or 'none'}."
            )
        return self.path / name

    def redo(self, name: str) -> None:
        """Remove a stage, so that it is made again."""
        shutil.rmtree(self.check_redo(name))

    @property
    def compared_file(self) -> Path:
        """The settings of `evaluate --against`: beside its results where the directory is a run's as well."""
        own = all(name.startswith("compare/") for name in self.stages())
        return self.config_file if own else self.path / "compare" / self.config_file.name

    def write_config(self, config: Mapping[str, Any], command: str, path: Path | None = None) -> None:
        """Write the resolved configuration, from which the run can be made again, and the environment."""
        header = f"# securetune {_version('securetune')}; again: {command}\n"
        write_text(path or self.config_file, header + yaml.safe_dump(dict(config), sort_keys=False))
        write_json(self.path / "environment.json", environment())


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that decide results."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    return versions | {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def differences(before: Any, now: Any, key: str = "") -> list[str]:
    """What differs, as `key: old -> new`, down to the leaves."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for name in sorted(before.keys() | now.keys()):
            found += differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        return found
    if before == now:
        return []
    return [f"{key}: {_short(before)} -> {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
