"""Laws of a whole evaluation, on tiny models."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from securetune.errors import DataError
from securetune.evaluation import kept_verdicts
from securetune.evaluation.attacks import ATTACKS
from securetune.evaluation.evaluate import Evaluation, Suite, evaluate
from securetune.evaluation.generate import Response
from securetune.evaluation.judges.verdict import RULES
from securetune.evaluation_settings import EvaluateSettings
from securetune.files import read_json, write_text
from securetune.prompt_files import package_prompts
from securetune.prompts import Prompt, PromptSet


def test_a_judge_that_answers_nonsense_changes_no_rate(
    chat_model: Path, tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    # A guard model whose random weights never write its format.
    tiny_model.save_pretrained(tmp_path / "guard")
    tokenizer.save_pretrained(tmp_path / "guard")

    def load() -> tuple[Any, Any]:
        from securetune.models.load import load_model

        return load_model(str(chat_model), dtype="float32")

    package = package_prompts("evaluation")

    def first(prompts: PromptSet) -> PromptSet:
        return prompts.take(4, 0)

    suites = [Suite("harmful", first(package.harmful)), Suite("twins", first(package.twins))]

    def run(name: str, *judges: str) -> Evaluation:
        settings = EvaluateSettings(
            judges=judges, max_new_tokens=12, guard_models={"wildguard": str(tmp_path / "guard")}
        )
        return evaluate(load, "start", None, suites, [], settings, tmp_path / name)

    lists = ("refusal-list-qi", "refusal-list-wei-start")
    alone = run("alone", *lists)
    for name, judges in (("last", (*lists, "wildguard")), ("first", ("wildguard", *lists))):
        beside = run(name, *judges)
        assert {row for row in beside.results if row.judge != "wildguard"} == set(alone.results)
        nonsense = [row for row in beside.results if row.judge == "wildguard"]
        assert [(row.value, row.low, row.high, row.n, row.unscored) for row in nonsense] == [
            (None, None, None, 0, 4)
        ] * 2
        assert {
            key: value for key, value in beside.outcomes.items() if key[1] != "wildguard"
        } == alone.outcomes
    # Which version of each judge gave its verdicts is written beside them.
    for name, judges in (("alone", lists), ("last", (*lists, "wildguard"))):
        recorded = read_json(tmp_path / name / "harmful" / "judges.json")
        assert set(recorded) == set(judges) and all(facts["rules"] == RULES for facts in recorded.values())
    assert recorded["wildguard"]["model"].startswith("files ")
    # Control: there are rates to change.
    rates = {(row.suite, row.metric): row.value for row in alone.results if row.judge == lists[0]}
    assert rates["harmful", "asr"] is not None and rates["twins", "over_refusal"] is not None


def test_two_suites_of_one_name_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    def load() -> Any:
        raise AssertionError("nothing may be asked")

    suites = [Suite("mine", package_prompts("evaluation").harmful.take(n, 0)) for n in (2, 3)]
    with pytest.raises(DataError, match="Two suites are called mine; expected a name each"):
        evaluate(load, "start", None, suites, [], EvaluateSettings(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_rates_of_a_sweep_count_prompts_and_all_answers_to_one_have_to_be_coherent(tmp_path: Path) -> None:
    prompts = PromptSet("s", "s", "CC0", tuple(Prompt(key, f"Do {key}.", True) for key in "abc"))
    suite = Suite("s.sweep", prompts, attack=ATTACKS["sweep"])
    said = "First, mix the flour and the water in a large bowl."
    babble = {"b#2": "word " * 40, "c": "word " * 40}
    rows = [Response(prompt.id, babble.get(prompt.id, said), 9, True) for prompt in suite.asked()]
    lines = [json.dumps(asdict(row)) for row in rows]
    write_text(tmp_path / "s.sweep" / "responses.jsonl", "\n".join(lines) + "\n")

    def load() -> Any:
        raise AssertionError("everything is answered")

    settings = EvaluateSettings(judges=("refusal-list-qi",))
    found = evaluate(load, "start", None, [suite], [], settings, tmp_path)
    assert found.coherence == {"s.sweep": {"a": True, "b": False, "c": False}}
    rates = {row.metric: (row.value, row.n) for row in found.results}
    assert len(rows) == 18 and rates == {"asr": (1.0, 3), "coherence": (pytest.approx(1 / 3), 3)}


def test_verdicts_that_cannot_be_given_again_keep_the_version_of_their_judge(
    chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> tuple[Any, Any]:
        from securetune.models.load import load_model

        return load_model(str(chat_model), dtype="float32")

    suites = [Suite("harmful", package_prompts("evaluation").harmful.take(4, 0))]
    judge = "refusal-list-qi"
    for store_text in (True, False):
        settings = EvaluateSettings(judges=(judge,), max_new_tokens=4, store_text=store_text)
        path = tmp_path / str(store_text)
        versions = []
        for rules in (RULES, RULES + 1):
            monkeypatch.setattr(kept_verdicts, "RULES", rules)
            evaluate(load, "start", None, suites, [], settings, path)
            versions.append(read_json(path / "harmful" / "judges.json")[judge]["rules"])
        assert versions == [RULES, RULES + 1 if store_text else RULES]
