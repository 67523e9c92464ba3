"""Animation curves: expression and head motion over time, in a file that every command reads and writes."""

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes

KEYS = ("expression", "rotation", "translation", "fps")
ROTATION_TOLERANCE = 1e-3
"""Largest entry of ``R^T R - 1`` that is taken for rounding."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnimationCurve:
    """T moments of a head, evenly spaced in time.

    Attributes:
        expression: [T, E] codes z_e of a prior.
        rotation: [T, 3, 3] head→world; the identity is the head at rest.
        translation: [T, 3] head→world, metres.
        fps: moments a second.
    """

    expression: Float[np.ndarray, "T E"]
    rotation: Float[np.ndarray, "T 3 3"]
    translation: Float[np.ndarray, "T 3"]
    fps: float

    def __post_init__(self) -> None:
        moments = len(self.expression)
        shapes = (self.expression.ndim, self.rotation.shape, self.translation.shape)
        if shapes != (2, (moments, 3, 3), (moments, 3)):
            raise VrmmError(
                "an animation curve has expression [T, E], rotation [T, 3, 3] and translation [T, 3], not "
                f"{self.expression.shape}, {self.rotation.shape} and {self.translation.shape}"
            )
        if moments == 0:
            raise VrmmError("an animation curve needs at least one moment")
        if not all(np.isfinite(part).all() for part in (self.expression, self.rotation, self.translation)):
            raise VrmmError("an animation curve must hold finite numbers; it has NaN or infinity")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise VrmmError(f"an animation curve's fps must be positive, not {self.fps}")
        error = np.abs(np.swapaxes(self.rotation, 1, 2) @ self.rotation - np.eye(3)).max()
        if error > ROTATION_TOLERANCE or (np.linalg.det(self.rotation) < 0).any():
            raise VrmmError("an animation curve's rotation must hold rotation matrices (R^T R = 1, determinant 1)")

    def __len__(self) -> int:
        return len(self.expression)

    @property
    def seconds(self) -> float:
        """How long it lasts; the last moment is shown as long as every other."""
        return len(self) / self.fps

    def save(self, path: Path) -> None:
        """Write the curve as npz, whole or not at all. Raises VrmmError where ``path`` cannot be written."""
        data = io.BytesIO()
        arrays = {name: np.asarray(getattr(self, name), np.float32) for name in KEYS[:3]}
        np.savez(data, fps=np.float64(self.fps), **arrays)
        atomic_write_bytes(Path(path), data.getvalue())

    @staticmethod
    def load(path: Path | str) -> "AnimationCurve":
        """Read what ``save`` writes.

        Raises:
            VrmmError: the file is missing, no npz, of other keys, or holds no curve; it is named.
        """
        path = Path(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except FileNotFoundError:
            raise VrmmError(f"animation curve {path} does not exist") from None
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise VrmmError(f"{path} is not an animation curve (.npz): {error}") from error
        if set(arrays) != set(KEYS):
            raise VrmmError(f"{path} is not an animation curve: its keys are {sorted(arrays)}, not {sorted(KEYS)}")
        if any(array.dtype.kind not in "fiu" for array in arrays.values()) or arrays["fps"].size != 1:
            raise VrmmError(f"{path} is not an animation curve: its arrays must hold numbers, and fps one of them")
        try:
            parts = {name: arrays[name].astype(np.float64) for name in KEYS[:3]}
            return AnimationCurve(fps=float(arrays["fps"].item()), **parts)
        except VrmmError as error:
            raise VrmmError(f"{path}: {error}") from error
