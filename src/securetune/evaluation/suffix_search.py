"""A bounded search for adversarial suffixes by gradients, to evaluate the user's own model (GCG).

Source: Zou et al., arXiv 2307.15043, algorithm 1. Deviations: far fewer steps by default; candidates whose
tokens are not those of the whole prompt, as it is asked, are dropped; the suffix starts as repeated `x`, as
in nanogcg.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from securetune.encoding import common_length
from securetune.errors import DataError
from securetune.evaluation.attacks import BEGINNING
from securetune.evaluation.generate import answer_gap, input_device, render_prompt
from securetune.evaluation_settings import SuffixSettings

_MARK = "SUFFIXGOESHERE"


@dataclass(frozen=True)
class _Place:
    """Where the suffix goes, between the tokens before it and those up to the end of the target."""

    tokenizer: Any
    request: str
    system_prompt: str | None
    before: list[int]
    start: list[int]
    after: list[int]
    target_length: int

    def text(self, suffix: list[int]) -> str:
        """What is written behind the request and a space; decoded in its place, where spaces are kept."""
        last = self.before[-1:]
        options = {"clean_up_tokenization_spaces": False}
        head, whole = self.tokenizer.batch_decode([last, last + suffix], **options)
        return str(whole).removeprefix(head).removeprefix(" ")

    def is_kept(self, suffix: list[int]) -> bool:
        """Whether the prompt that is asked with this suffix has its tokens, and these around them."""
        _, ids = _asked(self.tokenizer, f"{self.request} {self.text(suffix)}", self.system_prompt)
        return ids == self.before + suffix + self.after


@dataclass(frozen=True)
class FoundSuffix:
    """The best suffix of one search. Evaluation writes it beside the answers; no report shows it."""

    text: str
    start_loss: float
    """Mean negative log-likelihood of the target per token with the first suffix."""
    loss: float


def search_suffix(
    model: Any, tokenizer: Any, request: str, settings: SuffixSettings, system_prompt: str | None = None
) -> FoundSuffix:
    """Find a suffix that makes the model begin its answer with `BEGINNING`.

    Same model, request and settings give the same suffix.

    Raises:
        DataError: the chat template changes the user's text, so that the suffix cannot be placed.
    """
    import torch

    device = input_device(model)
    place = _find_place(tokenizer, request, settings.tokens, system_prompt)
    pieces = [torch.tensor(ids, device=device) for ids in (place.before, place.after)]
    suffix, target_length = torch.tensor(place.start, device=device), place.target_length
    forbidden = torch.tensor(_forbidden(tokenizer, len(model.get_input_embeddings().weight)), device=device)
    generator = torch.Generator().manual_seed(settings.seed)
    parameters = [(weight, weight.requires_grad) for weight in model.parameters()]
    for weight, _ in parameters:
        weight.requires_grad_(False)
    was_training = model.training
    model.eval()
    try:
        best = start = float(_losses(model, pieces, suffix[None], target_length)[0])
        for _ in range(settings.steps):
            gradient = _gradient(model, pieces, suffix, target_length)
            gradient[:, forbidden] = float("inf")
            choices = (-gradient).topk(min(settings.topk, gradient.shape[1] - len(forbidden)), dim=1).indices
            candidates = _candidates(place, suffix, choices, settings.width, generator)
            if not len(candidates):
                continue
            losses = torch.cat(
                [
                    _losses(model, pieces, part, target_length)
                    for part in candidates.split(settings.batch_size)
                ]
            )
            if float(losses.min()) < best:
                best, suffix = float(losses.min()), candidates[int(losses.argmin())]
    finally:
        for weight, trainable in parameters:
            weight.requires_grad_(trainable)
        model.train(was_training)
    return FoundSuffix(place.text(suffix.tolist()), start, best)


def _find_place(tokenizer: Any, request: str, tokens: int, system_prompt: str | None) -> _Place:
    """Tokenise the whole prompt with two suffixes: what the two share stands around the suffix."""
    marked = render_prompt(tokenizer, f"{request} {_MARK}", system_prompt)
    if marked.count(_MARK) == 1:
        for repeats in range(tokens, 0, -1):
            (target, ids), (_, other) = (
                _asked(tokenizer, f"{request}{f' {letter}' * repeats}", system_prompt) for letter in "xq"
            )
            start = common_length(ids, other)
            end = len(ids) - common_length(ids[:start:-1], other[:start:-1])
            # Some tokenizers write a space as a token of its own.
            if start < end <= start + tokens:
                parts = ids[:start], ids[start:end], ids[end:]
                return _Place(tokenizer, request, system_prompt, *parts, target)
    raise DataError("The chat template changes the user's text; a suffix cannot be placed in it.")


def _asked(tokenizer: Any, text: str, system_prompt: str | None) -> tuple[int, list[int]]:
    """Tokens of a prompt and the target behind it, and how many of them are the target's."""
    prompt = render_prompt(tokenizer, text, system_prompt)
    whole = prompt + answer_gap(tokenizer) + BEGINNING
    alone, ids = tokenizer([prompt, whole], add_special_tokens=False, verbose=False)["input_ids"]
    return len(ids) - common_length(alone, ids), ids


