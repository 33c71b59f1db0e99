"""tune(): one supervised fine-tuning run under a plan, by TRL and PEFT, resumable."""

from __future__ import annotations

import logging
import math
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from securetune.encoding import EncodedData
from securetune.errors import ConfigError, TrainingError
from securetune.evaluation.generate import end_tokens
from securetune.files import read_json, write_json, write_text
from securetune.memory import empty_cache, is_out_of_memory
from securetune.plan import TuningPlan
from securetune.progress import progress
from securetune.training.sft import add_lora, build_trainer, is_quantised
from securetune.training.snapshots import SnapshotCallback, Snapshots
from securetune.training_settings import TrainSettings

log = logging.getLogger("securetune")

LOSSES = "losses.json"
LOG = "log.json"
"""Rate and norms of every group at every logged step; the checkpoints that hold them too are removed."""
"""Written last: where it is, training is complete."""
HISTORY = "safety_history.json"
"""What `SafetyCallback` saw, by step."""


@dataclass(frozen=True)
class TuneResult:
    """What a training run left behind."""

    directory: Path
    """Holds `adapter/` (LoRA) or `model/` (full tuning), both with the tokenizer and the chat template of the
    training, `receipt.json` and `losses.json`."""
    steps: int
    losses: tuple[tuple[int, float], ...]
    """(step, training loss)."""
    micro_batch_size: int

    @property
    def weights(self) -> Path:
        """The adapter or model directory."""
        adapter = self.directory / "adapter"
        return adapter if adapter.is_dir() else self.directory / "model"

    @property
    def snapshots(self) -> list[Path]:
        """Adapter or model directories of the weights on the way: `snapshots/STEP[-ema]/adapter`."""
        return sorted((self.directory / "snapshots").glob(f"*[0-9a]/{self.weights.name}"))


