"""A frame's description as files: ``meta.json`` and ``light.npz``, the same in folders and shards."""

import io
import json
import threading
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from datasets.capture import Frame, Light, Pose
from datasets.errors import VrmmError

META = "meta.json"
LIGHT = "light.npz"

_PARSING = threading.Lock()
"""numpy parses array headers with ``ast``, which loses count when two threads do so at once (CPython before 3.12)."""


def frame_members(frame: Frame) -> dict[str, bytes]:
    """``meta.json`` and ``light.npz`` of a frame; equal frames give equal bytes."""
    meta = {
        "subject": frame.subject,
        "sequence": frame.sequence,
        "index": frame.index,
        "split": frame.split,
        "light_pattern": frame.light_pattern,
        "full_on": frame.full_on,
        "nearest_full_on": frame.nearest_full_on,
        "pose": None if frame.pose is None else _pose_to_json(frame.pose),
        "expression": None if frame.expression is None else [float(value) for value in frame.expression],
        **({} if frame.light.known else {"light_known": False}),
    }
    light = io.BytesIO()
    np.savez(light, positions=frame.light.positions, irradiance=frame.light.irradiance)
    return {META: (json.dumps(meta, allow_nan=False) + "\n").encode(), LIGHT: light.getvalue()}


def frame_from_members(members: Mapping[str, bytes], origin: str = "a sample") -> Frame:
    """The frame that ``frame_members`` wrote; other members are ignored.

    Raises:
        VrmmError: a missing or unreadable description, naming ``origin``.
    """
    for name in (META, LIGHT):
        if name not in members:
            raise VrmmError(f"{origin} lacks {name}; it is not a frame written by vrmm")
    try:
        meta = json.loads(members[META])
        return Frame(
            subject=meta["subject"],
            sequence=meta["sequence"],
            index=int(meta["index"]),
            split=meta["split"],
            light=_read_light(members[LIGHT], bool(meta.get("light_known", True))),
            light_pattern=meta["light_pattern"],
            full_on=bool(meta["full_on"]),
            nearest_full_on=meta["nearest_full_on"],
            pose=None if meta["pose"] is None else _pose_from_json(meta["pose"]),
            expression=None if meta["expression"] is None else tuple(meta["expression"]),
        )
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise VrmmError(f"{origin} has an unreadable description ({error}); build it again") from error


def read_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an ``npz`` file, on any thread; no pickles.

    Raises:
        ValueError, EOFError, KeyError or zipfile.BadZipFile: it is none.
    """
    with _PARSING, np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays}


def _read_light(data: bytes, known: bool) -> Light:
    arrays = read_arrays(data)
    positions, irradiance = arrays["positions"], arrays["irradiance"]
    if positions.ndim != 2 or positions.shape[1] != 3 or irradiance.shape != positions.shape:
        raise ValueError(f"lamp arrays of shapes {positions.shape} and {irradiance.shape}")
    if len(positions) and not known:
        raise ValueError(f"{len(positions)} lamps of a light that nobody knows")
    return Light(positions=positions, irradiance=irradiance, known=known)


def _pose_to_json(pose: Pose) -> dict[str, Any]:
    return {"rotation": np.asarray(pose.rotation).tolist(), "translation": np.asarray(pose.translation).tolist()}


def _pose_from_json(value: dict[str, Any]) -> Pose:
    return Pose(
        rotation=np.array(value["rotation"], np.float64).reshape(3, 3),
        translation=np.array(value["translation"], np.float64).reshape(3),
    )
