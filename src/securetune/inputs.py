"""What a run asks: prompt sets of three disjoint roles, and suites."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

from securetune.config import Config, PromptSettings, PromptSource
from securetune.dataset import TrainingData
from securetune.errors import DataError
from securetune.evaluation.adversarial_files import read_adversarial
from securetune.evaluation.attacks import get_attacks
from securetune.evaluation.evaluate import Suite
from securetune.overlap import check_disjoint, overlap, without_overlap
from securetune.prompt_files import PackagePrompts, Part, package_prompts, parse_source, read_prompts
from securetune.prompts import Prompt, PromptSet, normalise
from securetune.report.data import DataCard
from securetune.tables import parse_hub_id

log = logging.getLogger("securetune")


@dataclass(frozen=True)
class Prompts:
    """The three roles; no prompt is in two of them."""

    probe: PackagePrompts
    """The package's sets, with the user's prompts of this role before the package's."""
    selection: PackagePrompts
    suites: tuple[Suite, ...]
    primary: str = "harmful"
    """The harmful suite on which the verdict rests: the user's first one, if there is any."""

    def cards(self) -> list[DataCard]:
        """One card per set, for the report."""
        roles = [("probe", part) for part in self.probe] + [("selection", part) for part in self.selection]
        cards = [_card(role, part) for role, part in roles]
        return cards + [
            _card("evaluation", suite.prompts, suite.name, suite.left_out, suite.shared, suite.without_prompt)
            for suite in self.suites
        ]

    def fingerprints(self, *parts: PromptSet) -> list[str]:
        """Fingerprints of sets, for stage inputs."""
        return [part.fingerprint for part in parts]


def _card(
    role: str,
    part: PromptSet,
    name: str | None = None,
    left_out: int = 0,
    shared: int = 0,
    without_prompt: int = 0,
) -> DataCard:
    notes = [
        f"{left_out} (nearly) equal a prompt of another role" if left_out else "",
        f"{without_prompt} entries of the file hold no prompt: rates are of the others"
        if without_prompt
        else "",
        f"{shared} are in an earlier suite too" if shared else "",
        f"{part.duplicates} repeated rows of the source were dropped" if part.duplicates else "",
    ]
    note = "; ".join(filter(None, notes))
    return DataCard(
        role, name or part.name, part.source, part.license, len(part), part.fingerprint, left_out, note
    )


def read_roles(config: Config, train: TrainingData | None = None, *others: TrainingData) -> Prompts:
    """Read the package's prompts and the user's, keep the roles disjoint, build the suites.

    The user's sets are parted into the three roles, or have the role that the configuration gives them.
    Suites may share prompts with one another, which is counted. A prompt of the user's own that has two
    labels, or two roles, is an error. Where another set is involved (the package's, a public one, the tuning
    data), the prompt leaves the later role (probe, selection, evaluation) and is counted.

    Raises:
        DataError: overlapping user files, or a suite with nothing left.
    """
    package = {role: package_prompts(role) for role in ROLES}
    check_disjoint({role: list(parts) for role, parts in package.items()})
    own = _read_own(config.prompts, package, config.seed)
    probe = _with_own(package["probe"], own["probe"])
    selection = _with_own(
        PackagePrompts(*(_without(part, own["probe"]) for part in package["selection"])),
        [_without(part, list(probe)) for part in own["selection"]],
    )
    used: list[PromptSet] = [*probe, *selection]
    used += [_openings(data) for data in (train, *others) if data is not None]
    suites: list[Suite] = []
    for name, part in zip(PACKAGE_SUITES, package["evaluation"]):
        suites.append(_suite(name, part, used, suites, config))
    for part in own["evaluation"]:
        suites.append(_suite(part.name, part, used, suites, config))
    harmful = [suite.name for suite in suites[len(PACKAGE_SUITES) :] if suite.harmful]
    primary = harmful[0] if harmful else PACKAGE_SUITES[0]
    return Prompts(probe, selection, (*suites, *_attacked(suites, used, config)), primary)


