"""Pictures of the light stage, written as each data set writes them, read back, and rendered again from what was read.

The second rendering knows nothing but what the reader says: camera, lamps, pose, colour. It shows the same picture only
if all of them are right together.
"""

from pathlib import Path

import numpy as np
import pytest

from datasets.capture import Pose
from datasets.images import display
from datasets.readers.tracked import TrackedReader
from tests.datasets.reader_grid import column
from tests.datasets.readers.heads import RenderedHead
from tests.datasets.readers_mono import rendered_scene
from tests.datasets.rendered_captures import STAGES, VIDEOS, StageShot, video_shot

POSED = ("insta", "mononphm")
"""Videos whose heads are tracked in metres."""

SAME = 0.005
"""Share of the head's radiance: rays are drawn alike, only their last digits differ. A pixel off is 0.04 or more."""

CODED = 0.08
"""The same after a codec: shadows in 8 linear bits are coarse; the tests of each format hold its codec tighter."""

MEAN = 1.5 / 255.0
"""In the display encoding: the rounding of two conversions."""


@pytest.mark.parametrize("name", list(STAGES))
def test_what_was_read_of_a_rig_renders_the_same_picture(name: str, tmp_path: Path) -> None:
    shot = STAGES[name](tmp_path, 1)
    reader, frame = shot.open()
    camera = reader.info.camera(shot.camera)
    head = RenderedHead(lambda _: frame.light, lambda _: _in_readers_world(shot, reader.stage), shot.exposure)
    read, again = shot.read()[0], head.radiance(camera, shot.number)
    assert _distance(again, shot.radiance, shot.mask) < SAME
    assert _distance(np.roll(again, 1, axis=1), shot.radiance, shot.mask) > 5 * SAME, "one pixel would show"
    assert _distance(read, shot.radiance, shot.mask) < CODED


@pytest.mark.long
@pytest.mark.parametrize("name", POSED)
def test_what_was_read_of_a_video_renders_the_same_picture(name: str, tmp_path: Path) -> None:
    shot = video_shot(name, tmp_path)
    reader, frame = shot.open()
    assert isinstance(reader, TrackedReader)
    assert frame.pose is not None
    rgba = rendered_scene.seen(reader.info.camera(shot.camera), frame.pose, 0)
    again = rgba[..., :3] + (1.0 - rgba[..., 3:]) * rendered_scene.BACKGROUND
    assert _distance(again, shot.radiance, shot.mask) < SAME
    assert _distance(shot.read()[0], shot.radiance, shot.mask) < CODED


@pytest.mark.long
@pytest.mark.parametrize("name", VIDEOS)
def test_pictures_of_videos_are_those_that_were_written(name: str, tmp_path: Path) -> None:
    shot = video_shot(name, tmp_path)
    image, mask = shot.read()
    assert np.abs(display(image) - display(shot.radiance)).mean() < MEAN
    assert mask is None or np.abs(mask - shot.mask).max() < 1.01 / 255.0
    assert column(shot).ndim == 3, "a column of the picture grid"


def _in_readers_world(shot: StageShot, stage) -> Pose:
    """The head's pose; the two worlds differ by where each has its origin and front."""
    start, *axes = stage.points(shot.world.points(np.concatenate([np.zeros((1, 3)), np.eye(3)])))
    turn = (np.array(axes) - start).T
    return Pose(rotation=turn @ shot.pose.rotation, translation=turn @ shot.pose.translation + start)


def _distance(read: np.ndarray, again: np.ndarray, mask: np.ndarray) -> float:
    """Between two pictures [H, W, 3] of a head, smoothed over 5 × 5 pixels, as a share of their radiance."""
    import cv2

    one, other = (cv2.blur(picture.astype(np.float32), (5, 5)) for picture in (read, again))
    inside = mask > 0.0
    return float(np.abs(one - other)[inside].mean() / other[inside].mean())
