"""Videos that drive: known motion is found again, and what is no video of a face is said in one line."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.errors import VrmmError
from fitting.bank import TrainingBank
from fitting.driver import Scene, TrackingConfig, check_face, track
from fitting.drivervideo import read_driver_video, write_video_landmarks
from fitting.objective import CarriedLandmarks
from fitting.recipe import FitRecipe
from fitting.rendering import render_solution
from fitting.state import Solution
from prior.pictures import mask_picture, to_picture
from prior.primitives import rotation_from_axis_angle
from prior.vrmm import VRMM
from tests.fitting.conftest import Known, recipe
from tests.fitting.tiny import RENDERING, blank_views, cameras
from tools.video import write_video

FRAMES, SIZE, FPS = 10, 64, 10
QUICK = TrackingConfig(steps=12, keyframes=2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filmed:
    """A video beside which its landmarks and masks lie, and the rotations [T, 3, 3] in the world."""

    path: Path
    points: np.ndarray
    rotation: torch.Tensor


@pytest.fixture(scope="module")
def filmed(model: VRMM, tmp_path_factory: pytest.TempPathFactory) -> Filmed:
    """A head that turns from one side to the other by 30 degrees, in front of a camera that looks along -z."""
    yaw = torch.linspace(-0.26, 0.26, FRAMES)
    rotation = rotation_from_axis_angle(torch.stack([0 * yaw, yaw, 0 * yaw], dim=1))
    views = blank_views(cameras((0.0,) * FRAMES, size=SIZE))
    directions = model.light_sphere.directions
    solution = Solution(
        z_id=model.identity_codes.weight.mean(dim=0, keepdim=True),
        weights=torch.zeros(5),
        z_e=torch.zeros(1, 6),
        light=0.03 * (1.0 + 0.5 * directions[:, 2:]).expand(-1, 3).contiguous(),
        rotation=rotation,
        translation=torch.zeros(FRAMES, 3),
        cameras=views.cameras,
    )
    with torch.no_grad():
        found = render_solution(model, solution, RENDERING)
        world = CarriedLandmarks(model)(found.vertices) @ rotation.transpose(1, 2)
        points = views.cameras.project(world).numpy()
    path = tmp_path_factory.mktemp("video") / "me.mp4"
    bright = 0.3 / found.image[found.alpha.expand_as(found.image) > 0.5].mean()
    write_video(path, [to_picture(image * bright) for image in found.image], FPS)
    write_video(path.with_name("me.mask.mp4"), [mask_picture(alpha) for alpha in found.alpha], FPS)
    write_video_landmarks(path, points)
    return Filmed(path=path, points=points, rotation=rotation)


def beside(filmed: Filmed, folder: Path, points: np.ndarray | None) -> Path:
    """The same video with other landmarks, or none, in another folder."""
    path = folder / "me.mp4"
    path.write_bytes(filmed.path.read_bytes())
    if points is not None:
        write_video_landmarks(path, points)
    return path


def bank(model: VRMM) -> TrainingBank:
    return TrainingBank(codes=torch.zeros(0, 6), lights=torch.zeros(0, 12, 3))


def angles(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    cosine = ((a.transpose(1, 2) @ b).diagonal(dim1=1, dim2=2).sum(1) - 1.0) / 2.0
    return torch.rad2deg(torch.acos(cosine.clamp(-1.0, 1.0)))


def test_a_turning_head_is_followed(model: VRMM, filmed: Filmed) -> None:
    video = read_driver_video(filmed.path, 32, 30.0)
    assert (len(video.photos), video.fps) == (FRAMES, 10.0)
    steps: list[tuple[int, int]] = []
    quick: FitRecipe = recipe(inversion=20)
    found = track(model, RENDERING, bank(model), video, quick, QUICK, lambda done, total: steps.append((done, total)))
    assert len(found.curve) == FRAMES
    assert steps[-1] == (20 + 2 * 12, 20 + 2 * 12)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    # The landmarks are exact; pictures of 16 pixels pull by a few degrees at most. The head itself turns by 30.
    assert angles(found.curve.rotation, filmed.rotation).max() < 5.0
    assert found.curve.translation.norm(dim=1).max() < 0.01
    check_face(found, "me.mp4")


def test_frames_are_lit_as_the_inversion_found(model: VRMM, known: Known) -> None:
    """A head that stands as it stood when the light was found looks the same; turned, it keeps the light's power."""
    solution = dataclasses.replace(
        known.solution,
        z_e=known.solution.z_e.expand(2, -1),
        rotation=known.solution.rotation[:1].expand(2, 3, 3),
    )
    scene = Scene(model, RENDERING, solution, recipe(), QUICK)
    with torch.no_grad():
        wanted, found = render_solution(model, solution, RENDERING), scene.render(solution)
        turn = rotation_from_axis_angle(torch.tensor([[0.0, 0.7, 0.0]]))
        turned = scene.render(dataclasses.replace(solution, rotation=turn @ solution.rotation))
    torch.testing.assert_close(found.image, wanted.image, rtol=1e-3, atol=1e-4 * float(wanted.image.max()))
    assert 0.3 < float(turned.image.mean() / wanted.image.mean()) < 3.0


