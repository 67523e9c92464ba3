"""The initializer: truth that belongs to its pictures, training that resumes exactly, nothing stale ever used."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import VrmmError
from fitting.bank import TrainingBank
from fitting.initializer.augment import Augmentation
from fitting.initializer.crop import cut, face_squares, from_crop, to_crop, to_crop_camera
from fitting.initializer.network import AnswerSizes, InitializerNetwork
from fitting.initializer.recipe import AugmentConfig, HeadsConfig, InitializerRecipe, NetworkConfig
from fitting.initializer.samples import Samples, SampleStore
from fitting.initializer.storage import Initializer, load_initializer
from fitting.initializer.train import CHECKPOINT, SAMPLES, train_initializer
from fitting.objective import CarriedLandmarks
from fitting.rendering import render_samples
from prior.cameras import CameraBatch
from prior.vrmm import VRMM
from prior.weights import save_weights
from tests.fitting.tiny import CONFIG, RENDERING, tiny_model

NONE = TrainingBank(codes=torch.zeros(0, CONFIG.expression), lights=torch.zeros(0, CONFIG.light_directions, 3))


def small_recipe(**changes) -> InitializerRecipe:
    """Seconds on a core."""
    values = {"samples": 40, "steps": 6, "batch": 8, "held_out": 0.2, "checkpoint_every": 2, "threads": 1, **changes}
    return InitializerRecipe(
        heads=HeadsConfig(size=40), network=NetworkConfig(size=32, channels=[8, 8, 12, 16], features=16), **values
    )


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    """A prior that a test may write into."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.fixture(scope="module")
def samples(model: VRMM) -> Samples:
    return SampleStore(Path("unused"), model, RENDERING, NONE, small_recipe()).render(0, 12)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(-0.5, 0.5)] * 2), st.floats(4.0, 24.0), st.floats(-0.6, 0.6), st.floats(20.0, 200.0))
