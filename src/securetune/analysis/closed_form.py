"""Per-prompt gradient norms of every weight matrix by one backward pass, without making a weight gradient.

Or, for a known change D of every matrix, the inner products `<dz/dW, D> = sum_t g_t . (D x_t)`.

For a linear map y = W x over tokens t, dz/dW = sum_t g_t x_t^T with g = dz/dy. Its squared norm is
`sum_{t,u} (x_t . x_u)(g_t . g_u)`, from two Gram matrices, or blockwise from the product itself, whichever is
cheaper. Only gradients of activations are computed: weights need none, the embedding output does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from securetune.addressing import Address
from securetune.analysis.at_rest import inputs_require_grad, recomputed_blocks, weights_at_rest
from securetune.analysis.fused import fused_parts
from securetune.analysis.proxies import Proxy
from securetune.analysis.weights import check_differentiable, check_finite, is_expert, is_offloaded
from securetune.models.hidden_states import Encoded
from securetune.models.module_map import ModuleMap
from securetune.models.quantised import keep_unpacked_

_BLOCK = 2**22
"""Elements of one block of a weight gradient that is made and thrown away."""

_HALF_SCALES = (2.0**12, 2.0**4, 1.0)
"""What the score of a float16 model is multiplied by, tried in this order until nothing overflows: gradients
of activations below 6e-8 would vanish without a trace (ours)."""


Change = Callable[[Address], torch.Tensor]
"""The change of a weight matrix, in its shape."""


@dataclass(frozen=True)
class GradientNorms:
    """Norms of the gradient of a proxy's score, each `[prompts, addresses]`, float64."""

    weights: np.ndarray
    """Frobenius norm over the weight matrix (with a bias, the matrix alone); with a `change`, the signed
    inner product with it."""
    lora_l2: np.ndarray
    """Frobenius norm over a LoRA factor B at B = 0, with a fresh A: the only one with a gradient at the
    start. NaN of experts and bare parameters, which are measured another way."""
    lora_l1: np.ndarray
    """Sum of magnitudes over B: what one sign-like step (Adam) of unit rate moves at most."""
    parts: dict[Address, np.ndarray]
    """The same `[prompts]` of each part of a fused projection, over its rows: squared norms add up to that of
    the whole, inner products as they are."""


def gradient_norms(
    model: Any,
    modules: ModuleMap,
    addresses: Sequence[Address],
    proxy: Proxy,
    encoded: Encoded,
    *,
    lora_rank: int = 8,
    seed: int = 0,
    change: Change | None = None,
) -> GradientNorms:
    """Measure all `addresses` on one batch of prompts.

    Linear layers (`nn.Linear`, Conv1D, 4-bit and 8-bit ones included) take one batched backward pass. Experts
    and bare parameters (routers) take an exact backward pass per prompt. With offloaded weights, the blocks
    are recomputed one at a time from their saved inputs, so that one block is in memory.

    Args:
        model: the start model, whole in this process.
        modules: its module map.
        addresses: of matrices.
        proxy: what is differentiated.
        encoded: the prompts, encoded with the proxy's endings.
        lora_rank: rows of A.
        seed: of A.
        change: measure inner products with this change of each matrix, in place of norms.

    Raises:
        UsageError: an address is a quantised or offloaded expert.
        SecureTuneError: a norm is not finite; names the addresses.
    """
    scales = _HALF_SCALES if any(p.dtype == torch.float16 for p in model.parameters()) else (1.0,)
    for scale in scales:
        found = _norms(model, modules, addresses, proxy, encoded, lora_rank, seed, change, scale)
        if np.isfinite(found.weights).all():
            return found
    check_finite("gradient of the proxy", addresses, found.weights)
    return found


