"""What the network is trained on; each term is about 1 for the best answer that ignores the picture."""

import dataclasses

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fitting.initializer.augment import Batch
from fitting.initializer.network import Prediction
from fitting.initializer.recipe import InitializerLosses
from fitting.initializer.samples import Samples
from prior.lighting import LightSphere

LANDMARK_UNIT = 0.2
ROTATION_UNIT = 0.5
LOBE = 2
"""Power of the cosine lobe in which lights are compared: a face shows no finer differences."""
LEAST = 1e-6


class TrainingLoss(nn.Module):
    """The weighted sum of all terms, in units of how much each target varies. Final."""

    lobes: Tensor
    blend_unit: Tensor
    expression_unit: Tensor
    light_unit: Tensor
    field_unit: Tensor

    def __init__(self, samples: Samples, sphere: LightSphere, weights: InitializerLosses) -> None:
        super().__init__()
        self._weights = weights
        directions = sphere.directions
        lobes = (directions @ directions.T).clamp(min=0.0) ** LOBE
        self.register_buffer("lobes", lobes / lobes.sum(dim=1, keepdim=True))
        self.register_buffer("blend_unit", _variance(samples.blend))
        self.register_buffer("expression_unit", _variance(samples.z_e))
        relative = self.lobes @ (samples.light / samples.light.mean(dim=(1, 2), keepdim=True))
        self.register_buffer("light_unit", _variance(relative.flatten(1)))
        self.register_buffer("field_unit", _variance(samples.focal.log()[:, None]))

    def forward(self, found: Prediction, wanted: Batch) -> dict[str, Float[Tensor, ""]]:
        """Every term before its weight."""
        distance = (found.landmarks - wanted.landmarks).norm(dim=-1)
        far = distance.detach().clamp(min=1e-4)
        level = wanted.light.mean(dim=(1, 2), keepdim=True).clamp(min=LEAST)
        light = (self.lobes @ ((found.light - wanted.light) / level)).flatten(1)
        asked = ~wanted.face.isnan()
        return {
            "landmarks": _mean(distance, wanted.asked) / LANDMARK_UNIT,
            "spread": _mean(far / found.spread + found.spread.log(), wanted.asked),
            "rotation": _mean((found.rotation - wanted.rotation).square().sum(dim=(1, 2)), wanted.near) / ROTATION_UNIT,
            "field": _mean((found.log_field - wanted.log_field).square(), wanted.near) / self.field_unit,
            "blend": _mean((found.blend - wanted.blend).square().sum(dim=1), wanted.near) / self.blend_unit,
            "expression": _mean((found.z_e - wanted.z_e).square().sum(dim=1), wanted.near) / self.expression_unit,
            "light": _mean(light.square().sum(dim=1), wanted.near) / self.light_unit,
            "face": binary_cross_entropy_with_logits(found.face[asked], wanted.face[asked]),
        }

    def total(self, terms: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Their weighted sum; the spread learns from distances that it does not change."""
        weights = dataclasses.asdict(self._weights)
        return sum((weights[name] * terms[name] for name in weights), 0.1 * terms["spread"])


def _mean(values: Tensor, counts: Tensor) -> Float[Tensor, ""]:
    return (values * counts).sum() / counts.sum().clamp(min=1.0)


def _variance(values: Float[Tensor, "S D"]) -> Float[Tensor, ""]:
    """Mean squared distance from the mean."""
    return (values - values.mean(dim=0)).square().sum(dim=1).mean().clamp(min=LEAST)
