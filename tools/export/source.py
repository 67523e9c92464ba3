"""What is exported: an avatar with one expression in one light, and the pictures that an export must look like."""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from fitting.avatar import Avatar
from fitting.locality import look_at_head
from prior.cameras import CameraBatch
from prior.finemesh import FineMesh, refine_mesh
from prior.lighting import fibonacci_directions
from prior.metrics import display
from prior.render import RenderConfig, render_primitives, view_directions
from prior.surface import Surface, trace_surface
from prior.vrmm import VRMM, Geometry

FRAMED = 0.97
"""Of the sphere that rays are marched in, this much fills a picture."""
LOWEST = -0.55
"""Sine of the elevation below which no camera stands: nobody looks at a neck from there."""
AHEAD, LEVEL = 0.25, 0.6
"""Cosine of the angle to the face, and sine of the elevation, that bound the cameras that look at the face."""
TEST_VIEWS = (
    (0.0, 4.0),
    (35.0, 4.0),
    (-60.0, 10.0),
    (90.0, 0.0),
    (-20.0, 35.0),
    (15.0, -25.0),
    (150.0, 10.0),
    (-165.0, 0.0),
)
"""Azimuth and elevation, degrees, of the pictures by which an export is judged; it was fitted to none of them."""
MOST_VERTICES = 20000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
    """What the source looks like.

    Attributes:
        cameras: V of them, head frame.
        values: [V, 3, H, W] display values over black.
        alpha: [V, 1, H, W].
    """

    cameras: CameraBatch
    values: Float[Tensor, "V 3 H W"]
    alpha: Float[Tensor, "V 1 H W"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One head in its own frame.

    Attributes:
        model, rendering: that show it.
        z_id: [1, I].
        z_e: [1, E], of the photos.
        light: [N_l, 3] incoming radiance that is baked in.
        distance: of the cameras from the head's centre, metres, as the photos were taken.
    """

    model: VRMM
    rendering: RenderConfig
    z_id: Float[Tensor, "1 I"]
    z_e: Float[Tensor, "1 E"]
    light: Float[Tensor, "L 3"]
    distance: float

    @staticmethod
    def of_avatar(avatar: Avatar, light: Float[Tensor, "L 3"]) -> "Source":
        """The person of an avatar with the expression of the first photo.

        Raises:
            VrmmError: the model is the ablation whose colour is not linear in the light.
        """
        if not avatar.model.config.linear_light:
            raise VrmmError(
                "this avatar's colour is not linear in the light (model.linear_light=false); fit another one"
            )
        solution = avatar.solution
        return Source(
            model=avatar.model,
            rendering=avatar.rendering,
            z_id=solution.z_id.detach(),
            z_e=solution.z_e[:1].detach(),
            light=light.detach(),
            distance=float((solution.cameras.centers[0] - solution.translation[0]).norm()),
        )

    @torch.no_grad()
    def geometry(self, z_e: Float[Tensor, "1 E"] | None = None) -> Geometry:
        """The head with its own or another expression."""
        return self.model.decode_geometry(self.z_id, self.z_e if z_e is None else z_e)

    @torch.no_grad()
    def pictures(
        self,
        cameras: CameraBatch,
        *,
        z_e: Float[Tensor, "1 E"] | None = None,
        light: Float[Tensor, "L 3"] | None = None,
    ) -> Pictures:
        """Render it, one camera after the other."""
        geometry, still = self.geometry(z_e), (torch.eye(3)[None], torch.zeros(1, 3))
        field = (self.light if light is None else light)[None]
        values, alphas = [], []
        for view in range(len(cameras.intrinsics)):
            camera = one_camera(cameras, view)
            voxels = self.model.decode_color(geometry, view_directions(camera, *still), field)
            found = render_primitives(geometry.placement, voxels, *still, camera, self.rendering)
            values.append(display(found.image[0, 0]))
            alphas.append(found.alpha[0, 0].clamp(0.0, 1.0))
        return Pictures(cameras=cameras, values=torch.stack(values), alpha=torch.stack(alphas))

    @torch.no_grad()
    def surface(self, mesh: FineMesh, geometry: Geometry) -> Surface:
        """The surface of the volume under one expression."""
        ahead = torch.tensor([[[0.0, 0.0, 1.0]]])
        opacity = self.model.decode_color(geometry, ahead, self.light[None])[0, 0, ..., 3]
        thickness = float(self.model.tangent_grid.half_size[0, 2])
        return trace_surface(mesh, geometry.vertices[0].numpy(), geometry.placement, opacity, thickness)

    def fine_mesh(self, most_vertices: int = MOST_VERTICES) -> FineMesh:
        """The base mesh, refined."""
        model = self.model
        rest, uv, faces = (
            value.detach().numpy() for value in (model.mesh_decoder.template, model.template_uv, model.template_faces)
        )
        return refine_mesh(rest, uv, faces, most_vertices=most_vertices)

    def fit_cameras(self, views: int, size: int) -> CameraBatch:
        """Cameras all around, but not from below, for the pictures that an export is fitted to.

        Twice as many look at the face: there the avatar is known best, and looked at most.
        """
        around = fibonacci_directions(max(views // 2, 4))
        ahead = fibonacci_directions(2 * views)
        chosen = [around[around[:, 1] > LOWEST], ahead[(ahead[:, 2] > AHEAD) & (np.abs(ahead[:, 1]) < LEVEL)]]
        return self._cameras(np.concatenate(chosen), size)

    def test_cameras(self, size: int) -> CameraBatch:
        """``TEST_VIEWS``."""
        azimuth, elevation = np.radians(TEST_VIEWS).T
        across = np.cos(elevation)
        return self._cameras(
            np.stack([across * np.sin(azimuth), np.sin(elevation), across * np.cos(azimuth)], axis=1), size
        )

    def _cameras(self, directions: Float[np.ndarray, "V 3"], size: int) -> CameraBatch:
        radius = FRAMED * self.rendering.radius
        focal = 0.5 * size * math.sqrt(max(self.distance**2 - radius**2, radius**2)) / radius
        cameras = [
            look_at_head(self.distance * torch.tensor(direction, dtype=torch.float32), focal, size)
            for direction in directions
        ]
        return CameraBatch(
            world_to_camera=torch.cat([camera.world_to_camera for camera in cameras]),
            intrinsics=torch.cat([camera.intrinsics for camera in cameras]),
            height=size,
            width=size,
        )


def one_camera(cameras: CameraBatch, view: int) -> CameraBatch:
    """One of several cameras."""
    return dataclasses.replace(
        cameras,
        world_to_camera=cameras.world_to_camera[view : view + 1],
        intrinsics=cameras.intrinsics[view : view + 1],
    )
