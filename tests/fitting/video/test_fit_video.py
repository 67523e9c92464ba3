"""A film of known motion becomes an avatar with that motion; interrupted anywhere it becomes the same avatar."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.capture import Camera, Pose
from datasets.errors import VrmmError
from fitting.avatar import Avatar
from fitting.landmarks import write_landmarks
from fitting.recipe import FitRecipe, LightFrame, without_locality
from fitting.resume import working_folder
from fitting.video.fit import STAGES, fit_video, video_share
from prior.metrics import rotation_angle
from prior.vrmm import VRMM
from tests.fitting.conftest import recipe
from tests.fitting.video.clips import Film, eight_bits, encode, film, write_folder, write_lens

FRAMES = 11
BUNDLE = {
    "avatar.json",
    "weights.safetensors",
    "model.json",
    "identity.npz",
    "inversion.npz",
    "fit.json",
    "animation.npz",
}


def settings(*, inversion: int = 40, steps: int = 8, finetune: int = 10, visits: int = 3, **video) -> FitRecipe:
    found = recipe(inversion=inversion, finetune=finetune)
    found.video.steps, found.video.visits, found.video.save_every = steps, visits, 4
    for name, value in video.items():
        setattr(found.video, name, value)
    return found


@pytest.fixture(scope="module")
def truth(model: VRMM) -> Film:
    return film(model, FRAMES)


@pytest.fixture(scope="module")
def folder(truth: Film, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = write_folder(truth, tmp_path_factory.mktemp("film") / "film")
    write_lens(place.parent / "cameras.json", "film", "film.mp4")
    return place


@pytest.fixture(scope="module")
def avatar_folder(folder: Path, run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("video") / "avatar"
    fit_video(folder, run_folder, settings(), out, cameras=folder.parent / "cameras.json")
    return out


def test_the_motion_is_found(avatar_folder: Path, truth: Film) -> None:
    assert {path.name for path in avatar_folder.iterdir()} == BUNDLE
    assert not working_folder(avatar_folder).exists()
    avatar = Avatar.load(avatar_folder)
    curve = avatar.animation
    assert curve is not None
    assert (len(curve), curve.fps) == (FRAMES, 25.0)
    angles = [float(rotation_angle(curve.rotation[row], truth.solution.rotation[row])) for row in range(FRAMES)]
    # 32² pictures in 8 bits: as with photos of this size, the outline holds a pose to about two degrees.
    assert np.max(angles) < 0.06
    away = (curve.translation - truth.solution.translation).numpy()
    assert np.abs(away[:, :2]).max() < 0.004
    moved = np.corrcoef(curve.translation[:, 0].numpy(), truth.solution.translation[:, 0].numpy())[0, 1]
    assert moved > 0.95
    assert avatar.report["input"]["finetuned"]["psnr"] > 20.0
    assert avatar.report["sound"], avatar.report["reasons"]
    assert set(avatar.report["seconds"]) >= {"reading", "first_frame", "tracking", "joint", "inversion", "finetuning"}
    assert avatar.description["video"] == {"name": "film", "frames": FRAMES, "fps": 25.0}
    json.dumps(avatar.report, allow_nan=False)


def test_the_light_stays_in_the_room(avatar_folder: Path) -> None:
    """Turning head and camera together is seen under another light in a room, and under the same on the head."""
    avatar = Avatar.load(avatar_folder)
    cameras = avatar.solution.cameras
    camera = Camera(
        name="c",
        world_to_camera=cameras.world_to_camera[0].double().numpy(),
        intrinsics=cameras.intrinsics[0].double().numpy(),
        width=32,
        height=32,
    )
    turn = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    pose = Pose(rotation=turn @ avatar.pose.rotation, translation=turn @ avatar.pose.translation)
    field = avatar.light_field(None, avatar.pose)
    turned = avatar.light_field(None, pose)
    assert float(turned.sum()) == pytest.approx(float(field.sum()), rel=1e-4)
    directions = avatar.model.light_sphere.directions
    mean, mean_turned = ((value.mean(dim=1, keepdim=True) * directions).sum(dim=0) for value in (field, turned))
    world, world_turned = (
        torch.tensor(rotation).float() @ value
        for rotation, value in ((avatar.pose.rotation, mean), (pose.rotation, mean_turned))
    )
    # Twelve directions blur what turns, but keep where it comes from.
    assert float(torch.cosine_similarity(world_turned, world, dim=0)) > 0.95
    assert float(torch.cosine_similarity(mean_turned, mean, dim=0)) < 0.9, "the head itself is lit from elsewhere"
    assert avatar.render(None, None, camera).image.shape == (3, 32, 32)


def test_just_this_fit_again_is_found_complete(avatar_folder: Path, folder: Path, run_folder: Path) -> None:
    stages: list[str] = []
    kept = fit_video(
        folder,
        run_folder,
        settings(),
        avatar_folder,
        cameras=folder.parent / "cameras.json",
        progress=lambda stage, done, total, loss: stages.append(stage),
    )
    assert stages == []
    assert torch.equal(kept.solution.z_id, Avatar.load(avatar_folder).solution.z_id)
    with pytest.raises(VrmmError, match="avatar of other photos or another recipe"):
        fit_video(folder, run_folder, settings(finetune=1), avatar_folder)


def test_an_avatar_of_another_prior_stays(avatar_folder: Path, folder: Path, run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(avatar_folder, tmp_path / "avatar")
    shutil.copytree(run_folder, tmp_path / "prior")
    path = tmp_path / "prior" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(VrmmError, match="is an avatar of another prior"):
        fit_video(folder, tmp_path / "prior", settings(), tmp_path / "avatar", cameras=folder.parent / "cameras.json")
    assert {file.name for file in (tmp_path / "avatar").iterdir()} == BUNDLE


SMALL = {"inversion": 6, "steps": 2, "finetune": 3, "visits": 2}
"""Of a fit whose result does not matter."""


def test_interrupted_is_uninterrupted(folder: Path, run_folder: Path, tmp_path: Path) -> None:
    """Stopped in the middle of every stage, each time by ctrl-C, it ends with the same bytes."""
    cameras = folder.parent / "cameras.json"
    fit_video(folder, run_folder, settings(**SMALL), tmp_path / "whole", cameras=cameras)
    out, stops, seen = tmp_path / "avatar", iter([*STAGES, "none"]), []
    for stop in stops:
        stages: list[str] = []

        def interrupt(stage: str, done: int, total: int, loss: float, stop=stop, stages=stages) -> None:
            stages.append(stage)
            if stage == stop and done > total // 2:
                raise KeyboardInterrupt

        seen.append(stages)
        if stop == "none":
            fit_video(folder, run_folder, settings(**SMALL), out, cameras=cameras, progress=interrupt)
            break
        with pytest.raises(KeyboardInterrupt):
            fit_video(folder, run_folder, settings(**SMALL), out, cameras=cameras, progress=interrupt)
        assert not out.exists()
    assert seen[-1][0] == "fine-tuning", "what was done is not done again"
    for name in ("weights.safetensors", "animation.npz"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    for name in ("identity.npz", "inversion.npz"):
        with np.load(out / name) as one, np.load(tmp_path / "whole" / name) as other:
            for key in other:
                if key != "facts":
                    np.testing.assert_array_equal(one[key], other[key], err_msg=f"{name} {key}")


def test_another_fine_tuning_needs_no_tracking(folder: Path, run_folder: Path, tmp_path: Path) -> None:
    """What comes before the fine-tuning is kept for it, and it has its own time."""
    cameras, tracked = folder.parent / "cameras.json", tmp_path / "tracked"
    first = fit_video(folder, run_folder, settings(**SMALL), tmp_path / "first", cameras=cameras, tracked_in=tracked)
    other, stages = without_locality(settings(**SMALL)), []
    second = fit_video(
        folder,
        run_folder,
        other,
        tmp_path / "second",
        cameras=cameras,
        tracked_in=tracked,
        progress=lambda stage, done, total, loss: stages.append(stage),
    )
    # The last frames of the tracking are not a whole chunk, and are followed again.
    assert not {"reading", "first frame", "joint fit"} & set(stages)
    assert stages.count("tracking") < FRAMES - 1
    fit_video(folder, run_folder, other, tmp_path / "alone", cameras=cameras)
    alone = (tmp_path / "alone" / "weights.safetensors").read_bytes()
    assert (tmp_path / "second" / "weights.safetensors").read_bytes() == alone
    assert (tmp_path / "first" / "weights.safetensors").read_bytes() != alone
    seconds = [avatar.report["seconds"]["finetuning"] for avatar in (first, second)]
    assert seconds[1] != seconds[0]
    assert second.report["seconds"]["tracking"] >= first.report["seconds"]["tracking"]
    assert json.loads((tracked / "seconds.json").read_text()).keys() >= {"tracking"}
    assert "finetuning" not in json.loads((tracked / "seconds.json").read_text())


def test_a_share_of_the_fit_grows_to_all_of_it() -> None:
    shares = [video_share(stage, done, 4) for stage in STAGES for done in range(5)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, pytest.approx(1.0))


def test_other_frames_start_anew(folder: Path, run_folder: Path, tmp_path: Path) -> None:
    place, out = tmp_path / "film", tmp_path / "avatar"
    shutil.copytree(folder, place)

    def interrupt(stage: str, done: int, total: int, loss: float) -> None:
        if stage == "tracking":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_video(place, run_folder, settings(**SMALL), out, progress=interrupt)
    for row in range(4, FRAMES):
        (place / f"frame{row}.png").unlink()
    avatar = fit_video(place, run_folder, settings(**SMALL, light=LightFrame.head), out)
    assert avatar.animation is not None
    assert len(avatar.animation) == 4
    assert avatar.solution.light_rotation is None


def test_a_file_without_masks_and_lens(truth: Film, run_folder: Path, tmp_path: Path) -> None:
    """Everything is unknown; one frame shows no face."""
    clip = encode(tmp_path / "film.mp4", [eight_bits(picture) for picture in truth.stored])
    rows = truth.landmarks.double().numpy().copy()
    rows[3] = np.nan
    write_landmarks(clip, rows)
    avatar = fit_video(clip, run_folder, settings(**SMALL), tmp_path / "avatar")
    assert avatar.animation is not None
    assert (len(avatar.animation), avatar.animation.fps) == (FRAMES, 24.0)
    assert avatar.description["photos"][0] == "film.mp4 frame 0"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda place: (place / "frame0.lmk.npz").unlink(), r"frame0\.png has no landmarks of a face: put frame0"),
        (lambda place: [(place / f"frame{row}.lmk.npz").unlink() for row in range(1, FRAMES)], "shows no face from"),
        (lambda place: (place / "frame5.png").write_bytes(b"x"), r"frame5\.png cannot be read"),
        (lambda place: write_lens(place.parent / "cameras.json", "other"), "has no camera for film"),
    ],
)
def test_bad_videos_leave_nothing(folder: Path, run_folder: Path, tmp_path: Path, spoil, message: str) -> None:
    place, out = tmp_path / "film", tmp_path / "avatar"
    shutil.copytree(folder, place)
    cameras = write_lens(tmp_path / "cameras.json", "film")
    spoil(place)
    with pytest.raises(VrmmError, match=message) as caught:
        fit_video(place, run_folder, settings(**SMALL, fps=10.0), out, cameras=cameras)  # 0.4 s are 4 frames
    assert "\n" not in str(caught.value)
    assert not out.exists()
