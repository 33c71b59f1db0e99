"""A finished pipeline -> ReportData: comparisons, matched loss, cards."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from securetune.analysis.agreement import Agreement
from securetune.analysis.analyze import Analysis
from securetune.analysis.known_validity import known_validity
from securetune.config import parse_strategy
from securetune.evaluation.evaluate import Evaluation, Outcomes
from securetune.evaluation.judges.known_error import known_error
from securetune.evaluation.statistics import ReferencePoint, compare_at_matched_loss, compare_paired
from securetune.files import read_json, write_json
from securetune.report.build import write_report
from securetune.report.cards import data_cards, model_facts, run_settings, suite_cards
from securetune.report.data import (
    Comparison,
    DriftMap,
    MatchedComparison,
    ReportData,
    Result,
    Training,
)
from securetune.report.evidence import (
    answer_kinds,
    category_rates,
    disagreements,
    flips,
    held_out_changes,
    receipt_facts,
    timeline,
)
from securetune.report.model_card import write_model_cards
from securetune.runs.directory import environment

if TYPE_CHECKING:
    from securetune.pipeline import Pipeline


def report_run(pipeline: Pipeline, evaluations: Mapping[str, Evaluation], *, show_text: bool) -> Path:
    """Write everything a report is made of into the run directory; return the HTML.

    Args:
        pipeline: of the run.
        evaluations: of the start model and every tuned one.
        show_text: put the prompts and answers whose verdict flipped into the report, too.
    """
    data, directory = assemble(pipeline, evaluations, show_text=show_text), pipeline.run.path
    write_json(directory / "results.json", [dict(vars(result)) for result in data.results])
    write_json(directory / "report.json", data.to_json())
    write_model_cards(data, directory)
    return write_report(data, directory)[0]


def assemble(
    pipeline: Pipeline, evaluations: Mapping[str, Evaluation], *, show_text: bool = False
) -> ReportData:
    """Collect everything a report shows; runs no model.

    Args:
        pipeline: of the run.
        evaluations: of the start model and every tuned one.
        show_text: also collect the prompts and answers whose verdict flipped; otherwise only their ids.
    """
    config = pipeline.config
    judges = config.evaluate.judges
    suite, suites = pipeline.prompts.primary, pipeline.prompts.suites
    texts = pipeline.run.path / "evaluate" if show_text else None
    training = tuple(_training(pipeline, name) for name in evaluations if name != "start")
    return ReportData(
        title=f"securetune: {config.model.id}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=f"securetune run {shlex.quote(config.model.id)} "
        f"--config {shlex.quote(str(pipeline.run.path / 'config.yaml'))} --out NEW_DIRECTORY",
        model=model_facts(pipeline),
        settings=run_settings(pipeline),
        versions=environment(),
        data=data_cards(pipeline, training),
        results=all_results(evaluations),
        comparisons=compare_outcomes(evaluations, ("start", "vanilla"), judges),
        matched=_matched(evaluations, {name: _rate(pipeline, name) for name in evaluations}, suite, judges),
        drift=_drift(pipeline),
        training=training,
        primary_judge=judges[0],
        primary_suite=suite,
        categories=category_rates(evaluations, suites, judges[0]),
        judge_errors=tuple(error for judge in judges if (error := known_error(judge)) is not None),
        timeline=tuple(
            point
            for entry in training
            for point in timeline(pipeline.run.path / "tune" / entry.model, entry.model)
        ),
        abilities=tuple(score for evaluation in evaluations.values() for score in evaluation.abilities),
        suites=suite_cards(suites, config.evaluate),
        disagreements=disagreements(evaluations),
        answer_kinds=answer_kinds(evaluations),
        flips=flips(evaluations, suites, judges[0], texts),
        failed=pipeline.failed,
    )


def all_results(evaluations: Mapping[str, Evaluation]) -> tuple[Result, ...]:
    """What was measured on each model, and how tuning changed the held-out loss."""
    rows = [row for evaluation in evaluations.values() for row in evaluation.results]
    return (*rows, *held_out_changes(evaluations))


def compare_outcomes(
    evaluations: Mapping[str, Evaluation], references: Sequence[str], judges: Sequence[str]
) -> tuple[Comparison, ...]:
    """Every model against each reference model on the same prompts, per suite and judge.

    Coherence and task scores, which have no judge, are compared as well.
    """
    rows = []
    for against in references:
        if against not in evaluations:
            continue
        for name, evaluation in evaluations.items():
            if name in (against, "start"):
                continue
            for result in evaluation.results:
                own, other = (_outcomes(one, result, judges) for one in (evaluation, evaluations[against]))
                if own is not None and other is not None:
                    paired = compare_paired(own, other)
                    rows.append(
                        Comparison(
                            name, against, result.suite, result.metric, result.judge, paired.n,
                            paired.only_first, paired.only_second, paired.difference, paired.low, paired.high,
                            paired.p_value,
                        )
                    )  # fmt: skip
    return tuple(rows)


def _outcomes(evaluation: Evaluation, result: Result, judges: Sequence[str]) -> Outcomes | None:
    """What a rate was counted from; `None` for what is no rate of ours."""
    if result.judge is not None:
        return evaluation.outcomes.get((result.suite, result.judge)) if result.judge in judges else None
    kinds = {"accuracy": evaluation.tasks, "coherence": evaluation.coherence}
    return kinds.get(result.metric, {}).get(result.suite)


def _matched(
    evaluations: Mapping[str, Evaluation],
    rates: Mapping[str, float | None],
    suite: str,
    judges: Sequence[str],
) -> tuple[MatchedComparison, ...]:
    """Every model that is not on the uniform-rate curve, against that curve, under each judge."""
    rows = []
    for judge in judges:
        points = {
            name: ReferencePoint(evaluation.held_out_loss, evaluation.outcomes[suite, judge], rates[name])
            for name, evaluation in evaluations.items()
            if evaluation.held_out_loss is not None
        }
        curve = [point for point in points.values() if point.rate is not None]
        for name, point in points.items():
            if point.rate is None:
                matched = compare_at_matched_loss(point, curve)
                rows.append(MatchedComparison(name, suite, judge, **vars(matched)))
    return tuple(rows)


def _rate(pipeline: Pipeline, name: str) -> float | None:
    """The uniform rate of a point of the curve: start, uniform rates, plain tuning; `None` for others."""
    if name == "start":
        return 0.0
    kind, _, replay = parse_strategy(name)
    return pipeline.plan(name).phases[0].outside if kind in ("vanilla", "uniform") and not replay else None


def _training(pipeline: Pipeline, name: str) -> Training:
    result = pipeline.train(name)
    facts = read_json(result.directory / "facts.json")
    receipt = read_json(result.directory / "receipt.json")
    return Training(
        name,
        name,
        result.steps,
        facts["rows"],
        facts["replay_rows"],
        result.losses,
        verified=bool(receipt["verified"]),
        seconds=facts["seconds"],
        too_long=facts["too_long"],
        harmful_rows=facts.get("harmful_rows", 0),
        **receipt_facts(result.weights, receipt["groups"]),
    )


def _drift(pipeline: Pipeline) -> DriftMap | None:
    if not (pipeline.run.path / "analysis" / "robust_set.json").is_file():
        return None
    analysis = pipeline.analyze()
    sensitivity, robust = analysis.map, analysis.robust
    shown, predicts = known_validity(sensitivity.proxy, sensitivity.perturbation)
    return DriftMap(
        paths=tuple(dict.fromkeys(address.path for address in sensitivity.addresses)),
        layers=1 + max(address.layer for address in sensitivity.addresses),
        drift={str(a): float(value) for a, value in zip(sensitivity.addresses, sensitivity.drift)},
        robust=tuple(str(address) for address in robust.addresses),
        noise_scale=sensitivity.noise_scale,
        predicted_joint=robust.predicted,
        verified_joint=robust.verified,
        verified_draws=robust.draws,
        share=robust.share,
        split_half=sensitivity.split_half(),
        probe=analysis.probe,
        what=f"{_CHANGES[sensitivity.perturbation]} moves {_PROXIES[sensitivity.proxy]}",
        facts=(*_map_facts(analysis), ("does such a map predict training?", predicts)),
        unproven="" if shown else predicts,
    )


_CHANGES = {
    "gaussian": "noise on its weights",
    "gaussian-equal": "noise of equal norm on its weights",
    "low-rank": "a random low-rank change of its weights",
    "scale": "scaling its weights",
    "zero": "setting its weights to zero",
    "update": "what a short benign fine-tune changed in it",
}
_PROXIES = {
    "probe": "the probe's reading of harmfulness",
    "refusal-margin": "the refusal margin",
    "refusal-direction": "the projection on the refusal direction",
}


def _map_facts(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    sensitivity, robust = analysis.map, analysis.robust
    budget = "no drift budget" if robust.budget is None else f"drift budget {robust.budget:g}"
    facts = [
        ("map", f"{sensitivity.method}, {sensitivity.perturbation} of size {sensitivity.noise_scale:g}"),
        ("search", f"{robust.method} by {robust.granularity}, joint tests: {robust.tests}, {budget}"),
    ]
    if robust.stability is not None and robust.chance is not None:
        overlap = f"{robust.stability:.2f}, by chance {robust.chance:.2f}"
        facts.append(("overlap of the sets that halves of the prompts choose", overlap))
    if analysis.agreement is not None:
        said = " ".join(line.strip() for line in Agreement(**analysis.agreement).describe())
        said = said.removeprefix("check: ")
        facts.append(("sampled check of the map", said))
    return tuple(facts)
