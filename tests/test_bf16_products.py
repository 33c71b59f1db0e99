"""The benches' bfloat16 products in float32: rounded once, as exact as torch's own, nothing else touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
# Kernels are replaced for a whole process, so each case has one of its own.
PROGRAM = """
import json, sys
import torch
from torch.nn.functional import linear, scaled_dot_product_attention
torch.backends.cpu.get_cpu_capability = lambda: sys.argv[1]
torch.cuda.is_available = lambda: False
from bf16_products import use_float32_products

def attention(dtype):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 50, 16).bfloat16().to(dtype).requires_grad_() for _ in range(3))
    mask = torch.zeros(2, 1, 50, 50, dtype=dtype)
    mask[..., 40:] = -1e9
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out.backward(torch.linspace(-1, 1, out.numel()).view(out.shape).bfloat16().to(dtype))
    return [x.grad.double() for x in (q, k, v)]

def off(found, exact):
    return [float((x - y).norm() / y.norm()) for x, y in zip(found, exact)]

torch.manual_seed(1)
a, b, c = torch.randn(64, 576).bfloat16(), torch.randn(576, 30).bfloat16(), torch.randn(30).bfloat16()
wide = a.float() @ b.float()
products = [wide, wide + c.float(), wide.view(4, 16, 30), wide + c.float()]
exact, own = attention(torch.float64), attention(torch.bfloat16)
plain = attention(torch.float32)
used = use_float32_products()
found = [a @ b, torch.addmm(c, a, b), torch.bmm(a.view(4, 16, 576), b.expand(4, -1, -1)), linear(a, b.T, c)]
print(json.dumps({
    "used": used,
    "dtypes": [str(x.dtype) for x in found],
    "equal": min(float((x == y.bfloat16()).float().mean()) for x, y in zip(found, products)),
    "off": max(off(attention(torch.bfloat16), exact)),
    "own_off": max(off(own, exact)),
    "float32": torch.equal(a.float() @ b.float(), wide)
    and all(torch.equal(x, y) for x, y in zip(attention(torch.float32), plain)),
}))
"""


def measured(units: str) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(BENCH)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, units], env=environment, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_products_are_float32_ones_rounded_once() -> None:
    found = measured("AVX2")
    assert found["used"] and set(found["dtypes"]) == {"torch.bfloat16"}
    assert found["equal"] == pytest.approx(1, abs=1e-3)
    assert found["off"] <= found["own_off"] and found["off"] < 0.003
    assert found["float32"], "float32 is as it was"


def test_nothing_is_replaced_where_the_cpu_has_units() -> None:
    assert not measured("AVX512")["used"]
