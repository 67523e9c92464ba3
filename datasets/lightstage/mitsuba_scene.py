"""The light stage in Mitsuba's terms: meshes, materials, lamps, cameras. Mitsuba is imported when first used."""

import dataclasses
import functools
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from datasets.capture import Camera, Light
from datasets.errors import VrmmError
from datasets.lightstage.geometry import vertex_normals
from datasets.lightstage.head import Material, Part

NEAR_METRES = 0.01
FAR_METRES = 1000.0
BLOCK_SIZE = 16
"""Pixels a side of a task. Fixed, because the random numbers of a pixel follow from its block."""

LAMP_SPREAD = 0.05
"""Widens every specular lobe as a lamp of 0.15 m radius at 1.5 m would: alpha + radius / (2 distance) (Karis 2013,
"Real Shading in Unreal Engine 4", sphere lights). Points would leave glints on eyes that are smaller than pixels."""

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@functools.cache
def mitsuba() -> ModuleType:
    """Mitsuba in its ``scalar_rgb`` variant."""
    import mitsuba as mi

    mi.set_variant("scalar_rgb")
    mi.set_log_level(mi.LogLevel.Error)
    return mi


def set_threads(count: int) -> None:
    """Threads that all renders of this process use from now on; they do not change the pictures."""
    import drjit

    drjit.set_thread_count(count)


class SceneMesh:
    """One part of a head as a Mitsuba mesh whose vertices and material change in place. Final.

    Args:
        mi: Mitsuba.
        part: topology and texture coordinates.
        weld: [V] for each vertex the first one at the same place (seams duplicate vertices), so that normals
            are averaged across seams.
    """

    def __init__(self, mi: ModuleType, part: Part, weld: Int[np.ndarray, "V"]) -> None:
        self._part, self._weld = part, weld
        self._welded_faces = weld[part.faces]
        count = len(part.uv)
        self.mesh = mi.Mesh(
            part.name, count, len(part.faces), has_vertex_normals=part.smooth, has_vertex_texcoords=True
        )
        parameters = mi.traverse(self.mesh)
        parameters["faces"] = part.faces.astype(np.uint32).ravel()
        # Mitsuba's textures begin at v = 0, ours at v = 1 (the top of the image).
        parameters["vertex_texcoords"] = np.stack([part.uv[:, 0], 1.0 - part.uv[:, 1]], 1).astype(np.float32).ravel()
        parameters.update()
        self._parameters = parameters

    def move(self, vertices: Float[np.ndarray, "V 3"]) -> None:
        """Put the vertices (world frame, metres) and recompute the normals."""
        self._parameters["vertex_positions"] = vertices.astype(np.float32).ravel()
        self._parameters.update()
        if self._part.smooth:
            normals = vertex_normals(vertices, self._welded_faces)[self._weld]
            self._parameters["vertex_normals"] = normals.astype(np.float32).ravel()
            self._parameters.update()


def weld(*shapes: Float[np.ndarray, "V 3"]) -> Int[np.ndarray, "V"]:
    """For each vertex the first vertex that lies at the same place in every one of ``shapes``."""
    keys = np.concatenate([shape.astype(np.float32) for shape in shapes], axis=1).round(6)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


def make_bsdf(mi: ModuleType, material: Material) -> Any:
    """Mitsuba's ``principled`` (Burley 2012) on both sides of the surface."""
    texture = {
        "type": "bitmap",
        "data": mi.TensorXf(np.ascontiguousarray(material.albedo, dtype=np.float32)),
        "raw": True,
        "wrap_mode": "clamp",
    }
    surface = {
        "type": "principled",
        "base_color": texture,
        "roughness": float(np.sqrt(min(material.roughness**2 + LAMP_SPREAD, 1.0))),  # alpha is its square
        "specular": float(material.specular),
    }
    return mi.load_dict({"type": "twosided", "surface": surface})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """Part of an image, pixels."""

    left: int
    top: int
    width: int
    height: int

    @staticmethod
    def around(points: Float[np.ndarray, "N 3"], camera: Camera) -> "Window":
        """The least window that holds all points (world, metres) that lie in the image; at least one pixel.

        The whole image when a point is not safely before the camera: its neighbours may be seen anywhere.
        """
        depth = points @ camera.world_to_camera[2, :3] + camera.world_to_camera[2, 3]
        if not (depth > NEAR_METRES).all():
            return Window(left=0, top=0, width=camera.width, height=camera.height)
        pixels, size = camera.project(points), np.array([camera.width, camera.height])
        low = np.clip(np.floor(pixels.min(axis=0)), 0, size - 1).astype(int)
        high = np.clip(np.ceil(pixels.max(axis=0)), low + 1, size).astype(int)
        return Window(left=int(low[0]), top=int(low[1]), width=int(high[0] - low[0]), height=int(high[1] - low[1]))


