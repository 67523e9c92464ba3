"""D_alpha of eq. 5: voxel opacities."""

from collections.abc import Sequence

import torch
from torch import nn

from prior.decoders.blocks import CodeStem, UpBlock, VoxelHead


class OpacityDecoder(nn.Module):
    """Convolutional decoder from z_e, with F_alpha injected at every level, to features for ``prior.assemble``."""

    DENSITY = 100.0
    """Opacity per metre at softplus = 1: a ray is stopped within a centimetre."""

    def __init__(
        self, expression: int, channels: Sequence[int], extra: Sequence[int], depth: int, texel_voxels: int
    ) -> None:
        """``depth`` layers of voxels along a primitive's normal; ``texel_voxels`` of them lie under one texel."""
        super().__init__()
        self.stem = CodeStem(expression, channels[0])
        resolutions = [CodeStem.RESOLUTION * 2**i for i in range(len(channels))]
        self.blocks = nn.ModuleList(
            UpBlock(channels[i] + extra[i], channels[i + 1], resolutions[i + 1]) for i in range(len(channels) - 1)
        )
        self.head = VoxelHead(channels[-1], resolutions[-1], texel_voxels, 1, bias=True)
        # The inner half of the slab starts denser than the outer, so that surfaces form inside the primitives.
        layers = torch.linspace(1.0, -1.0, depth).repeat_interleave(texel_voxels // depth)
        with torch.no_grad():
            assert self.head.bias is not None
            self.head.bias.copy_(layers.expand_as(self.head.bias))
