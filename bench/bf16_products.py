"""bfloat16 training on a CPU without bfloat16 units, at the speed of float32.

There torch multiplies bfloat16 matrices thirteen times slower than float32 ones. Units for bfloat16 multiply
exactly, add up in float32 and round the sum once; so does this, by float32 products. What differs is the
order of the additions: of 10,000 entries of a product one rounds the other way. The gradients of attention
come from torch's float32 kernel: rounded once, they are 0.17% off the exact ones, torch's own 0.33%.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch

_KERNELS: list[torch.library.Library] = []
_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu_backward"


def use_float32_products() -> bool:
    """Replace torch's bfloat16 products on a CPU without units for them; returns whether it did."""
    if _KERNELS or torch.cuda.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX2":
        return bool(_KERNELS)
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That a kernel is replaced, which is the purpose.
        for name, product in (("mm", _mm), ("bmm", _bmm), ("addmm", _addmm)):
            library.impl(name, product, "CPU")
        library.impl(
            _ATTENTION, partial(_attention, torch.library.get_kernel(f"aten::{_ATTENTION}", "CPU")), "CPU"
        )
    _KERNELS.append(library)
    return True


def _mm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    out = _empty(a, (a.shape[0], b.shape[1]))
    return torch.mm(_wide(a), _wide(b), out=out).to(a.dtype)


def _bmm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    out = _empty(a, (a.shape[0], a.shape[1], b.shape[2]))
    return torch.bmm(_wide(a), _wide(b), out=out).to(a.dtype)


def _addmm(
    c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1
) -> torch.Tensor:
    out = _empty(a, (a.shape[0], b.shape[1]))
    return torch.addmm(_wide(c), _wide(a), _wide(b), beta=beta, alpha=alpha, out=out).to(a.dtype)


def _attention(
    kernel: Any, *given: Any, attn_mask: torch.Tensor | None = None, scale: float | None = None
) -> tuple[torch.Tensor, ...]:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
    tensors = [_wide(a) if isinstance(a, torch.Tensor) else a for a in given]
    mask = None if attn_mask is None else _wide(attn_mask)
    gradients = kernel.call_boxed(keys, *tensors, attn_mask=mask, scale=scale)
    return tuple(gradient.to(given[1].dtype) for gradient in gradients)


def _wide(a: torch.Tensor) -> torch.Tensor:
    return a.float() if a.dtype == torch.bfloat16 else a


def _empty(a: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=_wide(a.new_empty(0)).dtype, device=a.device)
