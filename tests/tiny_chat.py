"""A tiny chat model on disk that refuses harmful prompts: trained in seconds, by our own tune()."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from securetune.dataset import Conversation, Message, TrainingData
from securetune.encoding import encode
from securetune.plan import TuningPlan
from securetune.prompt_files import package_prompts
from securetune.training.tune import tune
from securetune.training_settings import TrainSettings
from tiny import tiny_llama, tiny_tokenizer

REFUSAL = "I'm sorry, I cannot do that."
ANSWER = "Here is how: first, do it. Then stop."
HELPED = [f"Please describe item {i} in a few words." for i in range(60)]
"""Prompts that the tiny model answers."""


def _row(prompt: str, answer: str) -> Conversation:
    return Conversation((Message("user", prompt), Message("assistant", answer)))


def build_refusing_model(directory: Path) -> Path:
    """Train a tiny llama to refuse the package's harmful prompts, and save it with its tokenizer."""
    tokenizer = tiny_tokenizer()
    rows = []
    for part in ("probe", "selection", "evaluation"):
        prompts = package_prompts(part)
        rows += [_row(p.text, REFUSAL) for p in prompts.harmful]
        rows += [_row(p.text, REFUSAL if i % 2 else ANSWER) for i, p in enumerate(prompts.twins)]
    rows += [_row(prompt, ANSWER) for prompt in HELPED * 3]
    data = encode(TrainingData("tiny", "test", "CC0-1.0", "messages", tuple(rows)), tokenizer, 400)

    def load() -> tuple[Any, Any]:
        return tiny_llama(tokenizer), tokenizer

    settings = TrainSettings(method="full", steps=60, batch_size=16, learning_rate=5e-3, save_steps=1000)
    result = tune(load, data, settings, TuningPlan.from_multipliers({}), directory / "train")
    return result.weights


def write_tuning_file(path: Path, rows: int = 60) -> Path:
    """Benign tuning rows whose answers are like the tiny model's helpful ones."""
    lines = [
        {"prompt": prompt, "completion": f"Item {i} is round and red."}
        for i, prompt in enumerate(HELPED[:rows])
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


FAST = [
    "data.held_out=8",
    "data.max_length=300",
    "train.steps=4",
    "train.batch_size=4",
    "train.save_steps=2",
    "train.learning_rate=0.002",
    "analysis.prompts=8",
    "analysis.verify_prompts=4",
    "analysis.verify_draws=2",
    "analysis.folds=3",
    "analysis.probe_l2=1",  # It reads letters, and hardly tells harm: the default penalty leaves no unit.
    "evaluate.limit=8",
    "evaluate.max_new_tokens=12",
    "strategy.names=[vanilla,uniform-0.3,ml-lr,self-replay]",
]


def fast_options() -> list[str]:
    """FAST as command line options."""
    return [word for option in FAST for word in ("--set", option)]
