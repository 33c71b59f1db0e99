"""Where a process of its own (lm-eval, vLLM) loads a model from, and whether it can start."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securetune.errors import ConfigError, MissingDependencyError
from securetune.evaluation_settings import EvaluateSettings
from securetune.models.load import resolve_model


@dataclass(frozen=True)
class ModelFiles:
    """A model as files: what to load, with which tokenizer, at which precision."""

    source: str
    """Directory or hub id."""
    revision: str | None
    adapter: Path | None
    """A PEFT adapter on top."""
    tokenizer: Path
    """A directory with the tokenizer and the chat template in use."""
    dtype: str
    load_in_4bit: bool = False

    @classmethod
    def of(
        cls,
        source: str,
        weights: Path | None,
        tokenizer: Any,
        directory: Path,
        dtype: str,
        load_in_4bit: bool,
    ) -> ModelFiles:
        """The start model, or a tuned one.

        Args:
            source: the start model, as `load_model` takes it.
            weights: what tuning left: an adapter, or weights of its own; `None` is the start model.
            tokenizer: in use; it is saved to `directory`.
            directory: for the tokenizer.
            dtype: precision of the weights.
            load_in_4bit: whether the base is quantised.
        """
        tokenizer.save_pretrained(directory)
        if weights is not None and not (weights / "adapter_config.json").is_file():
            return cls(str(weights), None, None, directory, dtype)
        return cls(*resolve_model(source), weights, directory, dtype, load_in_4bit)


def check_processes(settings: EvaluateSettings) -> None:
    """Refuse what could not start before hours of answers, not after.

    Raises:
        MissingDependencyError: lm-eval or vLLM is asked for and not installed.
        ConfigError: `evaluate.vllm_python` cannot be run.
    """
    if settings.lm_eval and not _has(sys.executable, "lm_eval"):
        raise MissingDependencyError(
            "evaluate.lm_eval: lm-eval is not installed: `pip install 'securetune[lm-eval]'`."
        )
    python = settings.vllm_python or sys.executable
    if settings.engine == "vllm" and not _has(python, "vllm"):
        raise MissingDependencyError(
            f"evaluate.engine: vLLM is not installed in {python}. Install it (`pip install vllm`), or name "
            "the Python of an environment that has it in evaluate.vllm_python."
        )


def _has(python: str, package: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    try:
        return subprocess.run([python, "-c", code], check=False).returncode == 0
    except OSError as error:
        raise ConfigError(f"evaluate.vllm_python: {python} cannot be run ({error}).") from error
