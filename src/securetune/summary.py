"""Results as a JSON object and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from securetune.analysis.agreement import Agreement
from securetune.analysis.analyze import Analysis
from securetune.analysis.full_tables import markdown
from securetune.analysis.known_validity import known_validity
from securetune.analysis.search import RobustSet
from securetune.analysis.sensitivity import SensitivityMap
from securetune.files import read_json
from securetune.report.asked import Disagreement
from securetune.report.data import Comparison, ReportData, Result
from securetune.report.lookup import training_flags
from securetune.report.recommend import recommend


def describe_analysis(
    analysis: Analysis, plan: Path, full: dict[str, Any] | None = None
) -> tuple[dict[str, Any], str]:
    """What an analysis found; `full` is what `analyze --full` adds."""
    sensitivity, robust, quality = analysis.map, analysis.robust, analysis.probe
    split_half, over_draws = sensitivity.split_half(), sensitivity.split_half_draws()
    means = _by_path(sensitivity, sensitivity.drift)
    l2, l1 = (_by_path(sensitivity, v) for v in (sensitivity.lora_l2, sensitivity.lora_l1))
    shown, predicts = known_validity(sensitivity.proxy, sensitivity.perturbation)
    content = {
        "plan": str(plan),
        "addresses": len(sensitivity.addresses),
        "method": sensitivity.method,
        "split_half": split_half,
        "split_half_draws": over_draws,
        "robust": len(robust.addresses),
        "search": robust.method,
        "granularity": robust.granularity,
        "drift_budget": robust.budget,
        "share": robust.share,
        "parameters": _parameters(sensitivity, robust),
        "joint_tests": robust.tests,
        "verify_draws": robust.draws,
        "predicted_drift": robust.predicted,
        "verified_drift": robust.verified,
        "stability": robust.stability,
        "stability_by_chance": robust.chance,
        "stability_note": robust.stability_note,
        "drift_by_path": means,
        "lora_l2_by_path": l2,
        "lora_l1_by_path": l1,
        "probe": quality,
        "check": analysis.agreement,
        "predicts_training": {"shown": shown, "measured": predicts},
    }
    if full is not None:
        content["full"] = full
    lines = [
        f"probe: AUROC {_number(quality['auroc'])} (cross-validated, n = {quality['n']}), shuffled labels "
        f"{_number(quality['shuffled_auroc'])}, bag of words {_number(quality['bag_of_words_auroc'])}",
        *(
            f"  on {name}: AUROC {_number(row['auroc'])}, accuracy {_number(row['accuracy'])}, n = {row['n']}"
            for name, row in quality["transfer"].items()
        ),
        f"map: {len(sensitivity.addresses)} matrices, {sensitivity.method}, drift of the {sensitivity.proxy} "
        f"in units of its harmful-harmless gap; split-half rank reliability {_number(split_half)}"
        + ("" if over_draws is None else f", over draws {_number(over_draws)}"),
        *(
            f"  {path}: {value:.4f}"
            + (f"; LoRA step L2 {l2[path]:.3g}, L1 {l1[path]:.3g}" if path in l1 else "")
            for path, value in sorted(means.items(), key=lambda item: -item[1])
        ),
        *([] if analysis.agreement is None else Agreement(**analysis.agreement).describe()),
        *_describe_robust(sensitivity, robust),
        predicts,
    ]
    if full is not None:
        lines.append(markdown(full))
    lines.append(f"plan: {plan}")
    return content, "\n".join(lines)


def _parameters(sensitivity: SensitivityMap, robust: RobustSet) -> int:
    sizes = dict(zip(sensitivity.addresses, sensitivity.sizes))
    return sum(sizes[address] for address in robust.addresses)


def _describe_robust(sensitivity: SensitivityMap, robust: RobustSet) -> list[str]:
    budget = "no drift budget" if robust.budget is None else f"drift budget {robust.budget:g}"
    noise = ", of noise that chose nothing" if robust.fresh else ""
    lines = [
        f"robust set ({robust.method}, by {robust.granularity}, {budget}): {len(robust.addresses)} matrices, "
        f"{_parameters(sensitivity, robust):,} parameters, {robust.share:.1%} of those of all matrices",
        f"  joint drift predicted {robust.predicted:.3f}, verified on other prompts {robust.verified:.3f} "
        f"(draws: {robust.draws}{noise}); joint tests: {robust.tests}",
    ]
    if robust.budget is not None and robust.verified > robust.budget:
        lines.append(f"  the verified drift is above the budget of {robust.budget:g}")
    if robust.excess > 1:
        lines.append(f"  the verified drift is {robust.excess:.2f} times the predicted one")
    if robust.stability is None:
        lines.append(f"  no overlap of the sets of two halves of the prompts: {robust.stability_note}")
    else:
        lines.append(
            f"  overlap of the sets of two halves of the prompts {_number(robust.stability)}, by chance "
            f"{_number(robust.chance)}"
        )
    return lines


def _by_path(sensitivity: SensitivityMap, values: Any) -> dict[str, float]:
    """Root mean square over the layers of each module path; paths without values are left out."""
    found: dict[str, list[float]] = {}
    for address, value in zip(sensitivity.addresses, [] if values is None else values):
        if np.isfinite(value):
            found.setdefault(address.path, []).append(float(value))
    return {path: float(np.sqrt(np.mean(np.square(rows)))) for path, rows in found.items()}


def describe_report(path: Path) -> tuple[dict[str, Any], str]:
    """What a finished report says, from the `report.json` beside it.

    Args:
        path: of report.html.
    """
    data = ReportData.from_json(read_json(path.with_name("report.json")))
    sentence = recommend(data)
    results = path.with_name("results.json")
    content = {"report": str(path), "results": str(results), "recommendation": sentence}
    _, table = describe_results(data.results, data.primary_judge, data.comparisons)
    return content, f"{table}\n{sentence}\nreport: {path}"


def describe_results(
    results: Sequence[Result],
    judge: str,
    comparisons: Sequence[Comparison] = (),
    disagreements: Sequence[Disagreement] = (),
) -> tuple[dict[str, Any], str]:
    """Rates and losses of every model, and flags on training that did not show to have worked.

    The lines show one judge, and how often the others disagree with it; the JSON shows all judges and all
    pairs of them. Its `flags` are by model.
    """
    lines = []
    for name in dict.fromkeys(row.model for row in results):
        own = [row for row in results if row.model == name]
        cells = [
            f"{row.metric.replace('_', '-')} on {row.suite} {_rate(row)}"
            for row in own
            if row.judge == judge or row.metric == "accuracy"
        ]
        cells += [f"held-out loss {_number(row.value)}" for row in own if row.metric == "held_out_loss"]
        # Scores of lm-eval may have any unit.
        cells += [_score(row) for row in own if row.suite.startswith("lm-eval ")]
        lines.append(f"{name}: " + "; ".join(cells))
    flags = training_flags(results, comparisons=comparisons)
    lines += [f"(judge: {judge})", *(f"BEWARE {name}: {flag}" for name, flag in flags.items())]
    for model, suite in dict.fromkeys((row.model, row.suite) for row in disagreements):
        rows = [row for row in disagreements if (row.model, row.suite) == (model, suite)]
        # The other pairs are in the JSON and in the report.
        cells = [
            f"{row.second if row.first == judge else row.first} {_rate(row)}"
            for row in rows
            if judge in (row.first, row.second)
        ]
        lines.append(f"{model} on {suite}: {judge} disagrees with " + "; ".join(cells))
    content: dict[str, Any] = {"results": [dict(vars(row)) for row in results], "flags": flags}
    if disagreements:
        content["disagreements"] = [dict(vars(row)) for row in disagreements]
    return content, "\n".join(lines)


def _rate(row: Result | Disagreement) -> str:
    if row.value is None or row.low is None or row.high is None:
        return f"n/a (n = 0, {row.unscored} unscored)"
    unscored = f", {row.unscored} unscored" if row.unscored else ""
    return f"{row.value:.1%} [{row.low:.1%}, {row.high:.1%}] (n = {row.n}{unscored})"


def _score(row: Result) -> str:
    interval = "" if row.low is None or row.high is None else f" [{row.low:.3f}, {row.high:.3f}]"
    return f"{row.suite} {row.metric} {_number(row.value)}{interval} (n = {row.n})"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
