"""Every setting once, with its default, its range and where the value comes from.

Values marked *ours* are not given by the paper's available text. `strategy.ratio` is measured
(`bench/knobs.py`); the others are first choices.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from securetune.analysis_settings import AnalysisSettings
from securetune.compare_settings import CompareSettings
from securetune.errors import ConfigError
from securetune.evaluation_settings import EvaluateSettings
from securetune.prompt_files import split_filter
from securetune.settings import Settings
from securetune.training_settings import TrainSettings


class ModelSettings(Settings):
    """The model to start from."""

    id: str
    """Hub id (`name@revision`), directory, `.gguf` file, `demo` or `demo-base`."""
    adapter: str | None = None
    """A PEFT adapter (directory or hub id) that is part of the start model; the merge is kept in the run."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    load_in_4bit: bool = False
    """Quantise the base (NF4) for training and for every measurement; the analysis needs the full weights."""
    device_map: Literal["auto"] | None = None
    """`auto`: spread it over accelerators, memory and disk. Training needs all of it on accelerators."""
    chat_template: str | None = None
    """Jinja text, a file, or `chatml`, for models without a chat template."""


class DataSettings(Settings):
    """The benign tuning data."""

    source: str = "package"
    """File (jsonl, json, csv, parquet), hub id, or `package` for the tuning set we ship."""
    split: str | None = None
    """Of a hub dataset; `train` if none is named."""
    subset: str | None = None
    """Of a hub dataset that has several."""
    license: str = "unknown"
    skip_bad_rows: bool = False
    """Drop and count rows that cannot be used (an empty answer, say) instead of stopping at them."""
    held_out: int = Field(80, ge=2)
    """Rows for the held-out loss: kept aside, or of `held_out_source`."""
    held_out_source: str | None = None
    """File or hub id of rows for the held-out loss that are not trained on; `source` then loses none."""
    held_out_split: str | None = None
    """Of a hub dataset; `test` if none is named."""
    max_length: int = Field(512, ge=16)
    """Tokens; longer rows are dropped, counted and reported."""
    limit: int | None = Field(None, ge=1)
    """Use a seeded sample of this many rows."""
    harmful: str | None = None
    """Stress test: harmful rows of the user (any training-data form), mixed into those of every strategy."""
    harmful_share: float = Field(0.05, gt=0, lt=1)
    """Share of the training rows that they replace."""

    @property
    def has_own_held_out(self) -> bool:
        """Whether the rows of the held-out loss are the user's, not the package's."""
        return self.source != "package" or self.held_out_source is not None


class PromptSource(Settings):
    """One file or hub dataset of prompts, and what it is for; a plain `FILE:column` sets the first key."""

    source: str
    """File or hub id, with `:column` behind it where the column must be named."""
    role: Literal["split", "probe", "selection", "evaluation"] = "split"
    """`split` parts the prompts once into all three roles, in about the shares of the package's own."""
    name: str | None = Field(None, pattern=r"^\w[\w. -]*$")
    """What results call it; by default the file's name."""
    split: str | None = None
    subset: str | None = None
    where: dict[str, str | bool | int | tuple[str | bool | int, ...]] = Field(default_factory=dict)
    """Keep only rows with these values, e.g. `{label: safe}`; also written `FILE:column:label=safe`."""
    license: str = "unknown"
    public: bool | None = None
    """Whether rows that another role has too leave the evaluation instead of being an error; by default
    so for hub datasets."""


class PromptSettings(Settings):
    """The user's own prompts, beside the package's."""

    harmful: tuple[PromptSource, ...] = ()
    """Harmful prompts; the verdict rests on the first set of them that is evaluated."""
    benign: tuple[PromptSource, ...] = ()
    """Harmless prompts."""

    @field_validator("harmful", "benign", mode="before")
    @classmethod
    def _text_is_a_source(cls, values: Any) -> Any:
        if not isinstance(values, (list, tuple)):
            return values
        return [_prompt_source(value) if isinstance(value, str) else value for value in values]


def _prompt_source(text: str) -> dict[str, Any]:
    source, where = split_filter(text)
    return {"source": source, "where": where} if where else {"source": source}


