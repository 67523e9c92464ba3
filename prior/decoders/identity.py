"""D_id of eq. 5: identity code to the hierarchical feature maps F_alpha and F_appe."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from prior.decoders.blocks import CodeStem, Pointwise, UpBlock


class IdentityDecoder(nn.Module):
    """Convolutional decoder whose levels are injected into the opacity and the appearance decoder."""

    def __init__(self, identity: int, channels: Sequence[int]) -> None:
        """``channels`` per level from 4 × 4 up."""
        super().__init__()
        self.stem = CodeStem(identity, channels[0])
        self.blocks = nn.ModuleList(
            UpBlock(channels[i], channels[i + 1], CodeStem.RESOLUTION * 2 ** (i + 1)) for i in range(len(channels) - 1)
        )
        self.to_opacity = nn.ModuleList(Pointwise(c, c, bias=False) for c in channels[1:])
        self.to_appearance = nn.ModuleList(Pointwise(c, c, bias=False) for c in channels[1:])

    def forward(self, z_id: Float[Tensor, "B I"]) -> tuple[list[Tensor], list[Tensor]]:
        """(F_alpha, F_appe): one map [B, channels, R, R] for every level from 8 × 8 up."""
        features = self.stem(z_id)
        opacity, appearance = [], []
        for block, to_opacity, to_appearance in zip(self.blocks, self.to_opacity, self.to_appearance, strict=True):
            features = block(features)
            opacity.append(to_opacity(features))
            appearance.append(to_appearance(features))
        return opacity, appearance
