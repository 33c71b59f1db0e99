"""What whole evaluations and files of answers cost at an endpoint, and what is left when it goes away."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from endpoint import answering, free_port, reply, settings
from securetune.errors import DataError
from securetune.evaluation.evaluate import Evaluation, Suite, evaluate
from securetune.evaluation.generate import Response
from securetune.evaluation.judge_check import LabelledAnswer, check
from securetune.evaluation.judge_file import judge_file
from securetune.evaluation.judges.rubric import EndpointError, RubricJudge
from securetune.evaluation_settings import EvaluateSettings, RubricSettings
from securetune.files import write_json, write_text
from securetune.prompts import Prompt, PromptSet

Handler = Callable[[BaseHTTPRequestHandler, int], None]
ANSWERS = [f"First mix {number} eggs with flour, then bake it." for number in range(6)]
PAIRS = [("How?", answer) for answer in ANSWERS]


def good(handler: BaseHTTPRequestHandler, number: int) -> None:
    reply(handler, 200)


@pytest.mark.parametrize(
    "url",
    [
        "foo",
        "",
        "localhost:8000/v1",
        "ftp://localhost/v1",
        "http:///v1",
        "http://a:port/v1",
        "http://a:99999/v1",
        "http://[::1/v1",
        "http://a b/v1",
        "http://a..b/v1",
    ],
)
def test_what_is_no_address_is_an_error_before_anything_is_judged(url: str, tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match=r"expected http:// or https:// and a host"):
        RubricJudge(settings(url, "m"), tmp_path)


def test_an_address_where_nobody_answers_is_an_error(tmp_path: Path) -> None:
    judge = RubricJudge(settings(f"http://127.0.0.1:{free_port()}/v1", "m"), tmp_path)
    with pytest.raises(EndpointError, match=r"Nobody answers at .*Check that the server runs"):
        judge.judge_all(PAIRS)


def hangs_up(handler: BaseHTTPRequestHandler, number: int) -> None:
    handler.close_connection = True


def test_a_server_that_always_hangs_up_is_an_error_after_one_answer(tmp_path: Path) -> None:
    with answering(hangs_up) as (address, asked), pytest.raises(EndpointError, match="Nobody answers"):
        RubricJudge(settings(address, "m"), tmp_path).judge_all(PAIRS)
    assert len(asked) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_under_load_leaves_answers_unscored_and_says_how_many(
    status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(lambda handler, number: reply(handler, status)) as (address, _):
        said = RubricJudge(settings(address, "m", retries=0), tmp_path).judge_all([*PAIRS, ("How?", "")])
    assert {one.unscored for one in said[:-1]} == {f"no reply from the endpoint (HTTPError {status})"}
    assert "rubric: 6 of 7 answers got no reply" in caplog.text


def test_equal_answers_are_sent_once_and_all_get_the_verdict(tmp_path: Path) -> None:
    with answering(good) as (address, asked):
        judge = RubricJudge(settings(address, "m", workers=8), tmp_path)
        again = [("How?", f" {answer}\n") for answer in ANSWERS]
        said = judge.judge_all([*PAIRS * 20, *again])
        assert len(asked) == len(PAIRS)
    assert [one.score for one in said] == [4] * 126


def test_threads_may_write_one_file_at_the_same_time(tmp_path: Path) -> None:
    failed: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(200):
                write_json(tmp_path / "reply.json", {"reply": "x" * 1000})
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and [path.name for path in tmp_path.iterdir()] == ["reply.json"]


def test_the_estimate_is_of_what_is_sent(tmp_path: Path) -> None:
    pairs = [
        ("How?", "<think>Hm.</think> Mix it."),
        ("How?", "Mix it. "),
        ("How?", ""),
        ("How?", "<think>Hm"),
    ]
    with answering(good) as (address, asked):
        judge = RubricJudge(settings(address, "m"), tmp_path)
        before = judge.estimate(pairs)
        judge.judge_all(pairs)
        assert before.startswith("rubric: 1 requests to m (0 in the cache)") and len(asked) == 1
    alone = RubricJudge(settings(address, "m"), tmp_path / "other").estimate(pairs[1:2])
    assert alone == before
    assert judge.estimate(pairs).startswith("rubric: 0 requests to m (1 in the cache)")


def test_half_of_a_surrogate_pair_is_graded(tmp_path: Path) -> None:
    with answering(good) as (address, asked):
        judge = RubricJudge(settings(address, "m"), tmp_path)
        said = judge.judge_all([("How\ud83d?", "Mix it."), ("How?", "Mix \ud83d it.")])
        assert [one.score for one in said] == [4, 4] and len(asked) == 2


def logging_at_requests(caplog: pytest.LogCaptureFixture) -> tuple[list[str], Handler]:
    """What was logged when each request came, and who answers it."""
    caplog.set_level(logging.INFO, "securetune")
    logged: list[str] = []

    def handle(handler: BaseHTTPRequestHandler, number: int) -> None:
        logged.append(caplog.text)
        good(handler, number)

    return logged, handle


def test_files_of_answers_are_estimated_before_the_first_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logged, handle = logging_at_requests(caplog)
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": p, "completion": a}) for p, a in PAIRS))
    with answering(handle) as (address, _):
        judge_file(str(path), [RubricJudge(settings(address, "m"), tmp_path / "1")])
        assert "rubric: 6 requests to m (0 in the cache)" in logged[0]
        caplog.clear()
        logged.clear()
        check(RubricJudge(settings(address, "m"), tmp_path / "2"), [LabelledAnswer(*PAIRS[0], "refusal")])
        assert "rubric: 1 requests to m (0 in the cache)" in logged[0]


def suite(name: str, answers: Sequence[str], directory: Path) -> Suite:
    prompts = [Prompt(f"{name}{number}", f"{name} {number}?", True) for number in range(len(answers))]
    rows = [Response(prompt.id, answer, 9, True) for prompt, answer in zip(prompts, answers)]
    lines = [json.dumps(asdict(row)) for row in rows]
    write_text(directory / name / "responses.jsonl", "\n".join(lines) + "\n")
    return Suite(name, PromptSet(name, name, "CC0-1.0", tuple(prompts)))


def nothing() -> Any:
    raise AssertionError("everything is answered")


def run(suites: Sequence[Suite], rubric: RubricSettings, directory: Path, **more: Any) -> Evaluation:
    chosen = EvaluateSettings(judges=("rubric",), rubric=rubric, **more)
    return evaluate(nothing, "start", None, suites, [], chosen, directory)


def test_the_cost_of_all_suites_of_a_model_is_one_sum_before_the_first_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURETUNE_CACHE", str(tmp_path / "cache"))
    logged, handle = logging_at_requests(caplog)
    out = tmp_path / "out"
    suites = [suite("one", ANSWERS[:2], out), suite("two", ANSWERS[2:], out)]
    with answering(handle) as (address, asked):
        run(suites, settings(address, "m"), out)
        assert len(asked) == 6
    assert "rubric: 6 requests to m (0 in the cache)" in logged[0]
    assert caplog.text.count("requests to m") == 1


def unscored(directory: Path) -> list[str | None]:
    lines = (directory / "one" / "verdicts.rubric.jsonl").read_text().splitlines()
    return [json.loads(line)["unscored"] for line in lines]


def test_a_verdict_outlives_the_endpoint_and_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    suites = [suite("one", ANSWERS, out)]

    def handle(handler: BaseHTTPRequestHandler, number: int) -> None:
        reply(handler, 503 if number in (2, 3) else 200)

    monkeypatch.setenv("SECURETUNE_CACHE", str(tmp_path / "first"))
    with answering(handle) as (address, asked):
        run(suites, settings(address, "m", retries=0, workers=1), out)
        first = unscored(out)
        assert len(asked) == 6 and sum(one is not None for one in first) == 2
    monkeypatch.setenv("SECURETUNE_CACHE", str(tmp_path / "second"))
    with answering(lambda handler, number: reply(handler, 503)) as (address, asked):
        run(suites, settings(address, "m", retries=0, workers=1), out)
        assert unscored(out) == first and len(asked) == 2, "only what is missing is asked for"
    with answering(good) as (address, _):
        whole = run(suites, settings(address, "m"), out)
    assert unscored(out) == [None] * 6
    nowhere = settings(f"http://127.0.0.1:{free_port()}/v1", "m")
    assert run(suites, nowhere, out) == whole
    with pytest.raises(EndpointError, match="Nobody answers"):
        run(suites, nowhere.model_copy(update={"model": "another"}), out)
    assert unscored(out) == [None] * 6


def test_texts_stay_until_every_judge_has_had_a_reply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURETUNE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    suites = [suite("one", ANSWERS[:2], out), suite("two", ANSWERS[2:], out)]

    def texts(name: str) -> set[bool]:
        lines = (out / name / "responses.jsonl").read_text().splitlines()
        return {bool(json.loads(line)["text"]) for line in lines}

    def handle(handler: BaseHTTPRequestHandler, number: int) -> None:
        reply(handler, 503 if number == 2 else 200)

    with answering(handle) as (address, _):
        run(suites, settings(address, "m", retries=0, workers=1), out, store_text=False)
        assert (texts("one"), texts("two")) == ({True}, {False})
        assert f"{out / 'one' / 'responses.jsonl'}: the texts are kept" in caplog.text
        run(suites, settings(address, "m", retries=0, workers=1), out, store_text=False)
    assert unscored(out) == [None] * 2
    assert (texts("one"), texts("two")) == ({False}, {False})
    # Without texts nobody else can judge, and the verdicts are not another grader's.
    with pytest.raises(DataError, match=r"rubric is another one now \(model: m -> other\).*--redo"):
        run(suites, settings(address, "other"), out, store_text=False)
