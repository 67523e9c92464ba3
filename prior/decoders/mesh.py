"""D_mesh of eq. 5: the base mesh."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn


class MeshDecoder(nn.Module):
    """A multilayer perceptron from identity and expression to vertex positions, as offsets from the template."""

    OFFSET_SCALE = 0.01
    """Metres per unit of the network's answer, so that the optimiser's step suits millimetres."""

    template: Tensor

    def __init__(self, template: Float[Tensor, "V 3"], identity: int, expression: int, width: int = 128) -> None:
        super().__init__()
        self.register_buffer("template", template)
        self.layers = nn.Sequential(
            nn.Linear(identity + expression, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, template.numel()),
        )
        last = cast(nn.Linear, self.layers[-1])
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)

    def forward(self, z_id: Float[Tensor, "B I"], z_e: Float[Tensor, "B E"]) -> Float[Tensor, "B V 3"]:
        """Vertices in the head frame, metres."""
        offsets = self.layers(torch.cat([z_id, z_e], dim=1)).reshape(len(z_id), -1, 3)
        return self.template + self.OFFSET_SCALE * offsets
