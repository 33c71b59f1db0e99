"""align(): supervised tuning on refusals plus the model's own helpful answers; it teaches where to stop."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from securetune.config import AlignSettings
from securetune.dataset import Conversation, TrainingData
from securetune.encoding import IGNORED, EncodedData, EncodedRow, encode, require_chat_template
from securetune.errors import DataError
from securetune.evaluation.generate import Decoding, generate, read_answers
from securetune.evaluation.judges import DEFAULT_LIST, JUDGES, strip_reasoning
from securetune.files import digest, file_digest, read_json, write_json, write_text
from securetune.models.fingerprint import fingerprint
from securetune.models.load import adapter_directory, dtype_name, load_model, merged_directory
from securetune.plan import TuningPlan
from securetune.progress import progress
from securetune.prompt_files import parse_source
from securetune.runs.directory import Run
from securetune.training.align_data import Sources, conversation, read_sources
from securetune.training.sft import check_trainer_settings
from securetune.training.tune import TuneResult, read_result, tune

log = logging.getLogger("securetune")


def align(load: Callable[[], tuple[Any, Any]], settings: AlignSettings, directory: Path) -> TuneResult:
    """Train an alignment adapter in a run directory, with the stages `answers` and `tune`.

    The adapter, its data counts (`alignment.json`) and its card are in `tune`. A call that was cut off is
    continued by the same call.

    Args:
        load: returns a fresh start model and its tokenizer.
        settings: everything else; they are written to `config.yaml`, from which the run can be made again.
        directory: the run directory.

    Raises:
        ConfigError: TRL does not take the training settings, or the model has no chat template.
        DataError: a source cannot be read, is empty, or every prompt nearly equals an evaluation prompt.
        StaleArtifactError: a stage in `directory` was made from other inputs.
    """
    check_trainer_settings(settings.train)
    sources = read_sources(settings)
    run = Run(directory)
    model, tokenizer = load()
    require_chat_template(tokenizer)
    _write_config(run, settings, overwrite=False)
    start = {"model": fingerprint(model), "chat_template": digest(tokenizer.chat_template)}
    helpful = _own_answers(model, tokenizer, sources, settings, run, start)
    # Training loads a model of its own.
    del model
    rows = _mixed(sources, helpful, settings.seed)
    encoded = cut_answers(encode(rows, tokenizer, settings.max_length), settings.learn_tokens)
    inputs = {
        **start,
        "load_in_4bit": settings.model.load_in_4bit,
        "rows": rows.fingerprint,
        "learn_tokens": settings.learn_tokens,
        "max_length": settings.max_length,
        "train": settings.train.model_dump(mode="json"),
    }
    adapter = None
    if settings.continue_adapter is not None:
        adapter = adapter_directory(settings.continue_adapter)
        inputs["continue_adapter"] = file_digest(adapter / "adapter_model.safetensors")
    stage = run.stage("tune", inputs)
    if stage.done:
        result = read_result(stage.path)
    else:
        plan = TuningPlan.from_multipliers({}, 1.0)
        result = tune(load, encoded, settings.train, plan, stage.path, adapter=adapter)
        counts = {**sources.counts, "too_long": encoded.too_long, "rows": len(encoded.rows)}
        facts = {**counts, "licenses": sources.licenses, "settings": settings.model_dump(mode="json")}
        write_json(stage.path / "alignment.json", facts)
        base = read_json(stage.path / "receipt.json")["base"]
        write_text(result.weights / "README.md", model_card(settings, counts, sources.licenses, base))
        stage.finish()
    # Only settings that every stage has accepted replace those of an earlier call.
    _write_config(run, settings)
    return result


def load_start(settings: AlignSettings, directory: Path) -> tuple[Any, Any]:
    """The model to align, and its tokenizer.

    A model with an adapter is merged once, in the run directory, so that the alignment adapter can name the
    weights it belongs to, and so that 4-bit weights are made from the merge.
    """
    model = settings.model
    # Full tuning in half precision would round small steps away.
    full = settings.train.method == "full" and model.dtype == "auto"
    dtype: Any = "float32" if full else model.dtype
    source = model.id
    if model.adapter is not None:
        source = str(merged_directory(model.id, model.adapter, directory, dtype_name(dtype)).resolve())
    return load_model(
        source,
        dtype=dtype,
        load_in_4bit=model.load_in_4bit,
        chat_template=model.chat_template,
        device_map=model.device_map,
    )


def _write_config(run: Run, settings: AlignSettings, *, overwrite: bool = True) -> None:
    if overwrite or not (run.path / "config.yaml").is_file():
        command = f"securetune align {settings.model.id} --config {run.path}/config.yaml --out NEW"
        run.write_config(settings.model_dump(mode="json"), command)


def cut_answers(data: EncodedData, tokens: int) -> EncodedData:
    """Keep only the first `tokens` learnt tokens of each row; what follows them is dropped.

    Whether to refuse is decided in the first tokens of an answer. With long answers they are a small part
    of the loss, and the boundary between harmful and harmless is hardly learnt.
    """
    rows = []
    for row in data.rows:
        learnt = [index for index, label in enumerate(row.labels) if label != IGNORED]
        end = len(row.labels) if len(learnt) <= tokens else learnt[tokens]
        rows.append(EncodedRow(row.input_ids[:end], row.labels[:end]))
    return data.with_rows(rows)


def _mixed(sources: Sources, helpful: Sequence[Conversation], seed: int) -> TrainingData:
    """All rows in a seeded order; counts them."""
    counts = sources.counts
    counts["refuse"], counts["help"] = len(sources.refusals), len(helpful)
    if not sources.refusals or not helpful:
        raise DataError(
            f"align: {len(sources.refusals)} refusals and {len(helpful)} helpful rows; both are needed. "
            f"Left out: {dict(counts)}."
        )
    rows = [*sources.refusals, *helpful]
    random.Random(seed).shuffle(rows)
    log.info("alignment data: %s", dict(counts))
    return TrainingData("alignment", "align", "mixed", "messages", tuple(rows))


def _own_answers(
    model: Any,
    tokenizer: Any,
    sources: Sources,
    settings: AlignSettings,
    run: Run,
    start: dict[str, str],
) -> list[Conversation]:
    """The start model's greedy answers; refusals and degenerate ones are left out and counted.

    Reasoning blocks are cut off, as judges do.
    """
    prompts = sources.prompts
    inputs = {
        **start,
        "load_in_4bit": settings.model.load_in_4bit,
        "help": digest([[prompt.id, prompt.text] for prompt in prompts]),
        "answer_tokens": settings.answer_tokens,
        "batch_size": settings.batch_size,
    }
    stage = run.stage("answers", inputs)
    path = stage.path / "responses.jsonl"
    responses = read_answers(prompts, path)
    if responses is None:
        decoding = Decoding(settings.answer_tokens, settings.batch_size)
        with progress("answers of the start model", len(prompts)) as advance:
            responses = generate(model, tokenizer, prompts, decoding, path, advance)
    stage.finish()
    judge = JUDGES[DEFAULT_LIST]
    rows = []
    for prompt, response in zip(prompts, responses):
        verdict = judge.judge(prompt.text, response.text)
        final = strip_reasoning(response.text)
        if final and verdict.refused is False and verdict.coherent:
            rows.append(conversation(prompt.text, final, truncated=not response.ended))
        else:
            sources.counts["help_dropped_refused_or_incoherent"] += 1
    return rows


def model_card(settings: AlignSettings, counts: dict[str, int], licenses: dict[str, str], base: str) -> str:
    """The README of an alignment adapter.

    Args:
        settings: of the run.
        counts: rows learnt and left out, by reason.
        licenses: source -> licence.
        base: what the adapter belongs on, as `adapter_config.json` names it.
    """
    train, model = settings.train, settings.model
    merged = f", that is `{model.id}` with the adapter `{model.adapter}` merged" if model.adapter else ""
    named = "\n".join(f"- `{_file_name(source)}`: {license}" for source, license in licenses.items())
    return f"""---
