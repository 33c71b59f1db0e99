"""The documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

from securetune.config import AlignSettings, Config, load_settings

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


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    documented = set(re.findall(r"`([a-z_.0-9A-Z]+)`", text))
    for key in (*leaves(Config), *leaves(AlignSettings)):
        section, _, last = key.rpartition(".")
        assert key in documented or last in documented, (
            f"{key} (in {section}) is not in docs/configuration.md"
        )


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


def test_the_readme_code_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
