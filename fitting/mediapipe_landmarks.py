"""Landmarks by MediaPipe's Face Landmarker, with a model file that the user has."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError
from datasets.files import sha256_of
from fitting.landmark_schemes import to_68
from fitting.landmarks import LandmarkSource, Picture

MOST_FACES = 8
"""That are looked for in a picture."""


class MediaPipeLandmarks(LandmarkSource):
    """Runs a ``.task`` file of the Face Landmarker on each picture. Final.

    Args:
        task: path of the model, for example ``face_landmarker.task``.

    Raises:
        VrmmError: no such file, one that MediaPipe cannot load, or MediaPipe is not installed.
    """

    def __init__(self, task: Path) -> None:
        self._task = Path(task)
        if not self._task.is_file():
            raise VrmmError(f"landmarker {task} does not exist; download face_landmarker.task from MediaPipe's site")
        try:
            import mediapipe  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise VrmmError(
                f'{task} needs MediaPipe, which cannot be imported ({error}): pip install "vrmm[mediapipe]"'
            ) from error
        self._mediapipe: Any = mediapipe
        vision = mediapipe.tasks.vision
        options = vision.FaceLandmarkerOptions(
            base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(self._task)),
            running_mode=vision.RunningMode.IMAGE,
            num_faces=MOST_FACES,
        )
        try:
            self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
        except (ValueError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            raise VrmmError(f"{task} is not a model that the Face Landmarker can load: {reason}") from error

    def find(self, picture: Picture) -> Float[np.ndarray, "F 68 2"]:
        image_format = self._mediapipe.ImageFormat.SRGB
        image = self._mediapipe.Image(image_format=image_format, data=np.ascontiguousarray(picture.rgb))
        height, width = picture.rgb.shape[:2]
        # Shares of the picture's sides, from the corner of the first pixel on.
        faces = [
            [(point.x * width, point.y * height) for point in face]
            for face in self._landmarker.detect(image).face_landmarks
        ]
        return to_68(np.array(faces, np.float64), str(self._task)) if faces else np.zeros((0, 68, 2))

    def remedy(self, picture: Picture) -> str:
        return f"show a whole face, larger and better lit ({self._task.name} sees none)"

    @property
    def fingerprint(self) -> str:
        return f"mediapipe:{sha256_of(self._task)}"
