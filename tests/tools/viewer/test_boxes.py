"""Boxes of primitives: where they are seen, which hides which."""

import numpy as np
import torch

from prior.primitives import Placement
from tools.viewer.boxes import draw_boxes
from tools.viewer.camera import orbit_camera
from tools.viewer.state import Orbit


def placed(centers: list[list[float]], half: float = 0.05) -> Placement:
    count = len(centers)
    return Placement(
        center=torch.tensor([centers]),
        rotation=torch.eye(3).expand(1, count, 3, 3),
        half_size=torch.full((1, count, 3), half),
    )


def drawn(placement: Placement, *, filled: bool = True) -> np.ndarray:
    camera = orbit_camera(Orbit(eye=(0.0, 0.0, 1.0)), 200, 100)
    return draw_boxes(np.zeros((100, 200, 3), np.uint8), placement, camera, filled=filled)


def test_a_box_covers_its_projection() -> None:
    seen = drawn(placed([[0.05, 0.0, 0.0]])).max(axis=2) > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    focal = 50.0 / np.tan(np.radians(9.5))
    # its near face, 0.95 m away, is the largest: 0 to 0.1 m to the right, 0.05 m up and down;
    # smooth edges reach a pixel further
    assert np.allclose([columns[0], columns[-1] + 1], [100.0, 100.0 + 0.1 / 0.95 * focal], atol=2.0)
    assert np.allclose([rows[0], rows[-1] + 1], [50.0 - 0.05 / 0.95 * focal, 50.0 + 0.05 / 0.95 * focal], atol=2.0)


def test_the_nearer_box_hides_the_farther_one() -> None:
    far, near = [0.0, 0.0, -0.2], [0.0, 0.0, 0.2]
    alone = drawn(placed([near]))[50, 100]
    # colours go by number, so the order of both must not matter to who is in front
    first = drawn(placed([near, far]))[50, 100]
    last = drawn(placed([far, near]))[50, 100]
    assert np.array_equal(first, alone)
    assert not np.array_equal(last, drawn(placed([far]))[50, 100])


def test_boxes_behind_the_camera_are_left_out() -> None:
    assert drawn(placed([[0.0, 0.0, 1.3]])).max() == 0
    assert drawn(placed([[0.0, 0.0, 1.0]])).max() == 0


def test_edges_leave_the_middle_free() -> None:
    seen = drawn(placed([[0.0, 0.0, 0.0]]), filled=False)
    assert seen[50, 100].max() == 0
    assert seen.max() > 0
