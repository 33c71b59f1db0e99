"""The start model and tuned ones are measured alike, whatever training asks for."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from securetune.config import Config, validate
from securetune.errors import ConfigError, StaleArtifactError
from securetune.evaluation.evaluate import Evaluation
from securetune.files import read_json
from securetune.models.fingerprint import fingerprint
from securetune.models.load import dtype_name, load_model
from securetune.pipeline import Pipeline
from securetune.report.cards import mixed_cards, run_settings
from securetune.report.evidence import timeline
from securetune.runs.directory import Run, Stage
from securetune.training.tune import TuneResult
from tiny_chat import write_tuning_file


@pytest.fixture
def base(tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    tiny_model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    model = LlamaForCausalLM.from_pretrained(base)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def pipeline(base: Path, out: Path, **content: Any) -> Pipeline:
    data = write_tuning_file(out.with_suffix(".jsonl"))
    model = {"id": str(base), **content.pop("model", {})}
    config = validate(Config, {"model": model, "data": {"source": str(data), "held_out": 4}, **content})
    return Pipeline(config, Run(out))


@pytest.mark.parametrize(
    ("settings", "device", "expected"),
    [
        ({}, "cuda", "bfloat16"),
        ({"model": {"dtype": "float32"}}, "cuda", "float32"),
        ({"model": {"load_in_4bit": True}}, "cuda", "4-bit NF4, bfloat16"),
        ({"train": {"method": "full"}}, "cuda", "float32"),
        ({"train": {"method": "full"}}, "cpu", "float32"),
    ],
)
def test_start_and_tuned_models_are_measured_at_one_precision(
    settings: dict[str, Any], device: str, expected: str, base: Path, adapter: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: list[tuple[Any, Any]] = []

    def load(source: str, *args: Any, dtype: Any, load_in_4bit: bool = False, **options: Any) -> Any:
        asked.append((dtype, load_in_4bit))
        return load_model(source, dtype=dtype, device="cpu")

    def evaluate(load: Any, *args: Any) -> Evaluation:
        asked.clear()
        load()
        return Evaluation((), {}, None)

    full = settings.get("train", {}).get("method") == "full"
    tuned = tmp_path / "tuned"
    (adapter if not full else base).rename(tuned.with_name("weights"))
    tuned.mkdir()
    tuned.with_name("weights").rename(tuned / ("model" if full else "adapter"))
    start = tuned / "model" if full else base
    Stage(tuned, {}).finish({"weights": "w"})
    monkeypatch.setattr("securetune.start_model.dtype_name", lambda dtype: dtype_name(dtype, device))
    monkeypatch.setattr("securetune.start_model.load_model", load)
    monkeypatch.setattr("securetune.pipeline.evaluate", evaluate)
    monkeypatch.setattr(Pipeline, "train", lambda self, name: TuneResult(tuned, 1, (), 1))
    made = pipeline(start, tmp_path / "run", **settings)
    found = []
    for name in ("start", "vanilla"):
        made.evaluate(name)
        found.append(asked[-1])
        assert (
            read_json(tmp_path / "run" / "evaluate" / name / "stage.json")["inputs"]["precision"] == expected
        )
    assert made.precision == expected
    assert found[0] == found[1] == (expected.split()[-1], "4-bit" in expected)


@pytest.mark.parametrize(("quantised", "expected"), [(False, "float32"), (True, "4-bit NF4, float32")])
def test_the_precision_of_the_analysis_is_among_its_inputs(
    quantised: bool, expected: str, base: Path, tmp_path: Path
) -> None:
    model = {"load_in_4bit": True, "dtype": "float32"}
    made = pipeline(base, tmp_path / "run", model=model, analysis={"quantised": quantised})
    assert made.analysis_stage().inputs["precision"] == expected


def test_a_start_adapter_is_one_model_for_plain_and_for_4_bit_loads(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    plain = pipeline(base, tmp_path / "a", model={"adapter": str(adapter)})
    packed = pipeline(base, tmp_path / "b", model={"adapter": str(adapter), "load_in_4bit": True})
    merged = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    assert plain.base == packed.base == fingerprint(merged)
    assert plain.base != pipeline(base, tmp_path / "c").base
    # What is trained on top names the merge, which alone is the right base for it.
    assert plain.load_start()[0].config._name_or_path == plain.source
    assert Path(plain.source).parent == tmp_path / "a"


def test_a_merged_start_model_is_named_by_a_path_that_holds_in_every_working_directory(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = pipeline(base, Path("run"), model={"adapter": str(adapter)})
    assert Path(made.source).is_absolute() and Path(made.source).parent == tmp_path.resolve() / "run"


def test_harmful_rows_of_the_user_go_into_every_strategy_and_are_not_evaluated(
    base: Path, tmp_path: Path
) -> None:
    plain = pipeline(base, tmp_path / "plain", strategy={"names": ["vanilla"]})
    known = plain.prompts.suites[0].prompts.prompts[0].text
    file = tmp_path / "mine.jsonl"
    file.write_text(
        "".join(json.dumps({"prompt": p, "completion": "Yes."}) + "\n" for p in (known, "Other?"))
    )
    data = {"source": plain.config.data.source, "held_out": 4, "harmful": str(file), "harmful_share": 0.2}
    made = pipeline(base, tmp_path / "run", data=data, strategy={"names": ["vanilla"]})
    assert plain._mixed_in("vanilla") == {}
    mixed = made._mixed_in("ml-lr+replay")
    assert {key: share for key, (_, share) in mixed.items()} == {"harmful": 0.2, "replay": 0.03}
    assert {key: share for key, (_, share) in made._mixed_in("vanilla").items()} == {"harmful": 0.2}
    assert [row.opening for row in mixed["harmful"][0]] == [known, "Other?"]
    assert known not in made.prompts.suites[0].prompts.texts()
    # Rows of the user's own take the place of our refusals.
    own = pipeline(base, tmp_path / "own", strategy={"refusals": str(file), "refusal_share": 0.1})
    rows, share = own._mixed_in("replay")["replay"]
    assert ([row.opening for row in rows], share) == ([known, "Other?"], 0.1)
    # The report shows them.
    assert not {card.role for card in mixed_cards(plain)}
    (card,) = mixed_cards(made)
    assert (card.role, card.name, card.n) == ("harmful rows", mixed["harmful"][0].name, 2)
    told = run_settings(made)
    assert (told["harmful rows"], told["harmful share"], told["replay share"]) == (str(file), 0.2, None)
    named = pipeline(base, tmp_path / "named", strategy={"names": ["ml-lr+replay"], "refusal_share": 0.1})
    (card,) = mixed_cards(named)
    rows, _ = named._mixed_in("ml-lr+replay")["replay"]
    assert (card.role, card.n, card.fingerprint) == ("refusals", len(rows), rows.fingerprint)
    assert run_settings(named)["replay share"] == 0.1 and run_settings(named)["self-replay share"] is None


def test_any_message_of_a_mixed_in_row_decides_whether_training_is_stale(base: Path, tmp_path: Path) -> None:
    def begin(second: str) -> Any:
        turns = ("user", "Hi"), ("assistant", second), ("user", "And?"), ("assistant", "No.")
        file = tmp_path / "mine.jsonl"
        file.write_text(json.dumps({"messages": [{"role": r, "content": c} for r, c in turns]}) + "\n")
        made = pipeline(
            base, tmp_path / "run", data={"source": str(data), "held_out": 4, "harmful": str(file)}
        )
        return made._tune_stage("vanilla", made.plan("vanilla"), made._mixed_in("vanilla"))

    data = write_tuning_file(tmp_path / "data.jsonl")
    (begin("Hello.").path / "begun").touch()
    begin("Hello.")
    with pytest.raises(StaleArtifactError, match="harmful"):
        begin("Sure.")


def test_a_model_can_be_asked_with_another_template_than_it_was_trained_with(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def evaluate(load: Any, *args: Any) -> Evaluation:
        seen.append(load()[1].chat_template)
        return Evaluation((), {}, None)

    monkeypatch.setattr("securetune.pipeline.evaluate", evaluate)
    other = "{{ messages[0]['content'] }}"
    for name, settings in (("a", {}), ("b", {"chat_template": other})):
        made = pipeline(base, tmp_path / name, evaluate=settings)
        made.evaluate("start")
        inputs = read_json(tmp_path / name / "evaluate" / "start" / "stage.json")["inputs"]
        assert ("asked_with" in inputs) is bool(settings)
        assert made.tokenizer.chat_template != other
    assert seen[0] == made.tokenizer.chat_template and seen[1] == other


def test_training_is_watched_where_that_is_asked_for_and_learns_the_same(base: Path, tmp_path: Path) -> None:
    small = {"prompts": 4, "check_addresses": 0, "verify_draws": 1, "verify_prompts": 4}
    train = {"steps": 4, "batch_size": 2, "save_steps": 2, "learning_rate": 1e-2}
    found = {}
    for name, every in (("plain", 0), ("watched", 2)):
        made = pipeline(base, tmp_path / name, analysis=small, train={**train, "watch_steps": every})
        found[name] = made.train("vanilla")
    seen = timeline(found["watched"].directory, "vanilla")
    drift = {point.step: point.value for point in seen if point.metric == "drift"}
    assert list(drift) == [0, 2, 4] and drift[0] == 0 < drift[4]
    assert timeline(found["plain"].directory, "vanilla") == []
    assert found["plain"].losses == found["watched"].losses


@pytest.mark.parametrize("settings", [{"attacks": ["system"]}, {"system_prompt": "Be careful."}])
def test_a_template_without_a_system_role_stops_a_run_before_anything_is_generated(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("securetune.pipeline.evaluate", lambda *args: asked.append("evaluated"))
    template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}"
        "{{ messages[0]['content'] }}"
    )
    made = pipeline(base, tmp_path / "run", evaluate={**settings, "chat_template": template})
    for work in (made.check, partial(made.evaluate, "start")):
        with pytest.raises(ConfigError, match="takes no system prompt"):
            work()
    assert not asked and not (tmp_path / "run" / "evaluate").exists()
    with_role = pipeline(base, tmp_path / "other", evaluate=settings)
    with_role.check()
