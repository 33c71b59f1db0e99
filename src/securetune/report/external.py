"""A tuned model and the model it was tuned from -> ReportData; nothing was tuned or mapped here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from securetune.evaluation.evaluate import Evaluation
from securetune.evaluation.judges.known_error import known_error
from securetune.files import write_json
from securetune.inputs import Prompts
from securetune.report.assemble import all_results, compare_outcomes
from securetune.report.build import write_report
from securetune.report.cards import asked_settings, held_out_card, model_facts, suite_cards, task_cards
from securetune.report.data import ReportData
from securetune.report.evidence import answer_kinds, category_rates, disagreements, flips
from securetune.report.limits import UNLIKE
from securetune.runs.directory import environment

if TYPE_CHECKING:
    from securetune.pipeline import Pipeline


def report_against(
    pipeline: Pipeline,
    tuned: str,
    prompts: Prompts,
    evaluations: Mapping[str, Evaluation],
    unlike: Sequence[str] = (),
    *,
    show_text: bool,
) -> Path:
    """Write report.html, report.md and report.json of `evaluate TUNED --against BASE`; return the HTML.

    Args:
        pipeline: of the start model.
        tuned: the tuned model, as the user named it.
        prompts: what both were asked.
        evaluations: of `start` and `tuned`.
        unlike: what sets the two apart besides their weights.
        show_text: put the prompts and answers whose verdict flipped into the report, too.
    """
    directory = pipeline.run.path / "compare"
    data = assemble_against(pipeline, tuned, prompts, evaluations, unlike, directory if show_text else None)
    write_json(directory / "report.json", data.to_json())
    return write_report(data, directory)[0]


def assemble_against(
    pipeline: Pipeline,
    tuned: str,
    prompts: Prompts,
    evaluations: Mapping[str, Evaluation],
    unlike: Sequence[str] = (),
    texts: Path | None = None,
) -> ReportData:
    """Collect what the report shows; `texts` is where the evaluations are, to show what flipped."""
    config, suites = pipeline.config, prompts.suites
    judges = config.evaluate.judges
    own_data = config.data.has_own_held_out
    return ReportData(
        title=f"securetune: {tuned} against {config.model.id}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=f"securetune evaluate {shlex.quote(tuned)} --against {shlex.quote(config.model.id)} "
        f"--config {shlex.quote(str(pipeline.run.compared_file))} --out NEW_DIRECTORY",
        model={**model_facts(pipeline), "tuned model": tuned},
        settings={**asked_settings(pipeline), UNLIKE: " ".join(unlike) or None},
        versions=environment(),
        data=(
            *([held_out_card(pipeline)] if own_data else []),
            *(card for card in prompts.cards() if card.role == "evaluation"),
            *task_cards(config.evaluate),
        ),
        results=all_results(evaluations),
        comparisons=compare_outcomes(evaluations, ("start",), judges),
        matched=(),
        drift=None,
        training=(),
        primary_judge=judges[0],
        primary_suite=prompts.primary,
        categories=category_rates(evaluations, suites, judges[0]),
        judge_errors=tuple(error for judge in judges if (error := known_error(judge)) is not None),
        suites=suite_cards(suites, config.evaluate),
        disagreements=disagreements(evaluations),
        answer_kinds=answer_kinds(evaluations),
        flips=flips(evaluations, suites, judges[0], texts),
    )