def _norms(
    model: Any,
    modules: ModuleMap,
    addresses: Sequence[Address],
    proxy: Proxy,
    encoded: Encoded,
    rank: int,
    seed: int,
    change: Change | None,
    scale: float,
) -> GradientNorms:
    """Differentiate `scale` times the score, and divide the norms by it."""
    config = model.config.get_text_config()
    linear = {
        a: m
        for a in addresses
        if isinstance(m := modules.module(a), (nn.Linear, Conv1D)) and not is_expert(modules, a)
    }
    check_differentiable(modules, [address for address in addresses if address not in linear])
    fused = {address: fused_parts(config, address, module) for address, module in linear.items()}

    def along(address: Address) -> torch.Tensor:
        assert change is not None
        return change(address) if isinstance(linear[address], Conv1D) else change(address).T

    recorder = _Recorder(encoded, rank, seed, fused, along if change is not None else None)
    keep_unpacked_(model)
    with weights_at_rest(model), inputs_require_grad(model), ExitStack() as hooks:
        if is_offloaded(model):
            hooks.enter_context(recomputed_blocks(modules))
        with ExitStack() as watched:
            for address, module in linear.items():
                watched.enter_context(recorder.attached(address, module))
            _backward(model, proxy, encoded, scale)
        exact = [address for address in addresses if address not in recorder.found]
        values = {**recorder.found, **_exact(model, modules, exact, proxy, encoded, change, scale)}
    stacked = np.stack([values[address].numpy() for address in addresses], axis=1) / scale
    weights, lora_l2, lora_l1 = np.moveaxis(stacked, 2, 0)
    return GradientNorms(weights, lora_l2, lora_l1, {a: part / scale for a, part in recorder.parts.items()})


def _backward(model: Any, proxy: Proxy, encoded: Encoded, scale: float) -> None:
    score = proxy.score(proxy.read(model, encoded), encoded)
    if score.requires_grad:
        (score * scale).sum().backward()


