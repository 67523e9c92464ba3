"""How much the primitives tremble from frame to frame, beside the true surface."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import KDTree

from datasets.capture import Frame
from prior.evaluation.answers import Answerer
from prior.evaluation.run import TrainedRun
from prior.evaluation.truth import TruthStage


def jitter(run: TrainedRun, stage: TruthStage, answerer: Answerer, subjects: int) -> dict[str, float]:
    """Mean length of second differences over consecutive training frames, millimetres, head frame.

    Args:
        run: with frames whose true expression is known.
        stage: gives the true surface.
        answerer: encodes the frames.
        subjects: that are watched, evenly over all.

    Returns:
        ``primitive_mm``: of the primitives' centres. ``true_mm``: of those points of the true surface that are nearest
        to the primitives in the sequence's first frame. A model that follows the face has as much as the truth; one
        that trembles has more, one that is stiff less. ``frames``: second differences are taken at. Empty where no
        three frames follow one another.
    """
    places = np.linspace(0, len(run.subjects) - 1, min(subjects, len(run.subjects))).round().astype(int)
    found: list[np.ndarray] = []
    true: list[np.ndarray] = []
    for place in places:
        subject = run.subjects[place]
        for frames in consecutive(run.training_frames(subject)):
            centers = primitive_centers(run, answerer, frames)
            surface = np.stack([stage.surface(subject, np.array(frame.expression or ())) for frame in frames])
            nearest = KDTree(surface[0]).query(centers[0])[1]
            found.append(second_differences(centers))
            true.append(second_differences(surface[:, nearest]))
    if not found:
        return {}
    return {
        "primitive_mm": 1000.0 * float(np.concatenate(found).mean()),
        "true_mm": 1000.0 * float(np.concatenate(true).mean()),
        "frames": sum(len(lengths) for lengths in found),
    }


def second_differences(points: Float[np.ndarray, "F K 3"]) -> Float[np.ndarray, "M K"]:
    """|x(t-1) - 2 x(t) + x(t+1)| of every point at every inner frame: 0 at rest and in uniform motion."""
    return np.linalg.norm(points[:-2] - 2.0 * points[1:-1] + points[2:], axis=-1)


def consecutive(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Runs of at least three frames of one sequence that follow one another without a gap."""
    run: list[Frame] = []
    for frame in [*sorted(frames, key=lambda frame: (frame.sequence, frame.index)), None]:
        if run and frame is not None and (frame.sequence, frame.index) == (run[-1].sequence, run[-1].index + 1):
            run.append(frame)
            continue
        if len(run) > 2:
            yield run
        run = [frame] if frame is not None else []


@torch.no_grad()
def primitive_centers(run: TrainedRun, answerer: Answerer, frames: Sequence[Frame]) -> Float[np.ndarray, "F K 3"]:
    """Centres of the primitives in every frame of one subject, head frame, metres."""
    z_id = run.model.identity_code(torch.tensor([run.subjects.index(frames[0].subject)]))
    centers = [run.model.decode_geometry(z_id, answerer.encode(frame.key).mean).placement.center for frame in frames]
    return torch.cat(centers).double().numpy()
