from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from securetune.errors import UsageError
from securetune.models.fingerprint import fingerprint, fingerprint_checkpoint
from tiny import FAMILIES

pytestmark = [
    pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys"),
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]


def load(directory: Path, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, **options)


@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "gemma2", "gpt_neox", "opt", "phi3", "mixtral", "qwen3_moe", "deepseek_v3"]
)
def test_precision_and_place_of_the_weights_do_not_matter(family: str, tmp_path: Path) -> None:
    model = FAMILIES[family]()
    own = fingerprint(model)
    model.save_pretrained(tmp_path)
    assert len(own) == 16
    assert fingerprint(load(tmp_path, dtype=torch.float32)) == own
    assert fingerprint(load(tmp_path, dtype=torch.bfloat16)) == own
    assert fingerprint_checkpoint(str(tmp_path)) == own
    load(tmp_path, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    assert fingerprint_checkpoint(str(tmp_path / "half")) == own


def test_models_of_other_weights_shapes_and_depths_differ() -> None:
    models = [FAMILIES[name](seed=seed) for name in ("llama", "gpt2", "mixtral") for seed in (0, 1)]
    models += [FAMILIES["llama"](num_hidden_layers=2), FAMILIES["llama"](intermediate_size=48)]
    models += [FAMILIES["llama"](vocab_size=130)]
    assert len({fingerprint(model) for model in models}) == len(models)


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=2, target_modules="all-linear"),
        LoraConfig(r=2, target_modules=["q_proj"], use_dora=True),
        LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["o_proj", "lm_head"]),
        LoraConfig(r=2, target_modules=["embed_tokens"]),
        LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[1, 2]),
        IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    ],
    ids=["lora", "dora", "modules-to-save", "embeddings", "tokens", "ia3"],
)
def test_an_adapter_that_is_attached_does_not_matter(config: Any, tiny_model: LlamaForCausalLM) -> None:
    own = fingerprint(tiny_model)
    adapted = get_peft_model(tiny_model, config)
    assert fingerprint(adapted) == own
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
            assert fingerprint(adapted) == own, name


def test_adapted_expert_parameters_do_not_matter() -> None:
    model = FAMILIES["mixtral"]()
    own = fingerprint(model)
    targets = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    config = LoraConfig(r=2, target_modules=["q_proj"], target_parameters=targets)
    assert fingerprint(get_peft_model(model, config)) == own


def test_a_merged_adapter_matters(tiny_model: LlamaForCausalLM) -> None:
    own = fingerprint(tiny_model)
    adapted = get_peft_model(tiny_model, LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False))
    assert fingerprint(adapted) == own
    assert fingerprint(adapted.merge_and_unload()) != own


def test_a_changed_matrix_matters_and_norms_and_heads_do_not(tiny_model: LlamaForCausalLM) -> None:
    own = fingerprint(tiny_model)
    with torch.no_grad():
        tiny_model.model.norm.weight.mul_(2)
        tiny_model.lm_head.weight.mul_(2)
    assert fingerprint(tiny_model) == own
    for name, parameter in tiny_model.model.named_parameters():
        if parameter.ndim == 2:
            before = parameter.detach().clone()
            with torch.no_grad():
                parameter[0, 0] += 0.5
                assert fingerprint(tiny_model) != own, name
                parameter.copy_(before)
    assert fingerprint(tiny_model) == own


def test_causal_masks_in_old_checkpoints_do_not_matter(tmp_path: Path) -> None:
    model = FAMILIES["gpt2"]()
    tensors = {name: value.clone() for name, value in model.named_parameters()}
    tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 16, 16).tril()
    save_file(tensors, tmp_path / "model.safetensors")
    assert fingerprint_checkpoint(str(tmp_path)) == fingerprint(model)


def test_a_quantised_model_is_known_by_its_checkpoint(tmp_path: Path, tiny_model: LlamaForCausalLM) -> None:
    own = fingerprint(tiny_model)
    tiny_model.save_pretrained(tmp_path / "checkpoint", max_shard_size="100KB")
    assert len(list((tmp_path / "checkpoint").glob("*.safetensors"))) > 1
    packed = tiny_model.model.layers[0].mlp.up_proj
    packed.weight = torch.nn.Parameter(torch.zeros(10, 1, dtype=torch.uint8), requires_grad=False)
    tiny_model.config._name_or_path = str(tmp_path / "checkpoint")
    assert fingerprint(tiny_model) == own
    tiny_model.config._name_or_path = str(tmp_path)
    with pytest.raises(UsageError, match="no safetensors in"):
        fingerprint(tiny_model)
    tiny_model.config._name_or_path = "nobody/no-such-model"
    with pytest.raises(UsageError, match="Cannot identify the model `nobody/no-such-model`"):
        fingerprint(tiny_model)
