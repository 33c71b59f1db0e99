"""What stands behind the numbers: categories, flips, receipts, changes of loss, model cards."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from report_data import JUDGES, report_data, with_every_string
from securetune.evaluation.attacks import ATTACKS
from securetune.evaluation.evaluate import Evaluation, Suite
from securetune.files import write_json
from securetune.plan import TuningPlan
from securetune.prompts import Prompt, PromptSet
from securetune.report.evidence import category_rates, flips, held_out_changes, receipt_facts, timeline
from securetune.report.evidence_tables import (
    ability_table,
    flip_summary,
    flip_tables,
    judge_error_table,
    receipt_table,
)
from securetune.report.limits import SAME_TEMPLATE, limits
from securetune.report.lookup import Lookup
from securetune.report.model_card import model_card, write_model_cards
from securetune.report.movement import layer_norms, movement_table

JUDGE = JUDGES[0]
PROMPTS = [Prompt(f"p{i}", f"Do thing {i}.", True, "fraud" if i % 2 else "weapons") for i in range(6)]
SUITE = Suite("harmful", PromptSet("harmful", "test", "CC0-1.0", tuple(PROMPTS)))


def evaluation(events: list[bool | None], losses: tuple[float, ...] = ()) -> Evaluation:
    outcomes = {(SUITE.name, JUDGE): {p.id: event for p, event in zip(PROMPTS, events)}}
    return Evaluation((), outcomes, None, losses=losses)


START = evaluation([False, False, False, True, None, False], (2.0, 1.0, 3.0))
TUNED = evaluation([True, False, None, False, True, False], (1.9, 0.8, 2.9))


def test_categories_add_up_to_the_suite() -> None:
    rates = category_rates({"start": START, "tuned": TUNED}, [SUITE], JUDGE)
    for model, one in (("start", START), ("tuned", TUNED)):
        own = [row for row in rates if row.model == model]
        assert {row.category for row in own} == {"fraud", "weapons"}
        events = one.outcomes[SUITE.name, JUDGE].values()
        assert sum(row.n + row.unscored for row in own) == len(PROMPTS)
        assert sum(round((row.value or 0) * row.n) for row in own) == sum(event is True for event in events)
    bare = replace(
        SUITE, prompts=replace(SUITE.prompts, prompts=tuple(replace(p, category=None) for p in PROMPTS))
    )
    assert category_rates({"start": START}, [bare], JUDGE) == ()


def test_a_flip_is_a_scored_change_and_identical_models_have_none(tmp_path: Path) -> None:
    found = flips({"start": START, "tuned": TUNED}, [SUITE], JUDGE)
    assert [flip.prompt_id for flip in found] == ["p0", "p3"]
    assert flips({"start": START, "tuned": START}, [SUITE], JUDGE) == ()
    assert all(flip.prompt is None and {a.text for a in flip.answers} == {None} for flip in found)
    for model in ("start", "tuned"):
        rows = [
            {"prompt_id": p.id, "text": f"{model} says {p.id}", "tokens": 3, "ended": True} for p in PROMPTS
        ]
        path = tmp_path / model / SUITE.name / "responses.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    shown = flips({"start": START, "tuned": TUNED}, [SUITE], JUDGE, tmp_path)
    assert [flip.prompt for flip in shown] == [PROMPTS[0].text, PROMPTS[3].text]
    assert [answer.text for answer in shown[0].answers] == ["start says p0", "tuned says p0"]
    (tmp_path / "tuned" / SUITE.name / "texts_dropped").touch()
    shown = flips({"start": START, "tuned": TUNED}, [SUITE], JUDGE, tmp_path)
    assert "store_text" in str(shown[0].answers[1].text)


def test_a_suffix_that_an_answer_quotes_is_not_shown(tmp_path: Path) -> None:
    suites = []
    for name in ("system", "suffix-search"):
        suites.append(replace(SUITE, name=f"harmful.{name}", attack=ATTACKS[name]))
        for model in ("start", "tuned"):
            rows = [
                {"prompt_id": p.id, "text": f"You asked: {p.text} zq!! xyzzy", "tokens": 3} for p in PROMPTS
            ]
            path = tmp_path / model / suites[-1].name / "responses.jsonl"
            path.parent.mkdir(parents=True)
            path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    own = {"start": START, "tuned": TUNED}
    evaluations = {
        model: replace(one, outcomes={(s.name, JUDGE): one.outcomes[SUITE.name, JUDGE] for s in suites})
        for model, one in own.items()
    }
    shown = {
        suite.name: [
            text
            for flip in flips(evaluations, [suite], JUDGE, tmp_path)
            for text in (flip.prompt, *(answer.text for answer in flip.answers))
        ]
        for suite in suites
    }
    assert set(shown["harmful.suffix-search"]) == {None}
    assert len(shown["harmful.suffix-search"]) == 6 and None not in shown["harmful.system"]


def test_flips_are_counted_in_both_directions_and_the_changed_ones_are_bold() -> None:
    found = flips({"start": START, "tuned": TUNED}, [SUITE], JUDGE)
    rows = [replace(report_data().results[0], model=model, strategy=None) for model in ("start", "tuned")]
    rows[1] = replace(rows[1], strategy="vanilla")
    seen = Lookup(report_data(results=tuple(rows), training=(), flips=found))
    assert flip_summary(seen).rows == [["tuned", "did not refuse: 1 more, 1 fewer"]]
    (table,) = flip_tables(seen)
    assert [row[0] for row in table.rows] == ["p0", "p3"]
    assert table.rows[0][2] == "refused" and getattr(table.rows[0][3], "value", None) == "did not refuse"


def test_the_change_of_the_held_out_loss_is_paired_by_row() -> None:
    (row,) = held_out_changes({"start": START, "tuned": TUNED})
    assert row.value == pytest.approx(-0.4 / 3)
    assert row.high is not None and row.high > -0.4 / 3 and row.n == 3
    (same,) = held_out_changes({"start": START, "tuned": START})
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert held_out_changes({"start": evaluation([]), "tuned": evaluation([])}) == []


def test_the_movement_of_the_groups_adds_up_to_the_total(tmp_path: Path) -> None:
    plan = TuningPlan.from_multipliers({"q_proj": 1.0}, 0.1)
    movement = {"0.self_attn.q_proj": 3.0, "1.self_attn.q_proj": 4.0, "1.mlp.up_proj": 2.0, "lm_head": 1.0}
    groups = [
        {"name": "x1", "multipliers": [1.0], "tensors": 2, "parameters": 8},
        {"name": "x0.1", "multipliers": [0.1], "tensors": 2, "parameters": 9},
    ]
    seen = {name: {"rate": 0.1, "tensors": 2, "moved": 2, "rms_movement": 0.1} for name in ("x1", "x0.1")}
    receipt = {
        "planned": plan.to_json(),
        "base_rate": 1e-3,
        "applied": {"verified": [{"step": 1, "phase": "all", "groups": seen}]},
        "movement": movement,
        "movement_reason": None,
        "untrained_patterns": [],
    }
    write_json(tmp_path / "plan_receipt.json", receipt)
    facts = receipt_facts(tmp_path, groups)
    assert [group["movement"] for group in facts["groups"]] == pytest.approx([5.0, math.sqrt(5)])
    assert facts["groups"][0]["applied"][0]["moved"] == 2
    assert math.hypot(*(g["movement"] for g in facts["groups"])) == pytest.approx(
        math.hypot(*movement.values())
    )
    assert layer_norms(movement) == pytest.approx([3.0, math.sqrt(20)])
    write_json(tmp_path / "plan_receipt.json", {**receipt, "movement": None, "movement_reason": "sharded"})
    assert receipt_facts(tmp_path, groups)["movement_note"] == "sharded"
    assert "missing" in receipt_facts(tmp_path / "nowhere", groups)["movement_note"]


def test_a_plan_that_holds_the_sensitive_modules_moves_them_less() -> None:
    rows = {row[0]: row for row in movement_table(Lookup(report_data())).rows}
    assert float(str(rows["ml-lr"][2]).rstrip("%")) > 99
    assert float(str(rows["ml-lr"][3])) < -0.5 < float(str(rows["vanilla"][3]))


def test_the_timeline_is_what_the_callback_wrote(tmp_path: Path) -> None:
    assert timeline(tmp_path, "vanilla") == []
    history = [{"step": 0, "drift": 0.0, "refusal_margin": 2.0}, {"step": 20, "asr": 0.5}]
    write_json(tmp_path / "safety_history.json", history)
    points = [(p.step, p.metric, p.value) for p in timeline(tmp_path, "vanilla")]
    assert points == [(0, "drift", 0.0), (0, "refusal_margin", 2.0), (20, "asr", 0.5)]


def test_a_judge_without_a_known_error_says_so() -> None:
    rows = {row[0]: row for row in judge_error_table(Lookup(report_data())).rows}
    assert next(iter(rows)) == JUDGE
    assert rows[JUDGES[2]][1] == "not measured by us"


def test_scores_of_other_versions_are_not_mixed() -> None:
    old, *_ = report_data().abilities
    newer = replace(old, model="ml-lr", value=0.875, version=f"{old.version}1")
    table = ability_table(Lookup(report_data(abilities=(replace(old, model="start"), newer))))
    shown = {str(row[2]): [getattr(cell, "value", cell) for cell in row[3:]] for row in table.rows}
    values = {"start": f"{old.value:.3f}", "ml-lr": "0.875"}
    for version, model in ((old.version, "start"), (newer.version, "ml-lr")):
        assert [value for value in shown[version] if value != "n/a"] == [values[model]]


def test_training_that_was_cut_off_has_no_seconds() -> None:
    data = report_data()
    continued = replace(data, training=tuple(replace(row, seconds=None) for row in data.training))
    assert "cut off and continued" in str(receipt_table(continued).rows[0][2])
    assert " s" in str(receipt_table(data).rows[0][2]) and "cut off" not in str(receipt_table(data).rows)


@pytest.mark.parametrize("tail", ["", "\"'><script>1</script>\n---\n| `x` : [a]"])
def test_the_hub_reads_the_model_card(tail: str, tmp_path: Path) -> None:
    data = with_every_string(report_data(), tail)
    found = Lookup(data)
    card = ModelCard(model_card(found, found.tuned[0]))
    shown = {(r.metric_type, r.dataset_name, r.metric_value) for r in card.data.eval_results or ()}
    own = [row for row in data.results if row.model == found.tuned[0]]
    assert {(row.metric, row.suite, row.value) for row in own} == shown
    asr = next(r for r in card.data.eval_results or () if r.metric_type == "asr")
    assert "95% interval" in str(asr.metric_name) and "n = 119" in str(asr.metric_name)
    assert "<script>" not in card.text
    if not tail:
        assert len(write_model_cards(data, tmp_path)) == len(found.tuned)


def test_a_stress_test_shows_in_the_limits_the_receipts_and_the_card() -> None:
    def said(**changes: object) -> tuple[list[str], list[str]]:
        data = report_data(**changes)
        cards = [model_card(Lookup(data), model) for model in ("vanilla", "ml-lr")]
        return [line for line in limits(data) if line.startswith("Stress test")], cards

    template = "chat template when asked"
    lines, cards = said(settings={template: SAME_TEMPLATE})
    assert not lines and not any("Stress test" in card for card in cards)
    training = tuple(
        replace(entry, harmful_rows=24 if entry.model == "vanilla" else 0) for entry in report_data().training
    )
    lines, cards = said(training=training, settings={template: "chatml"})
    assert len(lines) == 2 and "24 of 480 for vanilla" in lines[0] and "chat template" in lines[1]
    assert "24 of 480 for vanilla" in cards[0] and "24 of 480" not in cards[1]
    assert all("another chat template" in card for card in cards)
    rows = receipt_table(report_data(training=training)).rows
    assert len([row for row in rows if "24 harmful" in str(row[2])]) == 1
