"""A state to pixels: what the renderer says, whatever was drawn before, and captured frames beside it."""

import dataclasses

import numpy as np
import pytest
import torch

from datasets.errors import VrmmError
from prior.cameras import CameraBatch
from prior.pictures import to_picture
from prior.render import render_head
from tests.prior.test_animation import make_curve
from tools.viewer.camera import BAND_RAYS, orbit_camera
from tools.viewer.picture import Painter, check_state, moment_of
from tools.viewer.source import Source
from tools.viewer.state import Compare, Comparison, Lighting, LightKind, Orbit, Show, ViewState

STATE = ViewState(
    identity=(("s0", 1.0), ("s2", 0.5)),
    expression=(("1", 1.0),),
    orbit=Orbit(eye=(0.3, 0.1, 0.9)),
    background=(0, 0, 0),
)


def pixels(source: Source, state: ViewState, width: int = 60, height: int = 44) -> np.ndarray:
    picture = Painter(source).paint(state, width, height)
    assert picture is not None
    return picture.pixels


def test_bands_are_the_whole_picture(source: Source) -> None:
    width, height = 200, 260  # several bands, the last of them lower
    assert width * height > 2 * BAND_RAYS
    with torch.inference_mode():
        moment = moment_of(source, STATE, width, height)
        cameras = CameraBatch.stack([orbit_camera(STATE.orbit, width, height)])
        pose = moment.rotation, moment.translation
        whole = render_head(source.model, moment.z_id, moment.z_e, moment.light, *pose, cameras, source.rendering)
    found = pixels(source, STATE, width, height).astype(int)
    assert found.max() > 60, "nothing is seen"
    # rays of a band differ from those of the whole in the last bit of float32: a step of 255 or two where it is
    # dark and display values are steep, and rarely
    difference = np.abs(found - to_picture(whole.image[0, 0]))
    assert difference.max() <= 3
    assert (difference > 0).mean() < 1e-3


def test_what_was_drawn_before_changes_nothing(source: Source) -> None:
    others = [
        dataclasses.replace(STATE, expression=(("2", -1.0),)),
        dataclasses.replace(STATE, lighting=Lighting(azimuth=-60.0)),
        dataclasses.replace(STATE, orbit=Orbit()),
        dataclasses.replace(STATE, identity=(("s1", 1.0),)),
    ]
    painter = Painter(source)
    for other in others:
        seen = []
        for state in (STATE, other, STATE):
            picture = painter.paint(state, 60, 44)
            assert picture is not None
            seen.append(picture.pixels)
        assert np.array_equal(seen[0], pixels(source, STATE))
        assert np.array_equal(seen[1], pixels(source, other))
        assert np.array_equal(seen[0], seen[2])
        assert not np.array_equal(seen[0], seen[1]), other


def test_a_picture_can_be_given_up_between_bands(source: Source) -> None:
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    assert Painter(source).paint(STATE, 200, 260, stop) is None
    assert len(asked) == 3


def test_the_background_is_the_colour_that_was_chosen(source: Source) -> None:
    found = pixels(source, dataclasses.replace(STATE, background=(12, 130, 250)))
    assert found[0, 0].tolist() == [12, 130, 250]


def test_a_curve_moves_expression_and_head(source: Source) -> None:
    curve = make_curve()
    playing = dataclasses.replace(source, curve=curve)
    with torch.inference_mode():
        moment = moment_of(playing, dataclasses.replace(STATE, frame=3), 60, 44)
    assert torch.equal(moment.rotation[0], curve.rotation[3])
    assert torch.equal(moment.translation[0], curve.translation[3])
    assert torch.allclose(moment.z_e[0], curve.expression[3] + source.expressions.directions[0])
    with pytest.raises(VrmmError, match="frames 0 to 4, not 5"):
        check_state(playing, dataclasses.replace(STATE, frame=5))
    with pytest.raises(VrmmError, match="--curve"):
        check_state(source, dataclasses.replace(STATE, frame=0))


