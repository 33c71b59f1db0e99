"""One way to load a chat model and its tokenizer: hub id, directory, GGUF file or `demo`."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from securetune.errors import ConfigError, MissingDependencyError, UsageError
from securetune.files import digest
from securetune.memory import empty_cache
from securetune.models.demo import DEMO_MODELS, build_once, demo_directory, gguf_directory
from securetune.models.fingerprint import checkpoint_files, file_states
from securetune.models.quantised import keep_unpacked_

log = logging.getLogger("securetune")

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def resolve_model(model_id: str) -> tuple[str, str | None]:
    """Turn a model id into what transformers loads: (directory or hub id, revision).

    Accepts `demo`, `demo-base`, a directory, a `.gguf` file and a hub id, optionally `id@revision`.
    """
    if model_id in DEMO_MODELS:
        return str(demo_directory(model_id)), None
    path = Path(model_id)
    if path.suffix == ".gguf" and path.is_file():
        return str(gguf_directory(path, path.stem.lower())), None
    if path.exists():
        if not (path / "config.json").is_file():
            raise UsageError(
                f"{model_id} holds no config.json, so it is not a model directory. "
                "Pass a directory saved by `save_pretrained`, a .gguf file, a hub id or `demo`."
            )
        return str(path), None
    name, _, revision = model_id.partition("@")
    return name, revision or None


def load_model(
    model_id: str,
    adapter: str | Path | None = None,
    *,
    dtype: Dtype = "auto",
    load_in_4bit: bool = False,
    chat_template: str | None = None,
    device: str | None = None,
    device_map: str | dict[str, Any] | None = None,
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer, ready for batched left-padded use.

    Args:
        model_id: hub id (`name@revision`), directory, `.gguf` file, `demo` or `demo-base`.
        adapter: a PEFT adapter directory or hub id (`name@revision`) to put on top, not merged and not
            trainable.
        dtype: `auto` is float32 on a CPU and bfloat16 on an accelerator.
        load_in_4bit: quantise the base with bitsandbytes (NF4); needs the `quant` extra.
        chat_template: a Jinja template or a file that holds one, for models without a template.
        device: where to put the model; default is the accelerator if there is one.
        device_map: for a model that does not fit there: `auto` spreads the blocks over accelerators, memory
            and disk, in this order, and offloaded weights are fetched when they are used. A dictionary of
            modules and devices is passed on.

    Returns:
        The model in evaluation mode and its tokenizer, padding on the left.

    Raises:
        UsageError: there is no such model, it has no safetensors weights, or it needs code of its own.
        MissingDependencyError: an extra that this load needs is not installed.
    """
    import torch
    from transformers import AutoModelForCausalLM

    empty_cache()  # The model before this one may still hang in reference cycles of its trainer.
    source, revision = resolve_model(model_id)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch_dtype = getattr(torch, dtype_name(dtype, device))
    options: dict[str, Any] = {"dtype": torch_dtype, "use_safetensors": True, "revision": revision}
    options["trust_remote_code"] = False
    if load_in_4bit:
        options |= {"quantization_config": _four_bit(torch_dtype), "device_map": {"": device}}
    if device_map is not None:
        # What goes to disk in another form than the checkpoint has (fused experts) is written here.
        folder = TemporaryDirectory(prefix="securetune-offload-")
        options |= {"device_map": device_map, "offload_folder": folder.name}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        raise _load_error("model", model_id, error) from error
    keep_unpacked_(model)
    if device_map is not None:
        model.securetune_offload = folder  # It is removed with the model.
    # Quantised weights are identified by their checkpoint; transformers 5 no longer notes its commit.
    model.config._commit_hash = _commit(source, revision)
    tokenizer = load_tokenizer(source, revision=revision, chat_template=chat_template)
    if adapter is not None:
        model = with_adapter(model, adapter)
    if not load_in_4bit and device_map is None:
        model = model.to(device)
    if model.generation_config is not None:
        # Sampling settings of the checkpoint would only produce warnings under greedy decoding.
        model.generation_config.update(do_sample=False, temperature=None, top_p=None, top_k=None)
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def _commit(source: str, revision: str | None) -> str | None:
    """The commit that a load from the hub reads; `None` for a directory."""
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir():
        return None
    file = try_to_load_from_cache(source, "config.json", revision=revision)
    return Path(file).parent.name if isinstance(file, str) else None


