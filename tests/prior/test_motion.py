"""Curves that are made: what rests, what stays, and where they are between their moments."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from datasets.capture import Pose
from datasets.errors import VrmmError
from prior.animation import AnimationCurve
from prior.motion import about_rest, at_places, encode_motion, resampled, through_keys
from tests.prior.small_model import small_model


def turns(*degrees: float) -> np.ndarray:
    return Rotation.from_rotvec([[0.0, angle, 0.0] for angle in degrees], degrees=True).as_matrix()


def curve(fps: float = 10.0) -> AnimationCurve:
    return AnimationCurve(
        expression=torch.tensor([[0.0, 1.0], [2.0, 1.0], [2.0, 5.0]]),
        rotation=torch.tensor(turns(0.0, 60.0, 60.0), dtype=torch.float32),
        translation=torch.tensor([[0.0, 0, 0], [0.02, 0, 0], [0.02, 0.01, 0]]),
        fps=fps,
    )


def test_motion_does_not_depend_on_where_the_driver_stood() -> None:
    """The same nod, filmed by a camera that is turned and far away."""
    rotation, translation = turns(-20.0, 0.0, 20.0), np.array([[0.0, 0, 0], [0.01, 0, 0], [0.02, 0, 0]])
    codes = np.zeros((3, 2))
    near = about_rest(codes, rotation, translation, 10.0)
    away = about_rest(codes, rotation @ turns(35.0)[0], translation + 3.0, 10.0)
    torch.testing.assert_close(away.rotation, near.rotation, rtol=0, atol=1e-6)
    torch.testing.assert_close(away.translation, near.translation, rtol=0, atol=1e-6)
    torch.testing.assert_close(near.rotation, torch.tensor(rotation, dtype=torch.float32), rtol=0, atol=1e-6)
    assert near.translation.mean(dim=0).abs().max() < 1e-7


def test_between_moments_codes_go_straight_and_heads_along_the_arc() -> None:
    found = at_places(curve(), np.array([0.0, 0.5, 2.0]))
    torch.testing.assert_close(found.expression, torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 5.0]]))
    wanted = torch.tensor(turns(0.0, 30.0, 60.0), dtype=torch.float32)
    torch.testing.assert_close(found.rotation, wanted, rtol=0, atol=1e-6)


def test_another_rate_lasts_as_long() -> None:
    found = resampled(curve(10.0), 24.0)
    assert (found.fps, len(found)) == (24.0, 7)
    assert found.seconds == pytest.approx(curve().seconds, abs=0.5 / 24)
    assert torch.equal(resampled(curve(), 10.0).expression, curve().expression)
    assert len(resampled(curve(), 10.0, seconds=0.2)) == 2
    assert len(resampled(curve(), 10.0, seconds=9.0)) == 3, "a curve is not made longer than it is"
    with pytest.raises(VrmmError, match="positive"):
        resampled(curve(), 0.0)


def test_keys_are_visited_between_two_rests() -> None:
    codes = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = through_keys(codes, [Pose.identity()], 20.0)
    assert torch.equal(found.expression[0], torch.zeros(2))
    assert torch.equal(found.expression[-1], torch.zeros(2))
    for code in torch.tensor(codes, dtype=torch.float32):
        assert (found.expression == code).all(dim=1).sum() >= 0.4 * 20, "it rests there"
    change = (found.expression[1:] - found.expression[:-1]).norm(dim=1)
    assert change.max() < 3.0 * 2**0.5 / (0.7 * 20), "no jump: twice the mean speed of a change at most"


def test_frames_are_read_by_the_models_encoders() -> None:
    model = small_model().eval()
    with torch.no_grad():
        model.expression_encoder.head.weight.mul_(20.0)
    generator = torch.Generator().manual_seed(0)
    frames = [(torch.rand(3, 3, 24, 24, generator=generator), torch.ones(3, 1, 24, 24)) for _ in range(4)]
    steps: list[int] = []
    found = encode_motion(model, frames, 4, 12.0, lambda done, total: steps.append(done))
    with torch.no_grad():
        wanted = torch.cat([model.encode(images[None], masks[None]).mean for images, masks in frames])
    torch.testing.assert_close(found.expression, wanted)
    assert steps == [1, 2, 3, 4]
    with pytest.raises(VrmmError, match="no frames"):
        encode_motion(model, [], 0, 12.0)
