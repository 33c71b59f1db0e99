"""Did a tensor move as its rate and the optimizer's own state imply? Read from a sample of its elements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from securetune.errors import PlanNotAppliedError, TrainingError

SAMPLE = 4096
"""Elements of a tensor that are compared."""
TOLERANCE = 0.02
"""Largest relative gap between the movement and the step that the state of Adam or SGD implies: in root mean
square; of half-precision weights, for each element before it is rounded."""
STRAYS = 0.05
"""Share of a half-precision tensor's steps that may be rounded otherwise."""
BAND = 1e2
"""For other optimizers: the largest movement per element, over rate x max(1, |gradient|)."""
SPREADS = (5.0, 2.0, 2.0)
"""For other optimizers: how far two groups may lie apart in their movement over rate; over rate x gradient;
or over rate x weight. One of the three must agree where the optimizer's rule may be any of them."""
_NORMALISED = ("adam", "ademamix", "lion", "rmsprop", "adagrad", "signsgd")
"""In the names of optimizers whose steps are about as long as the rate, whatever gradient and weight are."""
LOST = 0.9
"""Share of a tensor's elements whose steps may be rounded away, even at the group's highest rate."""
NOTABLE = 0.5
"""The same share from which on it is worth a warning."""

_HALF = (torch.bfloat16, torch.float16)


@dataclass
class Before:
    """What one tensor looked like just before the step."""

    values: torch.Tensor
    gradient: torch.Tensor | None

    @classmethod
    def of(cls, parameter: torch.Tensor) -> Before:
        """Copy the sample of a tensor and of its gradient."""
        gradient = parameter.grad
        return cls(sample(parameter).clone(), None if gradient is None else sample(gradient).clone())

    def gradient_of(self, parameter: torch.Tensor) -> torch.Tensor:
        """The sampled gradient of the step just made; zeros where there was none.

        It is read after the step, because closures compute it inside and loss scalers divide it there.
        """
        gradient = self.gradient if parameter.grad is None else sample(parameter.grad)
        return torch.zeros_like(self.values).float() if gradient is None else gradient.float()


@dataclass(frozen=True)
class Moved:
    """How one tensor moved in one step."""

    rms: float
    """Root mean square over the sampled elements."""
    has_moved: bool
    lost: float = 0.0
    """Share of the steps that the tensor's precision rounds away even at the group's highest rate."""
    relative: tuple[float, float, float] | None = None
    """For optimizers we do not know, what `check_ratios` compares: see SPREADS."""


