"""Expressions of one head model on another."""

import pytest

from datasets.lightstage.expressions import same_controls


def test_controls_go_by_name_and_side() -> None:
    names = ("jawOpen", "mouthSmile_L", "mouthSmile_R", "browInnerUp", "jawLeft")
    values = (0.1, 0.2, 0.6, 0.5, 0.9)
    assert same_controls(values, names, names) == values
    other = ("browInnerUp_L", "browInnerUp_R", "mouthSmileRight", "mouthSmileLeft", "jawLeft", "jawOpen", "cheekPuff")
    assert same_controls(values, names, other) == (0.5, 0.5, 0.6, 0.2, 0.9, 0.1, 0.0)
    assert same_controls(values, names, ("mouthSmile",)) == (pytest.approx(0.4),)
