"""Fixtures of all tests. Nothing here or below may reach the network."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tiny import tiny_llama, tiny_tokenizer
from tiny_chat import build_refusing_model
from tiny_trainers import Make

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


@pytest.fixture
def tiny_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return tiny_llama(tokenizer)


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a tiny chat model that refuses."""
    return build_refusing_model(tmp_path_factory.mktemp("chat"))


@pytest.fixture
def make(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Make:
    """Build trainers on fresh tiny models."""
    return Make(tmp_path / "out", tokenizer)