def sample(tensor: torch.Tensor) -> torch.Tensor:
    """At most 4,096 evenly spaced elements of this process's part, without copying the tensor."""
    detached = tensor.detach()
    local = getattr(detached, "to_local", None)
    part = local() if local else detached
    stride = max(1, part.numel() // SAMPLE)
    # A stride that has a factor in common with the length of a row would read a few columns only.
    while part.dim() and math.gcd(stride, part.shape[-1]) > 1:
        stride -= 1
    return part.reshape(-1)[::stride][:SAMPLE]


def rms(values: torch.Tensor) -> float:
    """Root mean square; 0 of an empty tensor."""
    return float(values.square().mean().sqrt()) if values.numel() else 0.0


def check_movement(
    name: str,
    parameter: torch.Tensor,
    before: Before,
    group: dict[str, Any],
    optimizer: Any,
    top_rate: float = 0.0,
) -> Moved:
    """Compare the movement of one tensor in one step with what its rate implies.

    Args:
        name: of the tensor, for messages.
        parameter: after the step.
        before: the tensor just before it.
        group: its optimizer group.
        optimizer: which made the step.
        top_rate: the group's highest rate in any phase.

    Raises:
        PlanNotAppliedError: it moved at rate 0, or by another amount than its rate implies, or nearly all of
            its steps are rounded away in half precision (in another one its `lost` says so).
        TrainingError: it is not finite any more.
    """
    old, new = before.values.float(), sample(parameter).float()
    moved, has_moved = rms(new - old), not torch.equal(new, old)
    rate, decay, dtype = float(group["lr"]), float(group.get("weight_decay", 0.0)), parameter.dtype
    if not math.isfinite(moved):
        raise TrainingError(
            f"{name} is not finite after a step at rate {rate:.3g}. Lower the learning rate or use float32."
        )
    if rate == 0 and has_moved:
        raise PlanNotAppliedError(f"{name} moved by {moved:.3g} although its rate is 0.")
    gradient = before.gradient_of(parameter)
    has_gradient = bool(gradient.any())
    # Optimizers pass over a tensor without a gradient; one of zeros still decays.
    if rate == 0 or not (has_gradient or (decay and parameter.grad is not None)):
        return Moved(moved, has_moved)
    expected = expected_step(parameter, old, gradient, group, optimizer)
    lost = _lost_at(top_rate, rate, old, expected, dtype, optimizer)
    is_small = dtype in _HALF or rate <= torch.finfo(dtype).eps * float(old.abs().median())
    is_idle = not has_moved and has_gradient and is_small and rate >= top_rate / 2
    if lost > LOST or (expected is None and is_idle):
        if dtype not in _HALF:
            return Moved(moved, has_moved, 1.0 if expected is None else lost)
        share = "all" if expected is None else f"{lost:.0%}"
        raise PlanNotAppliedError(
            f"{name} cannot move: at rates up to {top_rate:.3g}, {share} of its steps are rounded away in "
            f"{dtype}. Keep the trained weights in float32 (for LoRA: autocast_adapter_dtype=True) or raise "
            "the rate."
        )
    # What surely exceeds the precision must have changed something.
    least = rate * gradient.abs().clamp(max=1) if expected is None else expected.abs()
    kind = torch.finfo(dtype)
    if not has_moved and bool((least > kind.eps * old.abs() + kind.tiny).any()):
        raise PlanNotAppliedError(
            f"{name} did not move at rate {rate:.3g}: the planned rate is not the one in effect."
        )
    if expected is None:
        high = rate * BAND * max(1.0, rms(gradient)) + kind.eps * rms(old)
        if not moved <= high:
            raise PlanNotAppliedError(
                f"{name} moved by {moved:.3g} at rate {rate:.3g}; expected is at most {high:.3g}."
            )
        return Moved(moved, has_moved, lost, _relative(old, new, gradient, rate, kind.eps))
    if not _is_as_implied(old, new, expected, dtype, rate * decay):
        raise PlanNotAppliedError(
            f"{name} moved by {moved:.3g} (root mean square) where rate {rate:.3g} and the optimizer's state "
            f"imply {rms(expected):.3g}: the planned rate is not the one in effect."
        )
    return Moved(moved, has_moved, lost)


def expected_step(
    parameter: torch.Tensor, old: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any], optimizer: Any
) -> torch.Tensor | None:
    """The step that the state of Adam, AdamW or SGD implies; `None` for optimizers we do not know."""
    state, rate = optimizer.state.get(parameter, {}), float(group["lr"])
    decay = float(group.get("weight_decay", 0.0))
    if not state and isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        raise PlanNotAppliedError(
            "The optimizer that holds the plan did not step: something replaced it after `attach`."
        )
    if isinstance(optimizer, torch.optim.SGD) and not group["nesterov"]:
        if not group["momentum"]:
            return -rate * ((-gradient if group["maximize"] else gradient) + decay * old)
        buffer = state.get("momentum_buffer")
        return None if buffer is None else -rate * sample(buffer).float()
    if not _is_adam(optimizer) or not {"exp_avg", "exp_avg_sq", "step"} <= state.keys():
        return None
    step = float(state["step"])
    beta1, beta2 = (float(value) for value in group["betas"])
    squares = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
    first = sample(state["exp_avg"]).float() / (1 - beta1**step)
    second = sample(squares).float() / (1 - beta2**step)
    # Adam's own decay is part of the gradient, and so of the state; AdamW's is not.
    is_adamw = isinstance(optimizer, torch.optim.AdamW) or type(optimizer).__name__ == "AdamW"
    is_decoupled = is_adamw or group.get("decoupled_weight_decay")
    return -rate * first / (second.sqrt() + float(group["eps"])) - (rate * decay * old if is_decoupled else 0)


