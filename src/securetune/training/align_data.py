"""What an alignment run starts from: refusals to harmful prompts, and harmless prompts to answer itself."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from securetune.config import AlignSettings
from securetune.dataset import Conversation, Message, TrainingData
from securetune.evaluation.judges import DEFAULT_LIST, JUDGES, strip_reasoning
from securetune.formats import has_answers, read_training_data
from securetune.overlap import without_overlap
from securetune.prompt_files import package_prompts, parse_source, read_prompts, split_filter
from securetune.prompts import Prompt, PromptSet
from securetune.tables import package_table


@dataclass(frozen=True)
class Sources:
    """What an alignment run starts from, as its settings name it."""

    refusals: tuple[Conversation, ...]
    prompts: tuple[Prompt, ...]
    """Harmless ones; the start model answers them."""
    counts: Counter[str]
    """What was left out, and why."""
    licenses: dict[str, str]
    """Licence of every source, `unknown` where none is stated."""


def read_sources(settings: AlignSettings) -> Sources:
    """Read refusals and harmless prompts, and drop what (nearly) equals an evaluation prompt."""
    excluded = [*_package_evaluation(), *(_prompts(source, True) for source in settings.exclude)]
    counts: Counter[str] = Counter()
    licenses: dict[str, str] = {}
    refusals: list[Conversation] = []
    for source in settings.refuse:
        refusals += _refusals(source, settings, excluded, counts, licenses)
    refusals = _sample(refusals, settings.refuse_limit, settings.seed)
    prompts: list[Prompt] = []
    for source in settings.help:
        given = _package_helpful() if source == "package" else _prompts(source, False)
        licenses[source] = given.license
        kept, dropped = without_overlap(given, excluded)
        counts["help_dropped_near_evaluation"] += dropped
        prompts += kept.prompts
    prompts = list({prompt.text: prompt for prompt in prompts}.values())
    prompts = _sample(prompts, settings.help_limit, settings.seed)
    return Sources(tuple(refusals), tuple(prompts), counts, {**licenses, **settings.licenses})


def _refusals(
    source: str,
    settings: AlignSettings,
    excluded: Sequence[PromptSet],
    counts: Counter[str],
    licenses: dict[str, str],
) -> list[Conversation]:
    """Rows of harmful prompt -> refusal, from given refusals or from prompts alone."""
    # Refusals that name a harm would mostly name another one than the prompt's.
    own = [
        str(r.values["text"]) for r in package_table("refusals.jsonl").rows if r.values["category"] == "any"
    ]
    pairs: list[tuple[Prompt, str | None]]
    if source == "package":
        licenses[source] = "CC0-1.0"
        pairs = [(prompt, None) for prompt in _package_pairs("harmful")]
    elif parse_source(source).column is None and has_answers(source):
        data = read_training_data(source)
        licenses[source] = data.license
        pairs = _given_refusals(data, settings, counts)
    else:
        prompts = _prompts(source, True)
        licenses[source] = prompts.license
        pairs = [(prompt, None) for prompt in prompts]
    answers = {prompt.id: answer for prompt, answer in pairs}
    given = PromptSet(source, source, "unknown", tuple(prompt for prompt, _ in pairs))
    kept, dropped = without_overlap(given, excluded)
    counts["refuse_dropped_near_evaluation"] += dropped
    rng = random.Random(f"{settings.seed} {source}")
    return [conversation(prompt.text, answers[prompt.id] or rng.choice(own)) for prompt in kept]


def _given_refusals(
    data: TrainingData, settings: AlignSettings, counts: Counter[str]
) -> list[tuple[Prompt, str | None]]:
    judge = JUDGES[DEFAULT_LIST]
    pairs: list[tuple[Prompt, str | None]] = []
    for index, row in enumerate(data):
        final = strip_reasoning(row.messages[-1].content) or ""
        answer = _first_sentences(final, settings.refusal_sentences)
        if judge.judge(row.opening, answer).refused:
            pairs.append((Prompt(f"{data.name}-{index}", row.opening, True), answer))
        else:
            counts["refuse_dropped_not_a_refusal"] += 1
    return pairs


def _first_sentences(text: str, n: int) -> str:
    sentences = re.split(r"(?<=[.!?])\s+", text.strip())
    return " ".join(sentences[:n])


def _prompts(source: str, harmful: bool) -> PromptSet:
    source, where = split_filter(source)
    location, column = parse_source(source)
    return read_prompts(location, harmful=harmful, column=column, where=where)


def _package_helpful() -> PromptSet:
    rows = [row.values for row in package_table("align_helpful.jsonl").rows]
    prompts = [Prompt(str(row["id"]), str(row["prompt"]), False) for row in rows]
    twins = _package_pairs("twin")
    return PromptSet("align-helpful", "securetune", "CC0-1.0", (*prompts, *twins))


def _package_pairs(side: str) -> list[Prompt]:
    """One side of the contrast pairs that were written for alignment, and are used for nothing else."""
    rows = [row.values for row in package_table("align_pairs.jsonl").rows]
    return [Prompt(f"{row['id']}-{side}", str(row[side]), side == "harmful") for row in rows]


def _package_evaluation() -> list[PromptSet]:
    parts = [package_prompts("selection"), package_prompts("evaluation")]
    return [prompts for part in parts for prompts in part]


def _sample(rows: Iterable[Any], limit: int | None, seed: int) -> list[Any]:
    items = list(rows)
    if limit is None or limit >= len(items):
        return items
    return random.Random(seed).sample(items, limit)


def conversation(prompt: str, answer: str, *, truncated: bool = False) -> Conversation:
    """One question and its answer; a truncated answer has no end that could be learnt."""
    turns = (Message("user", prompt.strip()), Message("assistant", answer.strip()))
    return Conversation(turns, truncated)
