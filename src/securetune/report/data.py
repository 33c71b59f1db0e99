"""What a report is made of: plain values that the pipeline fills and `report.json` keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from securetune.report.asked import AnswerKind, Disagreement, SuiteCard

EXTERNAL = "external"
"""Strategy of a model that was tuned elsewhere."""
OWN_EVALUATION = "evaluation prompts"
"""What the probe's transfer table calls the package's evaluation part: other prompts, the same authors."""


@dataclass(frozen=True)
class Result:
    """One number about one model; a row of `results.json`."""

    model: str
    """`start`, or the name of the tuned model: `vanilla`, `uniform-0.3`, `ml-lr`, ..."""
    strategy: str | None
    """The strategy that tuned it; `None` for the start model."""
    suite: str
    """`harmful`, `twins`, `ordinary`, `held-out`, or the name of a prompt set of the user."""
    metric: str
    """`asr`, `over_refusal`, `coherence`, `accuracy` (rates in [0, 1]), `held_out_loss` (nats per token), or
    `held_out_change`: its paired difference from the start model, by row."""
    value: float | None
    low: float | None
    """Lower end of the 95% interval."""
    high: float | None
    n: int
    unscored: int
    judge: str | None
    """`None` for metrics without a judge."""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same prompts or questions (exact McNemar test, Newcombe interval)."""

    model: str
    against: str
    suite: str
    metric: str
    """`asr`, `over_refusal`, `coherence` or `accuracy`."""
    judge: str | None
    """`None` for metrics without a judge."""
    n: int
    only_model: int
    """Prompts on which only `model` has the event (an attack success, a refusal, a right answer)."""
    only_against: int
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None


@dataclass(frozen=True)
class MatchedComparison:
    """A model's ASR against plain tuning interpolated to the same held-out loss."""

    model: str
    suite: str
    judge: str
    loss: float
    value: float | None
    reference: float | None
    """ASR of the uniform-rate curve (start, uniform rates, vanilla) at `loss`."""
    difference: float | None
    """Negative: safer than a smaller uniform rate at the same usefulness."""
    low: float | None
    high: float | None
    n: int
    note: str | None
    """Why there is no value, e.g. the loss lies outside the curve."""


@dataclass(frozen=True)
class DriftMap:
    """The layer x module map of sensitivity."""

    paths: tuple[str, ...]
    """Module paths, one column each, e.g. `self_attn.q_proj`."""
    layers: int
    drift: Mapping[str, float]
    """Address (`12.self_attn.q_proj`) -> first-order RMS drift in units of the harmful-harmless gap."""
    robust: tuple[str, ...]
    """Addresses of the chosen robust set."""
    noise_scale: float
    predicted_joint: float
    """Joint drift of the robust set that the map predicts (root of the sum of squares)."""
    verified_joint: float
    """Joint drift of the robust set as sampled."""
    verified_draws: int
    share: float
    """Share of the matrix parameters in the robust set."""
    split_half: float | None
    """Split-half rank reliability of the map over prompts."""
    probe: Mapping[str, Any]
    """Quality of the probe: `auroc`, `shuffled_auroc`, `bag_of_words_auroc`, `n`, and per other set
    `transfer`: {name: {"auroc"|"recall", "n"}}."""
    what: str = "noise on its weights moves the probe's reading of harmfulness"
    """What the drift is of, to follow "the further"."""
    facts: tuple[tuple[str, str], ...] = ()
    """How the map and the set were made and checked: name and value."""
    unproven: str = ""
    """What is missing from the evidence that such maps predict training; empty if nothing is."""


@dataclass(frozen=True)
class Training:
    """How one model was tuned."""

    model: str
    strategy: str
    steps: int
    rows: int
    replay_rows: int
    losses: tuple[tuple[int, float], ...]
    """(optimizer step, training loss)."""
    groups: tuple[Mapping[str, Any], ...]
    """Per learning-rate group: name, multipliers (one per phase), tensors, parameters; where the plan receipt
    tells, `applied` (per verified step: step, phase, rate, tensors, moved) and `movement` (its ||dW||)."""
    verified: bool
    """Whether rates and movements were checked against the plan at the first step and phase changes."""
    seconds: float | None
    """`None` where training was cut off and continued."""
    too_long: int = 0
    """Rows of this model's sample that were longer than the longest allowed, and were not trained on."""
    base_rate: float | None = None
    """Highest learning rate at multiplier 1, from the plan receipt."""
    movement: Mapping[str, float] | None = None
    """Address -> total movement ||dW|| (Frobenius) since the start, from the plan receipt."""
    movement_note: str | None = None
    """Why there is no movement."""
    untrained_patterns: tuple[str, ...] = ()
    """Patterns of the plan that matched only weights which are not trained."""
    harmful_rows: int = 0
    """Harmful rows of a stress test among `rows`."""


@dataclass(frozen=True)
class DataCard:
    """One data set that the run used."""

    role: str
    """`tuning`, `held-out`, `harmful rows`, `refusals`, `probe`, `selection`, `evaluation`, `task`."""
    name: str
    source: str
    license: str
    n: int
    fingerprint: str
    left_out: int = 0
    """Rows dropped: overlapping with another role, too long, or unusable."""
    note: str = ""
    """Why rows were left out, and what else is to be known about them."""


