"""The network: one pass from a crop of a face to landmarks, pose, codes and light."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, normalize, softplus

from fitting.initializer.places import places_from_landmarks
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
    """One pass in two looks: landmarks from the whole crop, then all else from what is seen at the landmarks.

    A vector of the whole crop gives the landmarks roughly and heat maps correct them. Where they are, and the
    features at these places (Cao et al., Face Alignment by Explicit Shape Regression, 2012, call them indexed by
    shape), say pose, codes and light: wherever the face is in the crop, the same number comes from the same cheek.
    Untrained, it answers with the means of ``at_means`` and a frontal pose. Final.
    """

    places: Tensor
    mean_landmarks: Tensor
    mean_expression: Tensor
    expression_spread: Tensor
    light_level: Tensor
    mean_field: Tensor

    def __init__(self, config: NetworkConfig, sizes: AnswerSizes) -> None:
        super().__init__()
        self.config, self.sizes = config, sizes
        first, second, third, fourth = config.channels
        self.shallow = _block(3, first, 2)
        self.stem = nn.Sequential(_block(first, second, 2), _block(second, second, 1))
        self.middle = nn.Sequential(_block(second, third, 2), _block(third, third, 1))
        self.deep = nn.Sequential(_block(third, fourth, 2), nn.Flatten(1))
        grid, features = config.size // 16, config.features
        self.whole = nn.Sequential(nn.Linear(fourth * grid * grid, features), nn.ReLU())
        self.rough = _at_zero(nn.Linear(features, 68 * 2 + 68 + 1))
        self.context = nn.Conv2d(third, second, 1)
        self.heat = nn.Sequential(_block(second, second, 1), nn.Conv2d(second, 68, 1))
        self.register_buffer("places", places_from_landmarks(), persistent=False)
        seen = len(self.places) * (first + second) + 68 * 2 + 3 + features
        self.face = nn.Sequential(nn.Linear(seen, features), nn.ReLU(), nn.Dropout(config.dropout))
        self._counts = (6, 1, sizes.subjects, sizes.expression, sizes.directions * 3)
        self.answers = _at_zero(nn.Linear(features, sum(self._counts)))
        self.register_buffer("mean_landmarks", torch.zeros(68, 2))
        self.register_buffer("mean_expression", torch.zeros(sizes.expression))
        self.register_buffer("expression_spread", torch.ones(()))
        self.register_buffer("light_level", torch.ones(()))
        self.register_buffer("mean_field", torch.zeros(()))

    def at_means(
        self,
        landmarks: Float[Tensor, "S 68 2"],
        z_e: Float[Tensor, "S E"],
        light: Float[Tensor, "S L 3"],
        log_field: Float[Tensor, "S"],
    ) -> None:
        """Let the untrained answers be the means of these, and their scale the unit of what is learnt.

        ``landmarks`` are in the frames of the crops.
        """
        self.mean_landmarks.copy_(landmarks.mean(dim=0))
        self.mean_expression.copy_(z_e.mean(dim=0))
        self.expression_spread.copy_(z_e.std(dim=0).square().mean().sqrt().clamp(min=1e-4))
        self.light_level.copy_(light.mean())
        self.mean_field.copy_(log_field.mean())

    def forward(self, picture: Float[Tensor, "B 3 S S"], hint: Float[Tensor, "B 68 2"] | None = None) -> Prediction:
        """What is in crops of display values in [0, 1].

        ``hint`` has landmarks to look at instead of the network's own where it is not NaN: in training, so that the
        second look need not wait for the first.
        """
        shallow = self.shallow(picture - 0.5)
        fine = self.stem(shallow)
        middle = self.middle(fine)
        whole = self.whole(self.deep(middle))
        rough, spread, face = self.rough(whole).split((136, 68, 1), dim=1)
        grown = interpolate(self.context(middle), scale_factor=2.0, mode="bilinear", align_corners=False)
        landmarks = self.mean_landmarks + rough.unflatten(1, (68, 2)) + _expected_places(self.heat(fine + grown))
        looked_at = landmarks.detach()
        if hint is not None:
            looked_at = torch.where(hint.isnan(), looked_at, hint)
        seen = torch.cat([self._look(shallow, fine, looked_at), _shape(looked_at), whole], dim=1)
        turn, field, blend, expression, light = self.answers(self.face(seen)).split(self._counts, dim=1)
        raw_light = light.unflatten(1, (self.sizes.directions, 3)) + SOFTPLUS_ONE
        return Prediction(
            landmarks=landmarks,
            spread=LEAST_SPREAD + 0.1 * softplus(spread),
            rotation=_rotation(turn),
            log_field=self.mean_field + 0.3 * field[:, 0],
            blend=1.0 / self.sizes.subjects + 0.3 * (blend - blend.mean(dim=1, keepdim=True)),
            z_e=self.mean_expression + self.expression_spread * expression,
            light=self.light_level * softplus(raw_light),
            face=face[:, 0],
        )

    def _look(self, shallow: Tensor, fine: Tensor, landmarks: Float[Tensor, "B 68 2"]) -> Float[Tensor, "B F"]:
        """Features at the places of the face; zeros beyond the crop."""
        places = (self.places @ landmarks)[:, :, None]
        found = [grid_sample(maps, places, align_corners=False) for maps in (shallow, fine)]
        return torch.cat(found, dim=1).flatten(1)


def _shape(landmarks: Float[Tensor, "B 68 2"]) -> Float[Tensor, "B F"]:
    """Landmarks around their middle in units of their spread, and these three numbers."""
    middle = landmarks.mean(dim=1, keepdim=True)
    spread = (landmarks - middle).square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-3)
    return torch.cat([((landmarks - middle) / spread).flatten(1), middle[:, 0], spread[:, :, 0].log()], dim=1)


def _at_zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


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
