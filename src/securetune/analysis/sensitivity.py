"""The sensitivity map: how far a perturbation of one weight matrix moves a proxy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from securetune.addressing import Address
from securetune.analysis.closed_form import gradient_norms
from securetune.analysis.fused import whole
from securetune.analysis.halves import random_halves
from securetune.analysis.perturb import FIXED, Perturbation, change_of
from securetune.analysis.proxies import Proxy
from securetune.analysis.rows import Rows
from securetune.analysis.sampling import Sampler
from securetune.analysis.weights import check_whole, deviation, elements
from securetune.errors import StaleArtifactError
from securetune.files import digest, read_json, write_json
from securetune.models.fingerprint import fingerprint
from securetune.models.hidden_states import encode_prompts, in_micro_batches
from securetune.models.module_map import ModuleMap
from securetune.progress import progress


@dataclass(frozen=True)
class SensitivityMap:
    """Root-mean-square drift of a proxy per weight matrix, predicted to first order or sampled.

    For isotropic noise of standard deviation `s` on a matrix `W`, the expected squared change of a score z on
    a prompt is, to first order, `s^2 ||dz/dW||_F^2`. Drifts are in units of the proxy's harmful-harmless gap,
    so a drift of 1 turns the median harmful prompt into a harmless one. For a known change D of W it is, to
    first order, `<dz/dW, D>`, with its sign.

    Deviation from arXiv 2410.04524, which scores the drop of the classifier under a sampled perturbation:
    the signed mean drop has a split-half reliability near zero, the root mean square does not.
    """

    addresses: tuple[Address, ...]
    sizes: tuple[int, ...]
    """Elements of each matrix."""
    per_prompt: np.ndarray
    """`[prompts, addresses]` root-mean-square drift on each prompt (over draws, where there are any); of the
    closed form for a known change (`scale`, `zero`, `update`), the signed drift."""
    noise_scale: float
    """Size of the perturbation; of Gaussian noise, in units of each matrix's own deviation."""
    method: str = "closed-form"
    proxy: str = "probe"
    perturbation: str = "gaussian"
    per_draw: np.ndarray | None = None
    """`[draws, addresses]` root-mean-square drift over prompts of each draw; `None` for the closed form."""
    lora_l2: np.ndarray | None = None
    """`[addresses]` drift per unit of movement, in a random direction, of the factor B of a fresh LoRA with
    the rank and scaling (alpha over r) that will be trained; NaN where there is none."""
    lora_l1: np.ndarray | None = None
    """`[addresses]` largest drift of one sign-like step of unit rate on B (mean over prompts)."""
    parts: tuple[Address, ...] = ()
    """Parts of fused projections, e.g. `3.self_attn.qkv_proj.q`. No plan can name them: a weight has one
    learning rate."""
    part_drift: np.ndarray | None = None
    """`[parts]` drift when the noise of the whole matrix is put on the part alone; `None` where nothing is
    fused, or sampled."""
    paired: bool = False
    """Whether rows 2k and 2k + 1 of `per_prompt` are a pair: such prompts stay together in halves."""

    @property
    def drift(self) -> np.ndarray:
        """`[addresses]` root-mean-square drift over prompts."""
        return np.asarray(np.sqrt(np.mean(self.per_prompt**2, axis=0)))

    def by_type(self) -> tuple[tuple[Address, ...], np.ndarray]:
        """Addresses and their drifts, every fused projection replaced by its parts."""
        if self.part_drift is None:
            return self.addresses, self.drift
        fused = set(map(whole, self.parts))
        kept = [i for i, address in enumerate(self.addresses) if address not in fused]
        addresses = (*(self.addresses[i] for i in kept), *self.parts)
        return addresses, np.concatenate([self.drift[kept], self.part_drift])

    def predicted_joint(self, indices: Sequence[int]) -> float:
        """Drift of several matrices perturbed together, to first order.

        Effects add up in square; those of known changes (closed form for `zero`, `update`) with their sign.
        """
        columns = list(indices)
        if self.method == "closed-form" and self.perturbation in FIXED:
            return float(np.sqrt(np.mean(self.per_prompt[:, columns].sum(1) ** 2)))
        return float(np.sqrt(np.sum(self.drift[columns] ** 2)))

    def split_half(self, splits: int = 50, seed: int = 0) -> float | None:
        """Mean Spearman correlation of the maps of two random halves of the prompts (uncorrected).

        The prompts of a pair stay together.
        """
        return _split_half(self.per_prompt, splits, seed, self.paired)

    def split_half_draws(self, splits: int = 50, seed: int = 0) -> float | None:
        """The same over halves of the draws; `None` for the closed form, which draws nothing."""
        return None if self.per_draw is None else _split_half(self.per_draw, splits, seed)

    def at(self, addresses: Sequence[Address], prompts: Sequence[int] | None = None) -> SensitivityMap:
        """The same map of some addresses, and of some prompts."""
        place = {address: index for index, address in enumerate(self.addresses)}
        columns = [place[address] for address in addresses]
        rows = list(range(len(self.per_prompt)) if prompts is None else prompts)
        return SensitivityMap(
            tuple(addresses),
            tuple(self.sizes[column] for column in columns),
            self.per_prompt[np.ix_(rows, columns)],
            self.noise_scale,
            self.method,
            self.proxy,
            self.perturbation,
            paired=self.paired and prompts is None,
        )

    def save(self, path: Path) -> None:
        """Write the map as JSON."""
        content = {
            "method": self.method,
            "proxy": self.proxy,
            "perturbation": self.perturbation,
            "noise_scale": self.noise_scale,
            "addresses": [str(address) for address in self.addresses],
            "sizes": list(self.sizes),
            "per_prompt": _rounded(self.per_prompt),
            "per_draw": _rounded(self.per_draw),
            "lora_l2": _rounded(self.lora_l2),
            "lora_l1": _rounded(self.lora_l1),
            "parts": [str(part) for part in self.parts],
            "part_drift": _rounded(self.part_drift),
            "paired": self.paired,
        }
        write_json(path, content)

    @classmethod
    def load(cls, path: Path) -> SensitivityMap:
        """Read a map."""
        content = read_json(path)
        content["addresses"] = tuple(Address.parse(text) for text in content["addresses"])
        content["sizes"] = tuple(content["sizes"])
        content["parts"] = tuple(Address.parse(text) for text in content.get("parts", ()))
        for key in ("per_prompt", "per_draw", "lora_l2", "lora_l1", "part_drift"):
            if content.get(key) is not None:
                content[key] = np.array(content[key], dtype=float)
        return cls(**content)