def _forbidden(tokenizer: Any, vocabulary: int) -> list[int]:
    """Ids of all special and added tokens: a suffix is plain text, without the template's own marks."""
    ids = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return sorted(number for number in ids if number < vocabulary)


def _losses(model: Any, pieces: list[Any], suffixes: Any, target_length: int) -> Any:
    """Loss of the target per candidate; `suffixes` is `[candidates, tokens]`."""
    import torch

    before, after = (piece.expand(len(suffixes), -1) for piece in pieces)
    ids = torch.cat([before, suffixes, after], dim=1)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, -target_length - 1 : -1].float()
    return torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), ids[:, -target_length:], reduction="none"
    ).mean(dim=1)


def _gradient(model: Any, pieces: list[Any], suffix: Any, target_length: int) -> Any:
    """Gradient `[tokens, vocabulary]` of the loss with respect to the suffix's one-hot rows."""
    import torch

    embedding = model.get_input_embeddings()
    table = _weight(embedding)
    one_hot = torch.nn.functional.one_hot(suffix, table.shape[0]).to(table.dtype).requires_grad_()
    # Some families scale embeddings in the layer itself: ask the layer, and add what the one-hot rows change.
    change = (one_hot - one_hot.detach()) @ table
    scale = _scale(embedding, table, suffix)
    middle = embedding(suffix).detach() + change * scale
    before, after = (embedding(piece).detach() for piece in pieces)
    inputs = torch.cat([before, middle, after])[None]
    logits = model(inputs_embeds=inputs).logits[0, -target_length - 1 : -1].float()
    loss = torch.nn.functional.cross_entropy(logits, pieces[1][-target_length:])
    return torch.autograd.grad(loss, one_hot)[0].float()


def _weight(embedding: Any) -> Any:
    """The rows of an embedding, fetched where they are offloaded."""
    if not embedding.weight.is_meta:
        return embedding.weight
    from accelerate.utils import align_module_device

    with align_module_device(embedding):
        return embedding.weight.detach()


def _scale(embedding: Any, table: Any, suffix: Any) -> float:
    row = table[suffix[0]]
    return float((embedding(suffix[:1])[0].norm() / row.norm().clamp_min(1e-12)).detach())


def _candidates(place: _Place, suffix: Any, choices: Any, width: int, generator: Any) -> Any:
    """Suffixes with one token exchanged that the asked prompt is tokenised into, `[n, tokens]`."""
    import torch

    rows = suffix.repeat(width, 1)
    places = torch.randint(len(suffix), (width,), generator=generator).to(suffix.device)
    picks = torch.randint(choices.shape[1], (width,), generator=generator).to(suffix.device)
    rows[torch.arange(width, device=suffix.device), places] = choices[places, picks]
    return rows[[index for index, row in enumerate(rows.tolist()) if place.is_kept(row)]]