@dataclass(frozen=True)
class CategoryRate:
    """ASR of one model in one harm category of a suite, under the primary judge."""

    model: str
    suite: str
    category: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    unscored: int


@dataclass(frozen=True)
class JudgeError:
    """How far a judge is known to agree with labels that people gave."""

    judge: str
    kappa: float
    """Cohen's kappa of refusal against compliance."""
    low: float
    """Lower end of its 95% interval."""
    high: float
    macro_f1: float
    """Of refusal, partial and compliance."""
    missed_compliance: float | None
    """Share of the labelled compliances that it calls refusals: ASR is too low by these."""
    missed_refusal: float | None
    """Share of the labelled refusals that it calls compliances: ASR is too high by these."""
    n: int
    source: str
    """The labelled answers."""


@dataclass(frozen=True)
class SafetyPoint:
    """One measurement at one step of training."""

    model: str
    step: int
    metric: str
    """`drift` (in units of the probe's gap), `refusal_margin` (log-odds) or `asr`."""
    value: float


@dataclass(frozen=True)
class Answer:
    """What one model did with one prompt."""

    model: str
    event: bool | None
    """Attack success on a harmful prompt, refusal of a harmless one; `None` is unscored."""
    text: str | None = None
    """The answer; `None` unless texts were asked for."""


@dataclass(frozen=True)
class Flip:
    """A prompt on which the primary judge's verdict differs between the start model and a tuned one."""

    suite: str
    harmful: bool
    prompt_id: str
    category: str | None
    answers: tuple[Answer, ...]
    """Of every model, the start model first."""
    prompt: str | None = None
    """Its text; `None` unless texts were asked for."""


@dataclass(frozen=True)
class Ability:
    """One score of general ability, measured by lm-eval."""

    model: str
    task: str
    metric: str
    """As lm-eval names it, filter included: `acc,none`."""
    value: float
    standard_error: float | None
    n: int | None
    version: str
    """Version of the task, and of lm-eval."""


@dataclass(frozen=True)
class ReportData:
    """Everything the report shows."""

    title: str
    created: str
    """ISO date and time."""
    command: str
    """The command that makes the same run again."""
    model: Mapping[str, Any]
    """`id`, `fingerprint`, `architecture`, `parameters`, `layers`."""
    settings: Mapping[str, Any]
    """The settings that a reader needs: rate, steps, LoRA rank, tokens, judges, system prompt."""
    versions: Mapping[str, str]
    data: tuple[DataCard, ...]
    results: tuple[Result, ...]
    comparisons: tuple[Comparison, ...]
    matched: tuple[MatchedComparison, ...]
    drift: DriftMap | None
    training: tuple[Training, ...]
    primary_judge: str
    primary_suite: str
    """The harmful suite whose ASR the verdict uses."""
    categories: tuple[CategoryRate, ...] = ()
    judge_errors: tuple[JudgeError, ...] = ()
    """Of the run's judges, as far as known."""
    timeline: tuple[SafetyPoint, ...] = ()
    flips: tuple[Flip, ...] = ()
    abilities: tuple[Ability, ...] = ()
    suites: tuple[SuiteCard, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    answer_kinds: tuple[AnswerKind, ...] = ()
    """Of the judges that tell them apart."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Strategies that failed -> why."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dictionary."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ReportData:
        """Read what `to_json` wrote."""
        parts = dict(content)
        parts["data"] = tuple(DataCard(**row) for row in parts["data"])
        parts["results"] = tuple(Result(**row) for row in parts["results"])
        parts["comparisons"] = tuple(Comparison(**row) for row in parts["comparisons"])
        parts["matched"] = tuple(MatchedComparison(**row) for row in parts["matched"])
        parts["training"] = tuple(_training(row) for row in parts["training"])
        for key, kind in _LATER.items():
            parts[key] = tuple(kind(**row) for row in parts.get(key, ()))
        parts["suites"] = tuple(
            SuiteCard(**{**row, "decoding": tuple(row["decoding"])}) for row in parts.get("suites", ())
        )
        parts["flips"] = tuple(_flip(row) for row in parts.get("flips", ()))
        if parts["drift"] is not None:
            drift = dict(parts["drift"])
            drift["paths"], drift["robust"] = tuple(drift["paths"]), tuple(drift["robust"])
            drift["facts"] = tuple((name, value) for name, value in drift.get("facts", ()))
            parts["drift"] = DriftMap(**drift)
        return cls(**parts)


_LATER: Mapping[str, Any] = {
    "categories": CategoryRate,
    "judge_errors": JudgeError,
    "timeline": SafetyPoint,
    "abilities": Ability,
    "disagreements": Disagreement,
    "answer_kinds": AnswerKind,
}
"""Parts that reports of earlier versions lack."""


def _flip(row: Mapping[str, Any]) -> Flip:
    return Flip(**{**row, "answers": tuple(Answer(**answer) for answer in row["answers"])})


def _training(row: Mapping[str, Any]) -> Training:
    values = dict(row)
    values["losses"] = tuple((int(step), float(loss)) for step, loss in values["losses"])
    values["groups"] = tuple(values["groups"])
    values["untrained_patterns"] = tuple(values.get("untrained_patterns", ()))
    return Training(**values)