def lamp_emitters(light: Light, samples: int) -> dict[str, Any]:
    """Point lamps whose irradiance at the world origin is exact; dark ones are left out.

    Args:
        light: the lamps.
        samples: per pixel; each of the sampler's strata then belongs to one lamp, or to few that are alike.

    Raises:
        VrmmError: NaN or negative irradiance.
    """
    if not (np.isfinite(light.irradiance).all() and (light.irradiance >= 0).all()):
        raise VrmmError("a lamp's irradiance is negative or not finite; lights only add")
    power = light.irradiance @ _LUMINANCE
    burning = np.flatnonzero(power > 0)
    if not len(burning):
        return {"lamp": _point(np.array([0.0, 0.0, 1.0]), np.zeros(3), 1.0)}
    burning = burning[short_tour(light.directions[burning])]
    strata = lamp_strata(power[burning], samples)
    order = np.argsort(strata < 1.0, kind="stable")  # lamps with strata of their own come first
    return {
        f"lamp{rank:05d}": _point(light.positions[burning[k]], light.irradiance[burning[k]], float(strata[k]))
        for rank, k in enumerate(order)
    }


def lamp_strata(power: Float[np.ndarray, "L"], samples: int) -> Float[np.ndarray, "L"]:
    """How many of ``samples`` strata each lamp gets, all positive: in proportion to the root of its power.

    The root, because pictures are looked at and compared in an encoding near it, where the noise of dim light in
    a shadow counts as much as that of bright light. A lamp that deserves a whole stratum gets a whole number, so
    that every pixel draws it equally often (7 times here and 8 times there would be 6 % noise); the others share
    what is left.
    """
    share = np.sqrt(power) / np.sqrt(power).sum() * samples
    own = share >= 1.0
    strata = np.floor(share)
    if own.all():
        strata[np.argsort(strata - share)[: samples - int(strata.sum())]] += 1.0
    else:
        strata[~own] = share[~own] * (samples - strata[own].sum()) / share[~own].sum()
    return strata


def short_tour(directions: Float[np.ndarray, "L 3"]) -> Int[np.ndarray, "L"]:
    """An order in which neighbours are near (always on to the nearest lamp left).

    The sampler stratifies the choice of a lamp along its index: when neighbours are alike, a stratum that they
    share adds little noise.
    """
    left = np.ones(len(directions), bool)
    order = [int(np.argmax(directions[:, 1]))]
    left[order[0]] = False
    for _ in range(len(directions) - 1):
        closeness = np.where(left, directions @ directions[order[-1]], -2.0)
        order.append(int(np.argmax(closeness)))
        left[order[-1]] = False
    return np.array(order)


def whole_samples(samples: int) -> int:
    """The least number of samples at or above ``samples`` that ``multijitter`` can lay out: near-square products."""
    rows = int(np.sqrt(samples))
    return rows * -(-samples // rows)


def make_sensor(mi: ModuleType, camera: Camera, samples: int, window: Window) -> Any:
    """A pinhole camera with a box filter: a pixel is the mean over its square, and the mask its coverage.

    Args:
        mi: Mitsuba.
        camera: with square pixels.
        samples: per pixel.
        window: the part of the image to render, all the head there is.

    Raises:
        VrmmError: pixels that are not square or a skew, which Mitsuba's camera cannot have.
    """
    K = camera.intrinsics
    if not np.isclose(K[0, 0], K[1, 1], rtol=1e-6) or abs(K[0, 1]) > 1e-9 * K[0, 0]:
        raise VrmmError(f"camera {camera.name} has skewed or non-square pixels; the light stage renders square ones")
    rotation = camera.world_to_camera[:, :3].T @ np.diag([-1.0, -1.0, 1.0])  # Mitsuba: x left, y up
    to_world = np.eye(4)
    to_world[:3, :3], to_world[:3, 3] = rotation, camera.center
    return mi.load_dict(
        {
            "type": "perspective",
            "fov_axis": "x",
            "fov": float(np.degrees(2.0 * np.arctan(0.5 * camera.width / K[0, 0]))),
            "principal_point_offset_x": float((0.5 * camera.width - K[0, 2]) / camera.width),  # its axes: left, up
            "principal_point_offset_y": float((0.5 * camera.height - K[1, 2]) / camera.height),
            "near_clip": NEAR_METRES,
            "far_clip": FAR_METRES,
            "to_world": mi.ScalarTransform4f(to_world),
            "film": {
                "type": "hdrfilm",
                "width": camera.width,
                "height": camera.height,
                "crop_offset_x": window.left,
                "crop_offset_y": window.top,
                "crop_width": window.width,
                "crop_height": window.height,
                "rfilter": {"type": "box"},
                "pixel_format": "rgba",
                "component_format": "float32",
            },
            "sampler": {"type": "multijitter", "sample_count": samples},
        }
    )


def _point(position: Float[np.ndarray, "3"], irradiance: Float[np.ndarray, "3"], weight: float) -> dict[str, Any]:
    intensity = irradiance * float(position @ position)  # inverse square law: irradiance = intensity / distance²
    return {
        "type": "point",
        "position": [float(x) for x in position],
        "intensity": {"type": "rgb", "value": [float(x) for x in intensity]},
        "sampling_weight": float(weight),
    }
