"""Rows of a map say from what they were made, and are refused elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from analysis_tools import TEXTS, probe_for

from securetune.analysis.perturb import Perturbation
from securetune.analysis.proxies import GenericDrift, ProbeLogit
from securetune.analysis.rows import Part, Rows
from securetune.analysis.sensitivity import MapTask
from securetune.errors import StaleArtifactError
from securetune.models.module_map import ModuleMap
from tiny import tiny_llama


def a_task(tokenizer: Any, *, seed: int = 0, dtype: torch.dtype = torch.float32, gap: float = 2.0) -> MapTask:
    model = tiny_llama(tokenizer, seed=seed).to(dtype)
    proxy = ProbeLogit(replace(probe_for(model, 64), gap=gap))
    modules = ModuleMap.of(model)
    return MapTask(model, tokenizer, modules, proxy, tuple(TEXTS[:2]), addresses=modules.matrices()[:3])


OTHERS: dict[str, Callable[[Any], MapTask]] = {
    "size": lambda t: replace(a_task(t), perturbation=Perturbation("gaussian", 0.3)),
    "perturbation": lambda t: replace(a_task(t), perturbation=Perturbation("low-rank")),
    "method": lambda t: replace(a_task(t), method="monte-carlo", draws=2),
    "proxy": lambda t: replace(a_task(t), proxy=GenericDrift()),
    "gap": lambda t: a_task(t, gap=2.1),
    "model": lambda t: a_task(t, seed=1),
    "dtypes": lambda t: a_task(t, dtype=torch.bfloat16),
    "seed": lambda t: replace(a_task(t), seed=1),
    "texts": lambda t: replace(a_task(t), texts=tuple(TEXTS[:3])),
    "addresses": lambda t: replace(a_task(t), addresses=()),
    "lora_rank": lambda t: replace(a_task(t), lora_rank=4),
    "lora_scaling": lambda t: replace(a_task(t), lora_scaling=1.0),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_shard_of_something_else_is_refused_and_what_differs_is_named(
    what: str, tokenizer: Any, tmp_path: Path
) -> None:
    task, other = a_task(tokenizer), OTHERS[what](tokenizer)
    part = Part(0, 2)
    other.measure(Rows(tmp_path, "map", part, other.identity), part.of(other.keys))
    with pytest.raises(
        StaleArtifactError, match=rf"map\.1of2\.jsonl .*\b{what}: found .*, expected .*Remove"
    ):
        Rows(tmp_path, "map", Part(1, 2), task.identity)


def test_sampled_rows_of_other_updates_or_draws_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    task = replace(a_task(tokenizer), method="monte-carlo", draws=2)
    address = task.targets[0]
    change = torch.ones_like(task.modules.weight(address)[1])

    def updated(size: float) -> MapTask:
        return replace(task, perturbation=Perturbation("update", 1.0, updates={address: size * change}))

    first = updated(1.0)
    first.measure(Rows(tmp_path, identity=first.identity), first.keys[:1])
    with pytest.raises(StaleArtifactError, match="update_norm: found"):
        Rows(tmp_path, identity=updated(2.0).identity)
    with pytest.raises(StaleArtifactError, match="draws: found 2, expected 5"):
        Rows(tmp_path, identity=replace(first, draws=5).identity)


def test_rows_that_do_not_say_from_what_they_were_made_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    task = a_task(tokenizer)
    task.measure(Rows(tmp_path))
    with pytest.raises(StaleArtifactError, match=r"map\.jsonl .*does not say from what"):
        Rows(tmp_path, identity=task.identity)


def test_a_probe_fitted_on_another_machine_differs_in_rounding_only(tokenizer: Any, tmp_path: Path) -> None:
    task = a_task(tokenizer)
    task.measure(Rows(tmp_path, identity=task.identity))
    again = Rows(tmp_path, identity=a_task(tokenizer, gap=2.0 * (1 + 1e-6)).identity)
    assert set(again.done) == set(task.keys)


def test_a_kill_inside_the_header_loses_nothing_and_one_header_is_written(tmp_path: Path) -> None:
    file = tmp_path / "map.jsonl"
    file.write_text('{"header": {"si')
    rows = Rows(tmp_path, identity={"size": 0.1})
    rows.append("a", 1)
    Rows(tmp_path, identity={"size": 0.1}).append("b", 2)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0] == {"header": {"size": 0.1}} and [line.get("key") for line in lines[1:]] == ["a", "b"]
    assert Rows(tmp_path).done == {"a": 1, "b": 2}, "without an identity, nothing is compared"