def test_a_crop_shows_what_its_camera_sees(shift: tuple, side: float, roll: float, focal: float) -> None:
    """The middle of the crop is the new camera's axis, and a step to the crop's right is one to the camera's right."""
    squares = torch.tensor([[16.0 + 10 * shift[0], 16.0 + 10 * shift[1], side]])
    rolls = torch.tensor([roll])
    turn = to_crop_camera(squares[:, :2] - 16.0, torch.tensor([focal]), rolls)[0]
    torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-5, rtol=0)
    step = 1e-2
    inside = torch.tensor([[[0.0, 0.0], [step, 0.0], [0.0, step]]])
    back = torch.tensor([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    pixels = from_crop(inside @ back, squares)
    torch.testing.assert_close(to_crop(pixels, squares, rolls), inside, atol=1e-4, rtol=0)
    rays = torch.cat([(pixels[0] - 16.0) / focal, torch.ones(3, 1)], dim=1) @ turn.T
    seen = rays[:, :2] / rays[:, 2:]
    torch.testing.assert_close(seen[0], torch.zeros(2), atol=1e-5, rtol=0)
    # Off the axis a plane is foreshortened: directions are kept to a few degrees, lengths to some percent.
    length = step * side / 2 / focal
    torch.testing.assert_close(seen[1:] / length, torch.eye(2), atol=0.25, rtol=0)


def test_a_cut_shows_every_pixel_where_to_crop_says() -> None:
    picture = torch.zeros(1, 1, 48, 48)
    picture[0, 0, 20, 31] = 1.0
    squares, roll = torch.tensor([[27.0, 23.0, 24.0]]), torch.tensor([0.4])
    crop = cut(picture, squares, roll, 48)[0, 0]
    where = to_crop(torch.tensor([[[31.5, 20.5]]]), squares, roll)[0, 0]
    y, x = divmod(int(crop.argmax()), 48)
    # Half a pixel of the crop each way.
    assert abs((x + 0.5) / 24 - 1 - float(where[0])) < 1.1 / 48
    assert abs((y + 0.5) / 24 - 1 - float(where[1])) < 1.1 / 48


def test_renderings_belong_to_their_truth(model: VRMM, samples: Samples) -> None:
    """Rendered again from what is stored, through the stored camera: the same picture and landmarks."""
    torch.testing.assert_close(samples.blend.sum(dim=1), torch.ones(12), atol=1e-4, rtol=0)
    size = samples.picture.shape[-1]
    distance = 0.36 / 2 / (size / 2 / samples.focal)
    place = torch.cat([samples.rotation, (distance[:, None] * torch.tensor([0.0, 0.0, 1.0]))[..., None]], dim=2)
    lens = torch.diag_embed(torch.stack([samples.focal, samples.focal, torch.ones(12)], dim=1))
    lens[:, :2, 2] = size / 2
    cameras = CameraBatch(world_to_camera=place, intrinsics=lens, height=size, width=size)
    z_id = samples.blend @ model.identity_codes.weight
    with torch.no_grad():
        found = render_samples(model, z_id, samples.z_e, samples.light, cameras, RENDERING)
        points = cameras.project(CarriedLandmarks(model)(model.mesh_decoder(z_id, samples.z_e)))
    torch.testing.assert_close(points, samples.landmarks, atol=0.01, rtol=0)
    stored = (samples.picture[:, :3].float() / 255) ** 2 * samples.peak[:, None, None, None]
    error = (stored - found.image[:, 0].clamp(min=0.0)).abs().amax(dim=(1, 2, 3)) / samples.peak
    assert float(error.max()) < 0.01  # 8 bits of a square root, and rounding


def test_a_shard_is_rendered_once_and_again_when_damaged(model: VRMM, tmp_path: Path) -> None:
    store = SampleStore(tmp_path, model, RENDERING, NONE, small_recipe(samples=4))
    first, rendered = store.get()
    assert rendered == 4
    again, rendered = store.get()
    assert rendered == 0
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:1000])
    mended, rendered = store.get()
    assert rendered == 4
    for name, value in first.tensors().items():
        assert torch.equal(value, again.tensors()[name])
        assert torch.equal(value, mended.tensors()[name])


def test_augmented_truth_fits_the_picture(samples: Samples) -> None:
    plain = AugmentConfig(black=1.0, far=0.0, empty=0.0, blur=0.0, noise=0.0, jpeg=0.0)
    batch = Augmentation(plain, 32, has_level=False)(samples, torch.Generator().manual_seed(0))
    again = Augmentation(plain, 32, has_level=False)(samples, torch.Generator().manual_seed(0))
    assert torch.equal(batch.picture, again.picture)
    assert bool((batch.near == 1).all())
    # The light is as much brighter as the picture: colour is linear in it.
    linear = batch.picture**2.2
    ratio = batch.light.mean(dim=(1, 2)) / samples.light.mean(dim=(1, 2))
    before = (samples.picture[:, :3].float() / 255) ** 2 * samples.peak[:, None, None, None]
    unclipped = (linear < 0.999).flatten(1).all(dim=1)
    assert bool(unclipped.any())
    brightest = linear.amax(dim=(1, 2, 3)) / before.amax(dim=(1, 2, 3))
    assert float((brightest / ratio)[unclipped].log().abs().max()) < 0.35  # resampling, and the tint
    # The face's box is half of the crop, give or take the zoom.
    side = (batch.landmarks.amax(dim=1) - batch.landmarks.amin(dim=1)).amax(dim=1)
    assert 0.6 < float(side.min()) <= float(side.max()) < 1.7
    empty = Augmentation(dataclasses.replace(plain, empty=1.0), 32, has_level=False)
    assert float(empty(samples, torch.Generator().manual_seed(0)).asked.sum()) == 0.0


