"""TRL's SFTTrainer on encoded rows, and the LoRA adapter that it trains."""

from __future__ import annotations

import copy
import inspect
import logging
import math
from pathlib import Path
from typing import Any

from securetune.encoding import IGNORED, EncodedData
from securetune.errors import ConfigError, MissingDependencyError
from securetune.training_settings import TrainSettings

log = logging.getLogger("securetune")

_OURS = {
    "output_dir", "max_steps", "num_train_epochs", "per_device_train_batch_size",
    "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "save_steps",
    "save_strategy", "seed", "data_seed", "gradient_checkpointing", "dataset_kwargs", "max_length",
    "warmup_ratio", "save_total_limit", "save_only_model", "auto_find_batch_size", "packing", "padding_free",
    "logging_steps", "logging_strategy", "logging_nan_inf_filter",
}  # fmt: skip
"""SFTConfig keys that have a setting of their own, or that resuming, batching and the loss curve rely on."""

_WITHOUT_EFFECT = {"pad_to_multiple_of", "pad_token", "completion_only_loss", "assistant_only_loss"}
"""SFTConfig keys for preparing and collating rows: ours are encoded already, and padded by our collator."""


def add_lora(model: Any, settings: TrainSettings, adapter: Path | None = None) -> Any:
    """Put a LoRA adapter on the model; PEFT keeps its weights in float32.

    Args:
        model: without an adapter.
        settings: rank, alpha, dropout and target modules of a fresh adapter.
        adapter: go on with this one instead.

    Raises:
        ConfigError: `adapter` is not a LoRA adapter of these settings.
    """
    from peft import LoraConfig, PeftModel, TaskType, get_peft_model, prepare_model_for_kbit_training

    if is_quantised(model):
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=settings.gradient_checkpointing
        )
    targets = settings.lora.target_modules
    config = LoraConfig(
        r=settings.lora.r,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type=TaskType.CAUSAL_LM,
    )
    fresh = get_peft_model(model, config)
    if adapter is None:
        return fresh
    wanted = fresh.peft_config["default"]
    continued = PeftModel.from_pretrained(fresh.unload(), str(adapter), is_trainable=True)
    found = continued.peft_config["default"]
    for name in (
        "peft_type", "r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora", "bias",
    ):  # fmt: skip
        has, asked = getattr(found, name, None), getattr(wanted, name)
        if has != asked:
            raise ConfigError(
                f"continue_adapter {adapter}: its {name} is {has}, the settings ask for {asked}. "
                "An adapter goes on only as it began: set train.lora alike."
            )
    return continued


def total_steps(rows: int, settings: TrainSettings) -> int:
    """Optimizer steps of a run over `rows` rows."""
    return settings.steps or max(1, math.ceil(rows / settings.batch_size * settings.epochs))


