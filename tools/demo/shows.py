"""What the report shows in motion: identities that turn into one another, lamps that go around heads, transfer."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from datasets.capture import Camera, Frame, Light, Pose
from datasets.lightstage.rig import look_at_origin
from fitting.avatar import Avatar
from prior.cameras import CameraBatch
from prior.encoders import Encoding
from prior.evaluation.answers import Answerer
from prior.evaluation.run import TrainedRun, load_run
from prior.lighting import fibonacci_directions
from prior.pictures import Strip, draw_sheet, to_picture, write_picture
from prior.preview import spread
from prior.render import RenderConfig, render_head
from prior.vrmm import VRMM
from tools.demo.settings import DemoSettings
from tools.video import write_video

Progress = Callable[[int, int], object]

TOUR = 4
"""People that the interpolation visits."""
SWAY_DEGREES = 24.0
"""How far a video's camera goes to each side."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    """Someone who can be shown: a training identity, or an avatar.

    Attributes:
        name: for captions.
        model, rendering: that show them.
        z_id: [1, I].
        z_e: [1, E], at rest.
        pose: of their model's head frame at rest.
    """

    name: str
    model: VRMM
    rendering: RenderConfig
    z_id: Float[Tensor, "1 I"]
    z_e: Float[Tensor, "1 E"]
    pose: Pose

    def show(
        self,
        camera: Camera,
        light: Light,
        *,
        z_id: Float[Tensor, "1 I"] | None = None,
        z_e: Float[Tensor, "1 E"] | None = None,
    ) -> Float[Tensor, "3 H W"]:
        """Linear radiance."""
        rotation = torch.tensor(self.pose.rotation, dtype=torch.float32)[None]
        translation = torch.tensor(self.pose.translation, dtype=torch.float32)[None]
        directions, irradiance = (
            torch.tensor(np.asarray(value), dtype=torch.float32)[None] for value in (light.directions, light.irradiance)
        )
        with torch.no_grad():
            field = self.model.light_sphere.radiance(directions, irradiance, rotation)
            picture = render_head(
                self.model,
                self.z_id if z_id is None else z_id,
                self.z_e if z_e is None else z_e,
                field,
                rotation,
                translation,
                CameraBatch.stack([camera]),
                self.rendering,
            )
        return picture.image[0, 0]


def training_person(run: TrainedRun, answerer: Answerer, subject: str) -> Person:
    """A training subject with the expression and the pose of their first frame, which is at rest."""
    encoding = answerer.encode(run.training_frames(subject)[0].key)
    number = torch.tensor([run.model.subjects.index(subject)])
    with torch.no_grad():
        code = run.model.identity_code(number)
    return Person(
        name=subject, model=run.model, rendering=run.rendering, z_id=code, z_e=encoding.mean, pose=_rest(encoding)
    )


def fitted_person(avatar: Avatar, neutral: Person) -> Person:
    """A fitted person, at rest as the prior sees rest."""
    return Person(
        name="fitted",
        model=avatar.model,
        rendering=avatar.rendering,
        z_id=avatar.solution.z_id.detach(),
        z_e=neutral.z_e,
        pose=neutral.pose,
    )


def write_interpolation(path: Path, people: Sequence[Person], rig: Camera, frames: int, progress: Progress) -> None:
    """One head turns into the next and back to the first, while the camera sways; expression at rest."""
    light = key_light(35.0, 30.0, total=11.0)

    def pictures() -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        for index in range(frames):
            place = index / frames
            camera = swaying_camera(rig, place)
            yield to_picture(people[0].show(camera, light, z_id=between(people, place)))
            progress(index + 1, frames)

    write_video(path, pictures())


def write_relighting(path: Path, people: Sequence[Person], rig: Camera, frames: int, progress: Progress) -> None:
    """A lamp goes around the heads once; a grey ball shows where it is."""

    def pictures() -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        for index in range(frames):
            light = key_light(360.0 * index / frames, 25.0, total=11.0)
            heads = [to_picture(person.show(rig, light)) for person in people]
            yield with_ball(np.concatenate(heads, axis=1), light)
            progress(index + 1, frames)

    write_video(path, pictures())


def write_transfer(path: Path, run: TrainedRun, answerer: Answerer, people: Sequence[Person], rig: Camera) -> None:
    """A sheet: expressions of several people (top) on others, all at rest in the same light."""
    drivers = driving_frames(run, 6)
    light = key_light(30.0, 30.0, total=11.0, ambient=0.5)
    camera = run.input_cameras[len(run.input_cameras) // 2]
    strips = [
        Strip(pictures=[to_picture(answerer.captured(frame.key, camera)) for frame in drivers], caption="captured")
    ]
    codes = [answerer.encode(frame.key).mean for frame in drivers]
    for person in people:
        shown = [to_picture(person.show(rig, light, z_e=code)) for code in codes]
        strips.append(Strip(pictures=shown, caption=f"on {person.name}"))
    write_picture(path, draw_sheet([frame.subject for frame in drivers], strips, cell=152))


def driving_frames(run: TrainedRun, count: int) -> list[Frame]:
    """Strong expressions, each of another subject, preferably fully lit."""
    frames = []
    for number, index in enumerate(spread(len(run.subjects), count)):
        candidates = run.training_frames(run.subjects[index])
        lit = [frame for frame in candidates if frame.full_on] or candidates
        strongest = sorted(lit, key=lambda frame: -float(np.linalg.norm(frame.expression or ())))
        frames.append(strongest[number % min(2, len(strongest))])
    return frames


def key_light(azimuth_degrees: float, elevation_degrees: float, *, total: float, ambient: float = 0.25) -> Light:
    """A lamp (azimuth 0 in front of the face, positive to its left) and a weak light from everywhere.

    Args:
        azimuth_degrees, elevation_degrees: where the lamp stands.
        total: irradiance of both together.
        ambient: share of the light from everywhere.
    """
    azimuth, elevation = np.radians([azimuth_degrees, elevation_degrees])
    toward = [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    around = fibonacci_directions(32)
    power = np.concatenate([[total * (1.0 - ambient)], np.full(len(around), total * ambient / len(around))])
    return Light(positions=np.concatenate([[toward], around]), irradiance=np.repeat(power[:, None], 3, axis=1))


def front_camera(reference: Camera, size: int) -> Camera:
    """A camera straight ahead that frames the head as the rig's ``reference`` does, at ``size`` pixels."""
    distance = float(np.linalg.norm(reference.center))
    angle = 2.0 * np.arctan(0.5 * reference.width / reference.intrinsics[0, 0])
    place = np.array([0.0, np.sin(np.radians(3.0)), np.cos(np.radians(3.0))]) * distance
    return look_at_origin(name="show", position=place, field_of_view=float(angle), size=size)


