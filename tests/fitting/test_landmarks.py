"""Landmarks: every file and every scheme gives the same 68 points, and every damage one clear line."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.lightstage.procedural import ProceduralHead
from fitting.landmark_schemes import to_68
from fitting.landmarks import FirstOf, LandmarkFiles, LandmarkSource, Picture, choose_face, write_landmarks
from tests.fitting.tiny import landmark_points

POINTS = np.random.default_rng(0).uniform(10, 80, (68, 2)).round(3)
LEFT, RIGHT = POINTS - (0.0, 200.0), POINTS + (300.0, 0.0)
MIRROR_68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46]
    + [39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
)
"""Each of the 68 points on the other side of the face."""


def picture(path: Path, frame: int | None = None) -> Picture:
    return Picture(path=path, rgb=np.zeros((100, 200, 3), np.uint8), frame=frame)


def find(path: Path, frame: int | None = None) -> np.ndarray:
    return LandmarkFiles().find(picture(path, frame))


def test_formats_agree(tmp_path: Path) -> None:
    write_landmarks(tmp_path / "a.png", POINTS)
    (tmp_path / "b.lmk.json").write_text(json.dumps(POINTS.tolist()))
    (tmp_path / "c.json").write_text(json.dumps({"landmarks": POINTS.tolist()}))
    # iBUG counts pixels from 1, so its points are half a pixel above ours.
    lines = "\n".join(f"{x:.3f} {y:.3f}" for x, y in POINTS + 0.5)
    (tmp_path / "d.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    write_landmarks(tmp_path / "e.png", POINTS / (200, 100))  # as shares of the picture's sides
    np.savez(tmp_path / "f.lmk.npz", landmarks=np.concatenate([POINTS, np.ones((68, 1))], axis=1))
    for stem in "abcdef":
        np.testing.assert_allclose(find(tmp_path / f"{stem}.png"), POINTS[None], atol=2e-5, err_msg=stem)


def test_a_dot_in_the_name_is_part_of_it(tmp_path: Path) -> None:
    write_landmarks(tmp_path / "img.v2.png", POINTS)
    assert find(tmp_path / "img.v2.png").shape == (1, 68, 2)
    assert find(tmp_path / "img.v3.png").shape == (0, 68, 2)
    assert "put img.v3.lmk.npz" in LandmarkFiles().remedy(picture(tmp_path / "img.v3.png"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.lmk.json", json.dumps(POINTS[:5].tolist()), r"5 landmarks a face; needed are 68 .* 98 .* 478"),
        ("x.lmk.json", json.dumps(POINTS.ravel().tolist()), r"shape \(136,\)"),
        ("x.lmk.json", json.dumps({"points": 3}), "no key landmarks"),
        ("x.lmk.json", "{", "not a landmark file"),
        ("x.lmk.npz", "no zip", "not a landmark file"),
        ("x.pts", "1 2\n3 4\n", "between braces"),
        ("x.lmk.json", json.dumps([[1e400, 0.0]] * 68), "no finite numbers"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(VrmmError, match=message) as caught:
        find(tmp_path / "x.png")
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_an_npz_of_something_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.lmk.npz", points=POINTS)
    with pytest.raises(VrmmError, match="no array named landmarks; it has points"):
        find(tmp_path / "x.png")


def test_a_video_has_a_row_for_each_frame(tmp_path: Path) -> None:
    rows = np.stack([POINTS, np.full((68, 2), np.nan), POINTS + 5.0])
    write_landmarks(tmp_path / "clip.mp4", rows)
    np.testing.assert_allclose(find(tmp_path / "clip.mp4", 2), [POINTS + 5.0], atol=1e-5)
    assert len(find(tmp_path / "clip.mp4", 1)) == 0
    with pytest.raises(VrmmError, match=r"too few for frame 3"):
        find(tmp_path / "clip.mp4", 3)
    write_landmarks(tmp_path / "two.mp4", np.stack([np.stack([POINTS, RIGHT]), np.stack([rows[1], RIGHT])]))
    assert len(find(tmp_path / "two.mp4", 0)) == 2
    np.testing.assert_allclose(find(tmp_path / "two.mp4", 1), [RIGHT], atol=1e-4)


def test_wflw_points_are_taken_in_the_order_of_the_68() -> None:
    """WFLW's parts follow each other as the 68's do, from the image's left, with more points on jaw, brows and lids."""
    at = np.arange(98.0)
    found = to_68(np.stack([at, at], axis=1), "x")[:, 0]
    np.testing.assert_array_equal(found[:17], np.arange(0, 33, 2))
    # A brow's upper edge is 33 to 37 from outside, its lower one 38 to 41 back again: their middle is at 37.5.
    np.testing.assert_array_equal(found[17:27], [33, *[37.5] * 4, *[46] * 4, 46])
    np.testing.assert_array_equal(found[27:36], np.arange(51, 60))
    np.testing.assert_array_equal(found[36:48], [60, 61, 63, 64, 65, 67, 68, 69, 71, 72, 73, 75])
    np.testing.assert_array_equal(found[48:68], np.arange(76, 96))