def tune(
    load: Callable[[], tuple[Any, Any]],
    data: EncodedData,
    settings: TrainSettings,
    plan: TuningPlan,
    directory: Path,
    adapter: Path | None = None,
    snapshots: Snapshots | None = None,
    probe: Path | None = None,
) -> TuneResult:
    """Train a fresh model on `data` under `plan` and save a stock PEFT adapter or plain safetensors.

    Continues from the last checkpoint in `directory`. Out of memory halves the micro-batch and starts
    again from there.

    Args:
        load: returns a fresh model and tokenizer; called again after running out of memory.
        data: encoded rows, loss on the answers.
        settings: rate, steps, adapter.
        plan: multipliers per module.
        directory: where everything is written.
        adapter: go on training this LoRA adapter instead of a fresh one.
        snapshots: what to keep of the weights on the way, in `directory/snapshots`.
        probe: directory of the start model's probe; what it sees every `watch_steps` steps is written
            to `safety_history.json`.

    Raises:
        ConfigError: `adapter` does not fit `settings.lora`.
        MissingDependencyError: TRL is not installed.
        PlanError: the plan does not fit the model.
        PlanNotAppliedError: the rates or the movement of the weights are not the planned ones.
        TrainingError: the loss is not finite, or one row does not fit into memory.
    """
    if (directory / LOSSES).is_file():
        return read_result(directory)  # Cut off after everything was saved, before its stage was closed.
    micro = _divisor(settings.batch_size, settings.micro_batch_size or settings.batch_size)
    if settings.micro_batch_size not in (None, micro):
        log.warning(
            "train.micro_batch_size %d does not divide the batch of %d rows: %d is used",
            settings.micro_batch_size, settings.batch_size, micro,
        )  # fmt: skip
    while True:
        try:
            return _tune_once(load, data, settings, plan, directory, micro, adapter, snapshots, probe)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if micro == 1:
                raise TrainingError(
                    "Out of memory with one row at a time. Use gradient_checkpointing, a smaller "
                    "data.max_length, or load_in_4bit."
                ) from error
            micro = _divisor(settings.batch_size, micro // 2)
            log.warning("out of memory: the micro-batch is now %d of %d rows", micro, settings.batch_size)
        empty_cache()


def _tune_once(
    load: Callable[[], tuple[Any, Any]],
    data: EncodedData,
    settings: TrainSettings,
    plan: TuningPlan,
    directory: Path,
    micro: int,
    adapter: Path | None,
    snapshots: Snapshots | None,
    probe: Path | None,
) -> TuneResult:
    from transformers import set_seed

    from securetune.analysis.probe import Probe
    from securetune.training.attach import attach
    from securetune.training.safety_callback import SafetyCallback

    model, tokenizer = load()
    if settings.method == "full" and is_quantised(model):
        raise ConfigError("train.method: full tuning cannot change quantised weights. Use lora.")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ConfigError(
            "model.device_map: some weights are offloaded to memory or disk, and training needs all of them "
            "on accelerators. Use model.load_in_4bit or more accelerators."
        )
    watch = None
    if probe is not None and settings.watch_steps:
        watch = Probe.load(probe, model)
    # The adapter's start must be the same for every strategy of a seed.
    set_seed(settings.seed)
    if settings.method == "lora":
        model = add_lora(model, settings, adapter)
    else:
        model.requires_grad_(True)
    checkpoints = directory / "checkpoints"
    kind = "adapter" if settings.method == "lora" else "model"
    trainer = build_trainer(model, tokenizer, data, settings, checkpoints, micro)
    attach(trainer, plan)
    with progress(f"training {directory.name}", trainer.args.max_steps) as advance:
        trainer.add_callback(_watch(trainer.securetune_guard, checkpoints, advance))
        if snapshots is not None:
            kept = directory / "snapshots"
            trainer.add_callback(SnapshotCallback(trainer, tokenizer, snapshots, kept, kind))
        if watch is not None:
            # The evaluation answers prompts; here one forward pass is enough.
            trainer.add_callback(SafetyCallback(trainer, watch, every=settings.watch_steps, asr_prompts=0))
        _train(trainer, last_checkpoint(checkpoints))
    losses = [(h["step"], h["loss"]) for h in trainer.state.log_history if "loss" in h]
    weights = directory / kind
    if settings.method == "full" and model.generation_config is not None:
        # The template may end turns with a token that the checkpoint did not stop at.
        model.generation_config.eos_token_id = end_tokens(model, tokenizer)
    model.save_pretrained(weights)
    tokenizer.save_pretrained(weights)
    write_json(weights / "plan_receipt.json", trainer.securetune_receipt())
    base = str(model.config._name_or_path)
    if settings.method == "lora":
        write_text(weights / "README.md", adapter_card(base, plan.strategy))
    groups = [asdict(group) for group in trainer.securetune_match.groups]
    receipt = {**trainer.securetune_guard.receipt(), "base": base, "groups": groups}
    write_json(directory / "receipt.json", receipt)
    write_json(directory / LOG, _finite(trainer.state.log_history))
    write_json(directory / LOSSES, {"losses": losses, "micro_batch_size": micro})
    if (history := checkpoints / HISTORY).is_file():
        write_json(directory / HISTORY, read_json(history))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return TuneResult(directory, trainer.state.global_step, tuple(losses), micro)


def _finite(history: list[dict[str, float]]) -> list[dict[str, float | None]]:
    """The trainer's log as JSON can hold it: a norm that a loss scaler threw away is infinite."""
    return [
        {key: value if math.isfinite(value) else None for key, value in entry.items()} for entry in history
    ]


def read_result(directory: Path) -> TuneResult:
    """Read the result of a finished run."""
    content = read_json(directory / LOSSES)
    losses = tuple((int(step), float(loss)) for step, loss in content["losses"])
    return TuneResult(directory, losses[-1][0], losses, content["micro_batch_size"])


def adapter_card(base: str, strategy: str | None) -> str:
    """The README of an adapter: above all, which weights it belongs to."""
    return f"""---
library_name: peft
base_model: {base or "unknown"}
base_model_relation: adapter
tags: [securetune, lora]
---

# Adapter

Trained by securetune, strategy `{strategy or "none"}`. It belongs on exactly the weights in

    {base or "(a model that was never saved)"}

which adapter_config.json names too. On other weights, such as a model before another adapter was merged
into it, it does something else, and nothing will tell you. If that directory has moved, name its new place:

    model = AutoModelForCausalLM.from_pretrained(BASE)
    model = PeftModel.from_pretrained(model, ADAPTER)
    tokenizer = AutoTokenizer.from_pretrained(ADAPTER)  # with the chat template of the training
"""


def last_checkpoint(directory: Path) -> Path | None:
    """The newest complete checkpoint; the state file is written last, so its presence means complete."""
    found = directory.glob("checkpoint-*") if directory.is_dir() else ()
    return max(filter(_is_complete, found), key=_steps_in, default=None)


def _is_complete(checkpoint: Path) -> bool:
    try:
        read_json(checkpoint / "trainer_state.json")
    except (OSError, ValueError):
        return False
    return True


def _steps_in(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _train(trainer: Any, checkpoint: Path | None) -> None:
    if checkpoint is not None:
        log.info("continuing from %s", checkpoint.name)
        if _steps_in(checkpoint) >= trainer.args.max_steps:
            # Only saving is left. `train` would make a step too many.
            trainer._load_from_checkpoint(str(checkpoint))
            trainer.state = type(trainer.state).load_from_json(str(checkpoint / "trainer_state.json"))
            trainer.securetune_guard.verified = _verified(checkpoint.parent, _steps_in(checkpoint))
            return
        _note_batch_size(checkpoint, trainer.args.train_batch_size)
    with warnings.catch_warnings():
        # Data loader advice about pinned memory, repeated for every run on a CPU.
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _note_batch_size(checkpoint: Path, rows: int) -> None:
    """Transformers 4 resumes with the micro-batch of the checkpoint, whatever the arguments say."""
    state = read_json(checkpoint / "trainer_state.json")
    if state.get("train_batch_size") not in (None, rows):
        write_json(checkpoint / "trainer_state.json", state | {"train_batch_size": rows})


def _watch(guard: Any, checkpoints: Path, advance: Callable[[int], None]) -> Any:
    """A callback that shows progress, stops at a loss that is not finite and keeps what was verified."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Count the steps that a checkpoint already holds."""
            guard.verified = _verified(checkpoints, state.global_step)
            advance(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Count one step."""
            advance(1)

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Do not train on, nor save, what has diverged."""
            loss = (kwargs.get("logs") or {}).get("loss", 0.0)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"The training loss is {loss} at step {state.global_step}. "
                    "Lower train.learning_rate or use float32."
                )

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """A run that continues from here must still show how it began."""
            write_json(checkpoints / "verified.json", guard.verified)

    return Watch()


def _verified(checkpoints: Path, steps: int) -> list[Any]:
    """What the guard saw before a run was cut off, up to the checkpoint that it continues from."""
    file = checkpoints / "verified.json"
    return [entry for entry in read_json(file) if entry["step"] <= steps] if file.is_file() else []


def _divisor(batch_size: int, at_most: int) -> int:
    """The largest micro-batch that cuts the batch into equal parts, so that every step has its rows."""
    return max(size for size in range(1, min(batch_size, max(at_most, 1)) + 1) if batch_size % size == 0)
