"""The mirror ball: a click on the highlight of a lamp is that lamp."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tools.viewer.ball import MirrorBall
from tools.viewer.camera import orbit_camera
from tools.viewer.lights import toward
from tools.viewer.state import Orbit

EYE = (0.3, 0.2, 0.9)


def ball_at(eye: tuple[float, float, float]) -> MirrorBall:
    camera = orbit_camera(Orbit(eye=eye), 640, 480)
    rotation = camera.world_to_camera[:, :3].T
    return MirrorBall(np.array(eye), rotation, float(np.linalg.norm(eye)), np.radians(19.0), 640 / 480)


@given(st.floats(-180.0, 180.0), st.floats(-90.0, 90.0))
def test_a_click_on_the_highlight_is_the_lamp(azimuth: float, elevation: float) -> None:
    ball, lamp = ball_at(EYE), toward(azimuth, elevation)
    away = (np.array(EYE) - ball.center) / np.linalg.norm(np.array(EYE) - ball.center)
    assume(lamp @ away > -0.95)  # nearly behind the ball, its rim is all highlight
    spot = ball.highlight(lamp)
    assert np.linalg.norm(spot - ball.center) == pytest.approx(ball.radius)
    found = ball.lamp(np.array(EYE), spot - np.array(EYE))
    assert found is not None
    # the ball is far away for its size: directions to eye differ over it by radius / distance
    assert found @ lamp > np.cos(np.radians(6.0))


def test_the_middle_of_the_ball_is_a_lamp_at_the_camera() -> None:
    ball = ball_at((0.0, 0.0, 1.0))
    found = ball.lamp(np.array([0.0, 0.0, 1.0]), ball.center - [0.0, 0.0, 1.0])
    toward_eye = np.array([0.0, 0.0, 1.0]) - ball.center
    assert found == pytest.approx(toward_eye / np.linalg.norm(toward_eye))


def test_rays_beside_the_ball_are_no_lamp() -> None:
    ball = ball_at(EYE)
    away = ball.center - np.array(EYE)
    side = np.cross(away, [0.0, 1.0, 0.0])
    side *= 1.05 * ball.radius / np.linalg.norm(side)
    assert ball.lamp(np.array(EYE), away + side) is None
    assert ball.lamp(np.array(EYE), -away) is None


def test_the_ball_hangs_in_the_lower_left_of_every_view() -> None:
    for eye in (EYE, (-0.5, 0.4, -0.7), (0.0, 0.05, 2.0)):
        pixel = orbit_camera(Orbit(eye=eye), 640, 480).project(ball_at(eye).center[None])[0]
        assert 0 < pixel[0] < 100
        assert 400 < pixel[1] < 480


def test_a_lamp_straight_behind_the_ball_has_a_place_on_it() -> None:
    ball = ball_at((0.0, 0.0, 1.0))
    away = ball.center - np.array([0.0, 0.0, 1.0])
    spot = ball.highlight(away / np.linalg.norm(away))
    assert np.linalg.norm(spot - ball.center) == pytest.approx(ball.radius)
