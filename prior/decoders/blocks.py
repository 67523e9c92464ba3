"""Building blocks shared by the convolutional decoders."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prior.decoders.deconvolution import Deconvolution


class CodeStem(nn.Module):
    """A code to a 4 × 4 feature map."""

    RESOLUTION = 4

    def __init__(self, code: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear = nn.Linear(code, channels * self.RESOLUTION**2)

    def forward(self, code: Float[Tensor, "B C"]) -> Float[Tensor, "B F 4 4"]:
        features = self.linear(code).reshape(-1, self.RESOLUTION, self.RESOLUTION, self.channels)
        return nn.functional.leaky_relu(features, 0.2).permute(0, 3, 1, 2)


class UpBlock(nn.Module):
    """Doubles the resolution: transposed convolution with a bias of its own for every texel (as MVP's decoders)."""

    def __init__(self, inputs: int, outputs: int, resolution: int) -> None:
        """``resolution`` is that of the output; ``inputs`` counts the detached maps' channels too."""
        super().__init__()
        self.convolution = Deconvolution(inputs, outputs, gain=2.0)
        self.bias = nn.Parameter(torch.zeros(resolution, resolution, outputs))

    def forward(
        self,
        features: Float[Tensor, "B C H W"],
        *detached: Float[Tensor, "B _ H W"],
        injected: Float[Tensor, "B F R R"] | None = None,
    ) -> Float[Tensor, "B F R R"]:
        """``detached`` maps are concatenated without gradient, ``injected`` ones added before the non-linearity."""
        response = self.convolution(features, *detached) + self.bias.permute(2, 0, 1)
        if injected is not None:
            response = response + injected
        return nn.functional.leaky_relu(response, 0.2)


class LinearUpBlock(nn.Module):
    """Doubles the resolution without bias or non-linearity, so that it is exactly linear in its input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = Deconvolution(inputs, outputs, gain=1.0)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F R R"]:
        return self.convolution(features)


class Pointwise(nn.Linear):
    """One linear map for every texel: a 1 × 1 convolution as the matrix product that it is."""

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F H W"]:
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class VoxelHead(nn.Module):
    """Parameters of a map from feature texels to the voxels under them, as ``prior.assemble`` takes them.

    Attributes:
        weight: [outputs, N, features], shared by all texels.
        bias: [R, R, outputs, N], one for every voxel, or None.
    """

    def __init__(self, features: int, resolution: int, voxels: int, outputs: int, *, bias: bool) -> None:
        """``voxels`` is N, those under one texel."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, voxels, features))
        nn.init.normal_(self.weight, std=0.3 / math.sqrt(features))
        self.bias = nn.Parameter(torch.zeros(resolution, resolution, outputs, voxels)) if bias else None
