"""Pictures of a head: Mitsuba 3 on meshes that move in place."""

import dataclasses
import hashlib
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from datasets.capture import Camera, Light, Pose
from datasets.lightstage.environment import EnvironmentMap
from datasets.lightstage.head import HeadModel, Person
from datasets.lightstage.mitsuba_scene import (
    BLOCK_SIZE,
    SceneMesh,
    Window,
    lamp_emitters,
    make_bsdf,
    make_sensor,
    mitsuba,
    set_threads,
    weld,
    whole_samples,
)

MAX_DEPTH = 3
"""Light, skin, skin, camera: one reflection between surfaces, without which mouths and eye sockets would be black
(28 dB from the truth on pale skin under one lamp; this is 41 dB from six segments)."""

_VISIBLE_MARGIN_METRES = 0.004


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderedImage:
    """A picture before a black background.

    Attributes:
        image: [3, H, W] float32 linear RGB radiance, premultiplied by ``mask``.
        mask: [1, H, W] float32 coverage in [0, 1].
    """

    image: Float[np.ndarray, "3 H W"]
    mask: Float[np.ndarray, "1 H W"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderedGeometry:
    """What a camera sees, averaged over the covered part of each pixel; zero where nothing is seen.

    Attributes:
        mask: [1, H, W] coverage in [0, 1].
        depth: [1, H, W] distance along the camera's z axis, metres.
        normal: [3, H, W] unit shading normals, world frame.
        uv: [2, H, W] texture coordinates of whichever part is seen.
    """

    mask: Float[np.ndarray, "1 H W"]
    depth: Float[np.ndarray, "1 H W"]
    normal: Float[np.ndarray, "3 H W"]
    uv: Float[np.ndarray, "2 H W"]


class HeadRenderer:
    """Renders one head at a time: ``place`` it, ``illuminate`` it, take any number of pictures. Final.

    Args:
        model: the head model.
        threads: of all renders in this process; None leaves it as it is (all cores unless set).
    """

    def __init__(self, model: HeadModel, *, threads: int | None = None) -> None:
        self._mi = mitsuba()
        if threads is not None:
            set_threads(threads)
        self._model = model
        self._meshes = self._make_meshes()
        self._person: Person | None = None
        self._points = np.zeros((0, 3))
        self._light: Light | EnvironmentMap = Light(positions=np.zeros((0, 3)), irradiance=np.zeros((0, 3)))
        self._scene: Any = None
        self._scene_samples = 0
        self._path = self._mi.load_dict(
            {"type": "path", "max_depth": MAX_DEPTH, "hide_emitters": True, "block_size": BLOCK_SIZE}
        )
        aovs = {"type": "aov", "aovs": "position:position,normal:sh_normal,uv:uv", "block_size": BLOCK_SIZE}
        self._aov = self._mi.load_dict({**aovs, "coverage": {"type": "depth"}})

    def place(self, person: Person, expression: Float[np.ndarray, "E"], pose: Pose) -> None:
        """Put a person with an expression at a pose, in place of whoever was there."""
        if person is not self._person:
            materials = {name: make_bsdf(self._mi, value) for name, value in person.materials(self._model).items()}
            for part in self._model.parts:
                self._meshes[part.name].mesh.set_bsdf(materials[part.material])
            self._person = person
        placed = {}
        for name, vertices in self._model.shape(person.identity, np.asarray(expression)).items():
            placed[name] = vertices @ pose.rotation.T + pose.translation
            self._meshes[name].move(placed[name])
        self._points = np.concatenate(list(placed.values()))
        self._scene = None

    def illuminate(self, light: Light | EnvironmentMap) -> None:
        """Replace the lights."""
        self._light = light
        self._scene = None

    def image(self, camera: Camera, *, samples: int, seed: int) -> RenderedImage:
        """Radiance, a Monte Carlo estimate.

        Args:
            camera: with square pixels.
            samples: per pixel; rounded up to a product of two near integers.
            seed: the picture is a pure function of the scene, the camera, ``samples`` and this.

        Raises:
            VrmmError: negative or NaN light.
        """
        rgba = self._render(self._path, self._lit_scene(whole_samples(samples)), camera, samples, seed)
        return RenderedImage(image=_planes(rgba[..., :3]), mask=np.clip(_planes(rgba[..., 3:4]), 0.0, 1.0))

    def geometry(self, camera: Camera, *, samples: int = 16, seed: int = 0) -> RenderedGeometry:
        """Coverage, depth, normals and texture coordinates."""
        layers = self._render(self._aov, self._any_scene(), camera, samples, seed).astype(np.float64)
        mask = layers[..., 3]
        covered = np.maximum(mask, 1e-6)[..., None]
        position, normal, uv = layers[..., 4:7] / covered, layers[..., 7:10], layers[..., 10:12] / covered
        depth = position @ camera.world_to_camera[2, :3] + camera.world_to_camera[2, 3]
        normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
        uv[..., 1] = 1.0 - uv[..., 1]
        seen = mask > 0
        return RenderedGeometry(
            mask=_planes(np.clip(mask, 0.0, 1.0)[..., None]),
            depth=_planes((depth * seen)[..., None]),
            normal=_planes(normal * seen[..., None]),
            uv=_planes(uv * seen[..., None]),
        )

    def visible(self, points: Float[np.ndarray, "N 3"], camera: Camera) -> Bool[np.ndarray, "N"]:
        """Whether nothing lies in front of each surface point (world, metres), and it is inside the image."""
        mi, scene = self._mi, self._any_scene()
        pixels = camera.project(points)
        inside = ((pixels >= 0) & (pixels <= [camera.width, camera.height])).all(axis=1)
        to_camera = camera.center - points
        distance = np.linalg.norm(to_camera, axis=1)
        origins = points + to_camera / distance[:, None] * _VISIBLE_MARGIN_METRES
        free = [
            not scene.ray_test(mi.Ray3f(o.tolist(), (d / r).tolist(), r - _VISIBLE_MARGIN_METRES, 0.0, []))
            for o, d, r in zip(origins, to_camera, distance, strict=True)
        ]
        return inside & np.array(free, bool)

    def _make_meshes(self) -> dict[str, SceneMesh]:
        model, random = self._model, np.random.default_rng(0)
        identity = np.zeros(len(model.identity_names))
        at_rest = model.shape(identity, model.neutral_expression())
        # Two places that only coincide at rest, such as closed lips, must not be welded.
        moved = model.shape(random.standard_normal(identity.shape), random.uniform(0, 1, len(model.expression_names)))
        return {
            part.name: SceneMesh(self._mi, part, weld(at_rest[part.name], moved[part.name])) for part in model.parts
        }

    def _any_scene(self) -> Any:
        """The head, however it is lit."""
        return self._lit_scene(1) if self._scene is None else self._scene

    def _lit_scene(self, samples: int) -> Any:
        """The head and the lights as they are best sampled with so many samples."""
        if self._scene is None or self._scene_samples != samples:
            light = self._light
            emitters = lamp_emitters(light, samples) if isinstance(light, Light) else light.emitters(self._mi)
            meshes = {part.name: self._meshes[part.name].mesh for part in self._model.parts}
            self._scene = self._mi.load_dict({"type": "scene", **meshes, **emitters})
            self._scene_samples = samples
        return self._scene

    def _render(
        self, integrator: Any, scene: Any, camera: Camera, samples: int, seed: int
    ) -> Float[np.ndarray, "H W C"]:
        count, window = whole_samples(samples), Window.around(self._points, camera)
        sensor = make_sensor(self._mi, camera, count, window)
        part = np.array(self._mi.render(scene, sensor=sensor, integrator=integrator, spp=count, seed=seed))
        image = np.zeros((camera.height, camera.width, part.shape[2]), part.dtype)
        image[window.top : window.top + window.height, window.left : window.left + window.width] = part
        return image


def render_seed(*names: object) -> int:
    """A 31-bit seed that is a pure function of names, for example of a frame's key and a camera's name."""
    digest = hashlib.sha256("\n".join(str(name) for name in names).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _planes(image: Float[np.ndarray, "H W C"]) -> Float[np.ndarray, "C H W"]:
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
