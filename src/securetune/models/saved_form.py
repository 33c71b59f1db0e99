"""Parameters as their checkpoint holds them: transformers 5 fuses experts, among others, when it loads."""

from __future__ import annotations

from typing import Any

import torch


def as_saved(model: Any, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """A parameter under the names, and in the shapes, in which transformers saves it.

    Args:
        model: that holds it, with or without an adapter, wrapped or not.
        name: its canonical name, without wrappers.
        tensor: its values; on the meta device, names and shapes alone are found.

    Returns:
        Name in the checkpoint -> tensor. One entry, unless loading made one tensor of several.
    """
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # transformers 4 keeps tensors as they are saved.
        return {name: tensor}
    from transformers import PreTrainedModel

    owner = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    return {name: tensor} if owner is None else dict(revert_weight_conversion(owner, {name: tensor}))
