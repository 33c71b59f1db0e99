"""The documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from securetune.config import AlignSettings, Config, load_settings
from securetune.training.param_groups import match_plan
from tiny import FAMILIES, tiny_tokenizer
from tiny_trainers import SLOW_MLP, Make, unmoved, weights

ROOT = Path(__file__).parents[1]


def leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += leaves(kind, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def documented(table: str) -> dict[str, str]:
    """The keys of a table's first column, `section.a`, `b` meaning `section.b` too, each with its row."""
    found = {}
    for row in re.findall(r"^\| (`.*) \|$", table, re.MULTILINE):
        first, *others = re.findall(r"`([\w.]+)`", row.partition(" | ")[0])
        section = first.rpartition(".")[0]
        keys = [key if "." in key or not section else f"{section}.{key}" for key in others]
        found |= dict.fromkeys([first, *keys], row)
    return found


def is_documented(key: str, table: dict[str, str]) -> bool:
    """In the first column, or named in the row of the settings that it belongs to."""
    section, _, last = key.rpartition(".")
    return key in table or f"`{last}`" in table.get(section, "")


def test_every_setting_is_documented_in_its_own_table() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    first, second = text.split("## `securetune align`")
    config, align = documented(first), documented(second.split("\n## ")[0])
    assert [key for key in leaves(Config) if not is_documented(key, config)] == []
    # `model` and `train` are as in the first table.
    tables = {key: config if key.startswith(("model.", "train.")) else align for key in leaves(AlignSettings)}
    assert [key for key, table in tables.items() if not is_documented(key, table)] == []
    del config["analysis.batch_size"]
    assert not is_documented("analysis.batch_size", config) and is_documented("batch_size", align)


def test_every_documented_setting_exists() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    first, second = text.split("## `securetune align`")
    for model, table in ((Config, first), (AlignSettings, second.split("\n## ")[0])):
        known = leaves(model)
        sections = {key.rpartition(".")[0] for key in known}
        assert documented(table).keys() <= {*known, *sections}


def test_recipes_are_valid() -> None:
    for name in ("demo.yaml", "demo_quick.yaml", "results.yaml", "results_gsm8k.yaml"):
        load_settings(Config, ROOT / "recipes" / name, [])
    for name in ("demo_adapter.yaml", "demo_adapter_second.yaml"):
        load_settings(AlignSettings, ROOT / "recipes" / name, [])


def test_files_that_documents_name_exist() -> None:
    for document in (*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for name in re.findall(
            r"`((?:docs|design|bench|recipes|scripts|tests)/[\w./-]+)`", document.read_text()
        ):
            assert (ROOT / name).exists(), f"{document.name} names {name}"


def test_the_readme_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    SLOW_MLP.save(tmp_path / "runs" / "mine" / "plan.json")
    trainer = Make(tmp_path / "out", tiny_tokenizer())(max_steps=1)
    before = weights(trainer)
    exec(first, {"trainer": trainer})
    assert trainer.state.global_step == 1 and trainer.securetune_plan == SLOW_MLP
    assert not unmoved(before, weights(trainer))

    names: dict[str, Any] = {}
    exec(second, names)
    match = match_plan(FAMILIES["llama"](num_hidden_layers=12), names["plan"])
    assert {group.name for group in match.groups} == {"x1", "x0.1", "x0.01"}
