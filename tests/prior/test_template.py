"""The base mesh: rays from the centre of a head to its outermost surface."""

import numpy as np
import pytest

from prior import template
from prior.template import farthest_hit


def test_a_ray_meets_the_outer_of_two_boxes() -> None:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    quads = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    faces = np.array([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))])
    vertices, both = np.concatenate([corners, 0.5 * corners]), np.concatenate([faces, faces + 8])
    directions = np.array([[1, 0, 0], [0, -1, 0], [0.6, 0.0, 0.8], [1, 1, 1]]) / [[1], [1], [1], [np.sqrt(3)]]
    np.testing.assert_allclose(farthest_hit(directions, vertices, both), [1.0, 1.0, 1.25, np.sqrt(3)], rtol=1e-9)
    assert np.isnan(farthest_hit(directions[:1], vertices, faces[:2])).all(), "it is behind"


def test_triangles_that_are_left_out_are_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones, ones wider than a half space, and ones with a corner in the centre; not a bit differs."""
    chance = np.random.default_rng(0)
    middle = chance.standard_normal((400, 1, 3))
    corners = middle + np.where(np.arange(400) < 200, 0.2, 3.0)[:, None, None] * chance.standard_normal((400, 3, 3))
    corners[:5, 0] = 0.0
    faces = np.arange(1200).reshape(400, 3)
    directions = chance.standard_normal((5000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    few = farthest_hit(directions, corners.reshape(-1, 3), faces)
    monkeypatch.setattr(template, "_cones", lambda corners: (corners[:, 0], np.full(len(corners), -np.inf)))
    np.testing.assert_array_equal(few, farthest_hit(directions, corners.reshape(-1, 3), faces))
    assert np.isfinite(few).mean() > 0.9
