"""tune() on a tiny Llama: what it writes, how it goes on after a kill, and what it refuses."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from trl import SFTTrainer

from securetune.encoding import EncodedData, EncodedRow
from securetune.errors import ConfigError, MissingDependencyError, PlanError, TrainingError
from securetune.files import write_json
from securetune.plan import Phase, TuningPlan
from securetune.training.sft import check_trainer_settings, total_steps
from securetune.training.tune import TuneResult, last_checkpoint, read_result, tune
from securetune.training_settings import LoraSettings, TrainSettings
from tiny import tiny_llama

pytestmark = [
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]

PLAN = TuningPlan.from_multipliers({"0-1.*": 0.1}, outside=1.0)
SETTINGS = TrainSettings(
    learning_rate=5e-3, batch_size=4, steps=6, save_steps=2, warmup=0.2, lora=LoraSettings(r=2, alpha=4)
)
FULL = SETTINGS.model_copy(update={"method": "full", "learning_rate": 1e-3})


def data(tokenizer: PreTrainedTokenizerFast, count: int = 14) -> EncodedData:
    texts = [f"What is {index} and {index * 7}? The answer is {index * 8}." for index in range(count)]
    rows = []
    for text in texts:
        ids = tokenizer(text + "<|im_end|>")["input_ids"]
        rows.append(EncodedRow(ids, [-100] * 5 + ids[5:]))
    tokens = sum(len(row.input_ids) for row in rows)
    return EncodedData(tuple(rows), 0, tokens, tokens - 5 * count, 0)


@pytest.fixture
def load(tokenizer: PreTrainedTokenizerFast) -> Callable[[], tuple[Any, Any]]:
    return lambda: (tiny_llama(tokenizer), tokenizer)


@pytest.fixture
def run(load: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Callable[..., TuneResult]:
    """Tune into `tmp_path / name`."""

    def tuned(name: str = "run", settings: TrainSettings = SETTINGS, plan: TuningPlan = PLAN) -> TuneResult:
        return tune(load, data(tokenizer), settings, plan, tmp_path / name)

    return tuned


def saved(result: TuneResult) -> dict[str, torch.Tensor]:
    (file,) = result.weights.glob("*.safetensors")
    return load_file(file)


def assert_close(one: TuneResult, two: TuneResult, tolerance: float = 1e-6) -> None:
    first, second = saved(one), saved(two)
    assert first.keys() == second.keys()
    gap = max(float((first[name].float() - second[name].float()).abs().max()) for name in first)
    assert gap <= tolerance
    assert [step for step, _ in one.losses] == [step for step, _ in two.losses]
    for (_, loss), (_, other) in zip(one.losses, two.losses):
        assert loss == pytest.approx(other, abs=1e-4)


def answers(model: Any, tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    prompts = ["What is 3 and 21?", "Mix flour", "I"]
    tokens = []
    for prompt in prompts:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        tokens.append(model.generate(input_ids=ids, max_new_tokens=12, do_sample=False)[0].tolist())
    return tokens


class Killed(BaseException):
    """Stands for a signal: nothing in the code under test may catch it."""


def dying_at(step: int, monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
    """Make the trainer die in the given optimizer step, once."""
    original = SFTTrainer.training_step
    alive = {"yes": True}

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if alive["yes"] and self.state.global_step == step:
            alive["yes"] = False
            raise error or Killed
        return original(self, *args, **kwargs)

    monkeypatch.setattr(SFTTrainer, "training_step", training_step)


# What it writes


def test_the_adapter_is_a_stock_one_and_merging_keeps_its_answers(
    run: Any, load: Any, tokenizer: PreTrainedTokenizerFast
) -> None:
    result = run(settings=SETTINGS.model_copy(update={"learning_rate": 2e-2, "steps": 12}))
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {p.name for p in result.weights.iterdir()}
    assert "belongs on exactly the weights" in (result.weights / "README.md").read_text()
    beside = AutoTokenizer.from_pretrained(result.weights)
    assert beside.chat_template == tokenizer.chat_template
    assert beside("a b") == tokenizer("a b")
    start, _ = load()
    before = answers(start, tokenizer)
    adapted = PeftModel.from_pretrained(load()[0], str(result.weights)).eval()
    tuned = answers(adapted, tokenizer)
    assert tuned != before
    assert answers(adapted.merge_and_unload(), tokenizer) == tuned


def test_full_tuning_writes_plain_safetensors(
    run: Any, load: Any, tokenizer: PreTrainedTokenizerFast
) -> None:
    result = run(settings=FULL)
    assert {p.suffix for p in result.weights.iterdir()} <= {".json", ".safetensors", ".jinja"}
    model = AutoModelForCausalLM.from_pretrained(result.weights)
    start, _ = load()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, start.get_parameter(n))}
    assert moved == {name for name, _ in start.named_parameters()}
    assert AutoTokenizer.from_pretrained(result.weights)("a b") == tokenizer("a b")


def test_the_plan_shows_in_what_was_saved(run: Any) -> None:
    still = TuningPlan.from_multipliers({"0-1.*": 0.0}, outside=1.0)
    weights = saved(run(plan=still))
    grown = {name for name, value in weights.items() if "lora_B" in name and value.abs().max() > 0}
    assert grown == {name for name in weights if "lora_B" in name and (".2." in name or ".3." in name)}
    everywhere = saved(run("ones", plan=TuningPlan.from_multipliers({})))
    assert all(value.abs().max() > 0 for name, value in everywhere.items() if "lora_B" in name)


def test_the_result_is_read_back_and_nothing_temporary_stays(run: Any, tmp_path: Path) -> None:
    result = run()
    assert read_result(tmp_path / "run") == result
    assert {path.name for path in result.directory.iterdir()} == {
        "adapter", "receipt.json", "losses.json", "log.json",
    }  # fmt: skip
    assert result.steps == len(result.losses) == 6
    log = json.loads((result.directory / "log.json").read_text())
    kept = [
        {key for key in entry if key.startswith(("lr/", "update_norm/"))} for entry in log if "loss" in entry
    ]
    assert len(kept) == 6 and all(keys == kept[0] and len(keys) >= 2 for keys in kept)
    assert result.losses[-1][1] < result.losses[0][1]
    receipt = json.loads((result.directory / "receipt.json").read_text())
    assert receipt["plan"] == PLAN.fingerprint
    assert [entry["step"] for entry in receipt["verified"]] == [2]


def test_a_run_that_is_complete_is_not_trained_again(run: Any, tmp_path: Path, tokenizer: Any) -> None:
    first = run()
    kept = saved(first)

    def never() -> Any:
        raise AssertionError("nothing is left to train")

    again = tune(never, data(tokenizer), SETTINGS, PLAN, tmp_path / "run")
    assert (again.losses, again.steps) == (first.losses, first.steps)
    assert all(torch.equal(weight, kept[name]) for name, weight in saved(again).items())


def test_the_same_seed_gives_the_same_run_and_every_plan_the_same_start(run: Any) -> None:
    one = run("one")
    assert_close(one, run("two"), 0.0)
    other = saved(run("three", SETTINGS.model_copy(update={"seed": 1})))
    assert any(not torch.equal(other[name], value) for name, value in saved(one).items())
    first = {"0-1.*": 0.0}
    starts = [
        saved(
            run(
                f"start-{until}",
                plan=TuningPlan((Phase("a", until, first, 1.0), Phase("b", 1.0, first, 0.5))),
            )
        )
        for until in (0.2, 0.8)
    ]
    still = {name for name in starts[0] if ".0." in name or ".1." in name}
    assert {name for name in starts[0] if torch.equal(starts[0][name], starts[1][name])} == still


# Going on


def test_a_killed_run_continues_from_its_checkpoint_with_the_same_end(
    run: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "securetune")
    phases = TuningPlan((Phase("a", 0.4, {"mlp": 1.0}, 0.0), Phase("b", 1.0, {}, 1.0)))
    for number, (settings, plan) in enumerate([(SETTINGS, PLAN), (FULL, PLAN), (SETTINGS, phases)]):
        whole = run(f"whole-{number}", settings, plan)
        for step in (1, 3, 5) if number == 0 else (3,):
            name = f"cut-{number}-{step}"
            with monkeypatch.context() as patch:
                dying_at(step, patch)
                with pytest.raises(Killed):
                    run(name, settings, plan)
            caplog.clear()
            again = run(name, settings, plan)
            expected = f"continuing from checkpoint-{step - 1}" if step > 2 else ""
            assert expected in caplog.text
            assert ("continuing" in caplog.text) is (step > 2)
            assert_close(again, whole)
            receipts = [json.loads((r.directory / "receipt.json").read_text()) for r in (again, whole)]
            seen, all_seen = ({entry["step"] for entry in receipt["verified"]} for receipt in receipts)
            assert all_seen <= seen


def die_writing_the_result(path: Path, content: Any) -> None:
    if path.name == "losses.json":
        raise Killed
    write_json(path, content)


def test_a_run_killed_while_saving_its_result_makes_no_step_more(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant = SETTINGS.model_copy(update={"scheduler": "constant"})
    for number, settings in enumerate([constant, FULL.model_copy(update={"scheduler": "constant"})]):
        whole = run(f"whole-{number}", settings)
        with monkeypatch.context() as patch:
            patch.setattr("securetune.training.tune.write_json", die_writing_the_result)
            with pytest.raises(Killed):
                run(f"cut-{number}", settings)
        assert last_checkpoint(tmp_path / f"cut-{number}" / "checkpoints").name == "checkpoint-6"  # type: ignore[union-attr]
        with monkeypatch.context() as patch:
            dying_at(6, patch, AssertionError("a step too many"))
            again = run(f"cut-{number}", settings)
        assert_close(again, whole, 0.0)
        assert again.losses == whole.losses
        assert again.steps == 6


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
import torch
torch.set_num_threads(1)
from trl import SFTTrainer
import test_tune as t
from tiny import tiny_tokenizer
step = SFTTrainer.training_step
def training_step(self, *args, **kwargs):
    if self.state.global_step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args, **kwargs)
SFTTrainer.training_step = training_step
tokenizer = tiny_tokenizer()
t.tune(lambda: (t.tiny_llama(tokenizer), tokenizer), t.data(tokenizer), t.SETTINGS, t.PLAN, Path({out!r}))
"""


