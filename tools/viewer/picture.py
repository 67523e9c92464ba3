"""A state to a picture: decode once, march in bands that can be given up, then put everything together."""

import dataclasses
import threading
import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from datasets.capture import Camera, Light
from datasets.errors import VrmmError
from prior.cameras import CameraBatch
from prior.metrics import image_metrics
from prior.pictures import error_picture, to_picture
from prior.render import render_primitives, view_directions
from prior.vrmm import Geometry
from tools.viewer.boxes import draw_boxes
from tools.viewer.camera import bands, orbit_camera
from tools.viewer.captured import CapturedShot
from tools.viewer.lights import lamps, linear
from tools.viewer.source import Source
from tools.viewer.state import Compare, LightKind, Show, ViewState

cores = threading.Lock()
"""Held while something is computed: every client gets its turn after one band, and threads are not oversubscribed."""
WIPE_LINE = (255, 255, 255)
ERROR_GAIN = 4.0
"""Of the error map, on differences of display values."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """What was drawn.

    Attributes:
        pixels: [H, W, 3] display encoded.
        decode_seconds, march_seconds: what it took; 0 where it was known already.
        rays: that were marched.
        psnr: dB of the model against the captured frame in its mask, or None.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    decode_seconds: float
    march_seconds: float
    rays: int
    psnr: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """A head in its place, B = 1: codes, head→world pose, light field of the head frame, camera, captured truth."""

    z_id: Float[Tensor, "1 I"]
    z_e: Float[Tensor, "1 E"]
    rotation: Float[Tensor, "1 3 3"]
    translation: Float[Tensor, "1 3"]
    light: Float[Tensor, "1 N 3"]
    camera: Camera
    shot: CapturedShot | None


def moment_of(source: Source, state: ViewState, width: int, height: int) -> Moment:
    """What the model must be asked for a state.

    Raises:
        VrmmError: the state names what the source does not have.
    """
    if state.comparison.mode is not Compare.OFF:
        return _captured_moment(source, state, width, height)
    rotation, translation = torch.eye(3)[None], torch.zeros(1, 3)
    start = source.start(state.start)
    if state.frame is not None:
        if source.curve is None:
            raise VrmmError("--frame needs an animation curve; name it with --curve")
        if not 0 <= state.frame < len(source.curve):
            raise VrmmError(f"the curve has frames 0 to {len(source.curve) - 1}, not {state.frame}")
        start, place = source.curve.expression[state.frame], slice(state.frame, state.frame + 1)
        rotation, translation = source.curve.rotation[place], source.curve.translation[place]
    return Moment(
        z_id=source.blend(state.identity),
        z_e=source.expressions.code(start, state.expression, state.controls)[None],
        rotation=rotation,
        translation=translation,
        light=_light(source, state, rotation),
        camera=orbit_camera(state.orbit, width, height),
        shot=None,
    )


@torch.inference_mode()
def check_state(source: Source, state: ViewState) -> None:
    """Raises VrmmError where the state names what the source does not have."""
    moment_of(source, state, 16, 16)


def _captured_moment(source: Source, state: ViewState, width: int, height: int) -> Moment:
    """A captured frame: its camera, its lamps, and the expression and pose that the encoders find in it."""
    if source.captured is None:
        raise VrmmError(f"there are no captured frames to compare with: {source.without_captured}")
    shot = source.captured.shot(state.comparison.frame, state.comparison.camera)
    known = source.photo is None and shot.subject in source.identities
    scale = min(1.0, width / shot.camera.width, height / shot.camera.height)
    size = max(round(scale * shot.camera.width), 1), max(round(scale * shot.camera.height), 1)
    return Moment(
        z_id=source.blend(((shot.subject, 1.0),) if known else state.identity),
        z_e=shot.encoding.mean,
        rotation=shot.encoding.rotation,
        translation=shot.encoding.translation,
        light=_field(source, shot.light, shot.encoding.rotation),
        camera=shot.camera.resized(*size),
        shot=shot,
    )


def _light(source: Source, state: ViewState, rotation: Tensor) -> Float[Tensor, "1 N 3"]:
    lighting = state.lighting
    if lighting.kind is LightKind.FITTED:
        if source.fitted_light is None:
            raise VrmmError(f"{source.config.folder} is no avatar, so no light was fitted; choose another --light")
        tint = torch.tensor(linear(lighting.colour) * lighting.intensity, dtype=torch.float32)
        return source.fitted_light[None] * tint
    return _field(source, lamps(lighting, source.irradiance), rotation)


def _field(source: Source, light: Light, rotation: Tensor) -> Float[Tensor, "1 N 3"]:
    directions, irradiance = (
        torch.tensor(np.asarray(value), dtype=torch.float32)[None] for value in (light.directions, light.irradiance)
    )
    return source.model.light_sphere.radiance(directions, irradiance, rotation)