def _attacked(suites: Sequence[Suite], used: Sequence[PromptSet], config: Config) -> list[Suite]:
    """The harmful suites once more under every attack, and the adversarial files; each has its own name."""
    settings, attacked = config.evaluate, []
    taken = {suite.name for suite in suites}
    attacks = get_attacks(settings.attacks, settings.suffix)
    files = [read_adversarial(path) for path in settings.adversarial]
    for file in files:
        if file.without_prompt:
            log.warning("%s: %d entries hold no prompt", file.requests.source, file.without_prompt)
        suite = _suite(file.attack.name, file.requests, used, suites, config)
        attacked.append(replace(suite, attack=file.attack, without_prompt=file.without_prompt))
    attacked += [
        replace(suite, name=f"{suite.name}.{attack.name}", attack=attack)
        for suite in suites
        if suite.harmful
        for attack in attacks
    ]
    limited = []
    for suite in attacked:
        name = _free_name(suite.name, None, taken)
        taken.add(name)
        search = suite.attack.suffix if suite.attack else None
        limits = [settings.attack_limit, search.behaviours if search else None, len(suite.prompts)]
        size = min(limit for limit in limits if limit is not None)
        limited.append(replace(suite, name=name, prompts=suite.prompts.take(size, config.seed)))
    return limited


ROLES: tuple[Part, ...] = ("probe", "selection", "evaluation")
SHARES = {"probe": 0.4, "selection": 0.15}
"""Parts of a set that is split (ours, near the package's own parts); the rest is evaluated."""
FEWEST_TO_SPLIT = 20
"""A set with fewer prompts is not split: all of it is evaluated (ours)."""

PACKAGE_SUITES = ("harmful", "twins", "ordinary")


def _read_own(
    settings: PromptSettings, package: Mapping[Part, PackagePrompts], seed: int
) -> dict[Part, list[PromptSet]]:
    """The user's sets by role, each under a name of its own."""
    taken = {*PACKAGE_SUITES, "held-out"}
    harmful = [(source, _read(source, True, taken)) for source in settings.harmful]
    benign = [(source, _read(source, False, taken)) for source in settings.benign]
    check_disjoint({"harmful": [part for _, part in harmful], "benign": [part for _, part in benign]})
    fixed = [(source, part) for source, part in (*harmful, *benign) if source.role != "split"]
    private = [(source.role, part) for source, part in fixed if not _is_public(source)]
    check_disjoint({role: [part for own, part in private if own == role] for role in ROLES}, _PUBLIC)
    # Where a prompt is already in a role, a set that is split leaves it there.
    roles: dict[str, str] = {}
    known = [(role, part) for role in ROLES for part in package[role]]
    for role, part in [*known, *((source.role, part) for source, part in fixed)]:
        for text in part.texts():
            roles.setdefault(normalise(text), role)
    found: dict[Part, list[PromptSet]] = {role: [] for role in ROLES}
    for source, part in (*harmful, *benign):
        parts = _split(part, roles, seed) if source.role == "split" else {source.role: part}
        for role, chosen in parts.items():
            if len(chosen):
                found[role].append(chosen)
    return found


_PUBLIC = (
    "Remove them from one of the two, or, if one is a public suite, set `public: true` on it in the "
    "configuration: its evaluation then goes without them."
)


def _read(source: PromptSource, harmful: bool, taken: set[str]) -> PromptSet:
    """One set of the user, under a name that is not taken yet."""
    part = read_prompts(
        source.source,
        harmful=harmful,
        name=source.name,
        license=source.license,
        split=source.split,
        subset=source.subset,
        where=source.where,
    )
    name = _free_name(part.name, parse_source(source.source).column, taken)
    taken.add(name)
    return replace(part, name=name)


def _is_public(source: PromptSource) -> bool:
    if source.public is not None:
        return source.public
    return parse_hub_id(parse_source(source.source).location) is not None


