"""Landmark files: every format gives the same points, and every damage one clear line."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from fitting.landmarks import LandmarkFiles, write_landmarks

POINTS = np.random.default_rng(0).uniform(10, 80, (68, 2)).round(3)


def test_formats_agree(tmp_path: Path) -> None:
    write_landmarks(tmp_path / "a.png", POINTS)
    (tmp_path / "b.lmk.json").write_text(json.dumps(POINTS.tolist()))
    (tmp_path / "c.json").write_text(json.dumps({"landmarks": POINTS.tolist()}))
    # iBUG counts pixels from 1, so its points are half a pixel above ours.
    lines = "\n".join(f"{x:.3f} {y:.3f}" for x, y in POINTS + 0.5)
    (tmp_path / "d.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    for stem in "abcd":
        np.testing.assert_allclose(LandmarkFiles().find(tmp_path / f"{stem}.png"), POINTS, atol=2e-5)


def test_a_dot_in_the_name_is_part_of_it(tmp_path: Path) -> None:
    write_landmarks(tmp_path / "img.v2.png", POINTS)
    assert LandmarkFiles().find(tmp_path / "img.v2.png").shape == (68, 2)
    with pytest.raises(VrmmError, match=r"img\.v3\.png has no landmarks"):
        LandmarkFiles().find(tmp_path / "img.v3.png")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.lmk.json", json.dumps(POINTS[:5].tolist()), r"shape \(5, 2\)"),
        ("x.lmk.json", json.dumps([[1, "two"]] * 68), "no finite numbers|not a list"),
        ("x.lmk.json", json.dumps([[1, 2], [3]]), "not a list"),
        ("x.lmk.json", json.dumps({"points": []}), "no key landmarks"),
        ("x.lmk.json", "{", "not a landmark file"),
        ("x.lmk.npz", "no zip", "not a landmark file"),
        ("x.pts", "1 2\n3 4\n", "between braces"),
        ("x.lmk.json", json.dumps([[1e400, 0.0]] * 68), "no finite numbers"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(VrmmError, match=message) as caught:
        LandmarkFiles().find(tmp_path / "x.png")
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_an_npz_of_something_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.lmk.npz", points=POINTS)
    with pytest.raises(VrmmError, match="no array named landmarks; it has points"):
        LandmarkFiles().find(tmp_path / "x.png")
