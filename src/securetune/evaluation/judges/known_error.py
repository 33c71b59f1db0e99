"""How far each judge agrees with people, as `judge-check` measured it on public labels (docs/judges.md)."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

from securetune.report.data import JudgeError

FILE = "judge_errors.json"


def known_error(judge: str) -> JudgeError | None:
    """The measured error of a judge; `None` where we measured none."""
    content = _measured()
    row = content["judges"].get(judge)
    return None if row is None else JudgeError(judge, **row, source=content["source"])


@lru_cache(maxsize=1)
def _measured() -> dict[str, Any]:
    """Source of the labels, and by judge the fields of `JudgeError`."""
    text = (resources.files("securetune") / "data" / FILE).read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content
