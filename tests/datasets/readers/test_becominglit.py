"""BecomingLit as it lies on disk: corner-origin lens in metres, sRGB with a matrix for each camera, dimmed groups."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.images import decode_mask, decode_radiance
from datasets.readers.reader import FrameRange, Selection
from datasets.readers.registry import find_captures, open_reader
from tests.datasets.readers import becominglit_files, truth

PER_FRAME = "sequences/EXP-1+smile/light_pattern_per_frame.json"
CAMERAS = "calibration/camera_calibration.json"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> becominglit_files.BecomingLitFiles:
    return becominglit_files.write(tmp_path_factory.mktemp("becominglit"))


@pytest.fixture
def broken(tmp_path: Path) -> becominglit_files.BecomingLitFiles:
    return becominglit_files.write(tmp_path, kind="png")


def test_cameras_see_known_points_where_the_truth_does(files) -> None:
    """The shared principal point is measured from the corner: half a pixel is fifty times the tolerance."""
    reader = open_reader("becominglit", files.folder)
    ours = reader.stage.points(files.world.points(truth.POINTS))
    np.testing.assert_allclose(ours, truth.POINTS, atol=2e-3)  # the middle of the cameras is half a degree off
    for camera in files.cameras:
        seen = reader.info.camera(camera.name)
        assert np.abs(seen.project(ours) - camera.project(truth.POINTS)).max() < 0.01


def test_lamps_are_where_they_are_and_as_strong(files) -> None:
    """The key is light_pattern, strengths are of 3000, and groups burn 1/0.66 as strong as they say."""
    reader = open_reader("becominglit", files.folder)
    lamps = reader.stage.points(files.world.points(files.lamps))
    np.testing.assert_allclose(reader.info.light_positions, lamps, atol=1e-6)
    frames = {(frame.sequence, frame.index): frame for frame in reader.frames()}
    assert len(frames) == 5
    for sequence, patterns in becominglit_files.SEQUENCES.items():
        for number, pattern in patterns.items():
            frame, burning = frames[sequence.replace(".", "-"), number], becominglit_files.PATTERNS[pattern]
            gain = 1.0 if pattern == 0 else 1.0 / 0.66
            np.testing.assert_allclose(frame.light.positions, lamps[[lamp for lamp, _ in burning]], atol=1e-6)
            np.testing.assert_allclose(frame.light.irradiance, [[d / 3000 * gain] * 3 for _, d in burning], atol=1e-6)
            assert frame.full_on == (pattern == 0)
    assert frames["EXP-1+smile", 7].nearest_full_on == "1001_EXP-1+smile_000005"
    assert frames["SEN-2_talk", 0].nearest_full_on == "1001_SEN-2_talk_000001", "of the same sequence"


def test_colour_is_srgb_and_then_the_cameras_own_matrix(files) -> None:
    reader = open_reader("becominglit", files.folder)
    frame = next(frame for frame in reader.frames() if frame.index == 6)
    members = reader.members(frame)
    for camera in files.cameras:
        own = reader.info.camera(camera.name)
        image = decode_radiance(members[f"{camera.name}.rgb.avif"], "avif", reader.info.encoding_of(own))
        wanted = truth.radiance(camera, frame.index)
        stored = becominglit_files.stored(camera, wanted)
        # sRGB is at most 2.7 times as steep in linear values, the rows of the matrix sum to 1.3 at most.
        assert np.abs(image - wanted).max() < 2.7 * 1.3 * truth.codec_error(stored, "avif")
        assert np.abs(image - wanted).mean() < 0.01
        mask = decode_mask(members[f"{camera.name}.mask.png"])
        assert np.abs(mask - truth.mask(camera)).max() < 0.15, "JPEG rings at the rim"
        assert not own.encoding.matted


def test_sequences_without_a_person_are_left_out(files) -> None:
    reader = open_reader("becominglit", files.folder, Selection(frames=FrameRange.parse("1:7:2")))
    assert [(f.sequence, f.index) for f in reader.frames()] == [("EXP-1+smile", 5), ("SEN-2_talk", 1)]


def test_captures_are_found_by_subject(files) -> None:
    assert find_captures("becominglit", files.folder.parent) == {"1001": files.folder}
    assert find_captures("becominglit", files.folder) == {"1001": files.folder}


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        (PER_FRAME, lambda v: v.pop(1) and None, "no light pattern for frame 6; .*skip_unlit=true"),
        (PER_FRAME, lambda v: v[1].__setitem__(1, 9), "frame 6 of .*EXP-1.smile burns light pattern 9, but .* has 3"),
        (CAMERAS, lambda v: v["cam_data"].pop("fx") and None, "cam_data lacks the key 'fx'"),
        (CAMERAS, lambda v: v["cam_data"].__setitem__("cx", 120.0), r"66x96, but .*\(120, .*downscale=2"),
        (CAMERAS, lambda v: v["world_to_cam"]["222200036"][1].__setitem__(2, float("nan")), "222200036 holds NaN"),
        (
            CAMERAS,
            lambda v: v["world_to_cam"].pop("222200036") and v["world_to_cam"].pop("222200045") and None,
            "1 cam",
        ),
        ("calibration/color_calibration.json", lambda v: v.pop("222200036") and None, "lacks the key '222200036'"),
        ("calibration/color_calibration.json", lambda v: {**v, "222200036": [1, 0, 0]}, "3x3 numbers belong"),
    ],
)
def test_damaged_tables_are_named(broken, path: str, change, message: str) -> None:
    place = broken.folder / path
    value = json.loads(place.read_text())
    place.write_text(json.dumps(change(value) or value))
    with pytest.raises(VrmmError, match=message):
        list(open_reader("becominglit", broken.folder).frames())


def test_smaller_pictures_are_read_with_the_lens_made_smaller(broken) -> None:
    """The calibration is of pictures twice as large."""
    place = broken.folder / CAMERAS
    value = json.loads(place.read_text())
    value["cam_data"] = {name: 2.0 * number for name, number in value["cam_data"].items()}
    place.write_text(json.dumps(value))
    reader = open_reader("becominglit", broken.folder, overrides=["downscale=2"])
    camera = broken.cameras[1]
    seen = reader.info.camera(camera.name).project(reader.stage.points(broken.world.points(truth.POINTS)))
    assert np.abs(seen - camera.project(truth.POINTS)).max() < 0.01


def test_a_picture_of_another_size_is_named(broken) -> None:
    path = broken.folder / "sequences/EXP-1+smile/images/cam_222200045/frame_000006.png"
    path.write_bytes(truth.picture_bytes(np.zeros((96, 60, 3), np.uint8), "png"))
    reader = open_reader("becominglit", broken.folder)
    frame = reader.frames()[1]
    with pytest.raises(VrmmError, match=r"frame_000006.png is 60x96, but camera 222200045 is calibrated for 66x96"):
        reader.members(frame)


def test_unknown_settings_are_named(broken) -> None:
    with pytest.raises(VrmmError, match="skip_unlit"):
        open_reader("becominglit", broken.folder, overrides=["skip_unlt=true"])
