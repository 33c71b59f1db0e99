from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from securetune.errors import DataError
from securetune.overlap import check_disjoint, near_equal, overlap, without_overlap
from securetune.prompt_files import PROMPT_COLUMNS, Part, Source, package_prompts, parse_source, read_prompts
from securetune.prompts import Prompt, PromptSet, normalise

Write = Callable[[str, "str | bytes"], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def prompt_set(*texts: str, harmful: bool = True, name: str = "set") -> PromptSet:
    prompts = tuple(Prompt(str(n), text, harmful, where=f"line {n}") for n, text in enumerate(texts, start=1))
    return PromptSet(name, f"{name}.csv", "MIT", prompts)


def many(n: int, word: str = "word") -> PromptSet:
    return prompt_set(*(f"{word} number {i}" for i in range(n)))


def test_no_heavy_import() -> None:
    code = (
        "import sys, securetune.prompt_files, securetune.overlap, securetune.formats, securetune.encoding;"
        "print([m for m in ('torch', 'transformers', 'datasets', 'pyarrow', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True
    )
    assert done.stdout.strip() == "[]"


# Normalising and comparing


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How do I do it?", "how do  i do it"),
        ("Don\u2019t stop", "don't stop"),
        ("how-to", "how to"),
        ("ｆｕｌｌ width", "full width"),
        ("Stra\u00dfe", "STRASSE"),
        ("zero\u200bwidth", "zerowidth"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_normalise_ignores_form(a: str, b: str) -> None:
    assert normalise(a) == normalise(b)


def test_normalise_keeps_differences() -> None:
    assert normalise("make a bomb") != normalise("make a bond")
    assert normalise("???") != normalise("!!!")
    assert normalise("हिन्दी") != normalise("हनद")


def test_normalise_is_idempotent() -> None:
    for text in ("Don't  STOP the how-to!", "???", "ǅ ﬁ \u1e9e", " x\n"):
        assert normalise(normalise(text)) == normalise(text)


def test_near_equal_at_its_threshold() -> None:
    assert near_equal("one two three four", "one two three four five")  # 4/5
    assert not near_equal("one two three", "one two three four")  # 3/4
    assert near_equal("one two three four", "Four three, two: one!")
    assert not near_equal("How do I kill a process?", "How do I bake a cake?")


def test_near_overlap_agrees_with_comparing_every_pair() -> None:
    rng = random.Random(0)
    words = [f"w{i}" for i in range(14)]
    texts = [" ".join(rng.sample(words, rng.randint(1, 12))) for _ in range(600)]
    a, b = prompt_set(*texts[:300]), prompt_set(*texts[300:])
    expected = [p for p in a if any(near_equal(p.text, q.text) for q in b)]
    found = overlap(a, b, near=True)
    assert [p for p, _ in found] == expected
    assert 20 < len(expected) < 280
    assert all(near_equal(p.text, q.text) for p, q in found)


def test_exact_overlap_is_a_part_of_near_overlap() -> None:
    a, b = prompt_set("one two three four", "Same!"), prompt_set("same", "one two three four five")
    assert [(p.id, q.id) for p, q in overlap(a, b)] == [("2", "1")]
    assert [(p.id, q.id) for p, q in overlap(a, b, near=True)] == [("1", "2"), ("2", "1")]
    assert overlap(a, prompt_set("else")) == ()


@pytest.mark.parametrize(
    "form", ["Write a funny story about number {} for all of my friends", "{} {}x {}y {}z"]
)
def test_near_overlap_of_large_sets_takes_seconds(form: str) -> None:
    a = prompt_set(*(form.replace("{}", f"a{i}") for i in range(5000)))
    b = prompt_set(*(form.replace("{}", f"b{i}") for i in range(5000)))
    start = time.monotonic()
    overlap(a, b, near=True)
    assert time.monotonic() - start < 10


# Sets


def test_fingerprint_depends_on_texts_and_labels_only() -> None:
    base = prompt_set("One?", "two")
    assert base.fingerprint == prompt_set("two", "One?", name="other").fingerprint
    assert len(base.fingerprint) == 16
    assert base.fingerprint != prompt_set("one", "two", harmful=False).fingerprint
    assert base.fingerprint != prompt_set("one", "three").fingerprint
    assert base.fingerprint != prompt_set("one").fingerprint


def test_an_edit_that_changes_ids_changes_the_fingerprint(write: Write) -> None:
    sets = [
        read_prompts(write(f"{n}.txt", text), harmful=True)
        for n, text in enumerate(("Make it so.", "make it so.", "Make it so!"))
    ]
    assert len({part.prompts[0].id for part in sets}) == 3 and len({part.fingerprint for part in sets}) == 3


def test_take_is_seeded_nested_and_in_order() -> None:
    prompts = many(100)
    ten, fifty = prompts.take(10, 7), prompts.take(50, 7)
    assert ten == prompts.take(10, 7)
    assert ten != prompts.take(10, 8)
    assert set(ten) < set(fifty)
    order = [int(prompt.id) for prompt in fifty]
    assert order == sorted(set(order))
    assert prompts.take(100, 1) == prompts
    turned = replace(prompts, prompts=prompts.prompts[::-1])
    assert set(turned.take(10, 7)) == set(ten)
    assert len(prompts.take(0, 1)) == 0


def test_take_of_too_many_says_how_many_there_are() -> None:
    with pytest.raises(DataError, match=r"'set' \(set.csv\) has 3 rows; 4 were asked for. Ask for 0 to 3"):
        many(3).take(4, 0)


def test_card_is_json() -> None:
    prompts = many(3)
    card = json.loads(json.dumps(prompts.card()))
    expected = {
        "name": "set",
        "source": "set.csv",
        "license": "MIT",
        "n": 3,
        "fingerprint": prompts.fingerprint,
    }
    assert card == expected
    assert prompts.texts() == [prompt.text for prompt in prompts]


# Reading


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", 'goal,target\n"one, two",x\nthree,y\n'),
        ("p.csv", b'\xef\xbb\xbfgoal,target\r\n"one, two",x\r\n\r\nthree,y\r\n'),
        ("p.tsv", "goal\ttarget\none, two\tx\nthree\ty\n"),
        ("p.json", '[{"goal": "one, two"}, {"goal": "three"}]'),
        ("p.json", '{"meta": {}, "data": [{"goal": "one, two"}, {"goal": "three"}]}'),
        ("p.json", '{"other": [], "instructions": ["one, two", "three"]}'),
        ("p.json", '["one, two", "three"]'),
        ("p.json", '{"goal": "one, two"}\n{"goal": "three"}\n'),
        ("p.jsonl", '{"goal": "one, two"}\n\n{"goal": "three", "n": 1}\n'),
        ("p.jsonl", '"one, two"\n"three"\n'),
        ("p.txt", "one, two\n\n  three  \n"),
    ],
)
def test_every_kind_of_file_gives_the_same_prompts(write: Write, name: str, content: str | bytes) -> None:
    prompts = read_prompts(write(name, content), harmful=True)
    assert prompts.texts() == ["one, two", "three"]
    assert prompts.name == "p"
    assert prompts.license == "unknown"
    assert all(prompt.harmful for prompt in prompts)


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "p.parquet"
    parquet.write_table(pyarrow.table({"q": ["one", "two"]}), path)
    prompts = read_prompts(f"{path}:q", harmful=False)
    assert prompts.texts() == ["one", "two"]
    assert prompts.source == str(path)


