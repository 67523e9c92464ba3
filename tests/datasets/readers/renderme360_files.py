"""Tiny files laid out as RenderMe-360 lays out a person: encoded pictures in HDF5, one pair of files for each part."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np

from datasets.capture import Camera
from tests.datasets.readers import truth

SIZE = 153, 128  # of 2448x2048
IDS = ["08", "18", "25", "32", "50"]
"""All around the head, evenly: their middle does not tell where its face is, but 25 stands before it."""
BENT = "18"
LENS = np.array([-0.3, 0.2, 0.01, -0.015, 0.1])
PARTS = {"e0": [0, 1, 4], "s1_all": [2]}
WITHOUT_MASK = "08"


@dataclasses.dataclass
class RenderMe360Files:
    folder: Path
    cameras: list[Camera]
    world: truth.World

    def raw(self, part: str = "e0") -> Path:
        return self.folder / "raw" / "0297" / f"0297_{part}_raw.smc"

    def annotations(self, part: str = "e0") -> Path:
        return self.folder / "anno" / "0297" / f"0297_{part}_anno.smc"


def lens(camera: Camera) -> np.ndarray:
    return LENS if camera.name == BENT else np.zeros(5)


def seen(camera: Camera) -> np.ndarray | None:
    """Where its pixels look."""
    return truth.behind_the_lens(camera, LENS) if camera.name == BENT else None


def stored(camera: Camera, number: int, shown: truth.Shown = truth.WAVES) -> np.ndarray:
    return truth.to_bytes(truth.srgb(shown.radiance(camera, number, seen(camera))))


def described(root: Path, *, scale: int = 1) -> RenderMe360Files:
    """The truth; nothing is written. Pictures are ``scale`` times as wide as ``SIZE``."""
    cameras = truth.ring(IDS, (scale * SIZE[0], scale * SIZE[1]), spread=288.0)
    return RenderMe360Files(root, cameras, truth.Z_UP)


def write(root: Path, *, scale: int = 1, shown: truth.Shown = truth.WAVES, one_file: bool = False) -> RenderMe360Files:
    """``one_file`` puts calibration and masks beside the pictures, as the files of early releases have them."""
    files = described(root, scale=scale)
    for part, numbers in PARTS.items():
        raw = files.raw(part).with_name(f"0297_{part}.smc") if one_file else files.raw(part)
        raw.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(raw, "a") as pictures:
            _write_pictures(pictures, files, numbers, shown)
        notes = raw if one_file else files.annotations(part)
        notes.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(notes, "a") as annotations:
            _write_annotations(annotations, files, numbers, shown)
    return files


def _write_pictures(file: h5py.File, files: RenderMe360Files, numbers: list[int], shown: truth.Shown) -> None:
    file.attrs.update({"actor_id": "0297", "performance_part": "e0", "capture_date": "0101"})
    for camera in files.cameras:
        for number in numbers:
            data = truth.picture_bytes(stored(camera, number, shown), "jpg")
            file[f"Camera/{camera.name}/color/{number}"] = np.frombuffer(data, np.uint8)
    file["Camera"].attrs.update({"num_device": 60, "num_frame": len(numbers), "resolution": [2048, 2448]})


def _write_annotations(file: h5py.File, files: RenderMe360Files, numbers: list[int], shown: truth.Shown) -> None:
    absent = dataclasses.replace(files.cameras[1], name="59")  # calibrated, but without pictures
    for camera in [*files.cameras, absent]:
        group = file.create_group(f"Calibration/{camera.name}")
        scale = np.diag([2448 / camera.width, 2048 / camera.height, 1.0])
        intrinsics = scale @ camera.intrinsics
        intrinsics[:2, 2] -= 0.5  # OpenCV's first pixel centre is at (0, 0)
        whole = np.concatenate([files.world.world_to_camera(camera), [[0.0, 0.0, 0.0, 1.0]]])
        group["K"], group["D"], group["RT"] = intrinsics, lens(camera), np.linalg.inv(whole)
    for camera in files.cameras:
        if camera.name == WITHOUT_MASK:
            continue
        for number in numbers:
            mask = truth.to_bytes(shown.mask(camera, number, seen(camera)))
            data = truth.picture_bytes(np.stack([mask, 0 * mask, mask // 2], axis=-1), "png")  # the largest counts
            file[f"Camera/{camera.name}/mask/{number}"] = np.frombuffer(data, np.uint8)


def edit(path: Path, change) -> None:
    """``change`` alters the open file."""
    with h5py.File(path, "a") as file:
        change(file)