def rule_of(optimizer: Any) -> tuple[int, ...]:
    """Which of SPREADS may hold for an optimizer that is not known exactly.

    Adam's family, Lion, RMSprop and the like (of torch, bitsandbytes, ...) move by about the rate; Adafactor
    by the rate, or with `scale_parameter` by rate x weight. RAdam begins as plain momentum, and LAMB scales
    by the weight: for them and for unknown names any rule may hold.
    """
    names = [kind.__name__.lower() for kind in type(optimizer).__mro__]
    if any(name.startswith(("radam", "lamb")) for name in names):
        return (0, 1, 2)
    if any("adafactor" in name for name in names):
        groups = optimizer.param_groups
        return (2,) if all(group.get("scale_parameter", True) for group in groups) else (0,)
    return (0,) if any(word in name for name in names for word in _NORMALISED) else (0, 1, 2)


def check_ratios(groups: dict[str, tuple[float, list[Moved]]], rules: tuple[int, ...] = (0, 1, 2)) -> None:
    """Groups of an optimizer we do not know must move in the ratio of their rates, within SPREADS.

    Only groups whose rates lie further apart than the band are compared, by the medians of their tensors.

    Args:
        groups: name -> rate, and how each tensor moved.
        rules: which of SPREADS may hold; see `rule_of`.

    Raises:
        PlanNotAppliedError: two groups do not.
    """
    medians = {
        name: (rate, [median(values) for values in zip(*found)])
        for name, (rate, moved) in groups.items()
        if (found := [entry.relative for entry in moved if entry.relative is not None])
    }
    fastest = max(medians, key=lambda name: medians[name][0], default="")
    for name, (rate, values) in medians.items():
        top_rate, top = medians[fastest]
        ratios = [one / max(other, 1e-30) for one, other in zip(values, top)]
        agrees = any(1 / SPREADS[rule] <= ratios[rule] <= SPREADS[rule] for rule in rules)
        if rate * SPREADS[0] <= top_rate and not agrees:
            raise PlanNotAppliedError(
                f"Group {name} moved {ratios[0]:.3g} times as far for its rate as group {fastest}, where "
                f"{1 / SPREADS[0]:.3g} to {SPREADS[0]:.3g} is expected: the optimizer does not follow the "
                "rates of its groups."
            )


def _relative(
    old: torch.Tensor, new: torch.Tensor, gradient: torch.Tensor, rate: float, eps: float
) -> tuple[float, float, float] | None:
    """See SPREADS; `None` where most elements have no gradient or cannot hold a step of this rate."""
    counted = (gradient != 0) & (rate > eps * old.abs())
    if 2 * int(counted.sum()) < counted.numel():
        return None
    moved = rms((new - old)[counted]) / rate
    return moved, moved / max(rms(gradient[counted]), 1e-30), moved / max(rms(old), 1e-3)


def _is_as_implied(
    old: torch.Tensor, new: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype, decay: float
) -> bool:
    if dtype not in _HALF:
        # Up to half a unit in the last place of each element is lost whenever a result is stored.
        precision = torch.finfo(dtype).eps * rms(old)
        return rms(new - old - expected) <= TOLERANCE * rms(expected) + precision
    # Decay is rounded on its own, before the step is added.
    margin = TOLERANCE * expected.abs() + decay * old.abs()
    low, high = ((old + expected + sign * margin).to(dtype).float() for sign in (-1, 1))
    strays = ~((new >= low) & (new <= high))
    steps = (new != old) | (low > old) | (high < old)
    return int(strays.sum()) <= STRAYS * int(steps.sum()) + 2


def _lost_at(
    top_rate: float,
    rate: float,
    old: torch.Tensor,
    expected: torch.Tensor | None,
    dtype: torch.dtype,
    optimizer: Any,
) -> float:
    """Share of the steps that the tensor's precision rounds away even at the group's highest rate."""
    if expected is None or not top_rate:
        return 0.0
    # Adam's steps are about as long as the rate.
    steps = torch.full_like(old, top_rate) if _is_adam(optimizer) else expected.abs() * (top_rate / rate)
    half_unit = torch.finfo(dtype).eps / 2 * torch.exp2(torch.floor(torch.log2(old.abs())))
    moving = steps > 0
    return float((steps < half_unit)[moving].float().mean()) if bool(moving.any()) else 0.0


def _is_adam(optimizer: Any) -> bool:
    known = isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW)
    return known or type(optimizer).__name__ in ("Adam", "AdamW")
