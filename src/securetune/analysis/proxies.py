"""What a perturbation is measured by: one protocol for the probe, the margin, the direction, the control."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from securetune.analysis.classifiers import LinearClassifier, cross_validated, fit_mean_difference
from securetune.analysis.probe import Probe, checked_gap
from securetune.models.hidden_states import (
    Encoded,
    encode_prompts,
    in_micro_batches,
    last_hidden,
    last_logits,
)
from securetune.models.module_map import ModuleMap
from securetune.prompt_files import PackagePrompts

PROXIES = ("probe", "refusal-margin", "refusal-direction", "generic")
"""Names, in the order of the tables; `generic` is the control and reads harmless prompts only."""

REFUSAL, AFFIRMATIVE = "I'm sorry, but I cannot", "Sure, here is"
"""Openings whose log-probabilities make the refusal margin (ours)."""

Endings = tuple[tuple[int, ...], ...]


class Proxy(Protocol):
    """A number per prompt whose drift under perturbation is measured."""

    @property
    def name(self) -> str:
        """One of `PROXIES`."""

    @property
    def gap(self) -> float:
        """Median of harmful minus median of harmless probe prompts: the unit of drift, always positive."""

    @property
    def endings(self) -> Endings:
        """Token ids that the proxy reads after each prompt; `((),)` is the bare prompt."""

    def read(self, model: Any, encoded: Encoded) -> torch.Tensor:
        """What the sampled check compares, `[prompts, ...]`; differentiable."""

    def score(self, reading: torch.Tensor, encoded: Encoded) -> torch.Tensor:
        """`[prompts]`, whose squared gradient norm predicts the squared drift to first order."""

    def squared_change(self, now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Squared drift `[prompts]` between two readings, in units of the gap."""


