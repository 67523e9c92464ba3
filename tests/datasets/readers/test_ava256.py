"""Ava-256 as it lies on disk: Goliath's cameras and zips with lens distortion, even light, no lamps."""

from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.images import decode_mask, decode_radiance
from datasets.readers.reader import FrameRange, Selection
from datasets.readers.registry import find_captures, open_reader
from tests.datasets.readers import ava256_files, goliath_files, truth


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return ava256_files.write(tmp_path)


def test_cameras_see_known_points_where_the_truth_does(folder: Path) -> None:
    reader = open_reader("ava256", folder)
    ours = reader.stage.points(truth.MILLIMETRES.points(truth.POINTS))
    for camera in ava256_files.cameras():
        assert np.abs(reader.info.camera(camera.name).project(ours) - camera.project(truth.POINTS)).max() < 0.01


def test_pictures_are_balanced_and_have_no_distortion(folder: Path) -> None:
    reader = open_reader("ava256", folder)
    assert [frame.key for frame in reader.frames()] == [
        "AVW368_EXP_neutral_peak_000012",
        "AVW368_EXP_neutral_peak_000015",
        "AVW368_SEN_the_dog_000040",
    ]
    members = reader.members(reader.frames()[0])
    for camera in ava256_files.cameras():
        image = decode_radiance(members[f"{camera.name}.rgb.png"], "png", reader.info.encoding)
        inner = np.s_[8:-8, 8:-8]
        # Two roundings to 8 bits with gain 1.6, and interpolation between the pixels of a smooth wave.
        assert np.abs(image - truth.radiance(camera, 12))[inner].max() < 2 * 0.51 / 255 * 1.6 + 1e-3
        assert not reader.info.encoding.matted
        mask = decode_mask(members[f"{camera.name}.mask.png"])
        assert np.abs(mask - truth.mask(camera)).mean() < 0.02  # interpolated between pixels at the rim
    plain = open_reader("ava256", folder, overrides=["balance=false", "transfer=srgb"]).info.encoding
    assert (plain.transfer, plain.gain, plain.black_level) == ("srgb", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def test_the_straight_cameras_picture_is_the_original(folder: Path) -> None:
    reader = open_reader("ava256", folder, Selection(cameras=("400002",), frames=FrameRange.parse("40")))
    (frame,) = reader.frames()
    wanted = truth.picture_bytes(goliath_files.stored(truth.radiance(ava256_files.cameras()[0], 40)), "png")
    assert reader.members(frame)["400002.rgb.png"] == wanted
    assert frame.pose is None, "this fixture has no head poses"


def test_captures_are_found_with_and_without_decoder_folder(folder: Path) -> None:
    assert find_captures("ava256", folder.parent) == {"AVW368": folder}
    assert find_captures("ava256", folder) == {"AVW368": folder}
    inner = folder.parent / "m--20210223--1023--XYZ123--GHS"
    (folder / "decoder").rename(inner)
    assert find_captures("ava256", inner) == {"XYZ123": inner}
    assert find_captures("ava256", folder.parent) == {"XYZ123": inner}


def test_damage_is_named(folder: Path) -> None:
    table = folder / "decoder" / "frame_list.csv"
    table.write_text(table.read_text().replace("seg_id", "segment"))
    with pytest.raises(VrmmError, match="frame_list.csv has no column 'seg_id'; its heading is segment, frame_id"):
        open_reader("ava256", folder).frames()
    (folder / "decoder" / "camera_calibration.json").unlink()
    with pytest.raises(VrmmError, match="camera_calibration.json does not exist"):
        open_reader("ava256", folder)
