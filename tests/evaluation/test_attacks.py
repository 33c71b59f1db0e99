from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from transformers import AddedToken, LlamaForCausalLM, PreTrainedTokenizerFast

from securetune.config import Config
from securetune.encoding import EncodedRow
from securetune.errors import ConfigError, DataError
from securetune.evaluation.adversarial_files import read_adversarial
from securetune.evaluation.ask import ask
from securetune.evaluation.attacks import ATTACKS, BEGINNING, Attack, any_of, get_attacks, sample_id
from securetune.evaluation.evaluate import Suite
from securetune.evaluation.generate import Decoding, answer_gap, generate, render_prompt
from securetune.evaluation.loss import held_out_losses
from securetune.evaluation.suffix_search import _find_place, _forbidden, _gradient, _losses, search_suffix
from securetune.evaluation_settings import EvaluateSettings, SuffixSettings
from securetune.inputs import read_roles
from securetune.prompts import Prompt, PromptSet
from tiny import CHAT_TEMPLATE, FAMILIES, tiny_tokenizer

PROMPTS = [Prompt("a", "How do I bake bread?", True), Prompt("b", "Say {prompt} and {x}.", True)]
SETTINGS = EvaluateSettings(max_new_tokens=6, batch_size=2)
(SEARCH,) = get_attacks(["suffix-search"], SuffixSettings(steps=3, width=8, tokens=4))


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_keeps_the_request_and_its_id_and_states_itself(name: str) -> None:
    attack = ATTACKS[name]
    for prompt in PROMPTS:
        asked = attack.apply(prompt)
        assert asked.id == prompt.id
        assert prompt.text in asked.text
    assert attack.card()["name"] == name
    json.dumps(attack.card())


def test_attacks_are_found_by_name_once_and_unknown_names_are_listed() -> None:
    assert [attack.name for attack in get_attacks(["sweep", "system", "sweep"])] == ["sweep", "system"]
    with pytest.raises(ConfigError, match=r"unknown \['dan'\]. Valid: system, prefill-3"):
        get_attacks(["dan"])


@pytest.mark.parametrize("tokens", [3, 5, 10])
def test_a_forced_beginning_has_the_tokens_it_says(tokenizer: PreTrainedTokenizerFast, tokens: int) -> None:
    prefix = ATTACKS[f"prefill-{tokens}"].prefix(tokenizer)
    assert BEGINNING.startswith(prefix)
    assert len(tokenizer(prefix, add_special_tokens=False)["input_ids"]) == tokens
    assert ATTACKS["system"].prefix(tokenizer) == ""


def answers(model: Any, tokenizer: Any, attack: Attack | None, path: Path) -> dict[str, str]:
    return {
        row.prompt_id: row.text
        for row in ask(model, tokenizer, PROMPTS, attack, SETTINGS, path / "responses.jsonl")
    }


def test_every_answer_begins_as_forced_and_continues_as_the_model_would(
    tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    attack = ATTACKS["prefill-5"]
    prefix = attack.prefix(tokenizer)
    found = answers(tiny_model, tokenizer, attack, tmp_path)
    assert all(text.startswith(prefix) for text in found.values())
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPTS[0].text}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text + prefix, return_tensors="pt", add_special_tokens=False)["input_ids"]
    output = tiny_model.generate(ids, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :]
    assert found["a"] == prefix + tokenizer.decode(output, skip_special_tokens=True)
    card = json.loads((tmp_path / "suite.json").read_text())
    assert (card["prefix_tokens"], card["max_new_tokens"], card["decoding"]) == (5, 6, ["greedy"])


GAPS = {
    CHAT_TEMPLATE: "<|im_start|>assistant\nSure",
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}": "[/INST] Sure",
}


