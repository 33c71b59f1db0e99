"""Put the prompts of a suite to a model, directly or under an attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from securetune.evaluation.attacks import Attack, sample_id
from securetune.evaluation.generate import Decoding, Response, generate, render_prompt
from securetune.evaluation.suffix_search import search_suffix
from securetune.evaluation_settings import EvaluateSettings, SuffixSettings
from securetune.files import digest, read_json, write_json
from securetune.prompts import Prompt

DIRECT = Attack("direct")


def ask(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    attack: Attack | None,
    settings: EvaluateSettings,
    path: Path,
    progress: Callable[[int], None] | None = None,
) -> list[Response]:
    """Answer the prompts as the attack puts them; ids of sampled answers are those of `sample_id`.

    Writes `suite.json` beside `path`: template, system prompt, decoding and number of new tokens. Found
    suffixes go into `suffixes.json` there, and nowhere else.
    """
    attack = attack or DIRECT
    system = attack.system_prompt if attack.system_prompt is not None else settings.system_prompt
    greedy = Decoding(settings.max_new_tokens, settings.batch_size, system)
    card = attack.card() | {"system_prompt": system, "max_new_tokens": settings.max_new_tokens}
    card["harmful"] = prompts[0].harmful
    write_json(path.parent / "suite.json", card)
    put = [attack.apply(prompt) for prompt in prompts]
    if attack.suffix is not None:
        put = _with_suffixes(model, tokenizer, put, attack.suffix, system, path.parent / "suffixes.json")
    prefix = attack.prefix(tokenizer)
    answers = generate(model, tokenizer, put, greedy, path, progress, prefix)
    for sample, (temperature, top_p) in enumerate(attack.sweep, start=1):
        decoding = replace(greedy, temperature=temperature, top_p=top_p, seed=sample)
        named = [replace(prompt, id=sample_id(prompt.id, sample)) for prompt in put]
        answers += generate(model, tokenizer, named, decoding, path, progress, prefix)
    return answers


def check_system_prompts(
    tokenizer: Any, attacks: Sequence[Attack | None], settings: EvaluateSettings
) -> None:
    """Render a prompt with every system prompt that will be used, before anything is generated.

    Raises:
        ConfigError: the chat template has no place for one.
    """
    for system in {settings.system_prompt, *(attack.system_prompt for attack in attacks if attack)}:
        if system is not None:
            render_prompt(tokenizer, "Hello.", system)


def _with_suffixes(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    settings: SuffixSettings,
    system: str | None,
    path: Path,
) -> list[Prompt]:
    """Search a suffix for every prompt; what the file holds is not searched again."""
    inputs = digest([settings.model_dump(mode="json"), system])
    stored = read_json(path) if path.is_file() else {}
    found = stored.get("suffixes", {}) if stored.get("inputs") == inputs else {}
    for prompt in prompts:
        if prompt.id not in found:
            suffix = search_suffix(model, tokenizer, prompt.text, settings, system)
            found[prompt.id] = asdict(suffix)
            write_json(path, {"inputs": inputs, "suffixes": found})
    return [replace(prompt, text=f"{prompt.text} {found[prompt.id]['text']}") for prompt in prompts]
