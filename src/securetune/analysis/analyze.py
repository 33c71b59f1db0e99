"""analyze(): probe, map, check, search, joint verification, in one directory."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securetune.addressing import Address
from securetune.analysis.agreement import check_map
from securetune.analysis.perturb import Perturbation, equal_reference
from securetune.analysis.probe import Probe, fit_probe, transfer
from securetune.analysis.proxies import fit_proxy
from securetune.analysis.rows import Part, Rows
from securetune.analysis.sampling import Sampler
from securetune.analysis.search import RobustSet, find_robust_set
from securetune.analysis.sensitivity import MapTask, SensitivityMap
from securetune.analysis.updates import adapter_updates
from securetune.analysis.weights import check_whole, is_expert
from securetune.config import Config
from securetune.errors import ConfigError
from securetune.files import digest, read_json, write_json
from securetune.inputs import Prompts
from securetune.models.module_map import ModuleMap
from securetune.progress import progress
from securetune.prompt_files import PackagePrompts
from securetune.prompts import Prompt, PromptSet
from securetune.report.data import OWN_EVALUATION
from securetune.runs.directory import environment

log = logging.getLogger("securetune")

TRANSFER = "transfer.json"
_PACKAGE = ("harmful", "twins", "ordinary")


@dataclass(frozen=True)
class Analysis:
    """What the analysis of a model left behind."""

    map: SensitivityMap
    robust: RobustSet
    probe: dict[str, Any]
    """Quality of the probe, and `transfer`: what it does on prompts of other origin."""
    agreement: dict[str, Any] | None
    """The sampled check of the closed form (`Agreement.to_json`), if there was one."""
    provenance: dict[str, Any]
    """How it was made: goes into plans."""
    directory: Path


def analyze(
    model: Any,
    tokenizer: Any,
    prompts: Prompts,
    config: Config,
    directory: Path,
    shard: Part | None = None,
) -> None:
    """Fit the probe on the probe prompts; map, check, search and verify on the selection prompts.

    Parts that exist are kept, so that an analysis that was cut off continues. Under `accelerate launch` the
    processes share the map; the first one does the rest.

    Args:
        model: the start model, whole in this process.
        tokenizer: its tokenizer.
        prompts: by role.
        config: settings; `config.analysis` and the seed decide the result.
        directory: where everything is written.
        shard: measure only this part of the map, and stop.

    Raises:
        UsageError: the model is sharded, or holds quantised experts.
        StaleArtifactError: `directory` holds rows of a map that was made from other inputs.
        ConfigError: more prompts are asked for than there are, or no set fits the budget.
        DataError: the proxy does not tell harmful from harmless, so drift has no unit.
    """
    check_whole(model)
    processes = join_processes()
    if processes is None:
        probe = _probe(model, tokenizer, prompts, config, directory)
    else:
        with processes.main_process_first():
            probe = _probe(model, tokenizer, prompts, config, directory)
    task, others = plan_map(model, tokenizer, prompts, config, probe)
    if processes is None:
        rows = Rows(directory, "map", shard, task.identity)
        task.measure(rows, shard.of(task.keys) if shard else None)
        if shard:
            return
    else:
        share = Part(processes.process_index, processes.num_processes)
        rows = Rows(directory, "map", share, task.identity)
        with processes.split_between_processes(task.keys) as keys:
            task.measure(rows, keys)
        processes.wait_for_everyone()
        rows.refresh()
    if processes is None or processes.is_main_process:
        _conclude(task, rows, others, prompts, config, directory)
    if processes is not None:
        processes.wait_for_everyone()


def plan_map(
    model: Any, tokenizer: Any, prompts: Prompts, config: Config, probe: Probe
) -> tuple[MapTask, list[str]]:
    """The map's task by the settings, and the prompts of the joint verification."""
    settings = config.analysis
    modules = ModuleMap.of(model)
    texts, others = analysis_prompts(
        prompts.selection, settings.prompts, settings.verify_prompts, config.seed
    )
    kind = settings.perturbation
    updates = None
    if kind == "update":
        if settings.update_from is None:
            raise ConfigError(
                "analysis.perturbation `update` needs analysis.update_from: an adapter directory."
            )
        updates = adapter_updates(model, settings.update_from)
    perturbation = Perturbation(
        kind,
        settings.noise_scale,
        reference=equal_reference(modules) if kind == "gaussian-equal" else 0.0,
        updates=updates,
    )
    proxy = fit_proxy(settings.proxy, model, tokenizer, modules, probe, prompts.probe, settings.batch_size)
    lora = config.train.lora
    task = MapTask(
        model, tokenizer, modules, proxy, tuple(texts), perturbation, settings.method,
        batch_size=settings.batch_size, draws=settings.draws, seed=config.seed,
        lora_rank=lora.r, lora_scaling=lora.alpha / lora.r, model_fingerprint=probe.model,
        paired=True,
    )  # fmt: skip
    return task, others


