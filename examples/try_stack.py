"""Run a training framework on a tiny model and check that the plan took effect: called by `stacks.sh`.

`prepare OUT` writes a model, rows, a plan that keeps every `mlp` still, and the settings of both frameworks.
`check OUT/axolotl` or `check OUT/llama_factory` reads what training left there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml
from rows import tuning_rows
from safetensors.torch import load_file

from securetune import TuningPlan

HERE = Path(__file__).parent
STEPS = 4


def prepare(out: Path) -> None:
    """Write everything that both frameworks read."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from tiny import tiny_llama, tiny_tokenizer

    out.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    TuningPlan.from_multipliers({"mlp": 0.0}, outside=1.0).save(out / "plan.json")
    lines = [json.dumps({"messages": row["prompt"] + row["completion"]}) for row in tuning_rows()]
    (out / "rows.jsonl").write_text("\n".join(lines) + "\n")

    axolotl = yaml.safe_load((HERE / "axolotl" / "config.yaml").read_text())
    axolotl["datasets"][0]["path"] = str(out / "rows.jsonl")
    axolotl |= {
        "base_model": str(out / "model"),
        "securetune_plan": str(out / "plan.json"),
        "max_steps": STEPS,
        "sequence_len": 256,
        "dataset_prepared_path": str(out / "cache"),
        "output_dir": str(out / "axolotl"),
    }
    # On by default for LoRA, and for CUDA only.
    axolotl |= dict.fromkeys(("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"), False)
    (out / "axolotl.yaml").write_text(yaml.safe_dump(axolotl))

    factory = yaml.safe_load((HERE / "llama_factory" / "train.yaml").read_text())
    factory |= {
        "model_name_or_path": str(out / "model"),
        "dataset_dir": str(out),
        "max_steps": STEPS,
        "cutoff_len": 256,
        "output_dir": str(out / "llama_factory"),
    }
    (out / "llama_factory.yaml").write_text(yaml.safe_dump(factory))
    (out / "dataset_info.json").write_text((HERE / "llama_factory" / "dataset_info.json").read_text())


def check(out: Path) -> None:
    """Stop with an error unless the plan was verified, `mlp` stood still and the rest moved."""
    receipt = json.loads((out / "plan_receipt.json").read_text())
    factors = load_file(out / "adapter_model.safetensors")
    moved = {name for name, value in factors.items() if ".lora_B." in name and value.abs().max() > 0}
    still = {name for name in factors if ".lora_B." in name} - moved
    assert receipt["applied"]["verified"], "the plan was never verified"
    assert moved and not any(".mlp." in name for name in moved), f"moved: {sorted(moved)}"
    assert still and all(".mlp." in name for name in still), f"still: {sorted(still)}"
    verified = [entry["step"] for entry in receipt["applied"]["verified"]]
    print(f"{out.name}: verified at step {verified}, {len(moved)} factors moved, {len(still)} of mlp did not")  # noqa: T201


if __name__ == "__main__":
    {"prepare": prepare, "check": check}[sys.argv[1]](Path(sys.argv[2]).resolve())
