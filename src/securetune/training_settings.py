"""Settings of training."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from pydantic import Field, field_validator

from securetune.settings import Settings

_EXPONENT = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?[eE][+-]?[0-9]+")


class LoraSettings(Settings):
    """The adapter."""

    r: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | tuple[str, ...] = "all-linear"


class TrainSettings(Settings):
    """Supervised fine-tuning; everything else of TRL's SFTConfig goes into `trainer`."""

    method: Literal["lora", "full"] = "lora"
    lora: LoraSettings = LoraSettings()
    learning_rate: float = Field(5e-4, gt=0)
    batch_size: int = Field(8, ge=1)
    """Rows per optimizer step and process group; micro-batches are cut from it."""
    micro_batch_size: int | None = Field(None, ge=1)
    steps: int | None = Field(None, ge=1)
    """Optimizer steps; overrides `epochs`."""
    epochs: float = Field(1.0, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps with a linearly rising rate."""
    scheduler: str = "linear"
    save_steps: int = Field(20, ge=1)
    watch_steps: int = Field(0, ge=0)
    """Steps between two measurements of the probe's drift and the refusal margin, for the report's timeline;
    needs the analysis. 0: none."""
    gradient_checkpointing: bool = False
    seed: int = 0
    trainer: dict[str, Any] = Field(default_factory=dict)
    """Further TRL SFTConfig keys, passed on as they are; keys we set ourselves are refused."""

    @field_validator("trainer")
    @classmethod
    def _numbers_are_numbers(cls, values: dict[str, Any]) -> dict[str, Any]:
        # No field tells their types, and YAML reads `1e-5` as text.
        values = {
            key: float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
            for key, value in values.items()
        }
        for key, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"`{key}` is {value}; expected a finite number")
        return values