def test_rows_are_traced_to_their_lines(write: Write) -> None:
    prompts = read_prompts(write("p.csv", 'prompt,category\n"a\nb",x\n\nc,\n'), harmful=True)
    assert [(p.text, p.where, p.category) for p in prompts] == [
        ("a\nb", "line 2", "x"),
        ("c", "line 5", None),
    ]


def test_separators_inside_a_prompt_do_not_part_it(write: Write) -> None:
    assert read_prompts(write("p.txt", "a\u2028b\x0cc\nd"), harmful=True).texts() == ["a\u2028b\x0cc", "d"]


def test_exact_duplicates_are_dropped_and_counted(write: Write) -> None:
    prompts = read_prompts(write("p.txt", "one\ntwo\none\nOne\n one\n"), harmful=True)
    assert prompts.texts() == ["one", "two", "One"]
    assert prompts.duplicates == 2


def test_ids_do_not_depend_on_the_place(write: Write) -> None:
    a = {p.text: p.id for p in read_prompts(write("a.txt", "one\ntwo\n"), harmful=True)}
    b = {p.text: p.id for p in read_prompts(write("b.txt", "zero\ntwo\none\n"), harmful=True)}
    assert a.items() <= b.items()
    assert len(set(b.values())) == 3


@pytest.mark.parametrize("column", PROMPT_COLUMNS)
def test_known_columns_are_found_in_any_case(write: Write, column: str) -> None:
    assert read_prompts(write("p.csv", f"id,{column.title()}\n1,hello\n"), harmful=True).texts() == ["hello"]


def test_an_explicit_column_wins(write: Write) -> None:
    path = write("p.csv", "prompt,other\nno,yes\n")
    assert read_prompts(path, harmful=True, column="other").texts() == ["yes"]
    assert read_prompts(f"{path}:other", harmful=True).texts() == ["yes"]


