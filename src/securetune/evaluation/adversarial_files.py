"""Readers of adversarial prompts that others produced: JailbreakBench, HarmBench, nanogcg."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securetune.errors import DataError
from securetune.evaluation.attacks import Attack
from securetune.prompts import Prompt, PromptSet
from securetune.tables import is_encodable

FORMS = (
    'JailbreakBench ({"jailbreaks": [{"goal", "prompt"}]}), HarmBench ({"BehaviorID": ["test case"]}) or '
    'nanogcg ({"best_string", "goal"}, one object, a list or jsonl)'
)


@dataclass(frozen=True)
class AdversarialPrompts:
    """The requests behind a file, and the attack that asks them in the file's words."""

    requests: PromptSet
    """What is wanted, as judges see it; the adversarial text itself where the file does not say."""
    attack: Attack
    without_prompt: int
    """Entries without adversarial text: null (JailbreakBench has it for failed attempts), blank, no cases."""


def read_adversarial(path: str | Path, license: str = "unknown") -> AdversarialPrompts:
    """Read a file of one of the three forms.

    Raises:
        DataError: it cannot be read, is of another form, or holds no adversarial prompt.
    """
    path = Path(path)
    texts: dict[str, str] = {}
    requests: dict[str, Prompt] = {}
    without_prompt = duplicates = 0
    for request, text, category in _pairs(path, _load(path)):
        if text is None or not text.strip():
            without_prompt += 1
            continue
        if not is_encodable(text) or not is_encodable(request or ""):
            raise DataError(f"{path}: a prompt holds half of a surrogate pair. Remove it.")
        key = hashlib.sha256(f"{request}\0{text}".encode()).hexdigest()[:12]
        duplicates += key in texts
        texts[key] = text
        requests[key] = Prompt(key, request or text, True, category)
    if not texts:
        raise DataError(f"{path} holds no adversarial prompt; expected {FORMS}.")
    name = path.stem
    prompts = PromptSet(name, str(path), license, tuple(requests.values()), duplicates)
    return AdversarialPrompts(prompts, Attack(f"file-{name}", texts=texts), without_prompt)


def _load(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        return json.loads(text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {error}. Expected {FORMS}.") from error


def _pairs(path: Path, content: Any) -> Iterator[tuple[str | None, str | None, str | None]]:
    """(request, adversarial text, category) of every entry."""
    if isinstance(content, dict) and isinstance(content.get("jailbreaks"), list):
        for entry in content["jailbreaks"]:
            yield _text(path, entry, "goal"), _text(path, entry, "prompt"), _text(path, entry, "category")
        return
    entries = content if isinstance(content, list) else [content]
    if all(isinstance(entry, dict) and "best_string" in entry for entry in entries):
        for entry in entries:
            request = _text(path, entry, "goal") or _text(path, entry, "message")
            suffix = _text(path, entry, "best_string")
            if request is None:
                raise DataError(
                    f"{path}: a nanogcg result holds a suffix only; add the request it was optimised for as "
                    '"goal".'
                )
            yield request, f"{request} {suffix}" if suffix and suffix.strip() else None, None
        return
    if isinstance(content, dict) and all(isinstance(cases, list) for cases in content.values()):
        for cases in content.values():
            if not cases:
                yield None, None, None
            for case in cases:
                # Multimodal cases are [file, text] pairs.
                text = case[-1] if isinstance(case, list) and case else case
                if not isinstance(text, str):
                    raise DataError(f"{path}: a test case is {type(case).__name__}; expected text.")
                yield None, text, None
        return
    raise DataError(f"{path} is of no known form; expected {FORMS}.")


def _text(path: Path, entry: Any, key: str) -> str | None:
    if not isinstance(entry, dict):
        raise DataError(f"{path}: an entry is {type(entry).__name__}; expected an object. Known: {FORMS}.")
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{path}: `{key}` is {type(value).__name__}; expected text.")
    return value
