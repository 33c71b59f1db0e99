"""lm-eval and vLLM as processes of their own: the protocol with stand-ins, and what happens without them."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from securetune.__main__ import main
from securetune.errors import ConfigError, DataError, MissingDependencyError
from securetune.evaluation.evaluate import Suite, evaluate
from securetune.evaluation.generate import Decoding, generate
from securetune.evaluation.lm_eval import LmEvalError, as_result, read_scores, run_lm_eval
from securetune.evaluation.model_files import ModelFiles, _has, check_processes
from securetune.evaluation.vllm_engine import EngineError, VllmModel, _rank
from securetune.evaluation_settings import EvaluateSettings
from securetune.files import read_json, write_json, write_text
from securetune.models.load import _four_bit, load_model
from securetune.prompts import Prompt, PromptSet
from securetune.summary import describe_results
from tiny import tiny_llama

PROMPTS = [Prompt(f"p{i}", "Tell me about item " + "x " * i, harmful=True) for i in range(5)]

FAKE_LM_EVAL = """
import json, pathlib, sys
words = sys.argv[1:]
told = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}
if told["--tasks"] == "broken":
    sys.exit("no such task: broken")
out = pathlib.Path(told["--output_path"]) / "model"
out.mkdir(parents=True)
row = {"alias": "arc", "acc,none": 0.25, "acc_stderr,none": 0.1, "f1,none": "N/A"}
if told["--tasks"] == "overflows":
    row = {"acc,none": float("nan")}
content = {"results": {"arc": row}, "versions": {"arc": 1.0}, "lm_eval_version": "0.4.13",
           "n-samples": {"arc": {"original": 90, "effective": 7}}, "words": words}
(out / "results_2026.json").write_text(json.dumps(content))
if told["--tasks"] == "late":
    sys.exit("out of memory at the very end")
"""

# Generates with transformers, so that the answers must be those of `generate`.
FAKE_VLLM = """
import os, torch
from dataclasses import dataclass
from transformers import AutoModelForCausalLM

class SamplingParams:
    def __init__(self, *, temperature, top_p, seed, max_tokens, stop_token_ids, detokenize):
        assert temperature == 0 and top_p == 1
        self.tokens, self.ends = max_tokens, stop_token_ids

@dataclass
class Completion:
    token_ids: list

@dataclass
class Output:
    outputs: list

class LLM:
    def __init__(self, *, model, revision, tokenizer, dtype, seed, trust_remote_code, enable_lora,
                 max_lora_rank=None):
        assert trust_remote_code is False and os.path.isdir(tokenizer)
        assert enable_lora is (max_lora_rank is not None)
        self.rank = max_lora_rank
        print("a library that talks on stdout")
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))

    def generate(self, prompts, options, lora_request, use_tqdm):
        if os.environ.get("FAKE_VLLM_FAILS"):
            raise MemoryError("the accelerator is full")
        if lora_request is not None:
            self.add(lora_request)
        found = []
        for prompt in prompts:
            ids = torch.tensor([prompt["prompt_token_ids"]])
            told = {"max_new_tokens": options.tokens, "eos_token_id": options.ends, "pad_token_id": 0}
            new = self.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **told)
            found.append(Output([Completion(new[0, ids.shape[1]:].tolist())]))
        return found

    def add(self, request):
        from peft import PeftModel
        if not isinstance(self.model, PeftModel):
            self.model = PeftModel.from_pretrained(self.model, request.lora_path)
        config = self.model.peft_config["default"]
        needed = max(config.r, 0, *config.rank_pattern.values())
        assert request.lora_int_id > 0 and self.rank >= needed, (self.rank, needed)
"""

FAKE_LORA_REQUEST = """
class LoRARequest:
    def __init__(self, lora_name, lora_int_id, lora_path):
        self.lora_int_id, self.lora_path = lora_int_id, lora_path
