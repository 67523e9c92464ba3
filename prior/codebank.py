"""Expression codes and lights of the training frames: what is usual, for fits and for sampling."""

import dataclasses
import logging
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from datasets.shards import DamageError, ShardSet
from datasets.views import read_frame, training_keys
from prior.vrmm import VRMM

_LOG = logging.getLogger(__name__)
FILE = "expression_codes.safetensors"
MOST_FRAMES = 2000
"""Frames beyond this many are thinned out evenly: the bank is a sample of the distribution."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodeBank:
    """What training frames look like to the encoders.

    Attributes:
        keys: of the frames.
        codes: [N, E] mean expression codes.
        lights: [N, N_l, 3] light fields, head frame.
    """

    keys: list[str]
    codes: Float[Tensor, "N E"]
    lights: Float[Tensor, "N L 3"]


@torch.no_grad()
def encode_bank(
    model: VRMM, shards: ShardSet, input_cameras: tuple[str, ...], image_size: int, most: int = MOST_FRAMES
) -> CodeBank:
    """Encode at most so many training frames, spread evenly over all; those that cannot be read are left out.

    Raises:
        VrmmError: none can be read.
    """
    keys, codes, lights = [], [], []
    for key in training_keys(shards, most):
        try:
            batch = read_frame(shards, key, [], image_size, input_cameras=input_cameras)
        except DamageError as damage:
            _LOG.warning("left out of the code bank: %s", damage)
            continue
        encoding = model.encode(batch.input_images, batch.input_masks)
        keys.append(key)
        codes.append(encoding.mean[0])
        lights.append(model.light_sphere.radiance(batch.lamp_directions, batch.lamp_irradiance, encoding.rotation)[0])
    if not codes:
        raise VrmmError(f"{shards.folder} has no training frame that can be read; is the storage still there?")
    return CodeBank(keys=keys, codes=torch.stack(codes), lights=torch.stack(lights))


def write_code_bank(
    model: VRMM, shards: ShardSet, input_cameras: tuple[str, ...], image_size: int, folder: Path
) -> None:
    """Encode the training frames and write ``expression_codes.safetensors``.

    It holds their mean ``codes`` [N, E], and ``lights`` [N, N_l, 3], their light fields in the head frame. Frames that
    cannot be read or lack a view are left out.

    Raises:
        VrmmError: none can be read.
    """
    bank = encode_bank(model, shards, input_cameras, image_size)
    atomic_write_bytes(folder / FILE, save({"codes": bank.codes, "lights": bank.lights}))


def read_code_bank(folder: Path) -> Float[Tensor, "N E"]:
    """Expression codes of a run folder. Raises VrmmError where there is no bank."""
    return _read(folder)["codes"]


def read_light_bank(folder: Path) -> Float[Tensor, "N L 3"]:
    """Light fields of a run folder, head frame. Raises VrmmError where there is no bank."""
    return _read(folder)["lights"]


def _read(folder: Path) -> dict[str, Tensor]:
    path = Path(folder) / FILE
    if not path.exists():
        raise VrmmError(f"{folder} has no {FILE}; it is written when training ends")
    tensors = load_file(path)
    if not {"codes", "lights"} <= tensors.keys():
        raise VrmmError(f"{path} was written by an older vrmm; finish the training again to renew it")
    return tensors
