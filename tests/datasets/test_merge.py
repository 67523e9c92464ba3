"""Merged sets: every frame keeps its own rig, colour and light; names never collide; the tars stay as they are."""

import dataclasses
import gc
import json
import os
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets import shard_merge
from datasets.capture import Camera, ImageEncoding
from datasets.errors import VrmmError
from datasets.folder import read_capture_info
from datasets.loader import FrameLoader, LoaderConfig, Split, read_frame
from datasets.manifest import read_manifest
from datasets.rig_frames import common_parts
from datasets.shard_merge import merge_shards
from datasets.shards import DamageError, build_shards, open_shards, verify_shards
from datasets.views import default_input_cameras, inputs_of_parts
from datasets.window import Window
from tests.datasets.shard_damage import contents, copy_of, digits
from tests.datasets.tiny_capture import TinyCapture

SRGB = ImageEncoding(
    transfer="srgb", bits=8, gain=(0.5, 1.0, 2.0), matrix=((0.9, 0.1, 0.0), (0.0, 1.0, 0.0), (0.0, 0.2, 0.8))
)
STEP = 2.0 * 1.1 / 255.0
"""More than one stored step of ``SRGB`` in radiance: gain times the steepest slope of the curve is below 2.2."""


@pytest.fixture(scope="module")
def olat() -> TinyCapture:
    return TinyCapture(subjects=2, frames=3, splits=False, name="olat")


@pytest.fixture(scope="module")
def flat() -> TinyCapture:
    """The same names of people, cameras and frames; another rig, another colour, every lamp on."""
    return TinyCapture(subjects=2, frames=3, splits=False, name="flat", turn=7.0, encoding=SRGB, flat_lit=True)


