"""Multiface as it lies on disk: cameras as text with lens distortion, millimetres, even light."""

from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.images import decode_radiance
from datasets.readers.reader import FrameRange, Selection
from datasets.readers.registry import find_captures, open_reader
from tests.datasets.readers import multiface_files, truth


@pytest.fixture
def files(tmp_path: Path) -> multiface_files.MultifaceFiles:
    return multiface_files.write(tmp_path)


def test_cameras_see_known_points_where_the_truth_does(files) -> None:
    reader = open_reader("multiface", files.folder)
    ours = reader.stage.points(files.world.points(truth.POINTS))
    np.testing.assert_allclose(ours, truth.POINTS, atol=5e-3)  # an absent camera moves the middle by half a degree
    assert [camera.name for camera in reader.info.cameras] == [camera.name for camera in files.cameras]
    for camera in files.cameras:
        assert np.abs(reader.info.camera(camera.name).project(ours) - camera.project(truth.POINTS)).max() < 0.01


def test_lens_distortion_is_taken_out_and_other_pictures_stay(files) -> None:
    reader = open_reader("multiface", files.folder)
    members = reader.members(reader.frames()[0])
    plain, bent, _ = files.cameras
    folder = files.folder / "images" / "E001_Neutral_Eyes_Open"
    assert members[f"{plain.name}.rgb.png"] == (folder / plain.name / "000102.png").read_bytes()
    assert members[f"{bent.name}.rgb.png"] != (folder / bent.name / "000102.png").read_bytes()
    image = decode_radiance(members[f"{bent.name}.rgb.png"], "png", reader.info.encoding)
    wanted = truth.radiance(bent, 102)
    seen = image.max(axis=-1) > 0.0  # the corners came from outside of the picture
    seen[[0, -1]] = seen[:, [0, -1]] = False  # half a pixel at the edge is mixed with outside
    # Two roundings to 8 bits, of sRGB, whose slope is 2.7 at most, and interpolation between pixels of a smooth wave.
    assert np.abs(image - wanted)[seen].max() < 2 * 0.51 / 255 * 2.7 + 1e-3
    assert seen.mean() > 0.9
    crooked = decode_radiance((folder / bent.name / "000102.png").read_bytes(), "png", reader.info.encoding)
    assert np.abs(crooked - wanted)[seen].max() > 0.02, "the lens of the fixture bends"


def test_rectified_pictures_can_be_left_alone(files) -> None:
    reader = open_reader("multiface", files.folder, overrides=["undistort=false", "transfer=linear"])
    members = reader.members(reader.frames()[0])
    path = files.folder / "images" / "E001_Neutral_Eyes_Open" / "400013" / "000102.png"
    assert members["400013.rgb.png"] == path.read_bytes()
    assert reader.info.encoding.transfer == "linear"


def test_frames_are_those_that_are_listed_and_there(files) -> None:
    reader = open_reader("multiface", files.folder, Selection(frames=FrameRange.parse("::2")))
    assert [frame.key for frame in reader.frames()] == [
        "6795937_E001_Neutral_Eyes_Open_000102",
        "6795937_E001_Neutral_Eyes_Open_000111",
        "6795937_SEN_you-re_boiling_milk_000007",
    ]
    for frame in reader.frames():
        assert frame.nearest_full_on == frame.key
        assert frame.light_pattern == "uniform"
        # A white matt surface shows radiance 1, whichever way it faces: 256 lamps come within half a per cent.
        for normal in np.random.default_rng(1).normal(size=(5, 3)):
            facing = np.maximum(frame.light.directions @ normal / np.linalg.norm(normal), 0.0)
            assert abs(facing @ frame.light.irradiance[:, 0] / np.pi - 1.0) < 5e-3
        np.testing.assert_allclose(frame.pose.rotation, np.eye(3), atol=0.02)
        np.testing.assert_allclose(frame.pose.translation, [0.0, 0.001 * frame.index, 0.0], atol=2e-3)


def test_captures_are_found_by_subject(files) -> None:
    assert find_captures("multiface", files.folder.parent) == {"6795937": files.folder}


def _replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_damaged_tables_are_named(files) -> None:
    krt = files.folder / "KRT"
    whole = krt.read_text()
    krt.write_text(whole.replace("400013\n", "400013\nnan 0 0\n", 1))
    with pytest.raises(VrmmError, match="KRT has 33 lines, no multiple of 8"):
        open_reader("multiface", files.folder)
    krt.write_text(whole.replace("-0.9 ", "nan ", 1))
    with pytest.raises(VrmmError, match="KRT: camera 400013: distortion holds NaN"):
        open_reader("multiface", files.folder)
    krt.write_text(whole.replace("400013\n", "400002\n", 1))
    with pytest.raises(VrmmError, match="camera 400002 is listed twice"):
        open_reader("multiface", files.folder)
    krt.unlink()
    with pytest.raises(VrmmError, match="KRT does not exist"):
        open_reader("multiface", files.folder)


def test_damaged_lists_and_pictures_are_named(files) -> None:
    path = files.folder / "images" / "E001_Neutral_Eyes_Open" / "400070" / "000105.png"
    path.write_bytes(truth.picture_bytes(np.zeros((64, 83, 3), np.uint8), "png"))
    reader = open_reader("multiface", files.folder)
    with pytest.raises(VrmmError, match="000105.png is 83x64, but camera 400070 is calibrated for 83x128"):
        reader.members(reader.frames()[1])
    _replaced(files.folder / "frame_list.txt", "000111", "eleven")
    with pytest.raises(VrmmError, match="frame_list.txt: line 3: 'eleven' is no frame number"):
        open_reader("multiface", files.folder).frames()
