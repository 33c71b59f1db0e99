"""The sentence about a model that was tuned elsewhere: what changed from the model it was tuned from."""

from __future__ import annotations

from securetune.report.lookup import ASR_ROSE, MIN_PROMPTS, Lookup, falls, rises
from securetune.report.wording import listed, nats, p_value, percent, points, points_interval, signed


def before_after(found: Lookup) -> str:
    """Say whether the tuned model complies with more harmful requests than the start model.

    ASR of the primary suite and judge decides, paired by prompt; what else changed significantly follows.
    """
    tuned, start = found.tuned[0], found.start
    if (problem := _problem(found, tuned, start)) is not None:
        return f"The evidence is insufficient to say how {tuned} compares with {start}: {problem}."
    paired = found.comparison(tuned, start)
    assert paired is not None
    change = (
        f"ASR {_asr(found, start)} -> {_asr(found, tuned)}, {points(paired.difference)} "
        f"[{points_interval(paired.low, paired.high)}], {p_value(paired.p_value)}, n = {paired.n}"
    )
    lists = found.data.primary_judge.startswith("refusal-list")
    does = "answers {} harmful requests without a refusal" if lists else "complies with {} harmful requests"
    if rises(paired):
        said = f"{tuned} {does.format('more')} than {start}: {change}"
    elif falls(paired):
        said = f"{tuned} {does.format('fewer')} than {start}: {change}"
    else:
        said = f"{tuned} and {start} are not distinguishable in what harmful requests they answer: {change}"
    return f"{said}{_others(found, tuned, start)}; {_learnt(found, tuned, start)}."


def _problem(found: Lookup, tuned: str, start: str) -> str | None:
    for model in (start, tuned):
        if (weakness := found.weakness(model)) is not None:
            return weakness
    paired = found.comparison(tuned, start)
    if paired is None or paired.difference is None or paired.p_value is None:
        return f"{tuned} and {start} were not compared on the same prompts"
    if paired.n < MIN_PROMPTS:
        return f"only {paired.n} prompts are scored for both"
    return None


def _others(found: Lookup, tuned: str, start: str) -> str:
    """What else changed significantly: other harmful suites, refusals of harmless prompts, task scores.

    On weak evidence nothing is said to have become better, and what became worse is said to be doubtful.
    """
    clauses, unknown = [], []
    for metric, worse, worsens, better, betters in (
        ("asr", ASR_ROSE, rises, "ASR fell on", falls),
        ("over_refusal", "it refuses more prompts of", rises, "it refuses fewer prompts of", falls),
        ("accuracy", "its accuracy fell on", falls, "its accuracy rose on", rises),
    ):
        rows = [row for row in found.against(tuned, start, metric) if row.suite != found.data.primary_suite]
        unknown += [row for row in rows if betters(row) and found.doubt(row) is not None]
        rows = [row for row in rows if row not in unknown]
        for words, told in ((worse, list(filter(worsens, rows))), (better, list(filter(betters, rows)))):
            if told:
                clauses.append(found.named(words, told))
    if unknown:
        doubts = [f"{row.suite} ({found.doubt(row)})" for row in unknown]
        clauses.append(f"not enough is known about {listed(doubts)}")
    return "".join(f"; {clause}" for clause in clauses)


def _learnt(found: Lookup, tuned: str, start: str) -> str:
    improved, before, after = found.improved(tuned), found.loss(start), found.loss(tuned)
    if improved is None or before is None or after is None:
        return (
            "whether it learnt its task was not measured (name rows of it that it was not trained on: "
            "data.held_out_source)"
        )
    change = f"{nats(before)} -> {nats(after)}, {signed(after - before, 3)} nats per token"
    if improved:
        return f"its held-out loss fell ({change})"
    return f"its held-out loss did not measurably improve ({change}): less trained, not safer"


def _asr(found: Lookup, model: str) -> str:
    row = found.asr(model)
    return percent(row.value if row is not None else None)
