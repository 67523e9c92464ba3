"""Rays and projection are inverse to each other."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prior.cameras import CameraBatch, near_far_of_sphere
from tests.prior.small_model import camera_at


@given(st.floats(-3, 3), st.floats(0.02, 0.5))
@settings(deadline=None, max_examples=30)
def test_points_on_a_pixels_ray_project_to_its_centre(azimuth, depth):
    cameras = CameraBatch.stack([camera_at(azimuth, size=12)])
    origin, direction = cameras.rays()
    y, x = np.mgrid[0:12, 0:12] + 0.5
    pixels = cameras.project(origin + (1.0 + depth) * direction)[0].numpy()
    # float32 pixels of a 12 px image
    np.testing.assert_allclose(pixels, np.stack([x.ravel(), y.ravel()], 1), atol=1e-3)


def test_projection_agrees_with_the_capture_camera():
    camera = camera_at(0.4, size=20)
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (9, 3))
    own = CameraBatch.stack([camera]).project(torch.tensor(points[None], dtype=torch.float32))[0].numpy()
    np.testing.assert_allclose(own, camera.project(points), atol=1e-3)


def test_resizing_keeps_relative_positions():
    cameras = CameraBatch.stack([camera_at(0.4, size=20)])
    points = torch.tensor([[[0.03, 0.02, 0.01]]])
    torch.testing.assert_close(cameras.resized(40, 40).project(points), 2.0 * cameras.project(points))


def test_sphere_interval_is_exact_and_empty_outside():
    origin = torch.tensor([[[0.0, 0.0, 2.0], [0.5, 0.0, 2.0]]])
    direction = torch.tensor([[[0.0, 0.0, -1.0], [0.0, 0.0, -1.0]]])
    near, far = near_far_of_sphere(origin, direction, torch.zeros(1, 3), 0.25)[0].unbind(-1)
    torch.testing.assert_close(torch.stack([near[0], far[0]]), torch.tensor([1.75, 2.25]))
    assert far[1] - near[1] == 0.0
