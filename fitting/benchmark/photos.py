"""What a user would take of a person: photos from several sides, of several moments, and a video."""

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from datasets.capture import Camera, Pose
from datasets.lightstage.environment import EnvironmentMap, environment_names, make_environment
from datasets.lightstage.expressions import blend_keys, rotation_matrix
from datasets.lightstage.render import RenderedImage
from datasets.lightstage.rig import RigConfig, direction, look_at_origin
from fitting.benchmark.people import BenchmarkStage, Someone
from fitting.benchmark.recipe import BenchmarkConfig
from fitting.inputs import detected, write_photo
from fitting.truth import Moment

SIDES = ((4.0, 2.0), (36.0, -3.0), (-38.0, 5.0), (70.0, 0.0), (-66.0, 3.0), (16.0, 22.0), (-20.0, -13.0), (0.0, 9.0))
"""Azimuth and elevation of the photos' cameras, degrees; a set of photos has the first of them."""
VIEWS = ((-45.0, 4.0), (45.0, 4.0), (-24.0, 16.0), (22.0, -9.0))
"""Of the cameras that avatars are judged through; none takes a photo of anyone."""
PAIR = (1, 2)
"""Of these, those for new light and new expressions: a side view and a nearly frontal one."""
DISTANCES = (0.75, 1.25)
"""Of the photos' cameras, in distances of the rig's."""
FRAMES_PER_GESTURE = 10
"""In a video, from one strong expression to the next."""
TURN, NOD = 40.0, 9.0
"""Degrees to which the head turns and nods in a video."""
PHOTO_PLACES = 100
"""First seed of the places where photos are taken; those of new light have the first few."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photograph:
    """A photo with its truth.

    Attributes:
        name: of the file.
        moment: that it shows.
        camera: that takes it.
        landmarks: [68, 2] true ones, pixels.
    """

    name: str
    moment: Moment
    camera: Camera
    landmarks: Float[np.ndarray, "68 2"]


def photographs(stage: BenchmarkStage, someone: Someone, config: BenchmarkConfig) -> list[Photograph]:
    """One from each side, each of another moment, in the light of one place that goes by the person's number."""
    random = np.random.default_rng([config.seed, zlib.crc32(someone.name.encode())])
    place, frames = photo_place(stage, someone.number), stage.frames(someone.subject)
    taken = []
    for number, (azimuth, elevation) in enumerate(SIDES):
        moment = dataclasses.replace(Moment.of_frame(frames[1 + number]), light=place)
        camera = hand_held(f"photo{number}", azimuth, elevation, random, someone.head.rig)
        taken.append(take(stage, f"photo{number}.png", moment, camera))
    return taken


def film(stage: BenchmarkStage, someone: Someone, first: Photograph, frames: int) -> list[Photograph]:
    """A video that begins with a photo: the person makes expression after expression while the head turns and nods
    before a camera that stands still."""
    others = [Moment.of_frame(frame).expression for frame in stage.frames(someone.subject)[1 + len(SIDES) :]]
    times = np.arange(frames) / FRAMES_PER_GESTURE
    table = np.array([first.moment.expression, *(others[key % len(others)] for key in range(int(times[-1]) + 1))])
    taken = []
    for number, controls in enumerate(blend_keys(table, times)):
        turned = Pose(
            rotation=_turn(number / frames) @ first.moment.pose.rotation, translation=first.moment.pose.translation
        )
        moment = dataclasses.replace(first.moment, expression=tuple(float(value) for value in controls), pose=turned)
        taken.append(take(stage, f"frame{number:04d}.png", moment, first.camera))
    return taken


def take(stage: BenchmarkStage, name: str, moment: Moment, camera: Camera) -> Photograph:
    """A photo without its pixels."""
    points = stage.landmarks(moment.subject, np.array(moment.expression))
    world = points @ moment.pose.rotation.T + moment.pose.translation
    return Photograph(name=name, moment=moment, camera=camera, landmarks=camera.project(world))


def write_photographs(
    folder: Path, taken: Sequence[Photograph], pictures: Sequence[RenderedImage], noise: float, seed: int
) -> None:
    """Write photos with masks and with landmarks as a detector finds them."""
    for photo, picture in zip(taken, pictures, strict=True):
        name = f"{photo.moment.subject}/{photo.name}"
        points = detected(photo.landmarks, noise, seed, name)
        write_photo(folder / photo.name, picture.image.transpose(1, 2, 0), picture.mask[0], points)


def photo_place(stage: BenchmarkStage, number: int) -> EnvironmentMap:
    """Where photos are taken: each another place, as bright as the capture's lamps."""
    names = environment_names()
    return stage.exposed(make_environment(names[number % len(names)], seed=PHOTO_PLACES + number // len(names)))


def new_views(rig: RigConfig) -> list[Camera]:
    """The cameras that avatars are judged through."""
    return [
        look_at_origin(
            name=f"view{number}",
            position=rig.camera_distance * direction(azimuth, elevation),
            field_of_view=np.radians(rig.field_of_view_degrees),
            size=rig.image_size,
            split="held_out",
        )
        for number, (azimuth, elevation) in enumerate(VIEWS)
    ]


def hand_held(name: str, azimuth: float, elevation: float, random: np.random.Generator, rig: RigConfig) -> Camera:
    """A camera from somewhere near or far, with the lens with which the head fills the picture."""
    distance = rig.camera_distance * random.uniform(*DISTANCES)
    half = np.tan(np.radians(rig.field_of_view_degrees) / 2) * rig.camera_distance / distance
    return look_at_origin(
        name=name,
        position=distance * direction(azimuth, elevation),
        field_of_view=2 * np.arctan(half),
        size=rig.image_size,
    )


def _turn(share: float) -> Float[np.ndarray, "3 3"]:
    """Of the head after a share of the video: to one side, to the other, and back, nodding twice; none at first."""
    angle = 2.0 * np.pi * share
    across, up = np.radians([TURN * np.sin(angle), NOD * np.sin(2.0 * angle)])
    return rotation_matrix(np.array([0.0, across, 0.0])) @ rotation_matrix(np.array([up, 0.0, 0.0]))