def test_a_wide_cell_can_be_read(write: Write) -> None:
    assert (
        len(read_prompts(write("p.csv", f"prompt\n{'x' * 200_000}\n"), harmful=True).prompts[0].text)
        == 200_000
    )


ERRORS: list[tuple[str, str | bytes, str]] = [
    ("p.csv", "", r"p\.csv holds no rows; expected at least one"),
    ("p.csv", "prompt\n", r"p\.csv holds no rows"),
    ("p.json", "", r"p\.json holds no rows"),
    ("p.json", "[]", r"p\.json holds no rows"),
    ("p.txt", "\n \n", r"p\.txt holds no rows"),
    ("p.csv", "prompt,n\na,1\n ,2\n", r"p\.csv, line 3: column 'prompt' is empty.*Fill it in or remove"),
    ("p.jsonl", '{"prompt": "a"}\n{"prompt": null}', r"p\.jsonl, line 2: column 'prompt' is empty"),
    ("p.jsonl", '{"prompt": "a"}\n{"other": "b"}', r"p\.jsonl, line 2: column 'prompt' is empty"),
    ("p.json", '[{"prompt": 5}]', r"p\.json, row 1: column 'prompt' holds int; expected the text"),
    ("p.json", '[{"prompt": ["a"]}]', r"p\.json, row 1: column 'prompt' holds list"),
    ("p.jsonl", '{"prompt": "\\ud83d"}', r"p\.jsonl, line 1: column 'prompt' holds half of a surrogate pair"),
    (
        "p.jsonl",
        '{"prompt": "a"}\n{"prompt": "b"',
        r"p\.jsonl, line 2: not valid JSON.*one JSON object a line",
    ),
    ("p.jsonl", "3\n", r"p\.jsonl, line 1: found int, expected an object or a string"),
    ("p.json", '[\n{"prompt": "b"\n', r"p\.json, line 3: .*Correct the JSON"),
    ("p.json", "3", r"p\.json holds a JSON int; expected a list"),
    ("p.json", '{"prompt": "a"}', r"p\.json holds a JSON dict; expected a list"),
    ("p.csv", b"prompt\nok\ncaf\xe9\n", r"p\.csv, line 3: byte 0xe9 is not UTF-8\. Save the file as UTF-8"),
    ("p.txt", "a\n".encode("utf-16"), r"p\.txt, line 1: byte 0xff is not UTF-8"),
    (
        "p.csv",
        "prompt,n\na,1\nb, c,2\n",
        r"p\.csv, line 3: found 3 cells, expected 2 \(prompt, n\)\. Put quotes",
    ),
    ("p.csv", 'prompt,n\na,1\n"b,2\nc,3\n', r"p\.csv, line 3: unexpected end of data\. Put quotes"),
    ("p.csv", "prompt,prompt\na,1\n", r"p\.csv, line 1: a column name occurs twice\. Rename"),
    (
        "p.csv",
        "a,b\n1,2\n",
        r"p\.csv has no known prompt column; found a, b\. Name.*`--harmful .*p\.csv:COLUMN`",
    ),
    (
        "p.csv",
        "Goal,Behavior\n1,2\n",
        r"several columns .*\(Goal, Behavior\); found .*`--harmful .*p\.csv:Goal`",
    ),
    ("p.parquet", "PAR1", r"p\.parquet is not a readable parquet file"),
    ("p.doc", "x", r"p\.doc ends in '\.doc'; expected \.csv, .* or \.parquet\. Convert or rename it"),
    ("p", "x", r"ends in 'no suffix'; expected"),
]


@pytest.mark.parametrize(("name", "content", "message"), ERRORS)
def test_bad_files_are_named_with_row_and_remedy(
    write: Write, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_prompts(write(name, content), harmful=True)


def test_a_missing_column_file_or_directory_is_named(write: Write, tmp_path: Path) -> None:
    path = write("p.csv", "prompt,n\na,1\n")
    with pytest.raises(DataError, match=r"p\.csv has no column 'goal'; found prompt, n\. Name one"):
        read_prompts(f"{path}:goal", harmful=True)
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist\. Pass a \.csv"):
        read_prompts(tmp_path / "nowhere.csv", harmful=True)
    with pytest.raises(DataError, match=r"is a directory; expected a file\. Pass one of the files in it"):
        read_prompts(tmp_path, harmful=True)


def test_a_hub_id_needs_a_column() -> None:
    with pytest.raises(DataError, match=r"no local file.*Write `owner/name@main:COLUMN`"):
        read_prompts("owner/name@main", harmful=True)


def test_the_hub_offline_is_an_error_that_names_the_id_and_a_remedy() -> None:
    code = (
        "from securetune.errors import DataError\nfrom securetune.prompt_files import read_prompts\n"
        "try:\n    read_prompts('nobody/nothing:goal', harmful=True)\n"
        "except DataError as error:\n    print(error)"
    )
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=offline, check=True
    )
    assert "nobody/nothing is no local file" in done.stdout
    assert "pass a local file" in done.stdout