class _Scalar:
    """A proxy whose reading is its score."""

    gap: float
    endings: Endings = ((),)

    def score(self, reading: torch.Tensor, encoded: Encoded) -> torch.Tensor:
        return reading

    def squared_change(self, now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        return ((now.double() - before.double()) / self.gap).square()


@dataclass(frozen=True)
class ProbeLogit(_Scalar):
    """The probe's logit, the paper's proxy."""

    probe: Probe
    name: str = "probe"

    @property
    def gap(self) -> float:  # type: ignore[override]
        """See `Proxy`."""
        return self.probe.gap

    def read(self, model: Any, encoded: Encoded) -> torch.Tensor:
        """Logits `[prompts]`."""
        return self.probe(last_hidden(model, encoded))


@dataclass(frozen=True)
class RefusalMargin(_Scalar):
    """Log-probability of a refusal opening minus that of an affirmative one, right after the prompt.

    The likelihood of the refusal alone may rise while that of the affirmative opening rises more.
    """

    endings: Endings
    """Token ids of the refusal, then of the affirmative opening."""
    gap: float = 1.0
    name: str = "refusal-margin"

    def read(self, model: Any, encoded: Encoded) -> torch.Tensor:
        """Margins `[prompts]`, in nats."""
        width = max(map(len, self.endings))
        logits = last_logits(model, encoded, width + 1)[:, :-1]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        ids = encoded.inputs["input_ids"][:, -width:].to(logits.device)
        tokens = logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
        lengths = torch.tensor([len(ending) for ending in self.endings], device=tokens.device)
        inside = torch.arange(width, device=tokens.device) >= width - lengths[:, None]
        sums = (tokens.view(-1, 2, width) * inside).sum(-1)
        return sums[:, 0] - sums[:, 1]


@dataclass(frozen=True)
class RefusalDirection(_Scalar):
    """Projection of the residual stream at the last prompt token on the difference of class means.

    Source: Arditi et al., arXiv 2406.11717. Deviation: read after the last block, where every module can
    move it; they select a middle layer.
    """

    block: torch.nn.Module
    """The last decoder block."""
    direction: torch.Tensor
    """`[hidden]`, of unit length."""
    gap: float = 1.0
    name: str = "refusal-direction"

    def read(self, model: Any, encoded: Encoded) -> torch.Tensor:
        """Projections `[prompts]`."""
        state = residual(model, self.block, encoded)
        state = state if state.dtype == torch.float64 else state.float()
        return state @ self.direction.to(state.device, state.dtype)


@dataclass(frozen=True)
class GenericDrift:
    """Control: how far the next-token distribution moves at all, on harmless prompts.

    The drift is `sqrt(2 KL(before || now))`. Its first-order prediction needs no derivative of the KL,
    which is zero at the start: `E[2 KL] = s^2 E_y ||d log p(y)/dW||^2` with y drawn from the model's own
    distribution (the Fisher information). One y per prompt, decided by the prompt's text.
    """

    gap: float = 1.0
    endings: Endings = ((),)
    name: str = "generic"

    def read(self, model: Any, encoded: Encoded) -> torch.Tensor:
        """Log-probabilities `[prompts, vocabulary]`."""
        logits = last_logits(model, encoded)[:, 0]
        return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)

    def score(self, reading: torch.Tensor, encoded: Encoded) -> torch.Tensor:
        """Log-probabilities of the drawn tokens."""
        uniform = [_uniform(text) for text in encoded.texts]
        cumulative = reading.detach().double().exp().cumsum(-1)
        drawn = torch.searchsorted(
            cumulative, cumulative.new_tensor(uniform)[:, None] * cumulative[:, -1:]
        ).clamp_max(reading.shape[-1] - 1)
        return reading.gather(-1, drawn)[:, 0]

    def squared_change(self, now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Twice the KL divergence `[prompts]`, in nats."""
        before, now = before.double(), now.double()
        return (2 * (before.exp() * (before - now)).sum(-1)).clamp_min(0)


def residual(model: Any, block: torch.nn.Module, encoded: Encoded) -> torch.Tensor:
    """The output `[rows, hidden]` of a block at the last token; differentiable."""
    kept: list[torch.Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    handle = block.register_forward_hook(keep)
    try:
        last_hidden(model, encoded)
    finally:
        handle.remove()
    return kept[-1][:, -1]


def fit_proxy(
    name: str,
    model: Any,
    tokenizer: Any,
    modules: ModuleMap,
    probe: Probe,
    prompts: PackagePrompts,
    batch_size: int = 16,
) -> Proxy:
    """Make a proxy and measure its unit on the probe prompts.

    Args:
        name: one of `PROXIES`.
        model: the start model.
        tokenizer: its tokenizer.
        modules: its module map.
        probe: its probe.
        prompts: the probe prompts, harmful and twins.
        batch_size: prompts at once.

    Raises:
        DataError: the gap is not positive, so drift would have no unit.
    """
    if name == "probe":
        return ProbeLogit(probe)
    if name == "generic":
        return GenericDrift()
    texts = prompts.harmful.texts() + prompts.twins.texts()
    labels = torch.arange(len(texts)) < len(prompts.harmful)
    if name == "refusal-margin":
        endings = tuple(
            tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (REFUSAL, AFFIRMATIVE)
        )
        margin = RefusalMargin(endings)
        scores = readings(margin, model, tokenizer, texts, batch_size)
        return RefusalMargin(endings, checked_gap(scores, labels, "the refusal margin"))
    if name != "refusal-direction":
        raise ValueError(f"unknown proxy {name!r}; expected one of {PROXIES}")
    block = modules.blocks()[-1]
    with torch.inference_mode():
        states = _collected(
            texts, batch_size, lambda part: residual(model, block, encode_prompts(model, tokenizer, part))
        ).float()
    groups = [prompt.pair or prompt.id for part in (prompts.harmful, prompts.twins) for prompt in part]
    out_of_fold = cross_validated(states, labels, groups, 0.0, _FOLDS, 0, _fit_direction)
    gap = checked_gap(out_of_fold, labels, "the refusal direction")
    return RefusalDirection(block, _fit_direction(states, labels, 0.0).weight, gap)


_FOLDS = 5
"""Of the cross-validation that measures the gap of the refusal direction."""


def _fit_direction(states: torch.Tensor, labels: torch.Tensor, l2: float) -> LinearClassifier:
    """The projection on the unit difference of class means; `l2` has no effect."""
    found = fit_mean_difference(states, labels, l2)
    return replace(found, weight=found.weight / found.weight.norm().clamp_min(1e-30))


def readings(
    proxy: Proxy, model: Any, tokenizer: Any, texts: Sequence[str], batch_size: int = 16
) -> torch.Tensor:
    """What a proxy reads on every prompt, `[prompts, ...]` on the CPU."""
    with torch.inference_mode():
        return _collected(
            texts,
            batch_size,
            lambda part: proxy.read(model, encode_prompts(model, tokenizer, part, proxy.endings)),
        )


def _collected(texts: Sequence[str], batch_size: int, read: Any) -> torch.Tensor:
    found: dict[int, torch.Tensor] = {}
    for batch, values in in_micro_batches(
        texts, batch_size, lambda part: read([texts[index] for index in part]).cpu()
    ):
        found.update(zip(batch, values))
    return torch.stack([found[index] for index in range(len(texts))])


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
