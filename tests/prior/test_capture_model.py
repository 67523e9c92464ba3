"""Cameras' colours and backgrounds are learned as they are, and left alone where they are switched off."""

import pytest
import torch

from datasets.errors import VrmmError
from prior.capture_model import CaptureModel, CaptureModelConfig
from prior.render import Rendering

CAMERA = torch.tensor([[0, 1], [2, 0]])
LIGHT = torch.rand(2, 12, 3, generator=torch.Generator().manual_seed(0))


def heads(seed=0, size=12):
    """Premultiplied pictures with a half-transparent rim."""
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.rand(2, 2, 1, size, size, generator=generator)
    return Rendering(image=alpha * torch.rand(2, 2, 3, size, size, generator=generator), alpha=alpha)


def test_a_capture_that_adds_nothing_changes_nothing():
    rendering = heads()
    seen = CaptureModel(CaptureModelConfig(), 3)(rendering, CAMERA, rendering.alpha, LIGHT)
    assert seen.image is rendering.image
    assert seen.coverage is rendering.alpha
    assert seen.masked.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_gains_of_unmatched_cameras_are_found():
    true = torch.tensor([[1.25, 1.0, 0.8], [0.8, 1.0, 1.25], [1.0, 1.0, 1.0]])
    rendering = heads()
    target = rendering.image * true[CAMERA][..., None, None]
    model = CaptureModel(CaptureModelConfig(gain=True), 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        ((model(rendering, CAMERA, rendering.alpha, LIGHT).image - target) ** 2).mean().backward()
        optimizer.step()
    # a quadratic in few numbers: Adam comes to rest
    torch.testing.assert_close(model.gains().detach(), true, rtol=0.0, atol=2e-3)
    torch.testing.assert_close(model.gains().detach().prod(dim=0), torch.ones(3))


def test_background_shows_behind_the_head_of_frames_without_masks_alone():
    rendering = heads()
    model = CaptureModel(CaptureModelConfig(background=4), 3)
    with torch.no_grad():
        model.backgrounds[:, 0] = 0.5
    masks = rendering.alpha.clone()
    masks[0, 1] = 1.0
    seen = model(rendering, CAMERA, masks, LIGHT)
    assert seen.masked.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    torch.testing.assert_close(seen.image[0, 0], rendering.image[0, 0])
    torch.testing.assert_close(seen.coverage[0, 1], torch.ones_like(seen.coverage[0, 1]))
    softplus = torch.nn.functional.softplus
    behind = softplus(torch.tensor(0.5)) + softplus(torch.tensor(-4.0)) * LIGHT[0].mean(dim=0)[:, None, None]
    torch.testing.assert_close(seen.image[0, 1], rendering.image[0, 1] + (1 - rendering.alpha[0, 1]) * behind)


def test_background_that_follows_the_light_is_told_from_one_that_glows():
    empty = Rendering(image=torch.zeros(2, 2, 3, 6, 6), alpha=torch.zeros(2, 2, 1, 6, 6))
    masks = torch.ones(2, 2, 1, 6, 6)
    cameras, model = torch.zeros(2, 2, dtype=torch.long), CaptureModel(CaptureModelConfig(background=3), 1)
    light = torch.stack([torch.full((12, 3), 0.2), torch.full((12, 3), 2.0)])
    target = (0.05 + 0.4 * light.mean(dim=1))[:, None, :, None, None].expand(2, 2, 3, 6, 6)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        ((model(empty, cameras, masks, light).image - target) ** 2).mean().backward()
        optimizer.step()
    dark = model(empty, cameras, masks, torch.zeros_like(light)).image
    torch.testing.assert_close(dark, torch.full_like(dark, 0.05), rtol=0.0, atol=0.01)


def test_negative_size_is_refused():
    with pytest.raises(VrmmError, match=r"cameras.background=-1"):
        CaptureModelConfig(background=-1)
