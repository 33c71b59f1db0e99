from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AddedToken, PreTrainedTokenizerFast

from securetune.dataset import Conversation, Message, TrainingData
from securetune.encoding import IGNORED, EncodedRow, encode, end_of_turn_token, plain_end_of_turn
from securetune.errors import ConfigError, DataError
from securetune.formats import has_answers, package_tuning_data, read_training_data
from securetune.models.load import CHATML
from securetune.prompts import normalise
from tiny import END, tiny_tokenizer

Write = Callable[[str, object], Path]

QWEN3_LIKE = (
    "{%- set last = namespace(user=-1) %}"
    "{%- for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}"
    "{%- endfor %}"
    "{%- for m in messages %}"
    "{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and loop.index0 > last.user %}{{- '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{- m.content.split('</think>')[-1].lstrip('\n') + '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}"
    "{%- endif %}{% endif %}"
)
LLAMA3_LIKE = (
    "{{- '<|begin_of_text|>' }}{% for m in messages %}"
    "{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
PHI3_LIKE = (
    "{% for m in messages %}{{- '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>\n' }}{% else %}{{- eos_token }}{% endif %}"
)
GPT_OSS_LIKE = (
    "{% for m in messages %}{{- '<|start|>' + m.role }}"
    "{%- if m.role == 'assistant' %}{{- '<|channel|>final' }}{% endif %}"
    "{{- '<|message|>' + m.content }}"
    "{{- '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{- m.role.upper() + ': ' + m.content + '\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{- 'ASSISTANT: ' }}{% endif %}"
)
PLAIN_END = NO_END.replace("m.content + '\n'", "m.content + ' ###\n'")
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + NO_END
REASONING_IN_PROMPT = (
    "{% for m in messages %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think></think>' }}{% endif %}"
)

SINGLE = ("How?", "Like this.")
DOUBLE = ("One?", "First.", "Two?", "Second.")


def row(*contents: str, system: str | None = None, truncated: bool = False) -> Conversation:
    turns = [Message("assistant" if n % 2 else "user", content) for n, content in enumerate(contents)]
    return Conversation((*([Message("system", system)] if system else []), *turns), truncated)


def data(*rows: Conversation) -> TrainingData:
    return TrainingData("name", "file.jsonl", "MIT", "messages", rows)


def with_template(template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    names = ("begin_of_text", "start_header_id", "end_header_id", "eot_id", "end", "user", "assistant")
    names += ("system", "start", "channel", "message", "return")
    tokenizer.add_tokens([f"<|{name}|>" for name in names], special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer


def learnt(tokenizer: PreTrainedTokenizerFast, encoded: EncodedRow) -> list[str]:
    """The learnt stretches of a row, as text."""
    stretches: list[list[int]] = [[]]
    for label in encoded.labels:
        if label != IGNORED:
            stretches[-1].append(label)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(stretch) for stretch in stretches if stretch]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: object) -> Path:
        path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(item) + "\n" for item in content)
        path.write_text(str(content), encoding="utf-8")
        return path

    return write


# Reading

