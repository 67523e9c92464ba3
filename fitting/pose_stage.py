"""The Levenberg–Marquardt stage: pose and focal length from landmarks of a face whose shape is known roughly."""

import dataclasses

import numpy as np
from jaxtyping import Float

from fitting.pose import InitialPose
from fitting.views import Views

LANDMARK_ERROR = 0.02
"""Usual error of a landmark, in sides of the face's box; larger ones count less and less."""
FOCAL_SPREAD = 0.2
"""Standard deviation of a guessed focal length's logarithm: landmarks hardly know it while the face is a guess, too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoseGuess:
    """Where the stage begins.

    Attributes:
        points: [K, 68, 3] landmarks of the face in each view, head frame, metres.
        confidence: [K, 68] of the views' landmarks, in (0, 1].
        rotation: [K, 3, 3] head→camera.
        focal: [K] pixels; only for lenses that are not known.
    """

    points: Float[np.ndarray, "K 68 3"]
    confidence: Float[np.ndarray, "K 68"]
    rotation: Float[np.ndarray, "K 3 3"]
    focal: Float[np.ndarray, "K"]


def refine_guess(views: Views, guess: PoseGuess) -> InitialPose:
    """Head→world poses, and the focal lengths where they are not known, that bring the points onto the landmarks.

    Views of one world have one pose. Residuals are weighted by confidence and forgive single bad landmarks; a
    focal length is held near the guessed one, because landmarks hardly know it.
    """
    lenses = views.cameras.intrinsics.numpy().astype(np.float64)
    places = views.cameras.world_to_camera.numpy().astype(np.float64)
    targets = views.landmarks.numpy().astype(np.float64)
    if not views.focal_known:
        lenses[:, 0, 0] = lenses[:, 1, 1] = guess.focal
    groups = [slice(0, len(views))] if views.placed else [slice(k, k + 1) for k in range(len(views))]
    rotations, translations = [], []
    for group in groups:
        problem = _Problem(
            targets=targets[group],
            points=guess.points[group],
            confidence=guess.confidence[group],
            lenses=lenses[group],
            places=places[group],
            lens_is_free=not views.focal_known,
        )
        rotation, translation, lenses[group] = problem.solve(guess.rotation[group.start])
        rotations.append(rotation)
        translations.append(translation)
    poses = np.stack(rotations), np.stack(translations)
    return InitialPose(
        rotation=poses[0],
        translation=poses[1],
        intrinsics=lenses,
        error=_errors(targets, guess, lenses, places, *poses),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Problem:
    """One pose and the views that see it."""

    targets: np.ndarray
    points: np.ndarray
    confidence: np.ndarray
    lenses: np.ndarray
    places: np.ndarray
    lens_is_free: bool

    def solve(self, to_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rotation and translation head→world, and the lenses, from the first view's rotation."""
        from scipy.optimize import least_squares
        from scipy.spatial.transform import Rotation

        place = self.places[0]
        first = place[:, :3].T @ to_camera, place[:, :3].T @ (self._start(to_camera) - place[:, 3])

        def pose(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return Rotation.from_rotvec(values[:3]).as_matrix() @ first[0], first[1] + values[3:6]

        def residuals(values: np.ndarray) -> np.ndarray:
            seen = _project(self.points, self._lenses(values), self.places, *pose(values))
            distance = (seen - self.targets) * np.sqrt(self.confidence)[..., None]
            return np.concatenate([(distance / self._unit).ravel(), values[6:] / FOCAL_SPREAD])

        unknowns = 7 if self.lens_is_free else 6
        scale = np.array([1.0] * 3 + [0.1] * 3 + [1.0])[:unknowns]
        found = least_squares(residuals, np.zeros(unknowns), loss="soft_l1", x_scale=scale)
        return *pose(found.x), self._lenses(found.x)

    @property
    def _unit(self) -> np.ndarray:
        face = np.ptp(self.targets, axis=1).max(axis=1)
        return LANDMARK_ERROR * face[:, None, None]

    def _start(self, to_camera: np.ndarray) -> np.ndarray:
        """Head→first camera: as far away as the landmarks' spread says, in the direction of their middle."""
        points, target, lens = self.points[0] @ to_camera.T, self.targets[0], self.lenses[0]
        focal = lens[0, 0]
        depth = focal * np.sqrt(points[:, :2].var(axis=0).sum() / max(target.var(axis=0).sum(), 1e-9))
        middle = (target.mean(axis=0) - lens[:2, 2]) / focal * depth
        return np.append(middle, depth) - points.mean(axis=0)

    def _lenses(self, values: np.ndarray) -> np.ndarray:
        if not self.lens_is_free:
            return self.lenses
        lenses = self.lenses.copy()
        lenses[:, :2, :2] *= np.exp(values[6])
        return lenses


def _project(
    points: np.ndarray, lenses: np.ndarray, places: np.ndarray, rotation: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """[K, 68, 2] pixels; points behind a camera are pushed before it, so that the search finds back."""
    world = points @ np.swapaxes(rotation, -1, -2) + translation[..., None, :]
    seen = world @ np.swapaxes(places[:, :, :3], 1, 2) + places[:, None, :, 3]
    pixels = seen @ np.swapaxes(lenses, 1, 2)
    return pixels[..., :2] / np.maximum(seen[..., 2:], 1e-2)


def _errors(
    targets: np.ndarray,
    guess: PoseGuess,
    lenses: np.ndarray,
    places: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
) -> Float[np.ndarray, "K"]:
    """Median distance of the projected from the given landmarks, pixels."""
    count = len(targets)
    turned = np.broadcast_to(rotation, (count, 3, 3))
    moved = np.broadcast_to(translation, (count, 3))
    distance = np.linalg.norm(_project(guess.points, lenses, places, turned, moved) - targets, axis=-1)
    return np.median(distance, axis=1)
