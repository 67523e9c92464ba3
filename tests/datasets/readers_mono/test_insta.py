"""INSTA's videos read back, and look-alikes told apart."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.readers.insta import Axes, InstaOptions, InstaReader
from datasets.readers.reader import FrameRange, Selection
from tests.datasets.readers_mono import insta_files, nerface_files, vhap_files
from tests.datasets.readers_mono.scene import (
    POINTS,
    Scene,
    arrays,
    by_x,
    check_picture,
    edit_json,
    only_camera,
    seen_by_model,
    seen_by_pose,
    spots,
    write_picture,
)

SCENE = Scene()


def _reader(folder: Path, selection: Selection | None = None, **options) -> InstaReader:
    return InstaReader(folder, selection or Selection(), InstaOptions(**options))


def _everything(folder: Path) -> None:
    reader = _reader(folder)
    for frame in reader.frames():
        reader.members(frame)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return insta_files.write(tmp_path / "wojtek_1", SCENE)


def test_known_points_are_seen_where_the_original_sees_them(folder: Path) -> None:
    """OpenCV axes in a file that looks like OpenGL's, rays through pixel centres at halves, frames out of order."""
    document = json.loads((folder / "transforms.json").read_text())
    records = {int(record["file_path"][7:12]): record for record in document["frames"]}
    assert list(records) != sorted(records)
    reader = _reader(folder)
    assert [frame.index for frame in reader.frames()] == [0, 1, 2, 3, 4]
    for number, frame in enumerate(reader.frames()):
        original = insta_files.original_pixels(document, records[number], POINTS) + 0.5
        np.testing.assert_allclose(original, SCENE.pixels(number), atol=1e-9)
        np.testing.assert_allclose(seen_by_pose(reader, frame), original, atol=1e-6)
        np.testing.assert_allclose(seen_by_model(reader, frame), original, atol=1e-6)
        np.testing.assert_allclose(spots(reader, frame), by_x(original), atol=0.01)  # 8-bit rounding
    distance = np.linalg.norm(only_camera(reader.info).center)
    assert distance == pytest.approx(np.linalg.norm(SCENE.head(2)[:, 3]), abs=0.02), "metres"


def test_members(folder: Path) -> None:
    """The alpha channel is the mask; the mesh of the tracker is seen where the head is."""
    reader = _reader(folder)
    frame = reader.frames()[3]
    members = reader.members(frame)
    assert set(members) == {"camera.rgb.png", "camera.mask.png", "geom.npz"}
    assert members["camera.rgb.png"] == (folder / "images" / "00003.png").read_bytes(), "the original bytes"
    check_picture(members, SCENE, 3)
    geometry = arrays(members["geom.npz"])
    np.testing.assert_allclose(geometry["expression"], insta_files.expression(3), atol=1e-8)
    np.testing.assert_allclose(geometry["vertices"], insta_files.vertices(3), atol=1e-7)
    assert not frame.light.known


def test_test_frames_are_held_out(folder: Path) -> None:
    assert {frame.index: frame.split for frame in _reader(folder).frames() if frame.split != "train"} == {
        1: "held_out",
        2: "held_out",
    }
    (folder / "transforms.json").unlink()
    without = _reader(folder)
    assert [frame.split for frame in without.frames()] == ["train", "held_out", "held_out", "train", "train"]
    for part in ("train", "val"):
        (folder / f"transforms_{part}.json").unlink()
    assert [frame.index for frame in _reader(folder).frames()] == [1, 2]


def test_a_range_moves_nothing(folder: Path) -> None:
    part = _reader(folder, Selection(frames=FrameRange.parse("1:5:3")))
    assert [frame.index for frame in part.frames()] == [1, 4]
    np.testing.assert_array_equal(
        only_camera(part.info).world_to_camera, only_camera(_reader(folder).info).world_to_camera
    )


def test_folders_that_are_found(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert InstaReader.captures_under(tmp_path) == {"wojtek_1": folder}
    assert InstaReader.captures_under(folder) == {"wojtek_1": folder}
    assert InstaReader.captures_under(folder / "images") == {}


def test_look_alikes_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match=r"frames\[0\] has a timestep_index, so VHAP wrote it; .* format vhap"):
        _reader(vhap_files.write(tmp_path / "vhap", SCENE))
    with pytest.raises(VrmmError, match=r"frames\[0\] has an inline expression, so it is NerFace's; .* nerface"):
        _reader(nerface_files.write(tmp_path / "nerface", SCENE))
    assert {axes.value for axes in Axes} == VALUES_OF_AXES


VALUES_OF_AXES = {"auto", "opencv", "opengl"}


def _strip(document: dict) -> None:
    for record in document["frames"]:
        del record["mesh_path"], record["exp_path"]


def _to_opengl(document: dict) -> None:
    for record in document["frames"]:
        record["transform_matrix"] = (np.array(record["transform_matrix"]) @ np.diag([1, -1, -1, 1])).tolist()


def test_axes_of_other_files_are_asked_for(folder: Path) -> None:
    edit_json(folder / "transforms.json", _strip)
    with pytest.raises(VrmmError, match="its axes are not known; say axes=opencv or axes=opengl"):
        _reader(folder)
    np.testing.assert_allclose(
        seen_by_pose(_reader(folder, axes=Axes.opencv), _reader(folder, axes=Axes.opencv).frames()[1]),
        SCENE.pixels(1),
        atol=1e-6,
    )
    edit_json(folder / "transforms.json", _to_opengl)
    reader = _reader(folder, axes=Axes.opengl)
    np.testing.assert_allclose(seen_by_pose(reader, reader.frames()[1]), SCENE.pixels(1), atol=1e-6)
    assert set(reader.members(reader.frames()[1])) == {"camera.rgb.png", "camera.mask.png", "geom.npz"}


