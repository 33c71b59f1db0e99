"""Cells: what one training run of a comparison showed, as a JSON file of verdicts by prompt id, no texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from securetune.config import Config, parse_strategy
from securetune.errors import DataError, StaleArtifactError, UsageError
from securetune.files import read_json, write_json
from securetune.runs.directory import differences

FORMAT, VERSION = "securetune-cell", 1

Outcomes = Mapping[str, bool | None]


@dataclass(frozen=True, order=True)
class CellKey:
    """One training run: a strategy at a rate with a seed; the start model has rate 0."""

    strategy: str
    rate: float
    """Multiple of `train.learning_rate`."""
    seed: int

    @property
    def name(self) -> str:
        """For file names and stages."""
        return self.strategy if self == START else f"{self.strategy}{self.tag}"

    @property
    def tag(self) -> str:
        """What sets it apart from other runs of the strategy."""
        return f".rate{self.rate:g}.seed{self.seed}"


START = CellKey("start", 0.0, 0)


@dataclass(frozen=True)
class Point:
    """One model that was measured: the weights after a step, or their moving average."""

    step: int
    ema: bool
    loss: float
    """Held-out loss, nats per token."""
    movement: float | None
    """||dW|| over all trained weights; `None` where it could not be measured."""
    outcomes: Mapping[str, Outcomes]
    """`suite/judge` -> attack success or refusal by prompt id."""
    tasks: Mapping[str, Outcomes]
    """Task -> whether each question was answered rightly; only at the last step."""
    coherence: Mapping[str, float] = field(default_factory=dict)
    """Suite -> share of coherent answers."""


@dataclass(frozen=True)
class Cell:
    """A finished run of the grid."""

    key: CellKey
    inputs: Mapping[str, Any]
    """What the numbers depend on; compared cells agree in all but strategy, rate and seed."""
    primary: str
    """The main harmful suite."""
    suites: Mapping[str, bool]
    """Suite -> whether its prompts are harmful, and its event an attack success; else it is a refusal."""
    points: tuple[Point, ...]
    """By step; the last one without `ema` is the tuned model."""
    seconds: float
    """Wall time of the call that finished it; earlier ones that were cut off are not in it."""
    plan: Mapping[str, Any] | None = None
    """The tuning plan that it was trained with, as JSON; `None` for the start model and in older cells."""

    def series(self, ema: bool = False) -> list[Point]:
        """The points of the run, or of its moving average, by step."""
        return sorted((point for point in self.points if point.ema is ema), key=lambda point: point.step)

    @property
    def last(self) -> Point:
        """The tuned model."""
        return self.series()[-1]

    def write(self, directory: Path) -> Path:
        """Write `<directory>/<name>.json`."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return write_json(directory / f"{self.key.name}.json", content)

    @classmethod
    def read(cls, path: Path) -> Cell:
        """Read what `write` wrote.

        Raises:
            DataError: the file is not a cell.
        """
        content = read_json(path)
        if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (
            FORMAT,
            VERSION,
        ):
            raise DataError(
                f"{path} is not a {FORMAT} of version {VERSION}. Remove it, or compare elsewhere."
            )
        parts = {key: content[key] for key in ("inputs", "primary", "suites", "seconds")}
        points = tuple(Point(**point) for point in content["points"])
        return cls(key=CellKey(**content["key"]), points=points, plan=content.get("plan"), **parts)


def plan_cells(config: Config) -> list[CellKey]:
    """The runs of a comparison: the start model, then every strategy at every rate, seed after seed.

    A `uniform-R` is plain tuning at rate R. Baselines that need no run of their own (the moving average, the
    checkpoints) come from the plain runs.
    """
    settings = config.compare
    wanted: dict[str, set[float]] = {"vanilla": set()}
    if "plain-rates" in settings.baselines:
        wanted["vanilla"] |= set(settings.plain_rates)
    if {"ema", "early-stopping"} & set(settings.baselines) and not wanted["vanilla"]:
        wanted["vanilla"] |= set(settings.rates)
    for name in config.strategy.names:
        base, rate, replay = parse_strategy(name)
        if base == "uniform" and rate is not None and not replay:
            wanted["vanilla"].add(rate)
        else:
            wanted.setdefault(name, set()).update(settings.rates)
    for name in ("replay", "random"):
        if name in settings.baselines:
            wanted.setdefault(name, set()).update(settings.rates)
    runs = [(name, rate) for name, rates in wanted.items() for rate in sorted(rates, reverse=True)]
    return [
        START,
        *(CellKey(name, rate, seed) for seed in dict.fromkeys(settings.seeds) for name, rate in runs),
    ]


def plain_rate(keys: Sequence[CellKey]) -> float | None:
    """The rate of plain tuning whose checkpoints and moving average are baselines: 1, else the highest."""
    rates = {key.rate for key in keys if key.strategy == "vanilla"}
    return 1.0 if 1.0 in rates else max(rates, default=None)


def check_same_inputs(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Refuse a finished cell that was made from other inputs.

    Raises:
        StaleArtifactError: names what changed.
    """
    changed = differences(dict(found), dict(wanted))
    if changed:
        raise StaleArtifactError(
            f"{path} was made from other inputs: {'; '.join(changed)}. Go back to the earlier ones, use "
            "another --out, or remove the file to make it again."
        )


def read_cells(directory: Path) -> list[Cell]:
    """All finished cells of a directory, which must be comparable with one another.

    Raises:
        StaleArtifactError: two cells differ in more than strategy, rate and seed.
        UsageError: the start model is missing, or there is nothing else.
    """
    found = {path: Cell.read(path) for path in sorted(directory.glob("*.json"))}
    start = next((cell for cell in found.values() if cell.key == START), None)
    if start is None or len(found) < 2:
        names = ", ".join(path.name for path in found) or "nothing"
        raise UsageError(
            f"{directory} holds {names}; expected start.json and at least one tuned model. "
            "Run `securetune compare CONFIG` first; with shards, the first one measures the start model."
        )
    check_comparable(found)
    return list(found.values())


def check_comparable(cells: Mapping[Path, Cell]) -> None:
    """Refuse cells that cannot be in one comparison; each is held against those before it.

    Raises:
        StaleArtifactError: two cells differ in more than strategy, rate and seed.
    """
    shared: dict[str, Any] = {}
    trained: dict[str, Any] = {}
    averaged: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {}
    for path, cell in cells.items():
        shared = shared or _shared(cell)
        check_same_inputs(_shared(cell), shared, path)
        if cell.key == START:
            continue
        train = cell.inputs["train"]
        common = {key: value for key, value in train.items() if key not in (*_OF_RUN, *_OF_STRATEGY)}
        if "learning_rate" in train:
            # At a rate of 1. Rounded: 0.3 * x / 0.3 need not be x.
            common["learning_rate"] = float(f"{train['learning_rate'] / cell.key.rate:.6g}")
        special = {key: train[key] for key in _OF_STRATEGY if key in train}
        trained = trained or common
        found, expected = common | special, trained | own.setdefault(cell.key.strategy, special)
        if train.get("ema_decay") is not None:
            # Only the run whose weights are averaged has one.
            averaged = averaged or {"ema_decay": train["ema_decay"]}
            found, expected = found | {"ema_decay": train["ema_decay"]}, expected | averaged
        check_same_inputs({"train": found}, {"train": expected}, path)


_OF_RUN = ("learning_rate", "seed", "ema_decay")
_OF_STRATEGY = ("strategy", "refusals", "analysis", "prompts")


def _shared(cell: Cell) -> dict[str, Any]:
    return {"primary": cell.primary} | {key: value for key, value in cell.inputs.items() if key != "train"}
