"""Parts of fused projections: exact norms, and rows that really are queries, keys, values, gate or up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from analysis_tools import TEXTS, DirectProxy, ids_of, probe_for
from torch import nn

from securetune.addressing import Address
from securetune.analysis.closed_form import gradient_norms
from securetune.analysis.fused import fused_parts
from securetune.analysis.patterns import is_query_key, query_key_pattern
from securetune.analysis.perturb import Perturbation
from securetune.analysis.proxies import ProbeLogit
from securetune.analysis.sensitivity import MapTask, SensitivityMap, map_sensitivity
from securetune.models.module_map import ModuleMap
from tiny import FAMILIES, LAYERS

FUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3": ("phi3", {}),
    "gpt2": ("gpt2", {}),
    "gpt_neox": ("gpt_neox", {}),
    "bloom": ("bloom", {}),
    "falcon, one key head": ("falcon", {}),
    "falcon, a key head each": ("falcon", {"multi_query": False}),
    "falcon, two key heads": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
}
KINDS = ("q", "k", "v")


def fused(name: str) -> tuple[Any, ModuleMap, dict[Address, dict[Address, torch.Tensor]]]:
    family, changes = FUSED[name]
    model = FAMILIES[family](**changes).double()
    modules = ModuleMap.of(model)
    linear = ((address, modules.module(address)) for address in modules.matrices())
    parts = {a: p for a, m in linear if isinstance(m, nn.Module) and (p := fused_parts(model.config, a, m))}
    return model, modules, parts


def last(address: Address) -> str:
    return address.path.rpartition(".")[2]


@pytest.mark.parametrize("name", FUSED)
def test_norms_of_the_parts_are_those_of_autograd(name: str) -> None:
    model, modules, parts = fused(name)
    assert len(parts) == LAYERS * (2 if name == "phi3" else 1)
    proxy, encoded = DirectProxy(32), ids_of(model, lengths=(9, 9))
    found = gradient_norms(model, modules, list(parts), proxy, encoded)
    weights = [modules.weight(address)[1] for address in parts]
    assert [part for rows in parts.values() for part in rows] == list(found.parts)
    for line, score in enumerate(proxy.score(proxy.read(model, encoded), encoded)):
        gradients = torch.autograd.grad(score, weights, retain_graph=True)
        for column, (of, gradient) in enumerate(zip(parts.values(), gradients)):
            gradient = gradient.T if name == "gpt2" else gradient  # Conv1D
            expected = [float(gradient[rows].norm()) for rows in of.values()]
            measured = [found.parts[part][line] for part in of]
            np.testing.assert_allclose(measured, expected, rtol=1e-6, atol=1e-12)
            assert sum(value**2 for value in measured) == pytest.approx(
                found.weights[line, column] ** 2, rel=1e-9
            )


@pytest.mark.parametrize("name", FUSED)
def test_with_one_token_only_values_matter(name: str) -> None:
    model, modules, parts = fused(name)
    found = gradient_norms(model, modules, list(parts), DirectProxy(32), ids_of(model, lengths=(1,))).parts
    for part, norm in found.items():
        assert bool(norm[0] > 1e-9) is (last(part) in ("v", "gate", "up")), f"{part}: {norm[0]}"


@pytest.mark.parametrize("name", FUSED)
def test_in_the_last_block_only_the_last_query_matters_and_every_key(name: str) -> None:
    model, modules, parts = fused(name)
    address = next(a for a, of in parts.items() if a.layer == LAYERS - 1 and last(next(iter(of))) in KINDS)
    gradients: list[torch.Tensor] = []

    def keep(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
        output.register_hook(gradients.append)

    handle = modules.module(address).register_forward_hook(keep)  # type: ignore[union-attr]
    DirectProxy(32).read(model, ids_of(model, lengths=(6,))).sum().backward()
    handle.remove()
    earlier = gradients[0].reshape(6, -1)[:-1]
    q, k, v = (earlier[:, rows].abs().amax(1) for rows in parts[address].values())
    assert (q == 0).all() and (k > 1e-12).all() and (v > 1e-12).all()


def test_the_output_is_linear_in_up_and_not_in_gate() -> None:
    model, modules, parts = fused("phi3")
    address = next(a for a in parts if last(a) == "gate_up_proj")
    mlp, weight = model.model.layers[address.layer].mlp, modules.weight(address)[1]
    x = torch.randn(2, 3, 32, dtype=torch.float64)
    before = mlp(x)
    doubled = {}
    for part, rows in parts[address].items():
        with torch.no_grad():
            weight[rows] *= 2
            doubled[last(part)] = mlp(x)
            weight[rows] /= 2
    torch.testing.assert_close(doubled["up"], 2 * before)
    assert not torch.allclose(doubled["gate"], 2 * before)


def test_the_map_holds_the_parts_and_the_patterns_use_them(tokenizer: Any, tmp_path: Any) -> None:
    model = FAMILIES["phi3"](len(tokenizer))
    modules = ModuleMap.of(model)
    proxy = ProbeLogit(probe_for(model, 32))
    found = map_sensitivity(MapTask(model, tokenizer, modules, proxy, tuple(TEXTS), Perturbation()))
    found.save(tmp_path / "map.json")
    found = SensitivityMap.load(tmp_path / "map.json")
    assert found.part_drift is not None
    drift = dict(zip(found.addresses, found.drift))
    for address in modules.select("qkv_proj"):
        squares = [
            d**2 for part, d in zip(found.parts, found.part_drift) if str(part).startswith(str(address))
        ]
        assert len(squares) == 3 and sum(squares) == pytest.approx(drift[address] ** 2, rel=1e-4)
    addresses, drifts = found.by_type()
    assert len(addresses) == len(drifts) == len(found.addresses) + LAYERS * (2 + 1)
    assert sum(map(is_query_key, addresses)) == 2 * LAYERS
    assert query_key_pattern(found, permutations=50).effect is not None
