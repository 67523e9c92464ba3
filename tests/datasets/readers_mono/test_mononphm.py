"""MonoNPHM's videos read back: which of the tracker's files belongs to which picture, and in what unit."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.images import decode_mask
from datasets.readers.mononphm import WFLW_TO_68, MonoNPHMOptions, MonoNPHMReader
from datasets.readers.reader import Selection
from tests.datasets.readers_mono import mononphm_files
from tests.datasets.readers_mono.scene import (
    Scene,
    arrays,
    by_x,
    only_camera,
    seen_by_model,
    seen_by_pose,
    spots,
    write_picture,
)

SCENE = Scene()


def _reader(folder: Path, **options) -> MonoNPHMReader:
    return MonoNPHMReader(folder, Selection(), MonoNPHMOptions(**options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return mononphm_files.write(tmp_path / "510_seq_4", SCENE)


@pytest.mark.parametrize(("first", "shift"), [(1, 1), (0, 0)])
def test_known_points_are_seen(tmp_path: Path, first: int, shift: int) -> None:
    """R and t take FLAME in metres to the camera: the fourfold size is MonoNPHM's own model's."""
    folder = mononphm_files.write(tmp_path / "510_seq_4", SCENE, first=first, shift=shift)
    reader = _reader(folder, lag=shift)
    assert [frame.index for frame in reader.frames()] == list(range(first, first + SCENE.frames))
    for number, frame in enumerate(reader.frames()):
        np.testing.assert_allclose(seen_by_pose(reader, frame), SCENE.pixels(number), atol=1e-6)
        np.testing.assert_allclose(seen_by_model(reader, frame), SCENE.pixels(number), atol=1e-6)
        np.testing.assert_allclose(spots(reader, frame), by_x(SCENE.pixels(number)), atol=0.01)  # 8-bit rounding
    distance = np.linalg.norm(only_camera(reader.info).center)
    assert distance == pytest.approx(np.linalg.norm(SCENE.head(2)[:, 3]), abs=0.02), "metres, not four of them"


def test_a_single_picture_has_the_number_0(tmp_path: Path) -> None:
    """max(t - 1, 0), as the original has it."""
    reader = _reader(mononphm_files.write(tmp_path / "ffhq", Scene(frames=1), first=0))
    np.testing.assert_allclose(seen_by_pose(reader, reader.frames()[0]), SCENE.pixels(0), atol=1e-6)


def test_masks_leave_out_clothes(folder: Path) -> None:
    """Mattes are named by number with zeros, labels by place without."""
    reader = _reader(folder)
    for number, frame in enumerate(reader.frames()):
        expected = SCENE.mask(number).copy()
        expected[mononphm_files.worn(SCENE, number)] = 0
        mask = decode_mask(reader.members(frame)["camera.mask.png"])
        np.testing.assert_array_equal(np.rint(mask * 255.0), expected)
    for path in (folder / "seg").iterdir():
        path.unlink()
    (folder / "seg").rmdir()
    bare = _reader(folder)
    np.testing.assert_array_equal(bare.members(bare.frames()[0])["camera.mask.png"][:4], b"\x89PNG"[:4])


def test_landmarks(folder: Path) -> None:
    reader = _reader(folder)
    found = arrays(reader.members(reader.frames()[3])["lmk.npz"])
    pixels = mononphm_files.wflw(SCENE, 3) * [SCENE.width, SCENE.height]
    np.testing.assert_allclose(found["wflw"][0], pixels, rtol=1e-6)
    np.testing.assert_allclose(found["points"][0], pixels[list(WFLW_TO_68)], rtol=1e-6)
    assert found["visible"].shape == (1, 68)
    assert found["visible"].all()
    # Corners of the mouth and eyes, tip of the nose and chin by their numbers in either scheme.
    assert [WFLW_TO_68[number] for number in (8, 30, 36, 45, 48, 54)] == [16, 54, 60, 72, 76, 82]


def test_the_other_detector_is_taken_where_the_first_is_absent(folder: Path) -> None:
    (folder / "pipnet" / "test.npy").unlink()
    reader = _reader(folder)
    found = [arrays(reader.members(frame)["lmk.npz"]) for frame in reader.frames()]
    np.testing.assert_allclose(found[2]["points"][0], mononphm_files.kpt(SCENE, 2), rtol=1e-6)
    assert [bool(entry["visible"].any()) for entry in found] == [True, False, True, True, True]
    for path in (folder / "kpt").iterdir():
        path.unlink()
    assert "lmk.npz" not in reader.members(reader.frames()[0])


def test_the_camera_may_be_calibrated_elsewhere(folder: Path, tmp_path: Path) -> None:
    """``kinect_intrinsics.txt``: cx and cy come first, pixel centres have whole numbers, more numbers follow."""
    fx, fy, cx, cy = (SCENE.intrinsics[i] for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    calibration = tmp_path / "kinect_intrinsics.txt"
    calibration.write_text(f"{cx - 0.5} {cy - 0.5} {fx} {fy} 0.29 -2.65 1.63 \n")
    write_picture(folder / "images" / "00001.png", np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(VrmmError, match="K is of the 50x50 pictures in .*, but source is 96x80; .* intrinsics=FILE"):
        _reader(folder)
    reader = _reader(folder, intrinsics=str(calibration))
    np.testing.assert_allclose(seen_by_pose(reader, reader.frames()[1]), SCENE.pixels(1), atol=1e-6)
    for text, message in (("1 2 3", "is .* where 4 numbers belong"), ("1 2 -3 4", "must begin with cx cy fx fy")):
        calibration.write_text(text)
        with pytest.raises(VrmmError, match=message):
            _reader(folder, intrinsics=str(calibration))
    with pytest.raises(VrmmError, match="nowhere.txt does not exist"):
        _reader(folder, intrinsics=str(tmp_path / "nowhere.txt"))


def test_folders_that_are_found(folder: Path, tmp_path: Path) -> None:
    assert MonoNPHMReader.captures_under(tmp_path) == {"510_seq_4": folder}
    assert MonoNPHMReader.captures_under(folder) == {"510_seq_4": folder}
    assert MonoNPHMReader.captures_under(folder / "source") == {}
    renamed = mononphm_files.write(tmp_path / "renamed", SCENE, run="before")
    assert _reader(renamed).frames()
    (renamed / "metrical_tracker" / "another" / "checkpoint").mkdir(parents=True)
    with pytest.raises(VrmmError, match="should hold one run with a checkpoint folder; it has another, before"):
        _reader(renamed)


class _Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_no_pickle_is_ever_loaded(folder: Path, tmp_path: Path) -> None:
    """torch's .frame files are pickles, and numpy's can be."""
    mark = tmp_path / "mark"
    checkpoint = folder / "metrical_tracker" / folder.name / "checkpoint"
    for path in checkpoint.glob("*.frame"):
        path.write_bytes(pickle.dumps(_Bomb(mark)))
    reader = _reader(folder)
    for frame in reader.frames():
        reader.members(frame)
    bombs = np.array([_Bomb(mark)], object)
    np.save(folder / "pipnet" / "test.npy", bombs, allow_pickle=True)
    again = _reader(folder)
    with pytest.raises(VrmmError, match="test.npy is no array of numbers .*pickles are not loaded"):
        again.members(again.frames()[0])
    (folder / "pipnet" / "test.npy").unlink()
    np.save(folder / "kpt" / "00001.npy", bombs, allow_pickle=True)
    with pytest.raises(VrmmError, match="kpt/00001.npy is no array of numbers"):
        _reader(folder).members(again.frames()[0])
    np.savez(checkpoint / "00000_cam_params_opencv.npz", R=bombs, t=bombs, K=bombs, allow_pickle=True)
    with pytest.raises(VrmmError, match="00000_cam_params_opencv.npz: R is no array of numbers"):
        _reader(folder)
    (checkpoint / "00000_cam_params_opencv.npz").write_bytes(pickle.dumps(_Bomb(mark)))
    with pytest.raises(VrmmError, match="00000_cam_params_opencv.npz is no whole zip archive"):
        _reader(folder)
    assert not mark.exists()


def _track(folder: Path, number: int, **values: np.ndarray) -> None:
    head = SCENE.head(number)
    arrays = {"R": head[None, :, :3], "t": head[None, :, 3], "K": SCENE.intrinsics[None], **values}
    checkpoint = folder / "metrical_tracker" / folder.name / "checkpoint"
    np.savez(checkpoint / f"{number:05d}_cam_params_opencv.npz", **arrays)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"R": np.full((1, 3, 3), np.nan)}, "00002_cam_params_opencv.npz: R holds NaN"),
        ({"R": np.eye(3)}, "R is .* where 1x3x3 numbers belong"),
        ({"R": 2.0 * np.eye(3)[None]}, "R is no rotation"),
        ({"R": np.diag([-1.0, 1.0, 1.0])[None]}, "R or K mirrors the head"),
        ({"t": np.array([[0.0, np.inf, 1.0]])}, "t holds NaN or infinity"),
        ({"K": 1.1 * SCENE.intrinsics[None]}, "K is not that of the first frame"),
    ],
)
def test_bad_numbers_of_the_tracker_are_named(folder: Path, values: dict, message: str) -> None:
    _track(folder, 2, **values)
    with pytest.raises(VrmmError, match=message):
        _reader(folder).frames()


def test_other_things_that_are_missing_or_contradict(folder: Path, tmp_path: Path) -> None:
    reader = _reader(folder)
    first, second, third, *_ = reader.frames()
    write_picture(folder / "source" / "00001.png", SCENE.stored(0)[:40])
    with pytest.raises(VrmmError, match="00001.png is 96x40, but camera camera is calibrated for 96x80"):
        reader.members(first)
    (folder / "matting" / "00002.png").unlink()
    with pytest.raises(VrmmError, match="matting/00002.png cannot be read"):
        reader.members(second)
    write_picture(folder / "seg" / "2.png", np.zeros((40, 96), np.uint8))
    with pytest.raises(VrmmError, match="seg/2.png and .*matting/00003.png are of different sizes"):
        reader.members(third)
    np.save(folder / "pipnet" / "test.npy", np.zeros((4, 98, 2)))
    again = _reader(mononphm_files.write(tmp_path / "b", SCENE))
    np.save(tmp_path / "b" / "pipnet" / "test.npy", np.zeros((4, 98, 2)))
    with pytest.raises(VrmmError, match=r"test.npy is of shape \(4, 98, 2\) for 5 pictures"):
        again.members(again.frames()[0])
    checkpoint = tmp_path / "b" / "metrical_tracker" / "b" / "checkpoint"
    (checkpoint / "00003_cam_params_opencv.npz").unlink()
    with pytest.raises(VrmmError, match="00003_cam_params_opencv.npz does not exist"):
        _reader(tmp_path / "b").frames()
    np.savez(checkpoint / "00003_cam_params_opencv.npz", R=np.eye(3)[None])
    with pytest.raises(VrmmError, match="has no member t.npy"):
        _reader(tmp_path / "b").frames()
    with pytest.raises(VrmmError, match="lag is -1"):
        MonoNPHMOptions(lag=-1)
    for picture in (tmp_path / "b" / "source").iterdir():
        picture.unlink()
    with pytest.raises(VrmmError, match="source has no pictures"):
        _reader(tmp_path / "b")
