"""vLLM as the engine of answers: a process of its own, asked in tokens, answers in the same files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from securetune.errors import SecureTuneError
from securetune.evaluation.generate import Decoding
from securetune.evaluation.model_files import ModelFiles
from securetune.files import digest, read_json

WORKER = Path(__file__).with_name("vllm_worker.py")
_POLL_SECONDS = 0.05


class EngineError(SecureTuneError):
    """The process that answers ended early."""


class VllmModel:
    """Stands for a model in `generate`: the same rendering, the same files, the answers from vLLM.

    The process starts with the first request, keeps the model for all of them and ends with the `with` block.
    Greedy answers are those of transformers up to near-ties; sampled ones have a random state of their own.
    """

    def __init__(self, files: ModelFiles, python: str | None = None) -> None:
        self.files, self.python = files, python or sys.executable
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> VllmModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, which gives its memory back."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.kill() if error else self._process.stdin.close()
            self._process.wait()
            self._process = None
        if self._log is not None:
            self._log.close()

    @property
    def generation_config(self) -> Any:
        """The checkpoint's, for the tokens that end an answer."""
        from transformers import AutoConfig, GenerationConfig

        options: dict[str, Any] = {"revision": self.files.revision}
        try:
            return GenerationConfig.from_pretrained(self.files.source, **options)
        except OSError:
            # Checkpoints without generation_config.json end where their configuration says.
            return AutoConfig.from_pretrained(self.files.source, trust_remote_code=False, **options)

    def answer_elsewhere(
        self, prompts: Mapping[str, Sequence[int]], decoding: Decoding, ends: Sequence[int]
    ) -> Iterator[tuple[str, list[int]]]:
        """Yield (prompt id, new tokens) as answers come, in any order.

        Raises:
            EngineError: the process ended; the message holds the end of its output.
        """
        if not prompts:
            return
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "answers.jsonl"
            out.touch()
            self._send(
                {
                    "out": str(out),
                    "prompts": {key: list(ids) for key, ids in prompts.items()},
                    "max_new_tokens": decoding.max_new_tokens,
                    "temperature": decoding.temperature,
                    "top_p": decoding.top_p,
                    "seed": int(digest([decoding.seed, sorted(prompts)])[:8], 16) >> 1,
                    "ends": list(ends),
                }
            )
            with out.open(encoding="utf-8") as stream:
                for _ in prompts:
                    row = json.loads(self._next_line(stream))
                    yield row["prompt_id"], row["ids"]

    def _next_line(self, stream: IO[str]) -> str:
        line = ""
        while not line.endswith("\n"):
            # First the process, then the file: what it wrote last is still read.
            ended = self._process is None or self._process.poll() is not None
            part = stream.readline()
            line += part
            if not part:
                if ended:
                    raise self._failure()
                time.sleep(_POLL_SECONDS)
        return line

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failure() from error

    def _start(self) -> None:
        files = self.files
        model = {
            "model": files.source,
            "revision": files.revision,
            "tokenizer": str(files.tokenizer),
            "dtype": files.dtype,
            "seed": 0,
            "trust_remote_code": False,
            "enable_lora": files.adapter is not None,
        }
        if files.adapter is not None:
            model["max_lora_rank"] = _rank(files.adapter)
        if files.load_in_4bit:
            model["quantization"] = "bitsandbytes"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            # Not as a script: its directory would come first on the path, with modules such as `statistics`.
            [self.python, "-c", WORKER.read_text(encoding="utf-8")],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self._send({"model": model, "adapter": None if files.adapter is None else str(files.adapter)})

    def _failure(self) -> EngineError:
        said, code = "", None
        if self._process is not None:
            code = self._process.wait()
        if self._log is not None:
            self._log.seek(0)
            said = self._log.read().decode("utf-8", "replace").strip()[-800:]
        return EngineError(
            f"vLLM ended with {code} before all answers were there. The same command continues; "
            f"`evaluate.engine: transformers` does without vLLM. The end of its output:\n{said}"
        )


def _rank(adapter: Path) -> int:
    """The smallest rank that vLLM knows and that holds the adapter's."""
    config = read_json(adapter / "adapter_config.json")
    needed = max([config["r"], *config.get("rank_pattern", {}).values()])
    return next((rank for rank in (8, 16, 32, 64, 128, 256, 320, 512) if rank >= needed), needed)
