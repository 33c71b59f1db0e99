"""Moved or destroyed? A probe fitted again under the perturbation tells."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from securetune.addressing import Address
from securetune.analysis.classifiers import CLASSIFIERS, auroc, cross_validated
from securetune.analysis.perturb import Perturbation, perturbed
from securetune.models.hidden_states import last_token_states
from securetune.models.module_map import ModuleMap
from securetune.prompts import PromptSet

NOTICEABLE = 0.02
"""Smallest loss of AUROC of which a recovered share is stated (ours)."""


@dataclass(frozen=True)
class Refit:
    """The probe under a perturbation, frozen and fitted again, both on prompts that they were not fitted on.

    Means over the draws of the noise.
    """

    what: str
    unperturbed_auroc: float | None
    """Cross-validated, without the perturbation."""
    frozen_auroc: float | None
    """Fitted on unperturbed states, tested on the perturbed states of the other folds."""
    frozen_recall: float
    """Share of harmful prompts that it still calls harmful: the paper's score is its drop."""
    refitted_auroc: float | None
    """Fitted on perturbed states, tested on those of the other folds."""
    frozen_draws: tuple[float | None, ...]
    """`frozen_auroc` of each draw."""
    refitted_draws: tuple[float | None, ...]
    """`refitted_auroc` of each draw."""
    n: int
    """Prompts."""

    @property
    def recovered(self) -> float | None:
        """Share of the lost AUROC that fitting again recovers: 1 for moved, 0 for destroyed.

        `None` where less than `NOTICEABLE` was lost.
        """
        if self.unperturbed_auroc is None or self.frozen_auroc is None or self.refitted_auroc is None:
            return None
        lost = self.unperturbed_auroc - self.frozen_auroc
        return (self.refitted_auroc - self.frozen_auroc) / lost if lost >= NOTICEABLE else None

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dictionary."""
        return asdict(self) | {"recovered": self.recovered}


@dataclass(frozen=True)
class LabelledStates:
    """Last-token states of labelled prompts, unperturbed."""

    prompts: tuple[str, ...]
    states: torch.Tensor
    """`[prompts, hidden]`."""
    labels: torch.Tensor
    """`[prompts]`, true for harmful."""
    groups: tuple[str, ...]
    """Prompts of one group, a harmful prompt and its twin, share a fold."""

    @classmethod
    def read(
        cls, model: Any, tokenizer: Any, prompts: Sequence[PromptSet], batch_size: int = 16
    ) -> LabelledStates:
        """Run the model on every prompt."""
        rows = [prompt for part in prompts for prompt in part]
        texts = tuple(prompt.text for prompt in rows)
        return cls(
            texts,
            last_token_states(model, tokenizer, list(texts), batch_size=batch_size),
            torch.tensor([prompt.harmful for prompt in rows]),
            tuple(prompt.pair or prompt.id for prompt in rows),
        )


def refit_under(
    what: str,
    model: Any,
    tokenizer: Any,
    modules: ModuleMap,
    before: LabelledStates,
    addresses: Collection[Address],
    perturbation: Perturbation,
    *,
    kind: str,
    l2: float,
    folds: int,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 16,
) -> Refit:
    """Perturb `addresses` together and score the frozen and a re-fitted probe on labelled prompts.

    Args:
        what: a name for the addresses.
        model: the start model.
        tokenizer: its tokenizer.
        modules: its module map.
        before: what it makes of the prompts.
        addresses: perturbed together.
        perturbation: of each.
        kind: of the probe, a key of `CLASSIFIERS`.
        l2: penalty of the probe.
        folds: of the cross-validation.
        seeds: of the noise, one per draw.
        batch_size: prompts at once.
    """
    after = []
    for seed in seeds:
        with perturbed(modules, addresses, perturbation, seed):
            after.append(last_token_states(model, tokenizer, list(before.prompts), batch_size=batch_size))
    return compare_refit(what, before, after, kind=kind, l2=l2, folds=folds)


def compare_refit(
    what: str,
    before: LabelledStates,
    after: Sequence[torch.Tensor],
    *,
    kind: str,
    l2: float,
    folds: int,
    seed: int = 0,
) -> Refit:
    """Score a frozen and a re-fitted probe on perturbed states.

    Args:
        what: a name for the perturbation.
        before: unperturbed states.
        after: perturbed states `[prompts, hidden]` of the same prompts, one per draw.
        kind: of the probe, a key of `CLASSIFIERS`.
        l2: penalty of the probe.
        folds: of the cross-validation, the same for both probes.
        seed: of the folds.
    """
    labels, fit = before.labels, CLASSIFIERS[kind]

    def tested(fitted_on: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        return cross_validated(fitted_on, labels, before.groups, l2, folds, seed, fit, scored=states)

    frozen = [tested(before.states, states) for states in after]
    frozen_draws = tuple(auroc(logits, labels) for logits in frozen)
    refitted_draws = tuple(auroc(tested(states, states), labels) for states in after)
    return Refit(
        what,
        auroc(tested(before.states, before.states), labels),
        _mean(frozen_draws),
        float(np.mean([float((logits[labels] > 0).float().mean()) for logits in frozen])),
        _mean(refitted_draws),
        frozen_draws,
        refitted_draws,
        len(labels),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
