"""A refit tells what a perturbation moved from what it destroyed, on prompts that no probe was fitted on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from securetune.analysis.perturb import Perturbation
from securetune.analysis.refit import LabelledStates, Refit, compare_refit, refit_under
from securetune.models.module_map import ModuleMap
from securetune.prompts import Prompt, PromptSet
from tiny import tiny_llama

PAIRS, WIDTH = 60, 16


def separated(gap: float = 3.0, seed: int = 0) -> LabelledStates:
    """Harmful prompts and their twins, told apart by the first feature."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(2 * PAIRS, WIDTH, generator=generator)
    labels = torch.arange(2 * PAIRS) < PAIRS
    states[labels, 0] += gap
    names = tuple(f"prompt {i}" for i in range(2 * PAIRS))
    return LabelledStates(names, states, labels, tuple(str(i % PAIRS) for i in range(2 * PAIRS)))


def compared(before: LabelledStates, after: list[torch.Tensor]) -> Refit:
    return compare_refit("it", before, after, kind="logistic", l2=1e-2, folds=5)


def test_a_rotation_moves_what_a_refit_finds_again() -> None:
    before = separated()
    found = compared(before, [before.states.roll(shift, dims=1) for shift in (1, 2, 3)])
    assert found.frozen_auroc is not None and found.frozen_auroc < 0.75
    assert found.refitted_auroc is not None and found.refitted_auroc > 0.95
    assert found.recovered is not None and found.recovered > 0.9
    assert len(found.frozen_draws) == len(found.refitted_draws) == 3


def test_noise_destroys_what_no_refit_finds_again() -> None:
    before = separated()
    generator = torch.Generator().manual_seed(1)
    after = [torch.randn(before.states.shape, generator=generator) for _ in range(3)]
    found = compared(before, after)
    assert found.refitted_auroc is not None and found.refitted_auroc < 0.65
    assert found.recovered is not None and found.recovered < 0.2


def test_a_shift_costs_the_frozen_probe_its_recall_only() -> None:
    before = separated()
    shifted = before.states.clone()
    shifted[:, 0] -= 6.0
    found = compared(before, [shifted])
    assert found.frozen_recall < 0.1 and found.recovered is None
    assert found.frozen_auroc == pytest.approx(found.unperturbed_auroc, abs=0.05)


def test_the_frozen_probe_is_not_tested_on_what_it_was_fitted_on() -> None:
    """More features than prompts: in-sample it would be perfect on labels of pure chance."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2 == 0
    states = torch.randn(40, 200, generator=generator)
    before = LabelledStates(("x",) * 40, states, labels, tuple(map(str, range(40))))
    found = compared(before, [states])
    assert found.frozen_auroc == found.refitted_auroc == found.unperturbed_auroc
    assert found.frozen_auroc is not None and found.frozen_auroc < 0.75


def test_a_model_is_perturbed_once_per_seed_and_restored(tokenizer: Any) -> None:
    model = tiny_llama(tokenizer).eval()
    modules = ModuleMap.of(model)
    prompts = [
        PromptSet("p", "test", "CC0-1.0", tuple(
            Prompt(f"{harmful}{i}", f"{'steal' if harmful else 'bake'} {i}", harmful, pair=str(i))
            for i in range(12)
        ))
        for harmful in (True, False)
    ]  # fmt: skip
    before = LabelledStates.read(model, tokenizer, prompts)
    options = {"kind": "logistic", "l2": 1e-2, "folds": 3}
    noise = Perturbation("gaussian", 1.0)
    every = modules.matrices()
    found = refit_under("all", model, tokenizer, modules, before, every, noise, seeds=(3, 4), **options)
    assert len(set(found.frozen_draws)) == 2 and found.n == 24
    assert torch.equal(LabelledStates.read(model, tokenizer, prompts).states, before.states)
    nothing = refit_under("nothing", model, tokenizer, modules, before, (), noise, seeds=(0,), **options)
    assert nothing.frozen_auroc == nothing.refitted_auroc == nothing.unperturbed_auroc
