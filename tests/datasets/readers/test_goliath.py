"""Goliath-4 as it lies on disk: transposed matrices, half-pixel centres, millimetres, linear camera colour."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.images import decode_mask, decode_radiance
from datasets.readers.reader import FrameRange, Selection
from datasets.readers.registry import find_captures, open_reader
from tests.datasets.readers import goliath_files, truth


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> goliath_files.GoliathFiles:
    return goliath_files.write(tmp_path_factory.mktemp("goliath"))


@pytest.fixture
def broken(tmp_path: Path) -> goliath_files.GoliathFiles:
    """One that a test may damage; PNG inside, which is quicker to write."""
    return goliath_files.write(tmp_path, kind="png")


def test_cameras_see_known_points_where_the_truth_does(files) -> None:
    """K and T are stored transposed, K is of 4096x2668 pixels with whole-numbered centres, lengths are millimetres."""
    reader = open_reader("goliath", files.folder)
    ours = reader.stage.points(files.world.points(truth.POINTS))
    for camera in files.cameras:
        seen = reader.info.camera(camera.name)
        assert (seen.width, seen.height) == goliath_files.SIZE
        assert np.abs(seen.project(ours) - camera.project(truth.POINTS)).max() < 0.01
        distance = np.linalg.norm(seen.center - ours[0]) - np.linalg.norm(camera.center - truth.POINTS[0])
        assert abs(distance) < 1e-6, "metres"


def test_the_world_is_ours(files) -> None:
    """The rig of the fixture stands upright around the head: so must the reader's, wherever their origin is."""
    reader = open_reader("goliath", files.folder)
    # The fixture's lines of sight meet in one point, its rows of pixels are level, its cameras are around the front.
    np.testing.assert_allclose(reader.stage.points(files.world.points(truth.POINTS)), truth.POINTS, atol=1e-3)


def test_lamps_are_where_they_are_and_as_strong(files) -> None:
    reader = open_reader("goliath", files.folder)
    lamps = reader.stage.points(files.world.points(files.lamps))
    np.testing.assert_allclose(reader.info.light_positions, lamps, atol=1e-6)
    frames = {frame.index: frame for frame in reader.frames()}
    for number, pattern in goliath_files.FRAMES.items():
        burning = goliath_files.PATTERNS[pattern]
        light = frames[number].light
        np.testing.assert_allclose(light.positions, lamps[[lamp for lamp, _ in burning]], atol=1e-6)
        np.testing.assert_allclose(light.irradiance, [[d / 5555.0] * 3 for _, d in burning], atol=1e-6)
        assert frames[number].light_pattern == str(pattern)


def test_full_on_frames_splits_and_poses(files) -> None:
    reader = open_reader("goliath", files.folder)
    frames = {frame.index: frame for frame in reader.frames()}
    assert [n for n, frame in frames.items() if frame.full_on] == [100, 103]
    assert {n: frame.nearest_full_on for n, frame in frames.items()} == {
        number: f"ABC123_head_{near:06d}" for number, near in {100: 100, 101: 100, 102: 103, 103: 103, 110: 103}.items()
    }
    assert [n for n, frame in frames.items() if frame.split != "train"] == [102]
    for number, frame in frames.items():
        rotation, translation = files.head_pose(number)
        np.testing.assert_allclose(frame.pose.rotation, rotation, atol=2e-3)
        np.testing.assert_allclose(frame.pose.translation, translation, atol=1e-3)


def test_pictures_are_the_original_bytes_and_their_radiance_is_known(files) -> None:
    """Black level (2, 1, 2)/255, gains (1.4, 1.1, 1.6), and the background still behind the head."""
    reader = open_reader("goliath", files.folder)
    assert not reader.info.encoding.matted
    frame = reader.frames()[1]
    members = reader.members(frame)
    assert sorted(members) == sorted(f"{c.name}.{kind}" for c in files.cameras for kind in ("rgb.avif", "mask.png"))
    for camera in files.cameras:
        encoding = reader.info.encoding_of(reader.info.camera(camera.name))
        image = decode_radiance(members[f"{camera.name}.rgb.avif"], "avif", encoding)
        wanted = truth.radiance(camera, frame.index)
        error = np.abs(image - wanted) / goliath_files.GAIN
        assert error.max() < truth.codec_error(goliath_files.stored(wanted), "avif")
        np.testing.assert_array_equal(decode_mask(members[f"{camera.name}.mask.png"]), truth.mask(camera))


def test_cameras_without_colour_or_pictures_are_left_out(files) -> None:
    reader = open_reader("goliath", files.folder)
    assert [camera.name for camera in reader.info.cameras] == [camera.name for camera in files.cameras]
    for name in ("410015", "400999"):
        with pytest.raises(VrmmError, match=f"no images of camera {name}"):
            open_reader("goliath", files.folder, Selection(cameras=(name,)))


def test_a_selection_changes_neither_world_nor_light(files) -> None:
    whole = open_reader("goliath", files.folder)
    part = open_reader("goliath", files.folder, Selection(cameras=("400281",), frames=FrameRange.parse("101:111:2")))
    assert [camera.to_json() for camera in part.info.cameras] == [whole.info.camera("400281").to_json()]
    assert [frame.index for frame in part.frames()] == [101, 103]
    assert np.array_equal(part.frames()[0].pose.rotation, whole.frames()[1].pose.rotation)
    assert list(part.members(part.frames()[0])) == ["400281.rgb.avif", "400281.mask.png"]


