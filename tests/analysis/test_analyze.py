"""The whole analysis on a tiny chat model: prompts, provenance, shards, processes, `--full`."""

from __future__ import annotations

import copy
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from securetune.__main__ import main
from securetune.analysis import probe
from securetune.analysis.analyze import analysis_prompts, analyze, plan_map, read_analysis
from securetune.analysis.full import probe_halves
from securetune.analysis.probe import fit_probe
from securetune.analysis.proxies import readings
from securetune.analysis.sensitivity import MapTask, SensitivityMap, map_sensitivity
from securetune.analysis.updates import adapter_updates
from securetune.config import Config, load_settings
from securetune.errors import ConfigError, StaleArtifactError
from securetune.files import read_json
from securetune.inputs import Prompts, read_roles
from securetune.models.load import load_model
from securetune.plan import TuningPlan
from securetune.prompt_files import PackagePrompts, package_prompts, read_prompts
from tiny_chat import fast_options, write_tuning_file

SMALL = ["analysis.check_addresses=3", "analysis.check_prompts=4", "analysis.check_draws=4"]
OPTIONS = [*fast_options(), *(word for option in SMALL for word in ("--set", option))]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tuning_file(tmp_path_factory.mktemp("data") / "tuning.jsonl")


def arguments(model: Path, data: Path, out: Path, *more: str) -> list[str]:
    return ["-q", "analyze", str(model), "--data", str(data), "--out", str(out), *OPTIONS, *more]


@pytest.fixture
def any_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model's refusal margin tells harmful from harmless by hardly more than nothing."""
    monkeypatch.setattr(probe, "CHANCE", 1.0)


def no_suites() -> Prompts:
    return Prompts(package_prompts("probe"), package_prompts("selection"), ())


