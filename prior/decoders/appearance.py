"""D_rgb of eq. 5: relightable colour, exactly linear in the light (after TRAvatar)."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prior.decoders.blocks import CodeStem, LinearUpBlock, Pointwise, UpBlock, VoxelHead


class AppearanceDecoder(nn.Module):
    """A bias-free linear light branch, gated at every level by a non-linear branch.

    The non-linear branch sees expression and identity (F_appe injected); the view direction enters its last
    gate, so that the maps shared with the other decoders do not depend on the camera. Colour channel c of the
    answer depends on channel c of the light only, through the same weights.
    """

    def __init__(
        self,
        expression: int,
        light: int,
        channels: Sequence[int],
        light_channels: Sequence[int],
        extra: Sequence[int],
        lobes: int,
        texel_voxels: int,
        *,
        view_basis: int = 8,
        linear: bool = True,
    ) -> None:
        """``lobes`` gathered lights a texel (``prior.lobes``), ``texel_voxels`` voxels under one of the last level.

        ``view_basis`` sets of weights of the last gate are mixed by the view direction.
        ``linear`` off puts an activation behind every level of the light branch (an ablation).
        """
        super().__init__()
        levels = len(channels)
        resolutions = [CodeStem.RESOLUTION * 2**i for i in range(levels)]
        self.stem = CodeStem(expression, channels[0])
        self.blocks = nn.ModuleList(
            UpBlock(channels[i] + extra[i], channels[i + 1], resolutions[i + 1]) for i in range(levels - 1)
        )
        self.light_stem = nn.Linear(light, light_channels[0] * CodeStem.RESOLUTION**2, bias=False)
        nn.init.zeros_(self.light_stem.weight)  # light from where no lamp ever was is then left to the lobes
        self.light_blocks = nn.ModuleList(
            LinearUpBlock(light_channels[i], light_channels[i + 1]) for i in range(levels - 1)
        )
        self.lobe_maps = nn.ModuleList(Pointwise(lobes, light_channels[i], bias=False) for i in range(levels))
        self.activation = nn.Identity() if linear else nn.LeakyReLU(0.2)
        self.gates = nn.ModuleList(Pointwise(channels[i], light_channels[i]) for i in range(levels))
        for gate in self.gates:
            nn.init.ones_(gate.bias)  # type: ignore[arg-type]
        self.gate_bias = nn.Parameter(torch.zeros(resolutions[-1], resolutions[-1], 1, light_channels[-1]))
        self.view_gates = nn.Linear(channels[-1], view_basis * light_channels[-1])
        self.view_lobes = nn.Linear(lobes, light_channels[-1], bias=False)
        self.view_basis = nn.Sequential(nn.Linear(3, 32), nn.LeakyReLU(0.2), nn.Linear(32, view_basis))
        self.shading = VoxelHead(light_channels[-1], resolutions[-1], texel_voxels, 1, bias=False)
        self.gain = VoxelHead(channels[-1], resolutions[-1], texel_voxels, 3, bias=True)

    def start(self, z_e: Float[Tensor, "B E"]) -> Float[Tensor, "B C 4 4"]:
        return self.stem(z_e)

    def light(
        self, radiance: Float[Tensor, "B N C"], lobes: Sequence[Tensor], features: Sequence[Tensor]
    ) -> Float[Tensor, "B C M R R"]:
        """The linear branch up to its last level, gated by the non-linear ``features`` of every level.

        ``radiance`` has any number C of colour channels, which do not see each other; ``lobes`` [B,C,S,R,R] of every
        level are the same light as gathered by the base head.
        """
        batch, _, colors = radiance.shape
        response = self.light_stem(radiance.transpose(1, 2).reshape(batch * colors, -1))
        size = CodeStem.RESOLUTION
        response = response.reshape(batch * colors, size, size, -1).permute(0, 3, 1, 2)
        response = response + self.lobe_maps[0](lobes[0].flatten(0, 1))
        for level, block in enumerate(self.light_blocks):
            gated = response.unflatten(0, (batch, colors)) * self.gates[level](features[level])[:, None]
            response = block(gated.flatten(0, 1)) + self.lobe_maps[level + 1](lobes[level + 1].flatten(0, 1))
            response = self.activation(response)
        return response.unflatten(0, (batch, colors))

    def gate(
        self,
        features: Float[Tensor, "B C R R"],
        view_direction: Float[Tensor, "B V 3"],
        view_lobes: Float[Tensor, "B R R V S"],
    ) -> Float[Tensor, "B R R V M"]:
        """The last gate of the light's features, for every view.

        It is linear in ``features`` with weights that are mixed from a few by the view direction, so each view's
        weights are mixed first and applied once. ``view_direction`` are unit vectors from the head to the camera,
        head frame; ``view_lobes`` how every texel of the base head sees them.
        """
        batch, views = view_direction.shape[:2]
        basis, last = self.view_basis(view_direction), cast(Pointwise, self.gates[-1])
        mixed = (basis.shape[-1], -1)
        weight = last.weight + torch.einsum("bvr,rmc->bvmc", basis, self.view_gates.weight.unflatten(0, mixed))
        bias = last.bias + basis @ self.view_gates.bias.unflatten(0, mixed)
        texels = features.permute(0, 2, 3, 1).flatten(1, 2)
        gate = torch.baddbmm(bias.reshape(batch, 1, -1), texels, weight.flatten(1, 2).transpose(1, 2))
        resolution = features.shape[-1]
        # Summing the gradient over the batch and then over the views is much faster than over both at once.
        gate = gate.reshape(batch, resolution, resolution, views, -1) + self.gate_bias.expand(-1, -1, views, -1)
        return gate + self.view_lobes(view_lobes)
