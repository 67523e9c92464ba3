"""RenderMe-360 as it lies on disk: HDF5 of encoded pictures, camera-to-world matrices, OpenCV lenses, even light."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from datasets.errors import VrmmError
from datasets.images import decode_mask, decode_radiance
from datasets.readers import hdf5
from datasets.readers.reader import FrameRange, Selection
from datasets.readers.registry import find_captures, open_reader
from tests.datasets.readers import renderme360_files, truth
from tests.datasets.readers_mono.scene import bomb


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> renderme360_files.RenderMe360Files:
    return renderme360_files.write(tmp_path_factory.mktemp("renderme360"))


@pytest.fixture
def broken(tmp_path: Path) -> renderme360_files.RenderMe360Files:
    return renderme360_files.write(tmp_path)


def _place(files: renderme360_files.RenderMe360Files) -> Path:
    return files.raw().parent


def test_cameras_see_known_points_where_the_truth_does(files) -> None:
    """RT is camera to world, K has whole-numbered pixel centres, and camera 25 is in front of a rig all around."""
    reader = open_reader("renderme360", _place(files))
    ours = reader.stage.points(files.world.points(truth.POINTS))
    np.testing.assert_allclose(ours, truth.POINTS, atol=5e-3)  # an absent camera moves the middle
    assert [camera.name for camera in reader.info.cameras] == renderme360_files.IDS
    for camera in files.cameras:
        seen = reader.info.camera(camera.name)
        assert (seen.width, seen.height) == renderme360_files.SIZE
        assert np.abs(seen.project(ours) - camera.project(truth.POINTS)).max() < 0.01
    behind = open_reader("renderme360", _place(files), overrides=["front_camera=50"])
    assert behind.info.camera("50").center[2] > 0.9


def test_pictures_keep_their_bytes_unless_the_lens_bends_them(files) -> None:
    reader = open_reader("renderme360", _place(files))
    members = reader.members(reader.frames()[1])
    for camera in files.cameras:
        stored = renderme360_files.stored(camera, 1)
        kind = "png" if camera.name == renderme360_files.BENT else "jpg"
        data = members[f"{camera.name}.rgb.{kind}"]
        error = np.abs(decode_radiance(data, kind, reader.info.encoding) - truth.radiance(camera, 1))
        if kind == "jpg":
            assert data == truth.picture_bytes(stored, "jpg")
        # sRGB is at most 2.7 times as steep in linear values; the bent one is interpolated and rounded once more.
        extra = 0.51 / 255 * 2.7 + 1e-3 if kind == "png" else 0.0
        inner = error[4:-4, 4:-4] if kind == "png" else error
        assert inner.max() < 2.7 * truth.codec_error(stored, "jpg") + extra


def test_masks_are_the_largest_of_three_values_and_may_be_absent(files) -> None:
    reader = open_reader("renderme360", _place(files))
    members = reader.members(reader.frames()[0])
    for camera in files.cameras:
        name = f"{camera.name}.mask.png"
        assert (name in members) == (camera.name != renderme360_files.WITHOUT_MASK)
        if name in members:
            error = np.abs(decode_mask(members[name]) - truth.mask(camera))
            limit = 0.02 if camera.name == renderme360_files.BENT else 0.0  # interpolated between pixels at the rim
            assert error.mean() <= limit
    assert not reader.info.encoding.matted


def test_every_part_is_a_sequence_under_even_light(files) -> None:
    reader = open_reader("renderme360", _place(files), Selection(frames=FrameRange.parse("1:")))
    assert [frame.key for frame in reader.frames()] == ["0297_e0_000001", "0297_e0_000004", "0297_s1_all_000002"]
    assert {frame.light_pattern for frame in reader.frames()} == {"uniform"}
    part = open_reader("renderme360", files.raw("s1_all"))
    assert [frame.key for frame in part.frames()] == ["0297_s1_all_000002"]
    assert len(part.members(part.frames()[0])) == 9


def test_calibration_and_masks_may_lie_in_the_same_file(files, tmp_path: Path) -> None:
    one = renderme360_files.write(tmp_path, one_file=True)
    reader, split = (open_reader("renderme360", _place(entry)) for entry in (one, files))
    assert reader.info.to_json() == split.info.to_json()
    assert [frame.key for frame in reader.frames()] == [frame.key for frame in split.frames()]
    assert reader.members(reader.frames()[3]) == split.members(split.frames()[3])
    beside = tmp_path / "beside"
    beside.mkdir()
    for path in (files.raw(), files.annotations()):
        (beside / path.name).write_bytes(path.read_bytes())
    assert open_reader("renderme360", beside).info.to_json() == split.info.to_json()


def test_cameras_that_a_release_lacks_are_not_missed(broken) -> None:
    """Keys are listed, whatever num_device says; a camera may lack some frames."""

    def remove(file: h5py.File) -> None:
        del file["Camera/32"]
        del file["Camera/50/color/1"]

    renderme360_files.edit(broken.raw(), remove)
    reader = open_reader("renderme360", _place(broken))
    assert {name.partition(".")[0] for name in reader.members(reader.frames()[1])} == {"08", "18", "25"}
    with pytest.raises(VrmmError, match="has no images of camera 59; it has 08, 18, 25, 32, 50"):
        open_reader("renderme360", _place(broken), Selection(cameras=("59",)))
    renderme360_files.edit(broken.annotations(), lambda file: file["Calibration"].pop("25"))
    renderme360_files.edit(broken.annotations("s1_all"), lambda file: file["Calibration"].pop("25"))
    without = open_reader("renderme360", _place(broken))  # the middle of the others then tells where the face is
    assert [camera.name for camera in without.info.cameras] == ["08", "18", "32", "50"]
    named = open_reader("renderme360", _place(broken), overrides=["front_camera=18"])
    assert named.info.camera("18").center[2] > 0.9


def test_captures_are_found_by_subject(files, tmp_path: Path) -> None:
    place = _place(files)
    for source in (files.folder, files.folder / "raw", place):
        assert find_captures("renderme360", source) == {"0297": place}
    assert find_captures("renderme360", files.raw()) == {"0297": files.raw()}
    for name in ("0297_e0_raw.smc", "0301_e0_raw.smc"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(VrmmError, match="holds files of 0297, 0301; put those of each into a folder of its own"):
        find_captures("renderme360", tmp_path)


def _replace(key: str, value) -> object:
    def change(file: h5py.File) -> None:
        del file[key]
        file[key] = value

    return change


def _delete(key: str) -> object:
    return lambda file: file.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_delete("Calibration"), "0297_e0_anno.smc lacks the key 'Calibration'; put 0297_e0_anno.smc beside it"),
        (_delete("Calibration/25/K"), "0297_e0_anno.smc lacks the key 'Calibration/25/K'"),
        (_replace("Calibration/25/RT", np.full((4, 4), np.nan)), "Calibration/25/RT holds NaN"),
        (_replace("Calibration/25/RT", np.eye(3)), "Calibration/25/RT is .* where 4x4 or 3x4 numbers belong"),
        (_replace("Calibration/25/RT", 2.0 * np.eye(4)), "extrinsics of camera 25 are no rotation"),
        (_replace("Calibration/25/D", np.zeros(3)), "Calibration/25/D has 3 numbers"),
        (_replace("Calibration/25/K", "matrix"), "Calibration/25/K holds objects"),
    ],
)
def test_damaged_calibrations_are_named(broken, change, message: str) -> None:
    renderme360_files.edit(broken.annotations(), change)
    with pytest.raises(VrmmError, match=message) as caught:
        open_reader("renderme360", broken.raw())
    assert "\n" not in str(caught.value)


def test_parts_of_two_rigs_are_told_apart(broken) -> None:
    other = np.diag([2000.0, 2000.0, 1.0])
    renderme360_files.edit(broken.annotations("s1_all"), _replace("Calibration/25/K", other))
    with pytest.raises(VrmmError, match="s1_all_anno.smc: camera 25 is not calibrated as in .*e0_anno.smc; import"):
        open_reader("renderme360", _place(broken))
    assert open_reader("renderme360", broken.raw()).frames()


PICTURE = "Camera/25/color/0"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.frombuffer(b"no picture", np.uint8), "color/0 is neither JPEG nor PNG"),
        (np.frombuffer(bomb(), np.uint8), "color/0 declares 60000x60000 pixels"),
        (np.frombuffer(truth.picture_bytes(np.zeros((128, 128, 3), np.uint8), "png"), np.uint8), "is 128x128, but"),
        (np.zeros(40), "color/0 holds float64 where the bytes of a picture belong"),
        (h5py.ExternalLink("/etc/hostname", "/Camera"), "color/0 leads out of the file; nothing outside of it is read"),
    ],
)
def test_damaged_pictures_are_named(broken, value, message: str) -> None:
    renderme360_files.edit(broken.raw(), _replace(PICTURE, value))
    reader = open_reader("renderme360", _place(broken))
    with pytest.raises(VrmmError, match=message):
        reader.members(reader.frames()[0])


def test_data_that_lie_in_other_files_are_not_read(broken) -> None:
    outside = broken.folder / "secret"
    outside.write_bytes(truth.picture_bytes(np.zeros((128, 153, 3), np.uint8), "png"))

    def external(file: h5py.File) -> None:
        del file[PICTURE]
        size = outside.stat().st_size
        file.create_dataset(PICTURE, (size,), np.uint8, external=[(str(outside), 0, size)])

    def virtual(file: h5py.File) -> None:
        del file[PICTURE]
        layout = h5py.VirtualLayout((10,), np.uint8)
        layout[:] = h5py.VirtualSource(str(outside), "data", (10,))
        file.create_virtual_dataset(PICTURE, layout)

    for change in (external, virtual):
        renderme360_files.edit(broken.raw(), change)
        reader = open_reader("renderme360", _place(broken))
        with pytest.raises(VrmmError, match="color/0 leads out of the file"):
            reader.members(reader.frames()[0])


def test_what_unpacks_to_more_than_memory_is_refused(broken) -> None:
    """A compressed row of zeros: a few kilobytes that declare half a terabyte."""

    def grow(file: h5py.File) -> None:
        del file[PICTURE]
        file.create_dataset(PICTURE, (1 << 39,), np.uint8, chunks=(1 << 20,), compression="gzip")

    renderme360_files.edit(broken.raw(), grow)
    reader = open_reader("renderme360", _place(broken))
    with pytest.raises(VrmmError, match=f"color/0 unpacks to {1 << 39} bytes"):
        reader.members(reader.frames()[0])


def test_files_that_break_off_are_named(broken, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = broken.raw().read_bytes()
    broken.raw().write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VrmmError, match="0297_e0_raw.smc is no whole HDF5 file .*download it again"):
        open_reader("renderme360", _place(broken))
    broken.raw().write_bytes(whole)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(VrmmError, match='needs h5py; run pip install "vrmm.smc."'):
        open_reader("renderme360", _place(broken))


def test_resolution_that_contradicts_the_pictures_is_named(broken) -> None:
    renderme360_files.edit(broken.raw(), lambda file: file["Camera"].attrs.update({"resolution": [2048, 2048]}))
    with pytest.raises(VrmmError, match="pictures are 153x128, but .*0297_e0_raw.smc is calibrated for 2048x2048"):
        open_reader("renderme360", _place(broken))


def test_flipped_bytes_under_a_checksum_are_found(tmp_path: Path) -> None:
    path = tmp_path / "x.smc"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.arange(1000, dtype=np.uint8), chunks=(1000,), fletcher32=True)
    data = bytearray(path.read_bytes())
    place = data.index(bytes(range(50)))
    data[place + 7] ^= 1
    path.write_bytes(data)
    with hdf5.open_hdf5(path) as opened, pytest.raises(VrmmError, match="x.smc: a cannot be read"):
        opened.data("a")
