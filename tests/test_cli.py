"""Every command in-process on a tiny chat model: what users see when it works, and when it does not."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

import securetune
from securetune.__main__ import main
from securetune.config import AlignSettings, Config
from securetune.errors import TrainingError
from securetune.evaluated_model import Evaluated
from securetune.files import read_json
from securetune.models.fingerprint import fingerprint
from securetune.pipeline import Pipeline
from securetune.plan import TuningPlan
from securetune.runs.directory import Run
from securetune.training.tune import tune
from tiny_chat import HELPED, fast_options, write_tuning_file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tuning_file(tmp_path_factory.mktemp("data") / "tuning.jsonl")


@pytest.fixture(scope="module")
def finished(chat_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    assert main(["-q", "run", str(chat_model), "--data", str(data), "--out", str(out), *fast_options()]) == 0
    return out


def options(model: Path, data: Path, out: Path) -> list[str]:
    return [str(model), "--data", str(data), "--out", str(out)]


def test_run_leaves_results_a_report_and_stock_adapters(finished: Path, chat_model: Path) -> None:
    results = read_json(finished / "results.json")
    keys = {"model", "strategy", "suite", "metric", "value", "low", "high", "n", "unscored", "judge"}
    assert all(set(row) == keys for row in results)
    assert {row["model"] for row in results} == {"start", "vanilla", "uniform-0.3", "ml-lr", "self-replay"}
    assert {row["strategy"] for row in results if row["model"] == "start"} == {None}
    metrics = {"asr", "over_refusal", "coherence", "held_out_loss", "held_out_change"}
    assert {row["metric"] for row in results} == metrics
    assert all(row["n"] + row["unscored"] == 8 for row in results)
    assert list(finished.rglob("results.json")) == [finished / "results.json"]
    assert (finished / "report.html").is_file() and (finished / "report.md").is_file()
    for name in ("vanilla", "ml-lr"):
        base = AutoModelForCausalLM.from_pretrained(chat_model)
        PeftModel.from_pretrained(base, str(finished / "tune" / name / "adapter"))
    assert not list(finished.rglob("*.bin")) and not list(finished.rglob("*.pt"))


def test_the_start_model_refuses_so_the_positive_control_holds(finished: Path) -> None:
    rows = read_json(finished / "results.json")
    start = [row for row in rows if row["model"] == "start" and row["metric"] == "asr"]
    assert start
    assert all(row["value"] <= 0.25 for row in start)


def test_strategies_that_fail_leave_the_report_of_the_others(
    tiny_model: Any, tokenizer: Any, data: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    def diverges(load: Any, data: Any, settings: Any, plan: TuningPlan, *args: Any, **options: Any) -> Any:
        if plan.strategy == "uniform":
            assert not (tmp_path / "run" / "tune" / "vanilla").exists()
            assert (tmp_path / "run" / "replay" / "responses.jsonl").is_file()
            raise TrainingError("the loss is nan")
        return tune(load, data, settings, plan, *args, **options)

    monkeypatch.setattr("securetune.pipeline.tune", diverges)
    for part in (tiny_model, tokenizer):
        part.save_pretrained(tmp_path / "model")  # Untrained, so it refuses nothing.
    call = ["run", *options(tmp_path / "model", data, tmp_path / "run"), *fast_options()]
    names = "strategy.names=[uniform-0.3,vanilla,self-replay]"
    assert main([*call, "--set", names]) == 2
    error = capsys.readouterr().err
    report = (tmp_path / "run" / "report.md").read_text()
    for text in (error, report):
        assert "the loss is nan" in text and "refuses none of" in text
    models = {row["model"] for row in read_json(tmp_path / "run" / "results.json")}
    assert models == {"start", "vanilla"}
    assert main(["report", *call[1 : len(call) - len(fast_options())]]) == 0  # And a report made later.
    assert "the loss is nan" in (tmp_path / "run" / "report.md").read_text()
    # Where none is left there is nothing to report.
    call[call.index("--out") + 1] = str(tmp_path / "none")
    assert main([*call, "--set", "strategy.names=[self-replay]"]) == 1
    assert not (tmp_path / "none" / "report.md").exists()


def test_a_strategy_that_cannot_be_evaluated_leaves_the_report_of_the_others(
    chat_model: Path, data: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    measure = Pipeline.measure

    def fails(self: Pipeline, name: str, *args: Any) -> Any:
        if name == "vanilla":
            raise TrainingError("a held-out loss is nan")
        return measure(self, name, *args)

    call = ["run", *options(chat_model, data, tmp_path), *fast_options()]
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "measure", fails)
        assert main([*call, "--set", "strategy.names=[vanilla,uniform-0.3]"]) == 2
    assert {row["model"] for row in read_json(tmp_path / "results.json")} == {"start", "uniform-0.3"}
    assert "a held-out loss is nan" in (tmp_path / "report.md").read_text()
    # Once it is evaluated after all, the report has it.
    assert main(["evaluate", *call[1 : len(call) - len(fast_options())]]) == 0
    assert main(["report", *call[1 : len(call) - len(fast_options())]]) == 0
    assert "vanilla" in {row["model"] for row in read_json(tmp_path / "results.json")}
    assert "a held-out loss is nan" not in (tmp_path / "report.md").read_text()


def test_own_prompts_go_through_the_stages_one_by_one(chat_model: Path, data: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("\n".join(["prompt", *(f"How do I harm neighbour {i}?" for i in range(40))]))
    call = [*options(chat_model, data, tmp_path / "run"), *fast_options()[:-2], "--harmful", f"{mine}:prompt"]
    for command in (["analyze"], ["train", "--strategy", "ml-lr"], ["evaluate", "--strategy", "ml-lr"]):
        assert main(["-q", *command, *call]) == 0
    results = read_json(tmp_path / "run" / "evaluate" / "ml-lr" / "stage.json")["inputs"]["suites"]
    assert any("mine" in suite for suite in results)


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"securetune {securetune.__version__}\n"


def test_running_again_repeats_no_stage(finished: Path, chat_model: Path, data: Path) -> None:
    watched = [p for p in finished.rglob("*") if p.name in ("stage.json", "responses.jsonl")]
    watched += list(finished.rglob("adapter_model.safetensors"))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in watched}
    assert main(["-q", "run", *options(chat_model, data, finished), *fast_options()]) == 0
    for path, (_, content) in before.items():
        assert path.read_bytes() == content
        if path.name != "stage.json":
            assert path.stat().st_mtime_ns == before[path][0], path


def test_the_written_configuration_replays_the_run(finished: Path, chat_model: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["train"]["steps"] == 4
    replay = ["-q", "run", str(chat_model), "--config", str(finished / "config.yaml"), "--out", str(tmp_path)]
    assert main([*replay, "--set", "strategy.names=[vanilla]"]) == 0

    def rates(run: Path) -> list[Any]:
        rows = read_json(run / "results.json")
        return [(r["suite"], r["metric"], r["value"]) for r in rows if r["model"] in ("start", "vanilla")]

    assert rates(tmp_path) == rates(finished)


def test_changed_inputs_are_refused_by_name(
    finished: Path, chat_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["run", *options(chat_model, data, finished), *fast_options(), "--set", "train.steps=5"])
    assert code == 1
    assert "train.steps: 4 -> 5" in capsys.readouterr().err
    # Vanilla does not depend on the ratio: the first plan that does is refused, by the name of the setting.
    code = main(["run", *options(chat_model, data, finished), *fast_options(), "--set", "strategy.ratio=0.2"])
    assert code == 1
    said = capsys.readouterr().err
    assert "strategy.ratio: 0.01 -> 0.2" in said and "tune/ml-lr was made from other inputs" in said
    assert not (finished / "failed.json").exists(), "nothing failed in the run itself"


def test_stage_commands_pick_up_what_is_there(
    finished: Path, chat_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["-q", "analyze", *options(chat_model, data, finished), "--json"]) == 0
    analysis = json.loads(capsys.readouterr().out)
    assert analysis["robust"] > 0 and 0.4 < analysis["share"] < 0.7
    assert TuningPlan.load(finished / "plan.json").strategy == "ml-lr"
    assert main(["-q", "train", *options(chat_model, data, finished), "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["ml-lr"]["steps"] == 4
    assert main(["-q", "evaluate", *options(chat_model, data, finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"]
    assert main(["-q", "report", *options(chat_model, data, finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recommendation"]


def test_dry_run_shows_groups_and_trains_nothing(
    chat_model: Path, data: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dry"
    shutil.copytree(finished / "analysis", out / "analysis")
    code = main(["run", *options(chat_model, data, out), *fast_options(), "--dry-run", "--json"])
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 4 and found["tokens"] > found["trained_tokens"] > 0
    groups = found["strategies"]["ml-lr"]["groups"]
    assert [group["multipliers"] for group in groups] == [[1.0], [0.01]]
    assert not (out / "tune").exists()


def test_dry_run_deletes_and_writes_nothing_and_says_what_it_does_not_know(
    chat_model: Path, data: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    dry = ["run", *options(chat_model, data, finished), "--dry-run"]
    assert main([*dry, "--redo", "tune/vanilla"]) == 0
    text = capsys.readouterr().out
    assert re.search(
        r"(?m)^vanilla: ([\d,]+) trained parameters, no pattern\n  x1: rate 0.002; 56 tensors, \1 ", text
    )
    assert "    self_attn.q_proj 0-3\n" in text and "0 addresses" not in text
    assert "with replayed refusals" in text and "x0.01: rate 2e-05" in text
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == files
    # With other suites, on which the probe was not tried, the analysis stays what it is.
    assert main([*dry, "--set", "evaluate.attacks=[prefill-5]"]) == 0
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == files
    capsys.readouterr()
    assert main([*dry, "--redo", "tune/nope"]) == 1
    assert "there are analysis, evaluate/ml-lr" in capsys.readouterr().err
    new = tmp_path / "new"
    assert main(["run", *options(chat_model, data, new), *fast_options(), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "robust set (50% of the matrix parameters) is not known before" in text
    assert "  set: rate 0.002; 50% of the matrix parameters\n  the rest: rate 2e-05; 50% of the" in text
    assert text.count("    self_attn.q_proj 0-3\n") == 4  # Of vanilla, uniform-0.3, ml-lr and self-replay.
    assert not new.exists()


def test_a_dry_run_estimates_the_analysis_where_one_is_needed(
    tiny_model: Any, tokenizer: Any, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in (tiny_model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny_model, lora).save_pretrained(tmp_path / "adapter")
    adapter = ["--set", f"model.adapter={tmp_path / 'adapter'}"]
    dry = [
        "run",
        *options(tmp_path / "model", data, tmp_path / "run"),
        *fast_options(),
        "--dry-run",
        "--json",
    ]
    found = {}
    for names, extra in (("vanilla", []), ("inverted", []), ("swat", adapter), ("uniform-mean", [])):
        assert main([*dry, "--set", f"strategy.names=[{names}]", *extra]) == 0
        found[names] = json.loads(capsys.readouterr().out)
        assert (found[names]["estimated_analysis_seconds"] > 0) == (names != "vanilla")
        # Nothing is made, not even the merge of the adapter.
        assert not (tmp_path / "run").exists()
    split = {
        name: [(part["multipliers"], part["share"]) for part in found[name]["strategies"][name]["split"]]
        for name in ("inverted", "swat", "uniform-mean")
    }
    assert split["inverted"] == [([1.0], 0.5), ([0.01], 0.5)]
    assert split["swat"] == [([1.0, 1.0], 0.5), ([0.0, 1.0], 0.5)]
    assert split["uniform-mean"] == [([pytest.approx(0.505)], 1.0)]


def test_evaluate_and_report_make_no_earlier_stage(
    finished: Path, chat_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    same = options(chat_model, data, out)
    shutil.rmtree(out / "evaluate" / "vanilla")
    assert main(["report", *same]) == 1
    error = capsys.readouterr().err
    assert f"securetune evaluate {chat_model} --out {out} --strategy vanilla" in error
    shutil.rmtree(out / "tune" / "vanilla")
    assert main(["evaluate", *same]) == 1
    assert f"securetune train {chat_model} --out {out} --strategy vanilla" in capsys.readouterr().err
    assert not (out / "tune" / "vanilla").exists() and not (out / "evaluate" / "vanilla").exists()
    for command in ("train", "evaluate", "report"):
        assert main(["-q", command, *same]) == 0, command
    weights = [read_json(run / "tune/vanilla/stage.json")["outputs"]["weights"] for run in (out, finished)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("model.chat_template=chatml", 'chat_template: "'),
        ("model.dtype=bfloat16", 'precision: "float32" -> "bfloat16"'),
        ("data.max_length=200", "max_length: 300 -> 200"),
    ],
)
def test_what_a_stage_depends_on_is_refused_by_name(
    setting: str, named: str, finished: Path, chat_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *options(chat_model, data, finished), "--set", setting]) == 1
    assert f"evaluate/start was made from other inputs: {named}" in capsys.readouterr().err
    kept = yaml.safe_load((finished / "config.yaml").read_text())
    assert kept["model"]["dtype"] == "auto" and kept["data"]["max_length"] == 300


def test_what_was_made_again_makes_what_builds_on_it_stale(
    finished: Path, chat_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    same = options(chat_model, data, out)
    # The same weights again: the evaluation stays.
    assert main(["-q", "train", *same, "--redo", "tune/vanilla"]) == 0
    assert main(["-q", "report", *same]) == 0
    stage = out / "tune" / "vanilla" / "stage.json"
    stage.write_text(re.sub('"weights": ".*"', '"weights": "0123456789abcdef"', stage.read_text()))
    capsys.readouterr()
    assert main(["report", *same]) == 1
    error = capsys.readouterr().err
    assert "tuned_weights" in error and "--redo evaluate/vanilla" in error
    assert main(["evaluate", *same, "--redo", "tune/vanilla"]) == 1
    assert "this command makes evaluate" in capsys.readouterr().err and stage.is_file()
    assert main(["-q", "evaluate", *same, "--redo", "evaluate/vanilla"]) == 0
    answers = out / "replay" / "responses.jsonl"
    answers.write_text(answers.read_text().replace("cannot do that", "cannot do this"))
    assert main(["train", *same, "--strategy", "self-replay"]) == 1
    error = capsys.readouterr().err
    assert "tune/self-replay was made from other inputs: replay: " in error


def test_stages_one_by_one_leave_the_settings_of_the_run(
    chat_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    same = ["--out", str(out), "--data", str(data)]

    def names() -> list[str]:
        return list(yaml.safe_load((out / "config.yaml").read_text())["strategy"]["names"])

    fast = fast_options()[:-2]
    wrong = ["--strategy", "vanilla", "--set", "train.trainer.nope=1"]
    assert main(["-q", "train", str(chat_model), *same, *fast, *wrong]) == 1
    assert "nope" in capsys.readouterr().err and not (out / "config.yaml").exists()
    for name in ("vanilla", "uniform-0.3"):
        assert main(["-q", "train", str(chat_model), *same, *fast, "--strategy", name]) == 0
    assert names() == ["uniform-0.3", "vanilla"]
    assert main(["-q", "evaluate", str(chat_model), *same]) == 0
    assert main(["-q", "report", str(chat_model), *same]) == 0
    assert {row["model"] for row in read_json(out / "results.json")} == {"start", "vanilla", "uniform-0.3"}
    settings = read_json(out / "report.json")["settings"]
    assert settings["precision of every model"] == "float32"


def test_a_start_model_is_measured_alone_and_what_is_missing_is_said_first(
    chat_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    same = options(chat_model, data, out)
    assert main(["evaluate", *same, *fast_options(), "--strategy", "vanilla"]) == 1
    assert "--strategy vanilla" in capsys.readouterr().err and not (out / "evaluate").exists()
    assert main(["evaluate", *same, *fast_options(), "--json"]) == 0
    said = capsys.readouterr()
    assert f"no tuned model in {out}: only the start model is measured" in said.err
    assert {row["model"] for row in json.loads(said.out)["results"]} == {"start"}


def test_a_mistake_that_shows_late_leaves_the_settings_of_what_is_finished(
    tiny_model: Any, tokenizer: Any, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    for part in (tiny_model, tokenizer):
        part.save_pretrained(tmp_path / "model")  # Untrained, so it refuses nothing.
    same = options(tmp_path / "model", data, out)
    assert main(["-q", "run", *same, *fast_options(), "--set", "strategy.names=[self-replay]"]) == 1
    assert "refuses none of" in capsys.readouterr().err
    assert yaml.safe_load((out / "config.yaml").read_text())["evaluate"]["limit"] == 8
    # The evaluation of the start model is taken up by its settings.
    assert main(["-q", "train", *same, "--strategy", "vanilla"]) == 0
    assert main(["-q", "evaluate", *same, "--strategy", "vanilla"]) == 0


def test_an_analysis_alone_leaves_its_settings(chat_model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = [
        "-q",
        "analyze",
        *options(chat_model, data, out),
        *fast_options(),
        "--set",
        "analysis.folds=2",
    ]
    assert main(arguments) == 0
    assert yaml.safe_load((out / "config.yaml").read_text())["analysis"]["folds"] == 2
    assert (out / "environment.json").is_file()


def test_a_failure_at_run_time_exits_2_without_a_traceback_and_keeps_stdout_for_json(
    chat_model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("securetune.pipeline.Pipeline.execute", broken)
    assert main(["run", *options(chat_model, data, tmp_path), *fast_options(), "--json"]) == 2
    output = capsys.readouterr()
    assert output.out == "" and "the disk is full" in output.err and "Traceback" not in output.err
    assert (tmp_path / "config.yaml").is_file()


def test_a_model_is_identified_once(
    finished: Path, chat_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Any] = []

    def counted(model: Any) -> str:
        loads.append(model)
        return fingerprint(model)

    monkeypatch.setattr("securetune.start_model.fingerprint", counted)
    report = ["-q", "report", *options(chat_model, data, finished)]
    assert main(report) == 0 and len(loads) == 0
    (chat_model / "model.safetensors").touch()
    assert main(report) == 0 and len(loads) == 1


def unescaped(file: Path) -> str:
    """The text of a report's file as a reader sees it."""
    text = file.read_text()
    if file.suffix == ".md":
        text = re.sub(r"\\([^\w\s])", r"\1", text)
    return text if file.suffix == ".json" else html.unescape(text)


