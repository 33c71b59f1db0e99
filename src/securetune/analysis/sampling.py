"""Sampled drift: perturb, run again what comes after, compare. The check of the closed form."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from securetune.addressing import Address
from securetune.analysis.perturb import Perturbation, perturbed
from securetune.analysis.proxies import Proxy
from securetune.analysis.weights import check_finite, patched
from securetune.memory import empty_cache
from securetune.models.hidden_states import Encoded, encode_prompts, halved, in_micro_batches
from securetune.models.module_map import ModuleMap


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
        """Run the model once on every prompt and keep what each block puts out, in the CPU's memory.

        Raises:
            SecureTuneError: one prompt alone does not fit into memory.
        """
        self.model, self.tokenizer = model, tokenizer
        self.modules, self.proxy, self.texts = modules, proxy, tuple(texts)
        self._caches = self._run(batch_size)

    def squared_drift(
        self, addresses: Collection[Address], perturbation: Perturbation, seed: int
    ) -> np.ndarray:
        """Squared drift `[prompts]` when `addresses` are perturbed together, in units of the gap squared.

        Out of memory halves the batches for this and all later calls, and says so.

        Raises:
            SecureTuneError: the drift is not finite, or one prompt alone does not fit into memory.
        """
        if not addresses:
            return np.zeros(len(self.texts))
        squared = None
        while squared is None:
            size = max(len(batch) for batch, _ in self._caches)
            try:
                squared = self._measured(addresses, perturbation, seed)
            except (RuntimeError, MemoryError) as error:
                size = halved(size, error)
            if squared is None:  # Outside of `except`, whose traceback would keep the tensors alive.
                self._caches.clear()
                empty_cache()
                self._caches = self._run(size)
        names = sorted(addresses)
        check_finite("drift under perturbation", names, np.repeat(squared[:, None], len(names), 1))
        return squared

    def _measured(self, addresses: Collection[Address], perturbation: Perturbation, seed: int) -> np.ndarray:
        squared = np.zeros(len(self.texts))
        first = min(address.layer for address in addresses)
        with perturbed(self.modules, addresses, perturbation, seed):
            for batch, cache in self._caches:
                change = self.proxy.squared_change(cache.read_from(first), cache.start)
                squared[batch] = change.double().numpy()
        return squared

    def _run(self, batch_size: int) -> list[tuple[list[int], LayerCache]]:
        def first(batch: list[int]) -> LayerCache:
            texts = [self.texts[i] for i in batch]
            encoded = encode_prompts(self.model, self.tokenizer, texts, self.proxy.endings)
            return LayerCache(self.model, self.modules, self.proxy, encoded)

        return list(in_micro_batches(self.texts, batch_size, first))

    def joint_drift(
        self, addresses: Collection[Address], perturbation: Perturbation, seeds: Sequence[int]
    ) -> list[float]:
        """Root-mean-square drift over the prompts, one value per draw."""
        return [float(np.sqrt(self.squared_drift(addresses, perturbation, seed).mean())) for seed in seeds]


class LayerCache:
    """The outputs of all blocks for one batch of prompts, in the CPU's memory."""

    def __init__(self, model: Any, modules: ModuleMap, proxy: Proxy, encoded: Encoded) -> None:
        self.model, self.proxy, self.encoded = model, proxy, encoded
        self.blocks = modules.blocks()
        self.outputs: list[Any] = []
        self._devices: list[torch.device] = []

        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            self._devices.append((output[0] if isinstance(output, tuple) else output).device)
            self.outputs.append(_moved(output, "cpu"))

        with ExitStack() as stack:
            for block in self.blocks:
                stack.callback(block.register_forward_hook(keep).remove)
            self.start = self._read()

    def read_from(self, layer: int) -> torch.Tensor:
        """The proxy's reading, on the CPU, when no block before `layer` has changed."""
        with ExitStack() as stack:
            for index, block in enumerate(self.blocks[:layer]):
                # Only the last output is read; those before it go into blocks that do nothing.
                output = self.outputs[index]
                if index == layer - 1:
                    output = _moved(output, self._devices[index])
                stack.enter_context(patched(block, lambda *args, _output=output, **kwargs: _output))
            return self._read()

    def _read(self) -> torch.Tensor:
        with torch.inference_mode():
            return self.proxy.read(self.model, self.encoded).cpu()


def _moved(output: Any, device: torch.device | str) -> Any:
    """The output of a block, a tensor or a tuple that holds some, on a device."""
    if isinstance(output, tuple):
        return tuple(_moved(part, device) for part in output)
    return output.to(device) if isinstance(output, torch.Tensor) else output


def root_mean_square(values: Sequence[float] | np.ndarray) -> float:
    """The root mean square of `values`."""
    return float(np.sqrt(np.mean(np.square(values))))
