"""Perturbations of weight matrices: exactly specified, seeded, restored bit for bit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from securetune.addressing import Address
from securetune.analysis.weights import can_change_in_place, check_measurable, dense_weight
from securetune.models.module_map import ModuleMap

KINDS = ("gaussian", "gaussian-equal", "scale", "zero", "low-rank", "update")
FIXED = ("zero", "update")
"""Kinds that are one change, whatever the seed."""


@dataclass(frozen=True)
class Perturbation:
    """What is added to a weight matrix W of n elements with standard deviation d; s is the size.

    - `gaussian`: independent noise of deviation `s d`.
    - `gaussian-equal`: independent noise scaled to the Frobenius norm `s * reference`, the same for all.
    - `scale`: `+s W` or `-s W`, a fair coin by seed and address.
    - `zero`: `-W`; the size has no effect.
    - `low-rank`: a product B A of Gaussian factors, scaled to the Frobenius norm `s d sqrt(n)` of `gaussian`.
    - `update`: `s` times the change that a real fine-tune made to W.

    Random numbers depend only on the seed and the address, so work can be done in any order.

    Source: arXiv 2410.04524 perturbs modules; form and size are not stated in the text available. Ours.
    """

    kind: str = "gaussian"
    size: float = 0.1
    rank: int = 8
    """Of `low-rank`."""
    reference: float = 0.0
    """Frobenius norm for `gaussian-equal`: see `equal_reference`."""
    updates: Mapping[Address, torch.Tensor] | None = None
    """Changes of weight matrices for `update`; an address that is missing did not change."""

    def __post_init__(self) -> None:
        """Refuse a kind that is not one of `KINDS`, or that lacks what it needs."""
        if self.kind not in KINDS:
            raise ValueError(f"unknown perturbation {self.kind!r}; expected one of {', '.join(KINDS)}")
        if self.kind == "update" and self.updates is None:
            raise ValueError("`update` needs the updates of a fine-tune")
        if self.kind == "gaussian-equal" and not self.reference > 0:
            raise ValueError("`gaussian-equal` needs a positive reference norm")

    @property
    def draws(self) -> bool:
        """Whether the seed matters."""
        return self.kind not in FIXED

    @property
    def directed(self) -> bool:
        """Whether the change D is known but for its sign: to first order it moves a score by `<dz/dW, D>`."""
        return self.kind in ("scale", *FIXED)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides it, JSON-able; of updates, their Frobenius norm over all matrices."""
        found: dict[str, Any] = {"perturbation": self.kind, "size": self.size}
        if self.kind == "low-rank":
            found["rank"] = self.rank
        elif self.kind == "gaussian-equal":
            found["reference"] = self.reference
        elif self.kind == "update":
            assert self.updates is not None
            norms = [float(change.float().norm()) for change in self.updates.values()]
            found["update_norm"] = math.hypot(*norms)
        return found

    def delta(self, weight: torch.Tensor, address: Address, seed: int) -> torch.Tensor:
        """What is added to `weight`, in float32 on its device."""
        w = weight.detach().float()
        if self.kind == "zero":
            return -w
        if self.kind == "update":
            assert self.updates is not None
            change = self.updates.get(address)
            return torch.zeros_like(w) if change is None else self.size * change.to(w)
        generator = torch.Generator().manual_seed(_number(f"{seed} {address}"))
        if self.kind == "scale":
            sign = 1.0 if torch.rand((), generator=generator) < 0.5 else -1.0
            return sign * self.size * w
        if self.kind == "low-rank":
            noise = _low_rank(w, self.rank, generator)
            return noise * (self.size * w.std() * w.numel() ** 0.5 / noise.norm())
        noise = torch.randn(w.shape, generator=generator).to(w.device)
        if self.kind == "gaussian-equal":
            return noise * (self.size * self.reference / noise.norm())
        return self.size * w.std() * noise


def change_of(modules: ModuleMap, perturbation: Perturbation, address: Address, seed: int) -> torch.Tensor:
    """What `perturbation` adds to the weight matrix at `address`, dequantised or fetched from offload."""
    with dense_weight(modules, address) as weight:
        return perturbation.delta(weight, address, seed)


@contextmanager
def perturbed(
    modules: ModuleMap,
    addresses: Collection[Address],
    perturbation: Perturbation,
    seed: int,
    *,
    in_place: bool | None = None,
) -> Iterator[None]:
    """Perturb the weight matrices at `addresses` while the context is open.

    Floating-point weights in memory are changed where they are and restored from a copy, also after an
    exception: subtracting the noise would not undo it in bfloat16. For quantised and offloaded weights, the
    product with the perturbation, which is made in each pass and dropped, is added to the module's output. It
    equals the change in place up to the rounding of the sum (tests: 1e-5 relative in float32).

    Args:
        modules: the model's map.
        addresses: of matrices.
        perturbation: what is added.
        seed: of the draw.
        in_place: override the choice; output hooks exist for linear layers only.

    Raises:
        UsageError: a quantised or offloaded weight that no linear layer owns.
    """
    check_measurable(modules, addresses)
    with ExitStack() as stack:
        for address in sorted(addresses):
            direct = can_change_in_place(modules, address) if in_place is None else in_place
            change = _in_place if direct else _at_output
            stack.enter_context(change(modules, address, perturbation, seed))
        yield


@contextmanager
def _in_place(modules: ModuleMap, address: Address, perturbation: Perturbation, seed: int) -> Iterator[None]:
    weight = modules.weight(address)[1]
    copy = weight.detach().to("cpu", copy=True)  # An accelerator may have no room for a second model.
    try:
        with torch.no_grad():
            weight.add_(perturbation.delta(weight, address, seed).to(weight))
        yield
    finally:
        with torch.no_grad():
            weight.copy_(copy)


@contextmanager
def _at_output(modules: ModuleMap, address: Address, perturbation: Perturbation, seed: int) -> Iterator[None]:
    module = modules.module(address)
    if not isinstance(module, (nn.Linear, Conv1D)):
        raise TypeError(f"{address}: output hooks need a linear layer, found {type(module).__name__}")
    by_column = isinstance(module, Conv1D)

    def add(_module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        # Made anew in each pass: dense changes of all matrices at once would be larger than the model.
        delta = change_of(modules, perturbation, address, seed)
        change = inputs[0].to(delta) @ (delta if by_column else delta.T)
        return output + change.to(output)

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def equal_reference(modules: ModuleMap) -> float:
    """The median Frobenius norm of noise of unit relative size over the model's matrices."""
    norms = []
    for address in modules.matrices():
        with dense_weight(modules, address) as weight:
            norms.append(float(weight.detach().float().std()) * weight.numel() ** 0.5)
    return float(torch.tensor(norms).median())


def _low_rank(weight: torch.Tensor, rank: int, generator: torch.Generator) -> torch.Tensor:
    """Gaussian B A of the weight's shape; stacked matrices (experts) get one product each."""
    *stack, height, width = weight.shape
    b = torch.randn(*stack, height, rank, generator=generator)
    a = torch.randn(*stack, rank, width, generator=generator)
    return (b @ a).to(weight.device)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
