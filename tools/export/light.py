"""The light that is baked in, by what the user calls it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from datasets.errors import VrmmError
from fitting.avatar import Avatar

LAMP_SHARE = 0.75
"""Of the power of a lamp's light, the rest comes from everywhere."""


def chosen_light(avatar: Avatar, name: str) -> Float[Tensor, "L 3"]:
    """The light field (radiance from each direction of the model, head frame) of ``--light``.

    ``photo`` is the light of the photos, ``even`` comes from everywhere, and ``AZIMUTH,ELEVATION`` (degrees; 0,0 in
    front of the face, positive azimuths to its left) is a lamp over a weak light from everywhere. All have the power
    and, but for ``photo``, the mean colour of the photos' light.

    Raises:
        VrmmError: it is none of them.
    """
    found = avatar.solution.light.detach()
    even = found.mean(dim=0).expand_as(found).clone()
    if name == "photo":
        return found
    if name == "even":
        return even
    azimuth, elevation = _angles(name)
    toward = [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
    lamp = avatar.model.light_sphere.weights(torch.tensor([toward]))[0]
    return (1.0 - LAMP_SHARE) * even + LAMP_SHARE * lamp[:, None] * even.sum(dim=0)


def _angles(name: str) -> tuple[float, float]:
    try:
        azimuth, elevation = (math.radians(float(part)) for part in name.split(","))
    except ValueError:
        azimuth = elevation = math.nan
    if not (math.isfinite(azimuth) and math.isfinite(elevation)):
        raise VrmmError(f"--light {name} is no light; give photo, even, or AZIMUTH,ELEVATION in degrees, as in 40,20")
    return azimuth, elevation
