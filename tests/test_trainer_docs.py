"""Every cell of the table in docs/trainers.md names a test of what it claims, or says that there is none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = ("untested", "no", "no: rates only", "same test", "same as `attach`")
CLAIMS = {
    "Trainer, full tuning": (),
    "Trainer, LoRA": ("lora",),
    "DoRA, rsLoRA": ("dora", "rslora"),
    "`modules_to_save`": ("modules_to_save",),
    "MoE expert parameters (fused, full": ("moe",),
    "MoE expert parameters (fused, LoRA": ("moe_lora",),
    "tied embeddings": ("tied",),
    "TRL SFT": ("sft",),
    "TRL DPO": ("dpo",),
    "TRL GRPO": ("grpo",),
    "`PlanOptimizer`": ("factory",),
    "mixin": ("mixin",),
    "plain torch loop": ("plain", "loop"),
    "accelerate loop": ("accelerate",),
    "DDP": ("processes",),
    "FSDP2": ("fully_shard",),
    "FSDP inside": ("fsdp",),
    "DeepSpeed": ("deepspeed",),
    "QLoRA": ("quantised",),
    "8-bit optimizers": ("8bit",),
    "paged optimizers": ("paged",),
    "Axolotl": ("axolotl",),
    "LLaMA-Factory": ("llama_factory",),
    "Unsloth": (),
}
"""Beginning of a row -> what the name, the parameters or the body of each of its tests must say."""


def functions() -> dict[str, tuple[str, str]]:
    """Name -> source with decorators, and source of its whole file, of every function of the tests."""
    found = {}
    for path in ROOT.glob("tests/**/*.py"):
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found[node.name] = "\n".join(text.splitlines()[first - 1 : node.end_lineno]), text
    return found


def test_every_cell_is_backed_by_a_test_or_says_so() -> None:
    text, defined = (ROOT / "docs" / "trainers.md").read_text(), functions()
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(CLAIMS)
    for row in rows:
        stack, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        (words,) = [words for start, words in CLAIMS.items() if stack.startswith(start)]
        assert len(cells) == 5, stack
        for cell in cells:
            if cell.startswith(WORDS):
                continue
            tests = re.findall(r"`(\w+)(?:\[([\w-]+)\])?`", cell)
            assert tests, f"{stack}: {cell}"
            said = cell
            for name, parameters in tests:
                assert name in defined, f"{stack}: {name}"
                source, file = defined[name]
                said += source
                if parameters:
                    assert source.startswith("@"), f"{stack}: {name} is not parametrised"
                    literals = set(re.findall(r'"([\w-]+)"', file))
                    assert set(parameters.split("-")) <= literals, f"{stack}: {name}[{parameters}]"
            for word in words:
                assert word in said.lower(), f"{stack}: {cell} says nothing of {word}"
