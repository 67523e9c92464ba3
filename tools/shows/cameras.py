"""Where a show is seen from."""

import dataclasses

import numpy as np

from datasets.capture import Camera
from datasets.errors import VrmmError
from datasets.lightstage.rig import look_at_origin
from prior.vrmm import VRMM
from tools.shows.moves import CameraMove

SWAY_DEGREES = 24.0
"""How far a swaying camera goes to each side."""
DISTANCE_METRES = 1.0
MARGIN = 1.12
"""Half of the picture's width, in radii of the template."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CameraPath:
    """A camera that looks at the head and holds still, sways from side to side, or goes around once.

    Attributes:
        size: pixels of a side.
        distance: from the origin, metres.
        field: angle across the picture, radians.
        azimuth, elevation: degrees; azimuth 0 is in front of the face, positive to its left.
        move: how it moves; ``azimuth`` is then the middle or the start.
    """

    size: int
    distance: float
    field: float
    azimuth: float = 0.0
    elevation: float = 3.0
    move: CameraMove = CameraMove.hold

    def __post_init__(self) -> None:
        if self.size < 16:
            raise VrmmError(f"pictures of {self.size} pixels are too small to see a head; use 16 or more")
        if not abs(self.elevation) <= 85.0:
            raise VrmmError(f"the camera's elevation is {self.elevation:g}°; it must lie within ±85°")

    @staticmethod
    def around(model: VRMM, size: int, zoom: float = 1.0, **place: float | CameraMove) -> "CameraPath":
        """A camera whose picture holds the head of ``model``; ``zoom`` enlarges it."""
        if not zoom > 0:
            raise VrmmError(f"the zoom is {zoom:g}; it must be positive")
        radius = float(model.mesh_decoder.template.norm(dim=1).max())
        field = 2.0 * float(np.arctan(MARGIN * radius / DISTANCE_METRES / zoom))
        return CameraPath(size=size, distance=DISTANCE_METRES, field=field, **place)  # type: ignore[arg-type]

    def at(self, place: float) -> Camera:
        """The camera at ``place`` in [0, 1) of the show."""
        azimuth, elevation = np.radians([self.azimuth + _TURNS[self.move](place), self.elevation])
        toward = [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
        return look_at_origin(
            name="show", position=np.array(toward) * self.distance, field_of_view=self.field, size=self.size
        )


_TURNS = {
    CameraMove.hold: lambda place: 0.0,
    CameraMove.sway: lambda place: SWAY_DEGREES * float(np.sin(2.0 * np.pi * place)),
    CameraMove.orbit: lambda place: 360.0 * place,
}
"""Degrees of azimuth away from the start."""