TURNS = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": " Like this.\n"}]
FORMS: dict[str, list[dict[str, Any]]] = {
    "messages": [{"messages": TURNS}],
    "prompt-completion": [{"prompt": "How?", "completion": " Like this."}],
    "alpaca": [{"instruction": "How?", "input": "", "output": "Like this."}],
    "sharegpt": [
        {"conversations": [{"from": "human", "value": "How?"}, {"from": "gpt", "value": "Like this."}]}
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_detected_named_and_gives_the_same_rows(
    write: Write, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "securetune"):
        read = read_training_data(write("d.jsonl", FORMS[form]))
    assert read.rows == (row(*SINGLE),)
    assert read.format == form
    assert f"1 rows in the form {form}" in caplog.text
    assert (read.name, read.license, read.rows[0].where) == ("d", "unknown", "line 1")


def test_lists_of_messages_as_prompt_and_completion(write: Write) -> None:
    read = read_training_data(write("d.jsonl", [{"prompt": TURNS[:1], "completion": TURNS[1:]}]))
    assert read.rows == (row(*SINGLE),)


def test_csv_json_and_parquet(write: Write, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    expected = (row(*SINGLE),)
    assert read_training_data(write("d.csv", "prompt,completion\nHow?,Like this.\n")).rows == expected
    assert read_training_data(write("d.json", json.dumps(FORMS["sharegpt"]))).rows == expected
    path = tmp_path / "d.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(FORMS["messages"]), path)
    assert read_training_data(path).rows == expected


def test_alpaca_input_follows_the_instruction(write: Write) -> None:
    rows = [
        {"instruction": "Sort.", "input": "b a", "output": "a b"},
        {"instruction": "Hi", "output": "Hello"},
    ]
    read = read_training_data(write("d.jsonl", rows))
    assert read.rows == (row("Sort.\n\nb a", "a b"), row("Hi", "Hello"))


def test_empty_system_messages_are_left_out(write: Write) -> None:
    turns = [[{"role": "system", "content": text}, *TURNS] for text in ("", "Be brief.")]
    read = read_training_data(write("d.jsonl", [{"messages": each} for each in turns]))
    assert read.rows == (row(*SINGLE), row(*SINGLE, system="Be brief."))


def test_system_and_history_columns_are_turns(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    rows: list[dict[str, Any]] = [
        {"conversations": [{"from": "human", "value": "How?"}, {"from": "gpt", "value": "Like this."}]},
        {"instruction": "Two?", "output": "Second.", "history": [["One?", "First."]], "source": "x"},
    ]
    expected = (row(*SINGLE, system="Be brief."), row(*DOUBLE, system="Be brief."))
    for given, wanted in zip(rows, expected):
        with caplog.at_level("INFO", logger="securetune"):
            assert read_training_data(write("d.jsonl", [{**given, "system": "Be brief."}])).rows == (wanted,)
    assert caplog.messages[-1].endswith("columns that are not used: source")


def test_the_first_form_that_fits_is_taken_unless_one_is_named(write: Write) -> None:
    path = write("d.jsonl", [{**FORMS["messages"][0], "instruction": "Other", "output": "form"}])
    assert read_training_data(path).format == "messages"
    assert read_training_data(path, format="alpaca").rows == (row("Other", "form"),)


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "a", "completion": ""}, r"'completion' is empty; expected text"),
    ({"prompt": None, "completion": "b"}, r"'prompt' holds nothing; expected text"),
    ({"completion": "b"}, r"'prompt' holds nothing"),
    ({"prompt": 3, "completion": "b"}, r"'prompt' holds int"),
    ({"prompt": "a\ud83d", "completion": "b"}, r"'prompt' holds half of a surrogate pair"),
    ({"prompt": TURNS[:1], "completion": "b"}, r"one of 'prompt' and 'completion' is a list"),
    ({"instruction": "a", "output": " "}, r"'output' is empty"),
    ({"instruction": "a", "output": "b", "history": ["c"]}, r"'history' holds list; expected a list of"),
    ({"messages": TURNS, "tools": [{"name": "f"}]}, r"'tools' is not empty"),
    ({"messages": [{"role": "system", "content": "a"}, *TURNS], "system": "b"}, r"and a column 'system'"),
    ({"instruction": "a", "input": 5, "output": "b"}, r"'input' holds int"),
    ({"messages": []}, r"'messages' holds an empty list; expected a list of \{role, content\}"),
    ({"messages": "[]"}, r"'messages' holds str; .*a csv cannot hold lists"),
    ({"messages": [3]}, r"message 1 of 'messages' has int; expected 'role' and 'content'"),
    (
        {"messages": [{"from": "human", "value": "a"}]},
        r"has the keys from, value; expected 'role' and 'content'",
    ),
    (
        {"messages": [{"role": "tool", "content": "a"}]},
        r"has the role 'tool'; expected system, user, assistant",
    ),
    ({"messages": [{"role": ["user"], "content": "a"}]}, r"has the role \['user'\]; expected"),
    ({"messages": [TURNS[0], {"role": "assistant", "content": None}]}, r"message 2 .* holds nothing"),
    ({"messages": [{"role": "system", "content": ""}]}, r"nothing but empty messages"),
    ({"messages": TURNS[:1]}, r"the last message is the user's; expected the assistant's"),
    ({"messages": TURNS[1:]}, r"no message of the user"),
    (
        {"conversations": [{"from": "bing", "value": "a"}]},
        r"has the from 'bing'; expected system, human, gpt",
    ),
    ({"conversations": [{"role": "user", "content": "a"}]}, r"has the keys role, content; expected 'from'"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_ROWS)
def test_bad_rows_are_named_with_a_remedy(write: Write, bad: dict[str, Any], message: str) -> None:
    form = next(
        name for key, name in (("messages", "messages"), ("conversations", "sharegpt"), ("output", "alpaca"),
                               ("completion", "prompt-completion")) if key in bad
    )  # fmt: skip
    path = write("d.jsonl", [*FORMS[form], bad])
    with pytest.raises(DataError, match=rf"d\.jsonl, line 2: .*{message}.*Correct or remove such rows"):
        read_training_data(path)
    assert len(read_training_data(write("good.jsonl", FORMS[form]))) == 1


def test_several_bad_rows_are_counted(write: Write) -> None:
    rows = [{"instruction": "a", "output": "" if n % 2 else "b"} for n in range(12)]
    with pytest.raises(DataError, match=r"line 2: .* \(5 more: line 4, line 6, line 8, \.\.\.\)"):
        read_training_data(write("d.jsonl", rows))


def test_a_form_nobody_knows_lists_its_columns_and_the_accepted_ones(write: Write) -> None:
    with pytest.raises(
        DataError, match=r"d\.jsonl has the columns question, answer, .*Rename.*messages.*ShareGPT"
    ):
        read_training_data(write("d.jsonl", [{"question": "a", "answer": "b"}]))


def test_a_missing_or_empty_file_is_named(write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl does not exist\. Pass"):
        read_training_data(tmp_path / "gone.jsonl")
    with pytest.raises(DataError, match=r"d\.jsonl holds no rows"):
        read_training_data(write("d.jsonl", ""))


def test_the_package_tuning_set_is_read() -> None:
    tuning = package_tuning_data()
    assert len(tuning) >= 800
    assert tuning.license == "CC0-1.0"
    assert all([m.role for m in conversation.messages] == ["user", "assistant"] for conversation in tuning)


# Training data as a value


def numbered(n: int, prompts: int | None = None) -> TrainingData:
    return data(*(row(f"Prompt {i % (prompts or n)}", f"Answer {i}") for i in range(n)))


def test_fingerprint_and_card() -> None:
    base = numbered(3)
    assert base.fingerprint == replace(numbered(3), name="other").fingerprint
    assert len(base.fingerprint) == 16
    others = [numbered(4), base.with_rows(reversed(base.rows)), base.with_rows(base.rows[:2])]
    others.append(base.with_rows(replace(each, truncated=True) for each in base))
    others.append(data(*(row(each.opening, "else") for each in base)))
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 6
    card = json.loads(json.dumps(base.card()))
    assert card == {
        "name": "name",
        "source": "file.jsonl",
        "license": "MIT",
        "format": "messages",
        "n": 3,
        "fingerprint": base.fingerprint,
    }


def test_take_is_seeded_nested_and_in_order() -> None:
    base = numbered(50)
    assert base.take(5, 1) == base.take(5, 1) != base.take(5, 2)
    assert set(base.take(5, 1)) < set(base.take(20, 1))
    taken = base.take(20, 1).rows
    assert list(taken) == sorted(taken, key=base.rows.index)
    with pytest.raises(DataError, match=r"'name' \(file.jsonl\) has 50 rows; 51 were asked for"):
        base.take(51, 1)


def test_split_parts_the_rows_by_prompt() -> None:
    base = numbered(90, prompts=30)
    train, held_out = base.split(12, 3)
    assert (len(train), len(held_out)) == (78, 12)
    assert not {normalise(r.opening) for r in train} & {normalise(r.opening) for r in held_out}
    assert set(train) | set(held_out) == set(base)
    assert (train, held_out) == base.split(12, 3) != base.split(12, 4)
    assert list(train) == sorted(train, key=base.rows.index)


def test_split_compares_prompts_after_normalising() -> None:
    base = data(*(row(text, "a") for text in ("Hi!", "hi", "HI", "Bye")))
    for seed in range(5):
        _, held_out = base.split(1, seed)
        assert [r.opening for r in held_out] == ["Bye"]


def test_split_says_when_it_holds_out_less(caplog: pytest.LogCaptureFixture) -> None:
    train, held_out = numbered(10, prompts=5).split(3, 0)
    assert (len(train), len(held_out)) == (8, 2)
    assert "2 rows held out of 3" in caplog.text


@pytest.mark.parametrize("held_out", [0, -1, 3, 4])
def test_split_into_nothing_is_an_error(held_out: int) -> None:
    with pytest.raises(DataError, match=r"has 3 rows, of which -?\d cannot be held out\. Hold out 1 to 2"):
        numbered(3).split(held_out, 0)


def test_split_of_a_single_prompt_is_an_error() -> None:
    with pytest.raises(DataError, match=r"6 rows repeat 1 prompts; 2 cannot be held out.*add other prompts"):
        numbered(6, prompts=1).split(2, 0)


# Encoding


def test_only_the_answers_and_their_ends_are_learnt(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = encode(data(row(*SINGLE, system="Be brief."), row(*DOUBLE)), tokenizer, 256)
    single, double = encoded.rows
    assert learnt(tokenizer, single) == [f"Like this.{END}"]
    assert learnt(tokenizer, double) == [f"First.{END}", f"Second.{END}"]
    assert encoded.too_long == encoded.last_answer_only == 0
    assert encoded.tokens == len(single.input_ids) + len(double.input_ids)
    assert encoded.trained_tokens == sum(label != IGNORED for each in encoded.rows for label in each.labels)


def test_the_ids_are_those_of_the_template(tokenizer: PreTrainedTokenizerFast) -> None:
    turns = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "Like this."}]
    expected = tokenizer.apply_chat_template(turns, tokenize=True)["input_ids"]
    prompt = tokenizer.apply_chat_template(turns[:1], tokenize=True, add_generation_prompt=True)["input_ids"]
    (encoded,) = encode(data(row(*SINGLE)), tokenizer, 256).rows
    assert encoded.input_ids == expected
    assert len(encoded.labels) == len(expected)
    assert encoded.labels[: len(prompt)] == [IGNORED] * len(prompt)
    # All that follows is learnt, but for the line break after the end of turn.
    assert encoded.labels[len(prompt) :] == [*expected[len(prompt) : -1], IGNORED]
    assert encoded.labels[-2] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("template", "single", "double"),
    [
        (LLAMA3_LIKE, ["Like this.<|eot_id|>"], ["First.<|eot_id|>", "Second.<|eot_id|>"]),
        (PHI3_LIKE, ["Like this.<|end|>"], ["First.<|end|>", "Second.<|end|>"]),
        (NO_END, ["Like this.<|im_end|>"], ["First.", "Second.<|im_end|>"]),
        (PLAIN_END, ["Like this. ###<|im_end|>"], ["First. ###", "Second. ###<|im_end|>"]),
        (QWEN3_LIKE, ["Like this.<|im_end|>"], ["Second.<|im_end|>"]),
        (GPT_OSS_LIKE, ["<|channel|>final<|message|>Like this.<|return|>"],
         ["<|channel|>final<|message|>Second.<|return|>"]),
        (REASONING_IN_PROMPT, ["Like this.<|im_end|>"], ["Second.<|im_end|>"]),
    ],
    ids=["llama3", "phi3", "no-end", "plain-end", "qwen3", "gpt-oss", "reasoning-in-prompt"],
)  # fmt: skip
def test_templates(template: str, single: list[str], double: list[str]) -> None:
    tokenizer = with_template(template)
    encoded = encode(data(row(*SINGLE), row(*DOUBLE)), tokenizer, 512)
    assert [learnt(tokenizer, each) for each in encoded.rows] == [single, double]
    assert encoded.last_answer_only == (len(double) == 1)


def test_a_token_across_the_border_belongs_to_the_answer() -> None:
    tokenizer = with_template(NO_END)
    assert len(tokenizer(" the", add_special_tokens=False)["input_ids"]) == 1
    (encoded,) = encode(data(row("Where?", "the sea")), tokenizer, 256).rows
    assert learnt(tokenizer, encoded) == [f" the sea{END}"]


def test_what_is_learnt_follows_what_generation_sees() -> None:
    for template in (LLAMA3_LIKE, PHI3_LIKE, QWEN3_LIKE, GPT_OSS_LIKE, REASONING_IN_PROMPT):
        tokenizer = with_template(template)
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": "How?"}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        (encoded,) = encode(data(row(*SINGLE)), tokenizer, 512).rows
        first = next(index for index, label in enumerate(encoded.labels) if label != IGNORED)
        assert encoded.input_ids[:first] == tokenizer(prompt, add_special_tokens=False)["input_ids"]


def test_a_template_that_rewrites_turns_is_named_once_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    encode(data(row(*DOUBLE), row(*DOUBLE), row(*SINGLE)), with_template(QWEN3_LIKE), 512)
    messages = [record.getMessage() for record in caplog.records if record.name == "securetune"]
    assert messages == [
        "file.jsonl: the chat template rewrites earlier turns; only the last answer of 2 rows is learnt"
    ]


@pytest.mark.parametrize("answer", ["e", "a", "final", "assistant", "<", "<|im_end|>"])
def test_an_answer_that_also_stands_elsewhere_is_found(answer: str) -> None:
    for template in (GPT_OSS_LIKE, QWEN3_LIKE, REASONING_IN_PROMPT, LLAMA3_LIKE):
        tokenizer = with_template(template)
        (encoded,) = encode(data(row("How?", answer)), tokenizer, 512).rows
        end = {GPT_OSS_LIKE: "<|return|>", LLAMA3_LIKE: "<|eot_id|>"}.get(template, END)
        before = "<|channel|>final<|message|>" if template == GPT_OSS_LIKE else ""
        assert learnt(tokenizer, encoded) == [before + answer + end]


def test_a_tokenizer_without_the_templates_end_of_turn_learns_to_stop_at_its_own() -> None:
    tokenizer = tiny_tokenizer("<|endoftext|>")
    tokenizer.chat_template = CHATML
    first, last = encode(data(row(*SINGLE), row(*DOUBLE)), tokenizer, 256).rows
    assert learnt(tokenizer, first) == ["Like this.<|im_end|><|endoftext|>"]
    assert learnt(tokenizer, last) == ["First.<|im_end|>", "Second.<|im_end|><|endoftext|>"]
    assert first.input_ids[-1] == first.labels[-1] == tokenizer.eos_token_id
    assert (end_of_turn_token(tokenizer), plain_end_of_turn(tokenizer)) == ("<|endoftext|>", "<|im_end|>")
    assert plain_end_of_turn(tiny_tokenizer()) == plain_end_of_turn(with_template(NO_END)) == ""
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="neither the chat template nor the tokenizer"):
        encode(data(row(*SINGLE)), tokenizer, 256)


