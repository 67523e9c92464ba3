"""Frames of videos and folders: in order, upright, of one size, and every damage one clear line."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from datasets.errors import VrmmError
from fitting.recipe import VideoConfig
from fitting.video.source import is_video, open_video
from tests.fitting.video.clips import encode

PICTURES = [
    np.stack(np.broadcast_arrays(np.arange(0, 96, 4)[:, None] + row, np.arange(0, 64, 2) * 3, 255 - 9.0 * row), axis=-1)
    .round()
    .astype(np.uint8)
    for row in range(12)
]
"""24 × 32 ramps that differ from frame to frame."""


def rgb(path: Path, *, start: int = 0, **changes) -> list[np.ndarray]:
    return [frame.picture.rgb for frame in open_video(path, VideoConfig(**changes)).frames(start)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "film"
    place.mkdir()
    for row, picture in enumerate(PICTURES):
        cv2.imwrite(str(place / f"f{row}.png"), np.ascontiguousarray(picture[..., ::-1]))
    return place


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return encode(tmp_path / "film.mp4", PICTURES)


@pytest.mark.parametrize("kind", ["folder", "clip"])
def test_frames_come_in_order_from_anywhere(kind: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(kind)
    assert is_video(path)
    np.testing.assert_array_equal(rgb(path), PICTURES)
    np.testing.assert_array_equal(rgb(path, start=5), PICTURES[5:])
    np.testing.assert_array_equal(rgb(path, every=5), PICTURES[::5])
    np.testing.assert_array_equal(rgb(path, every=5, start=1), PICTURES[5::5])
    source = open_video(path, VideoConfig(every=5))
    assert source.expected == 3
    assert source.fps == pytest.approx((24 if kind == "clip" else 25) / 5)
    numbers = [frame.picture.frame for frame in source.frames(1)]
    assert numbers == ([5, 10] if kind == "clip" else [None, None])


def test_usual_colours_survive(tmp_path: Path) -> None:
    """4:2:0 video of a size that players take for BT.601."""
    flat = [np.full((32, 32, 3), color, np.uint8) for color in [(200, 120, 80), (60, 90, 160)]]
    found = rgb(encode(tmp_path / "a.mov", flat, codec="libx264"))
    for picture, wanted in zip(found, flat, strict=True):
        assert np.abs(picture.astype(int) - wanted).max() <= 4


def test_a_phone_that_was_held_sideways(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=24, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 24, 32, "rgb24"
        stream.set_display_rotation(90)
        for picture in PICTURES[:2]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    np.testing.assert_array_equal(rgb(path)[0], np.rot90(PICTURES[0]))


def test_masks_come_along(folder: Path, clip: Path) -> None:
    masks = [np.full((24, 32), 20 * row, np.uint8) for row in range(12)]
    encode(clip.with_name("film.mask.mp4"), [np.repeat(mask[..., None], 3, axis=2) for mask in masks])
    cv2.imwrite(str(folder / "f3.mask.png"), masks[3])
    found = [frame.mask for frame in open_video(clip, VideoConfig(every=2)).frames(1)]
    np.testing.assert_allclose(np.stack(found), np.stack(masks)[2::2] / 255.0, atol=1e-6)
    assert [frame.mask is not None for frame in open_video(folder, VideoConfig()).frames(2)][:3] == [False, True, False]
    encode(clip.with_name("film.mask.mp4"), [np.zeros((24, 32, 3), np.uint8)] * 3)
    with pytest.raises(VrmmError, match=r"film\.mask\.mp4 has fewer frames"):
        rgb(clip)


def test_the_fingerprint_sees_every_change(folder: Path, clip: Path) -> None:
    for path, beside in [(folder, folder / "f2.lmk.json"), (clip, clip.with_name("film.lmk.npz"))]:
        before = open_video(path, VideoConfig()).fingerprint()
        assert open_video(path, VideoConfig()).fingerprint() == before
        beside.write_bytes(b"[]")
        assert open_video(path, VideoConfig()).fingerprint() != before
    (folder / "f2.lmk.json").unlink()
    changed = PICTURES[5][..., ::-1].copy()
    changed[0, 0, 0] += 1
    before = open_video(folder, VideoConfig()).fingerprint()
    cv2.imwrite(str(folder / "f5.png"), changed)
    assert open_video(folder, VideoConfig()).fingerprint() != before


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_cut_off_file_is_noticed(clip: Path, keep: float) -> None:
    data = clip.read_bytes()
    clip.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(VrmmError, match=r"film\.mp4.*(cannot be read|can be read|no frame)") as caught:
        rgb(clip)
    assert "\n" not in str(caught.value)


def test_damage_in_the_middle_is_noticed(clip: Path) -> None:
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + len(data[data.index(b"mdat") :]) // 2
    data[start : start + 400] = bytes(400)
    clip.write_bytes(data)
    with pytest.raises(VrmmError, match=r"film\.mp4"):
        rgb(clip)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "holds no pictures"),
        (lambda path: path.write_bytes(b"no video"), "not a video that can be read"),
    ],
)
def test_what_is_no_video(tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "a.mp4")
    with pytest.raises(VrmmError, match=message):
        rgb(tmp_path / "a.mp4")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VrmmError, match="has no video track"):
        rgb(tmp_path / "a.mp4")


def test_frames_of_several_sizes(folder: Path) -> None:
    cv2.imwrite(str(folder / "f7.png"), PICTURES[7][:20, :, ::-1])
    for start in (0, 7):
        with pytest.raises(VrmmError, match=r"f7\.png is 32×20 pixels, but the first frame 32×24"):
            rgb(folder, start=start)
    cv2.imwrite(str(folder / "f2.mask.png"), np.zeros((9, 9), np.uint8))
    with pytest.raises(VrmmError, match=r"f2\.mask\.png is 9×9 pixels"):
        rgb(folder)
