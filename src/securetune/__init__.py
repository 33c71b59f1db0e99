"""Fine-tune an open chat model without losing its safety, and prove it.

Names are imported on first use, so that `import securetune` loads neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securetune.addressing import Address
    from securetune.config import Config
    from securetune.errors import SecureTuneError
    from securetune.models.load import load_model
    from securetune.models.module_map import ModuleMap
    from securetune.pipeline import Pipeline
    from securetune.plan import Phase, TuningPlan
    from securetune.plan_source import read_plan
    from securetune.prompts import Prompt, PromptSet
    from securetune.runs.directory import Run
    from securetune.training.attach import PlanTrainerMixin, attach
    from securetune.training.param_groups import build_param_groups
    from securetune.training.plan_optimizer import PlanOptimizer, finish, verify_steps
    from securetune.training.safety_callback import SafetyCallback
    from securetune.training.schedule import add_phases_

__version__ = "0.1.0"

_HOMES = {
    "Address": "addressing",
    "Config": "config",
    "ModuleMap": "models.module_map",
    "Phase": "plan",
    "Pipeline": "pipeline",
    "PlanOptimizer": "training.plan_optimizer",
    "PlanTrainerMixin": "training.attach",
    "Prompt": "prompts",
    "PromptSet": "prompts",
    "Run": "runs.directory",
    "SafetyCallback": "training.safety_callback",
    "SecureTuneError": "errors",
    "TuningPlan": "plan",
    "add_phases_": "training.schedule",
    "attach": "training.attach",
    "build_param_groups": "training.param_groups",
    "finish": "training.plan_optimizer",
    "load_model": "models.load",
    "read_plan": "plan_source",
    "verify_steps": "training.plan_optimizer",
}

__all__ = [
    "Address",
    "Config",
    "ModuleMap",
    "Phase",
    "Pipeline",
    "PlanOptimizer",
    "PlanTrainerMixin",
    "Prompt",
    "PromptSet",
    "Run",
    "SafetyCallback",
    "SecureTuneError",
    "TuningPlan",
    "add_phases_",
    "attach",
    "build_param_groups",
    "finish",
    "load_model",
    "read_plan",
    "verify_steps",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'securetune' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"securetune.{home}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
