"""What a fixture shows where pictures of waves will not do: a person of the synthetic light stage."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from datasets.capture import Camera, Light, Pose
from datasets.lightstage.heads import PROCEDURAL, load_head_model, make_subject
from datasets.lightstage.render import HeadRenderer, render_seed

BACKGROUND = np.array([0.03, 0.05, 0.08])
"""Linear radiance behind the head, which the pictures of a data set keep."""

_SAMPLES = 64
_MARGIN = 1.15  # of the pictures that lenses bend, which see around the edge of straight ones


class RenderedHead:
    """A person under the light of each frame, with an expression for each. Final; satisfies ``truth.Shown``.

    Pictures are rendered with square pixels, a little wider than asked for, and sampled where the pixels look, so that
    any lens is possible. They are kept, because the truth is asked for again.

    Args:
        light: of a frame's number, world frame.
        pose: of a frame's number; at rest by default.
        exposure: what the cameras make of a radiance of 1.
    """

    def __init__(
        self,
        light: Callable[[int], Light],
        pose: Callable[[int], Pose] = lambda number: Pose.identity(),
        exposure: float = 1.0,
    ) -> None:
        self._light, self._pose, self._exposure = light, pose, exposure
        self._pictures: dict[tuple[str, int], np.ndarray] = {}

    def radiance(self, camera: Camera, number: int, at: np.ndarray | None = None) -> np.ndarray:
        rgba = self._seen(camera, number, at)
        return self._exposure * rgba[..., :3] + (1.0 - rgba[..., 3:]) * BACKGROUND

    def mask(self, camera: Camera, number: int, at: np.ndarray | None = None) -> np.ndarray:
        return self._seen(camera, number, at)[..., 3]

    def _seen(self, camera: Camera, number: int, at: np.ndarray | None) -> np.ndarray:
        key = camera.name, number
        if key not in self._pictures:
            self._pictures[key] = render(camera, self._light(number), self._pose(number), number)
        return _sampled(self._pictures[key], camera, at)


class OnlyFor:
    """Another ``truth.Shown`` for the chosen cameras and frames, waves for all others, which are quicker. Final."""

    def __init__(self, shown: RenderedHead, wanted: Mapping[str, list[int]], otherwise) -> None:
        self._shown, self._wanted, self._otherwise = shown, wanted, otherwise

    def radiance(self, camera: Camera, number: int, at: np.ndarray | None = None) -> np.ndarray:
        return self._for(camera, number).radiance(camera, number, at)

    def mask(self, camera: Camera, number: int, at: np.ndarray | None = None) -> np.ndarray:
        return self._for(camera, number).mask(camera, number, at)

    def _for(self, camera: Camera, number: int):
        return self._shown if number in self._wanted.get(camera.name, []) else self._otherwise


def render(camera: Camera, light: Light, pose: Pose, number: int, samples: int = _SAMPLES) -> np.ndarray:
    """[H, W, 4] linear colour on black and coverage, of ``_square(camera)``, with the same noise for one number."""
    model, renderer, person = _person()
    expression = np.zeros(len(model.expression_names))
    expression[np.random.default_rng(number).integers(len(expression), size=2)] = 0.7
    renderer.place(person, expression, pose)
    renderer.illuminate(light)
    picture = renderer.image(_square(camera), samples=samples, seed=render_seed("fixture", number))
    return np.concatenate([picture.image, picture.mask]).transpose(1, 2, 0)


def render_at(camera: Camera, light: Light, pose: Pose, number: int) -> np.ndarray:
    """[H, W, 4] as ``render``, of the camera itself, whose pixels need not be square."""
    return _sampled(render(camera, light, pose, number), camera, None)


def _sampled(picture: np.ndarray, camera: Camera, at: np.ndarray | None) -> np.ndarray:
    """The picture of ``_square(camera)`` at pixels [H, W, 2] of the camera, or in the middle of each."""
    import cv2

    square, pixels = _square(camera), _centres(camera) if at is None else at
    places = (pixels - camera.intrinsics[:2, 2]) / np.diag(camera.intrinsics)[:2]
    places = places * np.diag(square.intrinsics)[:2] + square.intrinsics[:2, 2] - 0.5  # OpenCV's first centre
    x, y = np.moveaxis(places.astype(np.float32), -1, 0)
    return np.clip(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), 0.0, None)


def _square(camera: Camera) -> Camera:
    """The camera with square pixels and a wider picture."""
    focal = float(np.diag(camera.intrinsics)[:2].max())
    width, height = round(_MARGIN * camera.width), round(_MARGIN * camera.height)
    centre = (camera.intrinsics[:2, 2] - [camera.width / 2, camera.height / 2]) + [width / 2, height / 2]
    intrinsics = np.array([[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]])
    return dataclasses.replace(camera, intrinsics=intrinsics, width=width, height=height)


def _centres(camera: Camera) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1)


@functools.cache
def _person():
    model = load_head_model(PROCEDURAL)
    return model, HeadRenderer(model, threads=1), make_subject(model, "ada", seed=5, tone=0.45)
