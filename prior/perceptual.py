"""A perceptual distance on features of VGG-19 (Simonyan & Zisserman 2015; Johnson et al. 2016)."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from datasets.errors import VrmmError
from prior.statefile import read_state

LAYERS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512)
"""Convolutions of VGG-19 up to conv4_4, each followed by a ReLU, in the order of torchvision's ``features``."""

COMPARED = (3, 8, 17, 26)
"""Indices of relu1_2, relu2_2, relu3_4 and relu4_4."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, to which the weights are used."""


class VGGDistance(nn.Module):
    """Mean absolute difference of VGG-19's features, its four depths weighted alike. Final.

    Args:
        weights: a state dictionary of torchvision's ``vgg19`` or of its ``features``, as ``.pth`` or ``.safetensors``.

    Raises:
        VrmmError: the file cannot be read or holds another network (the first differences are listed).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.features = _build()
        self.register_buffer("mean", torch.tensor(MEAN).reshape(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).reshape(3, 1, 1))
        _load(self.features, Path(weights))
        self.requires_grad_(False)

    def forward(self, image: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N"]:
        """Distance of toned images, values from 0 to about 1, at least 16 pixels a side."""
        both = (torch.cat([image, target.detach()]) - self.mean) / self.deviation
        total = image.new_zeros(len(image))
        for index, layer in enumerate(self.features):
            both = layer(both)
            if index in COMPARED:
                found, wanted = both.chunk(2)
                total = total + (found - wanted).abs().flatten(1).mean(dim=1)
        return total / len(COMPARED)


def _build() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for entry in LAYERS:
        if isinstance(entry, str):
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.ReLU()]
        channels = entry
    return nn.Sequential(*layers)


def _load(features: nn.Sequential, path: Path) -> None:
    found = {name.removeprefix("features."): value for name, value in _read(path).items()}
    own = features.state_dict()
    differences = [f"{name} missing" for name in own if name not in found]
    differences += [
        f"{name} {tuple(found[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in found and found[name].shape != own[name].shape
    ]
    if differences:
        raise VrmmError(f"{path} does not hold VGG-19: {'; '.join(differences[:3])}")
    features.load_state_dict({name: found[name] for name in own})


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise VrmmError(f"losses.vgg_weights={path} does not exist; leave it empty to use structural similarity")
    return read_state(path)
