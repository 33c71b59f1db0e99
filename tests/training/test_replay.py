from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from securetune.config import StrategySettings
from securetune.encoding import EncodedData, EncodedRow
from securetune.errors import DataError
from securetune.evaluation.generate import Decoding
from securetune.evaluation.judges import DEFAULT_LIST, JUDGES
from securetune.models.load import load_model
from securetune.overlap import overlap
from securetune.prompt_files import package_prompts
from securetune.training.replay import mix_rows, own_refusals, package_refusals


def rows(n: int, first: int) -> EncodedData:
    """`n` different rows that begin with the token `first`."""
    made = [EncodedRow([first, 100 + i], [-100, 100 + i]) for i in range(n)]
    return EncodedData((), 0, 0, 0, 0).with_rows(made)


@pytest.mark.parametrize(
    ("n", "share", "expected"), [(240, 0.05, 12), (10, 0.05, 1), (100, 0.5, 50), (1000, 0.05, 50)]
)
def test_a_share_of_the_rows_is_replaced_and_their_number_stays(n: int, share: float, expected: int) -> None:
    data = rows(n, 1)
    mixed, (count,) = mix_rows(data, [(rows(7, 2), share)], 0)
    replaced = [row for row in mixed.rows if row.input_ids[0] == 2]
    assert (len(mixed.rows), count, len(replaced)) == (n, expected, expected)
    assert (mixed.tokens, mixed.trained_tokens) == (2 * n, n)
    kept = [row for row in mixed.rows if row.input_ids[0] == 1]
    assert kept == [row for row in data.rows if row in kept], "the other rows keep their order"
    assert mix_rows(data, [(rows(7, 2), share)], 0)[0].rows == mixed.rows
    assert mix_rows(data, [(rows(7, 2), share)], 1)[0].rows != mixed.rows


def test_the_default_share_is_five_percent_and_its_prompts_are_never_evaluated() -> None:
    assert StrategySettings().replay_share == 0.05
    harmful, evaluated = package_prompts("probe").harmful, package_prompts("evaluation")
    assert all(prompt.harmful for prompt in harmful)
    for part in evaluated:
        assert not overlap(part, harmful, near=True)
    assert overlap(harmful, harmful), "the comparison finds what is shared"


def test_reasoning_is_not_replayed(tmp_path: Path) -> None:
    prompts = list(package_prompts("probe").harmful)[:3]
    texts = ["<think>Harm.</think>\n\nI'm sorry, no.", "<think>I'm sorry, but", "I'm sorry, I can't."]
    path = tmp_path / "responses.jsonl"
    path.write_text(
        "".join(
            json.dumps({"prompt_id": p.id, "text": text, "tokens": 9, "ended": True}) + "\n"
            for p, text in zip(prompts, texts)
        )
    )
    found = own_refusals(lambda: (None, None), prompts, Decoding(12, 12), path)
    assert [row.messages[-1].content for row in found] == ["I'm sorry, no.", "I'm sorry, I can't."]


def test_replay_uses_the_start_models_own_refusals(
    chat_model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "securetune")
    # The command line, which other tests call, cuts our log off.
    monkeypatch.setattr(logging.getLogger("securetune"), "propagate", True)
    prompts = list(package_prompts("probe").harmful)[:12]
    path = tmp_path / "responses.jsonl"
    found = own_refusals(lambda: load_model(str(chat_model)), prompts, Decoding(12, 12), path)
    assert len(found) >= 8
    assert all("sorry" in row.messages[-1].content for row in found)

    def unneeded() -> tuple[Any, Any]:
        raise AssertionError("the answers are there; no model is needed")

    assert own_refusals(unneeded, prompts, Decoding(12, 12), path) == found
    # Where a handler is reached over two ways, one record comes twice.
    said = [record.getMessage() for record in {id(record): record for record in caplog.records}.values()]
    assert said.count(f"self-replay: the start model refuses {len(found)} of 12 prompts") == 1


def test_a_model_that_never_refuses_has_nothing_to_replay(
    tiny_model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    prompts = list(package_prompts("probe").harmful)[:3]
    with pytest.raises(DataError, match="securetune align"):
        own_refusals(lambda: (tiny_model, tokenizer), prompts, Decoding(4, 4), tmp_path / "r.jsonl")


def test_several_pools_never_replace_the_same_row() -> None:
    mixed, counts = mix_rows(rows(40, 1), [(rows(3, 2), 0.5), (rows(5, 3), 0.25)], 0)
    firsts = [row.input_ids[0] for row in mixed.rows]
    assert counts == [20, 10] == [firsts.count(2), firsts.count(3)] and firsts.count(1) == 10
    assert mix_rows(rows(40, 1), [], 0) == (rows(40, 1), [])


def test_mixing_what_is_not_there_or_leaves_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="1 of a pool of 0"):
        mix_rows(rows(10, 1), [(rows(0, 2), 0.1)], 0)
    with pytest.raises(DataError, match="smaller shares"):
        mix_rows(rows(10, 1), [(rows(5, 2), 0.5), (rows(5, 3), 0.5)], 0)


def test_the_refusals_of_replay_are_refusals_by_every_list() -> None:
    prompts = list(package_prompts("probe").harmful)
    found = package_refusals(prompts, 0)
    assert [row.opening for row in found] == [prompt.text for prompt in prompts]
    texts = [row.messages[-1].content for row in found]
    refused = [JUDGES[DEFAULT_LIST].judge("", text).refused for text in texts]
    assert sum(map(bool, refused)) >= 0.8 * len(texts)
    assert package_refusals(prompts, 0) == found != package_refusals(prompts, 1)
