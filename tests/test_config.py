from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from securetune.config import AlignSettings, Config, load_settings, parse_strategy
from securetune.errors import ConfigError
from securetune.training_settings import TrainSettings

MODEL = {"model": {"id": "demo"}}


def load(*overrides: str, text: str | None = None, tmp_path: Path | None = None) -> Config:
    path = None
    if text is not None:
        assert tmp_path is not None
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
    return load_settings(Config, path, list(overrides), MODEL)


def test_defaults_need_nothing_but_a_model() -> None:
    assert load().model.id == "demo"
    with pytest.raises(ConfigError, match=r"model: Field required"):
        load_settings(Config, None, [])


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("trian.steps=3", "trian"),
        ("train.setps=3", "train.setps"),
        ("train.lora.rank=3", "train.lora.rank"),
        ("model.name=x", "model.name"),
        ("=", "expected key.subkey=value"),
        ("train", "expected key.subkey=value"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_it(override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        load(override)


def test_an_unknown_key_in_the_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert load(text="train: {steps: 3}", tmp_path=tmp_path).train.steps == 3
    with pytest.raises(ConfigError, match=r"train\.stpes: Extra inputs are not permitted"):
        load(text="train: {stpes: 3}", tmp_path=tmp_path)


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size.*evaluate\.batch_size"):
        load("train.batch_size=0", "evaluate.batch_size=many")


def test_overrides_win_over_the_file_and_the_file_over_the_base(tmp_path: Path) -> None:
    text = "model: {dtype: float32}\ntrain: {steps: 3, batch_size: 2, lora: {r: 4}}\n"
    config = load("train.steps=5", "train.lora.alpha=8", text=text, tmp_path=tmp_path)
    assert (config.model.id, config.model.dtype) == ("demo", "float32")
    assert (config.train.steps, config.train.batch_size) == (5, 2)
    assert (config.train.lora.r, config.train.lora.alpha) == (4, 8)


def test_merging_leaves_the_callers_mapping_alone() -> None:
    base: dict[str, Any] = {"model": {"id": "demo"}}
    load_settings(Config, None, ["model.id=other"], base)
    assert base == MODEL


@pytest.mark.parametrize("value", ["1e-5", "1.0e-5", "0.00001", "'1e-5'"])
def test_yaml_text_such_as_1e_5_is_a_number_where_one_is_expected(value: str, tmp_path: Path) -> None:
    assert load(f"train.learning_rate={value}").train.learning_rate == 1e-5
    text = f"train: {{learning_rate: {value}}}"
    assert load(text=text, tmp_path=tmp_path).train.learning_rate == 1e-5


def test_numbers_for_the_trainer_are_numbers_too() -> None:
    trainer = load("train.trainer.weight_decay=1e-2", "train.trainer.optim=adafactor").train.trainer
    assert trainer == {"weight_decay": 0.01, "optim": "adafactor"}


@pytest.mark.parametrize("value", [".nan", "nan", ".inf", "inf", "-1", "0", "fast", "[1]"])
def test_what_is_no_positive_number_is_no_learning_rate(value: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.learning_rate"):
        load(f"train.learning_rate={value}")


def test_nan_is_refused_among_the_trainers_keys() -> None:
    with pytest.raises(ConfigError, match=r"train\.trainer: .*max_grad_norm"):
        load("train.trainer.max_grad_norm=.nan")


@pytest.mark.parametrize("text", ["- a\n- b", "", "a: [", "5"])
def test_a_file_that_is_no_mapping_is_refused_by_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load(text=text, tmp_path=tmp_path)


def test_a_key_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    text = "train: {steps: 3}\nmodel: {id: x}\ntrain: {learning_rate: 1.0e-3}\n"
    with pytest.raises(ConfigError, match=r"the key 'train' is there twice(?s:.*)line 3"):
        load(text=text, tmp_path=tmp_path)
    assert load(text=text.rpartition("train")[0], tmp_path=tmp_path).train.steps == 3


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot read configuration .*absent\.yaml"):
        load_settings(Config, tmp_path / "absent.yaml", [], MODEL)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"Cannot read configuration .*binary\.yaml"):
        load_settings(Config, tmp_path / "binary.yaml", [], MODEL)


def test_settings_cannot_be_changed_after_they_were_checked() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainSettings().steps = 3  # type: ignore[misc]


def test_a_resolved_configuration_reads_back_as_itself() -> None:
    config = load("train.steps=3", "strategy.names=[ml-lr, uniform-0.3]")
    assert load_settings(Config, None, [], config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("vanilla", ("vanilla", None, "")),
        ("uniform", ("uniform", 0.3, "")),
        ("uniform-0.1", ("uniform", 0.1, "")),
        ("uniform-1e-2", ("uniform", 0.01, "")),
        ("uniform-mean", ("uniform", None, "")),
        ("self-replay", ("vanilla", None, "self-replay")),
        ("ml-lr+self-replay", ("ml-lr", None, "self-replay")),
        ("uniform-0.3+self-replay", ("uniform", 0.3, "self-replay")),
        ("replay", ("vanilla", None, "replay")),
        ("ml-lr+replay", ("ml-lr", None, "replay")),
        ("swat", ("swat", None, "")),
    ],
)
def test_a_strategy_name_has_a_plan_a_rate_and_replay(name: str, parts: tuple[Any, ...]) -> None:
    assert parse_strategy(name) == parts


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ml_lr",
        "uniform-0",
        "uniform-nan",
        "uniform-11",
        "uniform-",
        "uniformly",
        "vanilla+",
        "ml-lr+mix",
        "self-replay+replay",
        "self-replay+self-replay",
        "self-replay+",
        "vanilla-0.3",
        "ml-lr+self-replay+self-replay",
    ],
)
def test_an_unknown_strategy_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"valid|expected a rate"):
        parse_strategy(name)
    with pytest.raises(ConfigError, match=r"unknown strategy|expected a rate"):
        load_settings(Config, None, [], {**MODEL, "strategy": {"names": [name]}})


def test_4_bit_weights_cannot_be_tuned_in_full() -> None:
    assert load("model.load_in_4bit=true").model.load_in_4bit
    with pytest.raises(ConfigError, match=r"use train\.method `lora`"):
        load("model.load_in_4bit=true", "train.method=full")


def test_a_quantised_analysis_needs_quantised_weights() -> None:
    assert load("analysis.quantised=true", "model.load_in_4bit=true").analysis.quantised
    with pytest.raises(ConfigError, match=r"set model\.load_in_4bit"):
        load("analysis.quantised=true")


def test_one_key_of_alignment_training_leaves_the_defaults_of_the_others() -> None:
    whole = load_settings(AlignSettings, None, [], flags={"model": {"id": "demo"}}).train
    assert (whole.learning_rate, whole.batch_size, whole.epochs) == (6e-4, 16, 2.0)
    changed = load_settings(AlignSettings, None, ["train.steps=10"], flags={"model": {"id": "demo"}}).train
    assert changed == whole.model_copy(update={"steps": 10})
