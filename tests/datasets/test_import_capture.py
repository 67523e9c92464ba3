"""From a capture on disk to shards: what is chosen, made smaller, held out, and kept after an interruption."""

from pathlib import Path

import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.images import decode_mask, decode_radiance
from datasets.import_capture import ImportRequest, import_captures
from datasets.readers.reader import FrameRange, Selection
from datasets.shards import ShardSet, open_shards, verify_shards
from datasets.views import read_frame
from tests.datasets.readers import goliath_files, truth
from tests.datasets.readers_mono import imavatar_files
from tests.datasets.readers_mono.scene import Scene, arrays


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> goliath_files.GoliathFiles:
    return goliath_files.write(tmp_path_factory.mktemp("import"), kind="png")


def _import(source: Path, out: Path, **changes) -> ShardSet:
    request = ImportRequest(format="goliath", source=source, **changes)
    import_captures(request, out, samples_per_shard=2, processes=0)
    assert verify_shards(out) == []
    return open_shards(out)


def test_a_capture_becomes_shards_with_its_original_bytes(files, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    request = ImportRequest(format="goliath", source=files.folder)
    import_captures(request, tmp_path, samples_per_shard=2, processes=0, report=lambda *a: told.append(a))
    assert told == [(2, 5), (4, 5), (5, 5)]
    shards = open_shards(tmp_path)
    assert [shards.key(n) for n in range(len(shards))] == [f"ABC123_head_{n:06d}" for n in goliath_files.FRAMES]
    assert shards.info.licence.endswith("CC BY-NC 4.0")
    camera = files.cameras[2]
    wanted = truth.picture_bytes(goliath_files.stored(truth.radiance(camera, 101)), "png")
    assert shards.read(shards.sample("ABC123_head_000101"), f"{camera.name}.rgb.png") == wanted


def test_what_training_reads_has_no_background(files, tmp_path: Path) -> None:
    """The encoding says that the pictures are not cut out, so reading them cuts them out, at any size."""
    shards = _import(files.folder, tmp_path, selection=Selection(frames=FrameRange.parse("100")))
    camera = files.cameras[1]
    inputs = [c.name for c in files.cameras[:1]]
    batch = read_frame(shards, "ABC123_head_000100", [camera.name], input_cameras=inputs)
    mask = truth.mask(camera)
    image = batch.target_images[0, 0].numpy().transpose(1, 2, 0)
    # Half a stored level, times the gain.
    assert np.abs(image - truth.radiance(camera, 100) * mask[..., None]).max() < 0.51 / 255 * 1.6
    small = read_frame(shards, "ABC123_head_000100", [camera.name], 64, input_cameras=inputs)
    assert small.target_images[0, 0].numpy()[:, small.target_masks[0, 0, 0].numpy() == 0.0].max() == 0.0


def test_cameras_frames_and_people_are_chosen_and_held_out(files, tmp_path: Path) -> None:
    shards = _import(
        files.folder,
        tmp_path,
        selection=Selection(cameras=("400013", "400281"), frames=FrameRange.parse("101::2")),
        held_out_cameras=("400281",),
        held_out_subjects=("ABC123",),
    )
    assert [shards.key(n)[-3:] for n in range(len(shards))] == ["101", "103"]
    assert {camera.name: camera.split for camera in shards.info.cameras} == {"400013": "train", "400281": "held_out"}
    assert shards.info.subject_splits == {"ABC123": "held_out"}
    assert shards.images[0].keys() == {"400013", "400281"}


def test_smaller_pictures_are_averages_of_radiance_on_black(files, tmp_path: Path) -> None:
    shards = _import(files.folder, tmp_path, height=64, selection=Selection(frames=FrameRange.parse("103")))
    camera = files.cameras[0]
    small = shards.info.camera(camera.name)
    assert (small.width, small.height) == (42, 64)
    image = decode_radiance(shards.read(0, f"{camera.name}.rgb.png"), "png", shards.info.encoding_of(small))
    mask = decode_mask(shards.read(0, f"{camera.name}.mask.png"))
    wanted = truth.radiance(camera, 103) * truth.mask(camera)[..., None]
    # Pairs of rows average exactly; 83 columns onto 42 do not, so whole rows are compared. Two roundings to 8 bits.
    rows = wanted.reshape(64, 2, 83, 3).mean(axis=(1, 2))
    assert np.abs(image.mean(axis=1) - rows).max() < 2 * 0.51 / 255 * 1.6
    assert image[mask == 0.0].max() < 1e-6, "no background bleeds over the rim"
    assert shards.info.encoding_of(small).matted
    seen, full = small.project(truth.POINTS), camera.project(truth.POINTS)
    assert np.abs(seen[:, 1] * 2 - full[:, 1]).max() < 1.0, "the rows of the same points"


def test_landmarks_and_boxes_shrink_with_their_pictures(tmp_path: Path) -> None:
    scene = Scene()
    imavatar_files.write(tmp_path / "source", {"train": scene}, subject="anna")
    members = {}
    for height in (0, scene.height // 2):
        request = ImportRequest(format="imavatar", source=tmp_path / "source", height=height)
        (folder,) = import_captures(request, tmp_path / str(height), processes=0)
        shards = open_shards(folder)
        members[height] = {name: arrays(shards.read(0, name)) for name in ("lmk.npz", "geom.npz")}
    whole, small = members.values()
    np.testing.assert_allclose(small["lmk.npz"]["points"], whole["lmk.npz"]["points"] / 2.0, rtol=1e-6)
    np.testing.assert_allclose(small["geom.npz"]["face_box"], whole["geom.npz"]["face_box"] / 2.0)
    for name in ("model_to_world", "expression", "jaw_pose"):
        np.testing.assert_array_equal(small["geom.npz"][name], whole["geom.npz"][name])


def test_a_folder_of_people_becomes_a_folder_for_each(tmp_path: Path) -> None:
    for subject in ("ABC123", "DEF456"):
        goliath_files.write(tmp_path / "raw", kind="png", subject=subject)
    request = ImportRequest(format="goliath", source=tmp_path / "raw", subjects=("DEF456",))
    assert list(import_captures(request, tmp_path / "one", processes=0)) == [tmp_path / "one" / "DEF456"]
    everyone = ImportRequest(format="goliath", source=tmp_path / "raw", selection=Selection(cameras=("400002",)))
    folders = import_captures(everyone, tmp_path / "all", processes=0)
    assert [open_shards(folder).info.subjects for folder in folders] == [("ABC123",), ("DEF456",)]


def test_an_interrupted_import_keeps_finished_shards(files, tmp_path: Path) -> None:
    """A picture that is damaged stops it; mended, the same command goes on where it stopped."""
    folder = goliath_files.write(tmp_path, kind="png").folder
    archive = folder / "image" / "cam400013.zip"
    whole = archive.read_bytes()
    goliath_files.write_camera(folder, files.cameras[1], {103: np.zeros((9, 9, 3), np.uint8)}, "png")
    with pytest.raises(VrmmError, match="cam400013/000103.png is 9x9"):
        _import(folder, tmp_path / "out")
    (kept,) = (tmp_path / "out").glob("*.tar")
    stamp, inode = kept.stat().st_mtime_ns, kept.stat().st_ino
    archive.write_bytes(whole)
    # The first shard was written when this camera had one picture, so what it holds tells whether it was kept.
    assert len(_import(folder, tmp_path / "out")) == 5
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == (stamp, inode)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selection": Selection(frames=FrameRange.parse("500:"))}, "no frame of .* is left to import"),
        ({"selection": Selection(cameras=("7",))}, "has no images of camera 7; it has 400002, 400013"),
        ({"held_out_cameras": ("400099",)}, "has no camera 400099 to hold out"),
        ({"held_out_subjects": ("nobody",)}, "has no subject nobody to hold out; it has ABC123"),
        ({"subjects": ("nobody",)}, "has no subject nobody; it has ABC123"),
        ({"height": 129}, "height 129 is not between 1 and the 128 pixels of camera 400002"),
        ({"overrides": ("front_camera=400001",)}, "front_camera 400001 is not in"),
        ({"overrides": ("frontcamera=400002",)}, "front_camera"),
        ({"format": "golaith"}, "unknown capture format 'golaith'; did you mean goliath"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(files, tmp_path: Path, changes: dict, message: str) -> None:
    request = ImportRequest(**{"format": "goliath", "source": files.folder, **changes})
    with pytest.raises(VrmmError, match=message):
        import_captures(request, tmp_path / "out", processes=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [(":", [0, 3, 4, 7, 9]), ("3:9", [3, 4, 7]), ("::2", [0, 4, 9]), ("4", [4]), ("1:8:3", [3]), ("4:", [4, 7, 9])],
)
def test_ranges_of_frames(text: str, numbers: list[int]) -> None:
    assert FrameRange.parse(text).of([9, 0, 3, 4, 7]) == numbers


@pytest.mark.parametrize("text", ["", "a:b", "1:2:3:4", "5:5", "9:3", "0:9:0", "-4:", "1.5", "1:2:-1"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(VrmmError, match="frames"):
        FrameRange.parse(text)