# Sources


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x.csv", ("x.csv", None)),
        ("x.csv:goal", ("x.csv", "goal")),
        ("dir/x.csv: my goal ", ("dir/x.csv", "my goal")),
        (r"C:\data\x.csv", (r"C:\data\x.csv", None)),
        (r"C:\data\x.csv:goal", (r"C:\data\x.csv", "goal")),
        ("C:/data/x.csv", ("C:/data/x.csv", None)),
        ("C:x.csv", ("C:x.csv", None)),
        ("owner/name:goal", ("owner/name", "goal")),
        ("owner/name@refs/convert/parquet:goal", ("owner/name@refs/convert/parquet", "goal")),
        ("owner/name@abc", ("owner/name@abc", None)),
    ],
)
def test_parse_source(source: str, expected: tuple[str, str | None]) -> None:
    assert parse_source(source) == Source(*expected)


def test_parse_source_believes_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.csv", "x.csv", "C"):
        Path(name).write_text("prompt\nhello\n")
    assert parse_source("a:b.csv") == ("a:b.csv", None)
    assert parse_source("a:b.csv:goal") == ("a:b.csv", "goal")
    assert parse_source("x.csv:un/usual:name") == ("x.csv", "un/usual:name")
    assert parse_source("C:goal") == ("C", "goal")


@pytest.mark.parametrize("source", ["x.csv:", "x.csv: ", ":goal"])
def test_an_empty_side_of_the_colon_is_an_error(source: str) -> None:
    with pytest.raises(DataError, match=r"expected FILE:column"):
        parse_source(source)


# Keeping roles apart


def test_disjoint_roles_pass_and_repeats_within_a_role_do_too() -> None:
    a, b = prompt_set("one", name="a"), prompt_set("two", name="b")
    check_disjoint({"probe": [a, a], "evaluation": [b]})


def test_shared_prompts_of_two_roles_are_named() -> None:
    a = prompt_set("zero", "One?", "two", name="a")
    b = prompt_set("TWO", "one", name="b")
    with pytest.raises(DataError) as caught:
        check_disjoint({"probe": [prompt_set("else", name="c"), a], "evaluation": [b]})
    message = str(caught.value)
    assert message.startswith("a.csv (probe) and b.csv (evaluation) share 2 prompts after normalisation")
    assert "line 2 = line 2; line 3 = line 1" in message
    assert "Remove them" in message


def test_many_shared_prompts_are_abridged_and_ids_stand_in_for_lines() -> None:
    prompts = PromptSet("p", "p", "", tuple(Prompt(f"id{n}", f"text {n}", True) for n in range(9)))
    with pytest.raises(DataError, match=r"id id0 = id id0; .*; and 6 more\."):
        check_disjoint({"probe": [prompts], "selection": [prompts]})


def test_a_public_suite_loses_what_the_others_hold() -> None:
    suite = prompt_set("ONE!", "one two three four five", "quite another thing", name="suite")
    kept, left_out = without_overlap(suite, [prompt_set("one"), prompt_set("one two three four")])
    assert (kept.texts(), left_out) == (["quite another thing"], 2)
    assert kept.name == "suite"
    assert without_overlap(suite, []) == (suite, 0)


# The package's own

PARTS: tuple[Part, ...] = ("probe", "selection", "evaluation")


def test_package_prompts_are_paired_and_labelled() -> None:
    for part in PARTS:
        harmful, twins, ordinary = package_prompts(part)
        assert [p.pair for p in harmful] == [p.pair for p in twins]
        assert all(p.harmful and p.category for p in harmful)
        assert not any(p.harmful for p in (*twins, *ordinary))
        assert {s.license for s in (harmful, twins, ordinary)} == {"CC0-1.0"}
        assert len({p.id for s in (harmful, twins, ordinary) for p in s}) == len(harmful) * 2 + len(ordinary)


def test_package_parts_share_no_prompt() -> None:
    check_disjoint({part: list(package_prompts(part)) for part in PARTS})


def test_an_unknown_part_is_an_error_that_lists_the_parts() -> None:
    with pytest.raises(DataError, match=r"no part 'train'\. Ask for one of: evaluation, probe, selection"):
        package_prompts("train")  # type: ignore[arg-type]
