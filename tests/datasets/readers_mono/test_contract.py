"""What every monocular reader promises, whatever its format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datasets.capture import SCHEMA_VERSION
from datasets.errors import VrmmError
from datasets.loader import FrameLoader, LoaderConfig
from datasets.readers.reader import FrameRange, Selection
from datasets.readers.registry import find_captures, open_reader
from datasets.readers.tracked import TrackedReader
from datasets.shards import build_shards, open_shards, verify_shards
from datasets.views import read_frame
from tests.datasets.readers import truth
from tests.datasets.readers_mono import (
    imavatar_files,
    insta_files,
    mononphm_files,
    nerface_files,
    vhap_files,
    video_files,
)
from tests.datasets.readers_mono.scene import Scene, bomb, edit_json

SCENE = Scene()
WRITERS: dict[str, Callable[[Path], Path]] = {
    "imavatar": lambda root: imavatar_files.write(root, {"train": SCENE}, subject="anna"),
    "insta": lambda root: insta_files.write(root / "anna", SCENE),
    "vhap": lambda root: vhap_files.write(root / "anna", SCENE),
    "nerface": lambda root: nerface_files.write(root / "anna", SCENE),
    "mononphm": lambda root: mononphm_files.write(root / "anna", SCENE),
    "video": lambda root: video_files.write_folder(root / "anna", SCENE),
}
FIRST = {"vhap": 0, "nerface": nerface_files.PARTS["test"][0]}
"""Frame of the scene that the first picture of the first frame shows, where it is not 0."""

formats = pytest.mark.parametrize("name", list(WRITERS))


def _open(name: str, root: Path, selection: Selection | None = None) -> TrackedReader:
    (place,) = find_captures(name, root, ["anna"]).values()
    reader = open_reader(name, place, selection)
    assert isinstance(reader, TrackedReader)
    return reader


@formats
def test_opening_reads_headers_of_pictures_at_most(name: str, tmp_path: Path) -> None:
    """A long video opens as fast as a short one; the pictures are read one by one, when they are wanted."""
    WRITERS[name](tmp_path)
    for picture in tmp_path.rglob("*.png"):
        picture.write_bytes(picture.read_bytes()[:64])
    reader = _open(name, tmp_path)
    frames = reader.frames()
    assert frames
    with pytest.raises(VrmmError, match=r"\.png breaks off after 64 bytes"):
        reader.members(frames[0])


@formats
def test_the_same_arguments_give_the_same_capture(name: str, tmp_path: Path) -> None:
    """Several processes import one capture together."""
    WRITERS[name](tmp_path)
    one, other = _open(name, tmp_path), _open(name, tmp_path)
    assert one.info.to_json() == other.info.to_json()
    assert [frame.key for frame in one.frames()] == [frame.key for frame in other.frames()]
    backwards = {frame.key: other.members(frame) for frame in reversed(other.frames())}
    assert all(one.members(frame) == backwards[frame.key] for frame in one.frames())
    frame = one.frames()[-1]
    part = _open(name, tmp_path, Selection(frames=FrameRange(start=frame.index, stop=frame.index + 1)))
    assert part.info.to_json() == one.info.to_json(), "a part lies in the same world"
    assert part.members(frame) == backwards[frame.key]


@formats
def test_the_description(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    info = _open(name, tmp_path).info
    assert info.to_json()["schema_version"] == SCHEMA_VERSION
    assert info.subjects == ("anna",)
    assert info.name == f"{name}-anna"
    assert info.licence
    assert "\n" not in info.licence
    assert info.light_positions.shape == (0, 3)
    assert not info.encoding.matted
    for camera in info.cameras:
        rotation = camera.world_to_camera[:, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(rotation) > 0
        assert camera.center[2] > 0, "in front of the face"
        assert -rotation[1, 1] > 0.9, "upright"
        (seen,) = camera.project(np.zeros((1, 3)))
        assert np.abs(seen - [camera.width / 2, camera.height / 2]).max() < 0.25 * camera.width, "the head is seen"


@formats
def test_shards_hold_it_all(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "source")
    reader = _open(name, tmp_path / "source")
    build_shards(reader, tmp_path / "shards", samples_per_shard=2)
    assert verify_shards(tmp_path / "shards") == []
    shards = open_shards(tmp_path / "shards")
    frame = reader.frames()[0]
    assert not shards.frame(shards.sample(frame.key)).light.known
    assert shards.frame(0).light_pattern == "unknown"
    camera = reader.info.cameras[0]
    batch = read_frame(shards, frame.key, [camera.name], input_cameras=[camera.name])
    number = FIRST.get(name, 0)
    mask = batch.target_masks[0, 0, 0].numpy()
    image = batch.target_images[0, 0].numpy().transpose(1, 2, 0)
    covered = mask > 0.0
    seen = truth.srgb(image[covered] / mask[covered, None])
    assert np.abs(seen - truth.srgb(SCENE.radiance(number)[covered])).max() <= 0.51 / 255.0
    assert (image[~covered] == 0.0).all(), "the background is black"
    loader = FrameLoader(
        LoaderConfig(shards=str(tmp_path / "shards"), input_cameras=[camera.name], target_views=1, batch_frames=1)
    )
    assert len(loader.frames_of_unknown_light()) == loader.frames


@formats
def test_a_decompression_bomb_is_refused(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    reader = _open(name, tmp_path)
    for picture in tmp_path.rglob("*.png"):
        picture.write_bytes(bomb())
    with pytest.raises(VrmmError, match="png declares 60000x60000 pixels"):
        reader.members(reader.frames()[0])


@formats
def test_nothing_there_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(VrmmError, match=f"holds no {name} capture"):
        find_captures(name, tmp_path)
    WRITERS[name](tmp_path)
    with pytest.raises(VrmmError, match="has no subject otto; it has anna"):
        find_captures(name, tmp_path, ["otto"])
    for path in tmp_path.rglob("*.json"):
        path.write_text("{")
        with pytest.raises(VrmmError, match="is not .*json|json is not"):
            _open(name, tmp_path)
        break


def test_options_are_given_as_text(tmp_path: Path) -> None:
    folder = WRITERS["insta"](tmp_path)
    edit_json(folder / "transforms.json", lambda document: [record.pop("mesh_path") for record in document["frames"]])
    edit_json(folder / "transforms.json", lambda document: [record.pop("exp_path") for record in document["frames"]])
    assert open_reader("insta", folder, overrides=["axes=opencv"]).frames()
    with pytest.raises(VrmmError, match="axes"):
        open_reader("insta", folder, overrides=["axes=left"])
    with pytest.raises(VrmmError, match="axis.*axes|unknown"):
        open_reader("insta", folder, overrides=["axis=opencv"])
    videos = imavatar_files.write(tmp_path / "b", {"MVI_1810": SCENE, "MVI_1812": SCENE})
    held_out = open_reader("imavatar", videos, overrides=["held_out=[MVI_1812]"]).frames()
    assert {frame.sequence for frame in held_out if frame.split == "held_out"} == {"MVI_1812"}


def test_errors_are_one_line(tmp_path: Path) -> None:
    folder = WRITERS["mononphm"](tmp_path)
    checkpoint = next(folder.rglob("00002_cam_params_opencv.npz"))
    np.savez(checkpoint, R=np.zeros((9, 9)), t=np.zeros((1, 3)), K=np.eye(3)[None])
    with pytest.raises(VrmmError) as caught:
        _open("mononphm", tmp_path).frames()
    assert "\n" not in str(caught.value)


def test_a_part_of_the_cameras(tmp_path: Path) -> None:
    WRITERS["vhap"](tmp_path)
    names = list(vhap_files.CAMERAS)
    part = _open("vhap", tmp_path, Selection(cameras=(names[1],)))
    whole = {camera.name: camera.to_json() for camera in _open("vhap", tmp_path).info.cameras}
    assert [camera.to_json() for camera in part.info.cameras] == [whole[names[1]]]