class Painter:
    """Draws states of one source; keeps what the next picture can use again. For one thread. Final."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._geometry: tuple[bytes, Geometry] | None = None
        self._voxels: tuple[bytes, Tensor] | None = None

    @torch.inference_mode()
    def paint(
        self, state: ViewState, width: int, height: int, stop: Callable[[], bool] = lambda: False
    ) -> Picture | None:
        """A picture of that size, a pure function of source, state and size; None where ``stop`` said so.

        Raises:
            VrmmError: the state names what the source does not have.
        """
        with cores:
            moment = moment_of(self.source, state, width, height)
            cameras = CameraBatch.stack([moment.camera])
            started = time.perf_counter()
            geometry, voxels = self._decode(moment, cameras)
            decoded = time.perf_counter()
        rgba = None
        if state.show is not Show.BOXES:
            rgba = self._march(moment, geometry, voxels, cameras, stop)
            if rgba is None:
                return None
        marched = time.perf_counter()
        drawn, psnr = self._compose(state, moment, geometry, rgba)
        return Picture(
            pixels=drawn if moment.shot is None else _fitted(drawn, width, height, state),
            decode_seconds=decoded - started,
            march_seconds=marched - decoded,
            rays=0 if rgba is None else cameras.width * cameras.height,
            psnr=psnr,
        )

    def _decode(self, moment: Moment, cameras: CameraBatch) -> tuple[Geometry, Tensor]:
        model = self.source.model
        key = _bytes(moment.z_id, moment.z_e)
        if self._geometry is None or self._geometry[0] != key:
            self._geometry = key, model.decode_geometry(moment.z_id, moment.z_e)
        geometry = self._geometry[1]
        direction = view_directions(cameras, moment.rotation, moment.translation)
        key += _bytes(direction, moment.light)
        if self._voxels is None or self._voxels[0] != key:
            self._voxels = key, model.decode_color(geometry, direction, moment.light)
        return geometry, self._voxels[1]

    def _march(
        self, moment: Moment, geometry: Geometry, voxels: Tensor, cameras: CameraBatch, stop: Callable[[], bool]
    ) -> Float[Tensor, "4 H W"] | None:
        strips = []
        for band in bands(cameras):
            if stop():
                return None
            with cores:
                pose = moment.rotation, moment.translation
                part = render_primitives(geometry.placement, voxels, *pose, band, self.source.rendering)
            strips.append(torch.cat([part.image[0, 0], part.alpha[0, 0]]))
        return torch.cat(strips, dim=1)

    def _compose(
        self, state: ViewState, moment: Moment, geometry: Geometry, rgba: Tensor | None
    ) -> tuple[UInt8[np.ndarray, "H W 3"], float | None]:
        camera, background = moment.camera, state.background
        if rgba is None:
            drawn = np.full((camera.height, camera.width, 3), background, np.uint8)
        else:
            drawn = _over(rgba[:3], rgba[3:], background)
        psnr = None
        if moment.shot is not None and rgba is not None:
            drawn, psnr = _compared(state, moment.shot, rgba, drawn)
        if state.show is not Show.HEAD:
            world = geometry.placement.moved(moment.rotation, moment.translation)
            drawn = draw_boxes(drawn, world, camera, filled=state.show is Show.BOXES)
        return drawn, psnr


def _compared(
    state: ViewState, shot: CapturedShot, rgba: Tensor, drawn: UInt8[np.ndarray, "H W 3"]
) -> tuple[UInt8[np.ndarray, "H W 3"], float]:
    """Model and truth in one picture, and how far apart they are."""
    truth, mask = (_resampled(value, drawn.shape[:2]) for value in (shot.image, shot.mask))
    psnr = image_metrics(rgba[:3], truth, mask)["psnr"] if bool((mask > 0.5).any()) else float("nan")
    mode = state.comparison.mode
    if mode is Compare.ERROR:
        return error_picture(rgba[:3], truth, mask, ERROR_GAIN), psnr
    if mode is Compare.MODEL:
        return drawn, psnr
    seen = _over(truth, mask, state.background)
    if mode is Compare.WIPE:
        edge = round(min(max(state.comparison.wipe, 0.0), 1.0) * drawn.shape[1])
        seen[:, :edge] = drawn[:, :edge]
    return seen, psnr


def _over(image: Tensor, alpha: Tensor, background: tuple[int, int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """Premultiplied radiance over a colour that shows as it was chosen."""
    behind = (torch.tensor(background, dtype=torch.float32) / 255.0) ** 2.2  # the inverse of prior.metrics.display
    return to_picture(image + (1.0 - alpha).clamp(0.0, 1.0) * behind[:, None, None])


def _resampled(value: Float[Tensor, "C H W"], shape: tuple[int, ...]) -> Float[Tensor, "C H W"]:
    if tuple(value.shape[1:]) == tuple(shape):
        return value
    return torch.nn.functional.interpolate(value[None], size=tuple(shape), mode="area")[0]


def _fitted(drawn: UInt8[np.ndarray, "h w 3"], width: int, height: int, state: ViewState) -> UInt8[np.ndarray, "H W 3"]:
    """A captured picture as large as it fits, its pixels as they are, and the edge of a wipe."""
    import cv2

    scale = min(width / drawn.shape[1], height / drawn.shape[0])
    across, down = max(int(scale * drawn.shape[1]), 1), max(int(scale * drawn.shape[0]), 1)
    left, top = (width - across) // 2, (height - down) // 2
    result = np.full((height, width, 3), state.background, np.uint8)
    result[top : top + down, left : left + across] = cv2.resize(drawn, (across, down), interpolation=cv2.INTER_NEAREST)
    if state.comparison.mode is Compare.WIPE:
        edge = left + round(min(max(state.comparison.wipe, 0.0), 1.0) * across)
        result[top : top + down, min(edge, width - 1)] = WIPE_LINE
    return result


def _bytes(*tensors: Tensor) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in tensors)
