"""A show rendered: moments to pictures to files."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Camera, Light, Pose
from prior.cameras import CameraBatch
from prior.pictures import to_picture
from prior.render import render_primitives, view_directions
from prior.vrmm import Geometry
from tools.shows.lights import with_ball
from tools.shows.output import Outputs, Picture
from tools.shows.people import Person

Progress = Callable[[int, int], object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """A person at one moment: expression [1, E] and pose head→world."""

    person: Person
    expression: Float[Tensor, "1 E"]
    pose: Pose

    @staticmethod
    def at_rest(person: Person) -> "Head":
        return Head(person=person, expression=person.z_e, pose=person.pose)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """One frame of a show.

    Attributes:
        heads: side by side.
        camera: that sees each of them, in its own part of the picture.
        light: lamps in the world.
        caption: for contact sheets.
        ball: whether a white ball shows the light.
    """

    heads: Sequence[Head]
    camera: Camera
    light: Light
    caption: str = ""
    ball: bool = False


class Stage:
    """Renders moments; what stays the same from one to the next is computed once. Final."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[Head, Geometry]] = {}

    @torch.no_grad()
    def picture(self, moment: Moment) -> Picture:
        """All heads of a moment."""
        linear = torch.cat(
            [self.head(head, moment.camera, moment.light, place) for place, head in enumerate(moment.heads)], dim=2
        )
        display = to_picture(linear[:3])
        if moment.ball:
            display = with_ball(display, moment.light)
        return Picture(display=display, linear=linear, caption=moment.caption)

    @torch.no_grad()
    def head(self, head: Head, camera: Camera, light: Light, place: int = 0) -> Float[Tensor, "4 H W"]:
        """Linear radiance, premultiplied, and coverage; ``place`` among the heads that are shown together."""
        person = head.person
        geometry = self._geometry(head, place)
        rotation, translation, directions, irradiance = (
            torch.tensor(np.asarray(value), dtype=torch.float32)[None]
            for value in (head.pose.rotation, head.pose.translation, light.directions, light.irradiance)
        )
        cameras = CameraBatch.stack([camera])
        field = person.model.light_sphere.radiance(directions, irradiance, rotation)
        voxels = person.model.decode_color(geometry, view_directions(cameras, rotation, translation), field)
        found = render_primitives(geometry.placement, voxels, rotation, translation, cameras, person.rendering)
        return torch.cat([found.image[0, 0], found.alpha[0, 0]])

    def _geometry(self, head: Head, place: int) -> Geometry:
        """Decoded again only for another person or expression."""
        last = self._last.get(place)
        if last is not None and last[0].person is head.person and torch.equal(last[0].expression, head.expression):
            return last[1]
        geometry = head.person.model.decode_geometry(head.person.z_id, head.expression)
        self._last[place] = head, geometry
        return geometry


def perform(moments: Iterable[Moment], total: int, outputs: Outputs, progress: Progress) -> None:
    """Render ``total`` moments into the outputs.

    Raises:
        VrmmError: an output that cannot be written; none of them is then there.
    """
    stage = Stage()
    with outputs:
        for index, moment in enumerate(moments):
            outputs.add(stage.picture(moment))
            progress(index + 1, total)
