"""PnP: known poses come back, alone and from several cameras, with known and unknown lenses."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datasets.errors import VrmmError
from fitting.pose import initial_pose
from fitting.views import Views
from tests.fitting.tiny import blank_views, cameras, landmark_points

TEMPLATE = landmark_points().astype(np.float64)


def seen(views: Views, rotation: np.ndarray, translation: np.ndarray) -> Views:
    """The template's landmarks in every camera."""
    world = torch.tensor((TEMPLATE @ rotation.T + translation).astype(np.float32))
    return dataclasses.replace(views, landmarks=views.cameras.project(world.expand(len(views), -1, -1)))


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between rotations."""
    return float(np.degrees(Rotation.from_matrix(a.T @ b).magnitude()))


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-0.6, 0.6)] * 3),
    st.tuples(*[st.floats(-0.03, 0.03)] * 3),
    st.sampled_from([(0.0,), (40.0,), (0.0, 30.0, -35.0)]),
)
def test_a_known_pose_is_recovered(turn: tuple, shift: tuple, yaws: tuple) -> None:
    rotation, translation = Rotation.from_rotvec(turn).as_matrix(), np.array(shift)
    views = seen(blank_views(cameras(yaws, size=96)), rotation, translation)
    found = initial_pose(views, TEMPLATE)
    # Landmarks are float32 pixels, exact to 1e-5: what is left is rounding.
    assert angle(found.rotation[0], rotation) < 0.02
    np.testing.assert_allclose(found.translation[0], translation, atol=5e-4)
    assert found.error.max() < 0.01


def test_every_unplaced_photo_has_its_own_pose() -> None:
    views = blank_views(cameras((0.0, 0.0), size=96), placed=False)
    turns = [Rotation.from_rotvec([0.0, yaw, 0.0]).as_matrix() for yaw in (0.3, -0.4)]
    points = torch.cat([seen(views, turn, np.zeros(3)).landmarks[:1] for turn in turns])
    found = initial_pose(dataclasses.replace(views, landmarks=points), TEMPLATE)
    assert [angle(found.rotation[k], turns[k]) < 0.05 for k in range(2)] == [True, True]


def test_noise_of_half_a_pixel_costs_little() -> None:
    views = seen(blank_views(cameras((0.0,), size=96)), np.eye(3), np.zeros(3))
    noisy = views.landmarks + 0.5 * torch.randn(1, 68, 2, generator=torch.Generator().manual_seed(3))
    noisy[0, 5] += 25.0  # and a landmark that is plainly wrong
    found = initial_pose(dataclasses.replace(views, landmarks=noisy), TEMPLATE)
    # The face is 40 pixels large: half a pixel on 68 points is about 1 degree.
    assert angle(found.rotation[0], np.eye(3)) < 3.0
    assert np.abs(found.translation[0][:2]).max() < 0.003


@pytest.mark.parametrize("focal", [2.0, 4.0])
def test_an_unknown_lens_gives_an_upright_pose(focal: float) -> None:
    truth = cameras((0.0,), size=96, focal=focal, distance=focal / 3.2)
    views = seen(blank_views(truth, placed=False, focal_known=False), np.eye(3), np.zeros(3))
    found = initial_pose(views, TEMPLATE)
    assert angle(found.rotation[0], np.eye(3)) < 3.0
    assert 0.5 < found.intrinsics[0, 0, 0] / (focal * 96) < 2.0
    assert found.error[0] < 0.5


def test_points_of_no_face_are_refused() -> None:
    views = blank_views(cameras((0.0,), size=96))
    random = torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(0)) * 96
    with pytest.raises(VrmmError, match=r"view0\.png.*68 Multi-PIE points"):
        initial_pose(dataclasses.replace(views, landmarks=random), TEMPLATE)