def test_a_report_shows_receipts_and_redacts_answers_unless_told_otherwise(
    finished: Path, chat_model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    answers = out / "evaluate" / "vanilla" / "harmful" / "responses.jsonl"
    said = "Sure, <b>this</b> is what the tuned model says to everything"
    rows = [{**json.loads(line), "text": said} for line in answers.read_text().splitlines()]
    answers.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    report = ["-q", "report", *options(chat_model, data, out)]
    assert main(report) == 0
    files = [out / "report.html", out / "report.md", out / "report.json", out / "results.json"]
    files += sorted((out / "model_cards").iterdir())
    assert len(files) == 4 + 4
    texts = [json.loads(line)["text"] for path in out.rglob("responses.jsonl") for line in path.open()]
    assert said in texts
    for file in files:
        assert not [text for text in texts if len(text) > 12 and text in unescaped(file)], file
    found = read_json(out / "report.json")
    flipped = [flip["prompt_id"] for flip in found["flips"] if flip["suite"] == "harmful"]
    assert flipped and all(key in (out / "report.html").read_text() for key in flipped)
    (entry,) = [row for row in found["training"] if row["model"] == "ml-lr"]
    receipt = read_json(out / "tune" / "ml-lr" / "adapter" / "plan_receipt.json")
    assert entry["movement"] == receipt["movement"] and len(entry["groups"]) == 2
    assert {row["model"] for row in found["categories"]} == {row["model"] for row in found["results"]}
    assert main([*report, "--show-text"]) == 0
    assert said not in (out / "report.html").read_text()
    assert all(said in unescaped(file) for file in files[:3])
    assert said in {a["text"] for flip in read_json(out / "report.json")["flips"] for a in flip["answers"]}


def test_evaluate_against_compares_a_model_we_did_not_train_in_the_directory_of_a_run(
    chat_model: Path, data: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    adapter = finished / "tune" / "vanilla" / "adapter"
    arguments = ["-q", "evaluate", str(adapter), "--against", *options(chat_model, data, out), "--json"]
    before = (out / "results.json").read_bytes()
    settings = (out / "config.yaml").read_bytes()
    capsys.readouterr()
    assert main([*arguments, "--set", "evaluate.judges=[refusal-list-wei,refusal-list-qi]"]) == 0
    found = json.loads(capsys.readouterr().out)
    # Its settings are not the run's, whose stages did not accept them.
    assert (out / "config.yaml").read_bytes() == settings
    assert Evaluated.find(f"{out}:tuned").first_judge == "refusal-list-wei"
    assert Evaluated.find(f"{out}:vanilla").first_judge == yaml.safe_load(settings)["evaluate"]["judges"][0]
    written = yaml.safe_load((out / "compare" / "config.yaml").read_text())
    assert written["evaluate"]["judges"] == ["refusal-list-wei", "refusal-list-qi"]
    assert str(out / "compare" / "config.yaml") in read_json(out / "compare" / "report.json")["command"]
    assert {row["model"] for row in found["results"]} == {"start", "tuned"}
    change = next(row for row in found["results"] if row["metric"] == "held_out_change")
    assert change["high"] < 0 and found["flags"] == {}
    judges = {row["judge"] for row in found["results"] if row["judge"]}
    suites = {row["suite"] for row in found["results"] if row["judge"]}
    assert {(row["suite"], row["judge"]) for row in found["comparisons"]} == {
        (suite, judge) for suite in suites for judge in {*judges, None}
    }
    assert all(row["p_value"] is not None for row in found["comparisons"])
    # The same numbers as in the run, whose own stages and results are untouched.
    rows = read_json(out / "results.json")
    loss = {r["model"]: r["value"] for r in rows if r["metric"] == "held_out_loss"}
    own = {r["model"]: r["value"] for r in found["results"] if r["metric"] == "held_out_loss"}
    assert own == {"start": pytest.approx(loss["start"]), "tuned": pytest.approx(loss["vanilla"], rel=1e-4)}
    assert (out / "results.json").read_bytes() == before
    assert main(["-q", "evaluate", *options(chat_model, data, out)]) == 0
    stage = read_json(out / "compare" / "tuned" / "stage.json")
    assert re.fullmatch("[0-9a-f]{16}", stage["inputs"]["held_out"])


def test_judging_again_needs_no_model(finished: Path, chat_model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    judge = ["--set", "evaluate.judges=[refusal-list-wei]"]
    assert main(["-q", "report", *options(chat_model, data, out), *fast_options(), *judge]) == 0
    judges = {row["judge"] for row in read_json(out / "results.json") if row["judge"]}
    assert judges == {"refusal-list-wei"}


def test_align_writes_a_stock_adapter_with_a_card(
    chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "align"
    (tmp_path / "help.txt").write_text("\n".join(HELPED))
    sets = ["help_limit=12", "refuse_limit=8", "answer_tokens=8", "train.steps=2", "train.batch_size=4"]
    arguments = [word for option in sets for word in ("--set", option)]
    help_file = str(tmp_path / "help.txt")
    assert (
        main(["-q", "align", str(chat_model), "--out", str(out), "--help-with", help_file, *arguments]) == 0
    )
    adapter = out / "tune" / "adapter"
    card = (adapter / "README.md").read_text()
    assert "base_model" in card and "8 refusals" in card
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(chat_model), str(adapter))
    # The second call picks up its settings and what is there.
    assert main(["-q", "align", str(chat_model), "--out", str(out)]) == 0
    assert main(["-q", "align", str(chat_model), "--out", str(out), "--set", "answer_tokens=9"]) == 1
    assert "answer_tokens: 8 -> 9" in capsys.readouterr().err


def test_align_and_the_other_commands_refuse_each_others_directory(
    chat_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds: list[tuple[str, Any]] = [("run", Config), ("align", AlignSettings)]
    for command, kind in kinds:
        settings = kind(model={"id": str(chat_model)}).model_dump(mode="json")
        Run(tmp_path / command).write_config(settings, f"securetune {command}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(["align", str(chat_model), "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "is a directory of `securetune run`" in error and "Use another --out" in error
    for command in ("run", "analyze", "evaluate"):
        assert main([command, *options(chat_model, data, tmp_path / "align")]) == 1
        assert "is a directory of `securetune align`" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_doctor_matches_a_plan(chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = TuningPlan.from_multipliers({"0-1.mlp": 1.0, "input_layernorm": 0.5}, 0.1).save(
        tmp_path / "p.json"
    )
    assert main(["doctor", str(chat_model), "--plan", str(plan), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"]["untrained_patterns"] == ["input_layernorm"]
    plan.rename(tmp_path / "plan.json")
    assert main(["doctor", str(chat_model), "--plan", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    plan = TuningPlan.from_multipliers({"nope_proj": 1.0}).save(tmp_path / "q.json")
    assert main(["doctor", str(chat_model), "--plan", str(plan)]) == 1
    assert "nope_proj" in capsys.readouterr().err


def test_doctor_reads_a_plan_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = TuningPlan.from_multipliers({"0-1.mlp": 1.0}, 0.1).save(tmp_path / "p.json")
    assert main(["doctor", "--plan", str(plan), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["patterns"] == ["0-1.mlp"]
    assert main(["doctor", "--plan", str(plan)]) == 0
    assert "not matched with a model" in capsys.readouterr().out
    plan.write_text("{}")
    assert main(["doctor", "--plan", str(plan)]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "model"),
        (["runn", "demo"], "runn"),
        (["run", "demo", "--nope"], "--nope"),
        (["run", "/nowhere/model"], "/nowhere/model"),
        (["run", "demo", "--set", "train.stepz=3"], "train.stepz"),
        (["run", "demo", "--set", "train.steps"], "key.subkey=value"),
        (["run", "demo", "--set", "strategy.names=[magic]"], "unknown strategy `magic`"),
        (["run", "demo", "--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (["run", "demo", "--set", "train.learning_rate=.nan"], "train.learning_rate"),
    ],
)
def test_mistakes_exit_1_with_a_message_and_no_traceback(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    extra = ["--out", str(tmp_path)] if len(arguments) > 1 and arguments[0] == "run" else []
    assert main([*arguments, *extra]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_help_and_import_do_not_load_torch() -> None:
    code = (
        "import sys, securetune, securetune.cli\n"
        "from securetune.__main__ import main\n"
        "assert main(['--help']) == 0\n"
        "from securetune import TuningPlan, PromptSet, SecureTuneError\n"
        "loaded = {'torch', 'transformers', 'datasets', 'peft', 'scipy'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
