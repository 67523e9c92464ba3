"""The face to fit in every frame of a video."""

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from fitting.landmarks import LandmarkSource
from fitting.photo import MOST_CUT_OFF, find_landmarks
from fitting.video.source import FrameSource, VideoFrame

CHUNK = 64
"""Frames in one file of landmarks."""
MOST_SECONDS = 0.4
"""That a face may be away or unseen: landmarks are interpolated."""


def find_faces(
    source: FrameSource,
    landmarks: LandmarkSource,
    face: int | None,
    folder: Path,
    report: Callable[[int], object] = lambda done: None,
) -> Float[np.ndarray, "T 68 2"]:
    """Landmarks of one face in all frames, pixels; those of short gaps are interpolated.

    Chunks that are done are kept in ``folder``, and a later call goes on after them.

    Args:
        source: of the frames.
        landmarks: finds the faces of a frame.
        face: its number from the left in the first frame, where there are several; then the nearest is followed.
        folder: for the chunks.
        report: called with the frames that are done.

    Raises:
        VrmmError: no face in the first frame, several without ``face``, or a long time without any.
    """
    chunks, ended = _kept(folder)
    done = sum(len(chunk) for chunk in chunks)
    last = next((row for chunk in reversed(chunks) for row in chunk[::-1] if np.isfinite(row).all()), None)
    rows: list[np.ndarray] = []
    if not ended:
        for frame in source.frames(done):
            points = _face(frame, landmarks, face, last)
            last = points if points is not None else last
            rows.append(np.full((68, 2), np.nan) if points is None else points)
            done += 1
            report(done)
            if len(rows) == CHUNK:
                chunks.append(_keep(folder, len(chunks), rows, ended=False))
                rows = []
        chunks.append(_keep(folder, len(chunks), rows, ended=True))
    return bridge_gaps(np.concatenate(chunks), source)


def bridge_gaps(points: Float[np.ndarray, "T 68 2"], source: FrameSource) -> Float[np.ndarray, "T 68 2"]:
    """Landmarks without NaN. Raises VrmmError where a face is away for longer than ``MOST_SECONDS``."""
    seen = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    most = max(1, round(MOST_SECONDS * source.fps))
    edges = np.concatenate([[-1], seen, [len(points)]])
    for before, after in itertools.pairwise(edges.tolist()):
        if after - before - 1 > most:
            raise VrmmError(
                f"{source.path} shows no face from frame {before + 1} to {after - 1}; cut them out, or give their "
                "landmarks"
            )
    flat = points.reshape(len(points), -1)
    every = np.arange(len(points))
    return np.stack([np.interp(every, seen, flat[seen, k]) for k in range(flat.shape[1])], axis=1).reshape(points.shape)


def _face(
    frame: VideoFrame, landmarks: LandmarkSource, face: int | None, last: np.ndarray | None
) -> Float[np.ndarray, "68 2"] | None:
    """The face that is followed; None where this frame does not show it. The first frame must."""
    if last is None:
        return find_landmarks(frame.picture, landmarks, face)
    faces = landmarks.find(frame.picture)
    if len(faces) == 0:
        return None
    distance = np.linalg.norm(faces.mean(axis=1) - last.mean(axis=0), axis=1)
    points = faces[int(distance.argmin())]
    height, width = frame.picture.rgb.shape[:2]
    inside = ((points >= 0) & (points <= (width, height))).all(axis=1).mean()
    jumped = distance.min() > np.ptp(last, axis=0).max()
    return None if jumped or inside < 1.0 - MOST_CUT_OFF else points


def _kept(folder: Path) -> tuple[list[np.ndarray], bool]:
    chunks: list[np.ndarray] = []
    while (path := _path(folder, len(chunks))).is_file():
        with np.load(path, allow_pickle=False) as arrays:
            chunks.append(arrays["points"])
            if bool(arrays["ended"]):
                return chunks, True
    return chunks, False


def _keep(folder: Path, number: int, rows: list[np.ndarray], *, ended: bool) -> np.ndarray:
    points = np.stack(rows) if rows else np.zeros((0, 68, 2))
    data = io.BytesIO()
    np.savez(data, points=points, ended=np.array(ended))
    atomic_write_bytes(_path(folder, number), data.getvalue())
    return points


def _path(folder: Path, number: int) -> Path:
    return folder / f"faces_{number:05d}.npz"
