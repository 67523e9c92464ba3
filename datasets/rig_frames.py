"""Which part of a picture is used where rigs whose pictures differ in shape are trained on together."""

from collections.abc import Sequence

import numpy as np

from datasets.capture import Camera
from datasets.errors import VrmmError
from datasets.window import Window


def common_parts(rigs: Sequence[Sequence[Camera]], image_size: int) -> tuple[int, int, dict[str, Window]]:
    """Width and height of all images, and which part of each camera's picture they show.

    Rigs of one shape show whole pictures. Otherwise all take the narrowest shape of any of them: of a wider picture
    the sides are left out, those that are farther from the head (which rests at the world origin). Nothing is
    distorted, and nothing is added that a camera has not seen.

    Args:
        rigs: the cameras to read, by rig.
        image_size: pixels of the longer side; 0 leaves pictures as stored.

    Raises:
        VrmmError: one rig with pictures of several shapes, several shapes without an ``image_size``, an ``image_size``
            above the stored one, or no camera at all.
    """
    shapes = {_shape_of_rig(cameras, image_size): cameras[0] for cameras in rigs if cameras}
    cameras = [camera for rig in rigs for camera in rig]
    if not shapes:
        raise VrmmError("no camera to read; name at least one")
    if len(shapes) == 1:
        width, height = next(iter(shapes))
        return width, height, {camera.name: Window(0, 0, camera.width, camera.height) for camera in cameras}
    if not image_size:
        listed = ", ".join(f"{camera.name} {camera.width}x{camera.height}" for camera in shapes.values())
        raise VrmmError(f"the rigs give images of different shapes ({listed}); set image_size")
    narrowest = min(camera.width / camera.height for camera in cameras)
    parts = {camera.name: _narrowed(camera, narrowest) for camera in cameras}
    for name, part in parts.items():
        if image_size > max(part.width, part.height):
            raise VrmmError(
                f"image_size {image_size} exceeds the {part.width}x{part.height} pixels of camera {name} in the shape "
                "that all rigs have in common; lower it"
            )
    width, height = (image_size * narrowest, image_size) if narrowest <= 1 else (image_size, image_size / narrowest)
    return max(round(width), 1), max(round(height), 1), parts


def _narrowed(camera: Camera, aspect: float) -> Window:
    width = min(max(round(camera.height * aspect), 1), camera.width)
    with np.errstate(divide="ignore", invalid="ignore"):
        head = float(camera.project(np.zeros((1, 3)))[0, 0])
    middle = head if np.isfinite(head) else camera.width / 2
    return Window(int(np.clip(round(middle - width / 2), 0, camera.width - width)), 0, width, camera.height)


def _shape_of_rig(cameras: Sequence[Camera], image_size: int) -> tuple[int, int]:
    """Width and height of all images of a rig."""
    shapes = {}
    for camera in cameras:
        longer = max(camera.width, camera.height)
        if image_size > longer:
            raise VrmmError(f"image_size {image_size} exceeds the {longer} pixels of camera {camera.name}; lower it")
        scale = image_size / longer if image_size else 1.0
        shapes[max(round(camera.width * scale), 1), max(round(camera.height * scale), 1)] = camera.name
    if len(shapes) > 1:
        listed = ", ".join(f"{name} {width}x{height}" for (width, height), name in shapes.items())
        raise VrmmError(f"cameras give images of different shapes ({listed}); choose cameras of one shape")
    return next(iter(shapes))
