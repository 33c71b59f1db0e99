"""Tiny random models of many families, and a tiny tokenizer, all built in code: no network, no files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

FUSES_EXPERTS = transformers.__version__ >= "5"
"""Whether experts are 3-D parameters: transformers 4 lists them one by one."""

Family = Callable[..., PreTrainedModel]

LAYERS = 3
PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = (
    "You are a helpful assistant. How do I bake bread at home? Mix flour, water, salt and yeast.",
    "I cannot help with that. I'm sorry, but this request could hurt someone.",
    "Write a short story about the sea. What is the answer to the question? The answer is 42.",
    "def add(first, second): return first + second  # 0123456789",
)

_LLAMA_LIKE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
_HEAD_SIZE = {"head_dim": 8}
_SLIDING = {**_HEAD_SIZE, "sliding_window": 64}

# What a family's config wants, by its `model_type`.
_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA_LIKE,
    "mistral": {**_LLAMA_LIKE, "sliding_window": None},
    "qwen2": _LLAMA_LIKE,
    "qwen3": {**_LLAMA_LIKE, **_HEAD_SIZE},
    "gemma2": {**_LLAMA_LIKE, **_SLIDING},
    "gemma3_text": {**_LLAMA_LIKE, **_SLIDING},
    "phi3": {**_LLAMA_LIKE, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    "gpt2": {"n_embd": 32, "n_inner": 64, "n_layer": LAYERS, "n_head": 4, "n_positions": 128},
    "gpt_neox": {key: value for key, value in _LLAMA_LIKE.items() if key != "num_key_value_heads"},
    "opt": {
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    },
    "bloom": {"hidden_size": 32, "n_layer": LAYERS, "n_head": 4},
    "falcon": {
        "hidden_size": 32,
        "ffn_hidden_size": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
    },
    "qwen3_moe": {
        **_LLAMA_LIKE,
        **_HEAD_SIZE,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
    "mixtral": {**_LLAMA_LIKE, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {
        **_LLAMA_LIKE,
        **_SLIDING,
        # Rotary only, so it costs nothing; the default YaRN scaling expects this length.
        "max_position_embeddings": 131072,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
    "deepseek_v3": {
        **_LLAMA_LIKE,
        # The architecture has as many key heads as query heads: the keys are compressed another way.
        "num_key_value_heads": 4,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "n_group": 2,
        "topk_group": 1,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
    },
}

# Families whose experts are fused 3-D parameters, with the targets `LoraConfig(target_parameters=...)` takes.
FUSED_EXPERTS = ("qwen3_moe", "mixtral", "gpt_oss", "deepseek_v3")
EXPERT_PARAMETERS = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")


def _family(model_type: str) -> Family:
    def build(vocab_size: int = 128, *, seed: int = 0, **changes: Any) -> PreTrainedModel:
        special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        settings = {"vocab_size": vocab_size, **special, **_CONFIGS[model_type], **changes}
        config = AutoConfig.for_model(model_type, **settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return AutoModelForCausalLM.from_config(config).eval()

    build.__name__ = f"tiny_{model_type}"
    return build


FAMILIES: dict[str, Family] = {
    name: _family("gemma3_text" if name == "gemma3" else name)
    for name in ("gemma3", *(name for name in _CONFIGS if name != "gemma3_text"))
}


def tiny_tokenizer(end: str = END) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a ChatML template: at most 512 tokens, encodes any text.

    With another `end` than ChatML's, `<|im_end|>` is plain text, as for GPT-2.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=[PAD, START, end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=end,
        additional_special_tokens=[START],
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_llama(tokenizer: PreTrainedTokenizerFast, *, seed: int = 0) -> LlamaForCausalLM:
    """A four-layer Llama whose vocabulary and special tokens are the tokenizer's."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).eval()
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model
