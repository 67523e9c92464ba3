"""NeRSemble as it lies on disk: one video a camera, one lens for all, sRGB with a matrix in linear, even light."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.images import decode_radiance
from datasets.readers.reader import FrameRange, Selection
from datasets.readers.registry import find_captures, open_reader
from tests.datasets.readers import nersemble_files, truth

CAMERAS, COLOURS = "calibration/camera_params.json", "calibration/color_calibration.json"
FIRST, SECOND = nersemble_files.SEQUENCES
VIDEO_LEVELS = 2.0  # a video keeps colours in 8 bits of luma and chroma, of which it uses 220; and libx264 at crf 1
STEEPEST = 2.7 * 1.2  # sRGB in linear values, times the largest row of a matrix


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> nersemble_files.NeRSembleFiles:
    return nersemble_files.write(tmp_path_factory.mktemp("nersemble"))


@pytest.fixture
def broken(tmp_path: Path) -> nersemble_files.NeRSembleFiles:
    return nersemble_files.write(tmp_path)


def test_cameras_see_known_points_where_the_truth_does(files) -> None:
    """The lens is of 2200x3208 pixels, of all cameras, and measured from the corner."""
    reader = open_reader("nersemble", files.folder)
    ours = reader.stage.points(files.world.points(truth.POINTS))
    np.testing.assert_allclose(ours, truth.POINTS, atol=5e-3)  # an absent camera moves the middle by half a degree
    assert [camera.name for camera in reader.info.cameras] == nersemble_files.IDS
    for camera in files.cameras:
        seen = reader.info.camera(camera.name)
        assert (seen.width, seen.height) == nersemble_files.SIZE
        assert np.abs(seen.project(ours) - camera.project(truth.POINTS)).max() < 0.01


def test_colour_is_srgb_and_then_the_cameras_own_matrix_in_linear(files) -> None:
    reader = open_reader("nersemble", files.folder, overrides=["jpeg_quality=0"])
    for frame in reader.frames()[:2]:
        members = reader.members(frame)
        for camera in files.cameras:
            own = reader.info.camera(camera.name)
            image = decode_radiance(members[f"{camera.name}.rgb.png"], "png", reader.info.encoding_of(own))
            wanted = truth.radiance(camera, nersemble_files.number_of(FIRST, frame.index))
            assert np.abs(image - wanted).max() < (VIDEO_LEVELS + 0.5) / 255 * STEEPEST
            assert np.abs(image - wanted).mean() < 0.01
            raw = decode_radiance(members[f"{camera.name}.rgb.png"], "png", reader.info.encoding)
            assert np.abs(raw - wanted).mean() > 0.02, "the matrix of the fixture matters"


def test_pictures_are_jpeg_unless_asked_otherwise(files) -> None:
    lossy, exact = (
        open_reader("nersemble", files.folder, overrides=[f"jpeg_quality={quality}"]) for quality in (95, 0)
    )
    frame, camera = lossy.frames()[0], files.cameras[0]
    name = f"{camera.name}.rgb"
    encoding = lossy.info.encoding
    jpeg = truth.srgb(decode_radiance(lossy.members(frame)[f"{name}.jpg"], "jpg", encoding))
    png = truth.srgb(decode_radiance(exact.members(frame)[f"{name}.png"], "png", encoding))
    assert np.abs(jpeg - png).max() < 8.5 / 255
    assert np.abs(jpeg - png).mean() < 2 / 255
    without = open_reader("nersemble", files.folder, overrides=["color_calibration=false"])
    assert all(camera.encoding in (None, encoding) for camera in without.info.cameras)
    with pytest.raises(VrmmError, match="jpeg_quality is 101; it must be 1 to 100, or 0 for PNG"):
        open_reader("nersemble", files.folder, overrides=["jpeg_quality=101"])


def test_frames_are_those_of_the_videos_and_lit_evenly(files) -> None:
    reader = open_reader("nersemble", files.folder)
    assert reader.filmed
    assert [(frame.sequence, frame.index) for frame in reader.frames()] == [
        *((FIRST, number) for number in range(5)),
        *((SECOND, number) for number in range(2)),
    ], "the pictures of the empty stage are no frames"
    assert {frame.light_pattern for frame in reader.frames()} == {"uniform"}
    assert all(frame.full_on and frame.nearest_full_on == frame.key for frame in reader.frames())
    assert reader.info.light_positions.shape == (0, 3)
    part = open_reader("nersemble", files.folder, Selection(frames=FrameRange.parse("1::2")))
    assert [(frame.sequence, frame.index) for frame in part.frames()] == [(FIRST, 1), (FIRST, 3), (SECOND, 1)]


def test_a_camera_that_stopped_early_is_absent_from_the_last_frame(files) -> None:
    reader = open_reader("nersemble", files.folder)
    last = reader.frames()[4]
    assert sorted(reader.members(last)) == [f"{name}.rgb.jpg" for name in nersemble_files.IDS[:2]]
    alone = open_reader("nersemble", files.folder, Selection(cameras=(nersemble_files.SHORT,)))
    assert alone.members(last) == {}, "another process may have the cameras that filmed it"


def test_frames_in_any_order_are_the_same(files) -> None:
    """Frames of a video refer to each other; what is read must not depend on what was read before."""
    one, other = (open_reader("nersemble", files.folder, Selection(cameras=("221501007",))) for _ in range(2))
    forwards = {frame.key: one.members(frame) for frame in one.frames()}
    assert all(other.members(frame) == forwards[frame.key] for frame in reversed(other.frames()))
    assert len({data for members in forwards.values() for data in members.values()}) == 7


def test_captures_are_found_by_subject(files) -> None:
    assert find_captures("nersemble", files.folder.parent) == {"018": files.folder}
    assert find_captures("nersemble", files.folder) == {"018": files.folder}
    with pytest.raises(VrmmError, match="holds no becominglit capture"):
        find_captures("becominglit", files.folder)


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        (CAMERAS, lambda v: v.pop("intrinsics") and None, "camera_params.json lacks the key 'intrinsics'"),
        (CAMERAS, lambda v: v.pop("world_2_cam") and None, "camera_params.json lacks the key 'world_2_cam'"),
        (CAMERAS, lambda v: v["world_2_cam"]["221501007"][1].__setitem__(2, float("nan")), "221501007 holds NaN"),
        (CAMERAS, lambda v: v["world_2_cam"]["221501007"][1].__setitem__(2, 9.0), "221501007 are no rotation"),
        (COLOURS, lambda v: v.pop("221501007") and None, "color_calibration.json lacks the key '221501007'"),
        (COLOURS, lambda v: {**v, "221501007": [[1.0] * 4] * 3}, "polynomial, not a matrix; .*color_calibration=false"),
        (COLOURS, lambda v: v["221501007"][0].__setitem__(0, float("inf")), "221501007 holds NaN or infinity"),
    ],
)
def test_damaged_tables_are_named(broken, path: str, change, message: str) -> None:
    place = broken.folder / path
    value = json.loads(place.read_text())
    place.write_text(json.dumps(change(value) or value))
    with pytest.raises(VrmmError, match=message):
        open_reader("nersemble", broken.folder)


def test_missing_files_are_named(broken) -> None:
    (broken.folder / COLOURS).unlink()
    with pytest.raises(VrmmError, match="color_calibration.json does not exist"):
        open_reader("nersemble", broken.folder)
    (broken.folder / COLOURS).write_text("{}")
    (broken.folder / CAMERAS).unlink()
    with pytest.raises(VrmmError, match="camera_params.json does not exist; expected the cameras' calibration"):
        open_reader("nersemble", broken.folder)
    for video in broken.folder.rglob("*.mp4"):
        video.unlink()
    with pytest.raises(VrmmError, match="sequences has no videos"):
        open_reader("nersemble", broken.folder)


def test_damaged_videos_are_named(broken) -> None:
    folder = broken.folder / "sequences" / FIRST
    video = folder / "images" / "cam_221501007.mp4"
    whole = video.read_bytes()
    nersemble_files.write_camera(folder, "221501007", [np.zeros((160, 160, 3), np.uint8)] * 5)
    reader = open_reader("nersemble", broken.folder)
    with pytest.raises(VrmmError, match="cam_221501007.mp4: frame 0 is 160x160, but .* calibrated for 110x160"):
        reader.members(reader.frames()[0])
    video.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VrmmError, match="cam_221501007.mp4"):
        open_reader("nersemble", broken.folder).members(reader.frames()[0])
    nersemble_files.write_camera(folder, "220700191", [np.zeros((160, 160, 3), np.uint8)])
    with pytest.raises(VrmmError, match=r"videos are 160x160, but .*camera_params.json is calibrated for 2200x3208"):
        open_reader("nersemble", broken.folder)
