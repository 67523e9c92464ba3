"""An avatar that is the truth itself is measured as perfect, whatever world it was fitted in."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from datasets.capture import Pose
from fitting.avatar import Avatar
from fitting.benchmark.measure import measure
from fitting.benchmark.photos import PAIR, Photograph, film, new_views, photographs, write_photographs
from fitting.state import Solution
from fitting.truth import evaluation_shots, new_lights
from prior.cameras import CameraBatch
from tests.fitting.benchmark.made_up_people import RIG, SIZE, MadeUpStage, config, info, someone
from tests.fitting.tiny import RENDERING


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that ``measure`` takes."""

    stage: MadeUpStage
    photos: list[Photograph]
    film: list[Photograph]
    folder: Path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    stage, folder = MadeUpStage(info(1)), tmp_path_factory.mktemp("photos")
    photos = photographs(stage, someone(), config())
    frames = film(stage, someone(), photos[0], 4)
    taken = [*photos, *frames]
    pictures = [_truth(stage, photo.moment, photo.camera) for photo in taken]
    write_photographs(folder, taken, pictures, 0.0, 0)
    return Scene(stage=stage, photos=photos, film=frames, folder=folder)


def _truth(stage: MadeUpStage, moment, camera):
    request = moment.seen(camera)
    return stage.truth_image(request.subject, np.array(request.expression), request.light, camera, request.pose, 0)


def true_avatar(scene: Scene, taken: list[Photograph], *, room: bool) -> Avatar:
    """The person, seen by cameras that each are their own world, as fits of photos have them; ``room`` as of videos."""
    first = taken[0]
    turns = np.stack([photo.camera.world_to_camera[:, :3] @ photo.moment.pose.rotation for photo in taken])
    places = [
        photo.camera.world_to_camera[:, :3] @ photo.moment.pose.translation + photo.camera.world_to_camera[:, 3]
        for photo in taken
    ]
    rotation = torch.tensor(turns, dtype=torch.float32)
    cameras = CameraBatch(
        world_to_camera=torch.eye(4)[:3].expand(len(taken), 3, 4),
        intrinsics=torch.tensor(np.stack([photo.camera.intrinsics for photo in taken]), dtype=torch.float32),
        height=SIZE,
        width=SIZE,
    )
    solution = Solution(
        z_id=scene.stage.identity(first.moment.subject),
        weights=torch.zeros(5),
        z_e=torch.tensor([photo.moment.expression for photo in taken], dtype=torch.float32),
        light=scene.stage.light(first.moment.light, first.moment.pose),
        rotation=rotation,
        translation=torch.tensor(np.stack(places), dtype=torch.float32),
        cameras=cameras,
        light_rotation=rotation[0] if room else None,
    )
    crops = [np.eye(3).tolist()] * len(taken)
    return Avatar(
        model=scene.stage.model,
        rendering=RENDERING,
        solution=solution,
        inversion=solution,
        description={"placed": False, "crops": crops, "photos": [photo.name for photo in taken]},
        report={},
    )


@pytest.mark.parametrize("kind", ["one photo", "photos", "video"])
def test_the_truth_is_perfect(scene: Scene, kind: str) -> None:
    taken = {"one photo": scene.photos[:1], "photos": scene.photos[:3], "video": scene.film}[kind]
    views = new_views(RIG)
    pair = (views[PAIR[0]], views[PAIR[1]])
    shots = evaluation_shots(
        taken[0].moment, views, pair, new_lights(scene.stage, config().truth), someone().head.gestures
    )
    truths = [_truth(scene.stage, _moment(shot), shot.camera) for shot in shots]
    avatar = true_avatar(scene, taken, room=kind == "video")
    found = measure({"true": avatar}, scene.folder, taken, shots, truths)
    assert len(found.rows) == len(taken) + len(shots)
    assert found.truth.shape == found.answers["true"].shape == (len(found.rows), SIZE, SIZE, 3)
    for row in found.rows[len(taken) :]:
        # The pose in the rig comes from projected landmarks: a hundredth of a degree.
        assert row["true"]["psnr"] > 50.0, row
        assert row["true"]["mask_iou"] > 0.99, row
    assert found.rows[0]["true"]["psnr"] > 40.0, "8-bit photos"
    fit = found.fits["true"]
    assert fit["pose_degrees"] < 0.1
    assert fit["landmark_error"] < 1e-3
    assert fit["scale"] == pytest.approx(1.0, abs=2e-3)


def test_errors_are_of_what_is_wrong(scene: Scene) -> None:
    taken, avatar = scene.photos[:2], true_avatar(scene, scene.photos[:2], room=False)
    turn = torch.tensor(Rotation.from_rotvec([0.0, np.radians(10.0), 0.0]).as_matrix(), dtype=torch.float32)
    turned = dataclasses.replace(avatar.solution, rotation=avatar.solution.rotation @ turn)
    wrong = {"true": avatar, "turned": dataclasses.replace(avatar, solution=turned)}
    found = measure(wrong, scene.folder, taken, [], [])
    assert found.fits["turned"]["pose_degrees"] == pytest.approx(10.0, abs=0.1)
    assert found.fits["turned"]["landmark_error"] > 0.02
    assert found.fits["true"]["landmark_error"] < 1e-3


def test_photos_are_of_different_moments_and_sides(scene: Scene) -> None:
    expressions = {photo.moment.expression for photo in scene.photos}
    centers = np.stack([photo.camera.center for photo in scene.photos])
    assert len(expressions) == len(scene.photos) == 8
    assert np.linalg.norm(centers[:, None] - centers[None], axis=-1)[~np.eye(8, dtype=bool)].min() > 0.1
    assert np.degrees(np.arctan2(centers[:3, 0], centers[:3, 2])) == pytest.approx([4.0, 36.0, -38.0], abs=0.01)
    turns = [photo.moment.pose.rotation for photo in scene.photos]
    assert all(not np.allclose(turns[0], turn) for turn in turns[1:])


def test_a_film_begins_with_the_first_photo_and_turns(scene: Scene) -> None:
    frames = film(scene.stage, someone(), scene.photos[0], 60)
    first = scene.photos[0]
    assert frames[0].camera is first.camera
    np.testing.assert_allclose(frames[0].moment.expression, first.moment.expression)
    np.testing.assert_allclose(frames[0].moment.pose.rotation, first.moment.pose.rotation)
    angles = [_degrees(first.moment.pose, frame.moment.pose) for frame in frames]
    assert 38.0 < max(angles) < 45.0
    steps = [_degrees(a.moment.pose, b.moment.pose) for a, b in itertools.pairwise(frames)]
    assert max(steps) < 6.0, "no jumps"
    moved = np.array([frame.moment.expression for frame in frames])
    assert np.abs(np.diff(moved, axis=0)).max() < 0.5 * np.abs(moved - moved[0]).max()


def _degrees(a: Pose, b: Pose) -> float:
    return float(np.degrees(Rotation.from_matrix(a.rotation.T @ b.rotation).magnitude()))


def _moment(shot):
    from fitting.truth import Moment

    truth = shot.truth
    return Moment(subject=truth.subject, expression=truth.expression, pose=truth.pose, light=truth.light)