def test_a_process_that_was_killed_outright_is_continued_by_another(run: Any, tmp_path: Path) -> None:
    here = Path(__file__).parent
    program = CHILD.format(tests=str(here.parent), here=str(here), out=str(tmp_path / "cut"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, timeout=300)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2000:]
    checkpoint = last_checkpoint(tmp_path / "cut" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-2"
    assert_close(run("cut"), run("whole"))


def test_only_complete_checkpoints_count(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is last_checkpoint(tmp_path / "absent") is None
    for step, state in {2: "{}", 10: "{}", 12: '{"log_his', 14: None}.items():
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_a_run_under_another_plan_is_not_continued(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        dying_at(3, patch)
        with pytest.raises(Killed):
            run()
    with pytest.raises(PlanError, match="written under another plan"):
        run(plan=TuningPlan.from_multipliers({"0-1.*": 0.2}))


# Memory


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


def hungry(rows: int, monkeypatch: pytest.MonkeyPatch, error: BaseException, first: int = 0) -> list[int]:
    """Make every micro-batch above `rows` rows run out of memory from optimizer step `first` on."""
    original, sizes = SFTTrainer.training_step, list[int]()

    def training_step(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        size = len(inputs["input_ids"])
        if size > rows and self.state.global_step >= first:
            raise error
        sizes.append(size)
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(SFTTrainer, "training_step", training_step)
    return sizes


def test_running_out_of_memory_halves_the_micro_batch_and_says_so(
    run: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run("whole")
    sizes = hungry(1, monkeypatch, OUT_OF_MEMORY[0])
    small = run("small")
    assert [record.getMessage() for record in caplog.records if "memory" in record.getMessage()] == [
        "out of memory: the micro-batch is now 2 of 4 rows",
        "out of memory: the micro-batch is now 1 of 4 rows",
    ]
    assert (whole.micro_batch_size, small.micro_batch_size) == (4, 1)
    assert set(sizes) == {1}
    assert_close(small, whole, 1e-5)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_lack_of_memory_is_recognised_in_all_its_words(
    error: BaseException, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hungry(2, monkeypatch, error)
    assert run(settings=SETTINGS.model_copy(update={"steps": 1})).micro_batch_size == 2


def test_running_out_of_memory_late_goes_on_from_the_checkpoint(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("whole")
    sizes = hungry(2, monkeypatch, OUT_OF_MEMORY[0], first=3)
    small = run("small")
    # Three whole batches, then steps 3 to 6 in halves; the third batch of an epoch of 14 rows is whole too.
    assert sizes[:3] == [4, 4, 4]
    assert set(sizes[3:]) == {2}
    assert small.micro_batch_size == 2
    assert_close(small, whole, 1e-5)


def test_one_row_that_does_not_fit_is_an_error_with_remedies(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hungry(0, monkeypatch, OUT_OF_MEMORY[0])
    with pytest.raises(TrainingError, match=r"one row at a time\. Use gradient_checkpointing"):
        run()


def test_other_errors_are_not_taken_for_lack_of_memory(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dying_at(1, monkeypatch, RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run()


@pytest.mark.parametrize(
    ("batch_size", "asked", "used"), [(4, None, 4), (4, 2, 2), (4, 3, 2), (5, 3, 1), (6, 4, 3), (4, 9, 4)]
)
def test_the_micro_batch_divides_the_batch(
    batch_size: int, asked: int | None, used: int, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = SETTINGS.model_copy(update={"batch_size": batch_size, "micro_batch_size": asked, "steps": 1})
    assert run(settings=settings).micro_batch_size == used
    said = f"train.micro_batch_size {asked} does not divide the batch of {batch_size} rows: {used} is used"
    assert (said in caplog.text) == (asked not in (None, used))


def test_micro_batches_change_nothing_but_memory(run: Any) -> None:
    small = run("small", SETTINGS.model_copy(update={"micro_batch_size": 1}))
    assert_close(small, run("whole"), 1e-5)


# Divergence and refusals


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_training_at_once(
    value: float, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SFTTrainer.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = original(self, *args, **kwargs)
        return loss * value if self.state.global_step == 3 else loss

    monkeypatch.setattr(SFTTrainer, "training_step", training_step)
    with pytest.raises(TrainingError, match=r"training loss is (nan|inf) at step 4\. Lower"):
        run()
    assert not (tmp_path / "run" / "adapter").exists()
    assert (
        last_checkpoint(tmp_path / "run" / "checkpoints") == tmp_path / "run" / "checkpoints" / "checkpoint-2"
    )


def test_a_learning_rate_beyond_all_measure_is_an_error(run: Any) -> None:
    with pytest.raises(TrainingError, match=r"not finite|training loss is"):
        run(settings=FULL.model_copy(update={"learning_rate": 1e30, "trainer": {"max_grad_norm": 0.0}}))


@pytest.mark.parametrize("key", ["learning_rate", "seed", "save_steps", "packing", "logging_steps"])
def test_trainer_keys_that_have_settings_of_their_own_are_refused(key: str, run: Any) -> None:
    with pytest.raises(ConfigError, match=rf"train\.trainer: \['{key}'\] have settings of their own"):
        run(settings=SETTINGS.model_copy(update={"trainer": {key: 1}}))


def test_trainer_keys_that_trl_does_not_know_are_refused(run: Any) -> None:
    with pytest.raises(ConfigError, match=r"SFTConfig refuses the settings: .*colour"):
        run(settings=SETTINGS.model_copy(update={"trainer": {"colour": 1}}))
    with pytest.raises(ConfigError, match=r"SFTConfig refuses the settings: .*triangle"):
        run(settings=SETTINGS.model_copy(update={"scheduler": "triangle"}))


@pytest.mark.parametrize("trainer", [{"learning_rate": 1}, {"colour": 1}, {"optim": "none such"}])
def test_trainer_settings_are_checked_without_a_model(trainer: dict[str, Any]) -> None:
    check_trainer_settings(SETTINGS)
    with pytest.raises(ConfigError, match=r"train\.trainer: \['learning_rate'\]|SFTConfig refuses"):
        check_trainer_settings(SETTINGS.model_copy(update={"trainer": trainer}))


@pytest.mark.parametrize(
    ("units", "bf16", "warned"), [("AVX2", True, True), ("AVX512", True, False), ("AVX2", False, False)]
)
def test_bf16_on_a_cpu_that_emulates_it_is_warned_about(
    units: str, bf16: bool, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: units)
    check_trainer_settings(SETTINGS.model_copy(update={"trainer": {"bf16": bf16}}))
    assert ("13 times slower" in caplog.text) is warned


@pytest.mark.parametrize("key", ["pad_to_multiple_of", "pad_token", "completion_only_loss"])
def test_trainer_keys_without_effect_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"train\.trainer: \['{key}'\] would have no effect"):
        check_trainer_settings(SETTINGS.model_copy(update={"trainer": {key: None}}))


def test_a_missing_trl_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'securetune\[trl\]'"):
        check_trainer_settings(SETTINGS)


def test_further_trainer_keys_reach_the_trainer(run: Any) -> None:
    with pytest.raises(PlanError, match="optim=lomo"):
        run(settings=SETTINGS.model_copy(update={"trainer": {"optim": "lomo"}}))


def test_full_tuning_of_quantised_weights_is_refused(load: Any, tokenizer: Any, tmp_path: Path) -> None:
    def quantised() -> tuple[Any, Any]:
        model, _ = load()
        model.is_loaded_in_4bit = True
        return model, tokenizer

    with pytest.raises(ConfigError, match="cannot change quantised weights"):
        tune(quantised, data(tokenizer), FULL, PLAN, tmp_path)


def test_the_adapter_of_a_quantised_model_is_trained_in_float32(
    load: Any, tokenizer: Any, tmp_path: Path
) -> None:
    models: list[Any] = []

    def quantised() -> tuple[Any, Any]:
        model, _ = load()
        model.is_loaded_in_8bit = True  # Of 4 bits, transformers would ask bitsandbytes.
        models.append(model)
        return model, tokenizer

    tune(quantised, data(tokenizer), SETTINGS, PLAN, tmp_path)
    factors = [value for name, value in models[0].named_parameters() if "lora_" in name]
    assert factors
    assert {value.dtype for value in factors} == {torch.float32}


@pytest.mark.parametrize(
    ("rows", "changes", "steps"),
    [
        (16, {}, 2),
        (17, {}, 3),
        (16, {"epochs": 2.5}, 5),
        (16, {"steps": 7, "epochs": 9.0}, 7),
        (1, {"epochs": 0.1}, 1),
    ],
)
def test_the_number_of_steps_follows_from_rows_and_epochs(
    rows: int, changes: dict[str, Any], steps: int
) -> None:
    assert total_steps(rows, TrainSettings(batch_size=8, **changes)) == steps