def canonical() -> dict[int, tuple[float, float]]:
    """Some vertices of MediaPipe's canonical face (x to the subject's left, y up, centimetres), rounded."""
    right = {
        127: (-7.74, 2.36), 234: (-7.66, 0.67), 93: (-7.54, -1.05), 132: (-7.27, -2.89), 58: (-6.72, -4.79),
        172: (-5.94, -6.22), 136: (-5.09, -7.18), 150: (-4.07, -7.99), 149: (-3.21, -8.53), 176: (-2.31, -8.97),
        148: (-1.29, -9.30),
        70: (-5.72, 4.25), 46: (-5.25, 3.88), 63: (-4.99, 4.80), 53: (-4.59, 4.30), 105: (-3.99, 5.11),
        52: (-3.73, 4.51), 66: (-2.76, 5.10), 65: (-2.64, 4.52), 107: (-1.40, 5.01), 55: (-1.22, 4.14),
        98: (-1.41, -1.71), 97: (-0.60, -2.01), 33: (-4.45, 2.66), 160: (-3.67, 2.93), 158: (-2.72, 2.96),
        133: (-1.86, 2.59), 153: (-2.72, 2.32), 144: (-3.67, 2.36), 61: (-2.46, -4.34), 39: (-1.43, -3.50),
        40: (-1.91, -3.80), 37: (-0.71, -3.33), 84: (-0.70, -5.29), 181: (-1.33, -5.11), 91: (-1.84, -4.83),
        78: (-2.15, -4.28), 81: (-1.02, -3.99), 178: (-1.10, -4.46),
    }  # fmt: skip
    left_of = {
        127: 356, 234: 454, 93: 323, 132: 361, 58: 288, 172: 397, 136: 365, 150: 379, 149: 378, 176: 400, 148: 377,
        70: 300,
        46: 276, 63: 293, 53: 283, 105: 334, 52: 282, 66: 296, 65: 295, 107: 336, 55: 285, 98: 327, 97: 326, 33: 263,
        160: 387, 158: 385, 133: 362, 153: 380, 144: 373, 61: 291, 39: 269, 40: 270, 37: 267, 84: 314, 181: 405,
        91: 321, 78: 308, 81: 311, 178: 402,
    }  # fmt: skip
    middle = {152: (0.0, -9.40), 168: (0.0, 3.27), 6: (0.0, 2.47), 197: (0.0, 1.73), 195: (0.0, 1.06), 5: (0.0, 0.37)}
    middle |= {4: (0.0, -0.46), 2: (0.0, -2.09), 0: (0.0, -3.41), 17: (0.0, -5.37), 13: (0.0, -3.99), 14: (0.0, -4.54)}
    return right | {left_of[k]: (-x, y) for k, (x, y) in right.items()} | middle


def test_mediapipes_face_becomes_a_multi_pie_face() -> None:
    points = np.full((478, 2), np.nan)
    for index, place in canonical().items():
        points[index] = place
    face = to_68(points, "x")
    assert np.isfinite(face).all(), "a vertex is used that this test does not know"
    np.testing.assert_allclose(face[MIRROR_68] * (-1, 1), face, atol=1e-9)
    np.testing.assert_array_equal(to_68(points[:468], "x"), face)
    assert (np.diff(face[:17, 0]) > 0).all()
    assert (np.diff(face[17:27, 0]) > 0).all()
    assert (np.diff(face[27:31, 1]) < 0).all()
    assert (np.diff(face[31:36, 0]) > 0).all()
    for loop in (range(36, 42), range(42, 48), range(48, 60), range(60, 68)):
        x, y = face[list(loop)].T
        area = 0.5 * float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())
        assert area < 0, "eyes and lips go around as a clock does, seen from in front with y up"


def test_mediapipes_face_lies_on_our_head() -> None:
    """The mean faces of both are not the same: half of the points agree to 5 % of the face, nine tenths to 10 %."""
    points = np.zeros((478, 2))
    for index, place in canonical().items():
        points[index] = place
    face, head = to_68(points, "x"), ProceduralHead()
    own = head.landmarks(np.zeros(len(head.identity_names)), np.zeros(len(head.expression_names)))[:, :2]
    face, own = face - face.mean(axis=0), own - own.mean(axis=0)
    distance = (
        np.linalg.norm(face * np.sqrt((own**2).sum() / (face**2).sum()) - own, axis=1) / np.ptp(own, axis=0).max()
    )
    assert np.median(distance) < 0.05
    assert np.quantile(distance, 0.9) < 0.10


def test_one_face_is_chosen() -> None:
    faces = np.stack([RIGHT, LEFT + 500.0, POINTS])
    assert choose_face(faces[2:], "p", "r") is not None
    np.testing.assert_array_equal(choose_face(faces, "p", "r", face=1), POINTS)
    np.testing.assert_array_equal(choose_face(faces, "p", "r", face=3), LEFT + 500.0)
    np.testing.assert_array_equal(choose_face(faces, "p", "r", near=RIGHT + 9.0), RIGHT)
    for face, message in [(None, "p shows 3 faces; choose one with --face 1 to 3"), (4, "must be 1 to 3, not 4")]:
        with pytest.raises(VrmmError, match=message):
            choose_face(faces, "p", "r", face=face)
    with pytest.raises(VrmmError, match="p has no landmarks of a face: do this"):
        choose_face(faces[:0], "p", "do this")


class Network(LandmarkSource):
    """Stands for a detector that always sees the same face."""

    def find(self, picture: Picture) -> np.ndarray:
        return landmark_points()[None, :, :2].astype(np.float64)

    def remedy(self, picture: Picture) -> str:
        return "never needed"

    @property
    def fingerprint(self) -> str:
        return "network"


def test_the_first_source_that_sees_a_face_is_believed(tmp_path: Path) -> None:
    both = FirstOf([LandmarkFiles(), Network()])
    write_landmarks(tmp_path / "a.png", POINTS)
    np.testing.assert_allclose(both.find(picture(tmp_path / "a.png")), POINTS[None], atol=1e-5)
    np.testing.assert_array_equal(both.find(picture(tmp_path / "b.png")), Network().find(picture(tmp_path / "b.png")))
    assert both.fingerprint == "files+network"
    assert FirstOf([LandmarkFiles()]).find(picture(tmp_path / "b.png")).shape == (0, 68, 2)
