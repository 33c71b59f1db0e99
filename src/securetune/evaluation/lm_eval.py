"""General ability through EleutherAI's lm-evaluation-harness, in a process of its own."""

from __future__ import annotations

import json
import logging
import math
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securetune.errors import ConfigError, MissingDependencyError, SecureTuneError
from securetune.evaluation.model_files import ModelFiles
from securetune.evaluation_settings import EvaluateSettings
from securetune.report.data import Ability, Result

log = logging.getLogger("securetune")

_Z = 1.959964
"""Standard errors in half a 95% interval."""


class LmEvalError(SecureTuneError):
    """lm-eval ran and failed, or wrote no result."""


def run_lm_eval(name: str, files: ModelFiles, settings: EvaluateSettings, out: Path) -> list[Ability]:
    """Run `python -m lm_eval` on a model and read back what it writes; finished runs are read only.

    It writes beside `out`, and what it wrote becomes `out` once it has ended well and left scores: what a run
    that failed leaves behind is never read.

    Args:
        name: of the model, in the scores.
        files: where it loads the model from.
        settings: tasks (`lm_eval`), rows per task, own task definitions, batch size.
        out: directory for the results.

    Raises:
        MissingDependencyError: lm-eval is not installed.
        ConfigError: a path holds a comma, which lm-eval would take for the next argument.
        LmEvalError: it failed (the message holds the end of its output), or left no finite score.
    """
    if _results(out):
        return _scores(name, out)
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    done = subprocess.run(_command(files, settings, part), capture_output=True, text=True, check=False)
    if "No module named lm_eval" in done.stderr:
        raise MissingDependencyError("lm-eval is not installed: `pip install 'securetune[lm-eval]'`.")
    if done.returncode or not _results(part):
        raise LmEvalError(f"lm-eval ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    scores = _scores(name, part)
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return scores


def _results(directory: Path) -> list[Path]:
    return sorted(directory.rglob("results*.json"))


def _scores(name: str, directory: Path) -> list[Ability]:
    return read_scores(name, json.loads(_results(directory)[-1].read_text(encoding="utf-8")))


def _command(files: ModelFiles, settings: EvaluateSettings, out: Path) -> list[str]:
    import torch

    told: dict[str, Any] = {
        "pretrained": files.source,
        "revision": files.revision,
        "peft": files.adapter,
        "tokenizer": files.tokenizer,
        "dtype": files.dtype,
    }
    if files.load_in_4bit:
        # As models.load quantises; alone, `load_in_4bit` would be FP4 that computes in float32.
        told |= {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": files.dtype,
        }
    given = {key: str(value) for key, value in told.items() if value is not None}
    if commas := [value for value in given.values() if "," in value]:
        raise ConfigError(f"lm-eval cannot be given a path with a comma: {commas[0]}. Rename it.")
    command = [sys.executable, "-m", "lm_eval", "--model", "hf"]
    command += ["--model_args", ",".join(f"{key}={value}" for key, value in given.items())]
    command += ["--tasks", ",".join(settings.lm_eval), "--output_path", str(out), "--apply_chat_template"]
    command += ["--device", "cuda" if torch.cuda.is_available() else "cpu"]
    command += ["--batch_size", str(settings.batch_size)]
    if settings.lm_eval_limit is not None:
        command += ["--limit", str(settings.lm_eval_limit)]
    if settings.lm_eval_include is not None:
        command += ["--include_path", settings.lm_eval_include]
    return command


def read_scores(model: str, content: Mapping[str, Any]) -> list[Ability]:
    """The finite scores in a results file of lm-eval; others are left out, and the log names them.

    Raises:
        LmEvalError: there is none.
    """
    versions, release = content.get("versions", {}), content.get("lm_eval_version", "unknown")
    scores, left_out = [], []
    for task, row in content["results"].items():
        n = content.get("n-samples", {}).get(task, {}).get("effective")
        for key, value in row.items():
            metric, _, filtered = key.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            if not math.isfinite(value):
                left_out.append(f"{task} {key} = {value}")
                continue
            error = row.get(f"{metric}_stderr,{filtered}")
            version = f"{versions.get(task, 'unknown')} (lm-eval {release})"
            known = isinstance(error, int | float) and math.isfinite(error)
            standard_error = float(error) if known else None
            scores.append(Ability(model, task, key, float(value), standard_error, n, version))
    named = ", ".join(left_out) or "none at all"
    if not scores:
        raise LmEvalError(
            f"lm-eval left no finite score of {model} ({named}); expected one at least. Check "
            "evaluate.lm_eval, and whether the model overflows (then set model.dtype to float32)."
        )
    if left_out:
        log.warning("lm-eval, %s: left out, as they are not finite: %s", model, named)
    return scores


def as_result(score: Ability, strategy: str | None) -> Result:
    """A score as a row of `results.json`, with a normal 95% interval from its standard error."""
    error = score.standard_error
    low, high = (None, None) if error is None else (score.value - _Z * error, score.value + _Z * error)
    own = score.value, low, high, score.n or 0, 0, None
    return Result(score.model, strategy, f"lm-eval {score.task}", score.metric, *own)
