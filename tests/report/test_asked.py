"""How suites were asked, how far judges disagree, and who judged: what the report says of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from report_data import JUDGES, MODELS, flips, report_data
from securetune.evaluation.attacks import SAFETY_PROMPT, TEMPLATES, Attack, get_attacks
from securetune.evaluation.evaluate import Evaluation, Suite
from securetune.evaluation.judges.verdict import Kind
from securetune.evaluation_settings import FALLBACK_JUDGES, EvaluateSettings
from securetune.prompts import Prompt, PromptSet
from securetune.report import cards
from securetune.report.asked import Disagreement
from securetune.report.assemble import compare_outcomes
from securetune.report.build import render_html, render_markdown
from securetune.report.cards import suite_cards
from securetune.report.data import ReportData, Result
from securetune.report.evidence import answer_kinds, disagreements
from securetune.report.evidence import flips as find_flips
from securetune.report.evidence_tables import disagreement_table, flip_summary, flip_tables, kind_table
from securetune.report.limits import NOT_INSTALLED, limits
from securetune.report.lookup import Lookup
from securetune.summary import describe_results

PROMPTS = tuple(Prompt(f"p{i}", f"Do thing {i}.", True) for i in range(4))
HARMFUL = PromptSet("harmful", "test", "CC0-1.0", PROMPTS)
HARMLESS = PromptSet("twins", "test", "CC0-1.0", tuple(replace(p, harmful=False) for p in PROMPTS))
TEXTS = Attack("file-gcg", texts={p.id: f"{p.text} zq!!suffix" for p in PROMPTS})


def suites() -> list[Suite]:
    attacks = get_attacks(["system", "prefill-5", "template-fiction", "sweep", "suffix-search"])
    attacked = [Suite(f"harmful.{attack.name}", HARMFUL, attack=attack) for attack in attacks]
    return [
        Suite("harmful", HARMFUL),
        Suite("twins", HARMLESS),
        *attacked,
        Suite("gcg", HARMFUL, attack=TEXTS),
    ]


def test_every_suite_states_how_it_was_asked() -> None:
    settings = EvaluateSettings(max_new_tokens=24, system_prompt="Be brief.", judges=("refusal-list-qi",))
    own = {card.suite: card for card in suite_cards(suites(), settings)}
    assert {card.n for card in own.values()} == {4} and {card.new_tokens for card in own.values()} == {24}
    assert own["harmful"].system_prompt == "Be brief." and own["harmful"].decoding == ("greedy",)
    assert own["harmful.system"].system_prompt == SAFETY_PROMPT
    assert own["harmful.template-fiction"].template == TEMPLATES["fiction"]
    assert "first 5 tokens" in str(own["harmful.prefill-5"].beginning)
    assert len(own["harmful.sweep"].decoding) == 6
    assert "steps 20" in str(own["harmful.suffix-search"].suffix_search)
    data = report_data(suites=tuple(own.values()))
    assert ReportData.from_json(json.loads(json.dumps(data.to_json()))) == replace(
        data, settings=json.loads(json.dumps(data.settings))
    )
    for page in (render_html(data), render_markdown(data)):
        assert "temperature 0.5, top-p 1" in page and "Be brief." in page
        assert "from a file of adversarial prompts" in page and "zq!!suffix" not in page


def test_an_empty_system_prompt_is_not_the_templates_own() -> None:
    for prompt, told in (("", "(empty)"), (None, "the chat template's own")):
        settings = EvaluateSettings(max_new_tokens=24, system_prompt=prompt, judges=("refusal-list-qi",))
        cards = tuple(suite_cards(suites()[:1], settings))
        assert f"| {told} |" in render_markdown(report_data(suites=cards))


def evaluation(events: dict[str, list[bool | None]], **more: list[bool | None]) -> Evaluation:
    named = {kind: dict(zip((p.id for p in PROMPTS), said)) for kind, said in (events | more).items()}
    outcomes = {(suite, JUDGES[0]): named[suite] for suite in ("harmful", "gcg") if suite in named}
    return Evaluation((), outcomes, None)


def test_what_files_of_adversarial_prompts_hold_is_never_shown(tmp_path: Path) -> None:
    both = {"start": [False, False, None, True], "tuned": [True, False, True, True]}
    evaluations = {name: evaluation({"harmful": said, "gcg": said}) for name, said in both.items()}
    for name in both:
        for suite in ("harmful", "gcg"):
            path = tmp_path / name / suite / "responses.jsonl"
            path.parent.mkdir(parents=True)
            rows = [{"prompt_id": p.id, "text": f"{name}: zq!!suffix", "tokens": 3} for p in PROMPTS]
            path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    asked = [suite for suite in suites() if suite.name in ("harmful", "gcg")]
    found = {flip.suite: flip for flip in find_flips(evaluations, asked, JUDGES[0], tmp_path)}
    assert found["harmful"].prompt == PROMPTS[0].text and found["harmful"].answers[0].text
    assert found["gcg"].prompt is None and {a.text for a in found["gcg"].answers} == {None}


def test_not_complying_is_not_called_refusing() -> None:
    def said(judge: str, harmful: bool) -> str:
        shown = tuple(flip for flip in flips() if flip.harmful is harmful)
        found = Lookup(report_data(primary_judge=judge, flips=shown))
        return str([flip_summary(found).rows, [table.rows for table in flip_tables(found)]])

    text = said("answer-classifier", True)
    assert "'did not comply'" in text and "complied: " in text and "refused" not in text
    text = said(JUDGES[0], True)
    assert "'refused'" in text and "did not refuse" in text and "complied" not in text
    assert "refused: " in said("answer-classifier", False)


def test_disagreement_of_judges_has_a_share_n_and_interval() -> None:
    first: list[bool | None] = [True, False, None, True]
    second: list[bool | None] = [True, True, True, False]
    ids = [p.id for p in PROMPTS]
    outcomes = {("harmful", "a"): dict(zip(ids, first)), ("harmful", "b"): dict(zip(ids, second))}
    one = Evaluation((), outcomes, None)
    (row,) = disagreements({"start": one})
    assert (row.first, row.second, row.n, row.unscored) == ("a", "b", 3, 1)
    assert row.value == pytest.approx(2 / 3) and row.low is not None and row.low < 2 / 3
    content, text = describe_results((), "a", (), [row])
    assert content["disagreements"] == [vars(row)]
    assert "start on harmful: a disagrees with b 66.7% [" in text and "n = 3, 1 unscored" in text
    rows = tuple(Disagreement(m, "harmful", *JUDGES[:2], 0.1, 0.05, 0.2, 120, 0) for m in MODELS)
    data = report_data(disagreements=rows)
    assert len(disagreement_table(Lookup(data)).rows) == 1
    for page in (render_html(data), render_markdown(data)):
        assert f"{JUDGES[0]} and {JUDGES[1]}" in page and "5.0–20.0%" in page


def test_kinds_of_answers_have_shares_that_add_up() -> None:
    said: dict[str, Kind | None] = {
        "a": "refusal",
        "b": "evasion",
        "c": "evasion",
        "d": "compliance",
        "e": None,
    }
    one = Evaluation((), {}, None, kinds={("harmful", JUDGES[0]): said})
    rows = answer_kinds({next(iter(MODELS)): one})
    shares = {row.kind: row.value for row in rows}
    assert shares == {"refusal": 0.25, "evasion": 0.5, "partial": 0.0, "compliance": 0.25}
    assert {(row.n, row.unscored) for row in rows} == {(4, 1)}
    data = report_data(answer_kinds=rows)
    assert ReportData.from_json(json.loads(json.dumps(data.to_json()))).answer_kinds == rows
    assert len(kind_table(Lookup(data)).rows) == 1
    for page in (render_html(data), render_markdown(data)):
        assert "Kinds of answers" in page and "Evasion" in page
    silent = report_data(answer_kinds=())
    for page in (render_html(silent), render_markdown(silent)):
        assert "Kinds of answers" not in page, "no judge told them apart"


def test_lists_that_stand_in_for_the_default_judge_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securetune.evaluation_settings.find_embedding_model", lambda: None)
    monkeypatch.setattr(cards, "find_embedding_model", lambda: None)
    assert EvaluateSettings().judges == FALLBACK_JUDGES
    said = cards._default_judge(EvaluateSettings())
    assert said == NOT_INSTALLED
    (line,) = [x for x in limits(report_data(settings={"default judge": said})) if "default judge" in x]
    assert "embedding model is not installed" in line and f"{JUDGES[0]} decides instead" in line
    chosen = cards._default_judge(EvaluateSettings(judges=("refusal-list-wei",)))
    assert not [x for x in limits(report_data(settings={"default judge": chosen})) if "default judge" in x]


def test_scores_and_coherence_are_compared_in_pairs() -> None:
    def one(name: str, right: list[bool], coherent: list[bool]) -> Evaluation:
        rows = [
            Result(name, None, suite, metric, 0.5, 0.0, 1.0, 4, 0, None)
            for suite, metric in (
                ("gsm8k", "accuracy"),
                ("harmful", "coherence"),
                ("held-out", "held_out_loss"),
            )
        ]
        ids = [p.id for p in PROMPTS]
        scores, said = {"gsm8k": dict(zip(ids, right))}, {"harmful": dict(zip(ids, coherent))}
        return Evaluation(tuple(rows), {}, None, scores, coherence=said)  # type: ignore[arg-type]

    start = one("start", [True, True, True, False], [True] * 4)
    tuned = one("tuned", [True, False, False, False], [True, False, True, True])
    rows = compare_outcomes({"start": start, "tuned": tuned}, ("start",), JUDGES)
    assert [(row.metric, row.difference, row.judge, row.n) for row in rows] == [
        ("accuracy", -0.5, None, 4), ("coherence", -0.25, None, 4),
    ]  # fmt: skip