def build_trainer(
    model: Any, tokenizer: Any, data: EncodedData, settings: TrainSettings, output: Path, micro: int
) -> Any:
    """Build TRL's SFTTrainer on encoded rows; `attach` a plan to it, then train."""
    import torch
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, PrinterCallback

    steps = total_steps(len(data.rows), settings)
    # Half-precision weights compute in half precision; full tuning keeps float32 weights and autocasts.
    on_gpu = model.device.type == "cuda" and torch.cuda.is_bf16_supported()
    bf16 = on_gpu and (model.dtype == torch.bfloat16 or settings.method == "full")
    args = _arguments(settings, output, steps, micro, bf16=bf16, use_cpu=model.device.type == "cpu")
    if args.n_gpu > 1:
        # TRL refuses DataParallel; one process uses one accelerator (`accelerate launch` uses more).
        args._n_gpu = 1
    right = copy.copy(tokenizer)
    right.padding_side = "right"
    rows = Dataset.from_list([{"input_ids": r.input_ids, "labels": r.labels} for r in data.rows])
    collator = DataCollatorForSeq2Seq(right, padding=True, label_pad_token_id=-100)
    # Made after the settings were checked: without TRL there would be no message.
    trainer = _trainer_class()(
        model=model, args=args, train_dataset=rows, data_collator=collator, processing_class=right
    )
    if is_quantised(model):
        # TRL makes the adapter bfloat16, in which the steps of a small rate are rounded away.
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    # It prints every log entry to stdout, which belongs to `--json`.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _trainer_class() -> type[Any]:
    """SFTTrainer, with a cheaper computation of the same loss on a CPU.

    On a CPU, TRL's fused head scores every position, twice, in float32; that is a third of a step. Here only
    the positions that predict a learnt token get logits. On accelerators, where the fused head saves memory,
    and wherever the loss is another than the plain one, TRL's own is used.
    """
    import torch
    from trl import SFTTrainer

    class Trainer(SFTTrainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels = inputs.get("labels")
            learnt = (labels[:, 1:] != IGNORED).any(dim=0).nonzero()[:, 0] if _plain_on_cpu(self) else None
            if learnt is None or len(learnt) * len(labels) * model.config.vocab_size > _MOST_LOGITS:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            given = {key: value for key, value in inputs.items() if key != "labels"}
            outputs = model(**given, use_cache=False, logits_to_keep=learnt)
            targets = labels[:, learnt + 1]
            count = (targets != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
            logits = outputs.logits.float().flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(
                logits, targets.flatten(), ignore_index=IGNORED, reduction="sum"
            ) / torch.as_tensor(count).clamp(min=1)
            return (loss, outputs) if return_outputs else loss

    return Trainer


_MOST_LOGITS = 2**28
"""Above so many logits (1 GiB in float32) TRL's fused head is used on a CPU, too."""


def _plain_on_cpu(trainer: Any) -> bool:
    """Whether the loss is the mean negative log-likelihood, of one process on a CPU, and can be sliced."""
    args = trainer.args
    base = trainer.accelerator.unwrap_model(trainer.model)
    base = base.get_base_model() if hasattr(base, "get_base_model") else base
    return bool(
        args.device.type == "cpu"
        and args.world_size == 1
        and args.loss_type == "nll"
        and trainer.label_smoother is None
        and trainer.compute_loss_func is None
        and not trainer.aux_loss_enabled
        and "logits_to_keep" in inspect.signature(base.forward).parameters
    )


def check_trainer_settings(settings: TrainSettings) -> None:
    """Refuse at once what would be refused when training starts, perhaps hours later.

    Raises:
        MissingDependencyError: TRL is not installed.
        ConfigError: SFTConfig does not take the settings, or `trainer` holds keys that are ours or without
            effect.
    """
    import torch

    on_cpu = not torch.cuda.is_available()
    args = _arguments(settings, Path("checkpoints"), 1, settings.batch_size, bf16=False, use_cpu=on_cpu)
    if args.bf16 and on_cpu and torch.backends.cpu.get_cpu_capability() == "AVX2":
        log.warning(
            "train.trainer: bf16 is on, and this CPU multiplies bfloat16 matrices about 13 times slower than "
            "float32 ones. Leave bf16 out here."
        )


def _arguments(
    settings: TrainSettings, output: Path, steps: int, micro: int, *, bf16: bool, use_cpu: bool
) -> Any:
    """TRL's SFTConfig of a run."""
    try:
        from trl import SFTConfig
    except ImportError as error:
        raise MissingDependencyError(
            f"Training needs TRL ({error}): `pip install 'securetune[trl]'`."
        ) from error

    taken = sorted(_OURS & settings.trainer.keys())
    if taken:
        raise ConfigError(f"train.trainer: {taken} have settings of their own under `train`; set them there.")
    ignored = sorted(_WITHOUT_EFFECT & settings.trainer.keys())
    if ignored:
        raise ConfigError(
            f"train.trainer: {ignored} would have no effect: rows are encoded and padded by securetune, with "
            "the loss on answers only. Remove them."
        )
    options: dict[str, Any] = {
        "output_dir": str(output),
        "max_steps": steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": settings.batch_size // micro,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": round(settings.warmup * steps),
        "save_strategy": "steps",
        "save_steps": settings.save_steps,
        "save_total_limit": 1,
        "logging_steps": 1,
        # The filter would show an earlier loss in place of one that is not finite.
        "logging_nan_inf_filter": False,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": bf16,
        "use_cpu": use_cpu,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "max_length": None,
        **settings.trainer,
    }
    try:
        args = SFTConfig(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"train: SFTConfig refuses the settings: {error}") from error
    return args


def is_quantised(model: Any) -> bool:
    """Whether the base weights are in 4 or 8 bits."""
    return bool(getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False))
