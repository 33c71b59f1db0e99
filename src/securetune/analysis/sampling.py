"""Sampled drift: perturb, run again what comes after, compare. The check of the closed form."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import numpy as np
import torch

from securetune.addressing import Address
from securetune.analysis.perturb import Perturbation, perturbed
from securetune.analysis.proxies import Proxy
from securetune.analysis.weights import check_finite, patched
from securetune.errors import SecureTuneError
from securetune.memory import empty_cache, is_out_of_memory
from securetune.models.hidden_states import Encoded, batches_by_length, encode_prompts
from securetune.models.module_map import ModuleMap

log = logging.getLogger("securetune")
ResultT = TypeVar("ResultT")


def in_micro_batches(
    texts: Sequence[str], size: int, work: Callable[[list[int]], ResultT]
) -> Iterator[tuple[list[int], ResultT]]:
    """Run `work` on batches of indices of `texts`, similar lengths together.

    Out of memory halves the batch, says so and goes on from there.

    Raises:
        SecureTuneError: one prompt alone does not fit into memory.
    """
    waiting = batches_by_length(texts, size)
    while waiting:
        batch = waiting.pop(0)
        too_large = False
        try:
            result = work(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise SecureTuneError(
                    "Out of memory with one prompt at a time. Load the model in bfloat16, quantised or with "
                    'device_map="auto".'
                ) from error
            size = (len(batch) + 1) // 2
            rest = [index for part in (batch, *waiting) for index in part]
            waiting = [rest[start : start + size] for start in range(0, len(rest), size)]
            log.warning("out of memory: micro-batches have %d prompts now", size)
            too_large = True
        if too_large:  # Outside of `except`, whose traceback would keep the tensors alive.
            empty_cache()
        else:
            yield batch, result


class Sampler:
    """Runs a model on fixed prompts under perturbations, recomputing only the blocks that come after."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        modules: ModuleMap,
        proxy: Proxy,
        texts: Sequence[str],
        batch_size: int = 16,
    ) -> None:
        """Run the model once on every prompt and keep what each block puts out."""
        self.modules, self.proxy, self.texts = modules, proxy, tuple(texts)

        def first(batch: list[int]) -> LayerCache:
            encoded = encode_prompts(model, tokenizer, [texts[i] for i in batch], proxy.endings)
            return LayerCache(model, modules, proxy, encoded)

        self._caches = list(in_micro_batches(texts, batch_size, first))

    def squared_drift(
        self, addresses: Collection[Address], perturbation: Perturbation, seed: int
    ) -> np.ndarray:
        """Squared drift `[prompts]` when `addresses` are perturbed together, in units of the gap squared."""
        squared = np.zeros(len(self.texts))
        if not addresses:
            return squared
        first = min(address.layer for address in addresses)
        with perturbed(self.modules, addresses, perturbation, seed):
            for batch, cache in self._caches:
                change = self.proxy.squared_change(cache.read_from(first), cache.start)
                squared[batch] = change.double().cpu().numpy()
        names = sorted(addresses)
        check_finite("drift under perturbation", names, np.repeat(squared[:, None], len(names), 1))
        return squared

    def joint_drift(
        self, addresses: Collection[Address], perturbation: Perturbation, seeds: Sequence[int]
    ) -> list[float]:
        """Root-mean-square drift over the prompts, one value per draw."""
        return [float(np.sqrt(self.squared_drift(addresses, perturbation, seed).mean())) for seed in seeds]


class LayerCache:
    """The outputs of all blocks for one batch of prompts."""

    def __init__(self, model: Any, modules: ModuleMap, proxy: Proxy, encoded: Encoded) -> None:
        self.model, self.proxy, self.encoded = model, proxy, encoded
        self.blocks = modules.blocks()
        self.outputs: list[Any] = []
        with ExitStack() as stack:
            for block in self.blocks:
                handle = block.register_forward_hook(lambda _m, _i, output: self.outputs.append(output))
                stack.callback(handle.remove)
            self.start = self._read()

    def read_from(self, layer: int) -> torch.Tensor:
        """The proxy's reading when no block before `layer` has changed."""
        with ExitStack() as stack:
            for block, output in zip(self.blocks[:layer], self.outputs):
                stack.enter_context(patched(block, lambda *args, _output=output, **kwargs: _output))
            return self._read()

    def _read(self) -> torch.Tensor:
        with torch.inference_mode():
            return self.proxy.read(self.model, self.encoded)


def root_mean_square(values: Sequence[float] | np.ndarray) -> float:
    """The root mean square of `values`."""
    return float(np.sqrt(np.mean(np.square(values))))
