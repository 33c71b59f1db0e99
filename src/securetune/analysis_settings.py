"""Settings of the analysis."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from securetune.settings import Settings

Share = Annotated[float, Field(gt=0, le=1)]
SECTIONS = ("proxies", "specificity", "probes", "stability", "perturbations", "joint", "refit")
"""Of the full analysis."""


class AnalysisSettings(Settings):
    """Probe, sensitivity map, check and search."""

    probe: Literal["logistic", "two-layer", "mean-difference"] = "logistic"
    """How the probe is fitted; `two-layer` is the paper's classifier as far as it is described."""
    probe_l2: float = Field(1e-2, gt=0)
    """L2 penalty of the probe on standardised features (ours)."""
    folds: int = Field(5, ge=2)
    proxy: Literal["probe", "refusal-margin", "refusal-direction"] = "probe"
    """What drift is measured by."""
    method: Literal["closed-form", "monte-carlo"] = "closed-form"
    """First-order prediction for all matrices by one backward pass, or sampling one by one."""
    perturbation: Literal["gaussian", "gaussian-equal", "scale", "zero", "low-rank", "update"] = "gaussian"
    """See `securetune.analysis.perturb`."""
    noise_scale: float = Field(0.1, gt=0)
    """Size of the perturbation; of Gaussian noise, in units of each weight matrix's own deviation (ours)."""
    update_from: str | None = None
    """For `update`: a LoRA adapter that a benign fine-tune left, e.g. `RUN/tune/vanilla/adapter`; without, a
    short fine-tune on the run's tuning data is made."""
    prompts: int = Field(48, ge=4)
    """Prompts (half harmful, half twins) that make the map (ours)."""
    batch_size: int = Field(16, ge=1)
    """Prompts at once; halved when memory runs out."""
    draws: int = Field(8, ge=1)
    """Draws per matrix of the sampled method (ours)."""
    check_addresses: int = Field(12, ge=0)
    """Matrices that are sampled to check the closed form, and as many experts; 0 leaves the check out, except
    of some experts: routing is discrete."""
    check_prompts: int = Field(16, ge=4)
    check_draws: int = Field(4, ge=4)
    """Per matrix; fewer leave no halves of draws, so no ceiling."""
    check_bound: float = Field(2.0, gt=1)
    """Ratio of sampled to predicted drift, either way, beyond which a matrix is named (ours)."""
    search: Literal["bisect", "greedy", "random"] = "bisect"
    granularity: Literal["matrix", "layer-block", "layer", "type-band"] = "matrix"
    """What is taken or left together."""
    share: Share = 0.5
    """Share of the matrix parameters to put into the robust set (ours), unless `drift_budget` is given."""
    drift_budget: float | None = Field(None, gt=0)
    """Largest verified joint drift, in units of the median harmful-harmless gap of the proxy."""
    verify_draws: int = Field(4, ge=1)
    verify_prompts: int = Field(24, ge=4)
    """Other prompts than those of the map."""
    quantised: bool = False
    """Analyse the base as `model.load_in_4bit` loads it, for models that do not fit otherwise."""
