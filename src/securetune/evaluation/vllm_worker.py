"""The process beside `vllm_engine`: reads jobs from stdin, one JSON object a line, appends answers to a file.

Run as a script, by a Python that has vLLM and need not have securetune.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

CHUNK = 256
"""Prompts between two writes; vLLM batches within."""


def main() -> None:
    """Load the model that the first line names, then answer the jobs of the others."""
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    setup = json.loads(sys.stdin.readline())
    model = LLM(**setup["model"])
    adapter = None if setup["adapter"] is None else LoRARequest("tuned", 1, setup["adapter"])
    while line := sys.stdin.readline():
        answer(model, adapter, SamplingParams, json.loads(line))


def answer(model: Any, adapter: Any, sampling: Any, job: dict[str, Any]) -> None:
    """Answer one job's prompts (token ids) and append `{"prompt_id", "ids"}` lines to its file."""
    keys = list(job["prompts"])
    options = sampling(
        temperature=job["temperature"],
        top_p=job["top_p"],
        seed=job["seed"],
        max_tokens=job["max_new_tokens"],
        stop_token_ids=job["ends"],
        detokenize=False,
    )
    with Path(job["out"]).open("a", encoding="utf-8") as stream:
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            prompts = [{"prompt_token_ids": job["prompts"][key]} for key in chunk]
            outputs = model.generate(prompts, options, lora_request=adapter, use_tqdm=False)
            for key, output in zip(chunk, outputs):
                ids = list(output.outputs[0].token_ids)
                stream.write(json.dumps({"prompt_id": key, "ids": ids}) + "\n")
            stream.flush()


if __name__ == "__main__":
    main()
