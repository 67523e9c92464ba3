"""Masks that the user does not give: the prior's own heads say where one can be."""

import dataclasses

import numpy as np
import torch

from fitting.foreground import expected_heads, with_estimated_masks
from fitting.photo import Photo
from prior.vrmm import VRMM
from tests.fitting.conftest import Known, photograph
from tests.fitting.tiny import RENDERING

SKIN = torch.tensor([0.45, 0.28, 0.2])[:, None, None]
WALL = torch.tensor([0.1, 0.2, 0.35])[:, None, None]


def photos(known: Known, source: str) -> list[Photo]:
    """Plain heads before a wall, on shoulders of the same colour as the skin."""
    views = known.views
    found = []
    for k, name in enumerate(views.names):
        head = (views.masks[k] > 0.5).float()
        bottom = int(torch.nonzero(head[0].any(dim=1)).max())
        shoulders = torch.zeros_like(head)
        shoulders[0, bottom - 2 :, 6:26] = 1.0
        skin = torch.maximum(head, shoulders)
        noise = 0.01 * torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(k))
        picture = (skin * SKIN + (1.0 - skin) * WALL + noise).clamp(min=0.0)
        found.append(
            Photo(
                name=name,
                image=picture,
                mask=torch.ones_like(head),
                picture=picture,
                valid=torch.ones_like(head),
                mask_source=source,
                landmarks=views.landmarks[k].double().numpy(),
                crop=np.eye(3),
                intrinsics=views.cameras.intrinsics[k].double().numpy(),
                world_to_camera=views.cameras.world_to_camera[k].double().numpy(),
            )
        )
    return found


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a > 0.5, b > 0.5
    return float((a & b).sum() / (a | b).sum())


def test_a_head_is_cut_off_its_shoulders(model: VRMM) -> None:
    """Colour cannot tell chin from neck; where the prior's heads end can."""
    known = photograph(model, (0.0, 30.0))
    found = with_estimated_masks(photos(known, "estimated"), model, RENDERING)
    for k, photo in enumerate(found):
        assert photo.mask_source == "prior"
        assert overlap(photo.mask, known.views.masks[k]) > 0.85
        torch.testing.assert_close(photo.image, photo.picture * photo.mask)


def test_masks_of_the_user_stay(model: VRMM) -> None:
    given = photos(photograph(model, (0.0,)), "file")
    assert with_estimated_masks(given, model, RENDERING) == given


def test_expected_heads_lie_where_the_head_is(known: Known) -> None:
    expected = expected_heads(known.model, RENDERING, known.views)
    assert expected.shape == (2, 32, 32)
    for k in range(2):
        assert overlap(expected[k], known.views.masks[k, 0]) > 0.8
    moved = dataclasses.replace(known.views, landmarks=known.views.landmarks + torch.tensor([4.0, 0.0]), placed=False)
    shifted = expected_heads(known.model, RENDERING, moved)
    assert overlap(shifted[0, :, 4:], expected[0, :, :-4]) > 0.85
