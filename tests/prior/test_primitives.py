"""Primitives sit on the surface, turn with it, and the pose moves them rigidly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datasets.errors import VrmmError
from prior.primitives import TangentGrid, adjust, locate_in_uv, rotation_from_axis_angle
from prior.template import Template
from tests.prior.small_model import sphere_template

ANGLES = st.tuples(*[st.floats(-3, 3)] * 3)


@given(ANGLES)
@settings(deadline=None)
def test_rotations_agree_with_scipy(angles):
    own = rotation_from_axis_angle(torch.tensor(angles, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(own, Rotation.from_rotvec(angles).as_matrix(), atol=1e-9)


def test_rotation_has_finite_gradients_at_zero():
    vector = torch.zeros(1, 3, requires_grad=True, dtype=torch.float64)
    assert torch.autograd.gradcheck(rotation_from_axis_angle, (vector,))


def test_frames_on_a_sphere_are_orthonormal_and_point_outwards():
    grid = TangentGrid(sphere_template(33), 16, thickness=0.01)
    rest = grid(torch.tensor(sphere_template(33).vertices)[None])
    radial = torch.nn.functional.normalize(rest.center, dim=-1)
    # a chord of a 33² grid leaves the 10 cm sphere by at most 3 mm
    assert (rest.center.norm(dim=-1) - 0.1).abs().max() < 3e-3
    assert (rest.rotation[..., 2] * radial).sum(-1).min() > 0.9
    product = rest.rotation.transpose(-1, -2) @ rest.rotation
    torch.testing.assert_close(product, torch.eye(3).expand_as(product), rtol=0, atol=1e-5)
    assert torch.linalg.det(rest.rotation).min() > 0.99


def test_neighbours_overlap_so_that_the_surface_has_no_gaps():
    template = sphere_template(33)
    grid = TangentGrid(template, 16, thickness=0.01)
    centers = grid(torch.tensor(template.vertices)[None]).center[0].reshape(16, 16, 3)
    half = grid.half_size.reshape(16, 16, 3)
    along_u = (centers[:, 1:] - centers[:, :-1]).norm(dim=-1)
    assert (half[:, 1:, 0] + half[:, :-1, 0] > along_u).float().mean() > 0.97


def test_rigid_motion_of_the_mesh_moves_primitives_rigidly():
    template = sphere_template()
    grid = TangentGrid(template, 8, thickness=0.01)
    vertices = torch.tensor(template.vertices)[None]
    turn = rotation_from_axis_angle(torch.tensor([[0.3, -0.2, 0.5]]))
    shift = torch.tensor([[0.01, 0.02, -0.03]])
    moved_mesh = grid(vertices @ turn.transpose(1, 2) + shift[:, None])
    moved = grid(vertices).moved(turn, shift)
    torch.testing.assert_close(moved_mesh.center, moved.center, rtol=0, atol=1e-6)
    torch.testing.assert_close(moved_mesh.rotation, moved.rotation, rtol=0, atol=1e-4)


def test_zero_adjustment_changes_nothing_and_shift_is_along_the_normal():
    template = sphere_template()
    grid = TangentGrid(template, 8, thickness=0.01)
    rest = grid(torch.tensor(template.vertices)[None])
    same, scale = adjust(rest, torch.zeros(1, 64, 9), grid.half_size)
    assert torch.equal(scale, torch.ones(1, 64, 3))
    torch.testing.assert_close(same.rotation, rest.rotation, rtol=0, atol=1e-6)
    offsets = torch.zeros(1, 64, 9)
    offsets[..., 5] = 1.0
    lifted, _ = adjust(rest, offsets, grid.half_size)
    torch.testing.assert_close(lifted.center - rest.center, rest.rotation[..., 2] * 0.01, rtol=0, atol=1e-6)


def test_uv_points_find_their_barycentric_place():
    template = sphere_template(9)
    points = np.random.default_rng(0).uniform(0.01, 0.99, (50, 2))
    corners, weights = locate_in_uv(template, points)
    np.testing.assert_allclose(np.einsum("pij,pi->pj", template.uv[corners], weights), points, atol=1e-6)


def test_mesh_without_uv_is_refused():
    flat = Template(
        vertices=np.zeros((3, 3), np.float32),
        uv=np.zeros((3, 2), np.float32),
        faces=np.array([[0, 1, 2]], np.int32),
        landmarks=np.zeros((68, 3), np.float32),
    )
    with pytest.raises(VrmmError, match="UV"):
        TangentGrid(flat, 8, 0.01)
