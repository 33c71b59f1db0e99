"""Verdicts that were kept are not judged again, by whoever asks, after whatever kill."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from securetune.evaluation import judges, kept_verdicts
from securetune.evaluation.judges import Verdict
from securetune.evaluation.judges.answer_classifier import NAME as CLASSIFIER
from securetune.evaluation.judges.answer_classifier import version
from securetune.evaluation.judges.guards import GUARDS
from securetune.evaluation.judges.verdict import RULES
from securetune.evaluation.kept_verdicts import judge_facts, judge_kept, judge_version
from securetune.evaluation_settings import EvaluateSettings, RubricSettings
from securetune.files import digest

PAIRS = [(f"request {i}", f"answer {i}\u2028 with a\nbreak") for i in range(10)]


@dataclass
class Counting:
    name: str = "counting"
    asked: list[str] = field(default_factory=list)
    fails_after: int | None = None

    def judge(self, prompt: str, answer: str) -> Verdict:
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise KeyboardInterrupt
        self.asked.append(answer)
        return Verdict(answer.startswith("answer 1"), True, "evidence")

    def judge_all(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        return [self.judge(*pair) for pair in pairs]


def test_nothing_is_judged_twice_until_answer_request_or_judge_changes(tmp_path: Path) -> None:
    path, judge = tmp_path / "judged.jsonl", Counting()
    first = judge_kept(judge, "v1", PAIRS, path)
    assert first == judge.judge_all(PAIRS) and len(judge.asked) == 20
    judge.asked.clear()
    assert judge_kept(judge, "v1", list(reversed(PAIRS)), path) == first[::-1]
    assert judge.asked == []
    changed = [(PAIRS[0][0], "another answer"), ("another request", PAIRS[1][1]), *PAIRS[2:]]
    judge_kept(judge, "v1", changed, path)
    assert judge.asked == ["another answer", PAIRS[1][1]]
    judge_kept(judge, "v2", PAIRS, path)
    assert len(judge.asked) == 12
    assert "answer 3" not in path.read_text() and "request" not in path.read_text()


def test_a_kill_keeps_the_verdicts_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_verdicts, "CHUNK", 2)
    path, judge = tmp_path / "judged.jsonl", Counting(fails_after=5)
    with pytest.raises(KeyboardInterrupt):
        judge_kept(judge, "v1", PAIRS, path)
    # The last line was being written.
    path.write_bytes(path.read_bytes()[:-7])
    again = Counting()
    assert judge_kept(again, "v1", PAIRS, path) == Counting().judge_all(PAIRS)
    assert again.asked == [answer for _, answer in PAIRS[3:]]
    last = Counting()
    judge_kept(last, "v1", PAIRS, path)
    assert last.asked == []


def test_without_a_version_nothing_is_kept(tmp_path: Path) -> None:
    path, judge = tmp_path / "judged.jsonl", Counting()
    for _ in range(2):
        judge_kept(judge, None, PAIRS, path)
    assert len(judge.asked) == 20 and not path.exists()


def test_versions_follow_the_model_that_judges() -> None:
    settings = EvaluateSettings(judges=("refusal-list-qi",))
    assert judge_version("refusal-list-qi", settings) is None and judge_version("rubric", settings) is None
    names = [CLASSIFIER, *GUARDS]
    versions = {judge_version(name, settings) for name in names}
    assert None not in versions and len(versions) == len(names)
    name = next(iter(GUARDS))
    moved = settings.model_copy(update={"guard_models": {name: "elsewhere"}})
    assert judge_version(name, moved) not in versions


def test_a_guard_on_this_machine_is_known_by_its_files_wherever_they_are(tmp_path: Path) -> None:
    def settings(directory: Path) -> EvaluateSettings:
        return EvaluateSettings(judges=("wildguard",), guard_models={"wildguard": str(directory)})

    def versions(directory: Path) -> tuple[object, ...]:
        own = settings(directory)
        return judge_version("wildguard", own), judge_facts("wildguard", own)["model"]

    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    for name in ("config.json", "model.safetensors", "chat_template.jinja", "README.md"):
        (here / name).write_text("first")
    first = versions(here)
    shutil.copytree(here, there)
    assert versions(there) == first
    (there / "README.md").write_text("other words")
    assert versions(there) == first
    found = {first}
    for name in ("config.json", "model.safetensors", "chat_template.jinja"):
        # As long as before: neither path nor size tells.
        (there / name).write_text("other")
        found.add(versions(there))
    assert len(found) == 4
    assert versions(tmp_path / "nowhere")[1] == str(tmp_path / "nowhere")


def test_what_verdicts_depend_on_is_recorded_for_every_judge_and_no_address_or_key() -> None:
    rubric = RubricSettings(base_url="https://me:secret@example.org:8000/v1", model="grader-1")
    settings = EvaluateSettings(judges=("rubric",), rubric=rubric)
    assert judge_facts("refusal-list-qi", settings) == {"rules": RULES}
    classifier = judge_facts(CLASSIFIER, settings)
    assert classifier == {"rules": RULES, "version": digest([CLASSIFIER, version(), RULES])}
    name = next(iter(GUARDS))
    assert judge_facts(name, settings)["model"] == GUARDS[name].model
    first = judge_facts("rubric", settings)
    assert first["model"] == "grader-1" and first["host"] == "example.org" and "secret" not in str(first)
    for change in ({"model": "grader-2"}, {"base_url": "https://example.com/v1"}):
        other = settings.model_copy(update={"rubric": rubric.model_copy(update=change)})
        assert judge_facts("rubric", other) != first


def test_rules_that_changed_have_a_new_version() -> None:
    """A digest that differs: if a verdict may differ now, raise `RULES`; then pin what is found here."""
    pinned = {2: "94119c1607a21d56"}
    files = ("verdict.py", "language.py", "phrases.py", "refusal_list.py")
    found = digest([(Path(judges.__file__).parent / name).read_text(encoding="utf-8") for name in files])
    assert {RULES: found} == {RULES: pinned.get(RULES)}
