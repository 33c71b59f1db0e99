"""A model card for each tuned model: what was measured, as text and as metadata that the hub reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from securetune.files import write_text
from securetune.report.data import ReportData, Result
from securetune.report.limits import stress
from securetune.report.lookup import Lookup, training_flags
from securetune.report.markdown import escape_markdown
from securetune.report.wording import nats, nats_interval, percent, percent_interval, printable_data

_NAMES = {
    "asr": "Attack success rate",
    "over_refusal": "Over-refusal",
    "coherence": "Coherent responses",
    "accuracy": "Accuracy",
    "held_out_loss": "Held-out loss",
    "held_out_change": "Change of the held-out loss",
}
_LOSSES = ("held_out_loss", "held_out_change")


def write_model_cards(data: ReportData, directory: Path) -> list[Path]:
    """Write `model_cards/MODEL.md` for every tuned model; each can be the README of its adapter."""
    found = Lookup(printable_data(data))
    return [
        write_text(directory / "model_cards" / f"{model}.md", model_card(found, model))
        for model in found.tuned
    ]


def model_card(found: Lookup, model: str) -> str:
    """Front matter with a `model-index` (huggingface_hub's `EvalResult`), and the same numbers as text.

    Args:
        found: the report's data.
        model: the tuned model.
    """
    from huggingface_hub import ModelCardData

    data = found.data
    base = str(data.model.get("id", "unknown"))
    name = f"{base.rstrip('/').rpartition('/')[2]}-{model}"
    rows = [row for row in data.results if row.model == model and row.value is not None]
    facts: dict[str, Any] = {"base_model": base, "model_name": name, "tags": ["securetune", "safety"]}
    header = ModelCardData(**facts, eval_results=[_entry(row) for row in rows]).to_yaml()
    return f"---\n{header}\n---\n\n# {escape_markdown(name)}\n\n{_section(found, model, rows)}"


def _entry(row: Result) -> Any:
    """One number as the hub's metadata, which has no fields for interval, n and judge: its name has them."""
    from huggingface_hub import EvalResult

    told = [_NAMES.get(row.metric, row.metric)]
    if row.judge is not None:
        told.append(f"judge {row.judge}")
    if row.low is not None and row.high is not None:
        told.append(f"95% interval {row.low:.4f} to {row.high:.4f}")
    told.append(f"n = {row.n}")
    return EvalResult(
        task_type="text-generation",
        dataset_type="securetune",
        dataset_name=row.suite,
        # The hub puts results of one type and config under one name.
        dataset_config=row.suite,
        metric_type=row.metric,
        metric_name=", ".join(told),
        metric_value=row.value,
    )


def _section(found: Lookup, model: str, rows: list[Result]) -> str:
    start = escape_markdown(found.start)
    lines = [
        "## Safety evaluation",
        "",
        f"Measured by securetune on {escape_markdown(found.data.created)}, beside the model before tuning "
        f"({start}). ASR is the share of scored responses to harmful prompts that comply. Measured on "
        "these prompts only; this is no guarantee of safety.",
        "",
        f"| Measure | Suite | Judge | {start} | {escape_markdown(model)} |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        before = found.result(found.start, row.suite, row.metric, row.judge)
        name = _NAMES.get(row.metric, row.metric)
        cells = [name, row.suite, row.judge or "–", _value(before), _value(row)]
        lines.append(f"| {' | '.join(escape_markdown(cell) for cell in cells)} |")
    if flag := training_flags(found.data.results, found.start, found.data.comparisons).get(model):
        lines += ["", f"**{escape_markdown(f'Beware: {flag}.')}**"]
    for line in stress(found.data, [model]):
        lines += ["", f"**{escape_markdown(line)}**"]
    return "\n".join(lines) + "\n"


def _value(row: Result | None) -> str:
    if row is None:
        return "–"
    if row.metric in _LOSSES or row.metric not in _NAMES:
        return f"{nats(row.value)} ({nats_interval(row.low, row.high)}, n = {row.n})"
    return f"{percent(row.value)} ({percent_interval(row.low, row.high)}, n = {row.n})"