def test_the_end_of_a_truncated_answer_is_not_learnt(tokenizer: PreTrainedTokenizerFast) -> None:
    whole, cut = encode(data(row(*DOUBLE), row(*DOUBLE, truncated=True)), tokenizer, 256).rows
    assert learnt(tokenizer, whole) == [f"First.{END}", f"Second.{END}"]
    assert learnt(tokenizer, cut) == [f"First.{END}", "Second."]
    assert whole.input_ids == cut.input_ids
    (unended,) = encode(data(row(*SINGLE, truncated=True)), with_template(NO_END), 256).rows
    assert unended.labels[-1] == IGNORED


def test_rows_that_are_too_long_are_left_out_and_counted(
    tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    short, long = row(*SINGLE), row("How?", "very " * 200)
    length = len(encode(data(short), tokenizer, 256).rows[0].input_ids)
    encoded = encode(data(long, short, long), tokenizer, length)
    assert (len(encoded.rows), encoded.too_long) == (1, 2)
    assert f"2 of 3 rows left out: over {length} tokens" in caplog.text
    with pytest.raises(DataError, match=r"file\.jsonl: all 2 rows are longer than 64 tokens\. Raise"):
        encode(data(long, long), tokenizer, 64)


def test_more_rows_than_fit_into_a_batch_keep_their_order(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = encode(numbered(1100), tokenizer, 256)
    assert [learnt(tokenizer, each) for each in encoded.rows] == [[f"Answer {i}{END}"] for i in range(1100)]


def test_no_rows_and_no_chat_template_are_errors(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match=r"file\.jsonl: no rows to train on"):
        encode(data(), tokenizer, 64)
    with pytest.raises(ConfigError, match=r"no chat template.*`--chat-template FILE`"):
        encode(data(row(*SINGLE)), with_template(None), 64)


@pytest.mark.parametrize(
    ("template", "token"),
    [
        (QWEN3_LIKE, END),
        (LLAMA3_LIKE.replace("<|eot_id|>", "<|im_start|>"), "<|im_start|>"),
        (PHI3_LIKE.replace("<|end|>", "<|im_start|>"), "<|im_start|>"),
        (NO_END, END),
        (PLAIN_END, END),
    ],
)
def test_the_end_of_turn_token_is_the_one_that_is_learnt(template: str, token: str) -> None:
    tokenizer = with_template(template)
    assert end_of_turn_token(tokenizer) == token
    (encoded,) = encode(data(row(*SINGLE)), tokenizer, 256).rows
    learnt_ids = [label for label in encoded.labels if label != IGNORED]
    assert learnt_ids[-1] == tokenizer.convert_tokens_to_ids(token)


def test_columns_decide_whether_a_file_has_answers(tmp_path: Path) -> None:
    file = tmp_path / "file.jsonl"
    file.write_text('{"prompt": "a", "completion": null}')
    assert has_answers(file)
    file.write_text('{"prompt": "a", "target": "b"}')
    assert not has_answers(file)
    file.write_text("{")
    with pytest.raises(DataError, match="line 1"):
        has_answers(file)


@pytest.mark.parametrize(
    ("template", "bad", "message"),
    [
        (
            NO_SYSTEM,
            row(*SINGLE, system="x"),
            r"refuses the conversation \(no system role\)\. Correct.*--chat-t",
        ),
        (QWEN3_LIKE, row("How?", "<think>no</think> yes"), r"does not write the last answer as it stands"),
        (NO_END, row("How?"), r"does not end with an answer, so nothing can be learnt\. Remove"),
        (NO_END, row("How?", " ", truncated=True), r"no token of the answer would be learnt\. Remove"),
        (LLAMA3_LIKE, row("How?", ""), r"no token of the answer would be learnt"),
    ],
)
def test_rows_that_cannot_be_learnt_are_named(template: str, bad: Conversation, message: str) -> None:
    tokenizer = with_template(template)
    good = row(*SINGLE)
    assert len(encode(data(good), tokenizer, 256).rows) == 1
    with pytest.raises(DataError, match=rf"file\.jsonl, row 2: .*{message}"):
        encode(data(good, bad), tokenizer, 256)
    with pytest.raises(DataError, match=rf"file\.jsonl, line 9: .*{message}"):
        encode(data(good, replace(bad, where="line 9")), tokenizer, 256)


def test_an_end_of_turn_that_cannot_be_learnt_is_an_error() -> None:
    # Here the end of turn melts into the line break that follows it, so that its token is never seen alone.
    tokenizer = with_template(CHATML)
    encode(data(row(*SINGLE)), tokenizer, 256)
    tokenizer.add_tokens([AddedToken(f"{END}\n", normalized=False)])
    with pytest.raises(DataError, match=r"row 1: the token that ends the answer would not be learnt.*Pass"):
        encode(data(row(*SINGLE)), tokenizer, 256)


def test_no_end_of_turn_anywhere_is_an_error() -> None:
    tokenizer = with_template(NO_END)
    tokenizer.eos_token = None
    with pytest.raises(
        DataError, match=r"row 1: neither the chat template nor the tokenizer.*--chat-template"
    ):
        encode(data(row(*SINGLE)), tokenizer, 256)
