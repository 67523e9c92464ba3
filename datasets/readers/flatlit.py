"""Frames of stages that burn the same light throughout."""

import enum

from datasets.capture import Frame, Pose, frame_key
from datasets.readers.light import UNIFORM, uniform_light

_LIGHT = uniform_light()


class Transfer(enum.Enum):
    """How stored values become linear ones."""

    srgb = "srgb"
    linear = "linear"


def flat_lit_frame(subject: str, sequence: str, index: int, *, split: str = "train", pose: Pose | None = None) -> Frame:
    """A frame under ``uniform_light``, which is its own reference for what every lamp shows."""
    return Frame(
        subject=subject,
        sequence=sequence,
        index=index,
        split=split,
        light=_LIGHT,
        light_pattern=UNIFORM,
        full_on=True,
        nearest_full_on=frame_key(subject, sequence, index),
        pose=pose,
    )