def test_the_world_is_lit_and_not_the_head(source: Source) -> None:
    """A head that turns under a lamp of the world is lit from elsewhere in its own frame."""
    curve = make_curve()
    still = dataclasses.replace(curve, rotation=torch.eye(3).expand(5, 3, 3))
    lights = []
    for each in (curve, still):
        with torch.inference_mode():
            lights.append(moment_of(dataclasses.replace(source, curve=each), dataclasses.replace(STATE, frame=1), 9, 9))
    assert torch.allclose(lights[0].light.sum(1), lights[1].light.sum(1), rtol=1e-4)
    assert (lights[0].light - lights[1].light).abs().sum() > 0.1 * lights[1].light.sum()


def compared(mode: Compare, wipe: float = 0.5) -> ViewState:
    comparison = Comparison(mode=mode, frame="s1_talk_000002", camera="left", wipe=wipe)
    return ViewState(comparison=comparison, background=(0, 0, 0))


def test_a_captured_frame_is_seen_as_it_was_taken(source: Source) -> None:
    assert source.captured is not None
    shot = source.captured.shot("s1_talk_000002", "left")
    # 96 rows show the 48 of the capture twice
    found = pixels(source, compared(Compare.TRUTH), 96, 96)
    assert np.array_equal(found[::2, ::2], to_picture(shot.image))
    assert np.array_equal(found[::2], found[1::2])


def test_model_and_truth_share_a_picture(source: Source) -> None:
    model, truth, wipe = (
        pixels(source, compared(mode, 0.25), 48, 48) for mode in (Compare.MODEL, Compare.TRUTH, Compare.WIPE)
    )
    assert np.array_equal(wipe[:, :12], model[:, :12])
    assert (wipe[:, 12] == 255).all()
    assert np.array_equal(wipe[:, 13:], truth[:, 13:])


def test_the_error_map_is_the_difference(source: Source) -> None:
    assert source.captured is not None
    inside = (source.captured.shot("s1_talk_000002", "left").mask[0] > 0.5).numpy()
    model, truth, error = (
        pixels(source, compared(mode), 48, 48).astype(float) for mode in (Compare.MODEL, Compare.TRUTH, Compare.ERROR)
    )
    wanted = np.clip(4.0 * np.abs(model - truth), 0, 255) * inside[..., None]
    # the true picture is drawn over black, the truth's own background: both as in the capture
    assert np.abs(error - wanted).max() <= 4.1, "both pictures are rounded to 1/255, and the difference times 4"


def test_a_comparison_knows_its_number(source: Source) -> None:
    picture = Painter(source).paint(compared(Compare.MODEL), 48, 48)
    assert picture is not None
    assert picture.psnr is not None
    assert 0.0 < picture.psnr < 60.0


def test_frames_that_are_not_there_are_named(source: Source) -> None:
    wrong = Comparison(mode=Compare.TRUTH, frame="s1_talk_000099", camera="left")
    with pytest.raises(VrmmError, match="s1_talk_000099"):
        check_state(source, ViewState(comparison=wrong))
    wrong = Comparison(mode=Compare.TRUTH, frame="s1_talk_000002", camera="nowhere")
    with pytest.raises(VrmmError, match="no camera nowhere"):
        check_state(source, ViewState(comparison=wrong))
    alone = dataclasses.replace(source, captured=None, without_captured="it is gone")
    with pytest.raises(VrmmError, match="it is gone"):
        check_state(alone, compared(Compare.TRUTH))
    with pytest.raises(VrmmError, match="no light was fitted"):
        check_state(source, ViewState(lighting=Lighting(kind=LightKind.FITTED)))
    with pytest.raises(VrmmError, match="--eye or --target"):
        check_state(source, ViewState(orbit=Orbit(eye=(0.0, 1.0, 0.0))))


def test_boxes_stand_where_the_head_is(source: Source) -> None:
    head = pixels(source, STATE, 96, 96).max(axis=2) > 20
    boxes = pixels(source, dataclasses.replace(STATE, show=Show.BOXES), 96, 96).max(axis=2) > 20
    assert head.mean() > 0.02
    assert boxes[head].mean() > 0.95
    outlines = pixels(source, dataclasses.replace(STATE, show=Show.OUTLINES), 96, 96)
    assert not np.array_equal(outlines, pixels(source, STATE, 96, 96))
