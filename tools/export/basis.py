"""The relighting basis beside a file of splats: what each of them radiates for light from each direction."""

import dataclasses
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from tools.export.ply import AXES
from tools.export.response import TERMS_OF_VIEW, Response

FORMAT, VERSION = "vrmm.relighting", "1"
SUFFIX = ".relight.safetensors"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelightingBasis:
    """The content of the file, in the frame of the splats that it lies beside.

    Attributes:
        directions: [N_l, 3] unit vectors towards where the light comes from.
        gain: [N, 3].
        answer: [N, 4, N_l].
        light: [N_l, 3] incoming radiance that is baked into the splats' own colours.
    """

    directions: Float[Tensor, "L 3"]
    gain: Float[Tensor, "N 3"]
    answer: Float[Tensor, "N 4 L"]
    light: Float[Tensor, "L 3"]


def write_basis(path: Path, response: Response, directions: Float[Tensor, "L 3"], light: Float[Tensor, "L 3"]) -> None:
    """Write the responses of splats, in their order, whole or not at all; everything is given in the head frame."""
    # Half a turn around x changes the sign of the harmonics of y and z.
    turned = response.answer * torch.tensor([1.0, -1.0, -1.0, 1.0])[:, None]
    tensors = {
        "directions": (directions * torch.tensor(AXES)).contiguous(),
        "gain": response.gain.half().contiguous(),
        "answer": turned.half().contiguous(),
        "light": light.contiguous(),
    }
    atomic_write_bytes(path, save(tensors, metadata={"format": FORMAT, "version": VERSION}))


def read_basis(path: Path) -> RelightingBasis:
    """The basis in a file. Raises VrmmError where it is none or of another version."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise VrmmError(f"{path} is not a relighting basis: {error}") from error
    if facts.get("format") != FORMAT or facts.get("version") != VERSION:
        raise VrmmError(f"{path} is not a relighting basis of version {VERSION}; export again")
    found = RelightingBasis(**tensors)
    assert found.answer.shape[1] == TERMS_OF_VIEW
    return found