def _free_name(name: str, column: str | None, taken: set[str]) -> str:
    """`name`, or with the column or a number behind it if it is taken."""
    wanted = [name, *([f"{name}-{column}"] if column else [])]
    return next(
        candidate
        for candidate in chain(wanted, (f"{name}-{number}" for number in count(2)))
        if candidate not in taken
    )


def _split(part: PromptSet, roles: dict[str, str], seed: int) -> dict[Part, PromptSet]:
    """Part a set into the roles, once: `roles` (normalised text -> role) is respected and filled."""
    texts = {prompt: normalise(prompt.text) for prompt in part}
    free = sorted(set(texts.values()) - roles.keys())
    if len(part) < FEWEST_TO_SPLIT:
        log.warning(
            "%s: all %d prompts are evaluated; fewer than %d are not split", part.source, len(part),
            FEWEST_TO_SPLIT,
        )  # fmt: skip
        roles |= {text: "evaluation" for text in free}
        return {"evaluation": part}
    random.Random(seed).shuffle(free)
    probe = round(SHARES["probe"] * len(free))
    selection = probe + round(SHARES["selection"] * len(free))
    for place, text in enumerate(free):
        roles[text] = "probe" if place < probe else "selection" if place < selection else "evaluation"
    parts = {
        role: replace(
            part,
            prompts=tuple(prompt for prompt in part if roles[texts[prompt]] == role),
            duplicates=part.duplicates if role == "evaluation" else 0,
        )
        for role in ROLES
    }
    numbers = ", ".join(f"{len(chosen)} {role}" for role, chosen in parts.items())
    log.info("%s: split into %s prompts", part.source, numbers)
    return parts


def _with_own(package: PackagePrompts, own: Sequence[PromptSet]) -> PackagePrompts:
    """The sets of a role with the user's before them: harmful with harmful, harmless with ordinary ones."""
    harmful = [part for part in own if len(part) and part.prompts[0].harmful]
    benign = [part for part in own if len(part) and not part.prompts[0].harmful]
    return package._replace(
        harmful=_joined([*harmful, package.harmful]), ordinary=_joined([*benign, package.ordinary])
    )


def _joined(parts: Sequence[PromptSet]) -> PromptSet:
    """One set of several; of prompts that are equal after `normalise` the first stays."""
    if len(parts) == 1:
        return parts[0]
    prompts: dict[str, Prompt] = {}
    for prompt in chain.from_iterable(parts):
        prompts.setdefault(normalise(prompt.text), prompt)
    words = [
        " + ".join(dict.fromkeys(words)) for words in zip(*((p.name, p.source, p.license) for p in parts))
    ]
    return PromptSet(words[0], words[1], words[2], tuple(prompts.values()), sum(p.duplicates for p in parts))


def _without(part: PromptSet, others: Sequence[PromptSet]) -> PromptSet:
    """A selection set without what the probe has."""
    kept, dropped = without_overlap(part, others)
    if dropped:
        log.warning("%s: %d selection prompts (nearly) equal a probe prompt", part.name, dropped)
    return kept


def _suite(
    name: str, part: PromptSet, used: Sequence[PromptSet], earlier: Sequence[Suite], config: Config
) -> Suite:
    kept, dropped = without_overlap(part, used)
    if dropped:
        log.warning("suite %s: %d prompts (nearly) equal a probe, selection or tuning prompt", name, dropped)
    if not len(kept):
        raise DataError(
            f"{part.source}: every prompt (nearly) equals a probe, selection or tuning prompt. "
            "Evaluate other prompts."
        )
    limit = config.evaluate.limit
    if limit is not None and limit < len(kept):
        kept = kept.take(limit, config.seed)
    shared = {prompt for suite in earlier for prompt, _ in overlap(kept, suite.prompts)}
    return Suite(name, kept, dropped, len(shared))


def _openings(data: TrainingData) -> PromptSet:
    prompts = tuple(Prompt(f"train-{i}", row.opening, False) for i, row in enumerate(data) if row.opening)
    return PromptSet("tuning", data.source, data.license, prompts)
