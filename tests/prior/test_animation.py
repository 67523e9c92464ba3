"""Animation curves: what is written is read, and what no curve can be is refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.errors import VrmmError
from prior.animation import AnimationCurve
from prior.primitives import rotation_from_axis_angle


def make_curve(frames: int = 5, codes: int = 6) -> AnimationCurve:
    generator = torch.Generator().manual_seed(3)
    return AnimationCurve(
        expression=torch.randn(frames, codes, generator=generator),
        rotation=rotation_from_axis_angle(torch.randn(frames, 3, generator=generator)),
        translation=0.01 * torch.randn(frames, 3, generator=generator),
        fps=24.0,
    )


def test_a_curve_comes_back_as_it_was(tmp_path: Path) -> None:
    curve = make_curve()
    curve.save(tmp_path / "curve.npz")
    found = AnimationCurve.load(tmp_path / "curve.npz")
    assert torch.equal(found.expression, curve.expression)
    assert torch.equal(found.rotation, curve.rotation)
    assert torch.equal(found.translation, curve.translation)
    assert found.fps == 24.0
    assert (len(found), found.seconds) == (5, pytest.approx(5 / 24))
    with np.load(tmp_path / "curve.npz") as file:
        assert set(file.files) == {"expression", "rotation", "translation", "fps"}


def test_playback_shows_every_frame_and_begins_again() -> None:
    curve = make_curve(frames=3)
    assert [curve.frame_at(0.5 / 24 + frame / 24) for frame in range(7)] == [0, 1, 2, 0, 1, 2, 0]


BROKEN: dict[str, tuple[Callable[[dict[str, np.ndarray]], object], str]] = {
    "no rotation": (lambda arrays: arrays.pop("rotation"), "lacks the key rotation"),
    "nan": (lambda arrays: arrays["expression"].__setitem__((1, 2), np.nan), "expression holds NaN"),
    "one code": (lambda arrays: arrays.update(expression=np.zeros(6)), "expression must be"),
    "no frames": (
        lambda arrays: arrays.update(
            expression=np.zeros((0, 6)), rotation=np.zeros((0, 3, 3)), translation=np.zeros((0, 3))
        ),
        "expression must be",
    ),
    "fewer poses": (lambda arrays: arrays.update(rotation=arrays["rotation"][:-1]), r"rotation must be \[5, 3, 3\]"),
    "fewer places": (lambda arrays: arrays.update(translation=np.zeros((4, 3))), r"translation must be \[5, 3\]"),
    "still": (lambda arrays: arrays.update(fps=np.array(0.0)), "fps must be above 0"),
    "two rates": (lambda arrays: arrays.update(fps=np.array([24.0, 25.0])), "fps must be"),
    "mirror": (lambda arrays: arrays["rotation"].__setitem__((3, 0), -arrays["rotation"][3, 0]), "frame 3"),
    "stretched": (lambda arrays: arrays["rotation"].__imul__(1.1), "frame 0"),
    "words": (lambda arrays: arrays.update(translation=np.array(["a"] * 5)), "translation holds"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_curve_is_refused_by_name(name: str, tmp_path: Path) -> None:
    curve, (spoil, message) = make_curve(), BROKEN[name]
    arrays = {key: getattr(curve, key).numpy().copy() for key in ("expression", "rotation", "translation")}
    arrays["fps"] = np.array(curve.fps)
    spoil(arrays)
    np.savez(tmp_path / "curve.npz", **arrays)
    with pytest.raises(VrmmError, match=message) as caught:
        AnimationCurve.load(tmp_path / "curve.npz")
    assert "curve.npz" in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match="does not exist"):
        AnimationCurve.load(tmp_path / "curve.npz")
    for content in (b"", b"PK\x03\x04 cut", b"text"):
        (tmp_path / "curve.npz").write_bytes(content)
        with pytest.raises(VrmmError, match="not an animation curve"):
            AnimationCurve.load(tmp_path / "curve.npz")
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(VrmmError, match="lacks the key expression"):
        AnimationCurve.load(tmp_path / "array.npz")
