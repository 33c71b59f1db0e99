"""The start model of a run: where it is, how it is loaded, what identifies it."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from securetune.config import Config
from securetune.files import read_json, write_json
from securetune.models.fingerprint import (
    checkpoint_files,
    file_states,
    fingerprint,
    fingerprint_checkpoint,
)
from securetune.models.load import (
    Dtype,
    describe_model,
    dtype_name,
    load_model,
    load_tokenizer,
    merged_directory,
    read_chat_template,
    resolve_model,
    with_adapter,
)
from securetune.runs.directory import Run, environment


@dataclass
class StartModel:
    """The model that one configuration starts from, and the run directory that keeps what is known of it."""

    config: Config
    run: Run

    @cached_property
    def source(self) -> str:
        """What every load reads: the model or, with `model.adapter`, their merge, made once.

        Quantised weights cannot take a merge, and an adapter trained on a merge must name it as its base.
        """
        settings = self.config.model
        if settings.adapter is None:
            return settings.id
        merged = merged_directory(settings.id, settings.adapter, self.run.path, self.dtype)
        return str(merged.resolve())

    @property
    def dtype(self) -> Dtype:
        """Precision of all weights that are not quantised, e.g. `bfloat16`."""
        settings = self.config.model
        # Full tuning in half precision would round small steps away.
        full = self.config.train.method == "full" and settings.dtype == "auto"
        return "float32" if full else dtype_name(settings.dtype)

    @property
    def precision(self) -> str:
        """How the start model and every tuned one are loaded to train, to answer and to measure losses."""
        return f"4-bit NF4, {self.dtype}" if self.config.model.load_in_4bit else self.dtype

    def load_start(self, *, quantised: bool = False) -> tuple[Any, Any]:
        """The start model; quantised if that is asked for here and in the settings."""
        settings = self.config.model
        return load_model(
            self.source,
            dtype=self.dtype,
            load_in_4bit=quantised and settings.load_in_4bit,
            chat_template=settings.chat_template,
            device_map=settings.device_map,
        )

    def load_tuned(self, weights: Path) -> tuple[Any, Any]:
        """A tuned model as the start model is measured, with an adapter on top or with its own weights."""
        settings = self.config.model
        if weights.name == "model":
            return load_model(
                str(weights),
                dtype=self.dtype,
                chat_template=settings.chat_template,
                device_map=settings.device_map,
            )
        return self.load_adapter(weights)

    def load_adapter(self, adapter: Path) -> tuple[Any, Any]:
        """The start model as it is measured, with an adapter on top; merged only where that is exact."""
        settings = self.config.model
        model, tokenizer = self.load_start(quantised=True)
        model = with_adapter(model, adapter).eval()
        # Merged, a model answers faster; half precision would round small updates away, and offloaded
        # weights cannot take a merge.
        exact = self.dtype == "float32" and not settings.load_in_4bit and settings.device_map is None
        return (model.merge_and_unload() if exact else model), tokenizer

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer alone."""
        source, revision = resolve_model(self.source)
        template = self.config.model.chat_template
        return load_tokenizer(source, revision=revision, chat_template=template)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The start model's fingerprint, architecture, parameters and layers.

        Kept in `model.json` for as long as the files of the model stay the same.
        """
        source, revision = resolve_model(self.source)
        quantised = self.config.model.load_in_4bit
        versions = environment()
        valid_for = {
            "files": file_states(checkpoint_files(source, revision)),
            "quantised": quantised,
            "versions": [versions["securetune"], versions["transformers"]],
        }
        path = self.run.path / "model.json"
        kept = read_json(path) if path.is_file() else {}
        if kept.get("valid_for") != valid_for:
            own = fingerprint_checkpoint(source, revision) if quantised else fingerprint(self.load_start()[0])
            kept = {"fingerprint": own, **describe_model(source, revision), "valid_for": valid_for}
            write_json(path, kept)
        return dict(kept)

    @property
    def base(self) -> str:
        """Fingerprint of the start model."""
        return str(self.identity["fingerprint"])


def asked_with(tokenizer: Any, template: str | None) -> Any:
    """A copy of a tokenizer, with the chat template that models are asked with (`None`: its own)."""
    tokenizer = copy(tokenizer)
    if template is not None:
        tokenizer.chat_template = read_chat_template(template)
    return tokenizer


def with_template(load: Callable[[], tuple[Any, Any]], template: str | None) -> tuple[Any, Any]:
    """Load a model to be asked with another chat template than the one it was trained with."""
    model, tokenizer = load()
    if template is not None:
        tokenizer.chat_template = read_chat_template(template)
    return model, tokenizer
