"""From a data set's own world to ours: metres, y up, the head at the origin and its face towards +z.

Data sets put their world where it suited their calibration and mostly do not say where that is. The cameras know:
they stand upright, they look at the head, and more of them see the face than the back of the head.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera, ImageEncoding, Pose
from datasets.errors import VrmmError

_LEVEL = 1e-3
_LEAST_FRONT = 0.05


@dataclasses.dataclass(kw_only=True)
class StageOptions:
    """What the files of a multi-view capture do not say.

    Attributes:
        front_camera: name of a camera straight in front of the face; empty takes the middle of all cameras.
        undistort: take out the lens distortion that the calibration lists; False where the pictures are rectified.
    """

    front_camera: str = ""
    undistort: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawCamera:
    """A camera as a data set calibrated it.

    Attributes:
        name: as in the data set.
        world_to_camera: [3, 4] OpenCV axes, in the data set's unit of length.
        intrinsics: [3, 3] pixels, first pixel centre at (0.5, 0.5).
        width, height: pixels of the stored images.
        distortion: OpenCV's k1, k2, p1, p2[, k3[, k4, k5, k6]]; empty for none.
        encoding: of its images, where it is not that of the others.
    """

    name: str
    world_to_camera: Float[np.ndarray, "3 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    width: int
    height: int
    distortion: tuple[float, ...] = ()
    encoding: ImageEncoding | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A similarity of worlds: ``x_ours = rotation @ (metres * x_theirs - origin)``.

    Attributes:
        rotation: [3, 3] their axes to ours.
        metres: one of their units of length.
        origin: [3] metres, their axes: where the head rests.
    """

    rotation: Float[np.ndarray, "3 3"]
    metres: float
    origin: Float[np.ndarray, "3"]

    def points(self, theirs: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Points of their world in ours, metres."""
        return (self.metres * theirs - self.origin) @ self.rotation.T

    def camera(self, raw: RawCamera) -> Camera:
        """The camera in our world; it has no distortion, so its images must have none any more."""
        rotation = raw.world_to_camera[:, :3]
        translation = self.metres * raw.world_to_camera[:, 3] + rotation @ self.origin
        return Camera(
            name=raw.name,
            world_to_camera=np.concatenate([rotation @ self.rotation.T, translation[:, None]], axis=1),
            intrinsics=raw.intrinsics,
            width=raw.width,
            height=raw.height,
            encoding=raw.encoding,
        )

    def pose(self, theirs: Float[np.ndarray, "3 4"], axes: Float[np.ndarray, "3 3"]) -> Pose:
        """A head-to-world pose of theirs in ours; ``axes`` takes our head's axes to those of theirs."""
        return Pose(
            rotation=self.rotation @ theirs[:, :3] @ axes,
            translation=self.points(theirs[None, :, 3])[0],
        )

    def head_axes(self, poses: Sequence[Float[np.ndarray, "3 4"]]) -> Float[np.ndarray, "3 3"]:
        """Our head axes in theirs, so that the mean of ``poses`` looks straight ahead and upright.

        Data sets do not say where the axes of their heads point; people look ahead on average.
        """
        return nearest_rotation(sum((pose[:, :3] for pose in poses), np.zeros((3, 3)))).T @ self.rotation.T


def find_stage(cameras: Sequence[RawCamera], metres: float, origin: str, front_camera: str = "") -> Stage:
    """Where our world lies in that of a calibrated rig.

    The up direction is the one that the cameras' rows of pixels are most level to; the head is the point nearest to
    all lines of sight through the middle of the pictures; the front is where the cameras are, on average.

    Args:
        cameras: all that are calibrated, whether wanted or not, so that the answer does not depend on the choice.
        metres: of their unit of length.
        origin: names the calibration file in errors.
        front_camera: name of the camera in front of the face, if it is known.

    Raises:
        VrmmError: fewer than two cameras, cameras that all look the same way, an unknown ``front_camera``, a matrix
            that is no rotation, or cameras all around with no more in front than behind.
    """
    if len(cameras) < 2:
        raise VrmmError(f"{origin} calibrates {len(cameras)} cameras; a multi-view capture has two or more")
    for camera in cameras:
        _check_rotation(camera, origin)
    rotations = np.array([camera.world_to_camera[:, :3] for camera in cameras])
    centers = np.array([-camera.world_to_camera[:, :3].T @ camera.world_to_camera[:, 3] for camera in cameras])
    target = _nearest_point(centers, np.array([_line_of_sight(camera) for camera in cameras]), origin)
    up = _up(rotations)
    if front_camera:
        names = [camera.name for camera in cameras]
        if front_camera not in names:
            raise VrmmError(f"front_camera {front_camera} is not in {origin}; it has {', '.join(names)}")
        towards = centers[names.index(front_camera)] - target
    else:
        away = centers - target
        towards = (away / np.linalg.norm(away, axis=1, keepdims=True)).mean(axis=0)
    front = towards - up * (up @ towards)
    if np.linalg.norm(front) < _LEAST_FRONT * (np.linalg.norm(towards) if front_camera else 1.0):
        raise VrmmError(
            f"the cameras of {origin} do not tell where the face looks; name the one in front of it: front_camera=NAME"
        )
    front /= np.linalg.norm(front)
    return Stage(rotation=np.stack([np.cross(up, front), up, front]), metres=metres, origin=metres * target)


def nearest_rotation(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation nearest to a matrix in the Frobenius norm (Kabsch)."""
    u, _, vt = np.linalg.svd(matrix)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt


def _check_rotation(camera: RawCamera, origin: str) -> None:
    """Calibrations in the wrong order or transposed the wrong way mostly show here."""
    rotation = camera.world_to_camera[:, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > _LEVEL or np.linalg.det(rotation) < 0.0:
        raise VrmmError(f"{origin}: the extrinsics of camera {camera.name} are no rotation; mend the calibration")
    if min(camera.intrinsics[0, 0], camera.intrinsics[1, 1]) <= 0.0:
        raise VrmmError(f"{origin}: the focal length of camera {camera.name} is not positive; mend the calibration")


def _line_of_sight(camera: RawCamera) -> Float[np.ndarray, "3"]:
    """Unit vector in their world through the middle of the picture."""
    middle = np.linalg.solve(camera.intrinsics, [camera.width / 2, camera.height / 2, 1.0])
    direction = camera.world_to_camera[:, :3].T @ middle
    return direction / np.linalg.norm(direction)


def _nearest_point(
    centers: Float[np.ndarray, "C 3"], directions: Float[np.ndarray, "C 3"], origin: str
) -> Float[np.ndarray, "3"]:
    """The point with the least squared distance to all lines."""
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    total = across.sum(axis=0)
    if np.linalg.eigvalsh(total)[0] < _LEVEL * len(centers):
        raise VrmmError(f"the cameras of {origin} all look the same way, so where the head is cannot be told")
    return np.linalg.solve(total, (across @ centers[:, :, None])[:, :, 0].sum(axis=0))


def _up(rotations: Float[np.ndarray, "C 3 3"]) -> Float[np.ndarray, "3"]:
    """The direction most level to every row of pixels, on the side to which the pictures' tops point."""
    rows, tops = rotations[:, 0], -rotations[:, 1].mean(axis=0)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    if values[1] > _LEVEL:  # rows of pixels along at least two directions span the level plane
        up = vectors[:, 0] * np.sign(vectors[:, 0] @ tops)
    else:
        up = tops - vectors[:, 2] * (vectors[:, 2] @ tops)
    return up / np.linalg.norm(up)
