"""What surfaces turned like the base head see of light and viewer: fixed features of both."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prior.primitives import TangentGrid
from prior.template import Template

RINGS = ((math.radians(40), 6), (math.radians(75), 8))
"""Lobes around the normal: their tilt from it, and how many; the outer ring catches grazing light."""

FINEST = 64
"""Lobes turn with the base head, which is smooth: maps finer than this are interpolated from this resolution."""

SHARPNESS = 8
COUNT = 2 + sum(count for _, count in RINGS)


class CosineLobes(nn.Module):
    """Cosine lobes that are fixed to the tangent frames of the template, on the maps of a decoder.

    The first lobe is the clamped cosine of a matt surface; the others, its eighth power around the normal and around
    directions tilted from it, let a few weights answer to gloss and grazing light. With them the light branch of D_rgb
    has to learn shadows and interreflection only, and not which side of a head a lamp lights, which it would have to
    see for every lamp; and products of lobes of the light and of the view make highlights.
    """

    frames: Tensor
    directions: Tensor

    def __init__(self, template: Template, directions: Float[Tensor, "N 3"], resolutions: Sequence[int]) -> None:
        """One set of maps for each of ``resolutions``; ``directions`` are those of the light field, head frame."""
        super().__init__()
        vertices = torch.tensor(template.vertices)[None]
        self.resolutions = tuple(resolutions)
        frames = torch.empty(0)
        for resolution in sorted({min(resolution, FINEST) for resolution in self.resolutions}):
            frames = TangentGrid(template, resolution, thickness=1.0)(vertices).rotation[0]
            kernel = lobe_weights(directions @ frames).unflatten(0, (resolution, resolution))
            self.register_buffer(f"kernel_{resolution}", kernel.permute(2, 3, 0, 1).contiguous())
        self.register_buffer("frames", frames)
        self.register_buffer("directions", directions.clone(), persistent=False)

    def gather(self, radiance: Float[Tensor, "B N C"]) -> list[Float[Tensor, "B C S R R"]]:
        """The light that every lobe receives, for every resolution. A constant light field of 1 gives 1."""
        light = radiance.transpose(1, 2).flatten(0, 1)
        maps = []
        for resolution in self.resolutions:
            kernel = getattr(self, f"kernel_{min(resolution, FINEST)}")
            gathered = _finer((light @ kernel.flatten(1)).unflatten(1, kernel.shape[1:]), resolution)
            maps.append(gathered.unflatten(0, (len(radiance), -1)))
        return maps

    def behind(self, radiance: Float[Tensor, "B N C"]) -> Float[Tensor, "B R R C"]:
        """The light that arrives at the back of every texel of the last level: clamped −n·l, summed over directions.

        The surface itself shuts it out, whatever the shape of the rest of the head.
        """
        normals = self.frames[..., 2]
        arriving = (normals @ -self.directions.T).clamp(min=0.0) @ radiance
        coarse = min(self.resolutions[-1], FINEST)
        maps = _finer(arriving.transpose(1, 2).unflatten(2, (coarse, coarse)), self.resolutions[-1])
        return maps.permute(0, 2, 3, 1)

    def look(self, view_direction: Float[Tensor, "B V 3"]) -> Float[Tensor, "B R R V S"]:
        """How far the viewer, in the directions given, stands in every lobe of the last resolution."""
        resolution = self.resolutions[-1]
        local = torch.einsum("bvi,tij->btvj", view_direction, self.frames)
        maps = lobe_values(local).flatten(2).transpose(1, 2)  # [B, V S, T]
        coarse = min(resolution, FINEST)
        maps = _finer(maps.unflatten(2, (coarse, coarse)), resolution)
        return maps.unflatten(1, (view_direction.shape[1], -1)).permute(0, 3, 4, 1, 2)


def _finer(maps: Float[Tensor, "B C R R"], resolution: int) -> Tensor:
    """Maps at ``resolution``, interpolated where that is finer than theirs."""
    if maps.shape[-1] == resolution:
        return maps
    return nn.functional.interpolate(maps, size=(resolution, resolution), mode="bilinear", align_corners=False)


def lobe_values(directions: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B S"]:
    """Value of every lobe, at most 1, for unit vectors in tangent frames (u, v, normal)."""
    axes = [torch.tensor([[0.0, 0.0, 1.0]])]
    for tilt, count in RINGS:
        angle = torch.arange(count) * (2.0 * math.pi / count)
        height = torch.full((count,), math.cos(tilt))
        axes.append(torch.stack([math.sin(tilt) * angle.cos(), math.sin(tilt) * angle.sin(), height], dim=-1))
    cosine = (directions @ torch.cat(axes).to(directions).T).clamp(min=0.0)
    return torch.cat([cosine[..., :1], cosine**SHARPNESS], dim=-1)


def lobe_weights(directions: Float[Tensor, "*B N 3"]) -> Float[Tensor, "*B N S"]:
    """What each of N nearly uniform directions adds to every lobe; over all of them 1."""
    integral = torch.tensor([math.pi, *[2.0 * math.pi / (SHARPNESS + 1)] * (COUNT - 1)])
    return lobe_values(directions) * (4.0 * math.pi / directions.shape[-2]) / integral