class StrategySettings(Settings):
    """The knobs of the strategies (all ours)."""

    names: tuple[str, ...] = ("vanilla", "uniform-0.3", "uniform-0.1", "ml-lr", "self-replay")
    """What to train: strategy names; `uniform-R` has rate R, `A+self-replay` and `A+replay` add refusals
    to plan A."""
    ratio: float = Field(0.01, ge=0, le=1)
    """Multiplier of the sensitive modules in `ml-lr`, `random` and `inverted`. Measured on the embedded
    model: at equal held-out loss 0, 0.01, 0.1 and 0.3 are all safer than a uniform rate, with intervals
    that overlap (one seed)."""
    warmup_share: float = Field(0.5, gt=0, lt=1)
    """Share of the steps in which `swat` trains the robust set alone."""
    replay_share: float = Field(0.05, gt=0, lt=1)
    """Share of the training rows that `self-replay` replaces with the start model's own refusals."""
    refusals: str = "package"
    """What `replay` mixes in: rows in any training-data form; `package`: the probe's harmful prompts with
    refusals of our wording."""
    refusal_share: float = Field(0.03, gt=0, lt=1)
    """Share of the training rows that `replay` replaces with them."""


class Config(Settings):
    """Everything a run needs; written to the run directory in full."""

    model: ModelSettings
    data: DataSettings = DataSettings()
    prompts: PromptSettings = PromptSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    strategy: StrategySettings = StrategySettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    compare: CompareSettings = CompareSettings()
    seed: int = 0

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Config:
        for name in self.strategy.names:
            parse_strategy(name)
        if self.model.load_in_4bit and self.train.method == "full":
            raise ValueError(
                "model.load_in_4bit and train.method `full`: 4-bit weights cannot be tuned themselves; use "
                "train.method `lora`, or no load_in_4bit"
            )
        if self.analysis.quantised and not self.model.load_in_4bit:
            raise ValueError(
                "analysis.quantised is true, model.load_in_4bit false: there are no quantised weights to "
                "analyse; set model.load_in_4bit (--load-in-4bit) too, or leave analysis.quantised out"
            )
        return self


class AlignTrainSettings(TrainSettings):
    """Training of an alignment adapter: other defaults."""

    learning_rate: float = Field(6e-4, gt=0)
    batch_size: int = Field(16, ge=1)
    epochs: float = Field(2.0, gt=0)


class AlignSettings(Settings):
    """`securetune align`: teach a chat model to refuse harmful requests, and only those."""

    model: ModelSettings
    refuse: tuple[str, ...] = ("package",)
    """Files of refusals (any training-data form) or of harmful prompts (`FILE:column`), which then get
    refusals of our own wording. `package`: the harmful side of our contrast pairs."""
    help: tuple[str, ...] = ("package",)
    """Files of harmless prompts (`FILE:column`); the start model's own greedy answers are learnt, so
    that nothing is unlearned. `package`: our harmless prompts of the forms that harmful ones have."""
    exclude: tuple[str, ...] = ()
    """Prompt files whose prompts (and near-equals) must not be trained on, besides the package's
    selection and evaluation parts."""
    answer_tokens: int = Field(32, ge=8)
    """Length of the start model's answers, by which refusals and degenerate ones are left out."""
    learn_tokens: int = Field(16, ge=4)
    """Only so many tokens of each answer are learnt: whether to refuse is decided in the first ones."""
    max_length: int = Field(512, ge=16)
    """Tokens of a row, template included; longer rows are left out and counted."""
    continue_adapter: str | None = None
    """An alignment adapter to go on training, of the same rank, alpha and target modules. Harmless prompts
    are still answered by the model without it, so that what it wrongly refuses is learnt."""
    licenses: Mapping[str, str] = Field(default_factory=dict)
    """Source, written as in `refuse` and `help`, -> its licence, for the model card."""
    refusal_sentences: int = Field(2, ge=1)
    """Given refusals are cut after this many sentences."""
    refuse_limit: int | None = Field(None, ge=1)
    help_limit: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)
    """For generating the start model's answers."""
    train: AlignTrainSettings = AlignTrainSettings()
    seed: int = 0

    @model_validator(mode="after")
    def _licenses_are_of_sources(self) -> AlignSettings:
        unknown = self.licenses.keys() - {*self.refuse, *self.help}
        if unknown:
            raise ValueError(f"licenses: {sorted(unknown)} are not in `refuse` or `help`; write them alike")
        return self

    @model_validator(mode="after")
    def _has_no_probe(self) -> AlignSettings:
        if self.train.watch_steps:
            raise ValueError(
                "train.watch_steps: align makes no analysis, so there is no probe; leave it at 0"
            )
        return self