@dataclass(frozen=True)
class MapTask:
    """Everything that decides a map. Work divides by prompt (closed form) or by address (sampled)."""

    model: Any
    tokenizer: Any
    modules: ModuleMap
    proxy: Proxy
    texts: tuple[str, ...]
    perturbation: Perturbation = field(default_factory=Perturbation)
    method: str = "closed-form"
    addresses: tuple[Address, ...] = ()
    """Empty: all matrices."""
    batch_size: int = 16
    draws: int = 8
    """Of the sampled method; a perturbation that draws nothing has one."""
    lora_rank: int = 8
    """r of the adapter that will be trained."""
    lora_scaling: float = 2.0
    """Its alpha over r: PEFT multiplies B A by it."""
    seed: int = 0
    paired: bool = False
    """Whether every two texts in a row are a pair."""
    model_fingerprint: str | None = None
    """Of the model, if it is known already."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured before anything is."""
        check_whole(self.model)

    @cached_property
    def targets(self) -> tuple[Address, ...]:
        """The addresses of the map."""
        return self.addresses or self.modules.matrices()

    @property
    def keys(self) -> list[str]:
        """One per unit of work."""
        if self.method == "closed-form":
            return [hashlib.sha256(text.encode()).hexdigest()[:12] for text in self.texts]
        return [str(address) for address in self.targets]

    @property
    def identity(self) -> dict[str, Any]:
        """What the rows depend on, for the header of their files (`Rows`)."""
        kinds = {str(parameter.dtype).removeprefix("torch.") for parameter in self.model.parameters()}
        found: dict[str, Any] = {
            "model": self.model_fingerprint or fingerprint(self.model),
            "dtypes": sorted(kinds),
            "proxy": self.proxy.name,
            "gap": self.proxy.gap,
            "method": self.method,
            **self.perturbation.identity,
            "seed": self.seed,
            "texts": digest(self.texts),
            "addresses": digest([str(address) for address in self.targets]),
        }
        if self.method == "closed-form":
            return found | {"lora_rank": self.lora_rank, "lora_scaling": self.lora_scaling}
        return found | {"draws": self.draws}

    def measure(self, rows: Rows, keys: Sequence[str] | None = None) -> None:
        """Do what `rows` does not hold yet, of all `keys` or of some."""
        wanted = [key for key in (self.keys if keys is None else keys) if key not in rows.done]
        label = f"sensitivity map ({self.proxy.name}, {self.method})"
        with progress(label, len(wanted)) as advance:
            work = self._by_prompt if self.method == "closed-form" else self._by_address
            work(rows, set(wanted), advance)

    def _by_prompt(self, rows: Rows, wanted: set[str], advance: Any) -> None:
        chosen = [(key, text) for key, text in zip(self.keys, self.texts) if key in wanted]
        texts = [text for _, text in chosen]
        scale = self._noise / self.proxy.gap if chosen else np.empty(0)
        scales = dict(zip(self.targets, scale))
        unit = self.lora_scaling / self.proxy.gap
        change = partial(change_of, self.modules, self.perturbation, seed=self.seed)

        def norms(batch: list[int]) -> Any:
            encoded = encode_prompts(
                self.model, self.tokenizer, [texts[i] for i in batch], self.proxy.endings
            )
            return gradient_norms(
                self.model, self.modules, self.targets, self.proxy, encoded,
                lora_rank=self.lora_rank, seed=self.seed,
                change=change if self.perturbation.directed else None,
            )  # fmt: skip

        for batch, found in in_micro_batches(texts, self.batch_size, norms):
            for line, index in enumerate(batch):
                lora = (found.lora_l2[line] * unit, found.lora_l1[line] * unit)
                measured = [_rounded(row) for row in (found.weights[line] * scale, *lora)]
                parts = {
                    str(part): float(values[line] * scales[whole(part)])
                    for part, values in found.parts.items()
                }
                rows.append(chosen[index][0], [*measured, parts])
            advance(len(batch))

    def _by_address(self, rows: Rows, wanted: set[str], advance: Any) -> None:
        if not wanted:
            return
        sampler = Sampler(self.model, self.tokenizer, self.modules, self.proxy, self.texts, self.batch_size)
        draws = self.draws if self.perturbation.draws else 1
        for address in self.targets:
            if str(address) in wanted:
                squared = [
                    sampler.squared_drift([address], self.perturbation, self.seed + draw)
                    for draw in range(draws)
                ]
                rows.append(str(address), _rounded(np.stack(squared)))
                advance(1)

    @property
    def _noise(self) -> np.ndarray:
        """Standard deviation of the noise on each address; 1 where the change itself is measured."""
        if self.perturbation.directed:
            return np.ones(len(self.targets))
        s, kind = self.perturbation.size, self.perturbation.kind
        if kind == "gaussian-equal":
            sizes = [elements(self.modules, address) for address in self.targets]
            return s * self.perturbation.reference / np.sqrt(sizes)
        return s * np.array([deviation(self.modules, address) for address in self.targets])

    def assemble(self, rows: Rows) -> SensitivityMap:
        """Put the rows of all workers together.

        Raises:
            StaleArtifactError: some are missing.
        """
        missing = [key for key in self.keys if key not in rows.done]
        if missing:
            raise StaleArtifactError(
                f"The map lacks {len(missing)} of {len(self.keys)} rows. Run the missing shards, bring their "
                "map.*.jsonl files into one directory, and run `analyze` without --shard."
            )
        done = [rows.done[key] for key in self.keys]
        lora_l2 = lora_l1 = per_draw = part_drift = None
        parts: list[str] = []
        if self.method == "closed-form":
            values = np.array([row[:3] for row in done], dtype=float)
            parts = list(done[0][3])
            if parts:
                part_drift = np.sqrt(np.mean([[row[3][part] ** 2 for part in parts] for row in done], axis=0))
            per_prompt = values[:, 0]
            lora_l2, lora_l1 = np.sqrt((values[:, 1] ** 2).mean(0)), values[:, 2].mean(0)
        else:
            values = np.array(done, dtype=float)
            per_prompt, per_draw = np.sqrt(values.mean(1)).T, np.sqrt(values.mean(2)).T
        sizes = tuple(self.modules.size(address) for address in self.targets)
        return SensitivityMap(
            self.targets, sizes, per_prompt, self.perturbation.size, self.method, self.proxy.name,
            self.perturbation.kind, per_draw, lora_l2, lora_l1, tuple(map(Address.parse, parts)), part_drift,
            self.paired,
        )  # fmt: skip


def map_sensitivity(task: MapTask) -> SensitivityMap:
    """Measure a whole map in memory."""
    rows = Rows()
    task.measure(rows)
    return task.assemble(rows)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman correlation; None of fewer than three values, or where all values are equal."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(stats.spearmanr(first, second).statistic)


def _split_half(values: np.ndarray, splits: int, seed: int, paired: bool = False) -> float | None:
    n, width = values.shape
    if n < 4 or width < 3:
        return None
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(splits):
        first, second = (np.mean(values[part] ** 2, axis=0) for part in random_halves(n, paired, rng))
        found.append(rank_correlation(first, second))
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def _rounded(values: np.ndarray | None) -> Any:
    """Nested lists with 7 significant digits; NaN becomes None."""
    if values is None:
        return None
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values]
