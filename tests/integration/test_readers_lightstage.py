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

MEAN, MOST = 1.5 / 255.0, 12.0 / 255.0
"""In the display encoding, over the head: codecs and roundings, and noise where rays differ in their last digits."""


@pytest.mark.parametrize("name", list(STAGES))
def test_what_was_read_of_a_rig_renders_the_same_picture(name: str, tmp_path: Path) -> None:
    shot = STAGES[name](tmp_path, 1)
    reader, frame = shot.open()
    camera = reader.info.camera(shot.camera)
    head = RenderedHead(lambda _: frame.light, lambda _: _in_readers_world(shot, reader.stage), shot.exposure)
    _compare(shot.read()[0], head.radiance(camera, shot.number), shot.mask)
    turned = Pose(rotation=np.diag([-1.0, 1.0, -1.0]), translation=np.zeros(3))
    _differ(shot.radiance, RenderedHead(lambda _: frame.light, lambda _: turned).radiance(camera, shot.number))


@pytest.mark.parametrize("name", POSED)
def test_what_was_read_of_a_video_renders_the_same_picture(name: str, tmp_path: Path) -> None:
    shot = video_shot(name, tmp_path)
    reader, frame = shot.open()
    assert isinstance(reader, TrackedReader)
    assert frame.pose is not None
    rgba = rendered_scene.seen(reader.info.camera(shot.camera), frame.pose, 0)
    again = rgba[..., :3] + (1.0 - rgba[..., 3:]) * rendered_scene.BACKGROUND
    _compare(shot.read()[0], again, shot.mask)


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


def _compare(read: np.ndarray, again: np.ndarray, mask: np.ndarray) -> None:
    error = np.abs(display(read) - display(again))[mask > 0.0]
    assert error.mean() < MEAN
    assert np.quantile(error, 0.99) < MOST


def _differ(one: np.ndarray, other: np.ndarray) -> None:
    assert np.abs(display(one) - display(other)).mean() > 4 * MEAN, "another pose shows"
