"""D_T of eq. 5: rotation, translation and scale of the primitives."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prior.decoders.blocks import CodeStem, Pointwise, UpBlock


class TransformDecoder(nn.Module):
    """Convolutional decoder from (z_id, z_e) to 9 numbers a primitive, on the primitives' grid."""

    RANGE = (0.1, 0.3, 0.1)
    """How much one unit of the network turns (radians), moves (half sizes) and scales (log) a primitive."""

    unit: Tensor

    def __init__(self, identity: int, expression: int, channels: Sequence[int], extra: Sequence[int]) -> None:
        """``channels`` per level from 4 × 4 up to the grid; ``extra`` channels concatenated before each block."""
        super().__init__()
        self.stem = CodeStem(identity + expression, channels[0])
        self.blocks = nn.ModuleList(
            UpBlock(channels[i] + extra[i], channels[i + 1], CodeStem.RESOLUTION * 2 ** (i + 1))
            for i in range(len(channels) - 1)
        )
        self.head = Pointwise(channels[-1] + extra[len(channels) - 1], 9)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.head.bias))
        unit = torch.tensor(self.RANGE).repeat_interleave(3)
        self.register_buffer("unit", unit, persistent=False)

    def start(self, z_id: Float[Tensor, "B I"], z_e: Float[Tensor, "B E"]) -> Float[Tensor, "B C 4 4"]:
        return self.stem(torch.cat([z_id, z_e], dim=1))

    def finish(self, features: Float[Tensor, "B C G G"]) -> Float[Tensor, "B K 9"]:
        """Axis-angle (radians), translation (half sizes) and log scale of every primitive."""
        return self.head(features).flatten(2).transpose(1, 2) * self.unit