def analysis_prompts(
    selection: PackagePrompts, prompts: int, verify: int, seed: int
) -> tuple[list[str], list[str]]:
    """Texts for the map and, all different, for the joint verification.

    Both are harmful prompts, each followed by its twin, and go round the categories in a seeded order. Beside
    a harmful prompt without a twin, as the user's are, stands an ordinary one, the user's first.

    Raises:
        ConfigError: there are not enough pairs for both.
    """
    twins = {prompt.pair: prompt for prompt in selection.twins}
    ordinary = iter(selection.ordinary)
    pairs = [(harmful, twins.get(harmful.pair) or next(ordinary, None)) for harmful in selection.harmful]
    beside = {harmful: harmless for harmful, harmless in pairs if harmless is not None}
    alone = len(pairs) - len(beside), sum(prompt.where is not None for prompt in ordinary)
    if any(alone):
        log.warning(
            "the analysis leaves out %d harmful and %d harmless selection prompts: it takes pairs of both",
            *alone,
        )
    by_category: dict[str | None, list[Prompt]] = {}
    for prompt in beside:
        by_category.setdefault(prompt.category, []).append(prompt)
    first, second = prompts // 2, verify // 2
    if first + second > len(beside):
        raise ConfigError(
            f"analysis.prompts {prompts} and analysis.verify_prompts {verify} need {first + second} pairs of "
            f"a harmful and a harmless prompt; the selection prompts have {len(beside)}. Lower one of them."
        )
    rng = random.Random(seed)
    queues = [rng.sample(queue, len(queue)) for _, queue in sorted(by_category.items(), key=str)]
    rng.shuffle(queues)
    order = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    texts = [text for prompt in order for text in (prompt.text, beside[prompt].text)]
    return texts[: 2 * first], texts[2 * first : 2 * (first + second)]


def read_analysis(directory: Path, prompts: Prompts) -> Analysis:
    """Read a finished analysis; what the probe did on other suites than those of `prompts` is left out."""
    agreement = directory / "check.json"
    tried = read_json(directory / TRANSFER)["table"] if transfer_is_current(directory, prompts) else {}
    return Analysis(
        SensitivityMap.load(directory / "map.json"),
        RobustSet.load(directory / "robust_set.json"),
        {**read_json(directory / "probe.json")["quality"], "transfer": tried},
        read_json(agreement) if agreement.is_file() else None,
        read_json(directory / "provenance.json"),
        directory,
    )