def load_tokenizer(
    source: str | Path, *, revision: str | None = None, chat_template: str | None = None
) -> Any:
    """Load a tokenizer with left padding, a padding token and, if given, another chat template.

    Raises:
        UsageError: there is no such tokenizer, or it needs code of its own.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            str(source), revision=revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise _load_error("tokenizer", str(source), error) from error
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if chat_template is not None:
        tokenizer.chat_template = read_chat_template(chat_template)
    return tokenizer


def read_chat_template(text_or_file: str) -> str:
    """Return a Jinja chat template given as text, as a file, or as the built-in name `chatml`."""
    if text_or_file == "chatml":
        return CHATML
    if "{" in text_or_file:
        return text_or_file
    path = Path(text_or_file)
    if not path.is_file():
        raise ConfigError(
            f"--chat-template: `{text_or_file}` is neither a file, nor a Jinja template, nor `chatml`. "
            "Pass one of these."
        )
    return path.read_text(encoding="utf-8")


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def describe_model(source: str, revision: str | None = None) -> dict[str, Any]:
    """Architecture, number of parameters and of layers, from the configuration alone.

    Args:
        source: directory or hub id, as `resolve_model` returns it.
        revision: of the hub id.

    Raises:
        UsageError: there is no such configuration, or it needs code of its own.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _load_error("configuration", source, error) from error
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return {
        "architecture": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": model.config.get_text_config().num_hidden_layers,
    }


def merged_directory(model_id: str, adapter: str, parent: Path, dtype: Dtype) -> Path:
    """Merge an adapter into its model, once, and return the directory with the result: `merged_path`."""

    def merge(part: Path) -> None:
        log.info("merging %s into %s (once) ...", adapter, model_id)
        model, tokenizer = load_model(model_id, adapter, dtype=dtype, device="cpu")
        model.merge_and_unload().save_pretrained(part, safe_serialization=True)
        tokenizer.save_pretrained(part)

    return build_once(merged_path(model_id, adapter, parent, dtype), merge)


def merged_path(model_id: str, adapter: str, parent: Path, dtype: Dtype) -> Path:
    """`<parent>/start-<key>`; the key stands for the files that are merged and the precision."""
    files = [*checkpoint_files(*resolve_model(model_id)), *adapter_directory(adapter).glob("adapter_*")]
    key = digest({"files": file_states(sorted(files)), "dtype": dtype})
    return parent / f"start-{key}"


def adapter_directory(adapter: str | Path) -> Path:
    """A PEFT adapter's directory; a hub id (`name@revision`) is downloaded first.

    Raises:
        UsageError: there is no such adapter, or its weights are not safetensors.
    """
    try:
        directory = _adapter_files(adapter)
    except (OSError, ValueError) as error:
        raise _adapter_error(adapter, "no such directory, and no such adapter in the hub.") from error
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (directory / file).is_file():
            raise _adapter_error(adapter, f"it has no {file}.")
    return directory


def is_adapter(source: str) -> bool:
    """Whether a directory or hub id (`name@revision`) holds a PEFT adapter; `False` if there is none such."""
    if source in DEMO_MODELS or Path(source).is_file():
        return False
    try:
        return (_adapter_files(source) / "adapter_config.json").is_file()
    except (OSError, ValueError):
        return False


def _adapter_files(adapter: str | Path) -> Path:
    """The directory, or that of the hub's adapter files once they are downloaded."""
    if Path(adapter).is_dir():
        return Path(adapter)
    from huggingface_hub import snapshot_download

    name, _, revision = str(adapter).partition("@")
    return Path(snapshot_download(name, revision=revision or None, allow_patterns=["adapter_*"]))


def dtype_name(dtype: Dtype, device: str | None = None) -> Dtype:
    """The precision that `dtype` stands for on a device; `auto` depends on it."""
    if dtype != "auto":
        return dtype
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return "float32" if device == "cpu" else "bfloat16"


def with_adapter(model: Any, adapter: str | Path) -> Any:
    """Put an adapter (directory or hub id) on a model, not merged and not trainable.

    Raises:
        UsageError: there is no such adapter, or it is not one of this model.
    """
    from peft import PeftModel

    directory = adapter_directory(adapter)
    try:
        return PeftModel.from_pretrained(model, str(directory))
    except (OSError, ValueError, RuntimeError) as error:
        raise _adapter_error(adapter, _first_line(error)) from error


def _adapter_error(adapter: str | Path, found: str) -> UsageError:
    return UsageError(
        f"Cannot load adapter `{adapter}`: {found} Expected a PEFT adapter of this model: a directory or "
        "hub id with adapter_config.json and adapter_model.safetensors."
    )


def _load_error(what: str, source: str, error: Exception) -> UsageError:
    if "trust_remote_code" in str(error):
        return UsageError(
            f"Cannot load {what} `{source}`: it needs Python code of its own (`auto_map` in its "
            "configuration), and securetune runs no code from checkpoints. Use a model whose architecture "
            "transformers has, or a version of transformers that has this one."
        )
    return UsageError(
        f"Cannot load {what} `{source}`: {_first_line(error)} "
        "Check the id or path; weights must be safetensors, and gated models need `hf auth login`."
    )


def _four_bit(compute_dtype: Any) -> Any:
    if not _has("bitsandbytes"):
        raise MissingDependencyError(
            "--load-in-4bit needs bitsandbytes, which is not installed: `pip install 'securetune[quant]'`."
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute_dtype
    )


def _has(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
