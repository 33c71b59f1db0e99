"""Public prompt sets and labels, which are not committed: skipped without them, but not in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(name: str) -> Path:
    root = os.environ.get("SECURETUNE_DATA")
    folder = Path(root) if root else Path(__file__).resolve().parents[2] / "shared" / "data"
    path = folder / name
    if not path.is_file():
        message = f"public data not found: {path} (set SECURETUNE_DATA)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path
