"""Verdicts of judges that run a model, kept as they come: nothing is judged twice, a kill loses little."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from securetune.evaluation.judges import Judge, Verdict, judge_all
from securetune.evaluation.judges.answer_classifier import NAME as CLASSIFIER
from securetune.evaluation.judges.answer_classifier import version
from securetune.evaluation.judges.guards import GUARDS
from securetune.evaluation.judges.verdict import RULES
from securetune.evaluation_settings import EvaluateSettings
from securetune.files import digest

CHUNK = 64
"""Answers that are judged before their verdicts are written (ours)."""


def judge_version(name: str, settings: EvaluateSettings) -> str | None:
    """What verdicts depend on besides request and answer; `None` for judges whose verdicts are not kept.

    Refusal lists take no time, and the rubric keeps the endpoint's replies itself.
    """
    if name == CLASSIFIER:
        own: object = version()
    elif name in GUARDS:
        guard = GUARDS[name]
        own = [settings.guard_models.get(name, guard.model), guard.prompt, guard.adapter]
    else:
        return None
    return digest([name, own, RULES])


def judge_kept(
    judge: Judge, version: str | None, pairs: Sequence[tuple[str, str]], path: Path
) -> list[Verdict]:
    """Judge (request, answer) pairs; verdicts in `path` are taken from it, new ones are appended.

    Args:
        judge: whose model is loaded only if a verdict is missing.
        version: of the judge; `None`: everything is judged, nothing is kept.
        pairs: what to judge.
        path: jsonl of digests and verdicts, without texts.
    """
    if version is None:
        return judge_all(judge, pairs)
    keys = [digest([version, *pair]) for pair in pairs]
    kept = _read(path)
    missing = list({key: pair for key, pair in zip(keys, pairs) if key not in kept}.items())
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        said = judge_all(judge, [pair for _, pair in chunk])
        new = {key: one for (key, _), one in zip(chunk, said)}
        _append(path, [json.dumps({"key": key, **asdict(one)}) for key, one in new.items()])
        kept |= new
    return [kept[key] for key in keys]


def _read(path: Path) -> dict[str, Verdict]:
    """Verdict by key; a line that a kill cut off is left out."""
    kept = {}
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else ():
        try:
            row = json.loads(line)
            key = row.pop("key")
            kept[key] = Verdict(**row)
        except (ValueError, TypeError, KeyError):
            continue
    return kept


def _append(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":  # What a kill cut off.
                file.write(b"\n")
        file.write(("\n".join(lines) + "\n").encode())
