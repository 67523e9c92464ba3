"""Building blocks shared by the convolutional decoders."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


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
        """``resolution`` is that of the output."""
        super().__init__()
        self.convolution = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        nn.init.normal_(self.convolution.weight, std=math.sqrt(2.0 / (inputs * 4)))
        self.bias = nn.Parameter(torch.zeros(outputs, resolution, resolution))

    def forward(
        self, features: Float[Tensor, "B C H W"], injected: Float[Tensor, "B F R R"] | None = None
    ) -> Float[Tensor, "B F R R"]:
        """``injected`` feature maps are added before the non-linearity."""
        response = self.convolution(features.contiguous(memory_format=torch.channels_last)) + self.bias
        if injected is not None:
            response = response + injected
        return nn.functional.leaky_relu(response, 0.2)


class LinearUpBlock(nn.Module):
    """Doubles the resolution without bias or non-linearity, so that it is exactly linear in its input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        nn.init.normal_(self.convolution.weight, std=math.sqrt(1.0 / (inputs * 4)))

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F R R"]:
        return self.convolution(features.contiguous(memory_format=torch.channels_last))


class VoxelHead(nn.Module):
    """Feature texels to the voxels of the primitives they cover.

    A primitive covers ``texels`` × ``texels`` feature texels; each texel answers for a block of
    ``D`` × ``H / texels`` × ``W / texels`` voxels through one shared linear map, plus a bias for every voxel.
    """

    def __init__(self, features: int, grid: int, resolution: int, voxels: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.grid, self.texels, self.voxels, self.outputs = grid, resolution // grid, voxels, outputs
        self.block = voxels // self.texels
        self.linear = nn.Linear(features, voxels * self.block**2 * outputs, bias=False)
        nn.init.normal_(self.linear.weight, std=0.3 / math.sqrt(features))
        shape = (grid**2, voxels, voxels, voxels, outputs)
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None

    def forward(self, features: Float[Tensor, "B C R R"]) -> Float[Tensor, "B K D H W O"]:
        batch = len(features)
        grid, texels, block = self.grid, self.texels, self.block
        by_primitive = (
            features.permute(0, 2, 3, 1)
            .reshape(batch, grid, texels, grid, texels, -1)
            .permute(0, 1, 3, 2, 4, 5)
            .reshape(batch * grid * grid, texels * texels, -1)
        )
        response = self.linear(by_primitive).reshape(
            batch, grid * grid, texels, texels, self.voxels, block, block, self.outputs
        )
        response = response.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(
            batch, grid * grid, self.voxels, self.voxels, self.voxels, self.outputs
        )
        return response if self.bias is None else response + self.bias
