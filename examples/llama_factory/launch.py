"""LLaMA-Factory under a plan: SECURETUNE_PLAN=plan.json python examples/llama_factory/launch.py train.yaml.

LLaMA-Factory has no plug-in point, so this attaches the plan when any trainer builds its optimizer.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from transformers import Trainer

import securetune


def attach_on_train(plan: securetune.TuningPlan) -> list[Trainer]:
    """Attach the plan to every trainer of this process, just before it trains; return the list of them."""
    original, planned = Trainer.train, []

    def train(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, "securetune_plan", None) is None:
            securetune.attach(self, plan)
            planned.append(self)
        return original(self, *args, **kwargs)

    Trainer.train = train
    return planned


def main() -> None:
    """Run LLaMA-Factory's own command with the plan in place."""
    planned = attach_on_train(securetune.read_plan(os.environ["SECURETUNE_PLAN"]))
    from llamafactory.train.tuner import run_exp

    sys.argv = ["llamafactory-cli", *sys.argv[1:]]
    run_exp()
    if not planned:
        sys.exit(
            "error: LLaMA-Factory called no trainer's `train`, so the plan was not attached and nothing was "
            "trained under it. `stage: ppo` trains in a loop of its own, and with `do_train: false` or "
            "Ray nothing trains in this process; use another stage."
        )


if __name__ == "__main__":
    main()
