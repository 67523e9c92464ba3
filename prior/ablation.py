"""Which parts of VRMM earn their place: the variants of the paper's Section 4.3, and one table of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from datasets.errors import VrmmError
from prior.metrics import mean_of

VARIANTS: dict[str, tuple[str, ...]] = {
    "full": (),
    "without_consistency": ("losses.consistency_image=0", "losses.consistency_code=0"),
    "without_detach": ("model.detach=false",),
    "without_concatenation": ("model.concatenate=false",),
    "without_kl": ("losses.kl=0",),
    "without_linear_light": ("model.linear_light=false",),
}
"""What each variant changes in the recipe."""

REPEATED = ("full", "without_consistency")
"""Variants that are trained with every seed; the others with the first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblationRun:
    """One training of a table."""

    variant: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.variant}_{self.seed}"

    @property
    def overrides(self) -> tuple[str, ...]:
        """Changes to the recipe."""
        return (*VARIANTS[self.variant], f"seed={self.seed}")


def plan_ablation(variants: Sequence[str], seeds: int) -> list[AblationRun]:
    """The runs of a table; first every variant once, so that an early look shows all of them.

    Raises:
        VrmmError: an unknown variant.
    """
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        raise VrmmError(f"there is no variant {unknown[0]}; there are {', '.join(VARIANTS)}")
    return [
        AblationRun(variant=variant, seed=seed)
        for seed in range(seeds)
        for variant in variants
        if seed == 0 or variant in REPEATED
    ]


def collect(results: dict[AblationRun, dict[str, Any]]) -> dict[str, Any]:
    """One object a variant in the form of evaluation.json: means over seeds, and each of them under ``seeds``."""
    table = {}
    for variant in dict.fromkeys(run.variant for run in results):
        rows = [result for run, result in results.items() if run.variant == variant]
        table[variant] = {**mean_of(rows), "seeds": rows}
    return table
