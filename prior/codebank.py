"""The expression codes of the training frames: the learned expression distribution, for fits and for sampling."""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor

from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes
from datasets.shards import ShardSet
from datasets.views import read_frame
from prior.vrmm import VRMM

FILE = "expression_codes.safetensors"
MOST_FRAMES = 2000
"""Frames beyond this many are thinned out evenly: the bank is a sample of the distribution."""


@torch.no_grad()
def write_code_bank(model: VRMM, shards: ShardSet, input_cameras: tuple[str, ...], image_size: int, folder: Path) -> None:
    """Encode the training frames and write their mean codes [N, E] to ``expression_codes.safetensors``."""
    info = shards.info
    frames = [
        frame
        for frame in (shards.frame(sample) for sample in range(len(shards)))
        if frame.split == "train" and info.subject_splits[frame.subject] == "train"
    ]
    frames = frames[:: max(1, -(-len(frames) // MOST_FRAMES))]
    codes = []
    for frame in frames:
        batch = read_frame(shards, frame.key, [], image_size, input_cameras=input_cameras)
        codes.append(model.encode(batch.input_images, batch.input_masks).mean[0])
    atomic_write_bytes(folder / FILE, save({"codes": torch.stack(codes)}))


def read_code_bank(folder: Path) -> Float[Tensor, "N E"]:
    """The bank of a run folder. Raises VrmmError where there is none."""
    path = Path(folder) / FILE
    if not path.exists():
        raise VrmmError(f"{folder} has no {FILE}; it is written when training ends")
    return load_file(path)["codes"]