def test_the_untrained_network_says_what_is_usual(samples: Samples) -> None:
    network = InitializerNetwork(small_recipe().network, AnswerSizes(subjects=5, expression=6, directions=12)).eval()
    network.at_means(samples.landmarks, samples.z_e, samples.light, samples.focal.log())
    with torch.no_grad():
        found = network(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(found.rotation, torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(2, 3, 3))
    torch.testing.assert_close(found.blend, torch.full((2, 5), 0.2))
    torch.testing.assert_close(found.log_field, samples.focal.log().mean().expand(2))
    torch.testing.assert_close(found.z_e[0], samples.z_e.mean(dim=0))
    assert float(found.light.min()) > 0.0


def test_an_interrupted_training_gives_the_same_network(run: Path) -> None:
    whole = train_initializer(run, small_recipe())
    assert 0.0 < whole["held_out"]["landmark_error"] < 1.0
    first = load_initializer(run, whole["prior"]).network.state_dict()
    assert {path.name for path in (run / "initializer").iterdir()} == {
        ".lock",
        "initializer.json",
        "weights.safetensors",
    }
    calls: list[str] = []
    assert train_initializer(run, small_recipe(), lambda stage, done, total: calls.append(stage)) == whole
    assert calls == []  # done already
    shutil.rmtree(run / "initializer")

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "training" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_initializer(run, small_recipe(), interrupt)
    assert {path.name for path in (run / "initializer").iterdir()} == {".lock", CHECKPOINT, SAMPLES}
    with pytest.raises(VrmmError, match="has no initializer; train it with: vrmm train-initializer"):
        load_initializer(run, whole["prior"])
    steps: list[int] = []
    resumed = train_initializer(
        run, small_recipe(), lambda s, done, total: steps.append(done) if s == "training" else 0
    )
    assert steps == [5, 6]  # the checkpoint of step 4 was the last
    assert resumed["held_out"] == whole["held_out"]
    for name, value in load_initializer(run, whole["prior"]).network.state_dict().items():
        assert torch.equal(value, first[name]), name


def test_it_learns(run: Path) -> None:
    """A hundred steps of a network of this size know a little better where a face is than none, and how light is."""
    before = train_initializer(run, small_recipe(samples=128, steps=1))["held_out"]
    after = train_initializer(run, small_recipe(samples=128, steps=120, batch=32, lr=1e-2))["held_out"]
    assert after["landmark_error"] < 0.95 * before["landmark_error"]
    assert after["light"] < 0.1 * before["light"]


def test_nothing_stale_or_damaged_is_used(run: Path) -> None:
    sha256 = train_initializer(run, small_recipe(samples=8, steps=1))["prior"]
    assert isinstance(load_initializer(run, sha256), Initializer)
    with pytest.raises(VrmmError, match="belongs to other weights of the prior"):
        load_initializer(run, "0" * 64)
    weights, description = (run / "initializer" / name for name in ("weights.safetensors", "initializer.json"))
    data = weights.read_bytes()
    weights.write_bytes(data[:-8] + bytes(8))
    with pytest.raises(VrmmError, match="is damaged; train it with"):
        load_initializer(run, sha256)
    weights.write_bytes(data)
    description.write_text(json.dumps({**json.loads(description.read_text()), "version": 9}))
    with pytest.raises(VrmmError, match="is not an initializer of version 1"):
        load_initializer(run, sha256)
    # Another prior in the same folder: it is trained again, not taken over.
    save_weights(tiny_model(seed=1), RENDERING, run)
    assert train_initializer(run, small_recipe(samples=8, steps=1))["prior"] != sha256


def test_squares_of_faces() -> None:
    points = torch.zeros(1, 68, 2)
    points[0, 0], points[0, 1] = torch.tensor([10.0, 20.0]), torch.tensor([26.0, 40.0])
    points[0, 2:] = 25.0
    torch.testing.assert_close(face_squares(points), torch.tensor([[18.0, 26.0, 40.0]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"steps": 0}, "steps=0"), ({"held_out": 0.7}, "held_out=0.7"), ({"batch": 0}, "batch=0")],
)
def test_impossible_recipes(change: dict, message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        small_recipe(**change)
