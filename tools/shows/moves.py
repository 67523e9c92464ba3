"""What a command's help needs to know without loading any library: how cameras move, what is usual in each command."""

import enum
from typing import Any

HEADS = 8
"""That are sampled by default."""


class CameraMove(enum.Enum):
    """How a camera moves over a show."""

    hold = "hold"
    sway = "sway"
    orbit = "orbit"


INTERPOLATE: dict[str, Any] = {"camera": CameraMove.sway}
RELIGHT: dict[str, Any] = {"light_turns": 1.0, "ball": True}
SAMPLE: dict[str, Any] = {"camera": CameraMove.sway}
"""Options whose default differs from that of ``ShowOptions``."""