library_name: peft
base_model: {model.id}
base_model_relation: adapter
tags: [securetune, safety, lora]
---

# Alignment adapter for {model.id}

Load it on top of `{base}`{merged}. The tokenizer here carries the chat template of the training.

Made by `securetune align`: supervised tuning on {counts["refuse"]} refusals and {counts["help"]} harmless
prompts answered by the start model itself (its greedy answers); the first {settings.learn_tokens} tokens of
every answer are learnt.
LoRA r={train.lora.r}, learning rate {train.learning_rate:g}, batches of {train.batch_size},
seed {train.seed}.

Data and their licences:
{named}

Left out: {counts.get("refuse_dropped_near_evaluation", 0)} harmful and
{counts.get("help_dropped_near_evaluation", 0)} harmless prompts that (nearly) equal an evaluation prompt,
{counts.get("refuse_dropped_not_a_refusal", 0)} given answers that are not refusals,
{counts.get("help_dropped_refused_or_incoherent", 0)} own answers that refuse or are degenerate,
{counts.get("too_long", 0)} rows of more than {settings.max_length} tokens.

The adapter teaches refusals of the usual forms and where to stop. It is not a safety guarantee: it was
measured on direct requests only, and further tuning can undo it, which is what securetune measures.
{_earlier_card(settings.continue_adapter)}"""


def _earlier_card(adapter: str | None) -> str:
    """What the adapter that this one goes on from was made of."""
    if adapter is None:
        return ""
    card = adapter_directory(adapter) / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else "It has no card."
    body = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).strip()
    quoted = "\n".join(f"> {line}".rstrip() for line in body.splitlines())
    return f"\n## It goes on from another adapter\n\n{quoted}\n"


def _file_name(source: str) -> str:
    """A source without the directories of a local file."""
    location = parse_source(source).location
    return Path(location).name if Path(location).exists() else location
