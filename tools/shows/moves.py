"""How a camera can move; apart from the camera itself, which needs libraries that a command's help must not load."""

import enum


class CameraMove(enum.Enum):
    """How a camera moves over a show."""

    hold = "hold"
    sway = "sway"
    orbit = "orbit"
