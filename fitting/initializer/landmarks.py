"""Landmarks of photos from our own network: no file and no download is needed."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from datasets.errors import VrmmError
from fitting.initializer.detect import find_faces
from fitting.initializer.storage import Initializer
from fitting.landmarks import LandmarkSource
from fitting.photo import read_pixels
from prior.metrics import display


class NetworkLandmarks(LandmarkSource):
    """Looks for one face anywhere in the photo. Final."""

    def __init__(self, initializer: Initializer) -> None:
        self._network = initializer.network

    def find(self, photo: Path) -> Float[np.ndarray, "68 2"]:
        linear, _ = read_pixels(photo)
        picture = display(torch.from_numpy(np.ascontiguousarray(linear.transpose(2, 0, 1))).float())
        faces = find_faces(self._network, picture)
        if len(faces.score) == 0:
            raise VrmmError(f"{photo} shows no face that the initializer finds; put its landmarks beside it")
        if len(faces.score) > 1:
            raise VrmmError(f"{photo} shows {len(faces.score)} faces; crop it to one, or put its landmarks beside it")
        return faces.landmarks[0].double().numpy()