"""


@pytest.fixture
def files(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> ModelFiles:
    tiny_llama(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return ModelFiles.of(str(tmp_path / "model"), None, tokenizer, tmp_path / "tokenizer", "float32", False)


def stand_in(directory: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in files.items():
        path = directory / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(directory / "site"))


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lora = {"vllm/lora/__init__.py": "", "vllm/lora/request.py": FAKE_LORA_REQUEST}
    stand_in(tmp_path, {"vllm/__init__.py": FAKE_VLLM, **lora}, monkeypatch)


@pytest.fixture
def lm_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, {"lm_eval/__init__.py": "", "lm_eval/__main__.py": FAKE_LM_EVAL}, monkeypatch)


def test_vllm_writes_the_file_that_transformers_writes_and_continues_it(
    files: ModelFiles, vllm: None, tmp_path: Path
) -> None:
    decoding = Decoding(max_new_tokens=6)
    model, tokenizer = load_model(files.source, dtype="float32", device="cpu")
    expected = generate(model, tokenizer, PROMPTS, decoding, prefix="Sure")
    path = tmp_path / "responses.jsonl"
    seen: list[int] = []
    with VllmModel(files) as engine:
        half = generate(engine, tokenizer, PROMPTS[:2], decoding, path, seen.append, prefix="Sure")
        lines = path.read_text()
        found = generate(engine, tokenizer, PROMPTS, decoding, path, seen.append, prefix="Sure")
        process = engine._process
    assert half == expected[:2] and found == expected
    assert path.read_text().startswith(lines) and len(path.read_text().splitlines()) == len(PROMPTS)
    assert sum(seen) == 2 + len(PROMPTS)
    # One process for all calls, and none afterwards.
    assert process is not None and process.poll() == 0


def test_vllm_answers_with_the_adapter_of_a_tuned_model(
    files: ModelFiles, vllm: None, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    adapter, decoding = tmp_path / "adapter", Decoding(max_new_tokens=6)
    # The second rank is one that vLLM does not know, above the next smaller one that it knows.
    config = LoraConfig(
        r=2, rank_pattern={"q_proj": 9}, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    get_peft_model(LlamaForCausalLM.from_pretrained(files.source), config).save_pretrained(adapter)
    start, _ = load_model(files.source, dtype="float32", device="cpu")
    tuned, _ = load_model(files.source, adapter, dtype="float32", device="cpu")
    expected = generate(tuned, tokenizer, PROMPTS, decoding)
    assert expected != generate(start, tokenizer, PROMPTS, decoding)
    with VllmModel(replace(files, adapter=adapter)) as engine:
        assert generate(engine, tokenizer, PROMPTS, decoding) == expected
    assert _rank(adapter) == 16


def test_a_process_that_ends_early_says_what_it_said(
    files: ModelFiles, vllm: None, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM_FAILS", "1")
    with (
        pytest.raises(EngineError, match=r"(?s)vLLM ended with 1.*the accelerator is full"),
        VllmModel(files) as model,
    ):
        generate(model, tokenizer, PROMPTS, Decoding(4))


def test_what_is_not_installed_is_said_before_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _has(sys.executable, "surely_not_installed") and _has(sys.executable, "json")
    with pytest.raises(ConfigError, match="vllm_python: /nowhere/python cannot be run"):
        check_processes(EvaluateSettings(engine="vllm", vllm_python="/nowhere/python"))
    monkeypatch.setattr("securetune.evaluation.model_files._has", lambda python, package: False)
    with pytest.raises(MissingDependencyError, match="vLLM is not installed"):
        check_processes(EvaluateSettings(engine="vllm"))
    with pytest.raises(MissingDependencyError, match=r"securetune\[lm-eval\]"):
        check_processes(EvaluateSettings(lm_eval=("arc",)))
    check_processes(EvaluateSettings())


def test_what_is_installed_is_found(vllm: None) -> None:
    check_processes(EvaluateSettings(engine="vllm", vllm_python=sys.executable))


def test_without_files_nothing_is_left_out_in_silence(tmp_path: Path) -> None:
    suite = Suite("harmful", PromptSet("harmful", "test", "CC0-1.0", tuple(PROMPTS)))
    for settings in (EvaluateSettings(engine="vllm"), EvaluateSettings(lm_eval=("arc",))):
        with pytest.raises(ConfigError, match="expected the files"):
            evaluate(lambda: (None, None), "tuned", None, [suite], [], settings, tmp_path)


def test_an_evaluation_by_vllm_with_lm_eval_has_the_rows_of_both(
    files: ModelFiles, vllm: None, lm_eval: None, tmp_path: Path
) -> None:
    suite = Suite("harmful", PromptSet("harmful", "test", "CC0-1.0", tuple(PROMPTS)))
    judges = ("refusal-list-qi",)
    settings = EvaluateSettings(
        engine="vllm", lm_eval=("arc",), lm_eval_limit=7, judges=judges, max_new_tokens=4
    )

    def load() -> Any:
        raise AssertionError("nothing here needs the model in this process")

    found = [evaluate(load, "start", None, [suite], [], settings, tmp_path / "e", files) for _ in range(2)]
    assert found[0] == found[1]
    (row,) = [row for row in found[0].results if row.suite == "lm-eval arc"]
    assert (
        "; lm-eval arc acc,none 0.250 [0.054, 0.446] (n = 7)"
        in describe_results(found[0].results, judges[0])[1]
    )
    assert (row.metric, row.value, row.n) == ("acc,none", 0.25, 7)
    assert row.low == pytest.approx(0.25 - 1.96 * 0.1, abs=1e-3)
    (ability,) = found[0].abilities
    assert ability.version == "1.0 (lm-eval 0.4.13)"
    (result,) = (tmp_path / "e" / "lm_eval").rglob("results*.json")
    words = json.loads(result.read_text())["words"]
    assert words[words.index("--limit") + 1] == "7" and "--apply_chat_template" in words
    assert f"tokenizer={files.tokenizer}" in words[words.index("--model_args") + 1]


@pytest.mark.parametrize("kind", ["adapter", "weights"])
def test_both_models_of_against_go_through_lm_eval_and_vllm(
    kind: str, files: ModelFiles, vllm: None, lm_eval: None, tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned"
    model = LlamaForCausalLM.from_pretrained(files.source)
    if kind == "adapter":
        get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(tuned)
    else:
        model.save_pretrained(tuned)
        AutoTokenizer.from_pretrained(files.source).save_pretrained(tuned)
    out = tmp_path / "run"
    settings = {"limit": 3, "max_new_tokens": 3, "judges": "[refusal-list-qi]", "engine": "vllm"}
    told = [word for key, value in settings.items() for word in ("--set", f"evaluate.{key}={value}")]
    command = ["-q", "evaluate", str(tuned), "--against", files.source, "--out", str(out), "--lm-eval", "arc"]
    assert main([*command, *told]) == 0
    rows = [row for row in read_json(out / "compare" / "results.json") if row["suite"] == "lm-eval arc"]
    assert [(row["model"], row["value"]) for row in rows] == [("start", 0.25), ("tuned", 0.25)]
    assert "lm-eval arc" in (out / "compare" / "report.md").read_text()
    loaded = {}
    for name in ("start", "tuned"):
        (result,) = (out / "compare" / name / "lm_eval").rglob("results*.json")
        words = read_json(result)["words"]
        loaded[name] = dict(word.split("=") for word in words[words.index("--model_args") + 1].split(","))
        assert Path(loaded[name]["tokenizer"]) == out / "compare" / f"tokenizer-{name}"
    assert (loaded["start"]["pretrained"], loaded["start"].get("peft")) == (files.source, None)
    expected = (files.source, str(tuned)) if kind == "adapter" else (str(tuned), None)
    assert (loaded["tuned"]["pretrained"], loaded["tuned"].get("peft")) == expected


def test_lm_eval_that_is_missing_is_said_before_either_model_of_against_answers(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("securetune.evaluation.model_files._has", lambda *_: False)
    command = ["evaluate", files.source, "--against", files.source, "--out", str(tmp_path / "run")]
    assert main([*command, "--lm-eval", "arc"]) == 1
    assert "lm-eval is not installed" in capsys.readouterr().err
    assert not list(tmp_path.glob("run/**/responses.jsonl"))


def test_a_failed_lm_eval_and_a_comma_are_errors(files: ModelFiles, lm_eval: None, tmp_path: Path) -> None:
    with pytest.raises(LmEvalError, match="ended with 1: no such task: broken"):
        run_lm_eval("start", files, EvaluateSettings(lm_eval=("broken",)), tmp_path / "out")
    comma = ModelFiles("a,b", None, None, files.tokenizer, "float32")
    with pytest.raises(ConfigError, match="path with a comma: a,b"):
        run_lm_eval("start", comma, EvaluateSettings(lm_eval=("arc",)), tmp_path / "out")


@pytest.mark.parametrize(("task", "message"), [("late", "ended with 1: out of"), ("overflows", "no finite")])
def test_what_a_failed_lm_eval_leaves_behind_is_never_read(
    files: ModelFiles, lm_eval: None, tmp_path: Path, task: str, message: str
) -> None:
    out = tmp_path / "lm_eval"
    for _ in range(2):
        with pytest.raises(LmEvalError, match=message):
            run_lm_eval("start", files, EvaluateSettings(lm_eval=(task,)), out)
    assert not out.exists()
    (score,) = run_lm_eval("start", files, EvaluateSettings(lm_eval=("arc",)), out)
    assert score.value == 0.25 and [path.name for path in tmp_path.glob("lm_eval*")] == ["lm_eval"]


def test_lm_eval_quantises_as_we_do(files: ModelFiles, lm_eval: None, tmp_path: Path) -> None:
    def told(files: ModelFiles, out: Path) -> set[str]:
        run_lm_eval("start", files, EvaluateSettings(lm_eval=("arc",)), out)
        words = json.loads(next(out.rglob("results*.json")).read_text())["words"]
        return {word for word in words[words.index("--model_args") + 1].split(",") if "4bit" in word}

    ours = _four_bit(torch.bfloat16) if _has(sys.executable, "bitsandbytes") else None
    assert ours is None or (ours.bnb_4bit_quant_type, ours.bnb_4bit_compute_dtype) == ("nf4", torch.bfloat16)
    assert told(files, tmp_path / "plain") == set()
    assert told(replace(files, dtype="bfloat16", load_in_4bit=True), tmp_path / "packed") == {
        "load_in_4bit=True",
        "bnb_4bit_quant_type=nf4",
        "bnb_4bit_compute_dtype=bfloat16",
    }


def test_task_definitions_of_the_users_own_are_an_input(tmp_path: Path) -> None:
    def inputs(**further: Any) -> Any:
        return EvaluateSettings(lm_eval_include=str(tmp_path), **further).further_inputs

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "task.yaml").write_text("task: mine")
    before = inputs(lm_eval=("mine",))
    (tmp_path / "mine" / "__pycache__").mkdir()
    (tmp_path / "mine" / "__pycache__" / "utils.pyc").touch()
    assert inputs(lm_eval=("mine",)) == before and inputs() == {}
    (tmp_path / "mine" / "task.yaml").write_text("task: mine\nlimit: 3")
    assert inputs(lm_eval=("mine",)) != before
    with pytest.raises(ConfigError, match=r"lm_eval_include: .* is no directory"):
        _ = EvaluateSettings(lm_eval=("mine",), lm_eval_include=str(tmp_path / "no")).further_inputs


def test_the_remedy_for_texts_that_are_gone_names_the_stage(tmp_path: Path) -> None:
    suite = Suite("harmful", PromptSet("harmful", "test", "CC0-1.0", tuple(PROMPTS)))
    stages = "evaluate/vanilla-r0.3-s0/step-15", "evaluate/start", "compare/tuned", "compare/compare"
    for stage in stages:
        directory = tmp_path / "evaluate" / stage
        write_text(directory / "harmful" / "texts_dropped", "")
        answers = [json.dumps({"prompt_id": p.id, "text": "", "tokens": 1, "ended": True}) for p in PROMPTS]
        write_text(directory / "harmful" / "responses.jsonl", "\n".join(answers) + "\n")
        settings = EvaluateSettings(judges=("refusal-list-qi",))
        with pytest.raises(DataError, match=rf"--redo {stage}\.$"):
            evaluate(lambda: (None, None), "tuned", None, [suite], [], settings, directory)


def test_adapters_are_put_on_the_start_model_and_full_weights_replace_it(
    files: ModelFiles, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    place, adapter = tmp_path / "tokenizer", tmp_path / "tuned" / "model"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    tuned = ModelFiles.of(files.source, adapter, tokenizer, place, "float32", True)
    assert (tuned.source, tuned.adapter, tuned.load_in_4bit) == (files.source, adapter, True)
    whole = ModelFiles.of(files.source, tmp_path / "whole", tokenizer, place, "float32", False)
    assert (whole.source, whole.adapter) == (str(tmp_path / "whole"), None)


def test_scores_of_lm_eval_are_read_with_their_versions() -> None:
    content = {
        "results": {"arc": {"alias": "arc", "acc,none": 0.25, "acc_stderr,none": 0.1, "f1,none": "N/A"}},
        "versions": {"arc": 1.0},
        "lm_eval_version": "0.4.9",
    }
    (score,) = read_scores("start", content)
    assert (score.task, score.metric, score.value, score.standard_error) == ("arc", "acc,none", 0.25, 0.1)
    assert score.version == "1.0 (lm-eval 0.4.9)" and score.n is None
    assert as_result(score, None).suite == "lm-eval arc"


def test_scores_that_are_not_finite_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"acc,none": 0.5, "acc_stderr,none": math.nan, "f1,none": math.nan, "ppl,none": math.inf}
    (score,) = read_scores("start", {"results": {"arc": row}})
    assert (score.metric, score.value, score.standard_error) == ("acc,none", 0.5, None)
    assert "not finite: arc f1,none = nan, arc ppl,none = inf" in caplog.text
    write_json(tmp_path / "scores.json", [vars(score)])
    with pytest.raises(LmEvalError, match=r"no finite score of start \(arc ppl,none = inf\); expected"):
        read_scores("start", {"results": {"arc": {"ppl,none": math.inf}}})
