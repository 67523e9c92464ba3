"""A tiny capture laid out as MonoNPHM lays out its videos."""

from pathlib import Path

import numpy as np

from tests.datasets.readers_mono.scene import Scene, write_picture


def write(folder: Path, scene: Scene, *, first: int = 1, shift: int = 1, run: str = "") -> Path:
    """Pictures count from ``first``; the tracker calls the picture t ``t - shift``, and no less than 0."""
    tracker = folder / "metrical_tracker" / (run or folder.name) / "checkpoint"
    tracker.mkdir(parents=True)
    for frame in range(scene.frames):
        number = first + frame
        write_picture(folder / "source" / f"{number:05d}.png", scene.stored(frame))
        write_picture(folder / "matting" / f"{number:05d}.png", scene.mask(frame))
        write_picture(folder / "seg" / f"{frame}.png", labels(scene, frame))
        (folder / "kpt").mkdir(exist_ok=True)
        np.save(folder / "kpt" / f"{number:05d}.npy", kpt(scene, frame))
        write_track(tracker / f"{max(number - shift, 0):05d}_cam_params_opencv.npz", scene, frame)
        (tracker / f"{max(number - shift, 0):05d}.frame").write_bytes(b"\x80\x02pickle")
    (folder / "pipnet").mkdir()
    np.save(folder / "pipnet" / "test.npy", np.stack([wflw(scene, frame) for frame in range(scene.frames)]))
    return folder


def write_track(path: Path, scene: Scene, frame: int) -> None:
    head = scene.head(frame)
    np.savez(path, R=head[None, :, :3], t=head[None, :, 3], K=scene.intrinsics[None])


def labels(scene: Scene, frame: int) -> np.ndarray:
    """Face, hair, and clothes in the lowest rows: one more in every frame."""
    stored = np.full((scene.height, scene.width), 2, np.uint8)
    stored[: scene.height // 3] = 14
    stored[worn(scene, frame)] = 3
    return stored


def worn(scene: Scene, frame: int) -> slice:
    return slice(scene.height - 20 - frame, scene.height)


def wflw(scene: Scene, frame: int) -> np.ndarray:
    """[98, 2] fractions of the picture."""
    return np.random.default_rng(frame).uniform(0.1, 0.9, (98, 2))


def kpt(scene: Scene, frame: int) -> np.ndarray:
    """[68, 2] pixels; the second frame's face was not found."""
    found = np.random.default_rng(100 + frame).uniform(5.0, 70.0, (68, 2))
    return found * (frame != 1)
