"""Raymarching as a linear map agrees with raymarching."""

import torch

from prior.raymarch import raymarch, transport
from tests.prior.small_model import small_model


def test_transport_is_what_raymarch_does_to_colours() -> None:
    """Rays that saturate, that graze, and that miss: the map applied to colours is the picture, its sums are alpha."""
    generator = torch.Generator().manual_seed(3)
    rays, count = 40, 5
    origin = torch.randn(rays, 3, generator=generator) * 0.3
    origin = origin + torch.tensor([0.0, 0.0, 1.0])
    direction = torch.nn.functional.normalize(torch.randn(rays, 3, generator=generator) * 0.15 - origin, dim=-1)
    direction[0] = torch.tensor([0.0, 0.0, 1.0])
    near_far = torch.tensor([0.2, 2.0]).expand(rays, 2)
    center = 0.2 * torch.randn(count, 3, generator=generator)
    rotation = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))[0]
    half_size = 0.1 + 0.2 * torch.rand(count, 3, generator=generator)
    voxels = torch.rand(count, 3, 4, 5, 4, generator=generator) * torch.tensor([1.0, 1.0, 1.0, 8.0])
    given = (origin, direction, near_far, 0.03, center, rotation, half_size)
    batched = [value[None] if isinstance(value, torch.Tensor) else value for value in given]
    wanted = raymarch(*batched, voxels[None], backend="reference")[0]
    found = transport(*given, voxels[..., 3])
    colors = torch.cat([voxels[..., :3], torch.ones_like(voxels[..., :1])], dim=-1).reshape(-1, 4)
    assert wanted[:, 3].max() == 1
    assert 0 < wanted[wanted[:, 3] > 0, 3].min() < 0.5
    # Both add the same numbers in float32, in another order.
    torch.testing.assert_close(torch.sparse.mm(found, colors), wanted, atol=2e-5, rtol=1e-5)


def test_transport_without_rays_or_hits() -> None:
    still = (torch.zeros(1, 3), torch.eye(3)[None], torch.full((1, 3), 0.1))
    away = transport(
        torch.tensor([[0.0, 0.0, 5.0]]),
        torch.tensor([[0.0, 0.0, 1.0]]),
        torch.tensor([[0.0, 1.0]]),
        0.1,
        *still,
        torch.ones(1, 2, 2, 2),
    )
    assert away.shape == (1, 8)
    assert away.to_dense().sum() == 0
    none = transport(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 2), 0.1, *still, torch.ones(1, 2, 2, 2))
    assert none.shape == (0, 8)


def test_response_times_light_is_the_colour() -> None:
    """``decode_response`` takes ``decode_color`` apart without remainder, voxel by voxel."""
    model = small_model().eval()
    generator = torch.Generator().manual_seed(0)
    z_id, z_e = torch.randn(2, 8, generator=generator), torch.randn(2, 6, generator=generator)
    light = torch.rand(2, 12, 3, generator=generator)
    view = torch.nn.functional.normalize(torch.randn(2, 3, 3, generator=generator), dim=-1)
    with torch.no_grad():
        geometry = model.decode_geometry(z_id, z_e)
        wanted = model.decode_color(geometry, view, light)[..., :3]
        gain, shading = model.decode_response(geometry, view)
    found = gain[:, None] * torch.einsum("bvkdhwl,blc->bvkdhwc", shading, light)
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