class _Recorder:
    """Turns inputs and output gradients into norms `[prompts, 3]` as the backward pass goes by."""

    def __init__(
        self,
        encoded: Encoded,
        rank: int,
        seed: int,
        fused: dict[Address, dict[Address, torch.Tensor]],
        along: Change | None,
    ) -> None:
        self.along = along
        self.prompts, self.rows = len(encoded.texts), encoded.rows_per_prompt
        self.mask = encoded.inputs["attention_mask"].bool()
        self.rank, self.seed = rank, seed
        self.found: dict[Address, torch.Tensor] = {}
        self.fused = fused
        self.parts = {part: np.zeros(self.prompts) for parts in fused.values() for part in parts}
        self._unusual: set[Address] = set()
        self._calls: dict[Address, int] = {}
        self._parts: dict[Address, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    @contextmanager
    def attached(self, address: Address, module: nn.Module) -> Iterator[None]:
        """Watch one module while the context is open."""

        def forward(_module: Any, arguments: Any, keywords: Any, output: torch.Tensor) -> None:
            x = (arguments[0] if arguments else next(iter(keywords.values()))).detach()
            kept = _saved(x)
            # While a checkpoint recomputes, its outputs lead nowhere: only the first call counts.
            if self._recomputing or address in self._unusual:
                return
            if x.shape[0] != (len(self.mask) if x.ndim > 2 else self.mask.numel()):
                # An expert that sees some of the tokens: which prompt each belongs to is not known here.
                self._unusual.add(address)
                self.found.pop(address, None)
                return
            self.found.setdefault(address, torch.zeros(self.prompts, 3, dtype=torch.float64))
            if output.requires_grad:
                self._calls[address] = self._calls.get(address, 0) + 1
                output.register_hook(lambda gradient: self._add(address, kept.saved_tensors[0], gradient))

        handle = module.register_forward_hook(forward, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @property
    def _recomputing(self) -> bool:
        return torch._C._current_graph_task_id() != -1

    def _add(self, address: Address, x: torch.Tensor, g: torch.Tensor) -> None:
        if address in self._unusual:
            return
        parts = self._parts.setdefault(address, [])
        parts.append((self._by_prompt(x), self._by_prompt(g.detach())))
        if len(parts) == self._calls[address]:
            # A module that is called twice has one gradient: the sum over the tokens of both calls.
            xs, gs = (torch.cat(values, 1) for values in zip(*self._parts.pop(address)))
            factor = fresh_factor(address, xs.shape[-1], self.rank, self.seed).to(xs)
            update = torch.einsum("pto,ptr->por", gs, xs @ factor.T)
            l2, l1 = update.flatten(1).norm(dim=1), update.flatten(1).abs().sum(1)
            values = torch.stack([self._measure(address, xs, gs), l2, l1], 1)
            self.found[address] = values.double().cpu()

    def _measure(self, address: Address, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Norms, or inner products, `[prompts]` of the whole matrix; those of its parts are noted."""
        moved = None if self.along is None else x @ self.along(address).to(x)

        def of(rows: Any = slice(None)) -> torch.Tensor:
            # Of parts, the squares of norms add up, and inner products as they are.
            return squared_norms(x, g[..., rows]) if moved is None else (moved * g)[..., rows].sum((1, 2))

        def root(values: torch.Tensor) -> torch.Tensor:
            return values.sqrt() if moved is None else values

        if not (parts := self.fused[address]):
            return root(of())
        found = {part: of(rows.to(g.device)) for part, rows in parts.items()}
        self.parts |= {part: root(values).double().cpu().numpy() for part, values in found.items()}
        return root(torch.stack([*found.values()]).sum(0))

    def _by_prompt(self, values: torch.Tensor) -> torch.Tensor:
        """`[prompts, tokens of all its rows, width]` in float32 or better, padding zeroed."""
        values = values if values.dtype == torch.float64 else values.float()
        values = values.reshape(len(self.mask), -1, values.shape[-1])
        if values.shape[1] == self.mask.shape[1]:
            # Padding may hold NaN, which zero gradients would not remove.
            values = torch.where(self.mask.to(values.device)[..., None], values, 0)
        return values.reshape(self.prompts, -1, values.shape[-1])


class _Saved(torch.autograd.Function):
    """A node that saves a tensor as the nodes of the graph do: not at all within a checkpoint."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return anchor.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None]:
        return None, None


def _saved(x: torch.Tensor) -> Any:
    """Keep `x` for the backward pass; within a checkpoint, reading `saved_tensors` recomputes the block."""
    return _Saved.apply(torch.zeros((), requires_grad=True), x).grad_fn


def squared_norms(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """`||sum_t g_t x_t^T||_F^2` per prompt, by the cheaper of two ways.

    Args:
        x: inputs `[prompts, tokens, in]`.
        g: output gradients `[prompts, tokens, out]`.

    Returns:
        `[prompts]`.
    """
    tokens, width, height = x.shape[1], x.shape[2], g.shape[2]
    if tokens * (width + height) <= width * height:
        grams = torch.bmm(x, x.transpose(1, 2)) * torch.bmm(g, g.transpose(1, 2))
        return grams.sum((1, 2)).clamp_min(0)
    step = max(1, _BLOCK // (len(x) * width))
    blocks = (torch.bmm(x.transpose(1, 2), part) for part in g.split(step, dim=2))
    return torch.stack([block.square().sum((1, 2)) for block in blocks]).sum(0)


def fresh_factor(address: Address, width: int, rank: int, seed: int) -> torch.Tensor:
    """A LoRA factor A `[rank, width]` as PEFT starts it (uniform), decided by seed and address."""
    digest = hashlib.sha256(f"lora {seed} {address}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return (torch.rand(rank, width, generator=generator) * 2 - 1) / width**0.5


def _exact(
    model: Any,
    modules: ModuleMap,
    addresses: Sequence[Address],
    proxy: Proxy,
    encoded: Encoded,
    change: Change | None,
    scale: float,
) -> dict[Address, torch.Tensor]:
    """Norms, or inner products, by autograd, one prompt at a time; a gradient is dropped once measured.

    Raises:
        UsageError: a weight is quantised or offloaded, so that it has no gradient.
    """
    check_differentiable(modules, addresses)
    found = {address: torch.full((len(encoded.texts), 3), torch.nan) for address in addresses}
    found = {address: values.double() for address, values in found.items()}
    weights = {address: modules.weight(address)[1] for address in addresses}
    for row in range(len(encoded.texts) if addresses else 0):
        one = _single(encoded, row)
        with ExitStack() as hooks:
            for address, weight in weights.items():
                found[address][row, 0] = 0.0
                moved = None if change is None else partial(change, address)
                hooks.enter_context(_measured(weight, found[address][row], moved))
            _backward(model, proxy, one, scale)
    return found


@contextmanager
def _measured(
    weight: nn.Parameter, into: torch.Tensor, change: Callable[[], torch.Tensor] | None
) -> Iterator[None]:
    def measure(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad
        gradient = gradient if gradient.dtype == torch.float64 else gradient.float()
        into[0] = float(gradient.norm() if change is None else (gradient * change().to(gradient)).sum())
        parameter.grad = None

    weight.requires_grad_(True)
    handle = weight.register_post_accumulate_grad_hook(measure)
    try:
        yield
    finally:
        handle.remove()
        weight.requires_grad_(False)


def _single(encoded: Encoded, row: int) -> Encoded:
    """One prompt of a batch, without its padding."""
    rows = slice(row * encoded.rows_per_prompt, (row + 1) * encoded.rows_per_prompt)
    seen = encoded.inputs["attention_mask"][rows].any(0)
    return Encoded(
        (encoded.texts[row],), {key: value[rows][:, seen] for key, value in encoded.inputs.items()}
    )