def swaying_camera(front: Camera, place: float) -> Camera:
    """The camera ``front`` on its way from side to side; ``place`` in [0, 1) is a whole period."""
    angle = np.radians(SWAY_DEGREES) * np.sin(2.0 * np.pi * place)
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    field = 2.0 * np.arctan(0.5 * front.width / front.intrinsics[0, 0])
    return look_at_origin(name="show", position=turn @ front.center, field_of_view=float(field), size=front.width)


def between(people: Sequence[Person], place: float) -> Float[Tensor, "1 I"]:
    """The identity at ``place`` in [0, 1) of a closed tour of the people; it rests a little at each of them."""
    where = place * len(people)
    first = int(where) % len(people)
    share = np.clip((where - int(where) - 0.15) / 0.7, 0.0, 1.0)
    share = float(share * share * (3.0 - 2.0 * share))
    return torch.lerp(people[first].z_id, people[(first + 1) % len(people)].z_id, share)


def with_ball(picture: UInt8[np.ndarray, "H W 3"], light: Light) -> UInt8[np.ndarray, "H W 3"]:
    """A white matt ball under the same light, in the lower left corner."""
    radius = picture.shape[0] // 11
    y, x = np.mgrid[-radius:radius, -radius:radius] + 0.5
    height = np.sqrt(np.maximum(radius**2 - x**2 - y**2, 0.0))
    normals = np.stack([x, -y, height], axis=-1) / radius
    cosine = np.maximum(normals @ light.directions.T, 0.0)
    shade = np.clip(0.6 / np.pi * cosine @ light.irradiance, 0.0, 1.0) ** (1 / 2.2)
    inside = np.clip(radius - np.hypot(x, y) + 0.5, 0.0, 1.0)[..., None]
    result = picture.copy()
    corner = result[-2 * radius - 6 : -6, 6 : 2 * radius + 6]
    corner[:] = (inside * shade * 255.0 + (1.0 - inside) * corner).round().astype(np.uint8)
    return result


def _rest(encoding: Encoding) -> Pose:
    return Pose(rotation=encoding.rotation[0].double().numpy(), translation=encoding.translation[0].double().numpy())


def write_shows(settings: DemoSettings, folder: Path, progress: Progress) -> None:
    """Write ``shows/interpolation.mp4``, ``shows/relighting.mp4`` and ``shows/transfer.png``."""
    run = load_run(folder / "prior", folder / "shards")
    torch.set_num_threads(settings.prior.trainer.threads * settings.prior.trainer.ranks)
    answerer, subjects = Answerer(run), run.subjects
    tour = [training_person(run, answerer, subjects[index]) for index in spread(len(subjects), TOUR)]
    fitted = fitted_person(Avatar.load(folder / "fit" / "three_images" / "avatar"), tour[0])
    camera = front_camera(run.shards.info.camera(run.input_cameras[0]), settings.video_size)
    frames, out = settings.video_frames, folder / "shows"
    write_interpolation(out / "interpolation.mp4", tour, camera, frames, lambda done, _: progress(done, 2 * frames))
    pair = [tour[-1], fitted]
    write_relighting(out / "relighting.mp4", pair, camera, frames, lambda done, _: progress(frames + done, 2 * frames))
    write_transfer(out / "transfer.png", run, answerer, [*tour[1:3], fitted], camera)
