"""A comparison as Markdown, for a terminal, `comparison.md` and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from securetune.progress import duration
from securetune.report.wording import nats, percent, points, points_interval


def write_tables(content: Mapping[str, Any]) -> str:
    """Markdown of what `describe_cells` found."""
    parts = [
        f"Judge: {content['judge']}; ASR is that on `{content['primary']}`. Intervals are 95%, over "
        f"{_covered(content)}. {content['cells']} cells, at least {duration(content['seconds'])} in all.",
        _missing(content),
        " ".join(content["plans"]),
        _ranking(content),
        _section("Tuned models", _models(content)),
        _section("Against plain tuning over its rates, at the same ...", _matched(content)),
        _section("Area between curve and plain tuning (mean difference of ASR)", _areas(content)),
        _section("Curves", _curves(content)),
        _section("Prompts that a difference needs (80% power at 5%)", _power(content)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _covered(content: Mapping[str, Any]) -> str:
    several = any(len(row["seeds"]) > 1 for row in content["models"])
    return "prompts and seeds" if several else "prompts alone: one seed"


def _missing(content: Mapping[str, Any]) -> str:
    names = content["missing"]
    total = content["cells"] + len(names)
    return f"**{len(names)} of {total} planned runs are missing:** {', '.join(names)}." if names else ""


def _section(title: str, table: str) -> str:
    return f"### {title}\n\n{table}" if table else ""


def _ranking(content: Mapping[str, Any]) -> str:
    ranking = content["ranking"]
    losses = [float(loss) for loss in ranking["losses"].values()]
    rows = [
        [row["name"], percent(row["value"]), _ranks(row), percent(row["best_share"])]
        for row in ranking["rows"]
    ]
    head = ["strategy", "ASR at matched loss", "rank", "lowest in"]
    lines = ["### Ranking at matched held-out loss", "", f"**{ranking['sentence']}**", ""]
    if losses:
        span = nats(losses[0]) if len(losses) == 1 else f"{nats(min(losses))} to {nats(max(losses))}"
        lines += [
            f"Held-out loss {span} (the lowest that all reach, by seed), seeds "
            f"{', '.join(str(seed) for seed in ranking['seeds'])}, {ranking['prompts']} prompts that have a "
            "verdict for all. Two strategies are told apart if they differ "
            "after Holm's correction for all pairs; `lowest in` is the share of bootstrap draws.",
            "",
            _table(head, rows),
        ]
    lines += [f"\nNot ranked: {name}: {reason}." for name, reason in ranking["left_out"].items()]
    lines += [
        f"\n{row['name']} (rate {row['rate']:g}, step {row['step']}) "
        + ("is weak: " if row["name"] == "start" else "is left out of its curve: ")
        + f"{row['reason']}."
        for row in ranking["points_left_out"]
    ]
    lines += [
        f"\nSeed {seed} is not in the ranking: {', '.join(names)} missing."
        for seed, names in ranking["seeds_left_out"].items()
    ]
    lines += ["", *(f"- {line}" for line in content["headlines"])]
    return "\n".join(lines).rstrip()


def _ranks(row: Mapping[str, Any]) -> str:
    low, high = row["rank_low"], row["rank_high"]
    return str(low) if low == high else f"{low} to {high}"


def _models(content: Mapping[str, Any]) -> str:
    tasks = sorted({task for row in content["models"] for task in row["tasks"]})
    suites = [content["primary"], *(suite for suite in content["suites"] if suite != content["primary"])]
    names = [f"{'ASR' if content['suites'][suite] else 'over-refusal'}, {suite}" for suite in suites]
    rows = [
        [
            row["model"],
            f"{row['rate']:g}",
            str(len(row["seeds"])),
            *(_rate(row["suites"].get(suite)) for suite in suites),
            percent(row["coherence"]),
            nats(row["held_out_loss"]),
            "n/a" if row["movement"] is None else f"{row['movement']:.3g}",
            *(_rate(row["tasks"].get(task)) for task in tasks),
        ]
        for row in content["models"]
    ]
    return _table(
        ["model", "rate", "seeds", *names, "coherent, at least", "held-out loss", "‖dW‖", *tasks], rows
    )


def _matched(content: Mapping[str, Any]) -> str:
    rows = [
        [
            row["at"],
            f"{row['model']} (rate {row['rate']:g})",
            f"{abs(row['loss']):.3g}",
            percent(row["value"]),
            percent(row["reference"]),
            _gap(row["difference"], row["low"], row["high"]),
            row["note"] or "",
        ]
        for row in content["matched"]
    ]
    return _table(["matched at", "model", "value", "ASR", "plain tuning", "difference", "note"], rows)


def _areas(content: Mapping[str, Any]) -> str:
    rows = [
        [row["model"], _gap(row["value"], row["low"], row["high"]), str(row["n"])] for row in content["areas"]
    ]
    return _table(["strategy", "mean difference of ASR", "n"], rows)


def _curves(content: Mapping[str, Any]) -> str:
    rows = [
        [row["model"], f"{row['rate']:g}", str(row["step"]), nats(row["held_out_loss"]), _rate(row["asr"])]
        for row in content["curves"]
    ]
    return _table(["model", "rate", "step", "held-out loss", "ASR"], rows)


def _power(content: Mapping[str, Any]) -> str:
    power = content["power"]
    seeds = list(dict.fromkeys(row["seeds"] for row in power["needed"]))
    rows = []
    for difference in dict.fromkeys(row["difference"] for row in power["needed"]):
        cells = [row["prompts"] for row in power["needed"] if row["difference"] == difference]
        rows.append(
            [
                f"{difference * 100:g} points",
                *("more than can be had" if n is None else str(n) for n in cells),
            ]
        )
    heads = [f"{count} seed{'s' if count > 1 else ''}" for count in seeds]
    sources = {
        2: "From the spread measured here",
        1: "From the spread over prompts measured here with one seed; seeds: 3 points, assumed",
        0: "From an assumed spread: nothing was measured",
    }
    source = sources[len(power["measured"])]
    return f"{source}. One seed covers the prompts alone.\n\n" + _table(["difference", *heads], rows)


def _rate(rate: Mapping[str, Any] | None) -> str:
    if rate is None or rate["value"] is None:
        return "n/a"
    unscored = f", {rate['unscored']} unscored" if rate["unscored"] else ""
    interval = f"[{percent(rate['low'])}, {percent(rate['high'])}]"
    return f"{percent(rate['value'])} {interval} (n = {rate['n']}{unscored})"


def _gap(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "n/a"
    return points(value) + ("" if low is None or high is None else f" [{points_interval(low, high)}]")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    # A pipe in the name of a suite or task would end its cell.
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
