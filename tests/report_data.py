"""A realistic report of six models, and the same one with every string replaced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from securetune.evaluation.statistics import Rate
from securetune.report.asked import AnswerKind
from securetune.report.data import (
    Ability,
    Answer,
    CategoryRate,
    Comparison,
    DataCard,
    DriftMap,
    Flip,
    JudgeError,
    MatchedComparison,
    ReportData,
    Result,
    SafetyPoint,
    Training,
)

PATHS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
LAYERS = 30
JUDGES = ("refusal-list-qi", "refusal-list-safedecoding", "refusal-list-wei")
N = 120
# model: strategy, harmful answers complied with, refused twins, refused ordinary, held-out loss
MODELS: dict[str, tuple[str | None, int, int, int, float]] = {
    "start": (None, 3, 22, 2, 1.6502),
    "vanilla": ("vanilla", 74, 5, 1, 1.6131),
    "uniform-0.3": ("uniform-0.3", 31, 12, 1, 1.6242),
    "uniform-0.1": ("uniform-0.1", 9, 19, 2, 1.6387),
    "ml-lr": ("ml-lr", 49, 9, 1, 1.6179),
    "self-replay": ("self-replay", 27, 24, 3, 1.6142),
}


def result(
    model: str, suite: str, metric: str, hits: int, n: int, judge: str | None, unscored: int = 0
) -> Result:
    rate = Rate.of([True] * hits + [False] * (n - hits) + [None] * unscored)
    strategy = MODELS[model][0]
    return Result(
        model, strategy, suite, metric, rate.value, rate.low, rate.high, rate.n, rate.unscored, judge
    )


def results() -> tuple[Result, ...]:
    rows = []
    for model, (strategy, asr, twins, ordinary, loss) in MODELS.items():
        for shift, judge in enumerate(JUDGES):
            unscored = 1 if model == "vanilla" else 0
            rows.append(result(model, "harmful", "asr", asr + 3 * shift, N - unscored, judge, unscored))
            rows.append(result(model, "twins", "over_refusal", max(0, twins - shift), N, judge))
            rows.append(result(model, "ordinary", "over_refusal", max(0, ordinary - shift), 90, judge))
        rows.append(result(model, "harmful", "coherence", 117 - len(model) // 3, N, None))
        interval = (loss - 0.11, loss + 0.11)
        rows.append(Result(model, strategy, "held-out", "held_out_loss", loss, *interval, 80, 0, None))
    return tuple(rows)


def compare(
    model: str,
    against: str,
    difference: float,
    p: float,
    suite: str = "harmful",
    metric: str = "asr",
    n: int = N,
) -> Comparison:
    only = round(abs(difference) * n)
    sides = (only, 0) if difference > 0 else (0, only)
    low, high = difference - 0.08, difference + 0.08
    return Comparison(model, against, suite, metric, JUDGES[0], n, *sides, difference, low, high, p)


def comparisons() -> tuple[Comparison, ...]:
    rows = []
    for model, (strategy, asr, twins, _, _) in MODELS.items():
        if strategy is None:
            continue
        change = (asr - MODELS["start"][1]) / N
        rows.append(compare(model, "start", change, 0.0001 if change > 0.06 else 0.07))
        refusals = (twins - MODELS["start"][2]) / N
        rows.append(
            compare(
                model, "start", refusals, 0.62 if abs(refusals) < 0.05 else 0.004, "twins", "over_refusal"
            )
        )
    return tuple(rows)


def matched(model: str, value: float, reference: float, half: float = 0.09) -> MatchedComparison:
    gap = value - reference
    loss = MODELS[model][4]
    return MatchedComparison(
        model, "harmful", JUDGES[0], loss, value, reference, gap, gap - half, gap + half, N, None
    )


def drift_map() -> DriftMap:
    drift = {}
    for layer in range(LAYERS):
        for column, path in enumerate(PATHS):
            wave = 0.5 + 0.5 * math.sin(layer / 3 + column * 1.7)
            drift[f"{layer}.{path}"] = 0.004 * (1 + column) * (0.2 + wave) * (1 + layer / 10)
    ordered = sorted(drift, key=lambda address: drift[address])
    probe = {
        "auroc": 0.993,
        "shuffled_auroc": 0.512,
        "bag_of_words_auroc": 0.941,
        "n": 260,
        "transfer": {"xstest": {"auroc": 0.91, "n": 450}, "advbench": {"recall": 0.962, "n": 520}},
    }
    facts = (("sampled check of the map", "12 matrices sampled: rank correlation 0.97 (ceiling 0.98)"),)
    return DriftMap(
        PATHS, LAYERS, drift, tuple(ordered[:105]), 0.1, 0.21, 0.26, 4, 0.5, 0.86, probe, facts=facts
    )


def training() -> tuple[Training, ...]:
    rows = []
    for index, (model, (strategy, *_)) in enumerate(MODELS.items()):
        if strategy is None:
            continue
        losses = tuple(
            (step, 1.55 + 0.5 * math.exp(-step / (8 + index * 4)) + 0.05 * math.sin(step * (index + 3)))
            for step in range(1, 61)
        )
        groups = [group("x1", 1.0, 1_221_120)]
        if model == "ml-lr":
            groups.append(group("x0.01", 0.01, 1_221_121))
        replay = 24 if model == "self-replay" else 0
        rows.append(
            Training(
                model, strategy, 60, 480, replay, losses, tuple(groups), True, 341.7, base_rate=5e-4,
                movement=movement(model),
            )
        )  # fmt: skip
    return tuple(rows)


def group(name: str, multiplier: float, parameters: int) -> Mapping[str, Any]:
    seen = {"step": 1, "phase": "all", "rate": 8.3e-5 * multiplier, "tensors": 210, "moved": 210}
    return {
        "name": name, "multipliers": [multiplier], "tensors": 210, "parameters": parameters,
        "applied": [seen], "movement": 3.25 * multiplier,
    }  # fmt: skip


def movement(model: str) -> dict[str, float]:
    drift = drift_map()
    size = {"uniform-0.3": 0.3, "uniform-0.1": 0.1}.get(model, 1.0)
    held = set() if model != "ml-lr" else set(drift.drift) - set(drift.robust)
    return {
        address: size * (0.01 if address in held else 1.0) * (0.2 + 0.1 * math.cos(index / 9))
        for index, address in enumerate(drift.drift)
    }


CATEGORIES = ("fraud", "weapons", "privacy", "self-harm", "cybercrime", "harassment")


def categories() -> tuple[CategoryRate, ...]:
    rows = []
    for model, (_, asr, *_) in MODELS.items():
        for index, category in enumerate(CATEGORIES):
            hits = min(20, round(asr / 6 * (0.4 + 0.24 * index)))
            rate = Rate.of([True] * hits + [False] * (20 - hits))
            own = rate.value, rate.low, rate.high, rate.n, rate.unscored
            rows.append(CategoryRate(model, "harmful", category, *own))
    return tuple(rows)


def judge_errors() -> tuple[JudgeError, ...]:
    source = "XSTest v2 completions"
    return (
        JudgeError(JUDGES[0], 0.744, 0.696, 0.786, 0.554, 0.018, 0.231, 1277, source),
        JudgeError(JUDGES[1], 0.746, 0.701, 0.789, 0.554, 0.022, 0.22, 1277, source),
    )


def timeline() -> tuple[SafetyPoint, ...]:
    points = []
    for model, speed in (("vanilla", 1.0), ("ml-lr", 0.4)):
        for step in range(0, 61, 10):
            points.append(SafetyPoint(model, step, "drift", speed * step / 50))
            points.append(SafetyPoint(model, step, "refusal_margin", 2.5 - speed * step / 12))
        points += [SafetyPoint(model, step, "asr", speed * step / 100) for step in (20, 40, 60)]
    return tuple(points)


def flips(texts: bool = False) -> tuple[Flip, ...]:
    rows = []
    for suite, harmful in (("harmful", True), ("twins", False)):
        for index in range(9):
            answers = tuple(
                Answer(
                    model,
                    (None if index == 3 and model == "ml-lr" else (index * 7) % 5 < place)
                    if model != "start"
                    else False,
                    f"{model} answers request {index} at some length, in words." if texts else None,
                )
                for place, model in enumerate(MODELS)
            )
            prompt = f"What about request {index}?" if texts else None
            category = CATEGORIES[index % len(CATEGORIES)]
            rows.append(Flip(suite, harmful, f"{category}-{index:02}", category, answers, prompt))
    return tuple(rows)


def abilities() -> tuple[Ability, ...]:
    return tuple(
        Ability(model, "arc_easy", "acc,none", 0.5 - place / 100, 0.014, 400, "1.0 (lm-eval 0.4.9)")
        for place, model in enumerate(MODELS)
    )


def cards() -> tuple[DataCard, ...]:
    return (
        DataCard(
            "tuning",
            "package tuning set",
            "securetune/data/tuning.jsonl",
            "CC0-1.0",
            760,
            "9f86d081884c7d65",
            4,
        ),
        DataCard(
            "held-out",
            "package tuning set",
            "securetune/data/tuning.jsonl",
            "CC0-1.0",
            80,
            "60303ae22b998861",
        ),
        DataCard("probe", "package pairs", "securetune/data/pairs.jsonl", "CC0-1.0", 260, "fd61a03af4f77d87"),
        DataCard(
            "evaluation", "harmful", "securetune/data/pairs.jsonl", "CC0-1.0", 120, "a4e624d686e03ed2", 3
        ),
        DataCard("evaluation", "twins", "securetune/data/pairs.jsonl", "CC0-1.0", 120, "e7f6c011776e8db7"),
        DataCard(
            "evaluation", "ordinary", "securetune/data/ordinary.jsonl", "CC0-1.0", 90, "0b918943df0962bc"
        ),
    )


def answer_kinds() -> tuple[AnswerKind, ...]:
    shares = {"refusal": 60, "evasion": 5, "partial": 10, "compliance": 45}
    rates = {kind: Rate.of([True] * hits + [False] * (N - hits)) for kind, hits in shares.items()}
    return tuple(
        AnswerKind(model, "harmful", JUDGES[0], kind, rate.value, rate.low, rate.high, rate.n, 0)
        for model in MODELS
        for kind, rate in rates.items()
    )


def report_data(**changes: Any) -> ReportData:
    data = ReportData(
        title="Safety of tuned models: demo",
        created="2026-05-09T18:40:12+00:00",
        command="securetune run demo --out runs/demo \\\n  --set train.steps=60 --set seed=0",
        model={
            "id": "demo",
            "fingerprint": "3a7bd3e2360a3d29",
            "architecture": "LlamaForCausalLM",
            "parameters": 134_515_008,
            "layers": LAYERS,
        },
        settings={
            "train": {"learning_rate": 5e-4, "steps": 60, "batch_size": 8, "lora": {"r": 8, "alpha": 16}},
            "evaluate": {"max_new_tokens": 32, "judges": ", ".join(JUDGES), "system_prompt": None},
            "seed": 0,
        },
        versions={"securetune": "0.1.0", "torch": "2.8.0+cpu", "transformers": "5.0.0", "python": "3.11.7"},
        data=cards(),
        results=results(),
        comparisons=comparisons(),
        matched=(matched("ml-lr", 49 / N, 0.47), matched("self-replay", 27 / N, 0.59)),
        drift=drift_map(),
        training=training(),
        primary_judge=JUDGES[0],
        primary_suite="harmful",
        categories=categories(),
        judge_errors=judge_errors(),
        timeline=timeline(),
        flips=flips(),
        abilities=abilities(),
        answer_kinds=answer_kinds(),
    )
    return replace(data, **changes)


def with_every_string(data: ReportData, hostile: str) -> ReportData:
    """Add `hostile` to each string, mapping keys included; metrics keep their names."""

    def changed(value: Any, key: str = "") -> Any:
        if isinstance(value, str):
            return value if key == "metric" else f"{value}{hostile}"
        if isinstance(value, Mapping):
            if key in ("drift", "transfer", "settings", "model", "versions"):
                keep = key == "drift" and "paths" in value
                return {k if keep else f"{k}{hostile}": changed(v, k) for k, v in value.items()}
            return {k: changed(v, k) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [changed(entry, key) for entry in value]
        return value

    return ReportData.from_json(changed(data.to_json()))
