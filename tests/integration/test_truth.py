"""What evaluation compares with is clean."""

import numpy as np
import pytest

from datasets.lightstage.environment import environment_names, make_environment
from datasets.lightstage.stage import LightStage, StageConfig, truth_samples

pytestmark = pytest.mark.long


def test_truth_is_forty_decibels_from_the_converged_picture():
    config = StageConfig(name="tiny", train_subjects=1, held_out_subjects=0, frames=5, held_out_frames=1)
    stage = LightStage(config)
    frames = stage.frames("p00")
    view = stage.info.cameras[0]
    place = stage.exposed(make_environment(environment_names()[0], seed=0))
    lights = {frame.light_pattern: frame.light for frame in frames} | {"place": place}
    for name, light in lights.items():
        arguments = ("p00", np.array(frames[1].expression), light, view, frames[1].pose)
        clean = stage.truth_image(*arguments)
        converged = stage.truth_image(*arguments, samples=4 * truth_samples(light))
        encoded = [np.clip(picture.image, 0, 1) ** (1 / 2.2) for picture in (clean, converged)]
        weight = np.broadcast_to(converged.mask, encoded[0].shape)
        error = ((encoded[0] - encoded[1]) ** 2 * weight).sum() / weight.sum()
        # the converged picture has noise of its own, up to a quarter of the variance: 1 dB
        assert -10 * np.log10(error) > 39.0, name
