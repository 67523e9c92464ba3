"""Batches: the truth arrives in the right place, the order never depends on ranks or workers, losses are counted."""

import dataclasses
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.batch import FrameBatch
from datasets.cache import ArrayCache
from datasets.capture import ImageEncoding
from datasets.config import load_config, to_yaml
from datasets.errors import VrmmError
from datasets.loader import FrameLoader, LoaderConfig, OnError, Split, read_frame
from datasets.shards import DamageError, build_shards, open_shards
from datasets.viewpoints import frontal_cameras, pick_cameras
from tests.datasets.tiny_capture import TinyCapture, look_at_origin, on_ring

TRAINING = 3 * 5  # frames of three training subjects, one of six held out


@pytest.fixture(scope="module")
def capture() -> TinyCapture:
    return TinyCapture(subjects=4, frames=6)


@pytest.fixture(scope="module")
def shards(capture: TinyCapture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    build_shards(capture, out, samples_per_shard=5)
    return out


def _loader(shards: Path, rank: int = 0, world_size: int = 1, **values) -> FrameLoader:
    return FrameLoader(LoaderConfig(shards=str(shards), **values), rank, world_size)


def _take(loader: FrameLoader, start: int, count: int) -> list[FrameBatch]:
    batches = loader.batches(start)
    taken = list(islice(batches, count))
    batches.close()
    return taken


def _bytes(batch: FrameBatch) -> list[tuple]:
    """Each frame of a batch, for exact comparison."""
    tensors = [getattr(batch, field.name) for field in dataclasses.fields(batch) if field.name != "keys"]
    return [(key, *(tensor[row].numpy().tobytes() for tensor in tensors)) for row, key in enumerate(batch.keys)]


def test_every_tensor_holds_the_truth(shards: Path, capture: TinyCapture) -> None:
    loader = _loader(shards, batch_frames=5, target_views=4)
    info, frames = capture.info, {frame.key: frame for frame in capture.frames()}
    assert loader.input_cameras == ("right", "front", "left")
    assert loader.subjects == ("s0", "s1", "s2")
    assert (loader.frames, loader.steps_per_epoch, loader.dropped, loader.incomplete) == (TRAINING, 3, 0, 0)
    assert loader.image_shape == (12, 16)
    seen = []
    for batch in _take(loader, 0, 3):
        assert batch.target_images.shape == (5, 4, 3, 12, 16)
        for row, key in enumerate(batch.keys):
            seen.append(key)
            light = frames[key].light
            assert loader.subjects[int(batch.subject[row])] == frames[key].subject
            names = [info.cameras[number].name for number in batch.camera[row].tolist()]
            assert len(set(names)) == 4
            assert "hidden" not in names
            for view, name in enumerate(names):
                _check_view(capture, key, name, batch.target_images[row, view], batch.target_masks[row, view])
                expected = info.camera(name)
                np.testing.assert_allclose(batch.world_to_camera[row, view], expected.world_to_camera, rtol=1e-6)
                np.testing.assert_allclose(batch.intrinsics[row, view], expected.intrinsics, rtol=1e-6)
            for view, name in enumerate(loader.input_cameras):
                _check_view(capture, key, name, batch.input_images[row, view], batch.input_masks[row, view])
                expected = info.camera(name)
                np.testing.assert_allclose(batch.input_world_to_camera[row, view], expected.world_to_camera, rtol=1e-6)
                np.testing.assert_allclose(batch.input_intrinsics[row, view], expected.intrinsics, rtol=1e-6)
            count = len(light.positions)
            np.testing.assert_allclose(batch.lamp_directions[row, :count], light.directions, atol=1e-6)
            np.testing.assert_allclose(batch.lamp_irradiance[row, :count], light.irradiance, rtol=1e-6)
            assert batch.lamp_irradiance.shape[1] == 3, "padded to the capture's most lamps, whatever is in the batch"
            assert not batch.lamp_directions[row, count:].any()
            assert not batch.lamp_irradiance[row, count:].any()
    wanted = [f.key for f in capture.frames() if f.split == "train" and info.subject_splits[f.subject] == "train"]
    assert sorted(seen) == sorted(wanted)


def _check_view(capture: TinyCapture, key: str, camera: str, image: torch.Tensor, mask: torch.Tensor) -> None:
    np.testing.assert_allclose(image.permute(1, 2, 0), capture.image(key, camera), atol=0.6 / 65535)
    np.testing.assert_array_equal(mask[0], capture.mask(key, camera))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_ranks_workers_and_resume_change_nothing(shards: Path, data: st.DataObject) -> None:
    batch = data.draw(st.sampled_from([1, 2, 4, 6]))
    world = data.draw(st.sampled_from([n for n in (1, 2, 3, 4, 6) if batch % n == 0]))
    seed, block = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 4))
    common = {"batch_frames": batch, "seed": seed, "shuffle_shards": block}
    start, count = data.draw(st.integers(0, TRAINING // batch + 2)), data.draw(st.integers(1, 3))
    reference = _take(_loader(shards, **common, workers=0, cache_mb=64), 0, start + count)[start:]
    tuned = {name: data.draw(st.integers(0, 3)) for name in ("workers", "prefetch", "cache_mb")}
    parts = [_take(_loader(shards, rank, world, **common, **tuned), start, count) for rank in range(world)]
    for step in range(count):
        joined = [row for rank in range(world) for row in _bytes(parts[rank][step])]
        assert joined == _bytes(reference[step])


@pytest.mark.parametrize("batch", [1, 2, 4, 7])
def test_every_frame_once_an_epoch_and_other_views_in_the_next(shards: Path, batch: int) -> None:
    loader = _loader(shards, batch_frames=batch, workers=0)
    assert loader.steps_per_epoch == TRAINING // batch
    assert loader.dropped == TRAINING % batch
    views: dict[str, set[tuple[int, ...]]] = {}
    for epoch in range(6):
        taken = _take(loader, epoch * loader.steps_per_epoch, loader.steps_per_epoch)
        keys = [key for one in taken for key in one.keys]
        assert len(set(keys)) == len(keys) == TRAINING - loader.dropped
        assert keys == [key for step in range(len(taken)) for key in loader.keys(epoch * len(taken) + step)]
        assert loader.epoch(epoch * loader.steps_per_epoch) == epoch
        for one in taken:
            for key, cameras in zip(one.keys, one.camera.tolist(), strict=True):
                views.setdefault(key, set()).add(tuple(cameras))
    assert len(views) == TRAINING, "what an epoch drops must come in another one"
    assert np.mean([len(chosen) for chosen in views.values()]) > 3, "target views must vary over epochs"


def test_resized_images_are_area_averages_with_matching_cameras(shards: Path, capture: TinyCapture) -> None:
    whole, half = (read_frame(open_shards(shards), "s1_talk_000001", ["top", "back"], size) for size in (0, 8))
    assert half.target_images.shape == (1, 2, 3, 6, 8)
    expected = whole.target_images.reshape(1, 2, 3, 6, 2, 8, 2).mean((4, 6))
    torch.testing.assert_close(half.target_images, expected, atol=1e-6, rtol=1e-6)
    expected = whole.target_masks.reshape(1, 2, 1, 6, 2, 8, 2).mean((4, 6))
    torch.testing.assert_close(half.target_masks, expected, atol=1e-6, rtol=1e-6)
    # The centre of the first big pixel is the corner shared by four small ones: (0.5, 0.5) there is (1, 1) here.
    point = torch.tensor([0.03, -0.02, 0.05, 1.0])
    for view in range(2):
        pixels = []
        for batch in (whole, half):
            projected = batch.intrinsics[0, view] @ (batch.world_to_camera[0, view] @ point)
            pixels.append(projected[:2] / projected[2])
        torch.testing.assert_close(pixels[1], pixels[0] / 2)


def test_averages_are_taken_in_linear_radiance(tmp_path: Path) -> None:
    """Averaging sRGB values would darken every edge of the picture."""
    capture = TinyCapture(subjects=1, frames=1, splits=False, encoding=ImageEncoding(transfer="srgb", bits=16))
    build_shards(capture, tmp_path)
    batch = read_frame(open_shards(tmp_path), "s0_talk_000000", ["front"], 8)
    expected = capture.image("s0_talk_000000", "front").reshape(6, 2, 8, 2, 3).mean((1, 3))
    np.testing.assert_allclose(batch.target_images[0, 0].permute(1, 2, 0), expected, atol=5e-5)


def test_read_frame_gives_any_frame_and_camera(shards: Path, capture: TinyCapture) -> None:
    opened = open_shards(shards)
    batch = read_frame(opened, "s3_talk_000004", ["hidden", "back"], input_cameras=["top"])
    assert batch.keys == ["s3_talk_000004"]
    assert batch.subject.tolist() == [-1], "a held-out subject has no number among those of training"
    assert read_frame(opened, "s2_talk_000004", ["back"]).subject.tolist() == [2]
    assert batch.input_images.shape[:2] == (1, 1)
    _check_view(capture, "s3_talk_000004", "hidden", batch.target_images[0, 0], batch.target_masks[0, 0])
    _check_view(capture, "s3_talk_000004", "back", batch.target_images[0, 1], batch.target_masks[0, 1])
    assert [capture.info.cameras[number].name for number in batch.camera[0].tolist()] == ["hidden", "back"]
    with pytest.raises(VrmmError, match="has no camera nobody; it has back, left"):
        read_frame(opened, "s0_talk_000000", ["nobody"])
    with pytest.raises(VrmmError, match="has no sample nobody"):
        read_frame(opened, "nobody", ["front"])


def test_frames_without_masks_have_ones(tmp_path: Path) -> None:
    build_shards(TinyCapture(subjects=1, frames=1, splits=False, masks=False), tmp_path)
    assert bool((read_frame(open_shards(tmp_path), "s0_talk_000000", ["front"]).target_masks == 1).all())


def test_frames_that_lack_a_view_are_left_out_and_counted(tmp_path: Path) -> None:
    class Gappy(TinyCapture):
        def members(self, frame):
            members = super().members(frame)
            del members[{0: "front", 1: "top"}.get(frame.index, "hidden") + ".rgb.png"]
            return members

    build_shards(Gappy(subjects=2, frames=4, splits=False), tmp_path)
    loader = _loader(tmp_path, batch_frames=2, target_views=5)
    assert (loader.frames, loader.incomplete) == (6, 2), "the encoders need the front camera of frame 0"
    cameras = {loader.shards.info.cameras[n].name for b in _take(loader, 0, 3) for n in b.camera.flatten().tolist()}
    assert cameras == {"back", "left", "front", "right", "top", "spare"}
    every = _loader(tmp_path, batch_frames=2, target_views=6)
    assert (every.frames, every.incomplete) == (4, 4)


@pytest.mark.parametrize("values", [{}, {"workers": 0}, {"prefetch": 0}])
def test_damage_ends_the_run_when_it_is_due(shards: Path, tmp_path: Path, values: dict) -> None:
    damaged = _damage(shards, tmp_path / "copy", ["s1_talk_000002"])
    loader = _loader(damaged, batch_frames=1, **values)
    due = next(step for step in range(TRAINING) if loader.keys(step) == ["s1_talk_000002"])
    batches = loader.batches()
    for _ in range(due):
        next(batches)
    with pytest.raises(DamageError, match="of sample s1_talk_000002 is damaged"):
        next(batches)


@pytest.mark.parametrize("world", [1, 2])
def test_skipping_counts_exactly_and_replaces_alike_on_any_ranks(
    shards: Path, tmp_path: Path, world: int, caplog: pytest.LogCaptureFixture
) -> None:
    gone = ["s0_talk_000000", "s1_talk_000002", "s1_talk_000003", "s2_talk_000005"]
    damaged = _damage(shards, tmp_path / "copy", gone)
    common = {"batch_frames": 2, "on_error": OnError.skip}
    loaders = [_loader(damaged, rank, world, **common) for rank in range(world)]
    sound = _loader(shards, batch_frames=2)
    steps = 3 * sound.steps_per_epoch
    parts = [_take(loader, 0, steps) for loader in loaders]
    due = [key for step in range(steps) for key in sound.keys(step)]
    seen = [key for step in range(steps) for part in parts for key in part[step].keys]
    assert len(seen) == len(due), "every batch is full"
    assert [a for a, b in zip(seen, due, strict=True) if b not in gone] == [key for key in due if key not in gone]
    assert not set(seen) & set(gone)
    assert sum(loader.replaced for loader in loaders) == sum(key in gone for key in due)
    assert set().union(*(loader.lost for loader in loaders)) == set(gone)
    for loader in loaders:
        for key, reason in loader.lost.items():
            assert f"of sample {key} is damaged" in reason
    assert len([r for r in caplog.records if "skipped:" in r.message]) == sum(len(loader.lost) for loader in loaders)
    alone = _loader(damaged, **common)
    assert [key for batch in _take(alone, 0, steps) for key in batch.keys] == seen


def test_the_next_readable_sample_of_the_order_takes_the_place(shards: Path, tmp_path: Path) -> None:
    order = [key for step in range(TRAINING) for key in _loader(shards, batch_frames=1).keys(step)]
    gone = {order[3], order[4], order[TRAINING - 1]}
    damaged = _damage(shards, tmp_path / "copy", sorted(gone))
    taken = _take(_loader(damaged, batch_frames=1, on_error=OnError.skip, seed=0), 0, TRAINING)
    expected = [*order[:3], order[5], order[5], *order[5:-1], order[0]]
    assert [batch.keys[0] for batch in taken] == expected


def test_counts_do_not_run_ahead_of_the_batches(shards: Path, tmp_path: Path) -> None:
    damaged = _damage(shards, tmp_path / "copy", ["s1_talk_000002"])
    loader = _loader(damaged, batch_frames=1, on_error=OnError.skip, prefetch=8)
    due = next(step for step in range(TRAINING) if loader.keys(step) == ["s1_talk_000002"])
    batches = loader.batches(due - 1)
    next(batches)
    assert loader.replaced == 0, "prefetched but not handed out"
    next(batches)
    assert loader.replaced == 1
    batches.close()


def test_lost_storage_ends_the_run_even_when_skipping(shards: Path, tmp_path: Path) -> None:
    damaged = _damage(shards, tmp_path / "copy", [])
    loader = _loader(damaged, on_error=OnError.skip)
    for path in damaged.glob("*.tar"):
        path.unlink()
    with pytest.raises(VrmmError, match=f"{TRAINING} samples in a row cannot be read.*is the storage still there"):
        next(loader.batches())


def test_images_that_do_not_fit_their_camera_are_damage(tmp_path: Path) -> None:
    class Odd(TinyCapture):
        def members(self, frame):
            wrong = TinyCapture(size=(8, 8)).members(frame)["front.rgb.png"]
            return {**super().members(frame), "front.rgb.png": (wrong, b"no image")[frame.index]}

    build_shards(Odd(subjects=1, frames=2, splits=False), tmp_path)
    shards = open_shards(tmp_path)
    with pytest.raises(DamageError, match=r"front\.rgb\.png of sample s0_talk_000000 is 8x8 but its camera is 16x12"):
        read_frame(shards, "s0_talk_000000", ["top"])
    with pytest.raises(DamageError, match=r"front\.rgb\.png of sample s0_talk_000001 is no image that can be used"):
        read_frame(shards, "s0_talk_000001", ["top"])


def test_splits(shards: Path) -> None:
    held_out = _loader(shards, batch_frames=1, subjects=Split.held_out, frames=Split.held_out, cameras=Split.all)
    assert held_out.subjects == ("s3",)
    assert held_out.frames == 1
    everything = _loader(shards, batch_frames=1, subjects=Split.all, frames=Split.all)
    assert everything.frames == 24
    assert everything.subjects == ("s0", "s1", "s2", "s3")
    only = _loader(shards, batch_frames=1, cameras=Split.held_out, target_views=1)
    assert {int(batch.camera) for batch in _take(only, 0, 5)} == {6}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_frames": 16}, "batch_frames 16 exceeds the 15 frames"),
        ({"target_views": 7}, "target_views 7 exceeds the 6 cameras"),
        ({"input_cameras": ["nobody"]}, "has no camera nobody"),
        ({"image_size": 17}, "image_size 17 exceeds the 16 pixels of camera"),
    ],
)
def test_impossible_requests_name_the_key(shards: Path, values: dict, message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        _loader(shards, **values)


def test_the_recipe(shards: Path, tmp_path: Path) -> None:
    config = load_config(LoaderConfig, overrides=[f"shards={shards}", "on_error=skip", "input_cameras=[top,back]"])
    assert config.on_error is OnError.skip
    assert FrameLoader(config).input_cameras == ("top", "back")
    (tmp_path / "recipe.yaml").write_text(to_yaml(config))
    assert load_config(LoaderConfig, tmp_path / "recipe.yaml") == config
    with pytest.raises(VrmmError, match="workers is -1; it must be at least 0"):
        load_config(LoaderConfig, overrides=["workers=-1"])
    with pytest.raises(VrmmError, match="on_error"):
        load_config(LoaderConfig, overrides=["on_error=ignore"])
    with pytest.raises(VrmmError, match="set shards to a folder"):
        FrameLoader(LoaderConfig())


def test_micro_batches_and_devices(shards: Path) -> None:
    (batch,) = _take(_loader(shards, batch_frames=4), 0, 1)
    parts = [batch.rows(0, 1), batch.rows(1, 4)]
    assert [len(part) for part in parts] == [1, 3]
    assert [row for part in parts for row in _bytes(part)] == _bytes(batch)
    assert _bytes(batch.to("cpu")) == _bytes(batch)


def test_cameras_of_different_shapes_are_refused(tmp_path: Path) -> None:
    class Mixed(TinyCapture):
        @property
        def info(self):
            front = look_at_origin("front", on_ring(2), width=20, height=20)
            cameras = [front if camera.name == "front" else camera for camera in super().info.cameras]
            return dataclasses.replace(super().info, cameras=tuple(cameras))

    build_shards(Mixed(splits=False), tmp_path)
    with pytest.raises(VrmmError, match=r"different shapes \(.*front 20x20"):
        _loader(tmp_path)


def test_frontal_cameras_are_spread_and_do_not_depend_on_their_order() -> None:
    angles = [170, -90, -50, -32, -5, 20, 38, 60, 120]
    cameras = [look_at_origin(str(angle), on_ring(angle), width=4, height=4) for angle in angles]
    for rig in (cameras, cameras[::-1]):
        assert frontal_cameras(rig) == ("-32", "-5", "38")
        assert frontal_cameras(rig, 1) == ("-5",)
        assert frontal_cameras(rig, 5) == ("-50", "-32", "-5", "20", "38")
        assert len(frontal_cameras(rig[:2])) == 2


def test_target_views_are_spread_evenly() -> None:
    """Every camera must be rendered as often as any other, or its view is learnt less."""
    times = np.zeros(8)
    for epoch in range(1000):
        chosen = pick_cameras([0, 2, 3, 7], 2, seed=1, epoch=epoch, key="s_t_000001")
        assert len(set(chosen)) == 2
        times[chosen] += 1
    assert times[[1, 4, 5, 6]].sum() == 0
    # Each of four is chosen with probability 1/2: five standard deviations of a binomial count.
    assert np.abs(times[[0, 2, 3, 7]] - 500).max() < 5 * np.sqrt(1000 * 0.25)


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    cache = ArrayCache(100)
    made = []

    def get(key: int, size: int = 40) -> None:
        cache.get(key, lambda: (made.append(key) or np.zeros(size, np.uint8),))

    for key in (1, 2, 1, 3, 1, 2):  # 3 pushes out 2, the one not used for longest
        get(key)
        assert cache.bytes <= 100
    assert made == [1, 2, 3, 2]
    get(9, 101)
    get(9, 101)
    assert made[-2:] == [9, 9], "what is larger than the cache is not kept"
    assert cache.bytes == 80


def _damage(source: Path, target: Path, keys: list[str]) -> Path:
    """A copy of the shards in which the light of these samples has a flipped bit."""
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    for key in keys:
        for path in target.glob("*.tar"):
            data = bytearray(path.read_bytes())
            header = data.find(f"{key}.light.npz\0".encode())
            if header >= 0:
                data[header + 512 + 100] ^= 1
                path.write_bytes(data)
    return target
