"""How well maps predict what training costs, where we measured it: docs/analysis.md, the embedded model.

Ten steps, in which hardly a refusal is lost. After thirty, when most are, no map was shown to predict which
of ten random sets loses more.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Validity:
    """Rank correlation of a map with the refusal margin that training loses, with its 95% interval."""

    single: tuple[float, float, float]
    """Over matrices, each trained alone (n = 20)."""
    sets: tuple[float, float, float]
    """Over random sets of a quarter of the parameters (n = 10)."""

    @property
    def shown(self) -> bool:
        """Whether the interval over single matrices lies above zero."""
        return self.single[1] > 0

    def describe(self) -> str:
        """Both numbers in words."""
        (one, low, high), (sets, sets_low, sets_high) = self.single, self.sets
        return (
            f"rank correlation {one:.2f} [{low:.2f}, {high:.2f}] over single matrices, {sets:.2f} "
            f"[{sets_low:.2f}, {sets_high:.2f}] over random sets"
        )


VALIDITY: dict[tuple[str, str], Validity] = {
    ("probe", "gaussian"): Validity((0.11, -0.39, 0.54), (0.62, 0.05, 0.92)),
    ("refusal-margin", "gaussian"): Validity((0.24, -0.24, 0.63), (0.48, -0.19, 0.84)),
    ("refusal-direction", "gaussian"): Validity((0.37, -0.10, 0.75), (0.67, 0.05, 0.96)),
    ("probe", "gaussian-equal"): Validity((0.45, 0.01, 0.79), (0.76, 0.25, 0.99)),
    ("refusal-margin", "gaussian-equal"): Validity((0.54, 0.09, 0.91), (0.62, 0.03, 0.93)),
    ("refusal-direction", "gaussian-equal"): Validity((0.52, 0.08, 0.87), (0.77, 0.28, 0.99)),
    ("probe", "update"): Validity((0.76, 0.51, 0.89), (0.44, -0.43, 0.92)),
    ("refusal-direction", "update"): Validity((0.54, 0.18, 0.76), (0.41, -0.42, 0.82)),
    ("refusal-margin", "update"): Validity((0.86, 0.67, 0.93), (0.78, 0.17, 1.00)),
    # Sampled; in closed form they predict no better.
    ("probe", "zero"): Validity((0.34, -0.13, 0.72), (0.47, -0.31, 0.96)),
    ("refusal-margin", "zero"): Validity((-0.12, -0.60, 0.39), (-0.01, -0.75, 0.80)),
    ("refusal-direction", "zero"): Validity((0.32, -0.14, 0.73), (0.59, -0.13, 0.92)),
    ("probe", "scale"): Validity((0.07, -0.36, 0.53), (0.38, -0.43, 0.82)),
    ("refusal-margin", "scale"): Validity((-0.04, -0.52, 0.41), (0.38, -0.42, 0.90)),
    ("refusal-direction", "scale"): Validity((0.04, -0.42, 0.50), (0.60, -0.09, 0.99)),
}
BEST = ("refusal-margin", "update")
"""The kind whose intervals lie highest."""


def known_validity(proxy: str, perturbation: str) -> tuple[bool, str]:
    """Whether maps of a kind are shown to predict training, and a sentence that says what was measured.

    Args:
        proxy: of the map.
        perturbation: its kind; `low-rank` has the closed form of `gaussian`.
    """
    kind = "gaussian" if perturbation == "low-rank" else perturbation
    where = (
        "measured over ten steps on the embedded model; of longer training nothing is shown: docs/analysis.md"
    )
    found = VALIDITY.get((proxy, kind))
    best = (
        f"analysis.proxy={BEST[0]} with analysis.perturbation={BEST[1]} reaches {VALIDITY[BEST].describe()}"
    )
    if found is None:
        return False, (
            f"Whether a map of {proxy} under {perturbation} predicts what training costs is not known; "
            f"{best} ({where})."
        )
    if found.shown:
        return True, (
            f"Such maps ({proxy}, {perturbation}) predict the refusal margin that training a matrix alone "
            f"loses: {found.describe()} ({where})."
        )
    return False, (
        f"Such maps ({proxy}, {perturbation}) are not shown to predict the refusal margin that training a "
        f"matrix alone loses: {found.describe()}; {best} ({where})."
    )