Replay = Literal["", "replay", "self-replay"]


def parse_strategy(name: str) -> tuple[str, float | None, Replay]:
    """Split a strategy name: `uniform-0.3+self-replay` -> (`uniform`, 0.3, `self-replay`).

    Raises:
        ValueError: the name is not a strategy; lists the valid ones.
    """
    head, plus, tail = name.partition("+")
    kinds: dict[str, Replay] = {"replay": "replay", "self-replay": "self-replay"}
    replay = kinds.get(tail) or kinds.get(head, "")
    base = "vanilla" if head in kinds else head
    rate: float | None = None
    if base.startswith("uniform"):
        base, dash, digits = base.partition("-")
        rate = 0.3 if not dash else _rate(digits) if digits != "mean" else None
    known = ("vanilla", "uniform", "ml-lr", "freeze", "swat", "random", "inverted")
    if base not in known or (plus and tail not in kinds) or (head in kinds and plus):
        raise ValueError(
            f"unknown strategy `{name}`; valid: {', '.join(known)}, uniform-R (e.g. uniform-0.3), "
            "uniform-mean, replay, self-replay, and any of them with `+replay` or `+self-replay`"
        )
    return base, rate, replay


def _rate(digits: str) -> float:
    try:
        rate = float(digits)
    except ValueError:
        rate = -1.0
    if not 0 < rate <= 10:
        raise ValueError(f"`uniform-{digits}`: expected a rate in (0, 10], such as uniform-0.3")
    return rate


SettingsT = TypeVar("SettingsT", bound=Settings)


def load_settings(
    kind: type[SettingsT],
    path: Path | None,
    overrides: list[str],
    base: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
) -> SettingsT:
    """Merge defaults, `base`, a YAML file, `flags` and `a.b=c` overrides, in this order, and validate.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, a value of the wrong type or range.
    """
    content: dict[str, Any] = {}
    _merge(content, base or {})
    if path is not None:
        try:
            loaded = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # A SafeLoader.
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"Cannot read configuration {path}: {error}. Expected a YAML file of settings."
            ) from error
        if not isinstance(loaded, dict):
            raise ConfigError(
                f"{path}: expected a mapping of settings, found {type(loaded).__name__}. "
                "Write `section:` lines with `key: value` below; docs/configuration.md lists the keys."
            )
        _merge(content, loaded)
    _merge(content, flags or {})
    for override in overrides:
        _merge(content, _parse_override(override))
    return validate(kind, content)


def load_evaluate_settings(path: Path | None, overrides: list[str]) -> EvaluateSettings:
    """The `evaluate` part of a configuration, for commands that need no model; other parts may be absent."""
    return load_settings(Config, path, overrides, base={"model": {"id": "none"}}).evaluate


def validate(kind: type[SettingsT], content: dict[str, Any]) -> SettingsT:
    """Build settings and report every problem by key."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'config'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigError(f"Configuration: {problems}. Keys are listed in docs/configuration.md.") from error


class _UniqueKeys(yaml.SafeLoader):
    """YAML whose mappings name each key once; plain YAML would drop all but the last one in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return node


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {text}: expected key.subkey=value, e.g. train.steps=30.")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not YAML; quote it: {error}") from error
    for part in reversed(key.split(".")):
        parsed = {part: parsed}
    return dict(parsed)


def _merge(target: dict[str, Any], source: dict[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            # A copy: what is merged later must not reach into the caller's mapping.
            target[key] = copy.deepcopy(value)