def join_processes() -> Any:
    """The processes of `accelerate launch` or torchrun; None if this is the only one.

    Call it before the model is loaded: it gives each process an accelerator of its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def _probe(model: Any, tokenizer: Any, prompts: Prompts, config: Config, directory: Path) -> Probe:
    settings = config.analysis
    if (directory / "probe.json").is_file():
        probe = Probe.load(directory, model)
    else:
        probe = fit_probe(
            model, tokenizer, list(prompts.probe), l2=settings.probe_l2, kind=settings.probe,
            folds=settings.folds, seed=config.seed, batch_size=settings.batch_size,
        )  # fmt: skip
        probe.save(directory)
    if not transfer_is_current(directory, prompts):
        found = transfer(probe, model, tokenizer, _other_origin(prompts), settings.batch_size)
        write_json(directory / TRANSFER, {"prompts": _identified(prompts), "table": found})
    return probe


def transfer_is_current(directory: Path, prompts: Prompts) -> bool:
    """Whether the probe of an analysis was tried on the suites that are asked now."""
    file = directory / TRANSFER
    return file.is_file() and read_json(file)["prompts"] == _identified(prompts)


def _other_origin(prompts: Prompts) -> dict[str, list[PromptSet]]:
    """Every suite, and together those of the package, whose authors are the probe's."""
    others = {suite.name: [suite.prompts] for suite in prompts.suites if suite.name not in _PACKAGE}
    own = [suite.prompts for suite in prompts.suites if suite.name in _PACKAGE]
    return ({OWN_EVALUATION: own} if own else {}) | others


def _identified(prompts: Prompts) -> dict[str, list[str]]:
    return {name: prompts.fingerprints(*sets) for name, sets in _other_origin(prompts).items()}


def _conclude(
    task: MapTask, rows: Rows, others: list[str], prompts: Prompts, config: Config, directory: Path
) -> None:
    """Everything after the map: check, search, provenance. Parts that exist are kept."""
    settings = config.analysis
    if not (directory / "map.json").is_file():
        task.assemble(rows).save(directory / "map.json")
    found = SensitivityMap.load(directory / "map.json")
    experts = any(is_expert(task.modules, address) for address in found.addresses)
    wanted = task.method == "closed-form" and (settings.check_addresses or experts)
    if wanted and not (directory / "check.json").is_file():
        agreement = check_map(
            task, found, addresses=settings.check_addresses, prompts=settings.check_prompts,
            draws=settings.check_draws, bound=settings.check_bound,
        )  # fmt: skip
        write_json(directory / "check.json", agreement.to_json())
    if not (directory / "robust_set.json").is_file():
        _search(task, found, others, config, directory).save(directory / "robust_set.json")
    robust = RobustSet.load(directory / "robust_set.json")
    write_json(directory / "provenance.json", _provenance(task, found, robust, others, prompts, config))


def _search(
    task: MapTask, found: SensitivityMap, others: list[str], config: Config, directory: Path
) -> RobustSet:
    settings = config.analysis
    sampler = Sampler(task.model, task.tokenizer, task.modules, task.proxy, others, task.batch_size)

    def verify(addresses: Sequence[Address], seeds: Sequence[int]) -> list[float]:
        draws: list[float] = []
        with progress(f"joint verification of {len(addresses)} matrices", len(seeds)) as advance:
            for seed in seeds:
                draws += sampler.joint_drift(addresses, task.perturbation, [seed])
                advance(1)
        return draws

    return find_robust_set(
        found, verify, share=settings.share, budget=settings.drift_budget, method=settings.search,
        granularity=settings.granularity, seed=config.seed, log_path=directory / "search.jsonl",
        draws=settings.verify_draws if task.perturbation.draws else None,
    )  # fmt: skip


def _provenance(
    task: MapTask,
    found: SensitivityMap,
    robust: RobustSet,
    others: Sequence[str],
    prompts: Prompts,
    config: Config,
) -> dict[str, Any]:
    settings = config.analysis
    return {
        "method": found.method,
        "proxy": found.proxy,
        "probe": settings.probe,
        "perturbation": found.perturbation,
        "noise_scale": found.noise_scale,
        "matrices": len(found.addresses),
        "split_half": found.split_half(),
        "prompts": {
            "probe": prompts.fingerprints(*prompts.probe),
            "map": {"n": len(task.texts), "fingerprint": digest(sorted(task.texts))},
            "verification": {"n": len(others), "fingerprint": digest(sorted(others))},
        },
        "search": robust.method,
        "granularity": robust.granularity,
        "share": robust.share,
        "drift_budget": robust.budget,
        "predicted_drift": robust.predicted,
        "verified_drift": robust.verified,
        "verify_draws": robust.draws,
        "seed": config.seed,
        "versions": environment(),
    }
