"""Quantised weights that stay differentiable."""

from __future__ import annotations

from typing import Any


def keep_unpacked_(model: Any) -> None:
    """Keep bitsandbytes from packing 4-bit weights, and unpack those that are packed.

    On CPUs with AVX512-BF16 it packs them for speed in the first forward pass without gradients. The product
    with packed weights has no backward pass, so what lies below would get no gradient, without an error; and
    packing rounds their scales to bfloat16, so that a model would not be the one that was trained.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if getattr(state, "packing_format_for_cpu", False):
            module.state_dict()  # This unpacks them.
