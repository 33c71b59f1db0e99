"""Settings of `securetune compare`: which strategies, rates and seeds, and what is measured on the way."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from securetune.settings import Settings

Baseline = Literal["plain-rates", "ema", "early-stopping", "replay", "random"]

Rate = Annotated[float, Field(gt=0)]


class CompareSettings(Settings):
    """The grid: the strategies of `strategy.names` and the baselines x rates x seeds, on one data set."""

    rates: tuple[Rate, ...] = Field((1.0,), min_length=1)
    """Learning rates of every strategy, as multiples of `train.learning_rate`."""
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    """Of the training: adapter, order of rows, random set."""
    baselines: tuple[Baseline, ...] = ("plain-rates", "ema", "early-stopping", "replay", "random")
    """What every strategy is held against: plain tuning over `plain_rates`, an average of its weights,
    its checkpoints, a mix with refusals, a random set of modules."""
    plain_rates: tuple[Rate, ...] = (0.1, 0.3, 0.6, 1.0)
    """Rates of plain tuning (ours). ASR rises steeply above 0.3: a straight line from there to 1 would lie
    above the curve, and flatter what is compared with it."""
    checkpoints: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.25, 0.5, 0.75)
    """Shares of the steps after which the model is measured as well; the last step always is."""
    checkpoint_prompts: int | None = Field(100, ge=2)
    """Prompts of the main harmful suite asked there; other suites and tasks wait for the last step."""
    ema_decay: float = Field(0.95, gt=0, lt=1)
    """Of the moving average of the weights: share of the average that each step keeps (ours)."""
    suites: tuple[str, ...] | None = None
    """Suites to ask, by name; all of them if none are named. The main harmful suite must be one."""
