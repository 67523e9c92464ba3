"""Ridge regression with folds: what can be read linearly from codes, scored on frames that it was not fitted to."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

STRENGTHS = tuple(10.0**power for power in range(-3, 5))
"""Of the penalty, in units of the number of frames: from hardly any to one that leaves the mean alone."""

LEAST_FOLDS = 3
"""Two to fit and to choose the strength with, one to score."""


def cross_predicted(
    inputs: Float[np.ndarray, "N D"], targets: Float[np.ndarray, "N T"], folds: Int[np.ndarray, "N"]
) -> Float[np.ndarray, "N T"]:
    """Every frame's targets as a linear probe predicts them that has not seen the frame's fold.

    The probe is (XᵀX + λ N I)⁻¹ XᵀY with inputs standardised and targets centred on what it is fitted to (Hoerl &
    Kennard 1970). λ is the one of ``STRENGTHS`` whose squared error is least over the other folds, each in turn left
    out, so that nothing of the scored fold is in the choice either.

    Args:
        inputs: the codes.
        targets: what is asked of them.
        folds: number of each frame's fold; at least ``LEAST_FOLDS`` of them.
    """
    predicted = np.zeros_like(targets)
    for fold in np.unique(folds):
        scored = folds == fold
        strength = _best_strength(inputs[~scored], targets[~scored], folds[~scored])
        (predicted[scored],) = _predict(inputs[~scored], targets[~scored], inputs[scored], (strength,))
    return predicted


def r_squared(
    targets: Float[np.ndarray, "N T"], predicted: Float[np.ndarray, "N T"], folds: Int[np.ndarray, "N"]
) -> float:
    """1 - Σ (y - ŷ)² / Σ (y - ȳ)² over all targets together, ȳ the mean over the other folds.

    1 is a probe that knows everything, 0 one that knows the mean; below 0 it was misled. 0 for targets that do not
    vary.
    """
    guessed = np.zeros_like(targets)
    for fold in np.unique(folds):
        guessed[folds == fold] = targets[folds != fold].mean(axis=0)
    total = ((targets - guessed) ** 2).sum()
    return float(1.0 - ((targets - predicted) ** 2).sum() / total) if total > 1e-12 else 0.0


def block_folds(groups: Sequence[str], most: int) -> Int[np.ndarray, "N"]:
    """Folds of frames that are listed group by group in the order of time: each group's are cut into equal blocks.

    Neighbours in time resemble each other, so a fold of scattered frames would be scored on what was fitted. There
    are as many folds as the smallest group has frames, but no more than ``most``.
    """
    names = np.array(groups)
    counts = {name: int((names == name).sum()) for name in dict.fromkeys(groups)}
    folds, cuts = np.zeros(len(names), int), min(most, *counts.values())
    for name, count in counts.items():
        folds[names == name] = np.arange(count) * cuts // count
    return folds


def group_folds(groups: Sequence[str], most: int) -> Int[np.ndarray, "N"]:
    """Folds of whole groups, no more than ``most``: what is scored is of groups that were not fitted."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    cuts = min(most, len(numbers))
    return np.array([numbers[name] * cuts // len(numbers) for name in groups])


def _best_strength(inputs: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> float:
    errors = np.zeros(len(STRENGTHS))
    for fold in np.unique(folds):
        scored = folds == fold
        predicted = _predict(inputs[~scored], targets[~scored], inputs[scored], STRENGTHS)
        errors += [((targets[scored] - each) ** 2).sum() for each in predicted]
    # Of strengths that are equally good the largest: it claims least.
    return STRENGTHS[len(STRENGTHS) - 1 - int(np.argmin(errors[::-1]))]


def _predict(
    inputs: np.ndarray, targets: np.ndarray, unseen: np.ndarray, strengths: Sequence[float]
) -> list[np.ndarray]:
    """Predictions for unseen inputs with every strength, from one decomposition of the inputs seen."""
    center, spread = inputs.mean(axis=0), inputs.std(axis=0)
    spread = np.where(spread > 1e-9, spread, np.inf)  # an input that does not vary says nothing
    seen, asked, mean = (inputs - center) / spread, (unseen - center) / spread, targets.mean(axis=0)
    left, values, right = np.linalg.svd(seen, full_matrices=False)
    image, back = left.T @ (targets - mean), asked @ right.T
    gains = [values / (values**2 + strength * len(seen)) for strength in strengths]
    return [mean + (back * gain) @ image for gain in gains]
