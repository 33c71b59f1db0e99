"""Weights on the way: snapshots, and a moving average that equals the one computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast, set_seed

from securetune.encoding import EncodedData, EncodedRow
from securetune.plan import TuningPlan
from securetune.training.receipt import total_movement
from securetune.training.sft import add_lora
from securetune.training.snapshots import SnapshotCallback, Snapshots
from securetune.training.tune import TuneResult, tune
from securetune.training_settings import LoraSettings, TrainSettings
from tiny import tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")

DECAY, STEPS = 0.6, 4
SETTINGS = TrainSettings(
    learning_rate=5e-3, batch_size=2, steps=STEPS, save_steps=2, warmup=0, lora=LoraSettings(r=2, alpha=4)
)


@pytest.fixture
def run(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Any:
    rows = []
    for index in range(8):
        ids = tokenizer(f"What is {index} and {index * 7}? It is {index * 8}.<|im_end|>")["input_ids"]
        rows.append(EncodedRow(ids, [-100] * 5 + ids[5:]))
    data = EncodedData(tuple(rows), 0, 0, 0, 0)

    def tuned(name: str, snapshots: Snapshots | None) -> TuneResult:
        plan = TuningPlan.from_multipliers({})
        return tune(
            lambda: (tiny_llama(tokenizer), tokenizer),
            data,
            SETTINGS,
            plan,
            tmp_path / name,
            snapshots=snapshots,
        )

    return tuned


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    return load_file(adapter / "adapter_model.safetensors")


def at_the_start(tokenizer: PreTrainedTokenizerFast, directory: Path) -> dict[str, torch.Tensor]:
    model = tiny_llama(tokenizer)
    set_seed(SETTINGS.seed)
    add_lora(model, SETTINGS).save_pretrained(directory)
    return weights(directory)


def test_the_moving_average_is_the_one_computed_by_hand_and_changes_nothing(
    run: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    plain = run("plain", None)
    result = run("watched", Snapshots((1, 2, 3, STEPS), DECAY))
    names = [path.parent.name for path in result.snapshots]
    assert names == ["1", "1-ema", "2", "2-ema", "3", "3-ema", "4", "4-ema"] and plain.snapshots == []
    last = weights(result.weights)
    assert all(torch.equal(last[name], value) for name, value in weights(plain.weights).items())
    folder = result.directory / "snapshots"
    expected = at_the_start(tokenizer, tmp_path / "start")
    for step in range(1, STEPS + 1):
        now = weights(folder / str(step) / "adapter")
        expected = {name: DECAY * value + (1 - DECAY) * now[name] for name, value in expected.items()}
        found = weights(folder / f"{step}-ema" / "adapter")
        for name, value in expected.items():
            assert torch.allclose(found[name], value, atol=1e-7), (step, name)
    # Control: the average lags behind the weights, and has moved less.
    assert any(not torch.allclose(last[name], value, atol=1e-5) for name, value in found.items())
    ends = [total_movement(folder / name / "adapter") for name in ("1", "4", "4-ema")]
    assert 0 < ends[0] < ends[1] and 0 < ends[2] < ends[1]
    assert total_movement(result.weights) == pytest.approx(ends[1])


def test_a_run_that_was_cut_off_has_the_same_average_in_the_end(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("whole", Snapshots((1, 3), DECAY))
    step_end = SnapshotCallback.on_step_end

    def cut_off(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step_end(self, args, state, control, **kwargs)
        if state.global_step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(SnapshotCallback, "on_step_end", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run("cut", Snapshots((1, 3), DECAY))
    monkeypatch.setattr(SnapshotCallback, "on_step_end", step_end)
    again = run("cut", Snapshots((1, 3), DECAY))
    assert [p.parent.name for p in again.snapshots] == [p.parent.name for p in whole.snapshots]
    for one, two in zip(whole.snapshots, again.snapshots):
        first, second = weights(one), weights(two)
        assert all(torch.allclose(second[name], value, atol=1e-6) for name, value in first.items()), one
