"""How well the transform encoder follows the head, beside the guess that it never moves."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from datasets.capture import Frame
from prior.evaluation.answers import Answerer
from prior.evaluation.run import TrainedRun

Poses = tuple[Float[np.ndarray, "N 3 3"], Float[np.ndarray, "N 3"]]
"""Rotations and translations (metres), head→world."""


def pose_errors(run: TrainedRun, answerer: Answerer, frames_per_subject: int) -> dict[str, float]:
    """Median errors over training frames in degrees and millimetres, and those of the identity pose.

    The model's head frame is its own choice: one constant rotation and translation per subject, the median one, is
    taken out first.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    guessed: list[tuple[np.ndarray, np.ndarray]] = []
    for subject in run.subjects:
        frames = _evenly(run.training_frames(subject), frames_per_subject)
        true = _true_poses(frames)
        encodings = [answerer.encode(frame.key) for frame in frames]
        rotation = np.concatenate([encoding.rotation.numpy() for encoding in encodings]).astype(np.float64)
        translation = np.concatenate([encoding.translation.numpy() for encoding in encodings]).astype(np.float64)
        found.append(aligned_errors((rotation, translation), true))
        still = np.tile(np.eye(3), (len(frames), 1, 1)), np.zeros((len(frames), 3))
        guessed.append(aligned_errors(still, true))
    return {
        "rotation_degrees": _median(errors[0] for errors in found),
        "translation_mm": _median(errors[1] for errors in found) * 1000.0,
        "still_rotation_degrees": _median(errors[0] for errors in guessed),
        "still_translation_mm": _median(errors[1] for errors in guessed) * 1000.0,
        "frames": sum(len(errors[0]) for errors in found),
    }


def aligned_errors(found: Poses, true: Poses) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """(degrees, metres) of every frame, after the best constant change of head frame G: found ≈ true ∘ G.

    The rotation of G is the median of the rotation vectors around their mean, its translation the median.
    """
    relative = Rotation.from_matrix(true[0].transpose(0, 2, 1) @ found[0])
    middle = relative.mean()
    middle = middle * Rotation.from_rotvec(np.median((middle.inv() * relative).as_rotvec(), axis=0))
    degrees = np.degrees((middle.inv() * relative).magnitude())
    offset = np.einsum("nji,nj->ni", true[0], found[1] - true[1])
    shift = np.median(offset, axis=0)
    return degrees, np.linalg.norm(offset - shift, axis=1)


def _true_poses(frames: Sequence[Frame]) -> Poses:
    poses = [frame.pose for frame in frames if frame.pose is not None]
    return np.array([pose.rotation for pose in poses]), np.array([pose.translation for pose in poses])


def _evenly(frames: list[Frame], count: int) -> list[Frame]:
    places = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return [frames[place] for place in places]


def _median(errors) -> float:
    return float(np.median(np.concatenate(list(errors))))
