"""Landmarks of pictures from our own network: no file and no download is needed."""

import numpy as np
import torch
from jaxtyping import Float

from fitting.initializer.detect import find_faces
from fitting.initializer.storage import Initializer
from fitting.landmarks import LandmarkSource, Picture


class NetworkLandmarks(LandmarkSource):
    """Looks for faces anywhere in the picture. Final."""

    def __init__(self, initializer: Initializer) -> None:
        self._initializer = initializer

    def find(self, picture: Picture) -> Float[np.ndarray, "F 68 2"]:
        values = torch.from_numpy(np.ascontiguousarray(picture.rgb.transpose(2, 0, 1))).float() / 255.0
        return find_faces(self._initializer.network, values).landmarks.double().numpy()

    def remedy(self, picture: Picture) -> str:
        return (
            "the prior's initializer sees no face in it; use a picture in which the face is larger and all to be seen"
        )

    @property
    def fingerprint(self) -> str:
        return self._initializer.sha256
