"""Masks from the prior itself: where its heads would be under the pose of the landmarks."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.matting import estimate_mask
from fitting.photo import Photo
from fitting.pose import initial_pose
from fitting.rendering import render_solution
from fitting.state import FitState
from fitting.views import Views, stack_photos
from prior.render import RenderConfig
from prior.vrmm import VRMM

HEADS = 5
"""Training identities that say where a head can be, beside their mean."""


def with_estimated_masks(photos: Sequence[Photo], model: VRMM, rendering: RenderConfig) -> list[Photo]:
    """The same photos; masks that were estimated from the landmarks alone are estimated again with the prior's alpha.

    Raises:
        VrmmError: landmarks of no face.
    """
    unknown = [photo for photo in photos if photo.mask_source == "estimated"]
    if not unknown:
        return list(photos)
    expected = iter(expected_heads(model, rendering, stack_photos(unknown)))
    return [_masked(photo, next(expected)) if photo.mask_source == "estimated" else photo for photo in photos]


@torch.no_grad()
def expected_heads(model: VRMM, rendering: RenderConfig, views: Views) -> Float[Tensor, "K H W"]:
    """Share of the training identities, at rest under the pose of the landmarks, that cover each pixel.

    Raises:
        VrmmError: landmarks of no face.
    """
    pose = initial_pose(views, model.template_landmarks.numpy().astype("float64"))
    views = views.through(torch.tensor(pose.intrinsics.tolist()))
    solution = FitState.at_pose(model, views, pose).solution(views).detached()
    identities = model.identity_codes.weight
    chosen = torch.linspace(0, len(identities) - 1, min(HEADS, len(identities))).round().long()
    codes = [solution.z_id, *(identities[index][None] for index in chosen)]
    alphas = [render_solution(model, dataclasses.replace(solution, z_id=code), rendering).alpha for code in codes]
    return torch.stack(alphas).mean(dim=0)[:, 0].clamp(0.0, 1.0)


def _masked(photo: Photo, expected: Float[Tensor, "S S"]) -> Photo:
    linear = photo.picture.permute(1, 2, 0).numpy()
    found = estimate_mask(linear, photo.landmarks, expected.numpy().astype(np.float32))
    mask = torch.from_numpy(found)[None] * photo.valid
    return dataclasses.replace(photo, image=photo.picture * mask, mask=mask, mask_source="prior")
