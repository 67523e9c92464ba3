"""Views that are cut and resampled: every pixel shows what its intrinsics say, JPEGs at a reduced size, too."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import decoding
from datasets.capture import Camera
from datasets.errors import VrmmError
from datasets.framing import Box, CropBy, CropConfig, HeadSquare, box_of_mask, box_of_points
from datasets.images import encode_mask
from datasets.loader import FrameLoader, LoaderConfig
from datasets.shards import DamageError, build_shards
from tests.datasets.ramp_capture import RampCapture, npz_bytes, seen_through
from tests.datasets.shard_damage import flip_bit, tar_members

STEP16 = 1 / 65535
AREA = 0.25
"""Steps of the ramp: an area that cuts through a pixel takes it to be even."""
BOXES = ((40, 16, 72, 40), (0, 0, 16, 24), (80, 40, 96, 64), (10, 5, 90, 60))


def _loader(folder: Path, **values) -> FrameLoader:
    return FrameLoader(
        LoaderConfig(shards=str(folder), **{"batch_frames": 4, "target_views": 2, "workers": 0, **values})
    )


def _check(capture: RampCapture, batch, tolerance: float) -> None:
    """Every pixel of every view is the radiance at the place where its ray meets the stored picture."""
    cameras = capture.info.cameras
    for images, intrinsics, numbers in (
        (batch.target_images, batch.intrinsics, batch.camera),
        (batch.input_images, batch.input_intrinsics, batch.input_camera),
    ):
        for row, view in np.ndindex(*numbers.shape):
            camera = cameras[int(numbers[row, view])]
            x, y = seen_through(intrinsics[row, view].numpy(), camera, *images.shape[-2:])
            error = images[row, view].permute(1, 2, 0).numpy() - capture.truth(x, y)
            assert abs(error).max() < tolerance + AREA * capture.STEP
            assert abs(error.mean(axis=(0, 1))[:2]).max() < 0.3 * capture.STEP, "shifted, if by little"


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("size", [8, 20, 40])
def test_squares_around_the_mask(tmp_path: Path, jpeg: bool, size: int) -> None:
    capture = RampCapture(subjects=1, frames=4, boxes=BOXES, jpeg=jpeg)
    build_shards(capture, tmp_path)
    loader = _loader(tmp_path, crop=CropConfig(by=CropBy.mask, size=size, margin=0.1))
    batch = next(loader.batches())
    assert batch.target_images.shape[-2:] == (size, size)
    assert batch.input_images.shape[-2:] == (64, 96), "the encoders see whole pictures"
    assert loader.image_shape == (64, 96)
    assert loader.moves_targets
    # A reduced JPEG is a coarser ramp; enlarged pictures repeat half a pixel at the border.
    _check(capture, batch, (capture.JPEG_ERROR if jpeg else STEP16) + (capture.STEP / 2 if size == 40 else 0.0))
    for row, key in enumerate(batch.keys):
        left, top, right, bottom = capture.box(key)
        for view in range(2):
            camera = capture.info.cameras[int(batch.camera[row, view])]
            x, y = seen_through(batch.intrinsics[row, view].numpy(), camera, size, size)
            assert x.min() > 0
            assert x.max() < 96
            assert y.min() > 0
            assert y.max() < 64
            if key[-1] != "3":  # the last box and its margin are larger than any square
                half = (x[0, 1] - x[0, 0]) / 2
                assert x.min() - half <= left + 1e-3
                assert x.max() + half >= right - 1e-3
                assert y.min() - half <= top + 1e-3
                assert y.max() + half >= bottom - 1e-3
                covered = batch.target_masks[row, view].mean() * (2 * half * size) ** 2
                assert float(covered) == pytest.approx((right - left) * (bottom - top), rel=0.06)


class WithLandmarks(RampCapture):
    """68 points that fill the box of each frame."""

    def members(self, frame) -> dict[str, bytes]:
        left, top, right, bottom = self.box(frame.key)
        steps = np.linspace(0.0, 1.0, 68)[:, None]
        points = np.array([left, top]) + steps * np.array([right - left, bottom - top])
        cameras = [camera.name for camera in self.info.cameras if camera.name != "top"]
        everywhere = np.repeat(points[None], len(cameras), axis=0)
        everywhere[0, 3] = np.nan  # one that was not found
        lmk = npz_bytes(cameras=np.array(cameras), points=everywhere)
        return {**super().members(frame), "lmk.npz": lmk}


def test_squares_around_landmarks_and_without_any(tmp_path: Path) -> None:
    capture = WithLandmarks(subjects=1, frames=4, boxes=BOXES[:3], masks=False)
    build_shards(capture, tmp_path)
    loader = _loader(tmp_path, target_views=6, crop=CropConfig(by=CropBy.landmarks, size=16, margin=0.0))
    batch = next(loader.batches())
    _check(capture, batch, STEP16)
    for row, view in np.ndindex(4, 6):
        camera = capture.info.cameras[int(batch.camera[row, view])]
        x, y = seen_through(batch.intrinsics[row, view].numpy(), camera, 16, 16)
        left, top, right, bottom = capture.box(batch.keys[row]) if camera.name != "top" else (16, 0, 80, 64)
        side = -(-max(right - left, bottom - top) // 8) * 8
        assert (x[0, 1] - x[0, 0]) * 16 == pytest.approx(side, abs=1e-3)
        assert abs(x.mean() - (left + right) / 2) <= 8
        assert abs(y.mean() - (top + bottom) / 2) <= 8


def test_damaged_landmarks_are_damage(tmp_path: Path) -> None:
    class Wrong(RampCapture):
        def members(self, frame) -> dict[str, bytes]:
            points = npz_bytes(cameras=np.array(["front"]), points=np.zeros((2, 68, 2)))
            return {**super().members(frame), "lmk.npz": points}

    build_shards(Wrong(subjects=1, frames=4), tmp_path)
    loader = _loader(tmp_path, crop=CropConfig(by=CropBy.landmarks, size=16))
    with pytest.raises(DamageError, match="lmk.npz of sample .* has no landmarks"):
        next(loader.batches())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_squares_stay_inside_and_hold_the_head(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    camera = Camera(name="c", world_to_camera=np.eye(4)[:3], intrinsics=np.eye(3), width=width, height=height)
    config = CropConfig(by=CropBy.mask, size=data.draw(st.integers(1, 64)), margin=data.draw(st.floats(0, 2)))
    left, top = data.draw(st.floats(0, width - 0.5)), data.draw(st.floats(0, height - 0.5))
    right, bottom = data.draw(st.floats(left + 0.1, width)), data.draw(st.floats(top + 0.1, height))
    window = HeadSquare(config).window(camera, Box(left, top, right, bottom))
    assert window.width == window.height > 0
    assert 0 <= window.x <= window.x + window.width <= width
    assert 0 <= window.y <= window.y + window.height <= height
    longer = max(right - left, bottom - top)
    # Places are rounded to eight pixels: half a step may be missing at a side, and the margin gives way first.
    if longer + 16 <= min(width, height) - 8:
        assert window.width >= longer
        assert window.x - 4 <= left
        assert window.x + window.width + 4 >= right
        assert window.y - 4 <= top
        assert window.y + window.height + 4 >= bottom


def test_boxes() -> None:
    mask = np.zeros((10, 20), np.uint8)
    assert box_of_mask(mask) is None
    mask[3:5, 7:11] = 200
    mask[0, 0] = 100
    assert box_of_mask(mask) == Box(7.0, 3.0, 11.0, 5.0), "faint pixels do not count"
    assert box_of_mask(mask.astype(np.uint16) * 257) == Box(7.0, 3.0, 11.0, 5.0)
    assert box_of_points(np.full((3, 2), np.nan)) is None
    assert box_of_points(np.array([[1.0, 5.0], [np.inf, 0.0], [3.0, 2.0]])) == Box(1.0, 2.0, 3.0, 5.0)


@pytest.mark.parametrize(
    ("size", "reduced", "jpeg", "expected"),
    [(48, True, True, 2), (24, True, True, 4), (12, True, True, 8), (20, True, True, 4), (25, True, True, 2),
     (60, True, True, 1), (0, True, True, 1), (24, False, True, 1), (24, True, False, 1)],
)  # fmt: skip
def test_jpegs_are_decoded_as_small_as_they_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, reduced: bool, jpeg: bool, expected: int
) -> None:
    capture = RampCapture(subjects=1, frames=1, jpeg=jpeg)
    build_shards(capture, tmp_path)
    reductions, decode = set(), decoding.decode_stored

    def spy(*values, reduction: int):
        reductions.add(reduction)
        return decode(*values, reduction=reduction)

    monkeypatch.setattr(decoding, "decode_stored", spy)
    loader = _loader(tmp_path, batch_frames=1, image_size=size, reduced_jpeg=reduced)
    batch = next(loader.batches())
    assert reductions == {expected}
    assert batch.target_images.shape[-1] == (size or 96)
    _check(capture, batch, capture.JPEG_ERROR)


def test_reduced_jpegs_of_the_wrong_size_are_damage(tmp_path: Path) -> None:
    class Odd(RampCapture):
        def members(self, frame) -> dict[str, bytes]:
            wrong = RampCapture(jpeg=True, size=(88, 64)).members(frame)["front.rgb.jpg"]
            return {**super().members(frame), "front.rgb.jpg": wrong}

    build_shards(Odd(subjects=1, frames=1, jpeg=True), tmp_path)
    loader = _loader(tmp_path, batch_frames=1, image_size=24)
    with pytest.raises(DamageError, match=r"front\.rgb\.jpg of sample s0_talk_000000 is 88x64 but its camera is 96x64"):
        next(loader.batches())


def test_a_damaged_mask_is_damage_of_a_cropped_view_alone(tmp_path: Path) -> None:
    build_shards(RampCapture(subjects=1, frames=1), tmp_path)
    tar = next(tmp_path.glob("*.tar"))
    place = next(member for member in tar_members(tar) if member.name.endswith("spare.mask.png"))
    flip_bit(tar, place.offset_data + 40, np.random.default_rng(0))
    loader = _loader(tmp_path, batch_frames=1, target_views=6, crop=CropConfig(by=CropBy.mask, size=8))
    with pytest.raises(DamageError, match="spare.mask.png of sample s0_talk_000000 is damaged"):
        next(loader.batches())


def test_crops_of_cameras_of_several_shapes(tmp_path: Path) -> None:
    """Squares have one shape whatever the cameras; only the encoders' pictures must agree."""
    import dataclasses

    class Mixed(RampCapture):
        @property
        def info(self):
            info = super().info
            cameras = [dataclasses.replace(c, width=64) if c.name == "back" else c for c in info.cameras]
            return dataclasses.replace(info, cameras=tuple(cameras))

        def members(self, frame) -> dict[str, bytes]:
            members = super().members(frame)
            narrow = RampCapture(size=(64, 64), boxes=((8, 8, 40, 40),))
            members["back.rgb.png"] = narrow.members(frame)["back.rgb.png"]
            members["back.mask.png"] = encode_mask(narrow.mask(frame.key, "back"))
            return members

    capture = Mixed(subjects=1, frames=2)
    build_shards(capture, tmp_path)
    loader = _loader(tmp_path, batch_frames=2, target_views=6, crop=CropConfig(by=CropBy.mask, size=8))
    _check(capture, next(loader.batches()), STEP16)
    with pytest.raises(VrmmError, match="different shapes"):
        _loader(tmp_path, batch_frames=2)


def test_the_cache_holds_views_of_each_framing(tmp_path: Path) -> None:
    """A camera may be an encoder's view and, cropped, a picture to render of the same frame."""
    capture = RampCapture(subjects=1, frames=4, boxes=BOXES)
    build_shards(capture, tmp_path)
    for cache in (0, 64):
        loader = _loader(tmp_path, target_views=6, cache_mb=cache, crop=CropConfig(by=CropBy.mask, size=16))
        for batch in islice(loader.batches(), 3):
            _check(capture, batch, STEP16)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"by": CropBy.mask}, "crop.size is 0; with crop.by=mask it must be at least 1"),
        ({"margin": -0.1}, "crop.margin is -0.1"),
    ],
)
def test_impossible_crops_name_the_key(values: dict, message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        CropConfig(**values)
