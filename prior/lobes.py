"""Light that a surface turned like the base head gathers: fixed linear features of the light field."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prior.primitives import TangentGrid
from prior.template import Template

RINGS = ((math.radians(40), 6), (math.radians(75), 8))
"""Lobes around the normal: their tilt from it, and how many; the outer ring catches grazing light."""

SHARPNESS = 8.0
COUNT = 2 + sum(count for _, count in RINGS)


class CosineLobes(nn.Module):
    """Gathers a light field with cosine lobes that are fixed to the tangent frames of the template.

    The first lobe is the clamped cosine of a matt surface; the others, its fourth power around the normal and around
    directions 60° away from it, let a few weights answer to gloss and grazing light. The light branch of D_rgb has to
    learn shadows and interreflection only, and not which side of a head a lamp lights, which it would have to see for
    every lamp. A constant light field of 1 gives 1 in every lobe that sees nothing but light.
    """

    def __init__(self, template: Template, directions: Float[Tensor, "N 3"], resolutions: Sequence[int]) -> None:
        """One set of maps for each of ``resolutions``; ``directions`` are those of the light field, head frame."""
        super().__init__()
        vertices = torch.tensor(template.vertices)[None]
        self.resolutions = tuple(resolutions)
        for resolution in self.resolutions:
            frames = TangentGrid(template, resolution, thickness=1.0)(vertices).rotation[0]
            kernel = lobe_weights(directions @ frames).unflatten(0, (resolution, resolution))
            self.register_buffer(f"kernel_{resolution}", kernel.permute(2, 3, 0, 1).contiguous())

    def forward(self, radiance: Float[Tensor, "B N 3"]) -> list[Float[Tensor, "B 3 S R R"]]:
        """The gathered light for every resolution."""
        light = radiance.transpose(1, 2).flatten(0, 1)
        maps = []
        for resolution in self.resolutions:
            kernel = getattr(self, f"kernel_{resolution}")
            gathered = light @ kernel.flatten(1)
            maps.append(gathered.reshape(len(radiance), 3, *kernel.shape[1:]))
        return maps


def lobe_weights(directions: Float[Tensor, "*B N 3"]) -> Float[Tensor, "*B N S"]:
    """Weight of N nearly uniform unit vectors, in tangent frames (u, v, normal), in every lobe."""
    axes = [torch.tensor([[0.0, 0.0, 1.0]])]
    for tilt, count in RINGS:
        angle = torch.arange(count) * (2.0 * math.pi / count)
        height = torch.full((count,), math.cos(tilt))
        axes.append(torch.stack([math.sin(tilt) * angle.cos(), math.sin(tilt) * angle.sin(), height], dim=-1))
    cosine = (directions @ torch.cat(axes).T).clamp(min=0.0)
    solid_angle = 4.0 * math.pi / directions.shape[-2]
    matt = cosine[..., :1] * (solid_angle / math.pi)
    glossy = cosine**SHARPNESS * (solid_angle * (SHARPNESS + 1.0) / (2.0 * math.pi))
    return torch.cat([matt, glossy], dim=-1)
