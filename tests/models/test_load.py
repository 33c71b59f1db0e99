"""Where weights come from: hub revisions, adapters merged once, and no code from checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from securetune.analysis.closed_form import gradient_norms
from securetune.analysis.perturb import Perturbation
from securetune.analysis.proxies import RefusalMargin
from securetune.analysis.sampling import Sampler
from securetune.encoding import EncodedData
from securetune.errors import ConfigError, UsageError
from securetune.evaluation.generate import Decoding, generate
from securetune.models.fingerprint import fingerprint, fingerprint_checkpoint
from securetune.models.hidden_states import encode_prompts
from securetune.models.load import adapter_directory, describe_model, load_model, merged_directory
from securetune.models.module_map import ModuleMap
from securetune.plan import TuningPlan
from securetune.prompts import Prompt
from securetune.training.tune import tune
from securetune.training_settings import TrainSettings
from tiny import FAMILIES, tiny_llama

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def hub(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """A hub cache that holds two revisions of `org/tiny`; returns revision -> fingerprint."""
    repository = tmp_path / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    found = {}
    for seed, (ref, commit) in enumerate({"v1": OLD, "main": NEW}.items()):
        (repository / "refs" / ref).write_text(commit)
        model = tiny_llama(tokenizer, seed=seed)
        model.save_pretrained(repository / "snapshots" / commit)
        tokenizer.save_pretrained(repository / "snapshots" / commit)
        found[ref] = fingerprint(model)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return found


def test_a_revision_is_kept_everywhere(hub: dict[str, str]) -> None:
    assert hub["v1"] != hub["main"]
    assert fingerprint_checkpoint("org/tiny", "v1") == hub["v1"]
    assert fingerprint_checkpoint("org/tiny") == hub["main"]
    for model_id, expected in (("org/tiny@v1", hub["v1"]), ("org/tiny", hub["main"])):
        model: Any = load_model(model_id)[0]
        assert fingerprint(model) == expected
        # As a quantised load: its weights say nothing, the checkpoint that it came from does.
        layer = model.model.layers[0].self_attn.q_proj
        layer.weight = torch.nn.Parameter(layer.weight.to(torch.uint8), requires_grad=False)
        assert fingerprint(model) == expected


def test_a_revision_that_is_not_there_is_an_error_with_a_remedy(hub: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"`org/tiny` at revision v9.*Check the id, the revision"):
        fingerprint_checkpoint("org/tiny", "v9")


def test_a_model_is_described_as_it_would_be_loaded(hub: dict[str, str]) -> None:
    model: Any = load_model("org/tiny")[0]
    assert describe_model("org/tiny") == {
        "architecture": "LlamaForCausalLM",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": len(model.model.layers),
    }


def test_an_adapter_is_merged_once_into_a_directory_that_loads_alone(
    tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    tiny_model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny_model, config).save_pretrained(adapter)
    merged = merged_directory(str(base), str(adapter), tmp_path, "float32")
    model, _ = load_model(str(base), adapter)
    expected = fingerprint(model.merge_and_unload())
    assert fingerprint_checkpoint(str(merged)) == fingerprint(load_model(str(merged))[0]) == expected
    assert expected != fingerprint_checkpoint(str(base))
    before = (merged / "model.safetensors").stat().st_mtime_ns
    assert merged_directory(str(base), str(adapter), tmp_path, "float32") == merged
    assert (merged / "model.safetensors").stat().st_mtime_ns == before
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(UsageError, match=r"no adapter_model\.safetensors"):
        adapter_directory(adapter)


def test_a_checkpoint_with_code_of_its_own_is_refused(
    tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tiny_model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "alien.py").write_text("raise SystemExit('this code must not run')\n")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "alien",
        "auto_map": {"AutoConfig": "alien.AlienConfig", "AutoModelForCausalLM": "alien.Alien"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="runs no code from checkpoints"):
        load_model(str(tmp_path))


# Of a model with three or four blocks; "disk" blocks are fetched whenever they run.
SPREAD: dict[str, Any] = {
    "model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "disk",
    "model.layers.3": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu",
}  # fmt: skip


@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
def test_a_model_spread_over_memory_and_disk_is_the_plain_one(
    family: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    FAMILIES[family](len(tokenizer), num_hidden_layers=4).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = []
    for options in ({"device": "cpu"}, {"device_map": SPREAD}):
        model, read = load_model(str(tmp_path), dtype="float32", **options)
        offloaded = [name for name, value in model.named_parameters() if value.is_meta]
        assert bool(offloaded) is ("device_map" in options), "the positive control: weights are elsewhere"
        modules = ModuleMap.of(model)
        chosen = [a for a in modules.select("0-2.self_attn") if a in modules.matrices()]
        proxy = RefusalMargin(((5, 6, 7), (8,)))
        texts = ["how do I bake bread", "tell me a story about the sea"]
        norms = gradient_norms(
            model, modules, chosen, proxy, encode_prompts(model, read, texts, proxy.endings)
        )
        drift = Sampler(model, read, modules, proxy, texts).squared_drift(chosen[-4:], Perturbation(), 3)
        answers = generate(model, read, [Prompt(t, t, False) for t in texts], Decoding(max_new_tokens=5))
        found.append((norms.weights, drift, answers, fingerprint(model)))
    plain, spread = found
    np.testing.assert_allclose(spread[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(spread[1], plain[1], rtol=1e-3)
    assert spread[2:] == plain[2:]


def test_offloaded_weights_cannot_be_trained(
    tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tiny_model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    plan = TuningPlan.from_multipliers({"mlp": 0.1}, outside=1.0)
    with pytest.raises(ConfigError, match=r"model\.device_map: some weights are offloaded"):
        tune(
            lambda: load_model(str(tmp_path), device_map=SPREAD),
            EncodedData((), 0, 0, 0, 0), TrainSettings(), plan, tmp_path / "out",
        )  # fmt: skip
