"""From photos on disk to a bundle and back: whole or absent, resumable, one line for every problem."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.capture import Camera, Light, Pose
from datasets.errors import VrmmError
from datasets.images import encode_mask, encode_radiance
from fitting import fit as fitting_fit
from fitting.avatar import Avatar, inverted_avatar
from fitting.camerafile import PhotoCamera, write_camera_file
from fitting.fit import fit
from fitting.inputs import PHOTO
from fitting.landmarks import write_landmarks
from fitting.recipe import FitRecipe
from fitting.resume import working_folder
from fitting.rig import pose_in_rig
from prior.vrmm import VRMM
from tests.fitting.conftest import Known, photograph, recipe

BUNDLE = {"avatar.json", "weights.safetensors", "model.json", "identity.npz", "inversion.npz", "fit.json"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    photos: list[Path]
    cameras: Path


def write_photos(known: Known, folder: Path) -> Inputs:
    """The pictures as a user has them: brightened to 8 bits, with masks, landmarks and a camera file."""
    photos, cameras = [], {}
    views = known.views
    for k, name in enumerate(views.names):
        image = views.images[k].permute(1, 2, 0).numpy() / np.maximum(views.masks[k, 0].numpy(), 1 / 255)[..., None]
        path = folder / name
        path.write_bytes(encode_radiance(0.3 * image / image.mean(), PHOTO))
        path.with_name(f"{path.stem}.mask.png").write_bytes(encode_mask(views.masks[k, 0].numpy()))
        write_landmarks(path, views.landmarks[k].double().numpy())
        cameras[name] = PhotoCamera(
            intrinsics=views.cameras.intrinsics[k].double().numpy(),
            width=32,
            height=32,
            world_to_camera=views.cameras.world_to_camera[k].double().numpy(),
        )
        photos.append(path)
    write_camera_file(folder / "cameras.json", cameras)
    return Inputs(photos=photos, cameras=folder / "cameras.json")


@pytest.fixture(scope="module")
def inputs(known: Known, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_photos(known, tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def avatar_folder(inputs: Inputs, run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit") / "avatar"
    fit(inputs.photos, run_folder, recipe(inversion=25, finetune=5), folder, cameras=inputs.cameras)
    return folder


def camera_of(known: Known, index: int = 0) -> Camera:
    cameras = known.views.cameras
    return Camera(
        name="c",
        world_to_camera=cameras.world_to_camera[index].double().numpy(),
        intrinsics=cameras.intrinsics[index].double().numpy(),
        width=32,
        height=32,
    )


def test_the_bundle_renders_what_was_fitted(
    avatar_folder: Path, inputs: Inputs, known: Known, run_folder: Path
) -> None:
    assert {path.name for path in avatar_folder.iterdir()} == BUNDLE
    assert not working_folder(avatar_folder).exists()
    settings = recipe(inversion=25, finetune=5)
    # Just this fit again: it is found complete. And once more from the start: the same bits.
    kept = fit(inputs.photos, run_folder, settings, avatar_folder, cameras=inputs.cameras)
    fresh = fit(inputs.photos, run_folder, settings, avatar_folder.with_name("again"), cameras=inputs.cameras)
    camera = camera_of(known)
    loaded = Avatar.load(avatar_folder).render(None, None, camera)
    assert torch.equal(loaded.image, kept.render(None, None, camera).image)
    assert torch.equal(loaded.image, fresh.render(None, None, camera).image)
    assert kept.report["sound"] == (not kept.report["reasons"])
    assert kept.report["input"]["finetuned"]["psnr"] > 15.0
    json.dumps(kept.report, allow_nan=False)


def test_light_expression_camera_and_pose_can_be_changed(avatar_folder: Path, known: Known) -> None:
    avatar = Avatar.load(avatar_folder)
    camera, other = camera_of(known), camera_of(known, 1)
    base = avatar.render(None, None, camera).image
    doubled = avatar.render(None, 2.0 * avatar.solution.light, camera).image
    torch.testing.assert_close(doubled, 2.0 * base, rtol=1e-4, atol=1e-5)
    lamp = Light(positions=np.array([[2.0, 0.0, 1.0]]), irradiance=np.array([[3.0, 3.0, 3.0]]))
    assert not torch.allclose(avatar.render(None, lamp, camera).image, base)
    assert not torch.allclose(avatar.render(torch.ones(6), None, camera).image, base)
    # Turning head and camera together with a light field of the head changes nothing but rounding.
    turn = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
    moved = np.concatenate([camera.world_to_camera[:, :3] @ turn.T, camera.world_to_camera[:, 3:]], axis=1)
    pose = Pose(rotation=turn @ avatar.pose.rotation, translation=turn @ avatar.pose.translation)
    turned = avatar.render(None, None, dataclasses.replace(camera, world_to_camera=moved), pose).image
    assert float((turned - base).abs().mean()) < 0.01 * float(base.abs().mean())
    views = avatar.render_views(None, None, [camera, other])
    torch.testing.assert_close(views.image[0, 0], base, atol=1e-4, rtol=1e-3)


def test_the_inversion_alone_is_the_prior_with_other_codes(avatar_folder: Path, run_folder: Path, model: VRMM) -> None:
    before = inverted_avatar(Avatar.load(avatar_folder), run_folder)
    for name, value in before.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    weights = before.solution.weights
    torch.testing.assert_close(before.solution.z_id, weights[None] @ model.identity_codes.weight, atol=1e-4, rtol=1e-3)


def test_an_ablation_takes_over_the_inversion(avatar_folder: Path, inputs: Inputs, run_folder: Path) -> None:
    settings = recipe(inversion=25, finetune=2)
    settings.finetune.locality.weight = 0.0
    stages = []
    without = fit(
        inputs.photos,
        run_folder,
        settings,
        avatar_folder.with_name("without"),
        cameras=inputs.cameras,
        inversion_from=avatar_folder,
        progress=lambda stage, done, total, loss: stages.append(stage),
    )
    assert set(stages) == {"fine-tuning"}
    assert torch.equal(without.inversion.z_id, Avatar.load(avatar_folder).inversion.z_id)
    assert without.report["losses"]["locality"] == []


def test_an_interrupted_fit_leaves_no_bundle_and_continues(inputs: Inputs, run_folder: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "avatar", recipe(inversion=6, finetune=6)

    def interrupt(stage: str, done: int, total: int, loss: float) -> None:
        if stage == "fine-tuning" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(inputs.photos, run_folder, settings, out, cameras=inputs.cameras, progress=interrupt)
    assert not out.exists()
    stages = []
    resumed = fit(
        inputs.photos,
        run_folder,
        settings,
        out,
        cameras=inputs.cameras,
        progress=lambda stage, done, total, loss: stages.append(stage),
    )
    assert set(stages) == {"fine-tuning"}
    whole = fit(inputs.photos, run_folder, settings, tmp_path / "whole", cameras=inputs.cameras)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_disk_that_fails_leaves_no_bundle(
    inputs: Inputs, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fitting.avatar.save_weights", fail)
    with pytest.raises(VrmmError, match=r"cannot write the avatar .*No space left"):
        fit(inputs.photos, run_folder, recipe(inversion=2, finetune=1), tmp_path / "avatar", cameras=inputs.cameras)
    assert [path.name for path in tmp_path.iterdir()] == [".avatar.fitting"]


def test_a_failed_replacement_brings_the_old_avatar_back(
    avatar_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "avatar"
    shutil.copytree(avatar_folder, target)
    avatar, rename = Avatar.load(target), os.rename

    def fail(source: Path, destination: Path) -> None:
        if str(source).endswith(".tmp"):
            raise OSError(5, "Input/output error")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(VrmmError, match="cannot write the avatar"):
        avatar.save(target)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["avatar"]
    Avatar.load(target)
    avatar.save(target)
    assert [path.name for path in tmp_path.iterdir()] == ["avatar"]


def test_nothing_but_an_avatar_is_ever_replaced(inputs: Inputs, run_folder: Path, avatar_folder: Path) -> None:
    for target in (run_folder, inputs.photos[0].parent):
        before = sorted(path.name for path in target.iterdir())
        with pytest.raises(VrmmError, match="is not an avatar; choose another --out"):
            fit(inputs.photos, run_folder, recipe(), target, cameras=inputs.cameras)
        assert sorted(path.name for path in target.iterdir()) == before
    with pytest.raises(VrmmError, match="avatar of other photos or another recipe"):
        fit(inputs.photos[:1], run_folder, recipe(), avatar_folder, cameras=inputs.cameras)


@pytest.mark.parametrize("place", ["run", "empty", "absent", "file"])
def test_other_folders_are_no_avatars(place: str, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    target = run_folder if place == "run" else tmp_path / place
    with pytest.raises(VrmmError, match=r"is not an avatar: there is no avatar\.json"):
        Avatar.load(target)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "identity.npz").write_bytes(b"PK"), r"identity\.npz does not hold a fit"),
        (lambda folder: (folder / "identity.npz").unlink(), r"identity\.npz does not hold a fit"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"x"), r"weights\.safetensors cannot be read"),
        (lambda folder: (folder / "fit.json").write_text("{"), "is not a fit report"),
        (lambda folder: (folder / "avatar.json").write_text("{}"), "does not describe an avatar"),
        (lambda folder: (folder / "model.json").unlink(), r"there is no model\.json"),
        (
            lambda folder: (folder / "avatar.json").write_text('{"format": "vrmm.avatar", "version": 99}'),
            "of version 99; this vrmm reads 1",
        ),
    ],
)
def test_damaged_avatars_give_one_line(avatar_folder: Path, tmp_path: Path, damage, message: str) -> None:
    shutil.copytree(avatar_folder, tmp_path / "avatar")
    damage(tmp_path / "avatar")
    with pytest.raises(VrmmError, match=message) as caught:
        Avatar.load(tmp_path / "avatar")
    assert "\n" not in str(caught.value)


def test_bad_requests_give_one_line(inputs: Inputs, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(message: str, photos: list[Path], prior: Path = run_folder, cameras: Path | None = None) -> None:
        with pytest.raises(VrmmError, match=message) as caught:
            fit(photos, prior, recipe(inversion=1, finetune=0), out, cameras=cameras)
        assert "\n" not in str(caught.value)
        assert not out.exists()

    refused("is not a run folder", inputs.photos, prior=tmp_path)
    refused("does not exist", [tmp_path / "absent.png"])
    refused("1 to 8 photos, not 0", [])
    refused("same file name", [inputs.photos[0], inputs.photos[0]])
    (tmp_path / "one.json").write_text(json.dumps({"view0.png": json.loads(inputs.cameras.read_text())["view0.png"]}))
    refused(r"no camera for view1\.png", inputs.photos, cameras=tmp_path / "one.json")


def test_a_failed_fit_is_marked(inputs: Inputs, run_folder: Path, tmp_path: Path) -> None:
    """A mask of another shape than any head: the outline cannot match."""
    photo = tmp_path / "p.png"
    shutil.copy(inputs.photos[0], photo)
    shutil.copy(inputs.photos[0].with_name("view0.lmk.npz"), tmp_path / "p.lmk.npz")
    mask = np.zeros((32, 32))
    mask[12:20, 12:20] = 1.0
    (tmp_path / "p.mask.png").write_bytes(encode_mask(mask))
    report = fit([photo], run_folder, recipe(inversion=2, finetune=0), tmp_path / "out").report
    assert not report["sound"]
    assert "outline" in report["reasons"][0]


def test_an_avatar_without_cameras_is_put_into_the_rig(run_folder: Path, tmp_path: Path, model: VRMM) -> None:
    known = photograph(model, (0.0, 30.0))
    given = write_photos(known, tmp_path)
    avatar = fit(given.photos, run_folder, recipe(inversion=40, finetune=0), tmp_path / "avatar")
    assert not avatar.description["placed"]
    found = pose_in_rig(avatar, [camera_of(known, k) for k in range(2)])
    cosine = (np.trace(found.rotation.T @ known.solution.rotation[0].double().numpy()) - 1) / 2
    # Lens and distance are guessed: what must be right is where the head looks and where it is in the pictures.
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))) < 8.0
    assert np.linalg.norm(found.translation - known.solution.translation[0].numpy()) < 0.02


def test_a_second_fit_of_the_same_folder_waits(inputs: Inputs, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "avatar"

    def second(stage: str, done: int, total: int, loss: float) -> None:
        with pytest.raises(VrmmError, match="is being written by process"):
            fit(inputs.photos, run_folder, recipe(inversion=1, finetune=1), out, cameras=inputs.cameras)

    fit(inputs.photos, run_folder, recipe(inversion=1, finetune=1), out, cameras=inputs.cameras, progress=second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 8}, "image_size=8 is too small"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_impossible_recipes(change: dict, message: str) -> None:
    with pytest.raises(VrmmError, match=message):
        FitRecipe(**change)


def test_curves_stay_short() -> None:
    assert len(fitting_fit.thinned([0.0] * 1001)) <= fitting_fit.CURVE_POINTS
