"""A tiny capture of every format with a picture of a person in it, rendered by the synthetic light stage."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from datasets.capture import Camera, Frame, Light, Pose
from datasets.images import decode_mask, decode_radiance
from datasets.readers.light import uniform_light
from datasets.readers.reader import CaptureReader
from datasets.readers.registry import find_captures, open_reader
from tests.datasets.readers import (
    ava256_files,
    becominglit_files,
    goliath_files,
    multiface_files,
    nersemble_files,
    renderme360_files,
    truth,
)
from tests.datasets.readers.heads import OnlyFor, RenderedHead
from tests.datasets.readers_mono import (
    imavatar_files,
    insta_files,
    mononphm_files,
    nerface_files,
    vhap_files,
    video_files,
)
from tests.datasets.readers_mono.rendered_scene import RenderedScene

_EVEN, _LIT = 1.3, 2.5  # exposures, so that skin is neither dark nor white


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shot:
    """The picture of a person in a capture.

    Attributes:
        format: of the capture.
        root: where it lies.
        sequence, index: of the frame as the reader has it.
        camera: name.
        radiance: [H, W, 3] linear truth, with the background.
        mask: [H, W] in [0, 1].
    """

    format: str
    root: Path
    sequence: str
    index: int
    camera: str
    radiance: np.ndarray
    mask: np.ndarray

    def open(self) -> tuple[CaptureReader, Frame]:
        """The reader and the frame."""
        (place,) = find_captures(self.format, self.root).values()
        reader = open_reader(self.format, place)
        return reader, next(f for f in reader.frames() if (f.sequence, f.index) == (self.sequence, self.index))

    def read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The picture and the mask as the reader gives them."""
        reader, frame = self.open()
        members = reader.members(frame)
        (name,) = [name for name in members if name.startswith(f"{self.camera}.rgb.")]
        encoding = reader.info.encoding_of(reader.info.camera(self.camera))
        mask = members.get(f"{self.camera}.mask.png")
        return decode_radiance(members[name], name, encoding), None if mask is None else decode_mask(mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageShot(Shot):
    """One of a calibrated rig.

    Attributes:
        truth: the camera as the fixture placed it.
        world: of the data set.
        pose: of the head, our world of the fixture.
        number: of the frame for ``heads.render``.
        exposure: of the cameras.
    """

    truth: Camera
    world: truth.World
    pose: Pose
    number: int
    exposure: float


def _stage_shot(
    name: str,
    root: Path,
    files,
    write: Callable[..., object],
    *,
    camera: str,
    frame: tuple[str, int],
    light: Light | None = None,
    pose: Pose | None = None,
) -> StageShot:
    """Writes the capture with a person in one picture of it; no ``light`` is even light."""
    number, exposure = frame[1], _EVEN if light is None else _LIT
    light, pose = light or uniform_light(), pose or Pose.identity()
    head = RenderedHead(lambda _: light, lambda _: pose, exposure)
    seen = next(c for c in files.cameras if c.name == camera)
    write(shown=OnlyFor(head, {camera: [number]}, truth.WAVES))
    return StageShot(
        format=name,
        root=root,
        sequence=frame[0],
        index=frame[1],
        camera=camera,
        radiance=head.radiance(seen, number),
        mask=head.mask(seen, number),
        truth=seen,
        world=files.world,
        pose=pose,
        number=number,
        exposure=exposure,
    )


def goliath(root: Path, scale: int = 1) -> StageShot:
    files = goliath_files.described(root, scale=scale)
    write = functools.partial(goliath_files.write, root, scale=scale)
    return _stage_shot(
        "goliath",
        root,
        files,
        write,
        camera="400013",
        frame=("head", 101),
        light=files.light(101),
        pose=files.pose(101),
    )


def becominglit(root: Path, scale: int = 1) -> StageShot:
    files = becominglit_files.described(root, scale=scale)
    write = functools.partial(becominglit_files.write, root, scale=scale)
    return _stage_shot(
        "becominglit", root, files, write, camera="222200036", frame=("EXP-1+smile", 7), light=files.light(7)
    )


def multiface(root: Path, scale: int = 1) -> StageShot:
    files = multiface_files.described(root, scale=scale)
    write = functools.partial(multiface_files.write, root, scale=scale)
    frame = ("E001_Neutral_Eyes_Open", 105)
    return _stage_shot("multiface", root, files, write, camera="400013", frame=frame)


def ava256(root: Path, scale: int = 1) -> StageShot:
    files = goliath_files.GoliathFiles(root, ava256_files.cameras(scale), np.zeros((0, 3)), truth.MILLIMETRES)
    write = functools.partial(ava256_files.write, root, kind="avif", scale=scale)
    return _stage_shot("ava256", root, files, write, camera=ava256_files.BENT, frame=("SEN_the_dog", 40))


def nersemble(root: Path, scale: int = 1) -> StageShot:
    files = nersemble_files.described(root, scale=scale)
    write = functools.partial(nersemble_files.write, root, scale=scale)
    sequence = next(iter(nersemble_files.SEQUENCES))
    return _stage_shot("nersemble", root, files, write, camera="221501007", frame=(sequence, 3))


def renderme360(root: Path, scale: int = 1) -> StageShot:
    files = renderme360_files.described(root, scale=scale)
    write = functools.partial(renderme360_files.write, root, scale=scale)
    return _stage_shot("renderme360", root, files, write, camera="18", frame=("e0", 4))


STAGES: dict[str, Callable[[Path, int], StageShot]] = {
    shot.__name__: shot for shot in (goliath, becominglit, multiface, ava256, nersemble, renderme360)
}
"""Format → its capture, with pictures ``scale`` times as wide as those of the fixture."""

_VIDEO_WRITERS: dict[str, Callable[[Path, RenderedScene], object]] = {
    "imavatar": lambda root, scene: imavatar_files.write(root, {"train": scene}, subject="anna"),
    "insta": lambda root, scene: insta_files.write(root / "anna", scene),
    "vhap": lambda root, scene: vhap_files.write(root / "anna", scene),
    "nerface": lambda root, scene: nerface_files.write(root / "anna", scene),
    "mononphm": lambda root, scene: mononphm_files.write(root / "anna", scene),
    "video": lambda root, scene: video_files.write_folder(root / "anna", scene),
}
VIDEOS = tuple(_VIDEO_WRITERS)
"""The formats of one camera."""

_FIRST = {"vhap": 0, "nerface": nerface_files.PARTS["test"][0]}
"""Frame of the scene that the first frame of the reader shows, where it is not 0."""


def video_shot(name: str, root: Path) -> Shot:
    """The first frame of a monocular capture."""
    scene = RenderedScene()
    _VIDEO_WRITERS[name](root, scene)
    (place,) = find_captures(name, root).values()
    reader = open_reader(name, place)
    first, number = reader.frames()[0], _FIRST.get(name, 0)
    mask = scene.mask(number) / 255.0
    if name == "mononphm":
        mask[mononphm_files.worn(scene, number)] = 0.0  # clothes
    return Shot(
        format=name,
        root=root,
        sequence=first.sequence,
        index=first.index,
        camera=reader.info.cameras[0].name,
        radiance=scene.radiance(number),
        mask=mask,
    )
