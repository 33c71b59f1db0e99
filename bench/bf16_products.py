"""bfloat16 training on a CPU without bfloat16 units, at the speed of float32.

There torch multiplies bfloat16 matrices thirteen times slower than float32 ones. Units for bfloat16 multiply
exactly, add up in float32 and round the sum once; so does this, by float32 products. What differs is the
order of the additions: of 10,000 entries of a product one rounds the other way.
"""

from __future__ import annotations

import warnings

import torch

_KERNELS: list[torch.library.Library] = []


def use_float32_products() -> bool:
    """Replace torch's bfloat16 products on a CPU without units for them; returns whether it did."""
    if _KERNELS or torch.cuda.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX2":
        return bool(_KERNELS)
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That a kernel is replaced, which is the purpose.
        for name, product in (("mm", _mm), ("bmm", _bmm), ("addmm", _addmm)):
            library.impl(name, product, "CPU")
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


def _wide(a: torch.Tensor) -> torch.Tensor:
    return a.float() if a.dtype == torch.bfloat16 else a


def _empty(a: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=_wide(a.new_empty(0)).dtype, device=a.device)
