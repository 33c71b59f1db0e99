"""`evaluate TUNED --against BASE` on tiny models: found, loaded and recorded as in a run; gate reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedTokenizerFast

from securetune.__main__ import main
from securetune.compare.models import compare_models
from securetune.config import Config, validate
from securetune.errors import UsageError
from securetune.evaluation.evaluate import Evaluation
from securetune.files import read_json
from securetune.models.load import dtype_name, load_model
from securetune.pipeline import Pipeline
from securetune.report.data import ReportData
from securetune.runs.directory import Run
from tiny import tiny_llama
from tiny_chat import write_tuning_file

COMMIT = "c" * 40
FAST = {"limit": 4, "max_new_tokens": 3, "judges": ["refusal-list-qi"]}


@pytest.fixture(scope="module")
def base(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base")
    tiny_llama(tokenizer).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def adapter(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that names another base than the one it is measured on."""
    directory = tmp_path_factory.mktemp("adapter")
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    model = tiny_llama(tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        get_peft_model(model, config).save_pretrained(directory)
    named = read_json(directory / "adapter_config.json") | {"base_model_name_or_path": "nobody/nothing"}
    (directory / "adapter_config.json").write_text(json.dumps(named))
    return directory


def pipeline(base: Path, out: Path, **content: Any) -> Pipeline:
    settings = {"model": {"id": str(base), **content.pop("model", {})}, "evaluate": FAST, **content}
    return Pipeline(validate(Config, settings), Run(out))


def command(tuned: str, base: Path, out: Path, *more: str) -> list[str]:
    sets = [word for key, value in FAST.items() for word in ("--set", f"evaluate.{key}={json.dumps(value)}")]
    return ["-q", "evaluate", tuned, "--against", str(base), "--out", str(out), *sets, *more]


@pytest.mark.parametrize("own_weights", [False, True])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"dtype": "float32"}, "float32"),
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"load_in_4bit": True, "dtype": "float32"}, "4-bit NF4, float32"),
    ],
)
def test_both_models_are_loaded_as_a_run_loads_its_own(
    settings: dict[str, Any], expected: str, own_weights: bool, base: Path, adapter: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: list[tuple[str, bool]] = []
    loaded: dict[str, Any] = {}

    def load(source: str, *, dtype: Any, load_in_4bit: bool = False, **options: Any) -> Any:
        asked.append((dtype_name(dtype), load_in_4bit))
        return load_model(source, dtype=dtype, device="cpu")

    def evaluate(load: Any, name: str, *args: Any) -> Evaluation:
        asked.clear()
        loaded[name] = load()
        assert asked == [(expected.split()[-1], "4-bit" in expected)]
        return Evaluation((), {}, None)

    monkeypatch.setattr("securetune.start_model.load_model", load)
    monkeypatch.setattr("securetune.compare.models.load_model", load)
    monkeypatch.setattr("securetune.compare.models.evaluate", evaluate)
    monkeypatch.setattr("securetune.compare.models.report_against", lambda *_, **__: tmp_path)
    made = pipeline(base, tmp_path, model=settings, evaluate={**FAST, "chat_template": "{{ 'other' }}"})
    compare_models(made, str(base if own_weights else adapter))
    for name in ("start", "tuned"):
        inputs = read_json(tmp_path / "compare" / name / "stage.json")["inputs"]
        assert inputs["precision"] == expected and len(inputs["asked_with"]) == 16
        assert loaded[name][1].chat_template == "{{ 'other' }}"
    # Half precision and 4 bits would round small updates of a merge away.
    merged = not isinstance(loaded["tuned"][0], PeftModel)
    assert merged == (own_weights or expected == "float32")


def test_an_adapter_of_the_hub_is_measured_on_the_base_that_is_named(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "models--org--adapter"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "v1").write_text(COMMIT)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / COMMIT).symlink_to(adapter)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    stages = []
    for place, out in (("org/adapter@v1", tmp_path / "hub"), (str(adapter), tmp_path / "local")):
        assert main(command(place, base, out)) == 0
        stages.append(read_json(out / "compare" / "tuned" / "stage.json")["inputs"] | {"source": None})
    assert stages[0] == stages[1] and stages[0]["tuned_weights"]
    answers = [next(path.glob("compare/tuned/harmful*/responses.jsonl")).read_text()
               for path in (tmp_path / "hub", tmp_path / "local")]  # fmt: skip
    assert answers[0] == answers[1]


