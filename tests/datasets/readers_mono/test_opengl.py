"""Turning cameras round changes nothing of what they see; names never lead out of a folder."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datasets.errors import VrmmError
from datasets.readers.opengl import from_pixel_numbers, inverse, is_mirrored, pinhole, positive_focal, rigid
from datasets.readers.paths import inside, read_bytes

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
angles = st.tuples(*[st.floats(-3.0, 3.0)] * 3)
shifts = st.tuples(*[st.floats(-2.0, 2.0)] * 3)
signs = st.sampled_from([-1.0, 1.0])
POINTS = np.random.default_rng(0).uniform(-1.0, 1.0, (10, 3))


def _motion(turn: tuple, shift: tuple) -> np.ndarray:
    return np.concatenate([Rotation.from_rotvec(turn).as_matrix(), np.array(shift)[:, None]], axis=1)


@patient
@given(angles, shifts, signs, signs)
def test_negative_focal_lengths(turn: tuple, shift: tuple, x: float, y: float) -> None:
    motion, lens = _motion(turn, shift), pinhole(x * 300.0, y * 310.0, 40.0, 30.0)
    turned, positive = positive_focal(motion, lens)
    assert min(positive[0, 0], positive[1, 1]) > 0
    assert is_mirrored(turned) == (x * y < 0)
    before, after = ((POINTS @ m[:, :3].T + m[:, 3]) @ k.T for m, k in ((motion, lens), (turned, positive)))
    np.testing.assert_allclose(after, before, atol=1e-9)


@patient
@given(angles, shifts)
def test_inverse(turn: tuple, shift: tuple) -> None:
    motion = _motion(turn, shift)
    whole = np.concatenate([motion, [[0.0, 0.0, 0.0, 1.0]]])
    np.testing.assert_allclose(inverse(motion), np.linalg.inv(whole)[:3], atol=1e-9)
    np.testing.assert_array_equal(rigid(whole, "x"), motion)
    with pytest.raises(VrmmError, match="x is no rotation and shift"):
        rigid(1.01 * whole, "x")
    transposed = whole.T.copy()
    if np.abs(transposed[3, :3]).max() > 0.01:
        with pytest.raises(VrmmError, match="x has the last row .* is it transposed"):
            rigid(transposed, "x")


def test_pixel_centres() -> None:
    np.testing.assert_array_equal(from_pixel_numbers(pinhole(2.0, 3.0, 4.0, 5.0)), pinhole(2.0, 3.0, 4.5, 5.5))


parts = st.sampled_from(["..", ".", "", "a", "..a", "b.png", "/", "\\", "C:", "~", "\0", "…"])


@patient
@given(st.lists(parts, min_size=1, max_size=5).map("/".join) | st.text(max_size=12))
def test_no_name_leads_out(name: str) -> None:
    folder = Path("/data/capture")
    try:
        path = inside(folder, name, "table: file")
    except VrmmError:
        return
    assert path != folder
    assert PurePosixPath("/data/capture") in path.parents
    assert ".." not in path.parts


def test_a_missing_file_is_named_with_its_table(tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match="a.png, which table: file names, cannot be read .No such file"):
        read_bytes(tmp_path / "a.png", "table: file")
