"""D_alpha of eq. 5: voxel opacities."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prior.decoders.blocks import CodeStem, UpBlock, VoxelHead


class OpacityDecoder(nn.Module):
    """Convolutional decoder from z_e, with F_alpha injected at every level, to opacity per metre."""

    DENSITY = 100.0
    """Opacity per metre at softplus = 1: a ray is stopped within a centimetre."""

    def __init__(
        self, expression: int, channels: Sequence[int], extra: Sequence[int], grid: int, voxels: int
    ) -> None:
        super().__init__()
        self.stem = CodeStem(expression, channels[0])
        resolutions = [CodeStem.RESOLUTION * 2**i for i in range(len(channels))]
        self.blocks = nn.ModuleList(
            UpBlock(channels[i] + extra[i], channels[i + 1], resolutions[i + 1]) for i in range(len(channels) - 1)
        )
        self.head = VoxelHead(channels[-1], grid, resolutions[-1], voxels, 1, bias=True)
        # The inner half of the slab starts denser than the outer, so that surfaces form inside the primitives.
        depth = torch.linspace(1.0, -1.0, voxels).reshape(1, voxels, 1, 1, 1)
        with torch.no_grad():
            assert self.head.bias is not None
            self.head.bias.copy_(depth.expand_as(self.head.bias))

    def finish(self, features: Float[Tensor, "B C R R"]) -> Float[Tensor, "B K D H W 1"]:
        """Opacity per metre, never negative."""
        return self.DENSITY * nn.functional.softplus(self.head(features))
