"""The network: one pass from a crop of a face to landmarks, pose, codes and light."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, softplus

from fitting.initializer.recipe import NetworkConfig
from fitting.state import SOFTPLUS_ONE

SURE = 0.03
"""Expected distance, in sides of the face's box, at which a landmark's confidence is one half."""
LEAST_SPREAD = 0.004


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the network says about B crops, in the frames of ``augment.Batch``.

    Attributes:
        landmarks: [B, 68, 2] in the crop's frame.
        spread: [B, 68] expected distance of each from the truth, in that frame.
        rotation: [B, 3, 3] head→camera that looks along the crop's centre.
        log_field: [B] logarithm of the tangent of half the angle that the crop covers.
        blend: [B, N] weights of the training identities, summing to 1.
        z_e: [B, E].
        light: [B, L, 3] incoming radiance, head frame, never negative.
        face: [B] logit of there being a face.
    """

    landmarks: Float[Tensor, "B 68 2"]
    spread: Float[Tensor, "B 68"]
    rotation: Float[Tensor, "B 3 3"]
    log_field: Float[Tensor, "B"]
    blend: Float[Tensor, "B N"]
    z_e: Float[Tensor, "B E"]
    light: Float[Tensor, "B L 3"]
    face: Float[Tensor, "B"]

    @property
    def confidence(self) -> Float[Tensor, "B 68"]:
        """Of the landmarks, in (0, 1)."""
        return 1.0 / (1.0 + (self.spread / SURE) ** 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerSizes:
    """Lengths of the answers: training identities, expression code, directions of light."""

    subjects: int
    expression: int
    directions: int


class InitializerNetwork(nn.Module):
    """Convolutions down to a sixteenth of the resolution; heat maps on the way for landmarks, a vector for the rest.

    Untrained, it answers with the mean identity, the expression and light of ``at_means``, and a frontal pose.
    Final.
    """

    mean_expression: Tensor
    expression_spread: Tensor
    light_level: Tensor
    mean_field: Tensor

    def __init__(self, config: NetworkConfig, sizes: AnswerSizes) -> None:
        super().__init__()
        self.config, self.sizes = config, sizes
        first, second, third, fourth = config.channels
        self.stem = nn.Sequential(_block(3, first, 2), _block(first, second, 2), _block(second, second, 1))
        self.middle = nn.Sequential(_block(second, third, 2), _block(third, third, 1))
        self.deep = nn.Sequential(_block(third, fourth, 2), nn.Flatten(1))
        grid = config.size // 16
        self.vector = nn.Sequential(
            nn.Linear(fourth * grid * grid, config.features), nn.ReLU(), nn.Dropout(config.dropout)
        )
        self.context = nn.Conv2d(third, second, 1)
        self.heat = nn.Sequential(_block(second, second, 1), nn.Conv2d(second, 68, 1))
        counts = (6, 1, sizes.subjects, sizes.expression, sizes.directions * 3, 1, 68)
        self.answers = nn.Linear(config.features, sum(counts))
        self._counts = counts
        nn.init.zeros_(self.answers.weight)
        nn.init.zeros_(self.answers.bias)
        self.register_buffer("mean_expression", torch.zeros(sizes.expression))
        self.register_buffer("expression_spread", torch.ones(()))
        self.register_buffer("light_level", torch.ones(()))
        self.register_buffer("mean_field", torch.tensor(math.log(math.tan(math.radians(11.0)))))

    def at_means(self, z_e: Float[Tensor, "S E"], light: Float[Tensor, "S L 3"], log_field: Float[Tensor, "S"]) -> None:
        """Let the untrained answers be the means of these, and their scale the unit of what is learnt."""
        self.mean_expression.copy_(z_e.mean(dim=0))
        self.expression_spread.copy_(z_e.std(dim=0).square().mean().sqrt().clamp(min=1e-4))
        self.light_level.copy_(light.mean())
        self.mean_field.copy_(log_field.mean())

    def forward(self, picture: Float[Tensor, "B 3 S S"]) -> Prediction:
        """``picture`` holds display values in [0, 1]."""
        fine = self.stem(picture - 0.5)
        middle = self.middle(fine)
        parts = self.answers(self.vector(self.deep(middle))).split(self._counts, dim=1)
        turn, field, blend, expression, light, face, spread = parts
        grown = interpolate(self.context(middle), scale_factor=2.0, mode="bilinear", align_corners=False)
        landmarks = _expected_places(self.heat(fine + grown))
        raw_light = light.unflatten(1, (self.sizes.directions, 3)) + SOFTPLUS_ONE
        return Prediction(
            landmarks=landmarks,
            spread=LEAST_SPREAD + 0.1 * softplus(spread),
            rotation=_rotation(turn),
            log_field=self.mean_field + 0.3 * field[:, 0],
            blend=1.0 / self.sizes.subjects + blend - blend.mean(dim=1, keepdim=True),
            z_e=self.mean_expression + self.expression_spread * expression,
            light=self.light_level * softplus(raw_light),
            face=face[:, 0],
        )


def _block(channels: int, out: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def _expected_places(heat: Float[Tensor, "B C G G"]) -> Float[Tensor, "B C 2"]:
    """Means of the distributions that the maps are the logarithms of, in the crop's frame."""
    size = heat.shape[-1]
    share = heat.flatten(2).softmax(dim=-1).unflatten(2, (size, size))
    axis = (torch.arange(size, dtype=heat.dtype, device=heat.device) + 0.5) * (2.0 / size) - 1.0
    return torch.stack([(share.sum(dim=2) * axis).sum(dim=-1), (share.sum(dim=3) * axis).sum(dim=-1)], dim=-1)


def _rotation(values: Float[Tensor, "B 6"]) -> Float[Tensor, "B 3 3"]:
    """Two columns made orthonormal (Zhou et al., On the Continuity of Rotation Representations, 2019).

    Zero is a head that looks into the camera: its x to the right, its y up, which is −y in the image.
    """
    first = normalize(values[:, :3] + values.new_tensor([1.0, 0.0, 0.0]), dim=1)
    second = values[:, 3:] + values.new_tensor([0.0, -1.0, 0.0])
    second = normalize(second - (first * second).sum(dim=1, keepdim=True) * first, dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=2)
