"""The Levenberg–Marquardt stage: known poses and lenses come back from rough guesses."""

import dataclasses

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fitting.pose_stage import PoseGuess, refine_guess
from tests.fitting.test_pose import TEMPLATE, angle, seen
from tests.fitting.tiny import blank_views, cameras


def guess_for(views, rotation: np.ndarray, off: float, focal: float) -> PoseGuess:
    places = views.cameras.world_to_camera.double().numpy()
    wrong = Rotation.from_rotvec([0.0, off, 0.3 * off]).as_matrix()
    count = len(views)
    return PoseGuess(
        points=np.stack([TEMPLATE] * count),
        confidence=np.ones((count, 68)),
        rotation=np.stack([place[:, :3] @ rotation @ wrong for place in places]),
        focal=np.full(count, focal),
    )


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(*[st.floats(-0.6, 0.6)] * 3),
    st.tuples(*[st.floats(-0.03, 0.03)] * 3),
    st.sampled_from([(0.0,), (40.0,), (0.0, 30.0, -35.0)]),
    st.floats(-0.4, 0.4),
)
def test_a_known_pose_is_recovered(turn: tuple, shift: tuple, yaws: tuple, off: float) -> None:
    rotation, translation = Rotation.from_rotvec(turn).as_matrix(), np.array(shift)
    views = seen(blank_views(cameras(yaws, size=96)), rotation, translation)
    found = refine_guess(views, guess_for(views, rotation, off, 0.0))
    # Landmarks are float32 pixels, exact to 1e-5: what is left is rounding and the search's own tolerance.
    assert angle(found.rotation[0], rotation) < 0.05
    np.testing.assert_allclose(found.translation[0], translation, atol=5e-4)
    assert found.error.max() < 0.02


def test_an_unknown_lens_follows_the_landmarks_and_the_guess() -> None:
    """A near camera: perspective tells the lens from the distance."""
    truth = cameras((0.0,), size=96, focal=1.2, distance=0.4)
    views = seen(blank_views(truth, placed=False, focal_known=False), np.eye(3), np.zeros(3))
    found = refine_guess(views, guess_for(views, np.eye(3), 0.2, 1.5 * 1.2 * 96))
    assert angle(found.rotation[0], np.eye(3)) < 1.5
    assert abs(np.log(found.intrinsics[0, 0, 0] / (1.2 * 96))) < 0.2
    kept = views.cameras.intrinsics[0, :2, 2].double().numpy()
    np.testing.assert_allclose(found.intrinsics[0, :2, 2], kept)


def test_landmarks_that_are_not_trusted_do_not_pull() -> None:
    views = seen(blank_views(cameras((0.0,), size=96)), np.eye(3), np.zeros(3))
    moved = views.landmarks.clone()
    moved[0, :17] += torch.tensor([6.0, 0.0])
    views = dataclasses.replace(views, landmarks=moved)
    guess = guess_for(views, np.eye(3), 0.1, 0.0)
    trusted = angle(refine_guess(views, guess).rotation[0], np.eye(3))
    guess.confidence[:, :17] = 1e-4
    assert angle(refine_guess(views, guess).rotation[0], np.eye(3)) < min(0.3, trusted / 3)