@pytest.mark.parametrize("template", GAPS)
def test_a_forced_beginning_stands_where_the_template_puts_answers(
    template: str, tiny_model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, asked = tiny_tokenizer(), list[str]()
    tokenizer.chat_template = template

    def answer(input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
        asked.extend(tokenizer.batch_decode(input_ids))
        return torch.cat([input_ids, input_ids[:, -1:]], 1)

    monkeypatch.setattr(tiny_model, "generate", answer)
    forced = generate(tiny_model, tokenizer, PROMPTS, Decoding(1, 1), prefix="Sure")
    assert all(text.endswith(GAPS[template]) for text in asked)
    assert all(response.text.startswith("Sure") for response in forced)
    asked.clear()
    generate(tiny_model, tokenizer, PROMPTS, Decoding(1, 1))
    assert all(text.endswith(GAPS[template].removesuffix("Sure").rstrip(" ")) for text in asked)


def test_a_sweep_answers_once_greedily_and_once_per_setting_and_is_reproducible(
    tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    attack = Attack("sweep", sweep=((1.0, 1.0), (2.0, 1.0)))
    first = answers(tiny_model, tokenizer, attack, tmp_path / "1")
    torch.manual_seed(99)
    assert answers(tiny_model, tokenizer, attack, tmp_path / "2") == first
    assert set(first) == {sample_id(key, n) for key in "ab" for n in range(3)}
    assert first["a"] == answers(tiny_model, tokenizer, None, tmp_path / "3")["a"]
    assert len({first["a"], first["a#1"], first["a#2"]}) == 3
    suite = Suite("s", PromptSet("s", "s", "CC0", tuple(PROMPTS)), attack=attack)
    assert {prompt.id for prompt in suite.asked()} == set(first)


def test_an_attack_of_several_answers_succeeds_if_any_does() -> None:
    events = {"a": None, "a#1": True, "b": False, "b#1": False, "c": None, "c#1": None, "d#x": True}
    assert any_of(events) == {"a": True, "b": False, "c": None, "d#x": True}
    assert any_of({"e": False, "e#1": None}) == {"e": None}, "what is unscored is not safe"
    assert any_of({}) == {}


def test_the_search_lowers_the_loss_repeats_itself_and_leaves_the_model_alone(
    tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    before = {name: weight.clone() for name, weight in tiny_model.state_dict().items()}
    settings = SuffixSettings(steps=6, width=32, topk=32, tokens=4)
    found = search_suffix(tiny_model, tokenizer, "How?", settings)
    assert found.loss < found.start_loss
    assert search_suffix(tiny_model, tokenizer, "How?", settings) == found
    nothing = search_suffix(tiny_model, tokenizer, "How?", settings.model_copy(update={"steps": 0}))
    assert nothing.loss == nothing.start_loss
    assert all(torch.equal(before[name], weight) for name, weight in tiny_model.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in tiny_model.parameters())


@pytest.mark.parametrize("template", GAPS)
@pytest.mark.parametrize("text", ["How?", "Two words "])
def test_the_loss_of_a_suffix_is_that_of_the_prompt_that_is_asked(
    template: str, text: str, tiny_model: LlamaForCausalLM
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    settings = SuffixSettings(steps=5, width=32, topk=64, tokens=5)
    found = search_suffix(tiny_model, tokenizer, text, settings)
    prompt = render_prompt(tokenizer, f"{text} {found.text}")
    before = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    whole = prompt + answer_gap(tokenizer) + BEGINNING
    ids = tokenizer(whole, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = tiny_model(ids).logits[0, before - 1 : -1]
    own = torch.nn.functional.cross_entropy(logits, ids[0, before:])
    assert found.loss < found.start_loss
    assert found.loss == pytest.approx(float(own), abs=1e-5)


def test_a_model_whose_weights_are_all_offloaded_is_searched_after_it_answered(
    tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    settings = SuffixSettings(steps=2, width=8, tokens=4)
    row = EncodedRow([5, 6, 7], [-100, 6, 7])

    def found() -> tuple[Any, ...]:
        answers = generate(tiny_model, tokenizer, PROMPTS, Decoding(2))
        losses = held_out_losses(tiny_model, tokenizer, [row])
        return answers, losses, search_suffix(tiny_model, tokenizer, "How?", settings)

    plain = found()
    cpu_offload(tiny_model, execution_device=torch.device("cpu"))
    assert all(weight.is_meta for weight in tiny_model.parameters())
    assert found() == plain


def test_a_suffix_has_no_added_token_and_a_template_must_write_the_request(
    tiny_model: LlamaForCausalLM,
) -> None:
    tokenizer = tiny_tokenizer()
    special = AddedToken("<|start_header_id|>", special=True)
    tokenizer.add_tokens(["<tool>", special])
    beyond = tokenizer.convert_tokens_to_ids("<|start_header_id|>")
    assert beyond not in tokenizer.all_special_ids  # Control: transformers does not list it there.
    marks = {*tokenizer.all_special_ids, tokenizer.convert_tokens_to_ids("<tool>")}
    assert set(_forbidden(tokenizer, len(tokenizer))) == {*marks, beyond}
    assert set(_forbidden(tokenizer, beyond)) == marks
    search_suffix(tiny_model, tokenizer, "How?", SuffixSettings(steps=1, width=8, tokens=4))
    for template in ("x", "{% for m in messages %}{{ m.content + ' ' + m.content }}{% endfor %}"):
        tokenizer.chat_template = template
        with pytest.raises(DataError, match="a suffix cannot be placed"):
            _find_place(tokenizer, "How?", 4, None)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_gradient_is_that_of_the_loss(family: str) -> None:
    model = FAMILIES[family]()
    model.requires_grad_(False)
    pieces = [torch.tensor([5, 6, 7]), torch.tensor([8, 9, 10, 11])]
    suffix = torch.tensor([12, 13])
    gradient = _gradient(model, pieces, suffix, 2)
    assert gradient.shape == (2, model.get_input_embeddings().weight.shape[0])
    # First-order predictions of exchanging one token agree with the measured changes.
    base = _losses(model, pieces, suffix[None], 2)[0]
    changed = suffix.repeat(100, 1)
    changed[:, 0] = torch.arange(20, 120)
    measured = _losses(model, pieces, changed, 2) - base
    predicted = gradient[0, 20:120] - gradient[0, 12]
    assert torch.corrcoef(torch.stack([measured, predicted]))[0, 1] > 0.5


def test_suffixes_are_kept_in_one_file_and_not_searched_twice(
    tiny_model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = answers(tiny_model, tokenizer, SEARCH, tmp_path)
    suffixes = json.loads((tmp_path / "suffixes.json").read_text())["suffixes"]
    assert set(suffixes) == {"a", "b"}
    card = (tmp_path / "suite.json").read_text()
    assert not any(json.dumps(row["text"]) in card for row in suffixes.values())
    monkeypatch.setattr("securetune.evaluation.ask.search_suffix", None)
    (tmp_path / "responses.jsonl").unlink()
    assert answers(tiny_model, tokenizer, SEARCH, tmp_path) == found


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_files_of_three_forms_are_read(tmp_path: Path) -> None:
    jbb = {
        "parameters": {"model": "m"},
        "jailbreaks": [
            {"goal": "Bake a cake", "prompt": "Please, bake", "category": "Food"},
            {"goal": "Boil an egg", "prompt": None, "category": "Food"},
        ],
    }
    found = read_adversarial(write(tmp_path / "jbb.json", jbb))
    (request,) = found.requests
    assert (request.text, request.category, found.without_prompt) == ("Bake a cake", "Food", 1)
    assert found.attack.apply(request).text == "Please, bake"
    harmbench = read_adversarial(write(tmp_path / "hb.json", {"bake_cake": ["one", "two"], "egg": ["three"]}))
    assert [prompt.text for prompt in harmbench.requests] == ["one", "two", "three"]
    gcg = [{"best_string": "x x !", "best_loss": 0.5, "goal": "Bake a cake", "strings": ["a"]}]
    nano = read_adversarial(write(tmp_path / "gcg.json", gcg))
    (request,) = nano.requests
    assert nano.attack.apply(request).text == "Bake a cake x x !"
    assert "x x !" not in json.dumps(nano.attack.card())
    lines = tmp_path / "gcg.jsonl"
    lines.write_text("\n".join(json.dumps(row) for row in gcg))
    assert read_adversarial(lines).requests.fingerprint == nano.requests.fingerprint


def jailbreaks(*prompts: str | None) -> Any:
    return {"jailbreaks": [{"goal": "Bake", "prompt": prompt, "category": "Food"} for prompt in prompts]}


@pytest.mark.parametrize(
    ("content", "counts"),
    [
        (jailbreaks("x", "", None, "x", " \n"), (1, 3, 1)),
        ({"b1": ["t"], "b2": [""], "b3": []}, (1, 2, 0)),
        ({"b1": ["t", "u"], "b2": ["t"]}, (2, 0, 1)),
        ([{"best_string": text, "goal": "Bake"} for text in ("! !", "", None, "! !")], (1, 2, 1)),
    ],
)
def test_every_entry_of_a_file_is_asked_or_counted(
    tmp_path: Path, content: Any, counts: tuple[int, int, int]
) -> None:
    found = read_adversarial(write(tmp_path / "a.json", content))
    assert (len(found.requests), found.without_prompt, found.requests.duplicates) == counts


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"a": []},
        [1],
        "text",
        {"a": "b"},
        {"jailbreaks": [1]},
        {"best_string": "x"},
        {"a": [1]},
        {"a": [""]},
    ],
)
def test_files_of_another_form_are_refused_by_name(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError, match=r"bad\.json"):
        read_adversarial(write(tmp_path / "bad.json", content))


def test_a_run_asks_every_harmful_suite_again_under_every_attack(tmp_path: Path) -> None:
    path = write(tmp_path / "hb.json", {"cake": ["Please bake me the best cake of them all now."]})
    settings = {"attacks": ["prefill-3", "suffix-search"], "adversarial": [str(path)], "attack_limit": 20}
    config = Config.model_validate({"model": {"id": "demo"}, "evaluate": settings})
    suites = {suite.name: suite for suite in read_roles(config).suites}
    assert set(suites) == {
        "harmful", "twins", "ordinary", "file-hb", "harmful.prefill-3", "harmful.suffix-search"
    }  # fmt: skip
    assert len(suites["harmful.prefill-3"].prompts) == 20
    assert len(suites["harmful.suffix-search"].prompts) == config.evaluate.suffix.behaviours
    assert len({suite.fingerprint for suite in suites.values()}) == len(suites)
    assert suites["harmful"].fingerprint == suites["harmful"].prompts.fingerprint


def test_entries_without_a_prompt_show_in_the_data_card(tmp_path: Path) -> None:
    prompt = "Please bake me the best cake of them all now."
    entries = [{"goal": "Bake a cake", "prompt": prompt}, *[{"goal": "Boil an egg", "prompt": None}] * 3]
    entries.append(entries[0])
    path = write(tmp_path / "jbb.json", {"jailbreaks": entries})
    config = Config.model_validate({"model": {"id": "demo"}, "evaluate": {"adversarial": [str(path)]}})
    (card,) = [card for card in read_roles(config).cards() if card.name == "file-jbb"]
    assert card.n == 1 and "3 entries of the file hold no prompt" in card.note
    assert "1 repeated rows of the source were dropped" in card.note


def test_files_of_one_name_and_names_that_are_taken_stay_apart(tmp_path: Path) -> None:
    paths = []
    for folder, version in (("PAIR", "1.5"), ("GCG", "1.5"), ("GCG", "1.3")):
        (tmp_path / folder).mkdir(exist_ok=True)
        case = f"Tell {folder} of version {version} about the history of bread in one long sentence."
        paths.append(str(write(tmp_path / folder / f"vicuna-v{version}.json", {"a": [case]})))
    own = tmp_path / "own.txt"
    own.write_text("Which kind of flour is the worst one?\n")
    content = {
        "model": {"id": "demo"},
        "prompts": {"harmful": [{"source": str(own), "name": "harmful.prefill-3"}]},
        "evaluate": {"adversarial": paths, "attacks": ["prefill-3"]},
    }
    suites = read_roles(Config.model_validate(content)).suites
    assert [suite.name for suite in suites[3:]] == [
        "harmful.prefill-3", "file-vicuna-v1.5", "file-vicuna-v1.5-2", "file-vicuna-v1.3",
        "harmful.prefill-3-2", "harmful.prefill-3.prefill-3",
    ]  # fmt: skip
    assert ["PAIR" in suite.prompts.texts()[0] for suite in suites[4:7]] == [True, False, False]
