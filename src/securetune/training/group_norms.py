"""Norms of a learning-rate group in one step: of its gradients, and of the step itself."""

from __future__ import annotations

import torch

from securetune.training.movement import sample


def gradient_norm(parameters: list[torch.Tensor]) -> float:
    """Norm of a group's gradients, over all processes; 0 where there are none."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return 0.0
    norm = torch.nn.utils.get_total_norm(gradients)
    full = getattr(norm, "full_tensor", None)
    return float(full() if full else norm)


def update_norm(parameters: list[torch.Tensor], samples: dict[int, torch.Tensor]) -> float:
    """Norm of a group's step, over all processes, extrapolated from the sampled elements.

    Args:
        parameters: of the group, after the step.
        samples: id -> sample just before it.
    """
    device = parameters[0].device
    total = torch.zeros((), device=device)
    for parameter in parameters:
        old = samples[id(parameter)]
        if old.numel():
            local = getattr(parameter, "to_local", None)
            share = (local() if local else parameter).numel() / old.numel()
            square = (sample(parameter).float() - old.float()).square().sum() * share
            total += square.to(device)  # A group may lie on several devices.
    if any(hasattr(parameter, "to_local") for parameter in parameters):
        torch.distributed.all_reduce(total)
    return float(total.sqrt())
