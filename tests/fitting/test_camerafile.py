"""Camera files: what is written is read, and nothing wrong gets through."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from fitting.camerafile import PhotoCamera, read_camera_file, write_camera_file

LENS = [[300.0, 0, 48], [0, 300, 48], [0, 0, 1]]
PLACE = np.eye(4)[:3].tolist()
GOOD = {"intrinsics": LENS, "width": 96, "height": 96, "world_to_camera": PLACE}


def test_round_trip(tmp_path: Path) -> None:
    camera = PhotoCamera(intrinsics=np.array(LENS), width=96, height=90, world_to_camera=np.array(PLACE))
    lens_only = PhotoCamera(intrinsics=np.array(LENS), width=96, height=90, world_to_camera=None)
    for given in (camera, lens_only):
        write_camera_file(tmp_path / "c.json", {"a.png": given})
        found = read_camera_file(tmp_path / "c.json")["a.png"]
        assert found.to_json() == given.to_json()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "not a camera file"),
        ({}, "not a camera file"),
        ({"a.png": 3}, "a.png is not a camera"),
        ({"a.png": {**GOOD, "width": "wide"}}, "a.png is not a camera"),
        ({"a.png": {"width": 9, "height": 9}}, "intrinsics"),
        ({"a.png": {**GOOD, "intrinsics": [[1, 2], [3, 4]]}}, "3×3"),
        ({"a.png": {**GOOD, "intrinsics": (-np.array(LENS)).tolist()}}, "positive focal"),
        ({"a.png": {**GOOD, "world_to_camera": (2 * np.eye(4)[:3]).tolist()}}, "rotation and a translation"),
        ({"a.png": {**GOOD, "world_to_camera": np.diag([1.0, 1, -1, 1])[:3].tolist()}}, "rotation and a translation"),
        ({"a.png": GOOD, "b.png": {**GOOD, "world_to_camera": None}}, "b.png has no world_to_camera"),
    ],
)
def test_bad_files_give_one_line(tmp_path: Path, value: object, message: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps(value))
    with pytest.raises(VrmmError, match=message) as caught:
        read_camera_file(tmp_path / "c.json")
    assert "\n" not in str(caught.value)
