from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from securetune.errors import ConfigError, DataError
from securetune.evaluation import generate as module
from securetune.evaluation.generate import (
    Decoding,
    Response,
    end_tokens,
    generate,
    render_prompt,
    tokenize_rendered,
)
from securetune.evaluation.judges import JUDGES
from securetune.models.load import load_model
from securetune.prompts import Prompt
from tiny import FAMILIES, tiny_llama, tiny_tokenizer

TEXTS = [
    "What is the answer?",
    "Mix flour",
    "Write a story about the sea, salt and yeast.",
    "I",
    "How?",
    "0 1 2 3 4 5",
]
PROMPTS = [Prompt(f"id-{index}", text, False) for index, text in enumerate(TEXTS)]
DECODING = Decoding(max_new_tokens=8, batch_size=2)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The prompts of every batch that the model really answered."""
    batches: list[list[str]] = []
    original = module._answer

    def answer(model: Any, tokenizer: Any, batch: Any, **rest: Any) -> Any:
        batches.append([prompt.id for prompt in batch])
        return original(model, tokenizer, batch, **rest)

    monkeypatch.setattr(module, "_answer", answer)
    return batches


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "opt"])
@pytest.mark.parametrize("batch_size", [2, 6])
def test_batched_answers_are_those_of_one_prompt_at_a_time(family: str, batch_size: int) -> None:
    tokenizer = tiny_tokenizer()
    model = FAMILIES[family](len(tokenizer), pad_token_id=0, eos_token_id=2, max_position_embeddings=128)
    if family == "gpt2":
        model.config.n_positions = 128
    expected = []
    for prompt in PROMPTS:
        ids = tokenize_rendered(tokenizer, [render_prompt(tokenizer, prompt.text)], "cpu")["input_ids"]
        new: list[int] = []
        with torch.inference_mode():
            for _ in range(8):
                token = int(
                    model(torch.cat([ids, torch.tensor([new], dtype=torch.long)], 1)).logits[0, -1].argmax()
                )
                if token == 2:
                    break
                new.append(token)
        expected.append(tokenizer.decode(new, skip_special_tokens=True))
    responses = generate(model, tokenizer, PROMPTS, Decoding(8, batch_size))
    assert [response.text for response in responses] == expected
    assert [response.prompt_id for response in responses] == [prompt.id for prompt in PROMPTS]
    assert len(set(expected)) > 1


def test_the_end_of_turn_ends_the_answer_and_is_not_counted(
    tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tokenizer(" bread at home")["input_ids"]
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    rows = [[*words, end, *[pad] * 7], [end, *[pad] * (len(words) + 7)], [*words, *words, 5, 5, 5, 5]]
    width = min(len(row) for row in rows)

    def answer(input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
        assert options["do_sample"] is False
        return torch.cat([input_ids, torch.tensor([row[:width] for row in rows])], 1)

    monkeypatch.setattr(tiny_model, "generate", answer)
    prompts = [Prompt(str(index), "same", False) for index in range(3)]
    one, two, three = generate(tiny_model, tokenizer, prompts, Decoding(width, 3))
    assert one == Response("0", " bread at home", len(words), True)
    assert two == Response("1", "", 0, True)
    assert (three.tokens, three.ended) == (width, False)


def test_a_plain_end_of_turn_of_the_template_is_no_part_of_an_answer_that_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = tiny_tokenizer("<|endoftext|>")
    model = tiny_llama(tokenizer)
    words = tokenizer(" bread<|im_end|>")["input_ids"]
    rows = torch.tensor([[*words, tokenizer.eos_token_id], [*words[-1:], *words]])
    monkeypatch.setattr(model, "generate", lambda input_ids, **options: torch.cat([input_ids, rows], 1))
    prompts = [Prompt(str(index), "same", False) for index in range(2)]
    ended, cut_off = generate(model, tokenizer, prompts, Decoding(rows.shape[1], 2))
    assert ended == Response("0", " bread", len(words), True)
    assert cut_off.text.endswith(" bread<|im_end|>")


def test_prompts_are_rendered_in_the_chat_template_with_a_system_prompt_if_there_is_one(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert render_prompt(tokenizer, "Hi") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert render_prompt(tokenizer, "Hi", "Be kind.").startswith("<|im_start|>system\nBe kind.<|im_end|>\n")
    thinking = tiny_tokenizer()
    thinking.chat_template = "{{ 'off' if enable_thinking is defined and not enable_thinking else 'on' }}"
    assert render_prompt(thinking, "Hi") == "off"


def test_reasoning_that_the_template_opens_is_unscored_until_it_ends(tiny_model: LlamaForCausalLM) -> None:
    plain, opened = tiny_tokenizer(), tiny_tokenizer()
    opened.chat_template = f"{plain.chat_template}{{{{- '<think>\\n' }}}}"
    assert render_prompt(opened, "Hi").endswith("<think>\n")
    for tokenizer, scored in ((plain, True), (opened, False)):
        answers = generate(tiny_model, tokenizer, PROMPTS, DECODING)
        verdicts = [JUDGES["refusal-list-qi"].judge("", f"{answer.text} words") for answer in answers]
        assert all((verdict.unscored is None) is scored for verdict in verdicts)
    ended = JUDGES["refusal-list-qi"].judge("", f"{answers[0].text}</think>I'm sorry, I cannot.")
    assert ended.refused


def test_answers_stop_at_the_end_of_turn_of_a_template_that_was_passed(
    tiny_model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = tiny_tokenizer()
    # As Gemma's <end_of_turn>: a special token that is not the end of text.
    passed.chat_template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_start|>' }}{% endfor %}"
    )
    start, end = passed.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert end_tokens(tiny_model, passed) == sorted([start, end])
    assert end_tokens(tiny_model, tiny_tokenizer()) == [end]

    def forward(logits: torch.Tensor) -> torch.Tensor:
        logits[..., start] = 1e4
        return logits

    tiny_model.lm_head.register_forward_hook(lambda module, args, output: forward(output))
    (answer,) = generate(tiny_model, passed, PROMPTS[:1], DECODING)
    assert answer == Response(PROMPTS[0].id, "", 0, True)
    (going_on,) = generate(tiny_model, tiny_tokenizer(), PROMPTS[:1], DECODING)
    assert (going_on.tokens, going_on.ended) == (8, False)


def test_a_tokenizer_without_a_chat_template_is_refused_with_the_remedy(tiny_model: LlamaForCausalLM) -> None:
    bare = tiny_tokenizer()
    bare.chat_template = None
    for render in (lambda: render_prompt(bare, "Hi"), lambda: generate(tiny_model, bare, PROMPTS, DECODING)):
        with pytest.raises(ConfigError, match=r"no chat template.*gemma3\.jinja.*--chat-template chatml"):
            render()


def test_running_out_of_memory_halves_the_batch_and_changes_no_answer(
    tiny_model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    whole = generate(tiny_model, tokenizer, PROMPTS, Decoding(8, 6))
    original, sizes = tiny_model.generate, list[int]()

    def hungry(input_ids: torch.Tensor, **options: Any) -> Any:
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        sizes.append(len(input_ids))
        return original(input_ids=input_ids, **options)

    monkeypatch.setattr(tiny_model, "generate", hungry)
    path = tmp_path / "responses.jsonl"
    assert generate(tiny_model, tokenizer, PROMPTS, Decoding(8, 6), path) == whole
    assert sizes == [1] * 6
    assert "generation goes on with batches of 1" in caplog.text
    assert generate(tiny_model, tokenizer, PROMPTS, Decoding(8, 6), path) == whole


@pytest.mark.parametrize("with_adapter", [False, True])
def test_greedy_answers_know_no_penalty_that_the_checkpoint_brings_along(
    tmp_path: Path, with_adapter: bool
) -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_llama(tokenizer)
    shipped = {"repetition_penalty": 3.0, "no_repeat_ngram_size": 2, "eos_token_id": [2, 5]}
    answers, raw = [], []
    for settings in ({"eos_token_id": [2, 5]}, shipped):
        model.generation_config = GenerationConfig(**settings)
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        loaded, own = load_model(str(tmp_path))
        if with_adapter:
            loaded = get_peft_model(loaded, LoraConfig(r=2, target_modules=["q_proj"])).eval()
        ids = own(render_prompt(own, TEXTS[2]), return_tensors="pt", add_special_tokens=False)["input_ids"]
        raw.append(loaded.generate(input_ids=ids, max_new_tokens=16, do_sample=False).tolist())
        answers.append(generate(loaded, own, PROMPTS, Decoding(16, 2)))
        kept = loaded.generation_config.to_dict()
        assert kept | settings == kept, "what the checkpoint shipped is exported with the tuned weights"
    assert answers[0] == answers[1]
    assert raw[0] != raw[1]  # Control: `generate` itself heeds the penalty.


def test_the_model_keeps_its_mode(tiny_model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    generate(tiny_model.train(), tokenizer, PROMPTS[:1], DECODING)
    assert tiny_model.training
    generate(tiny_model.eval(), tokenizer, PROMPTS[:1], DECODING)
    assert not tiny_model.training


def test_what_a_file_holds_is_not_generated_again(
    tiny_model: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, answered: list[list[str]]
) -> None:
    path = tmp_path / "below" / "responses.jsonl"
    progress: list[int] = []
    whole = generate(tiny_model, tokenizer, PROMPTS, DECODING, path, progress.append)
    assert [len(batch) for batch in answered] == progress == [2, 2, 2]
    raw = path.read_bytes()
    answered.clear()
    assert generate(tiny_model, tokenizer, PROMPTS, DECODING, path) == whole
    assert answered == []
    assert path.read_bytes() == raw


def test_a_file_that_was_cut_off_anywhere_is_completed_with_the_same_answers(
    tiny_model: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, answered: list[list[str]]
) -> None:
    path = tmp_path / "responses.jsonl"
    whole = generate(tiny_model, tokenizer, PROMPTS, DECODING, path)
    raw, batches = path.read_bytes(), answered.copy()
    ends = [index + 1 for index, byte in enumerate(raw) if byte == 10]
    for cut in (0, 5, *ends[:5], ends[1] + 7, ends[2] - 1, len(raw) - 1):
        answered.clear()
        path.write_bytes(raw[:cut])
        assert generate(tiny_model, tokenizer, PROMPTS, DECODING, path) == whole
        complete = sum(end <= cut for end in ends) // 2
        assert answered == batches[complete:]
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        assert [json.loads(line)["prompt_id"] for line in lines] == [i for batch in batches for i in batch]


def test_answers_may_hold_any_text(
    tiny_model: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = 'a\u2028b\u2029c\x85d\ne\r\n"f"\\ \x1c \U0001f600 \ufffd'

    def answer(model: Any, tokenizer: Any, batch: Any, **rest: Any) -> list[Response]:
        return [Response(prompt.id, odd, 3, True) for prompt in batch]

    monkeypatch.setattr(module, "_answer", answer)
    path = tmp_path / "responses.jsonl"
    whole = generate(tiny_model, tokenizer, PROMPTS, DECODING, path)
    monkeypatch.setattr(module, "_answer", lambda *args, **rest: pytest.fail("answered again"))
    assert generate(tiny_model, tokenizer, PROMPTS, DECODING, path) == whole


def test_a_line_that_is_no_answer_is_refused_by_file(
    tiny_model: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    path = tmp_path / "responses.jsonl"
    for line in ("{", "[]", '{"prompt_id": "a"}', '{"prompt_id": "a", "colour": 1}', "5"):
        path.write_text(line + "\n")
        with pytest.raises(DataError, match=r"responses\.jsonl holds a line that is not an answer"):
            generate(tiny_model, tokenizer, PROMPTS, DECODING, path)


def test_two_prompts_with_one_id_are_refused(tiny_model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match="share an id"):
        generate(tiny_model, tokenizer, [Prompt("a", "x", False), Prompt("a", "y", False)], DECODING)


def test_no_prompts_have_no_answers(
    tiny_model: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    assert generate(tiny_model, tokenizer, [], DECODING, tmp_path / "responses.jsonl") == []


GEMMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ m['content'] }}{% endfor %}"
)
NO_PLACE = "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (GEMMA_2, r"takes no system prompt \(System role not supported\)"),
        (NO_PLACE, "leaves the system prompt"),
    ],
)
def test_a_template_without_a_system_role_is_an_error_that_says_what_to_do(
    template: str, message: str
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    assert "How?" in render_prompt(tokenizer, "How?")
    with pytest.raises(ConfigError, match=message + r".*attack `system`, or set evaluate\.chat_template"):
        render_prompt(tokenizer, "How?", "Be careful.")
