"""NerFace's videos read back, with either sign of the focal length, and at their scale."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.readers.nerface import NerFaceOptions, NerFaceReader
from datasets.readers.reader import FrameRange, Selection
from tests.datasets.readers_mono import insta_files, nerface_files
from tests.datasets.readers_mono.scene import (
    POINTS,
    Scene,
    arrays,
    by_x,
    edit_json,
    only_camera,
    seen_by_model,
    seen_by_pose,
    spots,
    write_picture,
)

SCENE = Scene()
METRES = 1.0 / nerface_files.UNITS
MIRROR = np.diag([-1.0, 1.0, 1.0])


def _reader(folder: Path, selection: Selection | None = None, *, metres: float = METRES) -> NerFaceReader:
    return NerFaceReader(folder, selection or Selection(), NerFaceOptions(metres_per_unit=metres))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return nerface_files.write(tmp_path / "person_1", SCENE)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_known_points_are_seen_where_the_original_sees_them(tmp_path: Path, sign: float) -> None:
    """OpenGL axes, pixel centres at whole numbers, and a world that is left-handed where the focal length says so."""
    folder = nerface_files.write(tmp_path / "person_1", SCENE, fx_sign=sign)
    reader = _reader(folder)
    theirs = POINTS @ MIRROR if sign < 0 else POINTS
    for frame in reader.frames():
        value = json.loads((folder / f"transforms_{frame.sequence}.json").read_text())
        number = nerface_files.PARTS[frame.sequence][frame.index]
        original = nerface_files.original_pixels(value, frame.index, theirs * nerface_files.UNITS, SCENE) + 0.5
        np.testing.assert_allclose(original, SCENE.pixels(number), atol=1e-9)
        np.testing.assert_allclose(seen_by_pose(reader, frame), original, atol=1e-6)
        np.testing.assert_allclose(seen_by_model(reader, frame, theirs), original, atol=1e-6)
        np.testing.assert_allclose(spots(reader, frame), by_x(original), atol=0.01)  # 8-bit rounding
    np.testing.assert_allclose(only_camera(reader.info).intrinsics, SCENE.intrinsics, atol=1e-9)
    distance = np.linalg.norm(only_camera(reader.info).center)
    assert distance == pytest.approx(np.linalg.norm(SCENE.head(2)[:, 3]), abs=0.02), "metres"


def test_members_and_splits(folder: Path) -> None:
    reader = _reader(folder)
    assert [(frame.sequence, frame.index, frame.split) for frame in reader.frames()] == [
        ("test", 0, "held_out"),
        ("train", 0, "train"),
        ("train", 1, "train"),
        ("train", 2, "train"),
        ("val", 0, "held_out"),
    ]
    members = reader.members(reader.frames()[1])
    assert members["camera.rgb.png"] == (folder / "train" / "f_0000.png").read_bytes()
    assert set(members) == {"camera.rgb.png", "geom.npz"}
    geometry = arrays(members["geom.npz"])
    np.testing.assert_allclose(geometry["expression"], nerface_files.expression(4))
    top, bottom, left, right = nerface_files.box(SCENE, 4)
    box = [left * SCENE.width, top * SCENE.height, right * SCENE.width, bottom * SCENE.height]
    np.testing.assert_allclose(geometry["face_box"], box)
    part = _reader(folder, Selection(frames=FrameRange.parse("1")))
    assert [(frame.sequence, frame.index) for frame in part.frames()] == [("train", 1)]


def test_alpha_is_the_mask_where_there_is_one(folder: Path) -> None:
    write_picture(folder / "train" / "f_0001.png", SCENE.rgba(0))
    reader = _reader(folder, Selection(frames=FrameRange.parse("1")))
    assert "camera.mask.png" in reader.members(reader.frames()[0])


def test_the_scale_is_found_from_the_width_of_faces(folder: Path) -> None:
    """Every sequence is scaled to a camera at 0.5; a head of four centimetres would fit no prior."""
    assert _reader(folder, metres=0.0).frames()
    camera = only_camera(_reader(folder, metres=0.0).info)
    np.testing.assert_allclose(camera.center, only_camera(_reader(folder).info).center, rtol=1e-6)

    def whole(value: dict) -> None:
        for frame in value["frames"]:
            frame["bbox"] = [0.0, 1.0, 0.0, 1.0]  # what real_to_nerf.py writes where it looked for none

    for part in nerface_files.PARTS:
        edit_json(folder / f"transforms_{part}.json", whole)
    with pytest.raises(VrmmError, match="has no boxes of the face to tell its scale from; give metres_per_unit"):
        _reader(folder, metres=0.0)
    assert _reader(folder, metres=2.0).frames()
    with pytest.raises(VrmmError, match="metres_per_unit is -1.0"):
        _reader(folder, metres=-1.0)


def test_folders_that_are_found(folder: Path, tmp_path: Path) -> None:
    assert NerFaceReader.captures_under(tmp_path) == {"person_1": folder}
    assert NerFaceReader.captures_under(folder) == {"person_1": folder}
    assert NerFaceReader.captures_under(folder / "train") == {}


def _frame(key: str, value: object):
    return lambda document: document["frames"][1].__setitem__(key, value)


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.update(intrinsics=[NAN, 1, 1, 1]), "transforms_train.json: intrinsics holds NaN"),
        (lambda value: value.update(intrinsics=[0.0, 1, 1, 1]), "a focal length other than zero"),
        (lambda value: value.update(intrinsics=[-9.0, 9, 0.5, 0.5]), "is another camera than that of train"),
        (lambda value: value.pop("intrinsics"), "transforms_train.json lacks the key 'intrinsics'"),
        (_frame("transform_matrix", [[NAN] * 4] * 4), r"frames\[1\]: transform_matrix holds NaN"),
        (_frame("transform_matrix", np.diag([1, 1, 3, 1.0]).tolist()), "transform_matrix is no rotation"),
        (_frame("file_path", "./train/f_0000"), r"frames\[1\]: file_path: frame 0 is listed a second time"),
        (_frame("file_path", "./train/front"), "a name that ends with the frame's number"),
        (lambda value: value["frames"][1].pop("expression"), r"frames\[1\] has no inline expression"),
    ],
)
def test_bad_numbers_are_named_at_once(folder: Path, change, message: str) -> None:
    edit_json(folder / "transforms_train.json", change)
    with pytest.raises(VrmmError, match=message):
        _reader(folder)


@pytest.mark.parametrize("name", ["./../secret/f_0009", "/etc/f_0009"])
def test_nothing_outside_of_the_folder_is_read(folder: Path, name: str) -> None:
    write_picture(folder.parent / "secret" / "f_0009.png", SCENE.stored(0))
    edit_json(folder / "transforms_train.json", _frame("file_path", name))
    reader = _reader(folder, Selection(frames=FrameRange.parse("9")))
    with pytest.raises(VrmmError, match=r"frames\[1\]: file_path is .*, which leads out of"):
        reader.members(reader.frames()[0])


def test_names_with_their_extension(folder: Path) -> None:
    edit_json(folder / "transforms_train.json", _frame("file_path", "./train/f_0001.png"))
    reader = _reader(folder)
    np.testing.assert_allclose(spots(reader, reader.frames()[2]), by_x(SCENE.pixels(0)), atol=0.01)


def test_other_things_that_are_missing_or_contradict(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match="has no frames in transforms_train.json"):
        _reader(tmp_path)
    with pytest.raises(VrmmError, match="has no inline expression, so it is not NerFace's"):
        _reader(insta_files.write(tmp_path / "insta", SCENE))
    write_picture(folder / "train" / "f_0002.png", SCENE.stored(0)[:40])
    reader = _reader(folder)
    with pytest.raises(VrmmError, match="f_0002.png is 96x40, but camera camera is calibrated for 96x80"):
        reader.members(reader.frames()[3])
    for part in nerface_files.PARTS:
        for picture in (folder / part).iterdir():
            picture.unlink()
    with pytest.raises(VrmmError, match="has none of the pictures that its frames name"):
        _reader(folder)