@pytest.fixture(scope="module")
def folders(olat: TinyCapture, flat: TinyCapture, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("sources")
    for capture in (olat, flat):
        build_shards(capture, root / capture.info.name, samples_per_shard=4)
    return [root / "olat", root / "flat"]


@pytest.fixture(scope="module")
def merged(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("merged") / "both"
    merge_shards(folders, out)
    return out


def _check_frame(batch, row: int, view: int, capture: TinyCapture, key: str, camera: str, tolerance: float) -> None:
    """A target view of a batch is that camera's picture of that frame of that capture."""
    image = batch.target_images[row, view].permute(1, 2, 0).numpy()
    if capture.info.encoding is SRGB:  # radiance that the encoding cannot hold was clipped when it was stored
        inside = np.ones(3, bool)
        stored = np.linalg.inv(np.array(SRGB.matrix)) @ capture.image(key, camera)[..., None]
        inside = ((stored[..., 0] / SRGB.gain > 0.0) & (stored[..., 0] / SRGB.gain < 1.0)).all(-1)
        assert inside.mean() > 0.2
        image, truth = image[inside], capture.image(key, camera)[inside]
    else:
        truth = capture.image(key, camera)
    np.testing.assert_allclose(image, truth, atol=tolerance)
    np.testing.assert_array_equal(batch.target_masks[row, view, 0], capture.mask(key, camera))
    expected = capture.info.camera(camera)
    np.testing.assert_allclose(batch.world_to_camera[row, view], expected.world_to_camera, rtol=1e-6)
    np.testing.assert_allclose(batch.intrinsics[row, view], expected.intrinsics, rtol=1e-6)


def test_every_frame_has_the_rig_the_colour_and_the_light_of_its_own_capture(
    merged: Path, olat: TinyCapture, flat: TinyCapture
) -> None:
    loader = FrameLoader(LoaderConfig(shards=str(merged), batch_frames=4, target_views=4))
    captures = {"olat": olat, "flat": flat}
    assert loader.subjects == ("olat-s0", "olat-s1", "flat-s0", "flat-s1")
    assert (loader.frames, loader.incomplete, loader.input_views) == (12, 0, 3)
    info, seen = loader.shards.info, []
    for batch in islice(loader.batches(), 3):
        for row, key in enumerate(batch.keys):
            name, own_key = key.split("-", 1)
            capture = captures[name]
            frame = next(frame for frame in capture.frames() if frame.key == own_key)
            assert loader.subjects[int(batch.subject[row])] == f"{name}-{frame.subject}"
            count = len(frame.light.positions)
            np.testing.assert_allclose(batch.lamp_directions[row, :count], frame.light.directions, atol=1e-6)
            np.testing.assert_allclose(batch.lamp_irradiance[row, :count], frame.light.irradiance, rtol=1e-6)
            assert not batch.lamp_irradiance[row, count:].any()
            for view, number in enumerate(batch.camera[row].tolist()):
                rig, camera = info.cameras[number].name.split("-")
                assert rig == name
                _check_frame(batch, row, view, capture, own_key, camera, STEP if rig == "flat" else 1e-5)
            names = [info.cameras[number].name for number in batch.input_camera[row].tolist()]
            assert names == [f"{name}-{camera}" for camera in ("right", "front", "left")]
            centre = batch.input_images[row, 1].permute(1, 2, 0)
            if name == "olat":
                np.testing.assert_allclose(centre, olat.image(own_key, "front"), atol=1e-5)
        seen += batch.keys
    assert sorted(seen) == sorted(f"{name}-{f.key}" for name, capture in captures.items() for f in capture.frames())


def test_the_tars_are_those_of_the_sources_and_nothing_else_is_touched(
    merged: Path, folders: list[Path], tmp_path: Path
) -> None:
    before = [{path.name: path.stat().st_mtime_ns for path in folder.iterdir()} for folder in folders]
    merge_shards(folders, tmp_path / "copied", copy=True)
    assert [{path.name: path.stat().st_mtime_ns for path in folder.iterdir()} for folder in folders] == before
    for folder in folders:
        for path in folder.glob("*.tar"):
            assert (merged / path.name).samefile(path)
            assert not (tmp_path / "copied" / path.name).samefile(path)
            assert (tmp_path / "copied" / path.name).read_bytes() == path.read_bytes()
    assert verify_shards(merged) == verify_shards(tmp_path / "copied") == []
    assert sorted(path.name for path in merged.iterdir()) == sorted(
        ["capture.json", "manifest.json", *(path.name for folder in folders for path in folder.glob("*.tar"))]
    )


def test_frames_point_to_full_on_frames_of_their_own(merged: Path, folders: list[Path]) -> None:
    shards = open_shards(merged)
    for sample in range(len(shards)):
        frame = shards.frame(sample)
        assert frame.key == shards.key(sample)
        nearest = frame.nearest_full_on
        assert nearest is not None
        full_on = shards.frame(shards.sample(nearest))
        assert (full_on.subject, full_on.sequence, full_on.full_on) == (frame.subject, frame.sequence, True)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves its streams to the collector
def test_webdataset_reads_a_merged_set(merged: Path) -> None:
    import webdataset

    urls = [str(path) for path in sorted(merged.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    gc.collect()
    assert len(samples) == 12
    assert all("front.rgb.png" in sample for sample in samples)


def test_one_rig_is_one_rig(olat: TinyCapture, folders: list[Path], tmp_path: Path) -> None:
    """Sessions of the same cameras share them, as their colour gains must be; different people keep their names."""

    class Others(TinyCapture):
        @property
        def info(self):
            info = super().info
            return dataclasses.replace(info, subjects=("z",), subject_splits={"z": "held_out"})

        def frames(self):
            return [dataclasses.replace(frame, subject="z", nearest_full_on=None) for frame in super().frames()]

    build_shards(Others(subjects=1, frames=2, splits=False, name="olat"), tmp_path / "again")
    merge_shards([folders[0], tmp_path / "again"], tmp_path / "out")
    info = read_capture_info(tmp_path / "out")
    assert [camera.name for camera in info.cameras] == [camera.name for camera in olat.info.cameras]
    assert all(camera.encoding is None for camera in info.cameras)
    assert info.subjects == ("s0", "s1", "z")
    assert info.subject_splits == {"s0": "train", "s1": "train", "z": "held_out"}
    assert [source.name for source in info.sources] == ["olat", "olat2"], "captures of one name are told apart"
    assert info.licence == "made for tests"
    assert verify_shards(tmp_path / "out") == []
    opened = open_shards(tmp_path / "out")
    assert opened.read(opened.sample("z_talk_000001"), "front.rgb.png")
    assert default_input_cameras(info) == ("right", "front", "left")


def test_a_rig_that_lost_a_camera_is_another_rig(folders: list[Path], tmp_path: Path) -> None:
    class Fewer(TinyCapture):
        @property
        def info(self):
            info = super().info
            return dataclasses.replace(info, cameras=tuple(c for c in info.cameras if c.name != "back"))

        def members(self, frame):
            return {name: data for name, data in super().members(frame).items() if not name.startswith("back")}

    build_shards(Fewer(subjects=1, frames=2, splits=False, name="fewer"), tmp_path / "fewer")
    merge_shards([folders[0], tmp_path / "fewer"], tmp_path / "out")
    loader = FrameLoader(LoaderConfig(shards=str(tmp_path / "out"), batch_frames=2, target_views=5))
    assert (loader.frames, loader.incomplete) == (8, 0)
    with pytest.raises(VrmmError, match="target_views 6 exceeds the 5 cameras of fewer"):
        FrameLoader(LoaderConfig(shards=str(tmp_path / "out"), batch_frames=2, target_views=6))


def test_one_person_in_two_captures(folders: list[Path], olat: TinyCapture, flat: TinyCapture, tmp_path: Path) -> None:
    merge_shards(folders, tmp_path / "out", same_subjects=True, name="people")
    shards = open_shards(tmp_path / "out")
    assert shards.info.name == "people"
    assert shards.info.subjects == ("s0", "s1")
    keys = sorted(shards.key(sample) for sample in range(len(shards)))
    assert keys == sorted(f"{f.subject}_{n}-talk_{f.index:06d}" for n in ("olat", "flat") for f in olat.frames())
    batch = read_frame(shards, "s1_flat-talk_000002", ["flat-top"])
    assert batch.subject.tolist() == [1]
    _check_frame(batch, 0, 0, flat, "s1_talk_000002", "top", STEP)
    assert shards.frame(shards.sample("s1_flat-talk_000002")).nearest_full_on == "s1_flat-talk_000000"
    assert verify_shards(tmp_path / "out") == []


def test_one_person_cannot_be_trained_on_and_held_out(folders: list[Path], tmp_path: Path) -> None:
    build_shards(TinyCapture(subjects=2, frames=3, name="other"), tmp_path / "other")
    with pytest.raises(VrmmError, match="subject s1 is for training in one capture and held out in another"):
        merge_shards([folders[0], tmp_path / "other"], tmp_path / "out", same_subjects=True)
    assert not (tmp_path / "out").exists()
    merge_shards([folders[0], tmp_path / "other"], tmp_path / "out")
    splits = read_capture_info(tmp_path / "out").subject_splits
    assert (splits["olat-s1"], splits["other-s1"]) == ("train", "held_out")


def test_merged_sets_can_be_merged(merged: Path, olat: TinyCapture, flat: TinyCapture, tmp_path: Path) -> None:
    third = TinyCapture(subjects=1, frames=2, splits=False, name="third", turn=-5.0)
    build_shards(third, tmp_path / "third")
    merge_shards([merged, tmp_path / "third"], tmp_path / "out")
    assert verify_shards(tmp_path / "out") == []
    shards = open_shards(tmp_path / "out")
    assert [source.name for source in shards.info.sources] == ["olat", "flat", "third"]
    assert len(shards) == 14
    for capture, key, camera in (
        (olat, "olat-s1_talk_000001", "olat-back"),
        (flat, "flat-s0_talk_000002", "flat-front"),
        (third, "s0_talk_000001", "front"),
    ):
        own = key.removeprefix(f"{capture.info.name}-")
        tolerance = STEP if capture is flat else 1e-5
        batch = read_frame(shards, key, [camera])
        _check_frame(batch, 0, 0, capture, own, camera.rpartition("-")[2], tolerance)
        names = [shards.info.cameras[number].name for number in batch.input_camera[0].tolist()]
        assert names == [camera.rpartition("-")[0] + "-" * ("-" in camera) + n for n in ("right", "front", "left")]


def test_named_input_cameras_must_be_as_many_of_each_rig(merged: Path) -> None:
    def loader(*names: str) -> FrameLoader:
        return FrameLoader(LoaderConfig(shards=str(merged), batch_frames=2, input_cameras=list(names)))

    info = read_capture_info(merged)
    names = ["flat-top", "olat-back", "olat-front", "flat-front"]
    assert inputs_of_parts(info, names) == [("olat-back", "olat-front"), ("flat-top", "flat-front")]
    assert loader(*names).input_views == 2
    with pytest.raises(VrmmError, match="input_cameras names 1 cameras of flat and 2 of olat; name as many"):
        loader("olat-back", "olat-front", "flat-front")
    with pytest.raises(VrmmError, match="names 0 cameras of flat"):
        loader("olat-back")
    with pytest.raises(VrmmError, match="has no camera front; it has olat-back"):
        loader("front")


def test_a_view_of_another_rig_is_absent(merged: Path) -> None:
    with pytest.raises(DamageError, match=r"flat-front\.rgb of sample olat-s0_talk_000000 is absent"):
        read_frame(open_shards(merged), "olat-s0_talk_000000", ["flat-front"])


def test_splits_of_a_merged_set(merged: Path) -> None:
    config = LoaderConfig(shards=str(merged), batch_frames=1, target_views=1, cameras=Split.held_out)
    loader = FrameLoader(config)
    cameras = {loader.shards.info.cameras[int(batch.camera)].name for batch in islice(loader.batches(), 12)}
    assert cameras == {"olat-hidden", "flat-hidden"}


@pytest.mark.parametrize("stop_at", range(6))
@pytest.mark.parametrize("copy", [False, True])
def test_an_interrupted_merge_goes_on(
    folders: list[Path], merged: Path, tmp_path: Path, stop_at: int, copy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop before or after any file, then again: equal to a merge that was never stopped."""
    out, calls = tmp_path / "both", []
    replace = os.replace

    def stopping(source, target):
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        calls.append(Path(target).name)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            merge_shards(folders, out, copy=copy)
    assert not (out / "manifest.json").exists()
    brought = []
    bring = shard_merge._bring
    monkeypatch.setattr(shard_merge, "_bring", lambda *args: brought.append(args[1].name) or bring(*args))
    merge_shards(folders, out, copy=copy)
    assert len(brought) == 4 - max(0, stop_at - 1), "what is finished is kept"
    assert contents(out) == contents(merged)
    brought.clear()
    merge_shards(folders, out, copy=copy)
    assert brought == []


def test_other_things_are_never_overwritten(folders: list[Path], merged: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine-000000.tar").write_bytes(b"mine")
    with pytest.raises(VrmmError, match="holds other shards or another merge"):
        merge_shards(folders, out)
    assert (out / "mine-000000.tar").read_bytes() == b"mine"
    for wrong in ([folders[1], folders[0]], [folders[0], merged]):
        with pytest.raises(VrmmError, match="holds other shards or another merge|is named twice"):
            merge_shards(wrong, merged)
    with pytest.raises(VrmmError, match="is named twice"):
        merge_shards([folders[0], folders[0]], tmp_path / "twice")
    with pytest.raises(VrmmError, match="name at least two"):
        merge_shards(folders[:1], tmp_path / "one")
    assert verify_shards(merged) == []


def test_unsound_sources_are_refused(folders: list[Path], tmp_path: Path) -> None:
    copy = copy_of(folders[0], tmp_path / "copy")
    data = bytearray((copy / "olat-000001.tar").read_bytes())
    data[2000] ^= 1
    (copy / "olat-000001.tar").write_bytes(data)
    with pytest.raises(VrmmError, match=r"olat-000001\.tar is damaged .*run vrmm shards verify"):
        merge_shards([copy, folders[1]], tmp_path / "out", copy=True)
    assert not (tmp_path / "out" / "olat-000001.tar").exists()
    (copy / "olat-000001.tar").write_bytes(data[:-10])
    with pytest.raises(VrmmError, match=r"olat-000001\.tar is missing or not as long as listed"):
        merge_shards([copy, folders[1]], tmp_path / "out2")
    (copy / "manifest.json").unlink()
    with pytest.raises(VrmmError, match="holds no finished shards"):
        merge_shards([copy, folders[1]], tmp_path / "out2")
    copy = copy_of(folders[0], tmp_path / "copy2")
    text = (copy / "capture.json").read_text()
    (copy / "capture.json").write_text(text.replace('"bits": 16', '"bits": 15'))
    with pytest.raises(VrmmError, match=r"capture\.json was changed after"):
        merge_shards([copy, folders[1]], tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_keys_that_collide_without_their_names_are_told_apart(tmp_path: Path) -> None:
    """``a_b`` in ``c`` and ``a`` in ``b_c`` are different people of different sequences, and one key."""

    class Named(TinyCapture):
        subject, sequence = "a", "b_c"

        @property
        def info(self):
            return dataclasses.replace(super().info, subjects=(self.subject,), subject_splits={self.subject: "train"})

        def frames(self):
            names = {"subject": self.subject, "sequence": self.sequence, "nearest_full_on": None}
            return [dataclasses.replace(frame, **names) for frame in super().frames()]

    build_shards(Named(subjects=1, frames=1, splits=False, name="one"), tmp_path / "one")
    Named.subject, Named.sequence = "a_b", "c"
    build_shards(Named(subjects=1, frames=1, splits=False, name="two"), tmp_path / "two")
    merge_shards([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    shards = open_shards(tmp_path / "out")
    assert sorted(shards.key(sample) for sample in range(2)) == ["a_b_two-c_000000", "a_one-b_c_000000"]
    assert verify_shards(tmp_path / "out") == []


def test_damage_in_a_merged_set_is_named_as_the_set_calls_it(merged: Path, tmp_path: Path) -> None:
    copy = copy_of(merged, tmp_path / "copy")
    opened = open_shards(copy)
    sample = opened.sample("flat-s0_talk_000001")
    record = next(shard for shard in read_manifest(copy).shards if shard.name == "flat-000000.tar")
    row = int(record.first[1]) + opened.extensions(sample).index("light.npz")
    data = bytearray((copy / "flat-000000.tar").read_bytes())
    data[record.members.at(row).offset + 70] ^= 4
    (copy / "flat-000000.tar").write_bytes(data)
    assert [str(problem) for problem in verify_shards(copy)] == [
        "flat-000000.tar: sample flat-s0_talk_000001, light.npz: damaged (the checksum differs)"
    ]
    with pytest.raises(DamageError, match=r"light\.npz of sample flat-s0_talk_000001 is damaged"):
        opened.frame(sample)


def test_a_shard_of_no_capture_and_a_stranger_are_named(merged: Path, tmp_path: Path) -> None:
    copy = copy_of(merged, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["shards"][0]["name"] = "nobody-000000.tar"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / "olat-000000.tar").rename(copy / "nobody-000000.tar")
    found = [str(problem) for problem in verify_shards(copy)]
    assert any(text.startswith("nobody-000000.tar: nobody-000000.tar is of no capture") for text in found)
    with pytest.raises(VrmmError, match=r"nobody-000000\.tar is of no capture in the merged set both"):
        open_shards(copy)
    manifest["shards"][0].update(name="olat-000000.tar", subject=digits([2, 2, 2, 2]))
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VrmmError, match="lists subject number 2, which its capture lacks"):
        open_shards(copy)


def test_rigs_of_different_shapes_are_cut_to_the_narrowest(folders: list[Path], tmp_path: Path) -> None:
    """What is shown of a wider picture is the same pixels with the same rays, around the head."""
    tall = TinyCapture(subjects=1, frames=2, splits=False, name="tall", turn=3.0, size=(20, 40))
    build_shards(tall, tmp_path / "tall")
    wide = TinyCapture(subjects=1, frames=2, splits=False, name="wide", turn=3.0, size=(48, 24))
    build_shards(wide, tmp_path / "wide")
    merge_shards([tmp_path / "tall", tmp_path / "wide"], tmp_path / "out")
    config = LoaderConfig(shards=str(tmp_path / "out"), batch_frames=4, target_views=3, image_size=12)
    loader = FrameLoader(config)
    assert loader.image_shape == (12, 6)
    (batch,) = islice(loader.batches(), 1)
    for row, key in enumerate(batch.keys):
        name, own = key.split("-", 1)
        capture = tall if name == "tall" else wide
        for view, number in enumerate(batch.camera[row].tolist()):
            camera = loader.shards.info.cameras[number].name.removeprefix(f"{name}-")
            truth = capture.image(own, camera)
            part = truth if name == "tall" else truth[:, 18:30]  # the head is in the middle of these pictures
            expected = cv2.resize(part, (6, 12), interpolation=cv2.INTER_AREA)
            np.testing.assert_allclose(batch.target_images[row, view].permute(1, 2, 0), expected, atol=1e-4)
            stored, left = capture.info.camera(camera), 0 if name == "tall" else 18
            point = np.array([[0.03, -0.05, 0.02]])
            x, y = stored.project(point)[0]
            shown = batch.intrinsics[row, view].double().numpy() @ (
                batch.world_to_camera[row, view].double().numpy() @ np.append(point[0], 1.0)
            )
            scale = stored.height / 12
            np.testing.assert_allclose(shown[:2] / shown[2], [(x - left) / scale, y / scale], atol=1e-4)
    with pytest.raises(VrmmError, match=r"different shapes \(.*20x40.*48x24\); set image_size"):
        FrameLoader(dataclasses.replace(config, image_size=0))
    with pytest.raises(VrmmError, match="image_size 30 exceeds the 12x24 pixels of camera wide-"):
        FrameLoader(dataclasses.replace(config, image_size=30))


def test_the_part_of_a_picture_follows_the_head_and_stays_inside() -> None:
    def part(x: float) -> Window:
        place = np.concatenate([np.eye(3), [[x], [0.0], [1.0]]], axis=1)
        intrinsics = np.array([[100.0, 0.0, 50.0], [0.0, 100.0, 20.0], [0.0, 0.0, 1.0]])
        wide = Camera(name="w", world_to_camera=place, intrinsics=intrinsics, width=100, height=40)
        slim = dataclasses.replace(wide, name="s", width=20)
        return common_parts([[wide], [slim]], 20)[2]["w"]

    assert part(0.0) == Window(40, 0, 20, 40)
    assert part(0.2) == Window(60, 0, 20, 40)
    assert part(9.0) == Window(80, 0, 20, 40), "a head outside of the picture"
    assert part(-9.0) == Window(0, 0, 20, 40)
