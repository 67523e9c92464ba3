"""The scene of the monocular fixtures with a person of the light stage in it, under lamps that stand by the camera."""

import dataclasses

import numpy as np

from datasets.capture import Camera, Light, Pose
from tests.datasets.readers.heads import BACKGROUND, render_at
from tests.datasets.readers_mono.scene import Scene

LAMPS = 100.0 * np.array([[-0.6, -0.6, -0.5], [0.8, -0.2, -0.6]])
"""Metres, OpenCV axes of the camera: above it to the left, and to the right; so far that all heads are lit alike."""
IRRADIANCE = np.array([[3.0, 2.8, 2.5], [0.8, 0.9, 1.1]])


@dataclasses.dataclass(frozen=True)
class RenderedScene(Scene):
    """``Scene`` with a head instead of bright spots."""

    width: int = 160
    height: int = 168

    @property
    def intrinsics(self) -> np.ndarray:
        return np.array([[250.0, 0.0, 82.3], [0.0, 246.0, 85.9], [0.0, 0.0, 1.0]])

    def radiance(self, frame: int) -> np.ndarray:
        rgba = self._seen(frame)
        return rgba[..., :3] + (1.0 - rgba[..., 3:]) * BACKGROUND

    def mask(self, frame: int) -> np.ndarray:
        return np.rint(255.0 * np.clip(self._seen(frame)[..., 3], 0.0, 1.0)).astype(np.uint8)

    def _seen(self, frame: int) -> np.ndarray:
        """The head stands still and the camera is where it sees it so."""
        camera = Camera(
            name="truth",
            world_to_camera=self.head(frame),
            intrinsics=self.intrinsics,
            width=self.width,
            height=self.height,
        )
        return seen(camera, Pose.identity(), frame)


def seen(camera: Camera, pose: Pose, frame: int) -> np.ndarray:
    """[H, W, 4] linear colour on black, and coverage."""
    rotation, place = camera.world_to_camera[:, :3], camera.world_to_camera[:, 3]
    light = Light(positions=(LAMPS - place) @ rotation, irradiance=IRRADIANCE)
    return render_at(camera, light, pose, frame)
