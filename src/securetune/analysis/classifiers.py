"""Three ways to fit a linear read-out of harmfulness, and the rank statistic that measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch.nn.functional import binary_cross_entropy_with_logits

_HIDDEN = 64
"""Width of the first layer of `fit_two_layer` (ours: the text available does not state it)."""


@dataclass(frozen=True)
class LinearClassifier:
    """A fitted linear classifier: logit = ((x - mean) / scale) . weight + bias."""

    weight: torch.Tensor
    """`[features]`, on standardised features."""
    bias: float
    mean: torch.Tensor
    scale: torch.Tensor

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Logits `[rows]` of `features` `[rows, features]`; differentiable."""
        kind = torch.float64 if features.dtype == torch.float64 else torch.float32
        weight, mean, scale = (t.to(features.device, kind) for t in (self.weight, self.mean, self.scale))
        return (features.to(kind) - mean) / scale @ weight + self.bias


Fit = Callable[[torch.Tensor, torch.Tensor, float], LinearClassifier]
"""`(features [rows, features], labels [rows], l2)` -> classifier; both classes must occur."""


def fit_logistic(features: torch.Tensor, labels: torch.Tensor, l2: float) -> LinearClassifier:
    """Minimise the class-balanced mean cross-entropy plus `l2 / 2 * |weight|^2` (L-BFGS, float64).

    Args:
        features: `[rows, features]`.
        labels: `[rows]`, 1 for harmful; both classes must occur.
        l2: penalty on standardised features; the bias is free.
    """
    x, mean, scale = _standardised(features)
    weight = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    _minimise([weight, bias], lambda: x @ weight + bias, labels, [weight], l2)
    return LinearClassifier(weight.detach().float(), float(bias.detach()), mean.float(), scale.float())


def fit_two_layer(features: torch.Tensor, labels: torch.Tensor, l2: float) -> LinearClassifier:
    """Two linear layers and a sigmoid, the second layer without an activation before it.

    Their product is one linear map, so the result is a `LinearClassifier`; what differs from `fit_logistic`
    is what the penalty on the factors prefers.

    Source: arXiv 2410.04524v1, eq. (1), as its reviewers describe it: a linear network, then a sigmoid.
    Width, penalty and optimiser are ours.
    """
    x, mean, scale = _standardised(features)
    generator = torch.Generator().manual_seed(0)
    width = x.shape[1]
    first = torch.randn(width, _HIDDEN, generator=generator, dtype=torch.float64) / width**0.5
    second = torch.randn(_HIDDEN, generator=generator, dtype=torch.float64) / _HIDDEN**0.5
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    first.requires_grad_(True)
    second.requires_grad_(True)
    _minimise([first, second, bias], lambda: x @ first @ second + bias, labels, [first, second], l2)
    weight = (first @ second).detach()
    return LinearClassifier(weight.float(), float(bias.detach()), mean.float(), scale.float())


def fit_mean_difference(features: torch.Tensor, labels: torch.Tensor, l2: float) -> LinearClassifier:
    """Project on the difference of the class means; zero lies halfway. `l2` has no effect.

    Source: the refusal direction of arXiv 2406.11717 (difference of means), without standardisation.
    """
    x = features.double()
    harmful, harmless = x[labels > 0].mean(0), x[labels <= 0].mean(0)
    weight = harmful - harmless
    ones = torch.ones_like(weight)
    return LinearClassifier(weight.float(), 0.0, ((harmful + harmless) / 2).float(), ones.float())


CLASSIFIERS: Mapping[str, Fit] = {
    "logistic": fit_logistic,
    "two-layer": fit_two_layer,
    "mean-difference": fit_mean_difference,
}


def auroc(scores: Sequence[float] | torch.Tensor, labels: Sequence[bool] | torch.Tensor) -> float | None:
    """Probability that a harmful row scores above a harmless one; `None` if a class is empty."""
    values, positive = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    if positive.all() or not positive.any():
        return None
    statistic = stats.mannwhitneyu(values[positive], values[~positive]).statistic
    return float(statistic / (positive.sum() * (~positive).sum()))


def cross_validated(
    features: torch.Tensor,
    labels: torch.Tensor,
    groups: Sequence[str],
    l2: float,
    folds: int,
    seed: int,
    fit: Fit = fit_logistic,
    scored: torch.Tensor | None = None,
) -> torch.Tensor:
    """Out-of-fold logits `[rows]`; rows of one group (a harmful prompt and its twin) share a fold.

    `scored` holds other features of the same rows, on which the classifiers are tested.
    """
    scored = features if scored is None else scored
    names = sorted(set(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[index]: position % folds for position, index in enumerate(order)}
    assigned = torch.tensor([fold_of[group] for group in groups])
    logits = torch.zeros(len(labels))
    for fold in range(folds):
        test = assigned == fold
        if test.any():
            logits[test] = fit(features[~test], labels[~test], l2)(scored[test]).float()
    return logits


def _standardised(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = features.double()
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    return (x - mean) / scale, mean, scale


def _minimise(
    parameters: list[torch.Tensor],
    logits: Callable[[], torch.Tensor],
    labels: torch.Tensor,
    penalised: list[torch.Tensor],
    l2: float,
) -> None:
    y = labels.double()
    balance = torch.where(y > 0, 0.5 / y.mean(), 0.5 / (1 - y).mean())
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=200, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(logits(), y, weight=balance)
        loss = loss + 0.5 * l2 * sum(p.square().sum() for p in penalised)
        loss.backward()
        return loss

    optimizer.step(closure)