def test_a_tuned_model_that_cannot_be_had_shows_before_the_base_answers(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securetune.compare.models.evaluate", None)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for file in adapter.iterdir():
        (pickled / file.name.replace(".safetensors", ".bin")).write_bytes(file.read_bytes())
    for tuned, found in (
        (str(pickled), r"no adapter_model\.safetensors"),
        (str(tmp_path), "no config.json"),
        ("nobody/nothing@v1", "`nobody/nothing` at revision v1"),
    ):
        with pytest.raises(UsageError, match=found):
            compare_models(pipeline(base, tmp_path / "run"), tuned)
    assert not (tmp_path / "run" / "compare").exists()


def other(base: Path, directory: Path, template: str, tokens: int = 0) -> Path:
    """The base's weights with another chat template, and perhaps more tokens."""
    model, tokenizer = load_model(str(base))
    tokenizer.chat_template = template
    tokenizer.add_tokens([f"<more {index}>" for index in range(tokens)])
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


PLAIN = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def test_models_that_differ_in_more_than_weights_say_so(base: Path, tmp_path: Path) -> None:
    data = ["--data", str(write_tuning_file(tmp_path / "rows.jsonl"))]
    words = {"same": 0, "template": 0, "tokens": 3}
    shown, losses = {}, {}
    for name, tokens in words.items():
        tuned = base if name == "same" else other(base, tmp_path / name, PLAIN, tokens)
        out = tmp_path / f"run-{name}"
        assert main(command(str(tuned), base, out, *data)) == 0
        shown[name] = (out / "compare" / "report.md").read_text()
        rows = read_json(out / "compare" / "results.json")
        losses[name] = [row for row in rows if row["metric"] == "held_out_loss"]
    assert [name for name in words if "different chat templates" in shown[name]] == ["template", "tokens"]
    assert [name for name in words if "different tokens" in shown[name]] == ["tokens"]
    assert {name: len(rows) for name, rows in losses.items()} == {"same": 2, "template": 2, "tokens": 0}
    asked = tmp_path / "asked-alike"
    template = tmp_path / "template.jinja"
    template.write_text(PLAIN)
    one = ["--set", f"evaluate.chat_template={template}"]
    assert main(command(str(tmp_path / "template"), base, asked, *one)) == 0
    assert "different chat templates" not in (asked / "compare" / "report.md").read_text()


def test_a_file_of_held_out_rows_is_measured_whole(base: Path, tmp_path: Path) -> None:
    rows = write_tuning_file(tmp_path / "rows.jsonl", 20)
    own = ["--set", f"data.held_out_source={rows}", "--set", "data.held_out=80"]
    assert main(command(str(base), base, tmp_path / "run", *own)) == 0
    found = read_json(tmp_path / "run" / "compare" / "results.json")
    assert [row["n"] for row in found if row["metric"] == "held_out_loss"] == [20, 20]
    assert f"| held-out | rows | {rows} |" in (tmp_path / "run" / "compare" / "report.md").read_text()


def test_a_template_without_a_system_role_shows_before_either_model_answers(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = PLAIN.replace("in messages %}", "in messages if message['role'] != 'system' %}")
    tuned = other(base, tmp_path / "silent", silent)
    system = ["--set", "evaluate.system_prompt=Be kind."]
    for first, second in ((tuned, base), (base, tuned)):
        out = tmp_path / f"run-{first.name}"
        assert main(command(str(first), second, out, *system)) == 1
        assert "system prompt" in capsys.readouterr().err
        assert not list(out.glob("compare/**/responses.jsonl"))


def test_gate_reads_what_evaluate_against_wrote_and_redo_makes_it_again(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command(str(adapter), base, out)) == 0
    tuned = out / "compare" / "tuned" / "stage.json"
    before = tuned.stat().st_mtime_ns
    gate = ["gate", "--baseline", f"{out}:start", "--candidate", str(out), "--json"]
    capsys.readouterr()
    assert main(gate) == 5, "four prompts are too few to say"
    found = json.loads(capsys.readouterr().out)
    assert (found["baseline"], found["candidate"]) == (f"{out}/compare/start", f"{out}/compare/tuned")
    assert next(check["n"] for check in found["checks"]) == 4
    wide = [word for name in ("asr-increase", "over-refusal-increase", "incoherence-increase", "utility-drop")
            for word in (f"--max-{name}", "1")]  # fmt: skip
    capsys.readouterr()
    code = main([*gate, *wide])
    checks = json.loads(capsys.readouterr().out)["checks"]
    # Everything is within such margins, but babble passes no safety check.
    blocked = [check for check in checks if check["decision"] != "pass"]
    assert code == 5 and blocked, checks
    assert all("answers of the candidate are coherent" in (check["note"] or "") for check in blocked), blocked
    assert not any("utility drop" in check["name"] for check in checks), "a margin of 1 leaves it out"
    assert main(command(str(adapter), base, out, "--redo", "evaluate/start")) == 1
    assert main(command(str(adapter), base, out, "--strategy", "ml-lr")) == 1
    assert "--strategy names models of a run" in capsys.readouterr().err
    assert tuned.stat().st_mtime_ns == before
    assert main(command(str(base), base, out)) == 1
    assert "--redo compare/tuned" in capsys.readouterr().err
    assert main(command(str(base), base, out, "--redo", "compare/tuned")) == 0
    assert tuned.stat().st_mtime_ns != before


def test_evaluate_against_writes_a_report_with_a_verdict_and_no_texts_unless_asked(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "run"
    assert main([*command(str(adapter), base, out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recommendation"].startswith("The evidence is insufficient to say how tuned compares")
    assert told["report"] == str(out / "compare" / "report.html")
    files = [out / "compare" / f"report.{kind}" for kind in ("html", "md", "json")]
    assert all("tuned" in file.read_text() and "harmful" in file.read_text() for file in files)
    data = ReportData.from_json(read_json(files[2]))
    assert [row.role for row in data.data] == ["evaluation"] * 3 and data.training == ()
    assert {row.metric for row in data.results} >= {"asr", "over_refusal", "coherence"}
    # A verdict that flips, so that there is something to redact.
    responses = out / "compare" / "start" / "harmful" / "responses.jsonl"
    rows = [json.loads(line) for line in responses.read_text().splitlines()]
    rows[0] |= {"text": "I'm sorry, but I cannot help you with that secretword.", "tokens": 9}
    responses.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    other = out / "compare" / "tuned" / "harmful" / "responses.jsonl"
    rows = [json.loads(line) for line in other.read_text().splitlines()]
    rows[0] |= {"text": "Of course, this is how it is done: first of all you take it.", "tokens": 9}
    other.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    assert main(command(str(adapter), base, out)) == 0
    assert not [file for file in files if "secretword" in file.read_text()]
    assert rows[0]["prompt_id"] in files[0].read_text()
    assert main([*command(str(adapter), base, out), "--show-text"]) == 0
    assert all("secretword" in file.read_text() for file in files)
    assert main(["-q", "evaluate", str(base), "--out", str(tmp_path / "other"), "--show-text"]) == 1
    assert "--show-text is for the report of --against" in capsys.readouterr().err
