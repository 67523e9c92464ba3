"""A training refuses data that it cannot learn from, before anything is built."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from datasets.capture import Frame, Light
from datasets.errors import VrmmError
from datasets.loader import FrameLoader, LoaderConfig
from datasets.shards import build_shards
from prior.recipe import TrainRecipe
from prior.trainer import check_data
from tests.datasets.tiny_capture import TinyCapture


class _SomeUnlit(TinyCapture):
    """The last subject's frames were taken wherever the camera was."""

    def frames(self) -> Sequence[Frame]:
        unlit = self.info.subjects[-1]
        return [
            dataclasses.replace(frame, light=Light.unknown()) if frame.subject == unlit else frame
            for frame in super().frames()
        ]


def test_frames_of_unknown_light_are_refused(tmp_path: Path) -> None:
    capture = _SomeUnlit(subjects=2, frames=4, splits=False, size=(64, 48))
    build_shards(capture, tmp_path, samples_per_shard=4)
    loader = FrameLoader(LoaderConfig(shards=str(tmp_path)))
    unlit = [frame.key for frame in capture.frames() if not frame.light.known]
    assert sorted(loader.frames_of_unknown_light()) == sorted(unlit)
    recipe = TrainRecipe()
    recipe.model.encoder_views = len(loader.input_cameras)
    with pytest.raises(VrmmError, match=f"4 frames, the first {unlit[0]}, do not say how they are lit"):
        check_data(recipe, loader)
