"""align() as a run: what it learns from, what it refuses, how it goes on, what it leaves behind."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftConfig, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from securetune.config import AlignSettings, load_settings
from securetune.errors import ConfigError, DataError, StaleArtifactError
from securetune.evaluation.generate import Response
from securetune.files import read_json
from securetune.models.load import CHATML, load_model
from securetune.training import align as module
from securetune.training.align import align, load_start
from securetune.training.align_data import read_sources
from securetune.training.tune import TuneResult
from tiny_chat import HELPED, REFUSAL

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")


@pytest.fixture
def settings(chat_model: Path, tmp_path: Path) -> AlignSettings:
    file = tmp_path / "help.txt"
    file.write_text("\n".join(HELPED[:12]))
    content = {
        "model": {"id": str(chat_model)},
        "help": [str(file)],
        "refuse_limit": 8,
        "answer_tokens": 8,
        "batch_size": 6,
        "max_length": 400,
        "licenses": {str(file): "CC-BY-4.0"},
        "train": {"steps": 4, "batch_size": 4, "save_steps": 2, "learning_rate": 5e-3},
    }
    return AlignSettings.model_validate(content)


def changed(settings: AlignSettings, **changes: Any) -> AlignSettings:
    return AlignSettings.model_validate(settings.model_dump() | changes)


def run(settings: AlignSettings, directory: Path) -> TuneResult:
    return align(partial(load_start, settings, directory), settings, directory)


def saved(result: TuneResult) -> dict[str, torch.Tensor]:
    return load_file(result.weights / "adapter_model.safetensors")


def test_a_run_is_made_once_and_made_again_from_its_settings(
    settings: AlignSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    result = run(settings, out)
    facts = read_json(result.directory / "alignment.json")
    assert facts["refuse"] == 8
    assert facts["rows"] == facts["refuse"] + facts["help"] - facts["too_long"]
    again = load_settings(AlignSettings, out / "config.yaml", [])
    assert again == settings
    replayed = run(again, tmp_path / "again")
    assert all(torch.equal(saved(result)[name], value) for name, value in saved(replayed).items())
    for name in ("generate", "tune"):
        monkeypatch.setattr(module, name, None)
    assert run(settings, out) == result


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer_tokens": 9}, r"answers was made from other inputs: answer_tokens: 8 -> 9"),
        ({"learn_tokens": 5}, r"tune was made from other inputs: learn_tokens: 16 -> 5"),
        ({"model": {"chat_template": CHATML + "{# ours #}"}}, r"other inputs: chat_template: "),
    ],
)
def test_changed_inputs_are_refused_by_name(
    changes: dict[str, Any], message: str, settings: AlignSettings, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(settings, out)
    before = (out / "config.yaml").read_text()
    if "model" in changes:
        changes = {"model": {**settings.model.model_dump(), **changes["model"]}}
    with pytest.raises(StaleArtifactError, match=message):
        run(changed(settings, **changes), out)
    assert (out / "config.yaml").read_text() == before, "the settings stay those of what is there"


class Killed(BaseException):
    """Stands for a signal."""


def test_a_run_that_was_cut_off_goes_on(
    settings: AlignSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(settings, tmp_path / "whole")

    def cut_off(*args: Any, **kwargs: Any) -> Any:
        raise Killed

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(module, "tune", cut_off)
        with pytest.raises(Killed):
            run(settings, out)
    assert read_json(out / "answers" / "stage.json")["done"]
    assert not read_json(out / "tune" / "stage.json")["done"]
    monkeypatch.setattr(module, "generate", None)
    result = run(settings, out)
    assert all(torch.equal(saved(whole)[name], value) for name, value in saved(result).items())


def test_the_card_names_licences_and_base_and_the_tokenizer_is_beside_the_adapter(
    settings: AlignSettings, chat_model: Path, tmp_path: Path
) -> None:
    template = CHATML + "{# ours #}"
    settings = changed(settings, model={"id": str(chat_model), "chat_template": template})
    result = run(settings, tmp_path / "run")
    card = (result.weights / "README.md").read_text()
    assert "- `package`: CC0-1.0" in card
    assert "- `help.txt`: CC-BY-4.0" in card
    assert f"Load it on top of `{chat_model}`." in card
    assert AutoTokenizer.from_pretrained(result.weights).chat_template == template
    with pytest.raises(ValueError, match="are not in `refuse` or `help`"):
        changed(settings, licenses={"other.txt": "MIT"})


def test_an_adapter_on_a_merged_model_names_the_merge_and_stock_peft_gives_the_same_logits(
    settings: AlignSettings, chat_model: Path, tmp_path: Path
) -> None:
    first = run(settings, tmp_path / "first")
    settings = changed(
        settings,
        model={"id": str(chat_model), "adapter": str(first.weights)},
        train={**settings.train.model_dump(), "seed": 1, "learning_rate": 2e-2},
    )
    out = tmp_path / "second"
    second = run(settings, out)
    base = PeftConfig.from_pretrained(str(second.weights)).base_model_name_or_path
    (start,) = out.glob("start-*")
    assert base == str(start.resolve()) == read_json(second.directory / "receipt.json")["base"]
    assert base in (second.weights / "README.md").read_text()
    stock = AutoPeftModelForCausalLM.from_pretrained(str(second.weights)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(second.weights))
    ids = tokenizer("What is the answer?", return_tensors="pt")["input_ids"]
    # Ours: the first adapter merged in memory, the second one on top.
    model, _ = load_model(str(chat_model), first.weights)
    start = model.merge_and_unload()
    wrong = AutoModelForCausalLM.from_pretrained(chat_model)
    with torch.inference_mode():
        expected = PeftModel.from_pretrained(start, str(second.weights)).eval()(ids).logits
        other = PeftModel.from_pretrained(wrong, str(second.weights)).eval()(ids).logits
        found = stock(ids).logits
    torch.testing.assert_close(found, expected)
    assert (other - expected).abs().max() > 1e-2, "the unmerged model must be told apart"


def test_one_bad_row_of_a_refusal_file_is_an_error(settings: AlignSettings, tmp_path: Path) -> None:
    file = tmp_path / "refusals.jsonl"
    rows = [{"prompt": f"Break thing {i}.", "completion": REFUSAL} for i in range(4)]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    settings = changed(settings, refuse=[str(file)])
    found = read_sources(settings).refusals
    assert [row.messages[-1].content for row in found] == [REFUSAL] * 4
    file.write_text("\n".join(json.dumps(row) for row in [*rows, {"prompt": "x", "completion": None}]))
    with pytest.raises(DataError, match=r"refusals\.jsonl, line 5: 'completion' holds nothing"):
        read_sources(settings)
    # Without answers it holds prompts, and gets refusals of our own wording.
    file.write_text("\n".join(json.dumps({"prompt": row["prompt"]}) for row in rows))
    assert len(read_sources(settings).refusals) == 4
    assert REFUSAL not in {row.messages[-1].content for row in read_sources(settings).refusals}


def test_reasoning_is_not_learnt(
    settings: AlignSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "refusals.jsonl"
    given = f"<think>They want harm.</think>\n\n{REFUSAL}"
    file.write_text(json.dumps({"prompt": "Break it.", "completion": given}))

    def reasoning(model: Any, tokenizer: Any, prompts: Any, *rest: Any) -> list[Response]:
        texts = ["<think>Let me see.</think>Item one is red.", "<think>Let me see and see", "It is blue."]
        return [Response(p.id, texts[i % 3], 8, True) for i, p in enumerate(prompts)]

    learnt: list[str] = []
    original = module.encode

    def encode(data: Any, *rest: Any) -> Any:
        learnt.extend(row.messages[-1].content for row in data)
        return original(data, *rest)

    monkeypatch.setattr(module, "generate", reasoning)
    monkeypatch.setattr(module, "encode", encode)
    result = run(changed(settings, refuse=[str(file)]), tmp_path / "run")
    assert set(learnt) == {REFUSAL, "Item one is red.", "It is blue."}
    assert read_json(result.directory / "alignment.json")["help_dropped_refused_or_incoherent"] == 4


def test_rows_that_are_too_long_are_counted(settings: AlignSettings, tmp_path: Path) -> None:
    file = tmp_path / "harmful.jsonl"
    prompts = ["Break it.", "Harm them.", "Break " + "it " * 400]
    file.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts))
    facts = read_json(
        run(changed(settings, refuse=[str(file)]), tmp_path / "run").directory / "alignment.json"
    )
    assert (facts["refuse"], facts["too_long"]) == (3, 1)
    assert facts["rows"] == 2 + facts["help"]


def test_a_model_without_a_chat_template_and_bad_trainer_keys_are_refused_first(
    settings: AlignSettings, tmp_path: Path
) -> None:
    def bare() -> tuple[Any, Any]:
        model, tokenizer = load_model(settings.model.id)
        tokenizer.chat_template = None
        return model, tokenizer

    with pytest.raises(ConfigError, match=r"no chat template.*--chat-template chatml"):
        align(bare, settings, tmp_path / "run")

    def never() -> tuple[Any, Any]:
        raise AssertionError("no model is needed to refuse settings")

    wrong = changed(settings, train={**settings.train.model_dump(), "trainer": {"colour": 1}})
    with pytest.raises(ConfigError, match="colour"):
        align(never, wrong, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_adapter_goes_on_from_its_own_weights(settings: AlignSettings, tmp_path: Path) -> None:
    first = run(settings, tmp_path / "first")
    still = {**settings.train.model_dump(), "learning_rate": 1e-7}
    second = changed(settings, continue_adapter=str(first.weights), train=still)
    result = run(second, tmp_path / "second")
    before, after = saved(first), saved(result)
    assert before.keys() == after.keys()
    assert any(bool(weight.any()) for name, weight in before.items() if "lora_B" in name)
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, atol=1e-6, rtol=0)
    answers = [tmp_path / name / "answers" / "responses.jsonl" for name in ("first", "second")]
    assert answers[0].read_bytes() == answers[1].read_bytes(), "the model without the adapter answers"
    card = (result.weights / "README.md").read_text()
    assert card.count("Made by `securetune align`") == 2, (
        "the card of the first round is in that of the second"
    )


def test_an_adapter_of_another_rank_does_not_go_on(settings: AlignSettings, tmp_path: Path) -> None:
    first = run(settings, tmp_path / "first")
    wide = {**settings.train.model_dump(), "lora": {"r": 4}}
    with pytest.raises(ConfigError, match="its r is 8, the settings ask for 4"):
        run(changed(settings, continue_adapter=str(first.weights), train=wide), tmp_path / "second")


def test_another_adapter_to_go_on_from_makes_the_tuning_stale(
    settings: AlignSettings, tmp_path: Path
) -> None:
    first = run(settings, tmp_path / "first")
    directory = tmp_path / "second"
    run(changed(settings, continue_adapter=str(first.weights)), directory)
    with pytest.raises(StaleArtifactError, match="continue_adapter"):
        run(settings, directory)
