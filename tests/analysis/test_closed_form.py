"""The closed form is exact: laws against autograd, over families, layouts and ways to store weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.distributed as dist
from accelerate import cpu_offload
from analysis_tools import TEXTS, DirectProxy, autograd_norms, ids_of, probe_for
from peft import LoraConfig, get_peft_model
from torch import nn
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.flop_counter import FlopCounterMode

from securetune.addressing import Address
from securetune.analysis import closed_form
from securetune.analysis.closed_form import fresh_factor, gradient_norms, squared_norms
from securetune.analysis.fused import whole as whole_of
from securetune.analysis.perturb import Perturbation, change_of
from securetune.analysis.proxies import GenericDrift, ProbeLogit, Proxy, RefusalDirection, RefusalMargin
from securetune.analysis.sensitivity import MapTask, map_sensitivity
from securetune.analysis.weights import check_whole, deviation
from securetune.errors import SecureTuneError, UsageError
from securetune.models.hidden_states import encode_prompts
from securetune.models.module_map import ModuleMap
from tiny import FAMILIES, FUSED_EXPERTS, tiny_llama


def parts_by_whole(parts: dict[Address, np.ndarray]) -> dict[Address, list[np.ndarray]]:
    found: dict[Address, list[np.ndarray]] = {}
    for part, values in parts.items():
        found.setdefault(whole_of(part), []).append(values)
    return found


def double(family: str) -> Any:
    return FAMILIES[family](experts_implementation="eager").double()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_norms_equal_those_of_autograd_in_every_family(family: str) -> None:
    model = double(family)
    modules = ModuleMap.of(model)
    addresses = modules.matrices()
    # Without padding: some families' attention makes NaN of a padded row in float64, of whatever it pads.
    proxy, encoded = DirectProxy(32), ids_of(model, lengths=(9, 9, 9))
    found = gradient_norms(model, modules, addresses, proxy, encoded)
    expected = autograd_norms(model, modules, addresses, proxy, encoded)
    assert (expected > 0).mean() > 0.7, "most matrices must matter"
    np.testing.assert_allclose(found.weights, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_products_with_a_change_equal_those_of_autograd_in_every_family(family: str) -> None:
    model = double(family)
    modules = ModuleMap.of(model)
    addresses = modules.matrices()
    proxy, encoded = DirectProxy(32), ids_of(model, lengths=(9, 9, 9))
    change = partial(change_of, modules, Perturbation("low-rank"), seed=0)
    found = gradient_norms(model, modules, addresses, proxy, encoded, change=change)
    expected = autograd_norms(model, modules, addresses, proxy, encoded, change)
    assert (expected < 0).any() and (expected > 0).any() and (expected != 0).mean() > 0.7
    np.testing.assert_allclose(found.weights, expected, rtol=1e-6, atol=1e-12)
    for whole, parts in parts_by_whole(found.parts).items():
        column = found.weights[:, addresses.index(whole)]
        np.testing.assert_allclose(np.sum(parts, 0), column, rtol=1e-9, atol=1e-12)


PROXIES: dict[str, Callable[[Any, int], Proxy]] = {
    "probe": lambda _, width: DirectProxy(width),
    "margin": lambda *_: RefusalMargin(((5, 6, 7), (8,))),
    "generic": lambda *_: GenericDrift(),
    "direction": lambda modules, width: RefusalDirection(
        modules.blocks()[-1], torch.nn.functional.normalize(torch.arange(1.0, width + 1), dim=0)
    ),
}


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_norms_equal_those_of_autograd_for_every_proxy(family: str, name: str, tokenizer: Any) -> None:
    model = FAMILIES[family](vocab_size=len(tokenizer)).double()
    modules = ModuleMap.of(model)
    proxy = PROXIES[name](modules, 32)
    encoded = encode_prompts(model, tokenizer, TEXTS[:3], proxy.endings)
    found = gradient_norms(model, modules, modules.matrices(), proxy, encoded)
    expected = autograd_norms(model, modules, modules.matrices(), proxy, encoded)
    assert (expected > 0).mean() > 0.9, "most matrices must matter"
    np.testing.assert_allclose(found.weights, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 30, 8, 8), (4, 3, 40, 40), (1, 9, 70, 3)])
def test_both_ways_give_the_norm_of_the_product(shape: tuple[int, ...], monkeypatch: Any) -> None:
    prompts, tokens, width, height = shape
    x = torch.randn(prompts, tokens, width, dtype=torch.float64)
    g = torch.randn(prompts, tokens, height, dtype=torch.float64)
    expected = torch.einsum("pto,pti->poi", g, x).square().sum((1, 2))
    monkeypatch.setattr(closed_form, "_BLOCK", 64)
    torch.testing.assert_close(squared_norms(x, g), expected)


def test_lora_norms_are_those_of_the_gradient_in_b_at_zero(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer).double()
    modules = ModuleMap.of(model)
    address = modules.select("1.v_proj")[0]
    proxy = ProbeLogit(probe_for(model, 64))
    encoded = encode_prompts(model, tokenizer, TEXTS[:2])
    found = gradient_norms(model, modules, [address], proxy, encoded, lora_rank=4, seed=3)
    module = modules.module(address)
    assert isinstance(module, nn.Linear)
    a = fresh_factor(address, module.in_features, 4, 3).double()
    b = torch.zeros(module.out_features, 4, dtype=torch.float64, requires_grad=True)
    handle = module.register_forward_hook(lambda _m, inputs, output: output + inputs[0] @ a.T @ b.T)
    for row in range(2):
        one = closed_form._single(encoded, row)
        (gradient,) = torch.autograd.grad(proxy.read(model, one).sum(), b)
        assert found.lora_l2[row, 0] == pytest.approx(float(gradient.norm()), rel=1e-5)
        assert found.lora_l1[row, 0] == pytest.approx(float(gradient.abs().sum()), rel=1e-5)
    handle.remove()


@pytest.mark.parametrize("family", FUSED_EXPERTS)
def test_lora_norms_of_bare_parameters_are_unknown_not_zero(family: str) -> None:
    model = double(family)
    modules = ModuleMap.of(model)
    experts = [address for address in modules.matrices() if modules.weight(address)[1].ndim == 3]
    found = gradient_norms(model, modules, experts, DirectProxy(32), ids_of(model, (5, 4)))
    assert np.isnan(found.lora_l1).all() and np.isfinite(found.weights).all()


def test_no_weight_gradient_is_made_and_nothing_is_left_behind(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer)
    model.model.layers[0].requires_grad_(False)
    model.train()
    before = [(n, p.requires_grad, p.detach().clone()) for n, p in model.named_parameters()]
    modules = ModuleMap.of(model)
    proxy = ProbeLogit(probe_for(model, 64))
    gradient_norms(model, modules, modules.matrices(), proxy, encode_prompts(model, tokenizer, TEXTS[:2]))
    for (name, required, value), parameter in zip(before, model.parameters()):
        assert parameter.requires_grad is required, name
        assert torch.equal(value, parameter) and parameter.grad is None
    assert model.training
    assert not any(m._forward_hooks or "forward" in vars(m) for m in model.modules())


def test_offloaded_weights_give_the_same_norms_one_block_at_a_time(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer)
    modules = ModuleMap.of(model)
    proxy = ProbeLogit(probe_for(model, 64))
    encoded = encode_prompts(model, tokenizer, TEXTS[:3])
    addresses = modules.matrices()
    expected = gradient_norms(model, modules, addresses, proxy, encoded)
    zero = partial(change_of, modules, Perturbation("zero"), seed=0)
    products = gradient_norms(model, modules, addresses, proxy, encoded, change=zero).weights
    deviations = [deviation(modules, address) for address in addresses]
    cpu_offload(model, execution_device=torch.device("cpu"))
    modules = ModuleMap.of(model)
    assert modules.weight(addresses[0])[1].is_meta, "the positive control: the weights are elsewhere"
    found = gradient_norms(model, modules, addresses, proxy, encode_prompts(model, tokenizer, TEXTS[:3]))
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-5)
    np.testing.assert_allclose(found.lora_l1, expected.lora_l1, rtol=1e-4)
    assert [deviation(modules, address) for address in addresses] == deviations
    zero = partial(change_of, modules, Perturbation("zero"), seed=0)
    again = gradient_norms(model, modules, addresses, proxy, encoded, change=zero).weights
    np.testing.assert_allclose(again, products, rtol=1e-3, atol=1e-4 * np.abs(products).max())


def test_bfloat16_agrees_with_float32(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer)
    proxy = ProbeLogit(probe_for(model, 64))
    encoded = encode_prompts(model, tokenizer, TEXTS[:3])

    def measured() -> np.ndarray:
        modules = ModuleMap.of(model)
        return gradient_norms(model, modules, modules.matrices(), proxy, encoded).weights

    exact = measured()
    model.to(torch.bfloat16)
    ratio = measured() / exact
    assert abs(float(np.median(ratio)) - 1) < 0.02 and float(np.abs(np.log(ratio)).mean()) < 0.1


def test_quantised_experts_and_sharded_models_are_refused(tokenizer: Any) -> None:
    model = FAMILIES["qwen3_moe"]()
    modules = ModuleMap.of(model)
    expert = next(a for a in modules.matrices() if modules.weight(a)[1].ndim == 3)
    weight = modules.weight(expert)[1]
    weight.requires_grad_(False)
    weight.data = weight.data.to(torch.int8)
    with pytest.raises(UsageError, match="quantised or offloaded experts"):
        gradient_norms(model, modules, [expert], DirectProxy(32), ids_of(model, (4,)))
    check_whole(model)
    weight.ds_id = 3  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="ZeRO-3"):
        check_whole(model)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_padded_prompts_have_the_norms_they_have_alone(family: str) -> None:
    model = FAMILIES[family]()
    modules = ModuleMap.of(model)
    proxy, encoded = DirectProxy(32), ids_of(model, lengths=(9, 6, 4))
    together = gradient_norms(model, modules, modules.matrices(), proxy, encoded)
    for row in range(3):
        one = closed_form._single(encoded, row)
        alone = gradient_norms(model, modules, modules.matrices(), proxy, one)
        np.testing.assert_allclose(together.weights[row], alone.weights[0], rtol=2e-3, atol=1e-5)


def test_padding_does_not_matter(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer)
    modules = ModuleMap.of(model)
    proxy = ProbeLogit(probe_for(model, 64))
    texts = ["hi", "a much longer prompt than the first one, with many more tokens in it"]
    together = gradient_norms(
        model, modules, modules.matrices(), proxy, encode_prompts(model, tokenizer, texts)
    )
    for row, text in enumerate(texts):
        alone = gradient_norms(
            model, modules, modules.matrices(), proxy, encode_prompts(model, tokenizer, [text])
        )
        np.testing.assert_allclose(together.weights[row], alone.weights[0], rtol=1e-3)


def test_it_costs_no_more_operations_than_a_training_pass(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer)
    modules = ModuleMap.of(model)
    proxy = ProbeLogit(probe_for(model, 64))
    encoded = encode_prompts(model, tokenizer, TEXTS)
    with FlopCounterMode(display=False) as training:
        proxy.read(model, encoded).sum().backward()
    model.zero_grad()
    with FlopCounterMode(display=False) as closed:
        gradient_norms(model, modules, modules.matrices(), proxy, encoded)
    # Beyond the pass, only the products with the LoRA factors, of rank 8 against a width of 64.
    assert 0 < closed.get_total_flops() < 1.3 * training.get_total_flops()


def test_a_distributed_tensor_is_refused(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer)
    store = HashStore()
    dist.init_process_group("gloo", rank=0, world_size=1, store=store)
    try:
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(UsageError, match=r"split over processes by .*FSDP2"):
            check_whole(model)
    finally:
        dist.destroy_process_group()


def test_float16_gradients_that_would_vanish_are_measured(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer)
    probe = probe_for(model, 64)
    # A probe in small units: its gradients are below what float16 can hold.
    small = replace(probe, classifier=replace(probe.classifier, weight=probe.classifier.weight * 1e-7))
    encoded = encode_prompts(model, tokenizer, TEXTS[:3])

    def measured() -> closed_form.GradientNorms:
        modules = ModuleMap.of(model)
        return gradient_norms(model, modules, modules.matrices(), ProbeLogit(small), encoded)

    exact = measured()
    model.to(torch.float16)
    found = measured()
    for half, full in ((found.weights, exact.weights), (found.lora_l1, exact.lora_l1)):
        assert abs(float(np.median(half / full)) - 1) < 0.05
        assert float(np.abs(np.log(half / full)).max()) < 0.5


def test_float16_gradients_that_overflow_are_measured_on_a_smaller_scale(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer)
    probe = probe_for(model, 64)
    large = replace(probe, classifier=replace(probe.classifier, weight=probe.classifier.weight * 300))
    encoded = encode_prompts(model, tokenizer, TEXTS[:3])

    def measured() -> np.ndarray:
        modules = ModuleMap.of(model)
        return gradient_norms(model, modules, modules.matrices(), ProbeLogit(large), encoded).weights

    exact = measured()
    model.to(torch.float16)
    ratio = measured() / exact
    assert abs(float(np.median(ratio)) - 1) < 0.05


@pytest.mark.parametrize("family", ["llama", FUSED_EXPERTS[0]])
def test_norms_that_are_not_finite_are_refused_by_address(family: str) -> None:
    model = FAMILIES[family]()
    modules = ModuleMap.of(model)
    with torch.no_grad():
        modules.weight(modules.select("2.self_attn.o_proj")[0])[1][0, 0] = torch.inf
    addresses = [address for address in modules.matrices() if address.layer == 1]
    others = len(addresses) - 4
    message = rf"gradient of the proxy at {addresses[0]}, .* and {others} others is not a finite.*bfloat16"
    with pytest.raises(SecureTuneError, match=message):
        gradient_norms(model, modules, addresses, DirectProxy(32), ids_of(model, (5, 5)))


def test_the_lora_columns_of_a_map_are_those_of_the_adapter_that_peft_makes(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer)
    modules = ModuleMap.of(model)
    address = modules.select("1.v_proj")[0]
    proxy = ProbeLogit(probe_for(model, 64))
    task = MapTask(
        model, tokenizer, modules, proxy, tuple(TEXTS[:3]),
        addresses=(address,), lora_rank=4, lora_scaling=3.0,
    )  # fmt: skip
    found = map_sensitivity(task)
    config = LoraConfig(r=4, lora_alpha=12, target_modules=["layers.1.self_attn.v_proj"])
    adapted = get_peft_model(model, config)
    layer = adapted.base_model.model.model.layers[1].self_attn.v_proj
    layer.lora_A["default"].weight.data.copy_(fresh_factor(address, 64, 4, 0))
    norms = []
    for text in TEXTS[:3]:
        score = proxy.read(adapted, encode_prompts(adapted, tokenizer, [text])).sum() / proxy.gap
        (gradient,) = torch.autograd.grad(score, layer.lora_B["default"].weight)
        norms.append([float(gradient.norm()), float(gradient.abs().sum())])
    l2, l1 = np.array(norms).T
    assert found.lora_l2 is not None and found.lora_l1 is not None
    assert float(found.lora_l2[0]) == pytest.approx(float(np.sqrt((l2**2).mean())), rel=1e-4)
    assert float(found.lora_l1[0]) == pytest.approx(float(l1.mean()), rel=1e-4)


def test_offloaded_blocks_keep_no_inputs_of_their_layers(tokenizer: Any) -> None:
    inputs: list[StorageWeakRef] = []
    alive: list[int] = []

    class Counting(ProbeLogit):
        def score(self, reading: torch.Tensor, encoded: Any) -> torch.Tensor:
            alive.append(sum(not reference.expired() for reference in inputs))
            return reading

    model = tiny_llama(tokenizer)
    encoded = encode_prompts(model, tokenizer, TEXTS[:2])
    for offloaded in (False, True):
        if offloaded:
            cpu_offload(model, execution_device=torch.device("cpu"))
        modules = ModuleMap.of(model)
        handles = [
            cast(nn.Module, modules.module(address)).register_forward_hook(
                lambda _m, arguments, _o: inputs.append(StorageWeakRef(arguments[0].untyped_storage()))
            )
            for address in modules.matrices()
        ]
        gradient_norms(model, modules, modules.matrices(), Counting(DirectProxy(64).probe), encoded)
        for handle in handles:
            handle.remove()
        if not offloaded:
            assert alive == [len(inputs)], "the positive control: a backward pass needs all of them"
        inputs.clear()
    assert alive[1] == 0
