"""The trained initializer in a run folder: weights and what they belong to, whole or absent."""

import dataclasses
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from datasets.config import from_dict
from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes, atomic_write_json, read_json, sha256_of
from fitting.initializer.network import AnswerSizes, InitializerNetwork
from fitting.initializer.recipe import NetworkConfig

FOLDER, WEIGHTS, DESCRIPTION = "initializer", "weights.safetensors", "initializer.json"
FORMAT, FORMAT_VERSION = "vrmm.initializer", 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Initializer:
    """A trained network.

    Attributes:
        network: in evaluation mode, frozen.
        sha256: of its weights.
        description: initializer.json.
    """

    network: InitializerNetwork
    sha256: str
    description: dict[str, Any]


def has_initializer(run: Path) -> bool:
    """Whether a run folder holds one."""
    return (Path(run) / FOLDER / DESCRIPTION).is_file()


def save_initializer(run: Path, network: InitializerNetwork, prior_sha256: str, facts: dict[str, Any]) -> None:
    """Write ``initializer/`` of a run folder; its description last, naming the bytes of the weights."""
    folder = Path(run) / FOLDER
    tensors = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    atomic_write_bytes(folder / WEIGHTS, save(tensors))
    description = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "prior": prior_sha256,
        "weights": sha256_of(folder / WEIGHTS),
        "network": dataclasses.asdict(network.config),
        "answers": dataclasses.asdict(network.sizes),
        **facts,
    }
    atomic_write_json(folder / DESCRIPTION, description)


def load_initializer(run: Path, prior_sha256: str) -> Initializer:
    """The initializer of a run folder.

    Raises:
        VrmmError: there is none, it is damaged, of another version or of other weights of the prior.
    """
    folder = Path(run) / FOLDER
    again = f"train it with: vrmm train-initializer {run}"
    if not has_initializer(run):
        raise VrmmError(f"{run} has no initializer; {again}")
    description = read_json(folder / DESCRIPTION, "an initializer's description")
    if description.get("format") != FORMAT or description.get("version") != FORMAT_VERSION:
        raise VrmmError(f"{folder} is not an initializer of version {FORMAT_VERSION}; {again}")
    if description["prior"] != prior_sha256:
        raise VrmmError(f"{folder} belongs to other weights of the prior; {again} (or fit with --no-initializer)")
    path = folder / WEIGHTS
    if not path.is_file() or sha256_of(path) != description["weights"]:
        raise VrmmError(f"{path} is damaged; {again}")
    network = InitializerNetwork(
        from_dict(NetworkConfig, description["network"], str(folder / DESCRIPTION)),
        AnswerSizes(**description["answers"]),
    )
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise VrmmError(f"{path} holds another architecture; {again}") from error
    return Initializer(
        network=network.eval().requires_grad_(False), sha256=description["weights"], description=description
    )
