"""Prompts -> answers: batched greedy generation, appended to a file batch by batch and resumable."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from securetune.encoding import end_of_turn_token, plain_end_of_turn, require_chat_template
from securetune.errors import ConfigError, DataError
from securetune.files import digest
from securetune.memory import Halving
from securetune.prompts import Prompt

log = logging.getLogger("securetune")

_OPENED = "<think>"


@dataclass(frozen=True)
class Decoding:
    """How answers are generated; part of every result."""

    max_new_tokens: int = 32
    batch_size: int = 16
    system_prompt: str | None = None
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    seed: int = 0
    """Of sampling; the same batch with the same seed has the same answers."""


@dataclass(frozen=True)
class Response:
    """One answer of one model to one prompt."""

    prompt_id: str
    text: str
    tokens: int
    """New tokens, the end-of-turn token not counted."""
    ended: bool
    """Whether the model ended its turn within `max_new_tokens`."""


def render_prompt(tokenizer: Any, text: str, system_prompt: str | None = None) -> str:
    """Return a user message in the model's chat template, ready for its answer.

    `enable_thinking=False` is passed along: templates that know the variable switch reasoning off,
    others ignore it.

    Raises:
        ConfigError: the tokenizer has no chat template, or one that has no place for the system prompt.
    """
    require_chat_template(tokenizer)
    messages = [{"role": "user", "content": text}]
    if system_prompt is None:
        return _render(tokenizer, messages)
    try:
        rendered = _render(tokenizer, [{"role": "system", "content": system_prompt}, *messages])
    except TemplateError as error:
        raise ConfigError(f"The chat template takes no system prompt ({error}). {_NO_SYSTEM}") from error
    if system_prompt.strip() not in rendered:
        raise ConfigError(f"The chat template leaves the system prompt out. {_NO_SYSTEM}")
    return rendered


def answer_gap(tokenizer: Any) -> str:
    """The white space that the chat template puts between the generation prompt and an answer, often none."""
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "securetune-answer"}]
    prompt = _render(tokenizer, turns[:1])
    told = tokenizer.apply_chat_template(turns, tokenize=False, enable_thinking=False)
    before, found, _ = str(told).rpartition("securetune-answer")
    gap = before.removeprefix(prompt)
    return gap if found and before.startswith(prompt) and gap.isspace() else ""


_NO_SYSTEM = (
    "Leave out evaluate.system_prompt and the attack `system`, or set evaluate.chat_template to a template "
    "with a system role."
)


def _render(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    return str(
        tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    )


def tokenize_rendered(tokenizer: Any, texts: Sequence[str], device: Any) -> Any:
    """Tokenise rendered prompts with left padding; special tokens are already in the text."""
    tokenizer.padding_side = "left"
    batch = tokenizer(list(texts), return_tensors="pt", padding=True, add_special_tokens=False)
    return {key: batch[key].to(device) for key in ("input_ids", "attention_mask")}


def input_device(model: Any) -> Any:
    """Where the inputs go; where the embeddings are offloaded, the device that accelerate computes on."""
    if model.device.type != "meta":
        return model.device
    hooks = (getattr(module, "_hf_hook", None) for module in model.modules())
    return next(device for hook in hooks if (device := getattr(hook, "execution_device", None)) is not None)


def without_gradients(model: Any) -> Any:
    """`torch.inference_mode()`; where weights are offloaded, `torch.no_grad()`.

    Weights fetched in inference mode stay inference tensors, through which no gradient can be taken later.
    """
    import torch

    offloaded = any(weight.is_meta for weight in model.parameters())
    return torch.no_grad() if offloaded else torch.inference_mode()


def read_answers(prompts: Sequence[Prompt], path: Path) -> list[Response] | None:
    """The answers that a file holds, in the order of `prompts`; `None` if any is missing."""
    done = _read(path)
    return [done[p.id] for p in prompts] if all(p.id in done for p in prompts) else None


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    path: Path | None = None,
    progress: Callable[[int], None] | None = None,
    prefix: str = "",
) -> list[Response]:
    """Answer every prompt, greedily unless `decoding` says otherwise, in batches of similar length.

    The batches depend only on the prompts, so a run that was cut off and continued gives the same answers.
    A batch that does not fit into memory is halved. An answer ends at any of `end_tokens`. Of the model's
    generation settings only token ids count: no penalty that a checkpoint brings along.

    Args:
        model: a causal language model, or a `VllmModel`.
        tokenizer: its tokenizer, with a chat template.
        prompts: what to ask; ids must be unique.
        decoding: length, batch size and system prompt.
        path: a JSONL file to append to; batches that it already holds are not generated again.
        progress: called with the number of answers after each batch.
        prefix: what every answer is forced to begin with, where the template puts answers; part of the
            answer's text, not of its tokens.

    Returns:
        One response per prompt, in the order of `prompts`.

    Raises:
        ConfigError: as `render_prompt`.
        DataError: two prompts share an id, or a line of the file is not an answer.
        TrainingError: one prompt does not fit into memory.
    """
    if len({p.id for p in prompts}) < len(prompts):
        raise DataError("Two prompts share an id, so their answers cannot be told apart.")
    done = _read(path)
    rendered = {p.id: render_prompt(tokenizer, p.text, decoding.system_prompt) for p in prompts}
    # Where the template opens the reasoning, the answer would not show that it is reasoning.
    opened = any(text.rstrip().endswith(_OPENED) for text in rendered.values())
    beginning = (_OPENED if opened else "") + prefix
    if prefix:
        forced = answer_gap(tokenizer) + prefix
        rendered = {key: text + forced for key, text in rendered.items()}
    order = sorted(prompts, key=lambda p: (len(rendered[p.id]), p.id))
    ends, ending = end_tokens(model, tokenizer), plain_end_of_turn(tokenizer)
    read = partial(_response, tokenizer, ends=ends, beginning=beginning, ending=ending)
    if hasattr(model, "answer_elsewhere"):
        asked = {p.id: tokenizer(rendered[p.id], add_special_tokens=False)["input_ids"] for p in order}
        asked = {key: ids for key, ids in asked.items() if key not in done}
        if progress is not None:
            progress(len(order) - len(asked))
        for key, ids in model.answer_elsewhere(asked, decoding, ends):
            done[key] = read(key, ids)
            _append(path, [done[key]])
            if progress is not None:
                progress(1)
        return [done[p.id] for p in prompts]
    answer = partial(_answer, model, tokenizer, rendered=rendered, decoding=decoding, ends=ends, read=read)
    halving = Halving("generation")
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), decoding.batch_size):
            batch = order[start : start + decoding.batch_size]
            if not all(p.id in done for p in batch):
                with without_gradients(model):
                    new = halving.run(answer, batch)
                # Of a batch that the file holds in part, the answers are the same again.
                new = [response for response in new if response.prompt_id not in done]
                done |= {response.prompt_id: response for response in new}
                _append(path, new)
            if progress is not None:
                progress(len(batch))
    finally:
        model.train(was_training)
    return [done[p.id] for p in prompts]


def _answer(
    model: Any,
    tokenizer: Any,
    batch: Sequence[Prompt],
    rendered: dict[str, str],
    decoding: Decoding,
    ends: Sequence[int],
    read: Callable[[str, list[int]], Response],
) -> list[Response]:
    inputs = tokenize_rendered(tokenizer, [rendered[p.id] for p in batch], input_device(model))
    with _token_ids_only(model), _sampling(decoding, batch) as sampling:
        output = model.generate(
            **inputs,
            **sampling,
            max_new_tokens=decoding.max_new_tokens,
            num_beams=1,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=list(ends),
        )
    new = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [read(prompt.id, ids) for prompt, ids in zip(batch, new)]


def _response(
    tokenizer: Any, key: str, ids: list[int], ends: Sequence[int], beginning: str, ending: str
) -> Response:
    """New tokens as an answer: up to the first that ends it, what comes before them in front.

    `ending` is the template's, in plain text, and no part of an answer that ended.
    """
    stop = next((i for i, token in enumerate(ids) if token in ends), None)
    kept = ids if stop is None else ids[:stop]
    text = tokenizer.decode(kept, skip_special_tokens=True)
    if stop is not None:
        text = text.removesuffix(ending)
    return Response(key, beginning + text, len(kept), stop is not None)


@contextmanager
def _token_ids_only(model: Any) -> Iterator[None]:
    """Put aside what else the generation settings hold; `generate` takes from them what it is not given."""
    from transformers import GenerationConfig

    owner = model.get_base_model() if hasattr(model, "get_base_model") else model
    shipped = owner.generation_config
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    owner.generation_config = GenerationConfig(**{name: getattr(shipped, name, None) for name in names})
    try:
        yield
    finally:
        owner.generation_config = shipped


@contextmanager
def _sampling(decoding: Decoding, batch: Sequence[Prompt]) -> Iterator[dict[str, Any]]:
    """Options of `generate`, with a random state that depends on the seed and the batch alone."""
    if decoding.temperature == 0:
        yield {"do_sample": False}
        return
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(int(digest([decoding.seed, [prompt.id for prompt in batch]]), 16))
        options = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
        yield {"do_sample": True, **options}


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Ids that end an answer: the model's, the tokenizer's, and the one that the chat template writes.

    The last one is what training teaches; a template that was passed may end turns with a token that the
    model's own settings do not know.
    """
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends = set(configured) if isinstance(configured, list) else {configured}
    token = end_of_turn_token(tokenizer)
    ends |= {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(token) if token else None}
    return sorted(end for end in ends if end is not None)


def _read(path: Path | None) -> dict[str, Response]:
    """Read finished answers; a last line that was cut off by a kill is dropped from the file."""
    if path is None or not path.is_file():
        return {}
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        path.write_bytes(whole)
    # Not `splitlines`: answers may hold other line separators, which JSON leaves as they are.
    lines = [line for line in whole.decode("utf-8").split("\n") if line.strip()]
    try:
        responses = [Response(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} holds a line that is not an answer ({error}). Delete the file.") from error
    return {response.prompt_id: response for response in responses}


def _append(path: Path | None, responses: Sequence[Response]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(asdict(r), ensure_ascii=False) + "\n" for r in responses)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(lines)
