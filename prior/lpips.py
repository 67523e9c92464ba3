"""LPIPS, a distance of pictures learned from people's judgements (Zhang et al. 2018, eq. 1), on AlexNet."""

import re
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from datasets.errors import VrmmError
from prior.metrics import MASK_THRESHOLD, display
from prior.statefile import SUFFIXES, read_state

COMPARED = {1: 64, 4: 192, 7: 384, 9: 256, 11: 256}
"""Indices of AlexNet's five ReLUs in torchvision's ``features``, and the channels behind them."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of pictures in [-1, 1], as published with the weights (version 0.1)."""

LEAST_SIZE = 31
"""Side in pixels of the smallest picture that AlexNet's pooling leaves anything of."""

_EPSILON = 1e-10
_AS_TORCHVISION = re.compile(r"^(?:net\.slice\d\.|features\.)(\d+)\.(weight|bias)$")
_AS_LPIPS = re.compile(r"^lin(\d)\.model\.1\.weight$")


class LPIPS(nn.Module):
    """The distance, as a map of the picture or as its mean in a mask. Final.

    Args:
        weights: a file, or a folder whose files ``alex*`` are taken together, as ``.pth`` or ``.safetensors``, with
            AlexNet's convolutions under torchvision's names (``features.0.weight``, …) and the linear heads under
            those of the package lpips (``lin0.model.1.weight``, …). A state dictionary of the package's whole
            ``LPIPS(net="alex")`` holds both.

    Raises:
        VrmmError: a file cannot be read, or something is missing or has another shape (the first are listed).
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.features = _alexnet()
        self.heads = nn.ParameterList([torch.zeros(1, channels, 1, 1) for channels in COMPARED.values()])
        self.register_buffer("shift", torch.tensor(SHIFT).reshape(3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).reshape(3, 1, 1))
        _load(self, Path(weights))
        self.requires_grad_(False)

    def forward(self, image: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 1 H W"]:
        """A map of the distance: every layer's, upsampled to the picture, in a sum. Its mean is LPIPS.

        Args:
            image, target: display values in [0, 1], at least ``LEAST_SIZE`` pixels a side.
        """
        both = (2.0 * torch.cat([image, target]) - 1.0 - self.shift) / self.scale
        total = torch.zeros_like(image[:, :1])
        heads = iter(self.heads)
        for index, layer in enumerate(self.features):
            both = layer(both)
            if index in COMPARED:
                a, b = _unit(both).chunk(2)
                near = ((a - b) ** 2 * next(heads)).sum(dim=1, keepdim=True)
                total = total + interpolate(near, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return total

    @torch.no_grad()
    def inside(
        self, image: Float[Tensor, "3 H W"], truth: Float[Tensor, "3 H W"], mask: Float[Tensor, "1 H W"]
    ) -> float:
        """The mean of the map over the pixels where the true mask is above one half; linear pictures."""
        distance = self(display(image)[None], display(truth)[None])[0]
        return float(distance[mask > MASK_THRESHOLD].mean())


def _unit(features: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + _EPSILON)


def _alexnet() -> nn.Sequential:
    """The convolutions of Krizhevsky 2014, numbered as in torchvision."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def _load(module: LPIPS, path: Path) -> None:
    found: dict[str, Tensor] = {}
    for file in _files(path):
        found |= _renamed(read_state(file))
    own = {name: value for name, value in module.state_dict().items() if name not in ("shift", "scale")}
    differences = [f"{_public(name)} missing" for name in own if name not in found]
    differences += [
        f"{_public(name)} {tuple(found[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in found and found[name].shape != own[name].shape
    ]
    if differences:
        raise VrmmError(
            f"{path} does not hold LPIPS on AlexNet: {'; '.join(differences[:3])}; "
            "it needs torchvision's alexnet and lpips' alex.pth"
        )
    module.load_state_dict({name: found[name] for name in own}, strict=False)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = [file for file in sorted(path.glob("alex*")) if file.suffix in SUFFIXES] if path.is_dir() else []
    if not files:
        raise VrmmError(
            f"--lpips-weights {path} is no file and no folder with torchvision's alexnet-*.pth and lpips' alex.pth; "
            "leave it out to evaluate without LPIPS"
        )
    return files


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is used of a state dictionary, under this module's names; AlexNet's classifier is not."""
    found = {}
    for name, value in state.items():
        if match := _AS_TORCHVISION.match(name):
            found[f"features.{match[1]}.{match[2]}"] = value
        elif match := _AS_LPIPS.match(name):
            found[f"heads.{match[1]}"] = value
    return found


def _public(name: str) -> str:
    """The public name of a tensor of this module."""
    return f"lin{name.removeprefix('heads.')}.model.1.weight" if name.startswith("heads.") else name
