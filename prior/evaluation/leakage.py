"""What the codes hold that they should not: identity and light in z_e, expression in z_id, by linear probes."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float

from datasets.capture import Frame, Light
from prior.evaluation.answers import Answerer
from prior.evaluation.ridge import LEAST_FOLDS, block_folds, cross_predicted, group_folds, r_squared
from prior.evaluation.run import TrainedRun

FOLDS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeFrames:
    """Training frames with their codes and what is true of them; subject after subject, in the order of time.

    Attributes:
        subjects: name of each frame's subject.
        z_e: mean of the expression encoder.
        z_id: the subject's code, alike in all of the subject's frames.
        expression: the true control values.
        light_direction: mean direction towards the light, world frame, weighted by irradiance; 0 for light from
            everywhere, of length 1 for a single lamp.
        brightness: logarithm of the irradiance of all lamps together, channels averaged.
    """

    subjects: list[str]
    z_e: Float[np.ndarray, "N D"]
    z_id: Float[np.ndarray, "N I"]
    expression: Float[np.ndarray, "N C"]
    light_direction: Float[np.ndarray, "N 3"]
    brightness: Float[np.ndarray, "N 1"]


def leakage(run: TrainedRun, answerer: Answerer, most: int) -> dict[str, float]:
    """Scores of all probes on at most so many training frames; see ``probe``."""
    return probe(probe_frames(run, answerer, most))


def probe(frames: ProbeFrames) -> dict[str, float]:
    """What linear probes read from the codes of frames that they were not fitted to.

    Accuracies are shares of frames, R² is 1 for what is read perfectly and 0 for what is not there. Probes are scored
    on blocks of time that they have not seen, one of them (``expression_of_others_r2``) on subjects that they have
    not. Empty where there are too few frames or subjects.

    Returns:
        ``identity_accuracy``: z_e → who it is, wanted: ``identity_accuracy_of_truth``, that of a probe that is given
        the true expression instead, as people move differently; ``identity_chance``: always naming the most frequent
        subject. ``light_direction_r2`` and ``brightness_r2``: z_e → light, wanted: 0. ``identity_code_r2``: z_id →
        true expression, wanted: 0. ``expression_r2``: z_e → true expression, wanted: 1, and
        ``expression_of_others_r2``: the same probe on people it has not seen, wanted: no less. ``frames``.
    """
    if not frames.subjects:
        return {}
    folds, people = block_folds(frames.subjects, FOLDS), group_folds(frames.subjects, FOLDS)
    if min(len(np.unique(folds)), len(np.unique(people))) < LEAST_FOLDS:
        return {}

    def r2(inputs: np.ndarray, targets: np.ndarray, folds: np.ndarray = folds) -> float:
        return r_squared(targets, cross_predicted(inputs, targets, folds), folds)

    names = sorted(set(frames.subjects))
    identity = np.array([names.index(subject) for subject in frames.subjects])
    one_hot = np.eye(len(names))[identity]

    def accuracy(inputs: np.ndarray) -> float:
        return float((cross_predicted(inputs, one_hot, folds).argmax(axis=1) == identity).mean())

    return {
        "identity_accuracy": accuracy(frames.z_e),
        "identity_accuracy_of_truth": accuracy(frames.expression),
        "identity_chance": float(one_hot.mean(axis=0).max()),
        "light_direction_r2": r2(frames.z_e, frames.light_direction),
        "brightness_r2": r2(frames.z_e, frames.brightness),
        "identity_code_r2": r2(frames.z_id, frames.expression),
        "expression_r2": r2(frames.z_e, frames.expression),
        "expression_of_others_r2": r2(frames.z_e, frames.expression, people),
        "frames": len(identity),
    }


def probe_frames(run: TrainedRun, answerer: Answerer, most: int) -> ProbeFrames:
    """The training frames, thinned evenly to so many, through the encoder."""
    frames = [frame for subject in run.subjects for frame in run.training_frames(subject)]
    frames = frames[:: max(1, -(-len(frames) // max(most, 1)))]
    numbers = torch.tensor([run.subjects.index(frame.subject) for frame in frames], dtype=torch.long)
    with torch.no_grad():
        z_id = run.model.identity_code(numbers)
    return ProbeFrames(
        subjects=[frame.subject for frame in frames],
        z_e=np.concatenate([answerer.encode(frame.key).mean.double().numpy() for frame in frames]),
        z_id=z_id.double().numpy(),
        expression=np.array([_controls(frame) for frame in frames]),
        light_direction=np.array([mean_direction(frame.light) for frame in frames]),
        brightness=np.log(np.array([[max(frame.light.irradiance.mean(axis=1).sum(), 1e-6)] for frame in frames])),
    )


def mean_direction(light: Light) -> Float[np.ndarray, "3"]:
    """Mean of the directions towards the lamps weighted by their irradiance, world frame; 0 in the dark."""
    power = light.irradiance.mean(axis=1)
    return (power[:, None] * light.directions).sum(axis=0) / max(float(power.sum()), 1e-12)


def _controls(frame: Frame) -> tuple[float, ...]:
    return frame.expression or ()
