"""Where the head is before any picture is rendered: PnP on landmarks, with a search for the focal length."""

import dataclasses

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError
from fitting.views import Views

FIELDS_OF_VIEW = np.deg2rad(np.geomspace(8.0, 70.0, 15))
"""Tried where the lens is unknown: the angle that the working square covers."""
USUAL_FIELD = np.deg2rad(22.0)
FIELD_PRIOR = 2e-4
"""Weight of the squared log distance from the usual field against the squared residual in sides of the face."""
MAX_ERROR = 0.15
"""Largest median residual of the landmarks, in sides of the face's box, that is still a face."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitialPose:
    """The result of PnP.

    Attributes:
        rotation: [P, 3, 3] head→world, one for all views or one for each (``Views.placed``).
        translation: [P, 3] metres.
        intrinsics: [K, 3, 3] pixels: as given, or with the focal lengths found.
        error: [K] median distance of the projected from the given landmarks, pixels.
    """

    rotation: Float[np.ndarray, "P 3 3"]
    translation: Float[np.ndarray, "P 3"]
    intrinsics: Float[np.ndarray, "K 3 3"]
    error: Float[np.ndarray, "K"]


def initial_pose(views: Views, template: Float[np.ndarray, "68 3"]) -> InitialPose:
    """Head poses and focal lengths from landmarks.

    Args:
        views: photos with landmarks.
        template: landmarks of the mean head, head frame, metres.

    Raises:
        VrmmError: a photo whose landmarks do not look like a face, by name.
    """
    points = views.landmarks.numpy().astype(np.float64)
    lenses = views.cameras.intrinsics.numpy().astype(np.float64)
    places = views.cameras.world_to_camera.numpy().astype(np.float64)
    if not views.focal_known:
        lenses = np.stack([_search_lens(points[k], template, lenses[k], views.names[k]) for k in range(len(views))])
    if views.placed:
        first = solve_pose(points[0], template, lenses[0], views.names[0])
        rotation, translation = _to_world(first, places[0])
        rotation, translation = refine_pose(points, template, lenses, places, rotation, translation)
        rotations, translations = rotation[None], translation[None]
    else:
        poses = []
        for k, name in enumerate(views.names):
            first = _to_world(solve_pose(points[k], template, lenses[k], name), places[k])
            one = slice(k, k + 1)
            poses.append(refine_pose(points[one], template, lenses[one], places[one], *first))
        rotations, translations = np.stack([pose[0] for pose in poses]), np.stack([pose[1] for pose in poses])
    error = _errors(points, template, lenses, places, rotations, translations)
    _check(points, error, views.names)
    return InitialPose(rotation=rotations, translation=translations, intrinsics=lenses, error=error)


def solve_pose(points: np.ndarray, template: np.ndarray, lens: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Head→camera by EPnP, refined by Levenberg-Marquardt."""
    import cv2

    model = np.ascontiguousarray(template, np.float64)
    found, turn, shift = cv2.solvePnP(model, points, lens, None, flags=cv2.SOLVEPNP_EPNP)
    if found:
        turn, shift = cv2.solvePnPRefineLM(model, points, lens, None, turn, shift)
    if not found or not np.isfinite(shift).all() or shift[2] <= 0:
        raise VrmmError(f"{name}: no head pose fits its landmarks; they must be the 68 Multi-PIE points in order")
    return cv2.Rodrigues(turn)[0], shift.ravel()


def _search_lens(points: np.ndarray, template: np.ndarray, lens: np.ndarray, name: str) -> np.ndarray:
    """The focal length with the smallest residual, drawn to a portrait's where landmarks cannot tell."""
    size = 2.0 * lens[0, 2]
    face = np.ptp(points, axis=0).max()
    best, result = np.inf, lens
    for field in FIELDS_OF_VIEW:
        trial = lens.copy()
        trial[0, 0] = trial[1, 1] = size / 2 / np.tan(field / 2)
        try:
            rotation, translation = solve_pose(points, template, trial, name)
        except VrmmError:
            continue
        residual = _project(template, trial, rotation, translation) - points
        cost = (residual**2).sum(axis=1).mean() / face**2 + FIELD_PRIOR * np.log(field / USUAL_FIELD) ** 2
        if cost < best:
            best, result = cost, trial
    if not np.isfinite(best):
        raise VrmmError(f"{name}: no head pose fits its landmarks; they must be the 68 Multi-PIE points in order")
    return result


def refine_pose(
    points: np.ndarray,
    template: np.ndarray,
    lenses: np.ndarray,
    places: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """One head→world pose for all given views, by least squares that forgives single bad landmarks."""
    from scipy.optimize import least_squares
    from scipy.spatial.transform import Rotation

    scale = 0.02 * np.ptp(points[0], axis=0).max()

    def residuals(parameters: np.ndarray) -> np.ndarray:
        turned = Rotation.from_rotvec(parameters[:3]).as_matrix() @ rotation
        moved = translation + parameters[3:]
        parts = [
            _project(template, lens, place[:, :3] @ turned, place[:, :3] @ moved + place[:, 3]) - target
            for target, lens, place in zip(points, lenses, places, strict=True)
        ]
        return np.concatenate(parts).ravel()

    found = least_squares(residuals, np.zeros(6), loss="soft_l1", f_scale=scale, x_scale=[1.0] * 3 + [0.1] * 3)
    return Rotation.from_rotvec(found.x[:3]).as_matrix() @ rotation, translation + found.x[3:]


def _to_world(pose: tuple[np.ndarray, np.ndarray], place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Head→camera to head→world."""
    return place[:, :3].T @ pose[0], place[:, :3].T @ (pose[1] - place[:, 3])


def _project(points: np.ndarray, lens: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    pixels = (points @ rotation.T + translation) @ lens.T
    return pixels[:, :2] / pixels[:, 2:]


def _errors(
    points: np.ndarray,
    template: np.ndarray,
    lenses: np.ndarray,
    places: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
) -> np.ndarray:
    errors = []
    for k, target in enumerate(points):
        rotation, translation = rotations[min(k, len(rotations) - 1)], translations[min(k, len(rotations) - 1)]
        place = places[k]
        projected = _project(template, lenses[k], place[:, :3] @ rotation, place[:, :3] @ translation + place[:, 3])
        errors.append(float(np.median(np.linalg.norm(projected - target, axis=1))))
    return np.array(errors)


def _check(points: np.ndarray, error: np.ndarray, names: tuple[str, ...]) -> None:
    for name, target, distance in zip(names, points, error, strict=True):
        face = np.ptp(target, axis=0).max()
        if distance > MAX_ERROR * face:
            raise VrmmError(
                f"{name}: its landmarks are {100 * distance / face:.0f} % of the face away from any pose of a head; "
                "they must be the 68 Multi-PIE points in order, and the camera file must fit the photo"
            )
