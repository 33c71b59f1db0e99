"""plan_receipt.json: what was planned, what was applied, and how far each address has moved in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from securetune.addressing import Address, canonical_name
from securetune.errors import UsageError
from securetune.files import read_json
from securetune.models.fingerprint import checkpoint_tensors, fingerprint, fingerprint_checkpoint
from securetune.models.module_map import ModuleMap
from securetune.models.saved_form import as_saved
from securetune.training.param_groups import PlanMatch

FORMAT = "securetune-receipt"


@dataclass(frozen=True)
class Movement:
    """How far the effective weights have moved since `attach`, or why that is not known."""

    total: dict[str, float] | None
    """Address (or name, outside the decoder stack) -> Frobenius norm ||dW|| over its trained weights."""
    reason: str | None = None


def plan_receipt(guard: Any, match: PlanMatch, movement: Movement | None) -> dict[str, Any]:
    """The receipt as a JSON-able dictionary.

    Args:
        guard: the PlanGuard of the run.
        match: how the plan met the model.
        movement: total movement; `None` where it was not measured, as in checkpoints.
    """
    return {
        "format": FORMAT,
        "version": 1,
        "planned": guard.plan.to_json(),
        "base_rate": guard.base_rate,
        "groups": [asdict(group) for group in match.groups],
        "untrained_patterns": list(match.untrained_patterns),
        "applied": guard.receipt(),
        "movement": None if movement is None else movement.total,
        "movement_reason": "measured when the final model is saved" if movement is None else movement.reason,
    }


def total_movement(weights: Path) -> float | None:
    """||dW|| over all trained weights, from the receipt beside them; `None` where it was not measured."""
    moved = read_json(weights / "plan_receipt.json")["movement"]
    return None if moved is None else float(sum(value**2 for value in moved.values()) ** 0.5)


@dataclass(frozen=True)
class StartWeights:
    """Where the weights at the start of a run can be read again, tensor by tensor."""

    base: str | None
    """Fingerprint at the start, where base weights are trained."""
    factors: dict[str, dict[str, torch.Tensor]]
    """Adapted module -> its adapter's factors at the start, where these were not an identity; on the CPU."""

    @classmethod
    def of(cls, model: Any) -> StartWeights:
        """Remember what cannot be read later; base weights are not copied."""
        trains_base = any(p.requires_grad and not _is_adapter(name) for name, p in model.named_parameters())
        factors = {
            layer.name: {key: value.detach().cpu().clone() for key, value in layer.factors().items()}
            for layer in _adapted(model)
            if bool(layer.delta().any())
        }
        return cls(_fingerprint(model) if trains_base else None, factors)

    def movement(self, model: Any) -> Movement:
        """Total movement of every trained weight, one tensor in memory at a time."""
        if any(hasattr(p, "to_local") or hasattr(p, "ds_id") for p in model.parameters()):
            return Movement(None, "the weights are sharded over processes")
        modules = ModuleMap.of(model)
        squares: dict[str, float] = {}

        def add(name: str, change: torch.Tensor) -> None:
            address: Address | None = modules.address_of(name)
            key = canonical_name(name).removesuffix(".weight") if address is None else str(address)
            squares[key] = squares.get(key, 0.0) + float(change.float().square().sum())

        for layer in _adapted(model):
            start = self.factors.get(layer.name)
            add(layer.label, layer.delta() if start is None else layer.delta() - layer.delta(start))
        for name, copy, original in _saved_modules(model):
            add(name, copy.detach() - original.detach().to(copy.dtype))
        reason = self._add_base(model, add) if self.base is not None else None
        return Movement({key: value**0.5 for key, value in squares.items()} if not reason else None, reason)

    def _add_base(self, model: Any, add: Callable[[str, torch.Tensor], None]) -> str | None:
        """Movement of trained base weights against the checkpoint that they were loaded from."""
        trained = {
            name: parameter.detach()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and not _is_adapter(name)
        }

        # Fused experts lie tensor by tensor in the checkpoint, those of gate, up and down in turn.
        @lru_cache(maxsize=2)
        def parts(name: str) -> dict[str, torch.Tensor]:
            return as_saved(model, canonical_name(name), trained[name])

        owners = {
            saved: name
            for name, value in trained.items()
            for saved in as_saved(model, canonical_name(name), torch.empty_like(value, device="meta"))
        }
        source = str(getattr(model.config, "_name_or_path", "") or "")
        try:
            if not source or fingerprint_checkpoint(source) != self.base:
                return f"the start weights cannot be read again: `{source}` does not hold them"
        except (UsageError, OSError, ValueError) as error:
            return f"the start weights cannot be read again: {error}"
        seen = set()
        for name, tensor in checkpoint_tensors(source):
            if name in owners:
                seen.add(name)
                value = parts(owners[name])[name]
                add(owners[name], value.float() - tensor.to(value.device).float())
        missing = sorted(owners.keys() - seen)
        return f"{len(missing)} tensors have other names on disk, such as {missing[0]}" if missing else None


