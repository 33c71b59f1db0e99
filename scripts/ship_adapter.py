"""Put an alignment adapter of `demo-base` into the package data, as bfloat16.

Usage: python scripts/ship_adapter.py runs/demo-adapter-second/tune/adapter

The shipped copy names the released model as its base, not a cache directory.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

TARGET = Path(__file__).resolve().parents[1] / "src" / "securetune" / "data" / "demo_adapter"
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"


def main(source: Path) -> None:
    """Write config, weights and card."""
    config = json.loads((source / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": BASE, "target_modules": sorted(config["target_modules"])}
    (TARGET / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {
        name: weight.to(torch.bfloat16)
        for name, weight in load_file(source / "adapter_model.safetensors").items()
    }
    save_file(weights, TARGET / "adapter_model.safetensors", metadata={"format": "pt"})
    card = (source / "README.md").read_text()
    card = card.replace("base_model: demo-base", f"base_model: {BASE}").replace(
        "for demo-base", "for SmolLM2-135M-Instruct"
    )
    card = re.sub(
        r"Load it on top of `[^`]*`\..*", f"Load it on top of `{BASE}`. Its own chat template was used.", card
    )
    (TARGET / "README.md").write_text(card)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
