"""What reaches the terminal: logging on stderr, one JSON object on stdout, no control characters."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Remove control and bidirectional-override characters: model output is hostile text."""
    return _CONTROL.sub("", text)


def set_up(*, verbose: bool, quiet: bool) -> None:
    """Send our log to stderr and keep the libraries quiet and offline from telemetry."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    log = logging.getLogger("securetune")
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    log.setLevel(level)
    log.handlers.clear()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("%(message)s"))
    log.addHandler(handler)
    log.propagate = False
    if not verbose:
        for noisy in ("transformers", "peft", "trl", "datasets", "accelerate", "torch", "bitsandbytes"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
            warnings.filterwarnings("ignore", module=f"{noisy}(\\..*)?")


def quiet_libraries() -> None:
    """Switch off the progress bars of transformers and datasets; call after importing them is wanted."""
    from datasets.utils.logging import disable_progress_bar as no_dataset_bars
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    no_dataset_bars()


def emit(content: Any, *, as_json: bool, text: str) -> None:
    """Print the result of a command: one JSON object, or text for people."""
    sys.stdout.write((json.dumps(content, allow_nan=False) if as_json else plain_lines(text)) + "\n")
    sys.stdout.flush()


def plain_lines(text: str) -> str:
    """`plain`, keeping line breaks."""
    return "\n".join(plain(line) for line in text.splitlines())


class _Plain(logging.Formatter):
    """Formats records without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return plain_lines(super().format(record))
