"""Parts of fused projections: which output rows of one weight are queries, keys, values, gate or up.

A fused projection is one address, because it has one learning rate. Its parts are measured beside it, under
names such as `3.self_attn.qkv_proj.q`, so that statements about queries and keys can be made for such models.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from securetune.addressing import Address

_CONTIGUOUS = {("phi3", "qkv_proj"), ("gpt2", "c_attn")}
_BY_GROUP = {("gpt_neox", "query_key_value"), ("bloom", "query_key_value"), ("falcon", "query_key_value")}
"""Each key head follows the query heads that share it, and its value head follows the key head."""
_HALVES = {("phi3", "gate_up_proj")}


def fused_parts(config: Any, address: Address, module: nn.Linear | Conv1D) -> dict[Address, torch.Tensor]:
    """Which outputs of the linear layer at `address` belong to which part.

    Args:
        config: the model's configuration (of its text stack).
        address: of the layer.
        module: the layer.

    Returns:
        Part -> indices; together they are all outputs. Empty if the layer is not fused in a way known here.
    """
    name = (config.model_type, address.path.rpartition(".")[2])
    if name in _HALVES:
        kinds, labels = ["gate", "up"], torch.arange(2)
    elif name in _CONTIGUOUS | _BY_GROUP:
        groups = _groups(config)
        kinds, labels = ["q", "k", "v"], torch.tensor([0] * (config.num_attention_heads // groups) + [1, 2])
        labels = labels.repeat(groups)
        labels = labels.sort().values if name in _CONTIGUOUS else labels
    else:
        return {}
    outputs = module.nf if isinstance(module, Conv1D) else module.out_features
    labels = labels.repeat_interleave(outputs // len(labels))
    return {
        Address(address.layer, f"{address.path}.{kind}"): (labels == index).nonzero()[:, 0]
        for index, kind in enumerate(kinds)
    }


def whole(part: Address) -> Address:
    """The address that a part is a part of."""
    return Address(part.layer, part.path.rpartition(".")[0])


def _groups(config: Any) -> int:
    """Key heads: each is shared by a group of query heads."""
    if config.model_type != "falcon":
        return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    if config.new_decoder_architecture:
        return int(config.num_kv_heads)
    return 1 if config.multi_query else int(config.num_attention_heads)