def test_frames_without_a_face_are_bridged(model: VRMM, filmed: Filmed, tmp_path: Path) -> None:
    points = filmed.points.copy()
    points[[3, 4]] = np.nan
    video = read_driver_video(beside(filmed, tmp_path, points), 32, 30.0)
    assert len(video.photos) == FRAMES - 2
    found = track(model, RENDERING, bank(model), video, recipe(inversion=6), dataclasses.replace(QUICK, steps=2))
    assert len(found.curve) == FRAMES
    turn = angles(found.curve.rotation[:1].expand(FRAMES, 3, 3), found.curve.rotation)
    assert (turn[1:] > turn[:-1]).all(), "it goes on turning"


def test_a_rate_below_the_videos_takes_every_nth_frame(filmed: Filmed) -> None:
    video = read_driver_video(filmed.path, 32, 4.0)
    assert (len(video.photos), video.fps) == (4, pytest.approx(10 / 3))
    np.testing.assert_allclose(video.seconds, [0.0, 0.3, 0.6, 0.9])
    assert {photo.mask_source for photo in video.photos} == {"file"}


def test_a_video_without_a_face_is_said_in_one_line(filmed: Filmed, tmp_path: Path) -> None:
    path = beside(filmed, tmp_path, np.full_like(filmed.points, np.nan))
    with pytest.raises(VrmmError, match=r"me\.mp4 shows no face"):
        read_driver_video(path, 32, 30.0)


def test_something_else_than_a_head_is_noticed(model: VRMM, filmed: Filmed) -> None:
    """Landmarks of a face on a picture whose masks show something else."""
    video = read_driver_video(filmed.path, 32, 30.0)
    corner = torch.zeros_like(video.photos[0].mask)
    corner[:, :6, :6] = 1.0
    photos = [dataclasses.replace(photo, mask=corner, image=photo.image * corner) for photo in video.photos[:4]]
    cut = dataclasses.replace(video, photos=photos, seconds=video.seconds[:4])
    found = track(model, RENDERING, bank(model), cut, recipe(inversion=4), dataclasses.replace(QUICK, steps=2))
    assert found.reasons
    with pytest.raises(VrmmError, match=r"me\.mp4 shows no face where its landmarks are"):
        check_face(found, "me.mp4")


def test_what_is_no_driver_video(filmed: Filmed, tmp_path: Path) -> None:
    with pytest.raises(VrmmError, match="does not exist"):
        read_driver_video(tmp_path / "none.mp4", 32, 30.0)
    path = beside(filmed, tmp_path, None)
    with pytest.raises(VrmmError, match=r"has no landmarks: put me\.lmk\.npz"):
        read_driver_video(path, 32, 30.0)
    with pytest.raises(VrmmError, match=r"has 10 frames, but its landmarks are of 12"):
        read_driver_video(beside(filmed, tmp_path, np.concatenate([filmed.points, filmed.points[:2]])), 32, 30.0)
    np.savez(tmp_path / "me.lmk.npz", landmarks=filmed.points[:, :5])
    with pytest.raises(VrmmError, match="needed are"):
        read_driver_video(path, 32, 30.0)
    path = beside(filmed, tmp_path, filmed.points)
    write_video(tmp_path / "me.mask.mp4", [np.zeros((SIZE, SIZE, 3), np.uint8)] * 3, FPS)
    with pytest.raises(VrmmError, match="fewer frames than its video"):
        read_driver_video(path, 32, 30.0)
    path.write_bytes(b"no video at all")
    with pytest.raises(VrmmError, match="is not a video that can be read"):
        read_driver_video(path, 32, 30.0)
