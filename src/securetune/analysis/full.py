"""`analyze --full`: proxies, probes, stability, perturbations, patterns, each against the closed form."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from securetune.addressing import Address
from securetune.analysis import patterns
from securetune.analysis.analyze import Analysis, plan_map
from securetune.analysis.classifiers import CLASSIFIERS
from securetune.analysis.joint import JointStudy, together_patterns
from securetune.analysis.perturb import KINDS, Perturbation, equal_reference
from securetune.analysis.probe import Probe, fit_probe
from securetune.analysis.proxies import PROXIES, ProbeLogit, Proxy, fit_proxy
from securetune.analysis.refit import LabelledStates, refit_under
from securetune.analysis.reliability import compare_maps, prompts_needed, specificity
from securetune.analysis.rows import Rows
from securetune.analysis.sampling import Sampler
from securetune.analysis.sensitivity import MapTask, SensitivityMap, map_sensitivity
from securetune.analysis.updates import adapter_updates
from securetune.analysis_settings import SECTIONS
from securetune.config import Config
from securetune.errors import DataError
from securetune.files import digest, write_json
from securetune.inputs import Prompts
from securetune.models.fingerprint import fingerprint_files
from securetune.progress import log
from securetune.prompt_files import PackagePrompts
from securetune.prompts import Prompt, PromptSet

SAMPLED_ADDRESSES, SAMPLED_PROMPTS, SAMPLED_DRAWS = 60, 16, 4
SIZES = (0.5, 1.0, 5.0)
"""Noise of the perturbations and of joint drift, in units of `analysis.noise_scale`."""
SET_SHARES = (0.125, 0.25, 0.5, 1.0)
JOINT_DRAWS = 8
"""Draws of noise on each robust set, the evidence for pattern C."""
SINGLES = 12
"""Robust matrices that are perturbed one at a time beside the joint tests."""
PROBE_SEEDS, NOISE_SEEDS, REFIT_DRAWS = 3, 3, 3
STABILITY_SEEDS = 1000
"""Added to the seed of the run, once or more often, for other noise."""


def examine(
    model: Any,
    tokenizer: Any,
    prompts: Prompts,
    config: Config,
    analysis: Analysis,
    sections: Collection[str] = SECTIONS,
) -> dict[str, Any]:
    """Answer, with measurements on this model, what the reviewers of the method asked.

    Writes `full.json` into the analysis, with `sections` and those that an earlier call measured, which
    are not measured again.

    Args:
        model: the start model.
        tokenizer: its tokenizer.
        prompts: by role.
        config: the settings of the analysis.
        analysis: finished.
        sections: what to measure.

    Returns:
        `reference` (what `proxies` and `perturbations` are compared with), `proxies`, `probes`, `stability`,
        `perturbations` (lists of `MapComparison`, or `{"what", "note"}` where one cannot be measured),
        `specificity`, `prompts_needed`, `split_half`, `joint`, `refit`, `patterns`, `sentence`.
    """
    study = _Study(model, tokenizer, prompts, config, analysis)
    rows = Rows(analysis.directory, "full", identity=study.identity)
    measures: dict[str, Callable[[], Any]] = {
        "proxies": study.proxies,
        "specificity": study.specificities,
        "probes": study.probes,
        "stability": study.stability,
        "perturbations": study.perturbations,
        "joint": study.joint,
        "refit": study.refits,
    }
    missing = [name for name in SECTIONS if name in sections and name not in rows.done]
    for number, name in enumerate(missing, 1):
        log.info("full analysis, %d of %d: %s", number, len(missing), name)
        rows.append(name, measures[name]())
    content: dict[str, Any] = {name: rows.done[name] for name in SECTIONS if name in rows.done}
    used = analysis.map
    tests = [
        patterns.depth_pattern(used, seed=config.seed),
        patterns.query_key_pattern(used, seed=config.seed),
        *together_patterns(content.get("joint", [])),
    ]
    settings = config.analysis
    content |= {
        "reference": f"closed form (gaussian {settings.noise_scale:g}, {settings.proxy})",
        "prompts_needed": prompts_needed(used, seed=config.seed),
        "split_half": {"prompts": used.split_half(), "draws": used.split_half_draws()},
        "patterns": [test.to_json() for test in tests],
        "sentence": patterns.describe(tests),
    }
    write_json(analysis.directory / "full.json", content)
    return content


def probe_halves(roles: PackagePrompts, seed: int) -> tuple[list[PromptSet], list[PromptSet]]:
    """Two disjoint random halves of the probe prompts; a harmful prompt and its twin are in the same one."""

    def group(prompt: Prompt) -> str:
        return prompt.pair or prompt.id

    rng = random.Random(seed)
    chosen: set[str] = set()
    seen: set[str] = set()
    for part in roles:
        fresh = sorted({group(prompt) for prompt in part} - seen)
        rng.shuffle(fresh)
        chosen |= set(fresh[: len(fresh) // 2])
        seen |= set(fresh)

    def half(first: bool) -> list[PromptSet]:
        kept = [tuple(p for p in part if (group(p) in chosen) == first) for part in roles]
        return [replace(part, prompts=prompts) for part, prompts in zip(roles, kept)]

    return half(True), half(False)


@dataclass
class _Study:
    """One model's measurements; each method is a section of `full.json`."""

    model: Any
    tokenizer: Any
    prompts: Prompts
    config: Config
    analysis: Analysis

    @property
    def identity(self) -> dict[str, Any]:
        """What the sections depend on."""
        update = self.config.analysis.update_from
        return {
            **self.task.identity,
            "robust": digest([str(address) for address in self.analysis.robust.addresses]),
            "update": None if update is None else fingerprint_files(Path(update)),
        }

    @cached_property
    def probe(self) -> Probe:
        return Probe.load(self.analysis.directory, self.model)

    @cached_property
    def _planned(self) -> tuple[MapTask, list[str]]:
        return plan_map(self.model, self.tokenizer, self.prompts, self.config, self.probe)

    @property
    def task(self) -> MapTask:
        return self._planned[0]

    @cached_property
    def closed(self) -> MapTask:
        """The closed form for Gaussian noise, whatever the map in use was made by."""
        noise = Perturbation("gaussian", self.config.analysis.noise_scale)
        return replace(self.task, method="closed-form", perturbation=noise)

    @property
    def reference(self) -> SensitivityMap:
        """The closed form of the proxy in use."""
        return self._map_of(self.config.analysis.proxy)

    @cached_property
    def elsewhere(self) -> SensitivityMap:
        """The same on the prompts of the verification, which no map was made on."""
        return map_sensitivity(replace(self.closed, texts=tuple(self._planned[1])))

    def compared(
        self, what: str, found: SensitivityMap, reference: SensitivityMap | None = None
    ) -> dict[str, Any]:
        robust = self.analysis.robust
        reference = self.reference if reference is None else reference
        row = compare_maps(what, reference, found, robust.share, robust.granularity, self.config.seed)
        return row.to_json()

    def proxies(self) -> list[dict[str, Any]]:
        """The closed form of every proxy against that of the one in use."""
        found = []
        for name in PROXIES:
            try:
                found.append(self.compared(name, self._map_of(name)))
            except DataError as error:
                found.append({"what": name, "note": str(error)})
        return found

    def specificities(self) -> dict[str, Any]:
        """For each safety proxy, how much generic drift predicts."""
        generic = self._map_of("generic")
        found: dict[str, Any] = {}
        for name in PROXIES[:-1]:
            try:
                found[name] = specificity(self._map_of(name), generic, self.config.seed).to_json()
            except DataError as error:
                found[name] = {"note": str(error)}
        return found

    def probes(self) -> list[dict[str, Any]]:
        """Other classifiers and other probe data, against the closed form of the probe."""
        kind, roles = self.config.analysis.probe, self.prompts.probe
        variants: list[tuple[str, list[PromptSet], str]] = [
            (f"classifier {name}", list(roles), name) for name in CLASSIFIERS
        ]
        variants.append(("data: harmful against twins", [roles.harmful, roles.twins], kind))
        variants.append(("data: harmful against ordinary", [roles.harmful, roles.ordinary], kind))
        found = []
        for what, parts, name in variants:
            try:
                probe = self._fitted(parts, name)
            except DataError as error:
                found.append({"what": what, "note": str(error)})
                continue
            row = self.compared(what, self._map_by(probe), self._map_of("probe"))
            keys = ("auroc", "shuffled_auroc", "bag_of_words_auroc")
            found.append(row | {key: probe.quality[key] for key in keys})
        return found

    def stability(self) -> list[dict[str, Any]]:
        """Maps that differ by chance: halves of the probe prompts, other prompts, seeds of the noise."""
        found: list[dict[str, Any]] = []
        for seed in range(PROBE_SEEDS):
            what = f"halves of the probe prompts, split {seed}"
            try:
                probes = [
                    self._fitted(parts, self.config.analysis.probe)
                    for parts in probe_halves(self.prompts.probe, seed)
                ]
            except DataError as error:
                found.append({"what": what, "note": str(error)})
                continue
            first, second = map(self._map_by, probes)
            found.append(self.compared(what, second, first))
        found.append(self.compared("other selection prompts", self.elsewhere))
        noise = self.closed.perturbation
        sampled = [self._sampled(noise, STABILITY_SEEDS * i) for i in range(NOISE_SEEDS)]
        for (i, first), (k, second) in combinations(enumerate(sampled), 2):
            found.append(self.compared(f"sampled, noise seeds {i} and {k}", second, first))
        return found

    def perturbations(self) -> list[dict[str, Any]]:
        """Sampled maps of every kind, and of Gaussian noise of several sizes, on some addresses."""
        settings = self.config.analysis
        size = settings.noise_scale
        kinds = [Perturbation("gaussian", size * times) for times in SIZES]
        kinds += [Perturbation(kind, size) for kind in ("scale", "zero", "low-rank")]
        kinds.append(Perturbation("gaussian-equal", size, reference=equal_reference(self.task.modules)))
        if settings.update_from is not None:
            updates = adapter_updates(self.model, settings.update_from)
            kinds.append(Perturbation("update", 1.0, updates=updates))
        found: list[dict[str, Any]] = []
        for kind in kinds:
            sized = "" if kind.kind == "zero" else f" {kind.size:g}"
            sampled = self._sampled(kind)
            prompts = range(len(sampled.per_prompt))
            row = self.compared(f"{kind.kind}{sized}", sampled, self.reference.at(sampled.addresses, prompts))
            found.append(row | {"split_half_draws": sampled.split_half_draws(), "prompts": len(prompts)})
        if settings.update_from is None:
            found.append({"what": "update", "note": "set analysis.update_from to a tuned adapter"})
        assert {row["what"].split()[0] for row in found} == set(KINDS)
        return found

    def joint(self) -> list[dict[str, Any]]:
        """Joint drift of sets on the prompts of the verification."""
        task, others = self._planned
        sampler = Sampler(self.model, self.tokenizer, task.modules, task.proxy, others, task.batch_size)
        study = JointStudy(SET_SHARES, SIZES, JOINT_DRAWS, SAMPLED_DRAWS, SINGLES)
        return study.measure(sampler, self.elsewhere, self.config.seed)

    def refits(self) -> list[dict[str, Any]]:
        """The frozen and a re-fitted probe with the robust set, the rest, and everything perturbed."""
        settings, seed = self.config.analysis, self.config.seed
        robust = set(self.analysis.robust.addresses)
        every = self.analysis.map.addresses
        groups: dict[str, Sequence[Address]] = {
            "nothing": (),
            "robust set": sorted(robust),
            "the rest": [address for address in every if address not in robust],
            "everything": every,
        }
        before = LabelledStates.read(
            self.model, self.tokenizer, list(self.prompts.probe), settings.batch_size
        )
        first = seed + 10 * STABILITY_SEEDS
        found = []
        for what, addresses in groups.items():
            for times in (1.0, SIZES[-1]) if addresses else (0.0,):
                noise = Perturbation("gaussian", settings.noise_scale * times)
                row = refit_under(
                    what, self.model, self.tokenizer, self.task.modules, before, addresses, noise,
                    kind=settings.probe, l2=settings.probe_l2, folds=settings.folds,
                    seeds=range(first, first + (REFIT_DRAWS if addresses else 1)),
                    batch_size=settings.batch_size,
                )  # fmt: skip
                found.append(row.to_json() | {"noise": noise.size})
        return found

    def _fitted(self, parts: Sequence[PromptSet], kind: str) -> Probe:
        settings = self.config.analysis
        return fit_probe(
            self.model, self.tokenizer, parts, l2=settings.probe_l2, kind=kind, folds=settings.folds,
            seed=self.config.seed, batch_size=settings.batch_size,
        )  # fmt: skip

    def _map_by(self, probe: Probe) -> SensitivityMap:
        return map_sensitivity(replace(self.closed, proxy=ProbeLogit(probe)))

    def _map_of(self, name: str) -> SensitivityMap:
        if name not in self._maps:
            proxy: Proxy = fit_proxy(
                name, self.model, self.tokenizer, self.task.modules, self.probe, self.prompts.probe,
                self.task.batch_size,
            )  # fmt: skip
            task = replace(self.closed, proxy=proxy)
            if name == "generic":
                # The control is read on prompts that have nothing to do with harm.
                texts = tuple(self.prompts.selection.ordinary.texts())
                task = replace(task, texts=texts, paired=False)
            self._maps[name] = map_sensitivity(task)
        return self._maps[name]

    @cached_property
    def _maps(self) -> dict[str, SensitivityMap]:
        used = self.analysis.map
        closed = (used.method, used.perturbation) == ("closed-form", "gaussian")
        return {used.proxy: used} if closed else {}

    def _sampled(self, perturbation: Perturbation, seed: int = 0) -> SensitivityMap:
        """The sampled map of some addresses on some prompts, resumable; `seed` is added to the run's."""
        every = self.analysis.map.addresses
        some = random.Random(self.config.seed).sample(every, min(SAMPLED_ADDRESSES, len(every)))
        task = replace(
            self.task, method="monte-carlo", addresses=tuple(sorted(some)), draws=SAMPLED_DRAWS,
            texts=self.task.texts[:SAMPLED_PROMPTS], perturbation=perturbation, seed=self.config.seed + seed,
        )  # fmt: skip
        name = f"{perturbation.kind}-{perturbation.size:g}-{task.seed}"
        rows = Rows(self.analysis.directory / "full", name, identity=task.identity)
        task.measure(rows)
        return task.assemble(rows)
