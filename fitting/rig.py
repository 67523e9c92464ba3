"""Where a fitted head stands in a rig whose cameras are known apart from the fit."""

import numpy as np

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
        cameras: those that took its photos, in their order and at their size.

    Raises:
        VrmmError: another number of cameras than of photos.
    """
    if avatar.description["placed"]:
        return avatar.pose
    crops = np.array(avatar.description["crops"], np.float64)
    if len(crops) != len(cameras):
        raise VrmmError(f"the avatar was fitted to {len(crops)} photos, but {len(cameras)} cameras are given")
    template = avatar.model.template_landmarks
    solution = avatar.solution
    world = template @ solution.rotation.transpose(1, 2) + solution.translation[:, None]
    seen = solution.cameras.project(world).detach().double().numpy()
    points = np.stack([_uncropped(pixels, crop) for pixels, crop in zip(seen, crops, strict=True)])
    model = template.double().numpy()
    lenses = np.stack([camera.intrinsics for camera in cameras])
    places = np.stack([camera.world_to_camera for camera in cameras])
    rotation, shift = solve_pose(points[0], model, lenses[0], cameras[0].name)
    first = places[0][:, :3].T @ rotation, places[0][:, :3].T @ (shift - places[0][:, 3])
    rotation, translation = refine_pose(points, model, lenses, places, *first)
    return Pose(rotation=rotation, translation=translation)


def _uncropped(pixels: np.ndarray, crop: np.ndarray) -> np.ndarray:
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ np.linalg.inv(crop).T
    return homogeneous[:, :2]
