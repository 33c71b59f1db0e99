"""Names of weights: one address per set of weights that can have its own learning rate.

Pure strings: this module imports neither torch nor a model library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache

from securetune.errors import PlanError

# Components that a wrapper adds, wherever the wrapper sits: FSDP1, activation checkpointing, torch.compile.
_WRAPPERS = frozenset({"_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"})

# A model may have a submodule of its own called `module` or `base_model`: these count only in front.
_PREFIXES = ("module.", "base_model.model.")

# A factor hangs below the module that it adapts, so the rest of the name is PEFT's.
_FACTOR = re.compile(r"\.lora_(?:A|B|E|embedding_A|embedding_B|magnitude_vector)(?:\..+)?$")
_PEFT_LAYER = re.compile(r"\.(?:base_layer|original_module|modules_to_save\.[^.]+)(?=\.|$)")

_LAYER_RANGES = re.compile(r"[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*")
# Models that list their experts one by one have hundreds of paths.
_SHOWN = 40

_GRAMMAR = (
    'Write layers ("12", "0-11", "0-3,8,10-12", "*"), a path ("q_proj", "mlp.*"), or both ("0-11.mlp.*").'
)


@dataclass(frozen=True, order=True)
class Address:
    """The smallest set of weights that can have its own learning rate, e.g. `12.self_attn.q_proj`.

    A weight and its bias share an address; norms have addresses too.

    Examples:
        >>> Address.parse("12.self_attn.q_proj")
        Address(layer=12, path='self_attn.q_proj')
    """

    layer: int
    """Index of the decoder block, from 0."""
    path: str
    """Dotted path inside the decoder block, without `.weight`."""

    def __str__(self) -> str:
        return f"{self.layer}.{self.path}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read what `str(address)` wrote.

        Raises:
            PlanError: The text is not a layer index, a dot and a path.
        """
        layer, _, path = text.partition(".")
        if not re.fullmatch(r"[0-9]+", layer) or not all(path.split(".")):
            raise PlanError(f"{text!r} is not an address: expected layer.path, like 12.self_attn.q_proj.")
        return cls(int(layer), path)


@lru_cache(maxsize=2**16)
def unwrapped_name(parameter_name: str) -> str:
    """The name without what DDP, FSDP1, activation checkpointing, compile and `PeftModel` put around it.

    What PEFT puts inside (`.base_layer`, `.lora_A.default`) stays: it tells adapter from base weight.
    """
    name = ".".join(part for part in parameter_name.split(".") if part not in _WRAPPERS)
    while name.startswith(_PREFIXES):
        name = name.removeprefix(_PREFIXES[0]).removeprefix(_PREFIXES[1])
    return name


def canonical_name(parameter_name: str) -> str:
    """The plain name of the base parameter, whatever wraps the model or adapts the parameter.

    Factors of fused expert parameters do not name their target: `ModuleMap.address_of` knows it.

    Examples:
        >>> canonical_name("module.base_model.model.model.layers.3.mlp.up_proj.lora_A.default.weight")
        'model.layers.3.mlp.up_proj.weight'
        >>> canonical_name("model.layers.3._checkpoint_wrapped_module.mlp.up_proj.bias")
        'model.layers.3.mlp.up_proj.bias'
    """
    name = _FACTOR.sub(".weight", unwrapped_name(parameter_name))
    return _PEFT_LAYER.sub("", name)


def in_stack(stack: str, name: str) -> bool:
    """Whether a canonical name is that of a parameter in one of the stack's blocks."""
    rest = name.removeprefix(f"{stack}.")
    return rest != name and rest.partition(".")[0].isdecimal()


def stack_addresses(stack: str, names: Iterable[str]) -> dict[str, Address]:
    """The one rule: `stack . layer . path . weight` names the parameter at `(layer, path)`.

    A bare parameter keeps its name as path; its bias, `<name>_bias`, folds into it.

    Args:
        stack: Canonical name of the decoder stack.
        names: Canonical names of all base parameters; those outside the stack get no address.
    """
    addresses = {}
    for name in names:
        if in_stack(stack, name):
            layer, _, rest = name.removeprefix(f"{stack}.").partition(".")
            addresses[name] = Address(int(layer), rest.removesuffix(".weight").removesuffix(".bias"))
    known = set(addresses.values())
    for name, address in addresses.items():
        weight = Address(address.layer, address.path.removesuffix("_bias"))
        if weight in known:
            addresses[name] = weight
    return addresses


@dataclass(frozen=True)
class Selector:
    """A parsed pattern: some layers, and a path glob."""

    layers: tuple[tuple[int, int], ...] | None
    """Inclusive ranges; None means every layer."""
    glob: str
    """Case-sensitive; `*` means every path."""

    def matches(self, address: Address) -> bool:
        """Whether the address is in one of the layers and under the glob."""
        return self.matches_layer(address.layer) and self.matches_path(address.path)

    def matches_layer(self, layer: int) -> bool:
        """Whether the layer is in one of the ranges."""
        return self.layers is None or any(first <= layer <= last for first, last in self.layers)

    def matches_path(self, path: str) -> bool:
        """Whether the glob matches some contiguous run of the path's components, "mlp" as "mlp.*"."""
        parts = path.split(".")
        runs = (
            ".".join(parts[start:end])
            for start in range(len(parts))
            for end in range(start + 1, len(parts) + 1)
        )
        return any(fnmatchcase(run, self.glob) for run in runs)


@lru_cache(maxsize=1024)
def parse_pattern(pattern: str) -> Selector:
    """Read a pattern: an optional layer part, then an optional path glob.

    A first component that starts with a digit is always the layer part, and so is a leading `*`.

    Raises:
        PlanError: The pattern is malformed.
    """
    first, _, rest = pattern.partition(".")
    if not all(pattern.split(".")) or re.search(r"\s", pattern):
        raise PlanError(f"pattern {pattern!r} has an empty part or a space in it. {_GRAMMAR}")
    if first == "*":
        return Selector(None, rest or "*")
    if not re.match(r"[0-9,-]", first):
        return Selector(None, pattern)
    if not _LAYER_RANGES.fullmatch(first):
        raise PlanError(f"pattern {pattern!r} has a malformed layer part {first!r}. {_GRAMMAR}")
    return Selector(tuple(_layer_range(item, pattern) for item in first.split(",")), rest or "*")


def matches(pattern: str, address: Address) -> bool:
    """Whether the pattern selects the address.

    Examples:
        >>> matches("0-11.mlp", Address(3, "mlp.up_proj")), matches("proj", Address(3, "mlp.up_proj"))
        (True, False)

    Raises:
        PlanError: The pattern is malformed.
    """
    return parse_pattern(pattern).matches(address)


def describe_paths(paths: Sequence[str], wanted: str) -> str:
    """Help for an error message: the paths near the one that was wanted, then all of them."""
    tails = {
        ".".join(path.split(".")[start:]): path for path in paths for start in range(path.count(".") + 1)
    }
    near = dict.fromkeys(tails[tail] for tail in get_close_matches(wanted, tails))
    question = f"Did you mean {' or '.join(near)}? " if near else ""
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"{question}The paths are: {', '.join(paths[:_SHOWN])}{more}."


def _layer_range(item: str, pattern: str) -> tuple[int, int]:
    first, _, last = item.partition("-")
    ends = int(first), int(last or first)
    if ends[0] > ends[1]:
        raise PlanError(f"pattern {pattern!r}: the range {item!r} runs backwards. Write {last}-{first}.")
    return ends
