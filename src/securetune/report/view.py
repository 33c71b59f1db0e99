"""The report as rows of finished strings, which both templates lay out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securetune.report.categories import category_tables, suite_table
from securetune.report.data import DriftMap, ReportData
from securetune.report.evidence_tables import (
    ability_table,
    asked_table,
    disagreement_table,
    flip_summary,
    flip_tables,
    judge_error_table,
    kind_table,
    receipt_table,
    untrained_patterns,
)
from securetune.report.heat_map import summarise_paths
from securetune.report.limits import limits
from securetune.report.lookup import Lookup
from securetune.report.movement import layer_table, movement_table
from securetune.report.recommend import recommend
from securetune.report.result_tables import (
    Cell,
    Table,
    comparison_table,
    filled,
    judge_tables,
    main_table,
    matched_table,
    result_table,
)
from securetune.report.wording import MISSING, facts, is_number, nats, percent, plain

_PROBE = {
    "auroc": "AUROC, cross-validated",
    "shuffled_auroc": "AUROC with shuffled labels (should be near 0.5)",
    "bag_of_words_auroc": "AUROC of a bag-of-words baseline",
    "n": "prompts",
}


def build_view(found: Lookup) -> dict[str, Any]:
    """Return everything that the templates print."""
    data = found.data
    return {
        "title": data.title,
        "created": data.created,
        "recommendation": recommend(data),
        "external": found.external,
        "show_text": "securetune evaluate --against" if found.external else "securetune report",
        "model": facts(data.model),
        "settings": facts(data.settings),
        "versions": facts(data.versions),
        "data": _cards(data),
        "judge": data.primary_judge,
        "success": "do not refuse" if data.primary_judge.startswith("refusal-list") else "comply",
        "suite": data.primary_suite,
        "uniform_rate": found.uniform_rate,
        "losses": _losses(data),
        "start": found.start,
        "vanilla": found.vanilla,
        "main": main_table(found),
        "suites": suite_table(found),
        "categories": category_tables(found),
        "abilities": ability_table(found),
        "judge_errors": judge_error_table(found),
        "judges": judge_tables(found),
        "disagreements": disagreement_table(found),
        "kinds": kind_table(found),
        "asked": asked_table(found),
        "flip_summary": flip_summary(found),
        "flips": flip_tables(found),
        "shows_text": any(flip.prompt is not None for flip in data.flips),
        "matched": matched_table(found),
        "drift": None if data.drift is None else _drift(data.drift),
        "groups": receipt_table(data),
        "untrained": untrained_patterns(data),
        "movement": movement_table(found),
        "layers": layer_table(found),
        "timeline": _timeline(data),
        "limits": limits(data),
        "command": data.command,
        "comparisons": comparison_table(data),
        "results": result_table(data),
    }


def _cards(data: ReportData) -> Table:
    rows: list[list[Cell | str]] = [
        [
            card.role,
            card.name,
            card.source,
            card.license,
            plain(card.n),
            f"{card.left_out:,}",
            card.fingerprint,
            card.note or "–",
        ]
        for card in data.data
    ]
    return Table(
        "Data",
        ["Role", "Name", "Source", "Licence", "Rows", "Left out", "Fingerprint", "Notes"],
        filled(rows),
    )


def _drift(drift: DriftMap) -> dict[str, Any]:
    robust = len(set(drift.robust) & set(drift.drift))
    rows: list[list[Cell | str]] = [
        [
            row.path,
            MISSING if row.mean is None else f"{row.mean:.3g}",
            MISSING if row.smallest is None else f"{row.smallest:.3g} to {row.largest:.3g}",
            f"{row.robust} of {row.modules}",
            percent(row.robust / row.modules if row.modules else None),
        ]
        for row in summarise_paths(drift)
    ]
    summary = [
        ("robust set", f"{robust} of {len(drift.drift)} modules, {percent(drift.share)} of the parameters"),
        ("noise scale", plain(float(drift.noise_scale))),
        ("joint drift of the robust set, predicted", plain(float(drift.predicted_joint))),
        (
            "joint drift of the robust set, verified by sampling",
            f"{plain(float(drift.verified_joint))} ({drift.verified_draws} draws)",
        ),
        (
            "split-half rank reliability of the map",
            MISSING if drift.split_half is None else f"{drift.split_half:.2f}",
        ),
        *drift.facts,
    ]
    columns = ["Module path", "RMS drift", "Range over layers", "In the robust set", "Share"]
    return {
        "what": drift.what,
        "summary": summary,
        "paths": Table("Drift by module path", columns, rows),
        "map": _map_table(drift),
        "probe": _probe(drift.probe),
    }


def _probe(probe: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(label, _score(probe.get(key))) for key, label in _PROBE.items()]
    transfer = probe.get("transfer")
    for name, values in (transfer if isinstance(transfer, Mapping) else {}).items():
        scores = dict(values) if isinstance(values, Mapping) else {"value": values}
        n = scores.pop("n", None)
        for measure, value in scores.items():
            measure = "AUROC" if measure == "auroc" else measure
            rows.append((f"transfer to {name}: {measure}", f"{_score(value)} (n = {plain(n)})"))
    rest = {key: value for key, value in probe.items() if key not in _PROBE and key != "transfer"}
    return rows + facts(rest)


def _score(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) and is_number(value) else plain(value)


def _losses(data: ReportData) -> Table:
    """The loss curves in numbers: the first, the middle and the last logged loss of each model."""
    rows: list[list[Cell | str]] = []
    for entry in data.training:
        shown = dict.fromkeys([0, len(entry.losses) // 2, len(entry.losses) - 1]) if entry.losses else {}
        points = [entry.losses[index] for index in shown]
        cells = [f"{nats(loss)} (step {step:,})" for step, loss in points]
        rows.append([entry.model, *cells, *[MISSING] * (3 - len(cells))])
    return Table("Training loss", ["Model", "First", "Middle", "Last"], rows)


def _map_table(drift: DriftMap) -> Table:
    """The map itself: one row per layer, one column per module path, the robust set marked."""
    chosen = set(drift.robust)
    rows: list[list[Cell | str]] = []
    for layer in range(drift.layers):
        cells: list[Cell | str] = [str(layer)]
        for path in drift.paths:
            address = f"{layer}.{path}"
            value = drift.drift.get(address)
            shown = MISSING if value is None or not is_number(value) else f"{value:.2g}"
            cells.append(f"{shown} ●" if address in chosen else shown)
        rows.append(cells)
    return Table("Drift by layer and module", ["Layer", *drift.paths], rows)


def _timeline(data: ReportData) -> Table:
    """Every measurement of the safety callback."""
    rows: list[list[Cell | str]] = [
        [point.model, plain(point.step), point.metric.replace("_", " "), f"{point.value:.3f}"]
        for point in data.timeline
        if is_number(point.value)
    ]
    return Table("Safety against steps", ["Model", "Step", "Measure", "Value"], rows)
