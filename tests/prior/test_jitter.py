"""Trembling primitives: known movements, and sequences with gaps."""

import dataclasses

import numpy as np
import pytest

from prior.evaluation.jitter import consecutive, second_differences
from tests.datasets.tiny_capture import TinyCapture


def test_rest_and_uniform_motion_do_not_tremble() -> None:
    points = np.random.default_rng(0).normal(size=(1, 5, 3))
    assert second_differences(np.repeat(points, 6, axis=0)).max() == 0.0
    velocity = np.random.default_rng(1).normal(size=(5, 3))
    moving = points + np.arange(6)[:, None, None] * velocity
    assert second_differences(moving).shape == (4, 5)
    assert second_differences(moving).max() < 1e-12


def test_an_oscillation_has_four_times_its_amplitude() -> None:
    """A point that jumps between ±a has a second difference of 4a; one on a circle of radius r, 4 r sin²(ω/2)."""
    time = np.arange(7)
    jumping = np.zeros((7, 2, 3))
    jumping[:, 0, 1] = 0.003 * (-1.0) ** time
    np.testing.assert_allclose(second_differences(jumping), [[0.012, 0.0]] * 5, atol=1e-15)
    circle = 0.01 * np.stack([np.cos(0.3 * time), np.sin(0.3 * time), 0 * time], axis=-1)[:, None]
    np.testing.assert_allclose(second_differences(circle), 0.04 * np.sin(0.15) ** 2, rtol=1e-9)


@pytest.mark.parametrize(
    ("indices", "runs"),
    [
        ([0, 1, 2, 3], [[0, 1, 2, 3]]),
        ([3, 1, 0, 2], [[0, 1, 2, 3]]),
        ([0, 1, 2, 4, 5, 6, 8, 9], [[0, 1, 2], [4, 5, 6]]),
        ([0, 2, 4], []),
        ([], []),
    ],
)
def test_only_neighbours_in_time_are_compared(indices: list[int], runs: list[list[int]]) -> None:
    frame = TinyCapture().frames()[0]
    frames = [dataclasses.replace(frame, index=index) for index in indices]
    assert [[frame.index for frame in run] for run in consecutive(frames)] == runs


def test_two_sequences_are_not_one() -> None:
    frame = TinyCapture().frames()[0]
    frames = [dataclasses.replace(frame, sequence="a", index=index) for index in range(3)]
    frames += [dataclasses.replace(frame, sequence="b", index=index) for index in range(3, 5)]
    assert [[frame.index for frame in run] for run in consecutive(frames)] == [[0, 1, 2]]
