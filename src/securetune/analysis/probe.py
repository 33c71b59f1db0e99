"""The probe: harmful or harmless, read off the last layer's state at the last prompt token."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import mannwhitneyu

from securetune.analysis.classifiers import CLASSIFIERS, Fit, LinearClassifier, auroc, cross_validated
from securetune.errors import DataError, StaleArtifactError
from securetune.files import read_json, write_json
from securetune.models.fingerprint import fingerprint
from securetune.models.hidden_states import last_token_states
from securetune.progress import progress
from securetune.prompts import PromptSet

CHANCE = 0.05
"""p-value from which on harmful and harmless prompts are not told apart (ours)."""


@dataclass(frozen=True)
class Probe:
    """A frozen linear probe of one model, in units that do not depend on its scale.

    Source: arXiv 2410.04524 (security feature classifier on last-layer embeddings). Deviation: by default
    plain standardised logistic regression; `kind="two-layer"` is the paper's classifier as far as the text
    available describes it. The last prompt token is ours: the paper's token position is not stated there.
    """

    classifier: LinearClassifier
    model: str
    """Fingerprint of the model it was fitted on."""
    gap: float
    """Difference of the median out-of-fold logits of harmful and harmless probe prompts; the unit of all
    drifts. Logits of rows that a probe was fitted on are too far apart."""
    quality: Mapping[str, Any]
    """Cross-validated AUROC, controls and baselines, with n."""

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits `[prompts]` of hidden states `[prompts, hidden]`; positive means harmful."""
        return self.classifier(hidden)

    def save(self, directory: Path) -> None:
        """Write `probe.safetensors` and, last, `probe.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        classifier = self.classifier
        tensors = {"weight": classifier.weight, "mean": classifier.mean, "scale": classifier.scale}
        save_file({name: t.contiguous() for name, t in tensors.items()}, directory / "probe.safetensors")
        content = {"model": self.model, "bias": classifier.bias, "gap": self.gap, "quality": self.quality}
        write_json(directory / "probe.json", content)

    @classmethod
    def load(cls, directory: Path, model: Any) -> Probe:
        """Read a probe for `model`.

        Raises:
            StaleArtifactError: the probe was fitted on another model.
        """
        content = read_json(directory / "probe.json")
        found = fingerprint(model)
        if content["model"] != found:
            raise StaleArtifactError(
                f"The probe in {directory} was fitted on the weights {content['model']}, this model has "
                f"{found}. A probe is only valid on its own model: analyse this one."
            )
        tensors = load_file(directory / "probe.safetensors")
        classifier = LinearClassifier(tensors["weight"], content["bias"], tensors["mean"], tensors["scale"])
        return cls(classifier, content["model"], content["gap"], content["quality"])


def fit_probe(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[PromptSet],
    *,
    l2: float,
    kind: str = "logistic",
    folds: int = 5,
    seed: int = 0,
    batch_size: int = 16,
) -> Probe:
    """Fit a probe on labelled prompts and measure how much to believe it.

    Args:
        model: the model to probe.
        tokenizer: its tokenizer.
        prompts: harmful prompts, their twins, ordinary instructions.
        l2: penalty on the weights.
        kind: how the classifier is fitted, a key of `CLASSIFIERS`.
        folds: of the cross-validation; twins stay together.
        seed: of folds and control permutations.
        batch_size: prompts at once.

    Raises:
        DataError: the probe does not tell harmful prompts from harmless ones, so its gap is no unit.
    """
    fit = CLASSIFIERS[kind]
    rows = [prompt for part in prompts for prompt in part]
    labels = torch.tensor([prompt.harmful for prompt in rows])
    groups = [prompt.pair or prompt.id for prompt in rows]
    with progress("hidden states", len(rows)) as advance:
        texts = [prompt.text for prompt in rows]
        states = last_token_states(model, tokenizer, texts, batch_size=batch_size, advance=advance)
    classifier = fit(states, labels, l2)
    out_of_fold = cross_validated(states, labels, groups, l2, folds, seed, fit)
    words = _bag_of_words([prompt.text for prompt in rows])
    gap = checked_gap(out_of_fold, labels, f"the {kind} probe")
    quality = {
        "kind": kind,
        "n": len(rows),
        "harmful": int(labels.sum()),
        "auroc": auroc(out_of_fold, labels),
        "accuracy": float(((out_of_fold > 0) == labels).float().mean()),
        "shuffled_auroc": _shuffled(states, labels, groups, l2, folds, seed, fit),
        "bag_of_words_auroc": auroc(cross_validated(words, labels, groups, l2, folds, seed), labels),
    }
    return Probe(classifier, fingerprint(model), gap, quality)


def checked_gap(scores: torch.Tensor, labels: torch.Tensor, what: str) -> float:
    """Median score of harmful prompts minus that of harmless ones: the unit of drift, so it must be positive.

    Args:
        scores: `[prompts]`, of prompts that nothing was fitted on.
        labels: `[prompts]`, True for harmful.
        what: gave the scores, for the message.

    Raises:
        DataError: it is not positive, or the scores of the two classes differ by no more than chance
            (one-sided Mann-Whitney test at `CHANCE`); says what to do.
    """
    harmful, harmless = (float(scores[chosen].double().median()) for chosen in (labels, ~labels))
    spread = float(scores.double().std())
    apart = mannwhitneyu(scores[labels].double(), scores[~labels].double(), alternative="greater").pvalue
    if not (harmful - harmless > 1e-6 * max(spread, abs(harmful), 1e-30) and apart < CHANCE):
        raise DataError(
            f"Drift has no unit: {what} has the median {harmful:.4g} on harmful prompts and {harmless:.4g} "
            f"on harmless ones (p = {apart:.2g}); expected a higher one on harmful prompts. Check the chat "
            "template, choose another analysis.proxy or analysis.probe, or align the model first "
            "(`securetune align`)."
        )
    return harmful - harmless


def transfer(
    probe: Probe,
    model: Any,
    tokenizer: Any,
    others: Mapping[str, Sequence[PromptSet]],
    batch_size: int = 16,
) -> dict[str, dict[str, Any]]:
    """Test a probe on prompts of another origin, which it was not fitted on.

    Args:
        probe: of `model`.
        model: the model it was fitted on.
        tokenizer: its tokenizer.
        others: name -> sets, which hold at least one prompt.
        batch_size: prompts at once.

    Returns:
        For each name `n`, `auroc` (`None` without both classes) and `accuracy`.
    """
    found = {}
    held = {name: [prompt for part in sets for prompt in part] for name, sets in others.items()}
    with progress("hidden states of other prompts", sum(map(len, held.values()))) as advance:
        for name, prompts in held.items():
            texts = [prompt.text for prompt in prompts]
            logits = probe(last_token_states(model, tokenizer, texts, batch_size=batch_size, advance=advance))
            labels = torch.tensor([prompt.harmful for prompt in prompts])
            accuracy = float(((logits > 0) == labels).float().mean())
            found[name] = {"n": len(prompts), "auroc": auroc(logits, labels), "accuracy": accuracy}
    return found


def _shuffled(
    states: torch.Tensor,
    labels: torch.Tensor,
    groups: Sequence[str],
    l2: float,
    folds: int,
    seed: int,
    fit: Fit,
) -> float:
    """Mean cross-validated AUROC over three permutations of the labels: 0.5 if the protocol is honest."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(3):
        permuted = labels[torch.from_numpy(rng.permutation(len(labels)))]
        value = auroc(cross_validated(states, permuted, groups, l2, folds, seed, fit), permuted)
        assert value is not None
        values.append(value)
    return float(np.mean(values))


def _bag_of_words(texts: Sequence[str]) -> torch.Tensor:
    """Word presence `[texts, words]` over words that occur at least twice."""
    found = [set(re.findall(r"[a-z']+", text.lower())) for text in texts]
    counts: dict[str, int] = {}
    for words in found:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    vocabulary = {word: i for i, word in enumerate(sorted(w for w, n in counts.items() if n > 1))}
    table = torch.zeros(len(texts), max(1, len(vocabulary)))
    for row, words in enumerate(found):
        for word in words & vocabulary.keys():
            table[row, vocabulary[word]] = 1
    return table
