"""The first picture comes in time, the last is whole."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.viewer.pace import BUDGET_SECONDS, FEWEST_RAYS, Pace


@given(st.integers(64, 4096), st.integers(64, 2160), st.floats(1e-4, 0.05), st.floats(1e-8, 1e-4), st.integers(0, 12))
def test_sizes_grow_to_the_finest(width: int, height: int, decode: float, ray: float, pictures: int) -> None:
    pace = Pace()
    for _ in range(pictures):
        pace.learn(decode, ray * 40000, 40000)
    sizes = pace.sizes(width, height)
    assert sizes[-1] == (width, height)
    for (before, _), (after, _) in itertools.pairwise(sizes):
        assert before < after <= 2.9 * before + 2, "twice each time, and up to half as much again at the end"


def test_the_first_picture_fits_the_budget_of_a_machine() -> None:
    for decode, ray in ((0.015, 4e-7), (0.04, 3e-6), (0.001, 1e-8)):
        pace = Pace()
        for _ in range(20):
            pace.learn(decode, ray * 90000, 90000)
        width, height = pace.sizes(1600, 900)[0]
        cost = decode + ray * width * height
        assert cost <= max(1.03 * BUDGET_SECONDS, decode + ray * FEWEST_RAYS * 1.03)
        if (width, height) != (1600, 900):
            assert cost >= 0.25 * BUDGET_SECONDS, "a coarser picture than needed"


def test_a_slow_machine_still_gets_a_picture() -> None:
    pace = Pace()
    for _ in range(20):
        pace.learn(1.0, 4.0, 90000)
    width, height = pace.sizes(1600, 900)[0]
    assert width * height == pytest.approx(FEWEST_RAYS, rel=0.05)


def test_decoding_that_was_not_needed_says_nothing() -> None:
    pace, fresh = Pace(), Pace()
    for _ in range(9):
        pace.learn(0.0, 0.0, 0)
    assert (pace.decode_seconds, pace.ray_seconds) == (fresh.decode_seconds, fresh.ray_seconds)
