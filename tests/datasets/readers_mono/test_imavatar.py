"""IMavatar's videos read back: where known points are seen, what FLAME was fitted with, and what must not go unseen."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.readers.imavatar import IMavatarOptions, IMavatarReader
from datasets.readers.reader import FrameRange, Selection
from tests.datasets.readers_mono import imavatar_files
from tests.datasets.readers_mono.scene import (
    POINTS,
    Scene,
    arrays,
    by_x,
    check_picture,
    edit_json,
    only_camera,
    seen_by_model,
    spots,
    write_picture,
)

SCENE = Scene()


def _reader(folder: Path, selection: Selection | None = None, **options) -> IMavatarReader:
    return IMavatarReader(folder, selection or Selection(), IMavatarOptions(**options))


def _everything(folder: Path) -> None:
    reader = _reader(folder)
    for frame in reader.frames():
        reader.members(frame)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return imavatar_files.write(tmp_path, {"MVI_1810": SCENE, "MVI_1814": dataclasses.replace(SCENE, frames=2)})


def test_known_points_are_seen_where_the_original_sees_them(folder: Path) -> None:
    """Negative focal length, OpenGL axes, FLAME four times its size, pixel centres at whole numbers."""
    value = json.loads((folder / "MVI_1810" / "flame_params.json").read_text())
    assert value["intrinsics"][0] < 0
    reader = _reader(folder)
    frames = [frame for frame in reader.frames() if frame.sequence == "MVI_1810"]
    assert [frame.index for frame in frames] == [1, 2, 3, 4, 5]
    for number, frame in enumerate(frames):
        original = imavatar_files.original_pixels(value, number, POINTS, SCENE) + 0.5
        np.testing.assert_allclose(original, SCENE.pixels(number), atol=1e-9)  # the files are as the original has them
        np.testing.assert_allclose(seen_by_model(reader, frame), original, atol=1e-6)
        # 8-bit rounding moves the centre of a spot by less than this
        np.testing.assert_allclose(spots(reader, frame), by_x(original), atol=0.01)
    distance = np.linalg.norm(only_camera(reader.info).center)
    assert distance == pytest.approx(np.linalg.norm(SCENE.head(2)[:, 3]), abs=0.02), "metres, not four of them"


def test_the_camera_stands_still_and_upright(folder: Path) -> None:
    camera = only_camera(_reader(folder).info)
    np.testing.assert_allclose(camera.world_to_camera[:, :3], np.diag([1.0, -1.0, -1.0]))
    assert camera.center[2] > 0.4
    assert (camera.width, camera.height) == (SCENE.width, SCENE.height)
    np.testing.assert_allclose(camera.intrinsics, SCENE.intrinsics, atol=1e-9)


def test_intrinsics_of_older_files_are_pixels_of_512(tmp_path: Path) -> None:
    folder = imavatar_files.write(tmp_path, {"MVI_1810": SCENE}, old=True)
    np.testing.assert_allclose(only_camera(_reader(folder).info).intrinsics, SCENE.intrinsics, atol=1e-9)


def test_members(folder: Path) -> None:
    reader = _reader(folder)
    frame = reader.frames()[2]
    members = reader.members(frame)
    check_picture(members, SCENE, 2)
    geometry = arrays(members["geom.npz"])
    np.testing.assert_array_equal(geometry["shape"], imavatar_files.SHAPE)
    np.testing.assert_allclose(geometry["expression"], imavatar_files.expression(2))
    parts = [geometry[name] for name in ("global_pose", "neck_pose", "jaw_pose", "eye_pose")]
    assert [len(part) for part in parts] == [3, 3, 3, 6]
    np.testing.assert_allclose(np.concatenate(parts), imavatar_files.pose(2))
    np.testing.assert_allclose(geometry["face_box"], SCENE.pixels(2)[:2].ravel(), atol=1e-9)
    landmarks = arrays(members["lmk.npz"])
    assert landmarks["cameras"].tolist() == ["camera"]
    assert landmarks["points"].shape == (1, 68, 2)
    assert landmarks["iris"].shape == (1, 2, 2)
    np.testing.assert_allclose(landmarks["points"][0, :4], SCENE.pixels(2), atol=1e-4)  # stored as float32
    assert landmarks["visible"].all()
    assert frame.pose is None, "the joints of FLAME would be needed"
    assert not frame.light.known


def test_landmarks_outside_of_the_picture_are_not_visible(folder: Path) -> None:
    def move(value: dict) -> None:
        value["frames"][0]["flame_keypoints"][5] = [1.2, 0.0]

    edit_json(folder / "MVI_1810" / "flame_params.json", move)
    reader = _reader(folder)
    visible = arrays(reader.members(reader.frames()[0])["lmk.npz"])["visible"]
    assert np.flatnonzero(~visible[0]).tolist() == [5]


def test_what_may_be_missing(folder: Path) -> None:
    """Masks, boxes and keypoints are extras of the format."""
    for mask in (folder / "MVI_1810" / "mask").iterdir():
        mask.unlink()
    (folder / "MVI_1810" / "mask").rmdir()

    def strip(value: dict) -> None:
        for frame in value["frames"]:
            del frame["bbox"], frame["flame_keypoints"]

    edit_json(folder / "MVI_1810" / "flame_params.json", strip)
    reader = _reader(folder / "MVI_1810")
    members = reader.members(reader.frames()[0])
    assert set(members) == {"camera.rgb.png", "geom.npz"}
    assert "face_box" not in arrays(members["geom.npz"])


def test_folders_that_are_found(folder: Path, tmp_path: Path) -> None:
    imavatar_files.write(tmp_path, {"train": SCENE, "test": SCENE}, subject="marcel 2")
    found = IMavatarReader.captures_under(tmp_path)
    assert found == {"marcel-2": tmp_path / "marcel 2" / "marcel 2", "yufeng": folder}
    assert IMavatarReader.captures_under(tmp_path / "yufeng") == {"yufeng": folder}
    assert IMavatarReader.captures_under(folder) == {"yufeng": folder}
    assert IMavatarReader.captures_under(folder / "MVI_1814") == {"yufeng": folder / "MVI_1814"}
    assert IMavatarReader.captures_under(folder / "MVI_1814" / "image") == {}
    alone = _reader(folder / "MVI_1814")
    assert alone.info.subjects == ("yufeng",)
    assert {frame.key for frame in alone.frames()} == {"yufeng_MVI_1814_000001", "yufeng_MVI_1814_000002"}


def test_videos_for_testing_are_held_out(folder: Path, tmp_path: Path) -> None:
    splits = {frame.sequence: frame.split for frame in _reader(folder, held_out=["MVI_1814"]).frames()}
    assert splits == {"MVI_1810": "train", "MVI_1814": "held_out"}
    other = imavatar_files.write(tmp_path / "other", {"train": SCENE, "test": SCENE})
    assert {frame.sequence: frame.split for frame in _reader(other).frames()} == {"train": "train", "test": "held_out"}
    with pytest.raises(VrmmError, match="held_out=MVI_9 is no video of .*; it has MVI_1810, MVI_1814"):
        _reader(folder, held_out=["MVI_9"])


def test_a_range_is_taken_of_every_video_and_moves_nothing(folder: Path) -> None:
    part = _reader(folder, Selection(frames=FrameRange.parse("2:5:2")))
    assert [(frame.sequence, frame.index) for frame in part.frames()] == [
        ("MVI_1810", 2),
        ("MVI_1810", 4),
        ("MVI_1814", 2),
    ]
    whole = only_camera(_reader(folder).info).world_to_camera
    np.testing.assert_array_equal(only_camera(part.info).world_to_camera, whole)
    with pytest.raises(VrmmError, match="has no frame of the chosen range"):
        _reader(folder, Selection(frames=FrameRange.parse("90:100"))).frames()


def _set(path: Path, key: str, value: object, frame: int | None = None) -> None:
    def change(document: dict) -> None:
        (document if frame is None else document["frames"][frame])[key] = value

    edit_json(path, change)


NAN = float("nan")
WORLD = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -2.0]]


@pytest.mark.parametrize(
    ("key", "value", "frame", "message"),
    [
        ("intrinsics", [-1.0, 1.0, NAN, 0.5], None, "flame_params.json: intrinsics holds NaN"),
        ("intrinsics", [-1.0, 1.0, 0.5], None, "intrinsics is .* where 4 numbers belong"),
        ("intrinsics", [0.0, 1.0, 0.5, 0.5], None, "a focal length other than zero"),
        ("intrinsics", [1.0, 1.0, 0.5, 0.5], None, "mirror the head; the first of intrinsics must be negative"),
        ("frames", [], None, "lists no frames"),
        ("world_mat", [[NAN, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]], 3, r"frames\[3\]: world_mat holds NaN"),
        ("world_mat", [[2.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]], 3, r"frames\[3\]: world_mat is no rotation"),
        ("world_mat", [*WORLD, [0, 0, 1, 1]], 3, r"frames\[3\]: world_mat has the last row .* is it transposed"),
        ("file_path", "./image/2", 3, "lists frame 2 a second time"),
        ("file_path", "./image/last", 3, "'last' is no frame number"),
    ],
)
def test_bad_numbers_are_named_at_once(folder: Path, key: str, value, frame: int | None, message: str) -> None:
    _set(folder / "MVI_1810" / "flame_params.json", key, value, frame)
    with pytest.raises(VrmmError, match=message):
        _reader(folder / "MVI_1810")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pose", [0.0] * 6, r"frames\[0\]: pose is .* where 15 numbers belong"),
        ("expression", [0.0, NAN], r"frames\[0\]: expression holds NaN"),
        ("flame_keypoints", [[0.0, 0.0]], "flame_keypoints is .* where 68x2 or 70x2 numbers belong"),
        ("file_path", "./image/77", r"image/77.png, which .*frames\[0\]: file_path names, cannot be read"),
    ],
)
def test_bad_values_of_a_frame_are_named_with_it(folder: Path, key: str, value, message: str) -> None:
    _set(folder / "MVI_1810" / "flame_params.json", key, value, 0)
    reader = _reader(folder / "MVI_1810")
    number = int(value.rpartition("/")[2]) if key == "file_path" else 1
    (frame,) = [frame for frame in reader.frames() if frame.index == number]
    with pytest.raises(VrmmError, match=message):
        reader.members(frame)


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("name", ["./../../secret/9", "{root}/secret/9", "image/../../../secret/9"])
def test_nothing_outside_of_the_video_is_read(folder: Path, tmp_path: Path, name: str, place: int) -> None:
    write_picture(tmp_path / "secret" / "9.png", SCENE.stored(0))
    _set(folder / "MVI_1810" / "flame_params.json", "file_path", name.format(root=tmp_path), place)
    with pytest.raises(VrmmError, match=rf"frames\[{place}\]: file_path is .*, which leads out of .*MVI_1810"):
        _everything(folder / "MVI_1810")


def test_other_things_that_are_missing_or_contradict(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match="has no video with a flame_params.json"):
        _reader(tmp_path)
    write_picture(folder / "MVI_1810" / "image" / "3.png", np.zeros((40, 96, 3), np.uint8))
    reader = _reader(folder / "MVI_1810")
    with pytest.raises(VrmmError, match="image/3.png is 96x40, but camera camera is calibrated for 96x80"):
        reader.members(reader.frames()[2])
    (folder / "MVI_1810" / "mask" / "2.png").unlink()
    with pytest.raises(VrmmError, match="mask/2.png cannot be read"):
        reader.members(reader.frames()[1])
    for picture in (folder / "MVI_1810" / "image").iterdir():
        picture.unlink()
    with pytest.raises(VrmmError, match="has none of the pictures that its flame_params.json lists"):
        _reader(folder / "MVI_1810")


def test_videos_of_different_cameras_are_not_one_capture(folder: Path) -> None:
    _set(folder / "MVI_1814" / "flame_params.json", "intrinsics", [-2.0, 2.0, 0.5, 0.5])
    with pytest.raises(VrmmError, match="MVI_1810 and .*MVI_1814 have different cameras; import each by itself"):
        _reader(folder)
