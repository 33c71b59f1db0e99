"""A model's fingerprint: the same for float32, bfloat16 and quantised loads of the same weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from securetune.addressing import canonical_name
from securetune.errors import UsageError
from securetune.files import read_json
from securetune.models.saved_form import as_saved

_ROWS, _COLUMNS = 8, 512
_WEIGHTS = ["model*.safetensors", "model.safetensors.index.json"]


def fingerprint(model: Any) -> str:
    """Return 16 hex digits that identify the base weights of a model.

    Hashed are the shapes of all weight matrices, as a checkpoint holds them, and, of each, up to 8 evenly
    spaced rows and 512 columns, rounded to bfloat16; so the precision of the load does not matter, and a
    merged adapter does. Adapters that are attached, not merged, are left out. Output heads are left out
    because they may be tied. Offloaded weights are fetched module by module. A model with quantised weights
    is identified by the checkpoint it was loaded from.

    Raises:
        UsageError: the weights are quantised and the checkpoint's safetensors cannot be had.
    """
    modules = {name for name, _ in model.named_modules()}
    wrappers = {name for name in modules if f"{name}.base_layer" in modules}
    named = {name: p for name, p in model.named_parameters() if not _is_adapter(name, wrappers)}
    if any(not p.dtype.is_floating_point for p in named.values()):
        # Other weights may be current in the hub by now: the commit is that of the load.
        commit = getattr(model.config, "_commit_hash", None)
        return fingerprint_checkpoint(str(model.config._name_or_path), commit)
    tensors = _fetched(model) if any(p.is_meta for p in named.values()) else named.items()
    found = (as_saved(model, canonical_name(name), p.detach()) for name, p in tensors if name in named)
    return _digest(item for saved in found for item in saved.items())


def fingerprint_checkpoint(source: str, revision: str | None = None) -> str:
    """The fingerprint of a checkpoint, a directory or a hub id, read tensor by tensor.

    Raises:
        UsageError: see `checkpoint_files`.
    """
    return _digest(checkpoint_tensors(source, revision))


def checkpoint_tensors(source: str, revision: str | None = None) -> Iterable[tuple[str, Any]]:
    """Yield (name, tensor) of a checkpoint, a directory or a hub id, one tensor at a time.

    Raises:
        UsageError: see `checkpoint_files`.
    """
    from safetensors import safe_open

    for file in checkpoint_files(source, revision):
        with safe_open(str(file), framework="pt") as archive:
            for name in archive.keys():  # noqa: SIM118 - not a dict
                yield name, archive.get_tensor(name)


def checkpoint_files(source: str, revision: str | None = None) -> list[Path]:
    """The safetensors files that a load of `source` reads; what is in the hub only is downloaded first.

    Raises:
        UsageError: there is no such checkpoint, or it has no safetensors.
    """
    directory = Path(source)
    if not directory.is_dir():
        directory = _download(source, revision)
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        return [directory / name for name in sorted(set(read_json(index)["weight_map"].values()))]
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise UsageError(
            f"Cannot identify the model `{source}`: no safetensors in {directory}. Load it with "
            "transformers and `save_pretrained` it to a directory; other formats are not read."
        )
    return files


def file_states(files: Iterable[Path]) -> dict[str, list[int]]:
    """Path -> size in bytes and time of change in ns: equal as long as nobody wrote the files."""
    return {str(file): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}


def fingerprint_files(directory: Path) -> str:
    """16 hex digits over the safetensors files of a directory, to the last bit."""
    hasher = hashlib.sha256()
    for file in sorted(directory.glob("*.safetensors")):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                hasher.update(block)
    return hasher.hexdigest()[:16]


def _digest(tensors: Iterable[tuple[str, Any]]) -> str:
    import torch

    parts = []
    for name, tensor in tensors:
        # Matrices that are called bias are causal masks, which old checkpoints store.
        if tensor.ndim < 2 or "lm_head" in name or "embed_out" in name or name.endswith("bias"):
            continue
        flat = tensor.reshape(-1, tensor.shape[-1])
        count = min(_ROWS, flat.shape[0])
        rows = torch.linspace(0, flat.shape[0] - 1, count, dtype=torch.float64).round().long()
        sample = flat[rows.to(flat.device), :_COLUMNS].float().to(torch.bfloat16).cpu().contiguous()
        data = sample.view(torch.int16).numpy().tobytes()
        parts.append(f"{tuple(tensor.shape)}:{hashlib.sha256(data).hexdigest()}")
    # Sorted without names: checkpoints and loaded models may name the same weights differently.
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def _fetched(model: Any) -> Iterable[tuple[str, Any]]:
    """Parameters by name, those that accelerate offloaded in memory while they are looked at."""
    from accelerate.utils.modeling import align_module_device

    for prefix, module in model.named_modules():
        with align_module_device(module):
            yield from module.named_parameters(prefix, recurse=False)


def _is_adapter(name: str, wrappers: set[str]) -> bool:
    """Whether PEFT added the parameter: it hangs below a wrapped layer, beside the `base_layer`."""
    parts = name.split(".")
    return ".modules_to_save." in name or any(
        ".".join(parts[:depth]) in wrappers and parts[depth] != "base_layer" for depth in range(1, len(parts))
    )


def _download(source: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=_WEIGHTS))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"Cannot identify the model `{source}`{f' at revision {revision}' if revision else ''}: its "
            "checkpoint is neither on this machine nor could it be downloaded. Check the id, the revision "
            "and the network, or pass a directory; gated models need `hf auth login`."
        ) from error
