"""Where a fitted head stands in a rig whose cameras are known apart from the fit."""

import dataclasses

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera, Pose
from datasets.errors import VrmmError
from fitting.avatar import Avatar
from fitting.pose import refine_pose, solve_pose


def pose_in_rig(avatar: Avatar, cameras: list[Camera]) -> Pose:
    """The pose under which the head appears in the rig's cameras as it was fitted to their photos.

    A fit with placed cameras knows it. One without has guessed lenses and a world of its own: then the points of
    the head that were fitted to each photo are put where they are seen through the true cameras.

    Args:
        avatar: fitted.
        cameras: those that took its photos, in their order and at their size; or the first of them alone, for the
            pose in the first photo, where every photo is of another moment.

    Raises:
        VrmmError: another number of cameras than of photos.
    """
    if avatar.description["placed"]:
        return avatar.pose
    crops = np.array(avatar.description["crops"], np.float64)
    if len(cameras) not in (1, len(crops)):
        raise VrmmError(f"the avatar was fitted to {len(crops)} photos, but {len(cameras)} cameras are given")
    template = avatar.model.template_landmarks
    solution = avatar.solution
    world = template @ solution.rotation.transpose(1, 2) + solution.translation[:, None]
    seen = solution.cameras.project(world).detach().double().numpy()
    shown = len(cameras)
    points = np.stack([_uncropped(pixels, crop) for pixels, crop in zip(seen[:shown], crops[:shown], strict=True)])
    model = template.double().numpy()
    lenses = np.stack([camera.intrinsics for camera in cameras])
    places = np.stack([camera.world_to_camera for camera in cameras])
    rotation, shift = solve_pose(points[0], model, lenses[0], cameras[0].name)
    first = places[0][:, :3].T @ rotation, places[0][:, :3].T @ (shift - places[0][:, 3])
    rotation, translation = refine_pose(points, model, lenses, places, *first)
    return Pose(rotation=rotation, translation=translation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gauge:
    """What one photo leaves open: head and distance may grow together, and the picture stays the same.

    Attributes:
        center: of the photo's camera, world, metres.
        scale: of the fitted world around it, relative to the true one.
    """

    center: Float[np.ndarray, "3"]
    scale: float

    @staticmethod
    def of_fit(fitted: Pose, true: Pose, cameras: list[Camera]) -> "Gauge":
        """Such that the head's true distance is that of the fit; nothing is open where several cameras see one pose."""
        axis = cameras[0].world_to_camera[2]
        depths = [float(axis[:3] @ pose.translation + axis[3]) for pose in (fitted, true)]
        scale = depths[0] / depths[1] if len(cameras) == 1 else 1.0
        return Gauge(center=cameras[0].center, scale=scale)

    def camera(self, camera: Camera) -> Camera:
        """A camera of the true world, in that of the fit."""
        center = self.center + self.scale * (camera.center - self.center)
        rotation = camera.world_to_camera[:, :3]
        place = np.concatenate([rotation, -(rotation @ center)[:, None]], axis=1)
        return dataclasses.replace(camera, world_to_camera=place)


def _uncropped(pixels: np.ndarray, crop: np.ndarray) -> np.ndarray:
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ np.linalg.inv(crop).T
    return homogeneous[:, :2]