def test_smaller_segmentation_is_brought_to_the_pictures_size(broken) -> None:
    camera = broken.cameras[0]
    small = (truth.mask(camera)[::2, ::2] * 2.0).astype(np.uint8)
    members = {f"cam{camera.name}/{n:06d}.png": truth.picture_bytes(small, "png") for n in goliath_files.FRAMES}
    truth.write_zip(broken.folder / "segmentation_parts" / f"cam{camera.name}.zip", members)
    reader = open_reader("goliath", broken.folder, Selection(cameras=(camera.name,)))
    read = decode_mask(reader.members(reader.frames()[0])[f"{camera.name}.mask.png"])
    assert read.shape == (camera.height, camera.width)
    assert np.abs(read - truth.mask(camera)).mean() < 0.03  # the rim moves by a pixel


def test_captures_are_found_by_subject(files, tmp_path: Path) -> None:
    assert find_captures("goliath", files.folder) == {"ABC123": files.folder}
    assert find_captures("goliath", files.folder.parent) == {"ABC123": files.folder}
    with pytest.raises(VrmmError, match="no subject XYZ789; it has ABC123"):
        find_captures("goliath", files.folder.parent, ["XYZ789"])
    with pytest.raises(VrmmError, match="holds no goliath capture"):
        find_captures("goliath", tmp_path)


def _edit(path: Path, change) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps(change(value) or value))


LIGHTS = "lights/light_pattern_metadata.json"
PER_FRAME = "lights/light_pattern_per_frame.json"


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        (
            LIGHTS,
            lambda v: v.pop("light_patterns") and None,
            "metadata.json lacks the key 'light_patterns'",
        ),
        (LIGHTS, lambda v: v["light_positions"][1].__setitem__(0, float("nan")), "light_positions holds NaN"),
        (LIGHTS, lambda v: v["light_patterns"][1]["light_index_durations"][0].__setitem__(0, 4), "a lamp that is not"),
        (LIGHTS, lambda v: v["light_patterns"][1]["light_index_durations"][0].__setitem__(1, -1), "negative duration"),
        (PER_FRAME, lambda v: v[3].__setitem__(1, 3), "frame 103 of .* burns light pattern 3, but .* has 3"),
        (PER_FRAME, lambda v: v.pop(2) and None, "no light pattern for frame 102; .*skip_unlit=true"),
        (PER_FRAME, lambda v: v.append([100, 2]), "gives frame 100 the patterns 0 and 2"),
        ("camera_calibration.json", lambda v: v["KRT"][2].pop("K") and None, r"KRT\[2\] lacks the key 'K'"),
        ("camera_calibration.json", lambda v: v["KRT"][2]["T"][3].__setitem__(1, float("inf")), r"T holds NaN or inf"),
        ("camera_calibration.json", lambda v: v["KRT"][2].__setitem__("K", [[1, 0], [0, 1]]), "3x3 numbers belong"),
        ("camera_calibration.json", lambda v: v["KRT"].append(v["KRT"][0]), "400002 is listed twice"),
        ("camera_calibration.json", lambda v: v["KRT"][1]["T"][0].__setitem__(0, 3.0), "400013 are no rotation"),
    ],
)
def test_damaged_tables_are_named(broken, path: str, change, message: str) -> None:
    _edit(broken.folder / path, change)
    with pytest.raises(VrmmError, match=message):
        list(open_reader("goliath", broken.folder).frames())


def test_frames_without_light_can_be_left_out(broken) -> None:
    _edit(broken.folder / PER_FRAME, lambda v: v.pop(2) and None)
    reader = open_reader("goliath", broken.folder, overrides=["skip_unlit=true"])
    assert [frame.index for frame in reader.frames()] == [100, 101, 103, 110]


def test_a_missing_calibration_is_named(broken) -> None:
    (broken.folder / "camera_calibration.json").unlink()
    with pytest.raises(VrmmError, match=r"camera_calibration.json does not exist; expected the cameras' calibration"):
        open_reader("goliath", broken.folder)


def test_pictures_of_another_size_are_named(broken) -> None:
    camera = broken.cameras[1]
    other = np.zeros((64, 64, 3), np.uint8)
    goliath_files.write_camera(broken.folder, camera, {100: other}, "png")
    reader = open_reader("goliath", broken.folder)
    with pytest.raises(VrmmError, match=r"cam400013.zip: cam400013/000100.png is 64x64, but .* for 83x128"):
        reader.members(reader.frames()[0])
    goliath_files.write_camera(broken.folder, broken.cameras[0], {100: other}, "png")
    with pytest.raises(VrmmError, match="64x64, but .* calibrated for 2668x4096"):
        open_reader("goliath", broken.folder)


def test_a_frame_that_no_camera_saw_is_named(broken) -> None:
    for camera in broken.cameras:
        goliath_files.write_camera(broken.folder, camera, {101: np.zeros((128, 83, 3), np.uint8)}, "png")
    reader = open_reader("goliath", broken.folder)
    with pytest.raises(VrmmError, match="no picture of frame 100"):
        reader.members(reader.frames()[0])


def test_opening_reads_the_calibration_and_one_header_only(broken) -> None:
    """A terabyte would not do otherwise: damage every picture but the first, and opening does not notice."""
    for camera in broken.cameras[1:]:
        (broken.folder / "image" / f"cam{camera.name}.zip").write_bytes(b"damaged")
        (broken.folder / "segmentation_parts" / f"cam{camera.name}.zip").write_bytes(b"damaged")
    reader = open_reader("goliath", broken.folder)
    assert len(reader.info.cameras) == 4
    assert len(reader.frames()) == 5
    with pytest.raises(VrmmError, match="is no whole zip archive"):
        reader.members(reader.frames()[0])
