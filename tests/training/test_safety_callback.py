"""The safety callback in a real trainer, on a tiny model."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from securetune.analysis.classifiers import LinearClassifier
from securetune.analysis.probe import Probe
from securetune.errors import ConfigError
from securetune.models.fingerprint import fingerprint
from securetune.prompts import Prompt
from securetune.training.safety_callback import SafetyCallback
from tiny_trainers import Edit, Make, assert_same, trained, weights

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")

PROMPTS = [Prompt(f"p{i}", f"How do I make {i} loaves?", harmful=i % 2 == 0) for i in range(4)]


def probe_of(model: Any) -> Probe:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(model.config.hidden_size, generator=generator)
    zeros, ones = torch.zeros_like(weight), torch.ones_like(weight)
    return Probe(LinearClassifier(weight, 0.0, zeros, ones), fingerprint(model), 2.0, {})


def watched(make: Make, *, trainer_options: dict[str, Any] | None = None, **options: Any) -> Any:
    trainer = make("sft", **(trainer_options or {}))
    options = {"prompts": PROMPTS, "every": 2, "asr_prompts": 0} | options
    trainer.processing_class.padding_side = "right"
    callback = SafetyCallback(trainer, probe_of(trainer.model), **options)
    trainer.add_callback(callback)
    trainer.safety = callback
    return trainer


def measured(trainer: Any, key: str = "safety/drift") -> list[float]:
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def test_drift_grows_with_training_and_watching_changes_nothing(make: Make) -> None:
    expected = trained(make("sft"))
    trainer = watched(make)
    assert_same(trained(trainer), expected)
    assert trainer.processing_class.padding_side == "right"
    assert len(measured(trainer, "loss")) == 4, "the trainer's own entries must not be lost"
    drift = measured(trainer)
    assert len(drift) == 2
    assert min(drift) > 0
    assert 0 < trainer.safety.share < 1


def test_a_model_that_does_not_move_does_not_drift(make: Make) -> None:
    trainer = watched(make, trainer_options={"learning_rate": 0.0})
    trainer.train()
    assert measured(trainer) == [0.0, 0.0]
    margins = measured(trainer, "safety/refusal_margin")
    assert margins[0] == margins[1]


def test_drift_is_the_change_of_the_probes_logits_in_units_of_its_gap(make: Make) -> None:
    # During training the model computes under the trainer's autocast, before and after it does not.
    trainer = watched(make, trainer_options={"bf16": False})
    start = trainer.safety._measure(trainer.model)[0]
    trainer.train()
    change = trainer.safety._measure(trainer.model)[0] - start
    assert measured(trainer)[-1] == pytest.approx(float(change.square().mean().sqrt()) / 2.0, rel=1e-5)


def test_the_refusal_margin_rises_when_openings_become_likelier(make: Make) -> None:
    trainer = watched(make)
    before = trainer.safety._measure(trainer.model)[1]
    with torch.no_grad():
        hidden = trainer.model.lm_head.weight
        hidden[trainer.safety._opening_tokens()] *= 0.0
        lower = trainer.safety._measure(trainer.model)[1]
        hidden *= 0.0
        uniform = trainer.safety._measure(trainer.model)[1]
    share = len(trainer.safety._opening_tokens()) / hidden.shape[0]
    assert uniform == pytest.approx(float(torch.logit(torch.tensor(share))), abs=1e-3)
    assert before != lower


def test_training_stops_outside_the_budget(make: Make) -> None:
    trainer = watched(make, trainer_options={"max_steps": 8}, budget=1e-9, stop=True)
    trainer.train()
    assert trainer.state.global_step == 2
    patient = watched(make, trainer_options={"max_steps": 4}, budget=1e9, stop=True)
    patient.train()
    assert patient.state.global_step == 4


SAVING = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 2, "max_steps": 6}


def test_the_last_checkpoint_inside_the_budget_is_kept(make: Make) -> None:
    trainer = watched(make, trainer_options=SAVING, budget=1.5)
    # Drifts of 1, 2 and 3 gaps at steps 2, 4 and 6.
    trainer.safety._measure = lambda _: (torch.full((4,), float(trainer.state.global_step)), 0.0)
    trainer.train()
    assert measured(trainer) == [1.0, 2.0, 3.0]
    assert trainer.safety.kept == str(make.output / "checkpoint-2")
    kept = {path.name for path in make.output.glob("checkpoint-*")}
    # Without the callback the oldest one would have gone.
    assert kept == {"checkpoint-2", "checkpoint-6"}
    content = json.loads((make.output / "safety.json").read_text())
    assert content["kept"] == trainer.safety.kept


@pytest.mark.parametrize("anew", [True, False], ids=["another process", "the same trainer"])
def test_a_resumed_run_keeps_the_checkpoint_inside_the_budget(anew: bool, make: Make) -> None:
    def drifting() -> Any:
        trainer = watched(make, trainer_options=SAVING | {"save_total_limit": 1}, budget=1.5)
        trainer.safety._measure = lambda _: (torch.full((4,), float(trainer.state.global_step)), 0.0)
        return trainer

    first = drifting()
    stop = Edit("on_step_end", lambda _: setattr(first.control, "should_training_stop", True), first=2)
    first.add_callback(stop)
    first.train()
    first.remove_callback(stop)
    resumed = drifting() if anew else first
    resumed.train(resume_from_checkpoint=str(make.output / "checkpoint-2"))
    assert resumed.safety.kept == str(make.output / "checkpoint-2")
    assert {path.name for path in make.output.glob("checkpoint-*")} == {"checkpoint-2"}
    assert json.loads((make.output / "safety.json").read_text())["kept"] == resumed.safety.kept


def test_saves_are_answered_and_judged(make: Make) -> None:
    trainer = watched(make, trainer_options=SAVING, asr_prompts=2, asr_tokens=4)
    trainer.train()
    rates = measured(trainer, "safety/asr")
    assert rates
    assert all(rate in (0.0, 0.5, 1.0) for rate in rates)


def test_a_resumed_run_measures_from_the_same_start(make: Make) -> None:
    whole = watched(make, trainer_options=SAVING | {"save_total_limit": 3})
    whole.train()
    again = watched(make, trainer_options=SAVING | {"save_total_limit": 3})
    again.train(resume_from_checkpoint=str(make.output / "checkpoint-4"))
    assert measured(again)[-1] == pytest.approx(measured(whole)[-1], rel=1e-4)
    history = json.loads((make.output / "safety_history.json").read_text())
    assert [row["step"] for row in history if "drift" in row] == [0, 2, 4, 6]
    assert history[-1]["drift"] == measured(again)[-1]
    (make.output / "safety_start.json").unlink()
    with pytest.raises(ConfigError, match="drift since the start cannot be measured"):
        watched(make, trainer_options=SAVING).train(resume_from_checkpoint=str(make.output / "checkpoint-4"))


def test_contradictory_arguments_are_refused(make: Make) -> None:
    for options, message in (
        ({"stop": True}, "needs a `budget`"),
        ({"every": 0}, "at least 1 step"),
        ({"prompts": PROMPTS[1:2]}, "at least one harmful prompt"),
    ):
        with pytest.raises(ConfigError, match=message):
            watched(make, **options)  # type: ignore[arg-type]
    plain = make("sft")
    plain.processing_class.chat_template = None
    with pytest.raises(ConfigError, match="chat template"):
        SafetyCallback(plain, probe_of(plain.model))


def test_the_start_is_not_measured_with_dropout_and_the_mode_stays(make: Make) -> None:
    trainer = watched(make)
    trainer.model.train()
    trainer.safety._measure(trainer.model)
    assert trainer.model.training
    assert weights(trainer)
