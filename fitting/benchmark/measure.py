"""Avatars of one person from one set of photos, measured: their photos, their poses, and what no photo shows."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from datasets.lightstage.render import RenderedImage
from fitting.avatar import Avatar
from fitting.benchmark.photos import Photograph
from fitting.fit import read_photos
from fitting.objective import CarriedLandmarks
from fitting.photo import Photo
from fitting.rendering import render_solution
from fitting.state import Solution
from fitting.truth import Category, FitShot, Placed, compare, measured
from prior.lpips import LPIPS
from prior.metrics import mask_iou, rotation_angle
from prior.pictures import to_picture
from prior.vrmm import VRMM


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found.

    Attributes:
        rows: one for every picture: ``category``, ``camera``, ``light``, and the metrics of each stage by its name.
        fits: by stage ``pose_degrees``, ``landmark_error`` and ``scale``.
        truth: [N, H, W, 3] the pictures of the rows as they should be.
        answers: the same by stage.
    """

    rows: list[dict[str, Any]]
    fits: dict[str, dict[str, float]]
    truth: UInt8[np.ndarray, "N H W 3"]
    answers: dict[str, UInt8[np.ndarray, "N H W 3"]]


def measure(
    avatars: Mapping[str, Avatar],
    photos: Path,
    taken: Sequence[Photograph],
    shots: Sequence[FitShot],
    truths: Sequence[RenderedImage],
    lpips: LPIPS | None = None,
) -> Measured:
    """Measure avatars against the photos that they were fitted to and against rendered truth.

    Args:
        avatars: of the same photos, by stage.
        photos: folder of the photos or frames.
        taken: their truth; the first is the moment of all shots.
        shots: what no photo shows.
        truths: their pictures.
        lpips: where it is to be measured.
    """
    size = next(iter(avatars.values())).solution.cameras.height
    names = next(iter(avatars.values())).description["photos"]
    by_name = {photo.name: photo for photo in taken}
    known = [by_name[name] for name in names]
    seen = read_photos([photos / name for name in names], size)
    found = _Pictures(list(avatars))
    _inputs(avatars, known, seen, found, lpips)
    places = {stage: Placed.of(avatar, [known[0].camera], known[0].moment.pose) for stage, avatar in avatars.items()}
    for shot, truth in zip(shots, truths, strict=True):
        comparison = compare(shot, truth, places, lpips=lpips)
        row = {"category": shot.category.value, "camera": shot.camera.name, "light": shot.light_name}
        found.add({**row, **comparison.metrics}, comparison.truth, comparison.answers)
    fits = {
        stage: {**placement_errors(avatar.model, avatar.solution, known, seen), "scale": places[stage].gauge.scale}
        for stage, avatar in avatars.items()
    }
    return found.result(fits)


def placement_errors(
    model: VRMM, solution: Solution, taken: Sequence[Photograph], seen: Sequence[Photo]
) -> dict[str, float]:
    """How far a head is from where it truly was, mean over the photos.

    Returns:
        ``pose_degrees``: angle between the fitted and the true rotation head→camera. ``landmark_error``: median
        distance of the head's landmarks from the true ones, in sides of the face's box.
    """
    with torch.no_grad():
        vertices = model.mesh_decoder(solution.z_id.expand(len(solution.z_e), -1), solution.z_e)
        points = CarriedLandmarks(model)(vertices)
        world = points @ solution.rotation.transpose(1, 2) + solution.translation[:, None]
        pixels = solution.cameras.project(world)
        turned = solution.cameras.world_to_camera[:, :, :3] @ solution.rotation
    angles, distances = [], []
    for row, (truth, photo) in enumerate(zip(taken, seen, strict=True)):
        true = torch.tensor(truth.camera.world_to_camera[:, :3] @ truth.moment.pose.rotation, dtype=torch.float32)
        angles.append(float(rotation_angle(turned[row], true).rad2deg()))
        wanted = truth.landmarks * photo.crop[0, 0] + photo.crop[:2, 2]
        distance = np.median(np.linalg.norm(pixels[row].double().numpy() - wanted, axis=1))
        distances.append(float(distance / np.ptp(wanted, axis=0).max()))
    return {"pose_degrees": float(np.mean(angles)), "landmark_error": float(np.mean(distances))}


@torch.no_grad()
def _inputs(
    avatars: Mapping[str, Avatar],
    taken: Sequence[Photograph],
    seen: Sequence[Photo],
    found: "_Pictures",
    lpips: LPIPS | None,
) -> None:
    """The photos themselves, or up to 8 frames of a video."""
    rendered = {
        stage: render_solution(avatar.model, avatar.solution, avatar.rendering) for stage, avatar in avatars.items()
    }
    for number, (truth, photo) in enumerate(zip(taken, seen, strict=True)):
        inside = photo.mask * photo.valid
        row: dict[str, Any] = {"category": Category.INPUT.value, "camera": truth.camera.name, "light": ""}
        for stage, images in rendered.items():
            metrics = measured(images.image[number], photo.image, inside, lpips)
            row[stage] = {**metrics, "mask_iou": mask_iou(images.alpha[number] * photo.valid, inside)}
        found.add(row, photo.image, {stage: images.image[number] for stage, images in rendered.items()})


class _Pictures:
    """Gathers rows and their pictures. Final."""

    def __init__(self, stages: Sequence[str]) -> None:
        self._rows: list[dict[str, Any]] = []
        self._truth: list[np.ndarray] = []
        self._answers: dict[str, list[np.ndarray]] = {stage: [] for stage in stages}

    def add(
        self, row: dict[str, Any], truth: Float[Tensor, "3 H W"], answers: Mapping[str, Float[Tensor, "3 H W"]]
    ) -> None:
        self._rows.append(row)
        self._truth.append(to_picture(truth))
        for stage, pictures in self._answers.items():
            pictures.append(to_picture(answers[stage]))

    def result(self, fits: dict[str, dict[str, float]]) -> Measured:
        return Measured(
            rows=self._rows,
            fits=fits,
            truth=np.stack(self._truth),
            answers={stage: np.stack(pictures) for stage, pictures in self._answers.items()},
        )
