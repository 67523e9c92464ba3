"""State dictionaries of other projects' networks, read from files."""

from pathlib import Path

import torch
from torch import Tensor

from datasets.errors import VrmmError

SUFFIXES = (".pth", ".pt", ".safetensors")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of one that torch has saved, on the CPU.

    Raises:
        VrmmError: the file cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch and safetensors raise many kinds
        raise VrmmError(f"{path} cannot be read as weights: {str(error).strip().splitlines()[0]}") from error
