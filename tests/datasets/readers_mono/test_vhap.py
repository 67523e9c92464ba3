"""Exports of VHAP read back: several cameras, OpenGL axes, FLAME's parameters."""

from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.readers.reader import NoOptions, Selection
from datasets.readers.vhap import VhapReader
from tests.datasets.readers_mono import insta_files, vhap_files
from tests.datasets.readers_mono.scene import POINTS, Scene, arrays, check_picture, edit_json

SCENE = Scene()
FIRST, SECOND = vhap_files.CAMERAS


def _reader(folder: Path, selection: Selection | None = None) -> VhapReader:
    return VhapReader(folder, selection or Selection(), NoOptions())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return vhap_files.write(tmp_path / "306", SCENE)


def test_known_points_are_seen_by_both_cameras(folder: Path) -> None:
    reader = _reader(folder)
    assert [camera.name for camera in reader.info.cameras] == [FIRST, SECOND]
    for frame in reader.frames():
        motion = arrays(reader.members(frame)["geom.npz"])["model_to_world"]
        world = POINTS @ motion[:, :3].T + motion[:, 3]
        for camera in reader.info.cameras:
            assert np.linalg.det(camera.world_to_camera[:, :3]) > 0.99
            seen = SCENE.pixels(vhap_files.CAMERAS[camera.name])
            np.testing.assert_allclose(camera.project(world), seen, atol=1e-6)


def test_members(folder: Path) -> None:
    reader = _reader(folder)
    frame = reader.frames()[1]
    members = reader.members(frame)
    for name, number in vhap_files.CAMERAS.items():
        check_picture(members, SCENE, number, name=name)
    geometry, true = arrays(members["geom.npz"]), vhap_files.parameters(1)
    for theirs, ours in (
        ("translation", "translation"),
        ("rotation", "global_pose"),
        ("neck_pose", "neck_pose"),
        ("jaw_pose", "jaw_pose"),
        ("eyes_pose", "eye_pose"),
        ("shape", "shape"),
        ("expr", "expression"),
    ):
        np.testing.assert_array_equal(geometry[ours], true[theirs].ravel())
    np.testing.assert_allclose(geometry["static_offset"], true["static_offset"][0], rtol=1e-6)
    assert frame.pose is None
    assert not frame.light.known


def test_splits_of_cameras_and_frames(folder: Path) -> None:
    reader = _reader(folder)
    assert {camera.name: camera.split for camera in reader.info.cameras} == {FIRST: "train", SECOND: "held_out"}
    assert [frame.split for frame in reader.frames()] == ["train", "train", "held_out"]


def test_one_camera_alone(folder: Path) -> None:
    reader = _reader(folder, Selection(cameras=(SECOND,)))
    assert set(reader.members(reader.frames()[0])) == {f"{SECOND}.rgb.png", f"{SECOND}.mask.png", "geom.npz"}
    with pytest.raises(VrmmError, match=f"has no images of camera 7; it has {FIRST}, {SECOND}"):
        _reader(folder, Selection(cameras=("7",)))


def _frame(key: str, value: object):
    return lambda document: document["frames"][1].__setitem__(key, value)


def _shift(document: dict) -> None:
    document["frames"][1]["transform_matrix"][0][3] += 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_shift, rf"frames\[1\]: camera {FIRST} has moved or zoomed"),
        (_frame("fl_x", 300.0), r"frames\[1\]: camera .* has moved or zoomed"),
        (_frame("w", 97), r"frames\[1\]: camera .* has moved or zoomed"),
        (_frame("timestep_index", 0), rf"frames\[1\] lists timestep 0 of camera {FIRST} a second time"),
        (_frame("camera_id", "..."), "cannot be part of a sample key"),
        (_frame("transform_matrix", np.diag([-1.0, 1, 1, 1]).tolist()), r"frames\[1\]: .* mirrors the head"),
        (lambda document: document["frames"][1].pop("camera_id"), r"frames\[1\] lacks the key 'camera_id'"),
    ],
)
def test_bad_numbers_are_named_at_once(folder: Path, change, message: str) -> None:
    edit_json(folder / "transforms.json", change)
    with pytest.raises(VrmmError, match=message):
        _reader(folder)


def test_files_of_others(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match=r"frames\[0\] has no timestep_index, so VHAP did not write it"):
        _reader(insta_files.write(tmp_path / "insta", SCENE))
    edit_json(folder / "transforms.json", lambda document: document["frames"].pop(1))
    reader = _reader(folder)
    with pytest.raises(VrmmError, match=f"has no picture of camera {FIRST} at timestep 1"):
        reader.members(reader.frames()[1])
    (folder / "flame_param" / "00000.npz").unlink()
    vhap_files.write_parameters(folder / "flame_param" / "00000.npz", {"expr": np.zeros((1, 100))})
    with pytest.raises(VrmmError, match="00000.npz lacks the array 'translation'"):
        reader.members(reader.frames()[0])
