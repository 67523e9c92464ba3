"""Someone half-way between two subjects, in shape and in looks."""

import dataclasses

import numpy as np
from jaxtyping import Float

from datasets.lightstage.head import HeadModel, Material, Subject

_DARKEST = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blend:
    """The person half-way between two subjects of one head model: a pure function of the two, in either order.

    Shape coefficients are half-way, those of the hair among them: volume, hairline, length and curl change
    continuously, so there is a head of hair between any two. What an appearance seed draws at random cannot be half-way
    (an iris is blue or brown, freckles are here or there), so both looks are painted on the one blended head, where
    hair and scalp meet, and every texel has the geometric mean of the two reflectances. It is the scale on which skin
    tones are equally spaced: half-way between two skins is the skin of the tone half-way.

    Attributes:
        first, second: between whom.
    """

    first: Subject
    second: Subject

    @property
    def identity(self) -> Float[np.ndarray, "I"]:
        """Shape coefficients half-way."""
        return 0.5 * (self.first.identity + self.second.identity)

    def materials(self, model: HeadModel) -> dict[str, Material]:
        """Both looks on the blended head, half-way."""
        first, second = (
            model.materials(dataclasses.replace(subject, identity=self.identity))
            for subject in (self.first, self.second)
        )
        return {name: _between(material, second[name]) for name, material in first.items()}


def _between(first: Material, second: Material) -> Material:
    albedo = np.sqrt(np.maximum(first.albedo, _DARKEST) * np.maximum(second.albedo, _DARKEST))
    return Material(
        albedo=albedo,
        roughness=0.5 * (first.roughness + second.roughness),
        specular=0.5 * (first.specular + second.specular),
    )
