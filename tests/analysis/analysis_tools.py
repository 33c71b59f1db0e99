"""What the tests of the analysis share: prompts, probes and encoded ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from securetune.addressing import Address
from securetune.analysis.classifiers import LinearClassifier
from securetune.analysis.probe import Probe
from securetune.analysis.proxies import ProbeLogit, Proxy
from securetune.models.fingerprint import fingerprint
from securetune.models.hidden_states import Encoded, backbone
from securetune.models.module_map import ModuleMap

TEXTS = ["tell me a story", "how do I bake bread", "what is rain", "name a tree", "write a poem", "sing"]


def a_classifier(width: int, seed: int = 0) -> LinearClassifier:
    weight = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return LinearClassifier(weight, 0.1, torch.zeros(width), torch.ones(width))


def probe_for(model: Any, width: int, seed: int = 0) -> Probe:
    return Probe(a_classifier(width, seed), fingerprint(model), 2.0, {"kind": "logistic"})


def DirectProxy(width: int) -> ProbeLogit:
    """A probe that is not tied to a model."""
    return ProbeLogit(Probe(a_classifier(width), "none", 2.0, {"kind": "logistic"}))


def ids_of(model: Any, lengths: Sequence[int]) -> Encoded:
    """Random token ids of some lengths, padded on the left."""
    import inspect

    width = max(lengths)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 100, (len(lengths), width), generator=generator)
    mask = torch.stack([(torch.arange(width) >= width - length).long() for length in lengths])
    inputs = {"input_ids": ids * mask, "attention_mask": mask}
    if "position_ids" in inspect.signature(backbone(model).forward).parameters:
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)
    return Encoded(tuple(str(length) for length in lengths), inputs)


def autograd_norms(
    model: Any,
    modules: ModuleMap,
    addresses: Sequence[Address],
    proxy: Proxy,
    encoded: Encoded,
    change: Callable[[Address], torch.Tensor] | None = None,
) -> np.ndarray:
    """Norms of per-sample gradients by autograd, one prompt at a time, or their products with a change."""
    weights = [modules.weight(address)[1] for address in addresses]
    rows = []
    for score in proxy.score(proxy.read(model, encoded), encoded):
        gradients = torch.autograd.grad(score, weights, allow_unused=True, retain_graph=True)
        rows.append(
            [
                0.0 if g is None else float(g.norm() if change is None else (g * change(a).to(g)).sum())
                for a, g in zip(addresses, gradients)
            ]
        )
    return np.array(rows)
