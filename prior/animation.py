"""Animation curves: expression codes and head poses over time (``docs/formats.md``, "Animation curve")."""

import dataclasses
import io
import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes

KEYS = ("expression", "rotation", "translation", "fps")
ROTATION_TOLERANCE = 1e-3
"""How far rotation^T rotation may be from the identity: what rounding to three decimals leaves."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnimationCurve:
    """A performance that any head of one prior can give.

    Attributes:
        expression: [T, E] codes z_e.
        rotation: [T, 3, 3] head→world.
        translation: [T, 3] metres.
        fps: frames a second.
    """

    expression: Float[Tensor, "T E"]
    rotation: Float[Tensor, "T 3 3"]
    translation: Float[Tensor, "T 3"]
    fps: float

    def __len__(self) -> int:
        return len(self.expression)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self) / self.fps

    def frame_at(self, seconds: float) -> int:
        """The frame that shows at a time since the start; after the end it begins again."""
        return int(seconds * self.fps) % len(self)

    def save(self, path: Path) -> None:
        """Write an ``.npz``, whole or not at all. Raises VrmmError where it cannot be written."""
        arrays = {name: getattr(self, name).detach().cpu().float().numpy() for name in KEYS[:3]}
        data = io.BytesIO()
        np.savez(data, fps=np.array(self.fps, np.float64), **arrays)
        atomic_write_bytes(Path(path), data.getvalue())

    @staticmethod
    def load(path: Path) -> "AnimationCurve":
        """Read an ``.npz``.

        Raises:
            VrmmError: the file is absent, no curve, or holds what no curve can (the key is named).
        """
        path = Path(path)
        arrays = _read(path)
        for name in KEYS:
            if name not in arrays:
                raise VrmmError(f"{path} lacks the key {name}; an animation curve has {', '.join(KEYS)}")
        _check(path, arrays)
        expression, rotation, translation = (torch.tensor(arrays[name], dtype=torch.float32) for name in KEYS[:3])
        return AnimationCurve(
            expression=expression, rotation=rotation, translation=translation, fps=float(arrays["fps"])
        )


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise VrmmError(f"the animation curve {path} does not exist")
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise VrmmError(f"{path} is not an animation curve: it is no .npz that can be read") from error


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Raises VrmmError that names the first key that is wrong."""
    for name in KEYS:
        if not np.issubdtype(arrays[name].dtype, np.number) or not np.isfinite(arrays[name]).all():
            raise VrmmError(f"{path}: {name} holds NaN, infinity or no numbers; write the curve again")
    frames = len(np.atleast_1d(arrays["expression"]))
    shapes = {"rotation": (frames, 3, 3), "translation": (frames, 3), "fps": ()}
    if arrays["expression"].ndim != 2 or 0 in arrays["expression"].shape:
        raise VrmmError(f"{path}: expression must be [T, E], not {list(arrays['expression'].shape)}")
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise VrmmError(f"{path}: {name} must be {list(shape)}, not {list(arrays[name].shape)}")
    if not 0.0 < float(arrays["fps"]) < math.inf:
        raise VrmmError(f"{path}: fps must be above 0, not {float(arrays['fps'])}")
    rotation = arrays["rotation"].astype(np.float64)
    off = np.abs(rotation.transpose(0, 2, 1) @ rotation - np.eye(3)).max(axis=(1, 2))
    wrong = np.flatnonzero((off > ROTATION_TOLERANCE) | (np.linalg.det(rotation) < 0.0))
    if len(wrong):
        raise VrmmError(f"{path}: rotation of frame {wrong[0]} is no rotation; matrices must be orthonormal")