def test_instant_ngp_defaults(folder: Path) -> None:
    """A file with no more than a field of view, and pictures named without their extension."""

    def change(document: dict) -> None:
        for name in ("fl_x", "fl_y", "cx", "cy"):
            del document[name]
        for record in document["frames"]:
            record["file_path"] = record["file_path"].removesuffix(".png")

    edit_json(folder / "transforms.json", change)
    reader = _reader(folder)
    focal = SCENE.intrinsics[0, 0]
    expected = [[focal, 0.0, SCENE.width / 2], [0.0, focal, SCENE.height / 2], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(only_camera(reader.info).intrinsics, expected)
    reader.members(reader.frames()[0])


def test_lens_distortion_is_taken_out(folder: Path) -> None:
    edit_json(folder / "transforms.json", lambda document: document.update(k1=-0.3, k2=0.05))
    reader = _reader(folder)
    distorted = spots(_reader(insta_files.write(folder.parent / "plain", SCENE)), reader.frames()[0])
    center, focal = SCENE.intrinsics[:2, 2], np.diag(SCENE.intrinsics)[:2]
    straight = spots(reader, reader.frames()[0])
    r2 = (((straight - center) / focal) ** 2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        center + (straight - center) * (1 - 0.3 * r2 + 0.05 * r2**2), distorted, atol=0.05
    )  # resampling
    assert np.abs(straight - distorted).max() > 0.2


def _frame(key: str, value: object):
    return lambda document: document["frames"][2].__setitem__(key, value)


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.update(fl_x=NAN), "transforms.json: fl_x holds NaN"),
        (lambda document: document.update(fl_x=-100.0), "fl_x is -100.0 where a positive focal length"),
        (lambda document: document.pop("w"), "lacks the key 'w'"),
        (lambda document: document.update(h=80.5), "h is 80.5 where a number of pixels"),
        (lambda document: document.update(frames=[]), "has no frames in transforms.json"),
        (lambda document: document.update(frames={}), "frames is {} where a list belongs"),
        (_frame("transform_matrix", [[NAN] * 4] * 4), r"frames\[2\]: transform_matrix holds NaN"),
        (_frame("transform_matrix", np.eye(3).tolist()), "transform_matrix is .* where 4x4 or 3x4 numbers belong"),
        (_frame("transform_matrix", np.diag([1, 1, 2, 1.0]).tolist()), r"frames\[2\]: transform_matrix is no rotation"),
        (_frame("transform_matrix", np.diag([-1, 1, 1, 1.0]).tolist()), r"frames\[2\]: .* mirrors the head"),
        (_frame("file_path", "images/00003.png"), r"frames\[2\]: file_path: frame 3 is listed a second time"),
        (_frame("file_path", "images/front.png"), "a name with the frame's number"),
        (_frame("w", 64.0), r"frames\[2\] has another camera"),
    ],
)
def test_bad_numbers_are_named_at_once(folder: Path, change, message: str) -> None:
    edit_json(folder / "transforms.json", change)
    with pytest.raises(VrmmError, match=message):
        _reader(folder)


@pytest.mark.parametrize("key", ["file_path", "exp_path", "mesh_path"])
@pytest.mark.parametrize(
    "name", ["../secret/00009.png", "/etc/passwd9", "//etc/passwd9", "images/../../secret/00009.png"]
)
def test_nothing_outside_of_the_folder_is_read(folder: Path, key: str, name: str) -> None:
    write_picture(folder.parent / "secret" / "00009.png", SCENE.rgba(0))
    edit_json(folder / "transforms.json", _frame(key, name))
    with pytest.raises(VrmmError, match=rf"frames\[2\]: {key} is .*, which leads out of"):
        _everything(folder)


def test_a_link_that_the_user_made_is_followed(folder: Path) -> None:
    (folder / "images").rename(folder.parent / "elsewhere")
    (folder / "images").symlink_to(folder.parent / "elsewhere")
    _everything(folder)


def test_bad_files_of_a_frame_are_named(folder: Path) -> None:
    reader = _reader(folder)
    first, second, third, fourth, fifth = reader.frames()
    (folder / "images" / "00000.png").unlink()
    with pytest.raises(VrmmError, match="images/00000.png, which .* names, cannot be read"):
        reader.members(first)
    write_picture(folder / "images" / "00001.png", SCENE.rgba(0)[:40])
    with pytest.raises(VrmmError, match="images/00001.png is 96x40, but camera camera is calibrated for 96x80"):
        reader.members(second)
    (folder / "flame" / "exp" / "00002.txt").write_text("0.1\nnan\n")
    with pytest.raises(VrmmError, match="exp/00002.txt holds NaN"):
        reader.members(third)
    (folder / "meshes" / "00003.obj").write_text("v 0.1 0.2\n")
    with pytest.raises(VrmmError, match="meshes/00003.obj: v is .* where Nx3 numbers belong"):
        reader.members(fourth)
    damaged = (folder / "images" / "00004.png").read_bytes()[:3000]
    (folder / "images" / "00004.png").write_bytes(damaged)
    with pytest.raises(VrmmError, match="images/00004.png breaks off after 3000 bytes"):
        reader.members(fifth)