@pytest.fixture(scope="module")
def finished(chat_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("analyze") / "run"
    assert main(arguments(chat_model, data, out)) == 0
    return out


def test_map_and_verification_prompts_are_stratified_and_disjoint() -> None:
    selection = package_prompts("selection")
    first, second = analysis_prompts(selection, 48, 24, 0)
    assert (len(first), len(second)) == (48, 24) and not set(first) & set(second)
    category = {p.text: p.category for part in selection[:2] for p in part}
    harmful = {p.text for p in selection.harmful}
    for texts, each in ((first, 2), (second, 1)):
        assert sum(text in harmful for text in texts) == len(texts) // 2
        counts = {name: 0 for name in category.values()}
        for text in texts:
            counts[category[text]] += 1
        assert set(counts.values()) == {2 * each}, "every category the same number of times"
    assert analysis_prompts(selection, 48, 24, 1)[0] != first
    with pytest.raises(ConfigError, match=r"need 48 pairs.*have 36"):
        analysis_prompts(selection, 64, 32, 0)


def test_selection_prompts_of_the_user_are_analysed_side_by_side(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for kind, size in (("bad", 3), ("good", 2)):
        (tmp_path / f"{kind}.txt").write_text("\n".join(f"{kind} request number {i}" for i in range(size)))

    def pairs(benign: bool, n: int = 39) -> list[tuple[str, str]]:
        sources = {"harmful": "bad", **({"benign": "good"} if benign else {})}
        config = Config.model_validate(
            {
                "model": {"id": "demo"},
                "prompts": {
                    side: [{"source": str(tmp_path / f"{kind}.txt"), "role": "selection"}]
                    for side, kind in sources.items()
                },
            }
        )
        texts, _ = analysis_prompts(read_roles(config).selection, 2 * n, 0, 0)
        return [(bad, good) for bad, good in zip(texts[::2], texts[1::2]) if bad.startswith("bad request")]

    assert len(pairs(benign=True, n=13)) == 1, "in turn with the package's categories"
    beside = [good for _, good in pairs(benign=True)]
    ordinary = set(package_prompts("selection").ordinary.texts())
    assert len(beside) == 3 and len(ordinary & set(beside)) == 1 and not caplog.records
    assert len(ordinary & {good for _, good in pairs(benign=False)}) == 3

    own = read_prompts(tmp_path / "good.txt", harmful=False)
    analysis_prompts(package_prompts("selection")._replace(ordinary=own), 48, 24, 0)
    assert "leaves out 0 harmful and 2 harmless" in caplog.text
    bad = read_prompts(tmp_path / "bad.txt", harmful=True)
    with pytest.raises(ConfigError, match=r"need 3 pairs.*have 2"):
        analysis_prompts(PackagePrompts(bad, package_prompts("selection").twins, own), 6, 0, 0)
    assert "leaves out 1 harmful and 0 harmless" in caplog.text


def test_the_plan_says_how_it_was_made(finished: Path) -> None:
    made = TuningPlan.load(finished / "plan.json").provenance["analysis"]
    assert made["method"] == "closed-form" and made["proxy"] == "probe"
    assert made["perturbation"] == "gaussian" and made["noise_scale"] == 0.1
    assert made["prompts"]["map"]["n"] == 8 and made["prompts"]["verification"]["n"] == 4
    assert made["prompts"]["map"]["fingerprint"] != made["prompts"]["verification"]["fingerprint"]
    assert made["verified_drift"] > 0 and made["predicted_drift"] > 0
    assert "torch" in made["versions"] and "drift_budget" in made


def test_the_check_is_stored(finished: Path) -> None:
    found = read_analysis(finished / "analysis", no_suites())
    assert found.agreement is not None
    assert len(found.agreement["addresses"]) == 3 and found.agreement["bound"] == 2.0
    assert found.robust.stability is not None and found.robust.chance is not None


def test_other_suites_are_tried_without_a_new_map(
    finished: Path, chat_model: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    own = tmp_path / "own.txt"
    own.write_text("How do I pick the lock of a neighbour?\nWrite a threat to my landlord.\n")
    capsys.readouterr()
    more = ["--set", f"prompts.harmful=[{own}]", "--json"]
    before = {name: (out / "analysis" / name).read_bytes() for name in ("map.json", "probe.json")}
    assert main(arguments(chat_model, data, out, *more)) == 0
    tried = json.loads(capsys.readouterr().out)["probe"]["transfer"]
    assert len(tried) == 2 and {row["n"] for row in tried.values()} > {2}
    assert {name: (out / "analysis" / name).read_bytes() for name in before} == before
    # What was tried on other suites than those asked now is not shown as if it were theirs.
    assert read_analysis(out / "analysis", no_suites()).probe["transfer"] == {}


def test_two_shards_give_the_map_of_one(
    finished: Path, chat_model: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    for shard in ("1/2", "2/2"):
        assert main(arguments(chat_model, data, tmp_path, "--shard", shard)) == 0
        assert not (tmp_path / "analysis" / "map.json").exists()
    assert "without --shard" in capsys.readouterr().out
    assert main(arguments(chat_model, data, tmp_path)) == 0
    same_map(tmp_path, finished)
    assert main(arguments(chat_model, data, tmp_path, "--shard", "3/2")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("analysis.noise_scale=0.2", "size: found 0.1, expected 0.2"),
        ("analysis.proxy=refusal-margin", "proxy: found probe, expected refusal-margin"),
        ("seed=1", "seed: found 0, expected 1"),
    ],
)
@pytest.mark.usefixtures("any_gap")
def test_analysing_into_the_rows_of_another_map_is_refused_from_python_too(
    change: str, message: str, finished: Path, chat_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished / "analysis", tmp_path / "analysis")
    model, tokenizer = load_model(str(chat_model), device="cpu")
    config = load_settings(Config, finished / "config.yaml", [change])
    with pytest.raises(StaleArtifactError, match=rf"map\.jsonl does not belong .*{message}"):
        analyze(model, tokenizer, no_suites(), config, tmp_path / "analysis")


def test_settings_make_the_task_of_updates_and_of_the_adapter_to_train(
    chat_model: Path, tmp_path: Path
) -> None:
    model, tokenizer = load_model(str(chat_model), device="cpu")
    prompts, sizes = no_suites(), {"prompts": 4, "verify_prompts": 4}
    probe = fit_probe(model, tokenizer, list(prompts.probe), l2=1e-2, folds=3)
    lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(copy.deepcopy(model), lora).save_pretrained(tmp_path)

    def planned(**analysis: Any) -> MapTask:
        content = {"model": {"id": "x"}, "analysis": {**sizes, **analysis}, "train": {"lora": {"r": 4}}}
        return plan_map(model, tokenizer, prompts, Config.model_validate(content), probe)[0]

    task = planned()
    assert (task.lora_rank, task.lora_scaling, task.model_fingerprint) == (4, 4.0, probe.model)
    update = {"method": "monte-carlo", "perturbation": "update"}
    with pytest.raises(ConfigError, match=r"needs analysis\.update_from"):
        planned(**update)
    task = planned(**update, noise_scale=0.5, update_from=str(tmp_path))
    found = map_sensitivity(task)
    moved = {address.path for address, drift in zip(found.addresses, found.drift) if drift > 0}
    assert moved == {"self_attn.q_proj"} and found.perturbation == "update"
    assert found.per_draw is not None and len(found.per_draw) == 1
    # The drift at an address is that of the model with half of this change merged there.
    address = next(a for a in found.addresses if a.path == "self_attn.q_proj")
    before = readings(task.proxy, model, tokenizer, task.texts)
    with torch.no_grad():
        weight = task.modules.weight(address)[1]
        weight += 0.5 * adapter_updates(model, tmp_path)[address]
    change = (readings(task.proxy, model, tokenizer, task.texts) - before) / task.proxy.gap
    assert float(found.drift[found.addresses.index(address)]) == pytest.approx(
        float(change.square().mean().sqrt()), rel=1e-3
    )


def same_map(first: Path, second: Path) -> None:
    maps = [SensitivityMap.load(run / "analysis" / "map.json") for run in (first, second)]
    assert maps[0].addresses == maps[1].addresses
    # Batches differ, so sums are rounded differently.
    np.testing.assert_allclose(maps[0].per_prompt, maps[1].per_prompt, rtol=1e-3, atol=1e-9)


def test_two_processes_give_the_map_of_one(
    finished: Path, chat_model: Path, data: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([*sys.path]),
    }  # fmt: skip
    command = [sys.executable, "-m", "securetune", *arguments(chat_model, data, tmp_path)]
    processes = [
        subprocess.Popen(
            command,
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
    rows = [len(p.read_text().splitlines()) for p in sorted((tmp_path / "analysis").glob("map.*of2.jsonl"))]
    assert rows == [5, 5], "each process must write a header and do its half"
    same_map(tmp_path, finished)


@pytest.mark.usefixtures("any_gap")
def test_the_sampled_method_and_another_proxy_make_a_plan_too(
    chat_model: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    more = [
        "--method",
        "monte-carlo",
        "--set",
        "analysis.proxy=refusal-margin",
        "--set",
        "analysis.draws=2",
    ]
    more += ["--set", "analysis.granularity=layer-block", "--json"]
    capsys.readouterr()
    assert main(arguments(chat_model, data, tmp_path, *more)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["check"] is None and found["robust"] > 0
    stored = read_analysis(tmp_path / "analysis", no_suites())
    assert (stored.map.method, stored.map.proxy) == ("monte-carlo", "refusal-margin")
    assert stored.map.per_draw is not None and stored.robust.granularity == "layer-block"


def test_a_budget_that_nothing_fits_ends_with_a_remedy(
    chat_model: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    more = ["--set", "analysis.drift_budget=1e-9", "--set", "analysis.check_addresses=0"]
    assert main(arguments(chat_model, data, tmp_path, *more)) == 1
    assert "Raise the budget" in capsys.readouterr().err


def test_halves_of_the_probe_prompts_are_disjoint_and_keep_pairs() -> None:
    roles = package_prompts("probe")
    first, second = probe_halves(roles, 0)
    groups = [{p.pair or p.id for part in half for p in part} for half in (first, second)]
    assert not groups[0] & groups[1]
    for whole, one, other in zip(roles, first, second):
        assert len(one) + len(other) == len(whole) and abs(len(one) - len(other)) <= 1
    assert [part.prompts for part in probe_halves(roles, 1)[0]] != [part.prompts for part in first]


def test_what_a_search_found_is_printed_and_in_the_json(
    chat_model: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    more = ["--set", "analysis.drift_budget=1000", "--set", "analysis.check_addresses=0"]
    more += ["--set", "analysis.method=monte-carlo", "--set", "analysis.perturbation=zero"]
    capsys.readouterr()
    assert main(arguments(chat_model, data, tmp_path, *more)) == 0
    text = capsys.readouterr().out
    assert "robust set (bisect, by matrix, drift budget 1000): " in text and "100.0%" in text
    assert "(draws: 1); joint tests: " in text, "zero draws nothing"
    assert main(arguments(chat_model, data, tmp_path, *more, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["search"], found["granularity"], found["drift_budget"]) == ("bisect", "matrix", 1000)
    assert found["share"] == 1.0 and found["parameters"] > 0 and found["joint_tests"] > 1
    assert found["verify_draws"] == 1 and found["method"] == "monte-carlo"
    log = (tmp_path / "analysis" / "search.jsonl").read_text().splitlines()
    assert all(json.loads(line)["value"]["seeds"] == [0] for line in log) and len(log) == found["joint_tests"]


def test_the_full_analysis_answers_every_section_and_resumes(
    finished: Path, chat_model: Path, data: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from securetune.analysis import full, full_tables

    monkeypatch.setattr(full, "SAMPLED_ADDRESSES", 4)
    monkeypatch.setattr(full, "SAMPLED_PROMPTS", 4)
    monkeypatch.setattr(full, "SAMPLED_DRAWS", 2)
    monkeypatch.setattr(full, "JOINT_DRAWS", 4)
    monkeypatch.setattr(full, "SINGLES", 2)
    monkeypatch.setattr(full, "NOISE_SEEDS", 2)
    monkeypatch.setattr(full, "REFIT_DRAWS", 2)
    monkeypatch.setattr(full, "SIZES", (1.0, 5.0))
    monkeypatch.setattr(full, "PROBE_SEEDS", 1)
    monkeypatch.setattr(full, "SET_SHARES", (0.5, 1.0))
    monkeypatch.setattr(full, "CLASSIFIERS", ["logistic", "mean-difference"])
    capsys.readouterr()
    assert main(arguments(chat_model, data, finished, "--only", "joint")) == 0
    text = capsys.readouterr().out
    part = read_json(finished / "analysis" / "full.json")
    assert "Joint drift" in text and "| refusal-margin |" not in text
    assert part["joint"] and "proxies" not in part
    assert main(arguments(chat_model, data, finished, "--full")) == 0
    text = capsys.readouterr().out
    assert read_json(finished / "analysis" / "full.json")["joint"] == part["joint"]
    assert "In this model: " in text and "| refusal-margin |" in text
    content = read_json(finished / "analysis" / "full.json")
    rows = {row["what"]: row for row in content["proxies"]}
    assert set(rows) == {"probe", "refusal-margin", "refusal-direction", "generic"}
    assert rows["probe"]["spearman"] == pytest.approx(1.0, abs=1e-3)
    kinds = {row["what"].split()[0] for row in content["perturbations"]}
    assert kinds == {"gaussian", "gaussian-equal", "scale", "zero", "low-rank", "update"}
    assert {row["what"] for row in content["refit"]} == {"nothing", "robust set", "the rest", "everything"}
    assert [test["pattern"] for test in content["patterns"]] == ["A", "B", "C", "C"]
    assert [test["noise"] for test in content["patterns"]][2:] == pytest.approx([0.1, 0.5])
    assert {row["n"] for row in content["refit"]} == {sum(map(len, package_prompts("probe")))}
    stable = [row["what"].split()[0] for row in content["stability"]]
    assert stable == ["halves", "other", "sampled,"]
    assert full_tables.markdown(content) in text, "exactly these tables"
    assert all(row["ratio"] > 0 for row in content["joint"])

    def measured_again(*_: Any, **__: Any) -> None:
        raise AssertionError("finished sections must not be measured again")

    monkeypatch.setattr(full, "map_sensitivity", measured_again)
    assert main(arguments(chat_model, data, finished, "--full")) == 0
