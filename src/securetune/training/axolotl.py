"""Axolotl plugin: `plugins: [securetune.training.axolotl.SecureTunePlugin]`, `securetune_plan: plan.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from securetune.errors import MissingDependencyError, PlanError
from securetune.files import write_json
from securetune.plan_source import read_plan
from securetune.training.attach import attach

try:
    from axolotl.integrations.base import BasePlugin
except ImportError as error:
    raise MissingDependencyError(
        f"The Axolotl plugin needs axolotl ({error}): `pip install axolotl`."
    ) from error


class SecureTuneArgs(BaseModel):
    """The settings that the plugin adds to Axolotl's YAML."""

    securetune_plan: str | None = None
    """Plan file, directory or hub repository."""
    securetune_any_base: bool = False
    """Use a plan that was made for other base weights."""


class SecureTunePlugin(BasePlugin):
    """Attaches the plan to whatever trainer Axolotl builds."""

    def get_input_args(self) -> str:
        """Where Axolotl finds the settings."""
        return "securetune.training.axolotl.SecureTuneArgs"

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Attach the plan once the trainer is there.

        Raises:
            PlanError: no plan is named, settings contradict it, or it does not fit.
        """
        if not cfg.securetune_plan:
            raise PlanError("The securetune plugin is on, but `securetune_plan` names no plan.")
        taken = [key for key in ("lr_groups", "loraplus_lr_ratio", "lisa_n_layers") if cfg.get(key)]
        if taken:
            raise PlanError(f"{taken} and a securetune plan both set rates per module. Remove one of them.")
        plan = read_plan(cfg.securetune_plan)
        self._trained: Any = attach(trainer, plan, check_base=not cfg.securetune_any_base)

    def post_train(self, cfg: Any, model: Any) -> None:
        """Write the receipt beside the weights, which Axolotl saves past the trainer; it calls this twice."""
        trainer, self._trained = self._trained, None
        if trainer is not None and trainer.is_world_process_zero():
            write_json(Path(cfg.output_dir) / "plan_receipt.json", trainer.securetune_receipt())
