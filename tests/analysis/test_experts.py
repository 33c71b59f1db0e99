"""Experts listed one by one: each sees some of the tokens, in the router's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from analysis_tools import TEXTS, DirectProxy, autograd_norms, ids_of
from torch import nn
from transformers import Mxfp4Config

from securetune.analysis.agreement import check_map
from securetune.analysis.closed_form import gradient_norms
from securetune.analysis.perturb import Perturbation
from securetune.analysis.sensitivity import MapTask, map_sensitivity
from securetune.analysis.weights import check_whole, is_expert
from securetune.errors import UsageError
from securetune.models.module_map import ModuleMap
from tiny import FAMILIES, FUSED_EXPERTS


class ListedExperts(nn.Module):
    """A mixture whose experts are modules of a list, as in transformers 4; one expert takes each token."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, count, bias=False)
        self.experts = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        share, chosen = self.gate(flat).softmax(-1).max(-1)
        out = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            # The last token first: an expert may take its tokens in any order.
            tokens = (chosen == index).nonzero()[:, 0].flip(0)
            out = out.index_add(0, tokens, expert(flat[tokens]) * share[tokens, None])
        return out.reshape(x.shape)


def a_mixture(count: int = 3, vocab_size: int = 128) -> Any:
    model = FAMILIES["llama"](vocab_size=vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in model.model.layers:
            layer.mlp = ListedExperts(32, count)
    return model.eval()


# One expert takes every token, so that only their order tells it from a layer that is not one.
@pytest.mark.parametrize("count", [3, 1])
def test_the_norms_of_listed_experts_equal_those_of_autograd(count: int) -> None:
    model = a_mixture(count).double()
    modules = ModuleMap.of(model)
    proxy, encoded = DirectProxy(32), ids_of(model, lengths=(9, 9, 9))
    found = gradient_norms(model, modules, modules.matrices(), proxy, encoded)
    expected = autograd_norms(model, modules, modules.matrices(), proxy, encoded)
    np.testing.assert_allclose(found.weights, expected, rtol=1e-6, atol=1e-12)


def test_listed_experts_are_recognised_and_shared_ones_are_not() -> None:
    modules = ModuleMap.of(a_mixture())
    experts = [str(address) for address in modules.matrices() if is_expert(modules, address)]
    assert len(experts) == 9 and "1.mlp.experts.2" in experts
    modules = ModuleMap.of(FAMILIES["deepseek_v3"]())
    named = {address.path for address in modules.matrices() if is_expert(modules, address)}
    assert named and not any("shared" in path or "attn" in path for path in named)


def test_a_quantised_expert_is_refused_by_name() -> None:
    model = a_mixture()
    weight = model.model.layers[1].mlp.experts[2].weight
    weight.requires_grad_(False)
    weight.data = weight.data.to(torch.int8)
    modules = ModuleMap.of(model)
    with pytest.raises(UsageError, match=r"^1\.mlp\.experts\.2: quantised or offloaded.*bfloat16"):
        gradient_norms(model, modules, modules.matrices(), DirectProxy(32), ids_of(model, (9, 9)))


def test_offloaded_experts_are_refused_and_not_measured_as_zero() -> None:
    model = a_mixture()
    cpu_offload(model, execution_device=torch.device("cpu"))
    modules = ModuleMap.of(model)
    with pytest.raises(UsageError, match=r"0\.mlp\.experts\.0, .*and others: quantised or offloaded"):
        gradient_norms(model, modules, modules.matrices(), DirectProxy(32), ids_of(model, (9, 9)))


def test_an_offloaded_layer_that_sees_some_tokens_is_refused_whatever_it_is_called() -> None:
    model = a_mixture()
    for layer in model.model.layers:
        layer.mlp.specialists = layer.mlp.experts
        del layer.mlp.experts
        layer.mlp.forward = lambda x, mlp=layer.mlp: sum(
            each(x.reshape(-1, 32)[1:]).sum(0) for each in mlp.specialists
        )
    cpu_offload(model, execution_device=torch.device("cpu"))
    modules = ModuleMap.of(model)
    wanted = [address for address in modules.matrices() if "specialists" in address.path]
    assert not any(is_expert(modules, address) for address in wanted)
    with pytest.raises(UsageError, match=r"0\.mlp\.specialists\.0, "):
        gradient_norms(model, modules, wanted, DirectProxy(32), ids_of(model, (9, 9)))


@pytest.mark.parametrize("stacked", [True, False])
def test_experts_are_sampled_even_if_no_other_address_is(stacked: bool, tokenizer: Any) -> None:
    size = len(tokenizer)
    model = FAMILIES[FUSED_EXPERTS[0]](vocab_size=size) if stacked else a_mixture(3, size)
    noise = Perturbation("gaussian", 0.01)
    task = MapTask(model, tokenizer, ModuleMap.of(model), DirectProxy(32), tuple(TEXTS[:2]), noise)
    found = map_sensitivity(task)
    agreement = check_map(task, found, addresses=0, prompts=2, draws=2, bound=2.0)
    assert agreement.experts == agreement.addresses and len(agreement.experts) == 4
    assert sum(line.startswith("  expert") for line in agreement.describe()) == 4


@pytest.mark.parametrize("as_dictionary", [True, False])
def test_a_format_that_keeps_weights_outside_the_parameters_is_refused(as_dictionary: bool) -> None:
    model = FAMILIES["gpt_oss"]()
    config = Mxfp4Config()
    model.config.quantization_config = config.to_dict() if as_dictionary else config
    with pytest.raises(UsageError, match=r"quantised as mxfp4\..*dequantize=True"):
        check_whole(model)
    model.config.quantization_config = Mxfp4Config(dequantize=True)
    check_whole(model)
