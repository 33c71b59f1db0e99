"""How much faster evaluation answers than one prompt at a time with `generate`, on the embedded model.

Options: --model demo --prompts 200 --new-tokens 64 --batch-size 64 --sample 12

Both sides run in this process, on the same prompts (ours: evaluation, selection and probe parts), greedily,
and end an answer at the end of the turn. The slow side answers an evenly spread sample of the prompts, by
length, in between two halves of the fast side, and is scaled up to all of them. Last line: one JSON object,
{"speedup", "peak_mib", "seconds", "seconds_single", "tokens", "equal"}; `equal` is the share of the sample
with the same answer on both sides (near-ties may fall differently).
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import torch

from securetune.evaluation.generate import Decoding, Response, generate, render_prompt, tokenize_rendered
from securetune.models.load import load_model
from securetune.prompt_files import package_prompts
from securetune.prompts import Prompt
from securetune.terminal import quiet_libraries


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="demo")
    for name, default in (("prompts", 200), ("new-tokens", 64), ("batch-size", 64), ("sample", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    quiet_libraries()
    model, tokenizer = load_model(options.model)
    prompts = ours(options.prompts)
    by_length = sorted(prompts, key=lambda prompt: (len(prompt.text), prompt.id))
    step = max(1, len(by_length) // options.sample)
    sample = by_length[step // 2 :: step][: options.sample]
    decoding = Decoding(options.new_tokens, options.batch_size)
    single(model, tokenizer, sample[0], options.new_tokens)  # Warm-up.
    # Halves of equal lengths on both sides of the slow part, so that a drift of the machine evens out.
    fast, answers = 0.0, []
    for part, after in ((by_length[::2], True), (by_length[1::2], False)):
        started = time.perf_counter()
        answers += generate(model, tokenizer, part, decoding)
        fast += time.perf_counter() - started
        if after:
            started = time.perf_counter()
            alone = [single(model, tokenizer, prompt, options.new_tokens) for prompt in sample]
            slow = (time.perf_counter() - started) * len(prompts) / len(sample)
    report(answers, sample, alone, fast, slow)


def ours(n: int) -> list[Prompt]:
    """The first `n` of the package's prompts."""
    found = [
        prompt
        for part in ("evaluation", "selection", "probe")
        for prompts in package_prompts(part)  # type: ignore[arg-type]
        for prompt in prompts
    ]
    if len(found) < n:
        raise SystemExit(f"the package has {len(found)} prompts; ask for at most as many")
    return found[:n]


def single(model: object, tokenizer: object, prompt: Prompt, new_tokens: int) -> str:
    """One prompt with transformers' own `generate`."""
    inputs = tokenize_rendered(tokenizer, [render_prompt(tokenizer, prompt.text)], model.device)  # type: ignore[attr-defined]
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)  # type: ignore[attr-defined]
    new = output[0, inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True))  # type: ignore[attr-defined]


def report(answers: list[Response], sample: list[Prompt], alone: list[str], fast: float, slow: float) -> None:
    """Print the numbers as a table and as one JSON object."""
    texts = {answer.prompt_id: answer.text for answer in answers}
    peak = (
        torch.cuda.max_memory_allocated() / 2**20
        if torch.cuda.is_available()
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    equal = sum(texts[prompt.id] == text for prompt, text in zip(sample, alone)) / len(sample)
    content = {
        "speedup": slow / fast,
        "peak_mib": peak,
        "seconds": fast,
        "seconds_single": slow,
        "tokens": sum(answer.tokens for answer in answers),
        "equal": equal,
    }
    print(f"{'':16}{'value':>10}")
    for name, value in content.items():
        print(f"{name:16}{value:10.2f}")
    print(json.dumps(content))


if __name__ == "__main__":
    main()
