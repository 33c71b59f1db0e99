"""What a run tunes on: rows to train on, and rows for the held-out loss."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from securetune.config import Config, DataSettings
from securetune.dataset import TrainingData
from securetune.encoding import EncodedData, encode
from securetune.errors import ConfigError, DataError
from securetune.formats import package_tuning_data, read_training_data
from securetune.prompts import normalise
from securetune.tables import parse_hub_id

log = logging.getLogger("securetune")


@dataclass(frozen=True)
class Tuning:
    """The tuning data."""

    train: TrainingData
    held_out: TrainingData
    encoded_held_out: EncodedData
    harmful: TrainingData | None = None
    """The user's harmful rows of a stress test."""
    refusals: TrainingData | None = None
    """The user's rows for `replay`; `None` where ours are used."""
    shared: int = 0
    """Rows of `data.held_out_source` that are not measured: they open with a prompt that is trained on."""

    @property
    def others(self) -> list[TrainingData]:
        """Rows that may be trained on besides `train`."""
        return [part for part in (self.harmful, self.refusals) if part is not None]


def read_tuning(config: Config, tokenizer: Any) -> Tuning:
    """Read the tuning data and the rows that are held out, and encode the latter.

    Raises:
        ConfigError: a split or subset without a hub dataset.
        DataError: a source cannot be used, or no row can be held out.
    """
    settings = config.data
    if settings.source == "package":
        if settings.split or settings.subset:
            raise ConfigError("data.split and data.subset are of hub datasets; data.source is `package`.")
        data = package_tuning_data()
    else:
        data = read_training_data(
            settings.source, license=settings.license, split=settings.split, subset=settings.subset,
            skip_bad_rows=settings.skip_bad_rows,
        )  # fmt: skip
    if settings.limit is not None and settings.limit < len(data):
        data = data.take(settings.limit, config.seed)
    train, held, shared = _with_held_out(data, settings, config.seed)
    harmful = None if settings.harmful is None else read_training_data(settings.harmful)
    own = config.strategy.refusals
    refusals = None if own == "package" else read_training_data(own)
    return Tuning(train, held, encode(held, tokenizer, settings.max_length), harmful, refusals, shared)


def _with_held_out(
    data: TrainingData, settings: DataSettings, seed: int
) -> tuple[TrainingData, TrainingData, int]:
    """Rows to train on, rows to measure on, and how many of the latter were left out as shared prompts."""
    if settings.held_out_source is None:
        if settings.held_out_split is not None:
            raise ConfigError("data.held_out_split needs data.held_out_source, the dataset that it is of.")
        held_out = min(settings.held_out, max(1, len(data) // 5))
        if held_out < settings.held_out:
            log.warning(
                "%d rows are few: holding out %d instead of %d", len(data), held_out, settings.held_out
            )
        return *data.split(held_out, seed), 0
    source, split = settings.held_out_source, settings.held_out_split
    if split is None and parse_hub_id(source) is not None:
        split = "test"
    same = source == settings.source
    held = read_training_data(
        source, license=settings.license if same else "unknown", split=split,
        subset=settings.subset if same else None, skip_bad_rows=settings.skip_bad_rows,
    )  # fmt: skip
    known = {normalise(row.opening) for row in data}
    kept = held.with_rows(row for row in held if normalise(row.opening) not in known)
    if not len(kept):
        raise DataError(
            f"data.held_out_source: all {len(held)} rows of {source} open with a prompt of {data.source}, so "
            "none is left that is not trained on. Name other rows, or leave it out."
        )
    shared = len(held) - len(kept)
    if shared:
        log.warning(
            "%s: %d of %d rows are not measured: they open with a prompt of %s",
            source, shared, len(held), data.source,
        )  # fmt: skip
    drawn = kept.take(settings.held_out, seed) if settings.held_out < len(kept) else kept
    return data, drawn, shared


def training_rows(tuning: Tuning, rows_seen: int, seed: int) -> TrainingData:
    """The rows that a run of `rows_seen` rows will see: a seeded sample, or all of them."""
    return tuning.train.take(rows_seen, seed) if rows_seen < len(tuning.train) else tuning.train
