"""Verdicts of judges that run a model, kept as they come; and which version of a judge gave verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from securetune.evaluation.judges import Judge, Verdict, guards, judge_all
from securetune.evaluation.judges.answer_classifier import NAME as CLASSIFIER
from securetune.evaluation.judges.answer_classifier import version
from securetune.evaluation.judges.guards import GUARDS
from securetune.evaluation.judges.rubric import INSTRUCTION, MAX_TOKENS, awaits_reply
from securetune.evaluation.judges.verdict import RULES
from securetune.evaluation_settings import EvaluateSettings, RubricSettings
from securetune.files import digest, file_digest, read_json, write_json

CHUNK = 64
"""Answers that are judged before their verdicts are written (ours)."""
JUDGES_FILE = "judges.json"
"""Beside the verdicts of a suite: judge -> `judge_facts` of those that are there."""
_READ = (".json", ".safetensors", ".jinja", ".model", ".txt", ".gguf")
"""Files of a model directory that a load may read."""


def judge_version(name: str, settings: EvaluateSettings) -> str | None:
    """What verdicts depend on besides request and answer; `None` for judges whose verdicts are not kept.

    Refusal lists take no time. A guard on this machine is known by the content of its files, wherever they
    are.
    """
    if name == CLASSIFIER:
        own: object = version()
    elif name in GUARDS:
        own = [_guard_model(name, settings), guards.version(GUARDS[name])]
    elif name == "rubric" and settings.rubric is not None:
        own = _grader(settings.rubric)
    else:
        return None
    return digest([name, own, RULES])


def judge_facts(name: str, settings: EvaluateSettings) -> dict[str, Any]:
    """What verdicts of every judge depend on besides request and answer, as `judges.json` records it.

    Verdicts under one name are of one judge if and only if these are equal. Keys and paths are not in it.
    """
    facts: dict[str, Any] = {"rules": RULES}
    if name == "rubric":
        return facts if settings.rubric is None else facts | _grader(settings.rubric)
    if (version := judge_version(name, settings)) is not None:
        facts["version"] = version
    if name in GUARDS:
        facts["model"] = _guard_model(name, settings)
    return facts


def _grader(settings: RubricSettings) -> dict[str, Any]:
    return {
        "model": settings.model,
        "host": urlsplit(settings.base_url).hostname,
        "instruction": digest([INSTRUCTION, MAX_TOKENS]),
    }


def record_judge(path: Path, name: str, settings: EvaluateSettings) -> None:
    """Record the judge of the verdicts that were just written, in `path`."""
    known = read_json(path) if path.is_file() else {}
    write_json(path, known | {name: judge_facts(name, settings)})


def _guard_model(name: str, settings: EvaluateSettings) -> str:
    """Hub id and revision of a guard, or the digest of its files where it is on this machine."""
    place = settings.guard_models.get(name, GUARDS[name].model)
    path = Path(place)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in _READ and file.is_file())
    elif path.is_file():
        files = [path]
    else:
        return place
    return f"files {digest({file.name: _content(file, *_state(file)) for file in files})}"


def _state(file: Path) -> tuple[int, int]:
    return file.stat().st_size, file.stat().st_mtime_ns


@cache
def _content(file: Path, size: int, changed: int) -> str:
    """Digest of a file, which may be many GB: once per process, and again when size or time changed."""
    return file_digest(file)


def judge_kept(
    judge: Judge, version: str | None, pairs: Sequence[tuple[str, str]], path: Path
) -> list[Verdict]:
    """Judge (request, answer) pairs; verdicts in `path` are taken from it, new ones are appended.

    An answer that an endpoint did not reply about is asked about again by the next call.

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
    missing = list(_missing(version, pairs, kept).items())
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        said = judge_all(judge, [pair for _, pair in chunk])
        new = {key: one for (key, _), one in zip(chunk, said)}
        final = {key: one for key, one in new.items() if not awaits_reply(one)}
        _append(path, [json.dumps({"key": key, **asdict(one)}) for key, one in final.items()])
        kept |= new
    return [kept[key] for key in keys]


def not_kept(version: str | None, pairs: Sequence[tuple[str, str]], path: Path) -> list[tuple[str, str]]:
    """The pairs whose verdicts by a judge of this version are not in `path`."""
    return list(pairs) if version is None else list(_missing(version, pairs, _read(path)).values())


def _missing(
    version: str, pairs: Sequence[tuple[str, str]], kept: Mapping[str, Verdict]
) -> dict[str, tuple[str, str]]:
    keyed = {digest([version, *pair]): pair for pair in pairs}
    return {key: pair for key, pair in keyed.items() if key not in kept}


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
    if not lines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":  # What a kill cut off.
                file.write(b"\n")
        file.write(("\n".join(lines) + "\n").encode())
