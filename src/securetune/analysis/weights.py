"""Weights as numbers, wherever and however they are stored; models that cannot be analysed are refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from securetune.addressing import Address
from securetune.errors import SecureTuneError, UsageError
from securetune.models.module_map import ModuleMap
from securetune.models.quantised import keep_unpacked_

_EXPERT = re.compile(r"(?:^|\.)experts?[._]\d+(?:\.|$)")
"""In the path of an expert that is listed by number: `mlp.experts.3.w1`, `mlp.experts.expert_3.wi`."""


@contextmanager
def dense_weight(modules: ModuleMap, address: Address) -> Iterator[torch.Tensor]:
    """The weight matrix at `address` in floating point: dequantised, or fetched from offload."""
    from accelerate.utils.modeling import align_module_device

    module = modules.module(address)
    assert module is not None
    with align_module_device(module):
        weight = modules.weight(address)[1]
        if weight.is_meta:  # accelerate has just put another parameter in its place.
            weight = module.get_parameter("weight")
        yield _dequantised(weight, module)


def deviation(modules: ModuleMap, address: Address) -> float:
    """Standard deviation of the elements of the weight matrix."""
    with dense_weight(modules, address) as weight:
        return float(weight.detach().float().std())


def elements(modules: ModuleMap, address: Address) -> int:
    """Elements of the weight matrix, without its bias."""
    with dense_weight(modules, address) as weight:
        return weight.numel()


def can_change_in_place(modules: ModuleMap, address: Address) -> bool:
    """Whether the weight can be perturbed where it is: floating point and in memory."""
    weight = modules.weight(address)[1]
    return weight.dtype.is_floating_point and not weight.is_meta


def is_offloaded(model: Any) -> bool:
    """Whether accelerate keeps some weights outside the model and fetches them for each forward pass."""
    return any(parameter.is_meta for parameter in model.parameters())


def check_whole(model: Any) -> None:
    """Refuse a model whose weight matrices are not all here, as parameters.

    Raises:
        UsageError: FSDP or DeepSpeed ZeRO-3 holds a part of each weight here; or the weights are quantised in
            a format, such as MXFP4, that keeps them outside the parameters, so that no map would name them.
    """
    _check_format(model)
    if not torch.distributed.is_available():
        return
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    found = None
    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        found = "FSDP"
    for name, parameter in model.named_parameters():
        if isinstance(parameter, DTensor):
            found = f"a distributed tensor ({name}): FSDP2 or tensor parallelism"
        elif hasattr(parameter, "ds_id"):
            found = f"DeepSpeed ZeRO-3 ({name})"
    if found:
        raise UsageError(
            f"The model's weights are split over processes by {found}. The analysis perturbs whole matrices "
            'and reads whole gradients. Load the model unsharded, with device_map="auto" if it is large; '
            "`--shard i/n` or `accelerate launch` then divide the prompts."
        )


def check_measurable(modules: ModuleMap, addresses: Iterable[Address]) -> None:
    """Refuse quantised or offloaded weights that no linear layer owns: they have no hook to perturb them by.

    Raises:
        UsageError: names them.
    """
    linear = (nn.Linear, Conv1D)
    check_differentiable(modules, [a for a in addresses if not isinstance(modules.module(a), linear)])


def check_differentiable(modules: ModuleMap, addresses: Iterable[Address]) -> None:
    """Refuse weights that cannot require a gradient because they are quantised or offloaded.

    Raises:
        UsageError: names them.
    """
    bad = [address for address in addresses if not can_change_in_place(modules, address)]
    if bad:
        raise UsageError(
            f"{', '.join(map(str, bad[:4]))}{' and others' if len(bad) > 4 else ''}: quantised or offloaded "
            "experts cannot be analysed, they have no gradient. Load the model in bfloat16 and in memory, "
            'over several accelerators with device_map="auto"; experts that are linear layers can also be '
            "sampled as they are (--method monte-carlo)."
        )


def is_expert(modules: ModuleMap, address: Address) -> bool:
    """Whether a weight is one of several experts, stacked or listed one by one.

    An expert sees only the tokens that are routed to it, in an order of the router's.
    """
    return modules.weight(address)[1].ndim > 2 or _EXPERT.search(address.path) is not None


def check_finite(what: str, addresses: Sequence[Address], values: np.ndarray) -> None:
    """Refuse numbers that say nothing.

    Args:
        what: they are.
        addresses: of matrices.
        values: `[..., addresses]`.

    Raises:
        SecureTuneError: one is infinite or not a number; names the addresses.
    """
    finite = np.isfinite(values).reshape(-1, len(addresses)).all(0)
    bad = [str(address) for address, is_finite in zip(addresses, finite) if not is_finite]
    if bad:
        others = f" and {len(bad) - 4} others" if len(bad) > 4 else ""
        raise SecureTuneError(
            f"The {what} at {', '.join(bad[:4])}{others} is not a finite number. float16 overflows: load the "
            "model in bfloat16 or float32 (model.dtype). If it is, look for infinite values in its "
            "weights."
        )


@contextmanager
def patched(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace a module's `forward` while the context is open; one that a library put there comes back."""
    own = vars(module).get("forward")
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]
        if own is not None:
            vars(module)["forward"] = own


def _dequantised(weight: torch.Tensor, module: nn.Module) -> torch.Tensor:
    if weight.dtype.is_floating_point:
        return weight
    keep_unpacked_(module)
    from peft.utils.integrations import dequantize_bnb_weight

    return torch.as_tensor(dequantize_bnb_weight(weight, getattr(module, "state", None)))


def _check_format(model: Any) -> None:
    found = getattr(getattr(model, "config", None), "quantization_config", None) or {}
    settings = found if isinstance(found, dict) else vars(found)
    method = settings.get("quant_method")
    method = getattr(method, "value", method)
    if method not in (None, "bitsandbytes") and not settings.get("dequantize"):
        raise UsageError(
            f"The model's weights are quantised as {method}. Only bitsandbytes keeps them as parameters that "
            "can be differentiated and perturbed; others would be missing from the map. Load the model "
            "dequantised (of MXFP4: quantization_config=Mxfp4Config(dequantize=True)), `save_pretrained` it, "
            "and analyse that directory."
        )
