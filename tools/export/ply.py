"""The usual file of 3-D Gaussian splats, written and read."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from tools.export.splats import TERMS, Splats

REST = 3 * (TERMS - 1)
PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz"),
    *(f"f_dc_{channel}" for channel in range(3)),
    *(f"f_rest_{number}" for number in range(REST)),
    "opacity",
    *(f"scale_{axis}" for axis in range(3)),
    *(f"rot_{part}" for part in range(4)),
)
AXES = (1.0, -1.0, -1.0)
"""From the head frame to that of splat files and back: y down and z into the scene, half a turn around x."""
_TURNED = torch.tensor([1, -1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], dtype=torch.float32)
"""Sign of each spherical harmonic after that half turn."""


def write_ply(path: Path, splats: Splats) -> None:
    """Write splats whole or not at all, as splat viewers expect them: little endian, y down, the face towards −z.

    Scales are logarithms of metres, opacities logits, and ``f_rest`` lists all harmonics of one channel, then the next.
    """
    rest = splats.harmonics[:, 1:] * _TURNED[1:, None]
    columns = [
        _turned(splats.center),
        _turned(splats.normal),
        splats.harmonics[:, 0],
        rest.transpose(1, 2).flatten(1),
        torch.logit(splats.opacity.clamp(1e-6, 1.0 - 1e-6))[:, None],
        splats.scale.log(),
        _half_turn(splats.rotation),
    ]
    table = torch.cat(columns, dim=1).detach().numpy().astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", "comment vrmm export", f"element vertex {len(splats)}"]
    header += [*(f"property float {name}" for name in PROPERTIES), "end_header", ""]
    atomic_write_bytes(path, "\n".join(header).encode() + table.tobytes())


def read_ply(path: Path) -> Splats:
    """The splats of a file with the properties that ``write_ply`` writes, in the head frame.

    Raises:
        VrmmError: it is no such file.
    """
    head, found, body = Path(path).read_bytes().partition(b"end_header\n")
    lines = head.decode("ascii", errors="replace").split("\n")
    names = tuple(line.split()[2] for line in lines if line.startswith("property float "))
    count = next((int(line.split()[2]) for line in lines if line.startswith("element vertex ")), 0)
    if not found or names != PROPERTIES or len(body) != 4 * len(names) * count:
        raise VrmmError(f"{path} is not a file of splats that vrmm export has written")
    table = torch.from_numpy(np.frombuffer(body, "<f4").reshape(count, -1).copy())
    at = dict(zip(("center", "normal", "plain", "rest", "opacity", "scale", "rotation"), _split(table), strict=True))
    rest = at["rest"].unflatten(1, (3, TERMS - 1)).transpose(1, 2) * _TURNED[1:, None]
    return Splats(
        center=_turned(at["center"]),
        normal=_turned(at["normal"]),
        rotation=_half_turn(at["rotation"]),
        scale=at["scale"].exp(),
        opacity=torch.sigmoid(at["opacity"][:, 0]),
        harmonics=torch.cat([at["plain"][:, None], rest], dim=1),
    )


def _split(table: Tensor) -> tuple[Tensor, ...]:
    return table.split((3, 3, 3, REST, 1, 3, 4), dim=1)


def _turned(vectors: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    return vectors * torch.tensor(AXES)


def _half_turn(rotation: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
    """The quaternion of half a turn around x, times each; doing it twice is a whole turn, the same rotation."""
    w, x, y, z = rotation.unbind(-1)
    return torch.stack([-x, w, -z, y], dim=-1)
