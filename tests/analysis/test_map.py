"""Laws of the sensitivity map, of perturbation, of sampling and of the proxies, on tiny real models."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from analysis_tools import TEXTS, DirectProxy, ids_of, probe_for
from peft import LoraConfig, PeftModel, get_peft_model
from torch.multiprocessing.reductions import StorageWeakRef

from securetune.addressing import Address
from securetune.analysis.agreement import check_map, compare
from securetune.analysis.classifiers import cross_validated
from securetune.analysis.perturb import KINDS, Perturbation, equal_reference, perturbed
from securetune.analysis.probe import Probe, fit_probe, transfer
from securetune.analysis.proxies import GenericDrift, ProbeLogit, fit_proxy, readings
from securetune.analysis.rows import Part, Rows
from securetune.analysis.sampling import LayerCache, Sampler, root_mean_square
from securetune.analysis.sensitivity import MapTask, SensitivityMap, map_sensitivity
from securetune.analysis.updates import adapter_updates
from securetune.errors import DataError, SecureTuneError, StaleArtifactError
from securetune.models import hidden_states
from securetune.models.hidden_states import in_micro_batches, last_token_states
from securetune.models.module_map import ModuleMap
from securetune.prompt_files import PackagePrompts
from securetune.prompts import Prompt, PromptSet
from tiny import FAMILIES, FUSED_EXPERTS, tiny_llama

NOISE = Perturbation("gaussian", 0.1)
SMALL = Perturbation("gaussian", 0.01)


@pytest.fixture
def model(tokenizer: Any) -> Any:
    return tiny_llama(tokenizer).eval()


@pytest.fixture
def task(model: Any, tokenizer: Any) -> MapTask:
    proxy = ProbeLogit(probe_for(model, 64))
    return MapTask(model, tokenizer, ModuleMap.of(model), proxy, tuple(TEXTS), NOISE)


def a_perturbation(kind: str, modules: ModuleMap, size: float = 0.3) -> Perturbation:
    generator = torch.Generator().manual_seed(0)
    shapes = {a: modules.weight(a)[1].shape for a in modules.matrices()}
    updates = {a: torch.randn(shape, generator=generator) * 0.1 for a, shape in shapes.items()}
    return Perturbation(kind, size, reference=equal_reference(modules), updates=updates)


def test_sampled_drift_is_linear_in_small_noise_and_not_in_large_noise(task: MapTask) -> None:
    addresses = task.modules.matrices()[::4]

    def sampled(size: float) -> np.ndarray:
        noise = Perturbation("gaussian", size)
        again = replace(task, method="monte-carlo", perturbation=noise, addresses=addresses, draws=4)
        return map_sensitivity(again).drift

    # The same draws, three times as large.
    np.testing.assert_allclose(sampled(6e-3), 3 * sampled(2e-3), rtol=2e-2)
    assert (np.abs(sampled(9.0) / (3 * sampled(3.0)) - 1) > 0.05).mean() > 0.5, "the positive control"


def test_predicted_drift_is_linear_in_the_noise(task: MapTask) -> None:
    small = map_sensitivity(task).drift
    large = map_sensitivity(replace(task, perturbation=Perturbation("gaussian", 0.3))).drift
    np.testing.assert_allclose(large, 3 * small, rtol=1e-5)


def test_the_gap_is_the_unit(task: MapTask) -> None:
    probe = task.proxy.probe  # type: ignore[attr-defined]
    half = replace(task, proxy=ProbeLogit(replace(probe, gap=probe.gap / 2)))
    np.testing.assert_allclose(map_sensitivity(half).drift, 2 * map_sensitivity(task).drift, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "gaussian-equal", "low-rank"])
def test_sampling_small_noise_converges_to_the_closed_form(kind: str, task: MapTask) -> None:
    small = a_perturbation(kind, task.modules, 0.01)
    found = map_sensitivity(replace(task, perturbation=small))
    address = found.addresses[3]
    sampled = map_sensitivity(
        replace(task, method="monte-carlo", perturbation=small, addresses=(address,), draws=96)
    )
    assert float(sampled.drift[0]) == pytest.approx(float(found.drift[3]), rel=0.25)


def test_the_error_of_sampling_falls_with_the_draws(task: MapTask) -> None:
    addresses = task.modules.matrices()[::3]
    small = replace(task, perturbation=SMALL, addresses=addresses)
    predicted = map_sensitivity(small).drift
    sampled = map_sensitivity(replace(small, method="monte-carlo", draws=64))
    assert sampled.per_draw is not None
    errors = []
    for draws in (4, 16, 64):
        # All groups of so many draws, so that the error itself is not one draw of luck.
        groups = np.sqrt((sampled.per_draw**2).reshape(-1, draws, len(addresses)).mean(1))
        errors.append(float(np.abs(np.log(groups / predicted)).mean()))
    assert errors[0] > 1.5 * errors[1] > 1.5 * 1.2 * errors[2], errors
    assert errors[2] < 0.15, errors


def test_joint_drift_of_several_matrices_adds_up_in_square_for_small_noise(task: MapTask) -> None:
    found = map_sensitivity(replace(task, perturbation=SMALL))
    sampler = Sampler(task.model, task.tokenizer, task.modules, task.proxy, TEXTS)
    sampled = root_mean_square(sampler.joint_drift(found.addresses, SMALL, range(48)))
    assert sampled == pytest.approx(found.predicted_joint(range(len(found.addresses))), rel=0.25)


def test_the_sampled_kl_converges_to_its_closed_form(model: Any, tokenizer: Any) -> None:
    # One token per prompt is drawn, so the prediction itself is noisy: many prompts.
    texts = tuple(f"{text} {i}" for text in TEXTS for i in range(12))
    noise = Perturbation("gaussian", 0.03)
    task = MapTask(model, tokenizer, ModuleMap.of(model), GenericDrift(), texts, noise)
    found = map_sensitivity(task)
    sampler = Sampler(model, tokenizer, task.modules, task.proxy, texts, batch_size=72)
    sampled = root_mean_square(sampler.joint_drift(found.addresses, noise, range(12)))
    assert sampled == pytest.approx(found.predicted_joint(range(len(found.addresses))), rel=0.3)


def test_a_module_that_the_output_does_not_depend_on_scores_zero(model: Any, task: MapTask) -> None:
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.zero_()
    task = replace(task, modules=ModuleMap.of(model))
    for method in ("closed-form", "monte-carlo"):
        found = map_sensitivity(replace(task, method=method, draws=2))
        drift = dict(zip(map(str, found.addresses), found.drift))
        assert drift["1.mlp.up_proj"] == 0
        assert drift["0.mlp.up_proj"] > 0


def test_a_planted_safety_direction_is_found_in_the_right_module(model: Any, tokenizer: Any) -> None:
    layer = model.model.layers[2]
    with torch.no_grad():
        for other in model.model.layers:
            other.self_attn.o_proj.weight.mul_(0.01)
            other.mlp.down_proj.weight.mul_(0.01)
        layer.mlp.down_proj.weight.zero_()
        # Only this matrix writes what the probe reads.
        layer.mlp.down_proj.weight[7] = torch.randn(128, generator=torch.Generator().manual_seed(0))
    probe = probe_for(model, 64)
    weight = torch.zeros(64)
    weight[7] = 1.0
    planted = ProbeLogit(replace(probe, classifier=replace(probe.classifier, weight=weight)))
    found = map_sensitivity(MapTask(model, tokenizer, ModuleMap.of(model), planted, tuple(TEXTS), NOISE))
    assert str(found.addresses[int(found.drift.argmax())]).startswith("2.mlp.")


def test_the_order_of_work_does_not_matter(task: MapTask) -> None:
    forwards = map_sensitivity(task)
    backwards = map_sensitivity(replace(task, texts=task.texts[::-1], batch_size=2))
    np.testing.assert_allclose(backwards.per_prompt[::-1], forwards.per_prompt, rtol=1e-3)


@pytest.mark.parametrize("method", ["closed-form", "monte-carlo"])
def test_shards_merge_to_the_same_map_and_a_missing_one_is_named(
    method: str, task: MapTask, tmp_path: Path
) -> None:
    task = replace(task, method=method, draws=2)
    whole = map_sensitivity(task)
    parts = [Part(index, 3) for index in range(3)]
    for part in parts[:2]:
        task.measure(Rows(tmp_path, "map", part), part.of(task.keys))
    with pytest.raises(StaleArtifactError, match=r"lacks .* rows"):
        task.assemble(Rows(tmp_path))
    # A kill in the middle of a line loses that line only.
    file = tmp_path / "map.1of3.jsonl"
    file.write_text(file.read_text()[:-20])
    for part in parts:
        task.measure(Rows(tmp_path, "map", part), part.of(task.keys))
    merged = task.assemble(Rows(tmp_path))
    np.testing.assert_allclose(merged.per_prompt, whole.per_prompt, rtol=1e-3)


def test_out_of_memory_halves_the_batch_says_so_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    said: list[str] = []
    monkeypatch.setattr(hidden_states.log, "warning", lambda text, *values: said.append(text % values))

    def work(batch: list[int]) -> int:
        if len(batch) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        seen.extend(batch)
        return len(batch)

    list(in_micro_batches(["x"] * 7, 6, work))
    assert sorted(seen) == list(range(7))
    assert [text[-29:] for text in said] == [f"micro-batches have {n} prompts now"[-29:] for n in (3, 2)]
    with pytest.raises(SecureTuneError, match="one prompt at a time"):
        list(in_micro_batches(["x"], 4, lambda batch: work([0, 0, 0])))


def test_a_drift_that_is_not_finite_is_refused_by_address(task: MapTask) -> None:
    sampler = Sampler(task.model, task.tokenizer, task.modules, task.proxy, TEXTS[:2])
    address = task.modules.select("1.mlp.up_proj")[0]
    with pytest.raises(SecureTuneError, match=r"drift under perturbation at 1\.mlp\.up_proj is not a finite"):
        sampler.squared_drift([address], Perturbation("gaussian", 1e39), 0)


def test_a_sampler_that_runs_out_of_memory_goes_on_with_smaller_batches(
    task: MapTask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = Sampler(task.model, task.tokenizer, task.modules, task.proxy, TEXTS)
    address = task.modules.select("1.mlp.up_proj")[0]
    expected = sampler.squared_drift([address], NOISE, 0)
    before = {name: p.detach().clone() for name, p in task.model.named_parameters()}
    read_from = LayerCache.read_from

    def limited(self: LayerCache, layer: int, most: int = 2) -> torch.Tensor:
        if len(self.encoded.texts) > most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return read_from(self, layer)

    monkeypatch.setattr(LayerCache, "read_from", limited)
    found = sampler.squared_drift([address], NOISE, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert "micro-batches have 2 prompts now" in caplog.text
    assert all(torch.equal(p, before[name]) for name, p in task.model.named_parameters())
    monkeypatch.setattr(LayerCache, "read_from", lambda self, layer: limited(self, layer, 0))
    with pytest.raises(SecureTuneError, match="one prompt at a time"):
        sampler.squared_drift([address], NOISE, 0)


def test_states_and_readings_are_taken_in_smaller_batches_when_memory_runs_out(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = ProbeLogit(probe_for(model, 64))
    expected = last_token_states(model, tokenizer, TEXTS), readings(proxy, model, tokenizer, TEXTS)
    forward, sizes = model.model.forward, []

    def limited(*arguments: Any, **keywords: Any) -> Any:
        sizes.append(len(keywords["input_ids"]))
        if sizes[-1] > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return forward(*arguments, **keywords)

    monkeypatch.setattr(model.model, "forward", limited)
    advanced: list[int] = []
    states = last_token_states(model, tokenizer, TEXTS, advance=advanced.append)
    torch.testing.assert_close(states, expected[0], rtol=1e-3, atol=1e-4)
    assert sizes == [6, 3, 2, 2, 2] and sum(advanced) == 6
    torch.testing.assert_close(readings(proxy, model, tokenizer, TEXTS), expected[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["scale", "zero", "update"])
def test_sampling_a_known_change_converges_to_its_closed_form(task: MapTask, kind: str) -> None:
    # `zero` has no size: what is added is -W, whatever is asked for, so a small one is an update by -W.
    generator = torch.Generator().manual_seed(0)
    changes = {}
    for address in task.targets:
        weight = task.modules.weight(address)[1].detach()
        noise = torch.randn(weight.shape, generator=generator) * weight.std()
        changes[address] = noise if kind == "update" else -weight
    gaps = []
    for size in (1e-2, 1e-3):
        small = Perturbation("update", size, updates=changes)
        known = Perturbation("scale", size) if kind == "scale" else small
        closed = map_sensitivity(replace(task, perturbation=known))
        sampled = map_sensitivity(replace(task, perturbation=known, method="monte-carlo", draws=1))
        # Relative to all: along W itself, a normalised projection moves nothing to first order.
        gaps.append(np.linalg.norm(sampled.drift - closed.drift) / np.linalg.norm(closed.drift))
    assert gaps[1] < 0.02 and gaps[1] < 0.5 * gaps[0]
    if kind == "zero":
        whole = map_sensitivity(replace(task, perturbation=Perturbation("zero")))
        np.testing.assert_allclose(whole.per_prompt * 1e-3, closed.per_prompt, rtol=1e-4, atol=1e-12)


def test_known_changes_add_up_with_their_signs(task: MapTask) -> None:
    generator = torch.Generator().manual_seed(0)
    changes = {
        a: torch.randn(task.modules.weight(a)[1].shape, generator=generator) * 1e-4 for a in task.targets
    }
    known = Perturbation("update", 1.0, updates=changes)
    found = map_sensitivity(replace(task, perturbation=known))
    sampler = Sampler(task.model, task.tokenizer, task.modules, task.proxy, task.texts, task.batch_size)
    moved = float(np.sqrt(sampler.squared_drift(list(task.targets), known, 0).mean()))
    every = range(len(task.targets))
    assert found.predicted_joint(every) == pytest.approx(moved, rel=0.02)
    assert (found.per_prompt < 0).any()
    opposite = replace(task, perturbation=Perturbation("update", -1.0, updates=changes))
    np.testing.assert_allclose(map_sensitivity(opposite).per_prompt, -found.per_prompt, rtol=1e-4, atol=1e-9)


def test_split_half_reliability_is_high_for_a_stable_map_and_low_for_noise() -> None:
    rng = np.random.default_rng(0)
    addresses = tuple(Address(layer, "mlp") for layer in range(40))
    stable = np.outer(rng.uniform(0.9, 1.1, 30), np.arange(1, 41))
    assert SensitivityMap(addresses, (1,) * 40, stable, 0.1).split_half() == pytest.approx(1, abs=1e-9)
    noise = rng.exponential(size=(30, 40))
    value = SensitivityMap(addresses, (1,) * 40, noise, 0.1).split_half()
    assert value is not None and abs(value) < 0.4


def test_a_map_survives_saving(task: MapTask, tmp_path: Path) -> None:
    original = map_sensitivity(replace(task, texts=tuple(TEXTS[:2])))
    original.save(tmp_path / "map.json")
    loaded = SensitivityMap.load(tmp_path / "map.json")
    assert loaded.addresses == original.addresses and loaded.sizes == original.sizes
    np.testing.assert_allclose(loaded.per_prompt, original.per_prompt, rtol=1e-6)
    assert loaded.lora_l1 is not None and original.lora_l1 is not None
    np.testing.assert_allclose(loaded.lora_l1, original.lora_l1, rtol=1e-6)


def test_the_check_agrees_for_small_noise_and_names_addresses_where_the_first_order_fails(
    task: MapTask,
) -> None:
    options = {"addresses": 6, "prompts": 6, "draws": 16, "bound": 2.0}
    small = replace(task, perturbation=SMALL)
    good = check_map(small, map_sensitivity(small), **options)
    assert good.outside == () and good.median_ratio == pytest.approx(1, rel=0.3)
    found = map_sensitivity(small)
    wrong = replace(found, per_prompt=found.per_prompt * np.linspace(1, 9, len(found.addresses)))
    bad = check_map(small, wrong, **options)
    assert bad.outside and any(name in line for name in bad.outside for line in bad.describe())


def test_the_check_prints_fused_experts_always(tokenizer: Any) -> None:
    model = FAMILIES[FUSED_EXPERTS[0]](vocab_size=len(tokenizer))
    task = MapTask(model, tokenizer, ModuleMap.of(model), DirectProxy(32), tuple(TEXTS[:2]), SMALL)
    found = map_sensitivity(task)
    agreement = check_map(task, found, addresses=2, prompts=2, draws=2, bound=2.0)
    assert len(agreement.experts) == 2 and any("expert" in line for line in agreement.describe())


def test_a_matrix_that_only_one_method_moves_is_named() -> None:
    def flat(values: list[float]) -> SensitivityMap:
        addresses = tuple(Address(i, "w") for i in range(3))
        rows = np.array([values] * 4)
        return SensitivityMap(addresses, (1,) * 3, rows, 0.1, per_draw=rows)

    assert compare(flat([0.0, 1.0, 0.0]), flat([0.5, 1.0, 0.0]), 2.0).outside == ("0.w",)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_perturbation_changes_what_it_names_and_is_undone_bit_for_bit(
    tokenizer: Any, dtype: torch.dtype, kind: str
) -> None:
    model = tiny_llama(tokenizer).to(dtype)
    modules = ModuleMap.of(model)
    addresses = modules.select("q_proj")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with (
        pytest.raises(RuntimeError, match="boom"),
        perturbed(modules, addresses, a_perturbation(kind, modules), 7),
    ):
        changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        raise RuntimeError("boom")
    assert changed == {modules.weight(address)[0] for address in addresses}
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_output_hooks_equal_the_change_in_place(kind: str, family: str) -> None:
    model = FAMILIES[family]()
    modules, proxy, encoded = ModuleMap.of(model), DirectProxy(32), ids_of(model, (7, 5))
    addresses = [address for address in modules.matrices() if address.layer == 1]
    found = []
    for in_place in (True, False):
        with (
            perturbed(modules, addresses, a_perturbation(kind, modules), 3, in_place=in_place),
            torch.no_grad(),
        ):
            found.append(proxy.read(model, encoded))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert not torch.allclose(proxy.read(model, encoded), found[0], atol=1e-4), "it must show"


def test_changes_at_the_output_are_made_one_at_a_time_and_dropped(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules, proxy, encoded = ModuleMap.of(model), DirectProxy(64), ids_of(model, (7, 5))
    made: list[StorageWeakRef] = []
    alive: list[int] = []
    make = Perturbation.delta

    def delta(self: Perturbation, *arguments: Any) -> torch.Tensor:
        alive.append(sum(not reference.expired() for reference in made))
        found = make(self, *arguments)
        made.append(StorageWeakRef(found.untyped_storage()))
        return found

    monkeypatch.setattr(Perturbation, "delta", delta)
    addresses = modules.matrices()
    with perturbed(modules, addresses, NOISE, 0, in_place=False), torch.no_grad():
        assert not made
        proxy.read(model, encoded)
        assert len(made) == len(addresses) and all(reference.expired() for reference in made)
    assert max(alive) == 0


def test_offloaded_weights_are_perturbed_like_those_in_memory(model: Any) -> None:
    proxy, encoded = DirectProxy(64), ids_of(model, (7, 5))
    found = []
    for offloaded in (False, True):
        if offloaded:
            cpu_offload(model, execution_device=torch.device("cpu"))
        modules = ModuleMap.of(model)
        with perturbed(modules, modules.matrices(), NOISE, 3), torch.inference_mode():
            found.append(proxy.read(model, encoded))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_copies_of_weights_and_of_hidden_states_leave_the_accelerator(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer).cuda()
    modules, proxy = ModuleMap.of(model), DirectProxy(64)
    before = torch.cuda.memory_allocated()
    with perturbed(modules, modules.matrices(), NOISE, 0):
        assert torch.cuda.memory_allocated() == before
    sampler = Sampler(model, tokenizer, modules, proxy, TEXTS)
    assert all(output.device.type == "cpu" for _, cache in sampler._caches for output in cache.outputs)
    assert (sampler.squared_drift(modules.select("2.*"), NOISE, 0) > 0).all()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_updates_of_an_adapter_are_what_merging_it_changes(family: str, tmp_path: Path) -> None:
    model = FAMILIES[family]()
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(copy.deepcopy(model), config).save_pretrained(tmp_path)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    updates = adapter_updates(model, tmp_path)
    assert all(torch.equal(p, before[name]) and p.requires_grad for name, p in model.named_parameters())
    merged = ModuleMap.of(PeftModel.from_pretrained(copy.deepcopy(model), tmp_path).merge_and_unload())
    modules = ModuleMap.of(model)
    assert len(updates) >= 12
    for address, change in updates.items():
        expected = merged.weight(address)[1] - modules.weight(address)[1]
        torch.testing.assert_close(change, expected.detach(), atol=1e-6, rtol=1e-4)


def test_noise_depends_on_seed_and_address_only(model: Any) -> None:
    modules = ModuleMap.of(model)
    one, other = modules.matrices()[0], modules.matrices()[5]

    def value(addresses: list[Address], seed: int) -> torch.Tensor:
        with perturbed(modules, addresses, NOISE, seed):
            return modules.weight(one)[1].detach().clone()

    assert torch.equal(value([one], 1), value([other, one], 1))
    assert not torch.equal(value([one], 1), value([one], 2))


def test_perturbations_have_the_stated_size(model: Any) -> None:
    modules = ModuleMap.of(model)
    reference = equal_reference(modules)
    for address in [a for a in modules.matrices() if a.layer == 0]:
        weight = modules.weight(address)[1].detach()
        norm = float(weight.std()) * weight.numel() ** 0.5

        def size(kind: str) -> float:
            return float(a_perturbation(kind, modules).delta(weight, address, 0).norm())  # noqa: B023

        assert size("gaussian") == pytest.approx(0.3 * norm, rel=0.05)
        assert size("low-rank") == pytest.approx(0.3 * norm, rel=1e-4)
        assert size("gaussian-equal") == pytest.approx(0.3 * reference, rel=1e-4)
        assert size("scale") == pytest.approx(0.3 * float(weight.norm()), rel=1e-4)
        assert size("zero") == pytest.approx(float(weight.norm()), rel=1e-4)
    low = a_perturbation("low-rank", modules).delta(weight, address, 0)
    assert int(torch.linalg.matrix_rank(low)) == 8


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_recomputing_later_layers_equals_a_full_pass_in_every_family(family: str) -> None:
    model = FAMILIES[family]().eval()
    modules, proxy, encoded = ModuleMap.of(model), DirectProxy(32), ids_of(model, (6, 6))
    cache = LayerCache(model, modules, proxy, encoded)
    address = next(a for a in modules.matrices() if a.layer == 1)
    with perturbed(modules, [address], Perturbation("gaussian", 1.0), 0):
        partial = cache.read_from(1)
        with torch.inference_mode():
            full = proxy.read(model, encoded)
    torch.testing.assert_close(partial, full)
    assert not torch.allclose(partial, cache.start), "the perturbation must show"
    assert torch.equal(cache.read_from(0), cache.start)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_states_do_not_depend_on_the_batch(family: str, tokenizer: Any) -> None:
    model = FAMILIES[family](vocab_size=len(tokenizer)).eval()
    together = last_token_states(model, tokenizer, TEXTS[:3], batch_size=6)
    alone = last_token_states(model, tokenizer, TEXTS[:3], batch_size=1)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def labelled(shift: int = 0) -> PackagePrompts:
    bad = tuple(Prompt(f"b{i}", f"steal {i + shift} apples", True, pair=str(i)) for i in range(20))
    good = tuple(Prompt(f"g{i}", f"bake {i + shift} apples", False, pair=str(i)) for i in range(20))
    other = tuple(Prompt(f"o{i}", f"name {i + shift} trees", False) for i in range(20))
    sets = (("bad", bad), ("good", good), ("other", other))
    return PackagePrompts(*(PromptSet(name, "test", "CC0-1.0", rows) for name, rows in sets))


def test_a_probe_separates_and_fails_on_shuffled_labels(model: Any, tokenizer: Any) -> None:
    sets = list(labelled())[:2]
    probe = fit_probe(model, tokenizer, sets, l2=1e-2)
    assert probe.quality["auroc"] > 0.9
    other = list(labelled(100))
    tried = transfer(probe, model, tokenizer, {"shifted": other[:2], "harmful": other[:1]})
    assert tried["shifted"]["auroc"] > 0.8 and tried["shifted"]["n"] == 40
    assert tried["harmful"]["auroc"] is None and tried["harmful"]["accuracy"] is not None
    assert abs(probe.quality["shuffled_auroc"] - 0.5) < 0.25
    assert probe.quality["bag_of_words_auroc"] > 0.9
    assert probe.gap > 0
    # Never more prompts at once than were asked for.
    sizes: set[int] = set()
    hook = model.base_model.norm.register_forward_pre_hook(lambda _, given: sizes.add(len(given[0])))
    again = fit_probe(model, tokenizer, sets, l2=1e-2, batch_size=3)
    transfer(again, model, tokenizer, {"shifted": other[:2]}, batch_size=3)
    hook.remove()
    assert sizes and max(sizes) <= 3 and again.gap == pytest.approx(probe.gap, rel=1e-3)


def test_prompts_that_cannot_be_told_apart_give_no_unit(model: Any, tokenizer: Any) -> None:
    same = [Prompt(f"{i}", "bake apples", i % 2 == 0) for i in range(8)]
    with pytest.raises(DataError, match=r"Drift has no unit.*align"):
        fit_probe(model, tokenizer, [PromptSet("same", "test", "CC0-1.0", tuple(same))], l2=1e-2)


def test_the_gap_is_that_of_prompts_that_nothing_was_fitted_on(model: Any, tokenizer: Any) -> None:
    sets = list(labelled())[:2]
    probe = fit_probe(model, tokenizer, sets, l2=1e-2)
    rows = [prompt for part in sets for prompt in part]
    states = last_token_states(model, tokenizer, [prompt.text for prompt in rows])
    labels = torch.tensor([prompt.harmful for prompt in rows])
    unseen = cross_validated(states, labels, [str(prompt.pair) for prompt in rows], 1e-2, 5, 0)
    assert probe.gap == pytest.approx(float(unseen[:20].median() - unseen[20:].median()))
    fitted = probe(states)
    assert probe.gap != pytest.approx(float(fitted[:20].median() - fitted[20:].median()), rel=1e-3)


@pytest.mark.parametrize("kind", ["logistic", "two-layer", "mean-difference"])
def test_labels_by_chance_give_no_unit(model: Any, tokenizer: Any, kind: str) -> None:
    rows = [prompt for part in labelled() for prompt in part]
    drawn = np.random.default_rng(0).permutation(len(rows)) % 2 == 0
    shuffled = [replace(p, harmful=bool(bad), pair=None) for p, bad in zip(rows, drawn)]
    with pytest.raises(DataError, match="Drift has no unit"):
        fit_probe(model, tokenizer, [PromptSet("s", "test", "CC0-1.0", tuple(shuffled))], l2=1e-2, kind=kind)


def test_the_direction_proxy_is_the_difference_of_means_of_the_residual_stream(
    model: Any, tokenizer: Any
) -> None:
    modules, prompts = ModuleMap.of(model), labelled()
    probe = fit_probe(model, tokenizer, list(prompts), l2=1e-2)
    proxy = fit_proxy("refusal-direction", model, tokenizer, modules, probe, prompts)
    harmful = readings(proxy, model, tokenizer, prompts.harmful.texts())
    harmless = readings(proxy, model, tokenizer, prompts.twins.texts())
    # The gap is that of prompts that the direction was not fitted on.
    fitted = float(harmful.median() - harmless.median())
    assert proxy.gap == pytest.approx(fitted, rel=0.1) and proxy.gap != pytest.approx(fitted, rel=1e-4)
    assert float(proxy.direction.norm()) == pytest.approx(1.0, rel=1e-5)  # type: ignore[attr-defined]


def test_the_margin_is_the_difference_of_two_log_probabilities(model: Any, tokenizer: Any) -> None:
    from securetune.analysis.proxies import AFFIRMATIVE, REFUSAL, RefusalMargin
    from securetune.evaluation.generate import render_prompt

    endings = tuple(
        tuple(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in (REFUSAL, AFFIRMATIVE)
    )
    found = readings(RefusalMargin(endings), model, tokenizer, TEXTS[:3])
    for text, margin in zip(TEXTS[:3], found):
        prompt = tokenizer(render_prompt(tokenizer, text), add_special_tokens=False)["input_ids"]
        sums = []
        for ending in endings:
            ids = torch.tensor([[*prompt, *ending]])
            with torch.no_grad():
                logs = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            sums.append(float(logs.gather(1, torch.tensor(ending)[:, None]).sum()))
        assert float(margin) == pytest.approx(sums[0] - sums[1], abs=1e-3)


def test_a_probe_is_stored_and_refused_on_another_model(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    probe = fit_probe(model, tokenizer, list(labelled()), l2=1e-2)
    probe.save(tmp_path)
    loaded = Probe.load(tmp_path, model)
    hidden = torch.randn(3, 64)
    torch.testing.assert_close(loaded(hidden), probe(hidden))
    assert loaded.gap == probe.gap
    with pytest.raises(StaleArtifactError, match="only valid on its own model"):
        Probe.load(tmp_path, tiny_llama(tokenizer, seed=5))