@dataclass(frozen=True)
class _Adapted:
    """A layer with a LoRA adapter that is trained."""

    name: str
    layer: Any
    adapter: str

    @property
    def label(self) -> str:
        """The name of one of its factors, which has the address of what it adapts."""
        return next(name for name in self._named() if "lora_" in name)

    def factors(self) -> dict[str, torch.Tensor]:
        """Its factors (and DoRA's magnitudes) by name inside the layer."""
        return {name.removeprefix(f"{self.name}."): value for name, value in self._named().items()}

    @torch.no_grad()
    def delta(self, values: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """What the adapter adds to its base weight, now or with other factors.

        With DoRA on a base that is not quantised it is the change of the whole weight, else LoRA's part.
        """
        now = self.factors()
        kept = {key: parameter.data for key, parameter in now.items()}
        try:
            for key, value in (values or {}).items():
                now[key].data = value.to(kept[key].device)
            return self._delta()
        finally:
            for key, data in kept.items():
                now[key].data = data

    def _delta(self) -> torch.Tensor:
        delta: torch.Tensor = self.layer.get_delta_weight(self.adapter).detach().float()
        magnitudes = getattr(self.layer, "lora_magnitude_vector", {})
        if self.adapter in magnitudes and self.layer.get_base_layer().weight.dtype.is_floating_point:
            weight = self.layer.get_base_layer().weight.detach().float()
            dim = 0 if getattr(self.layer, "fan_in_fan_out", False) else 1
            norm = torch.linalg.norm(weight + delta, dim=dim, keepdim=True)
            scale = magnitudes[self.adapter].weight.detach().float().reshape(norm.shape) / norm
            return scale * (weight + delta) - weight
        return delta

    def _named(self) -> dict[str, torch.Tensor]:
        # A layer may hold another adapted one inside, whose factors are its own.
        return {
            f"{self.name}.{key}": value
            for key, value in self.layer.named_parameters()
            if key.startswith("lora_") and self.adapter in key.split(".")
        }


def _adapted(model: Any) -> list[_Adapted]:
    found = []
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight") and hasattr(module, "active_adapters"):
            layers = (_Adapted(name, module, adapter) for adapter in module.active_adapters)
            found += [layer for layer in layers if any(v.requires_grad for v in layer.factors().values())]
    return found


def _saved_modules(model: Any) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """(name, trained copy, original) of every parameter under `modules_to_save`."""
    found = []
    for name, module in model.named_modules():
        if hasattr(module, "modules_to_save") and hasattr(module, "original_module"):
            for adapter in getattr(module, "active_adapters", []):
                if adapter in module.modules_to_save:
                    originals = dict(module.original_module.named_parameters())
                    found += [
                        (f"{name}.modules_to_save.{adapter}.{key}", copy, originals[key])
                        for key, copy in module.modules_to_save[adapter].named_parameters()
                    ]
    return found


def _is_adapter(name: str) -> bool:
    return ".lora_" in name or ".modules_to_save." in name


def _fingerprint(model: Any) -> str:
    try:
        return fingerprint(model)
    except UsageError:
        return "unknown"
