"""Weights on the way: copies of a model at chosen steps, and of the moving average of its weights."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from securetune.errors import TrainingError
from securetune.files import write_json


@dataclass(frozen=True)
class Snapshots:
    """What to keep of a run besides its last weights."""

    steps: tuple[int, ...]
    """Optimizer steps after which the weights are saved."""
    ema_decay: float | None = None
    """Keep a shadow copy of the weights, too, and save it at the same steps and at the last one."""

    def check(self, kept: Collection[str], steps: int, directory: Path) -> None:
        """Refuse a run of so many steps that did not keep all of them.

        Raises:
            TrainingError: names what is missing, as when earlier weights were removed before a run went on.
        """
        wanted = [str(step) for step in self.steps]
        if self.ema_decay is not None:
            wanted += [f"{step}-ema" for step in (*self.steps, steps)]
        missing = [name for name in wanted if name not in kept]
        if missing:
            raise TrainingError(
                f"{directory} lacks weights on the way (step {', '.join(missing)}), gone before the "
                f"run went on. Pass --redo tune/{directory.name} to train it again."
            )


class SnapshotCallback(TrainerCallback):
    """Saves `<directory>/STEP/adapter` (or `model`), and `<directory>/STEP-ema/...` of the shadow copy.

    The shadow copy holds the trainable weights in float32: after each step it becomes decay * shadow +
    (1 - decay) * weights, from the weights before the first step. The training itself does not see it. It
    is kept beside the checkpoints, so that a resumed run has the same average.

    Deviation: with LoRA the factors are averaged, as in published callbacks, not the products.
    """

    def __init__(self, trainer: Any, tokenizer: Any, settings: Snapshots, directory: Path, kind: str) -> None:
        self._trainer, self._tokenizer = trainer, tokenizer
        self._settings, self._directory, self._kind = settings, directory, kind
        self._checkpoints = Path(trainer.args.output_dir)
        self.shadow: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the shadow copy, or read the one that belongs to the checkpoint."""
        if self._settings.ema_decay is None:
            return
        self.shadow = {name: value.detach().float().clone() for name, value in self._trained()}
        if state.global_step:
            from safetensors.torch import load_file

            path = self._shadow_file(state.global_step)
            if not path.is_file():
                raise TrainingError(
                    f"{self._checkpoints} holds a checkpoint of step {state.global_step}, but not the moving "
                    f"average of its weights ({path.name}). Remove {self._checkpoints} to train again."
                )
            kept = load_file(path)
            self.shadow = {name: kept[name].to(value.device) for name, value in self.shadow.items()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the shadow copy; save what is due."""
        step, decay = state.global_step, self._settings.ema_decay
        if decay is not None:
            for name, value in self._trained():
                self.shadow[name].lerp_(value.detach().float(), 1 - decay)
            if control.should_save or step == state.max_steps:
                self._keep_shadow(step)
            if step in self._settings.steps or step == state.max_steps:
                with self._averaged():
                    self._save(f"{step}-ema")
        if step in self._settings.steps:
            self._save(str(step))

    def _trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return ((name, value) for name, value in self._model.named_parameters() if value.requires_grad)

    @property
    def _model(self) -> Any:
        return self._trainer.accelerator.unwrap_model(self._trainer.model)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the shadow copy into the model; the weights come back bit for bit."""
        kept = {name: value.data for name, value in self._trained()}
        try:
            for name, value in self._trained():
                value.data = self.shadow[name].to(value.dtype)
            yield
        finally:
            for name, value in self._trained():
                value.data = kept[name]

    def _shadow_file(self, step: int) -> Path:
        return self._checkpoints / f"ema-{step}.safetensors"

    def _keep_shadow(self, step: int) -> None:
        """Write it before the checkpoint that needs it; the one before stays until that one is complete."""
        from safetensors.torch import save_file

        path = self._shadow_file(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file({name: value.contiguous() for name, value in self.shadow.items()}, part)
        part.replace(path)
        ours = sorted(self._checkpoints.glob("ema-*.safetensors"), key=lambda file: file.stat().st_mtime_ns)
        for old in ours[:-2]:
            old.unlink()

    def _save(self, name: str) -> None:
        target, part = self._directory / name, self._directory / f"{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        weights = part / self._kind
        self._model.save_pretrained(weights)
        self._tokenizer.save_pretrained(weights)
        write_json(weights / "plan_receipt.json", self._trainer.securetune_receipt())
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
