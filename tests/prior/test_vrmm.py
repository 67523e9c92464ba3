"""The model's promises: linear light, detached sharing, sizes that are checked, codes that matter."""

import pytest
import torch

from datasets.errors import VrmmError
from prior.cameras import CameraBatch
from prior.render import RenderConfig, render_head
from prior.vrmm import VRMMConfig
from tests.prior.small_model import SMALL, camera_at, small_model

RENDER = RenderConfig(step=0.006, radius=0.16, backend="reference")


def voxels_under(model, light):
    torch.manual_seed(1)
    z_id, z_e = torch.randn(1, SMALL.identity), torch.randn(1, SMALL.expression)
    geometry = model.decode_geometry(z_id, z_e)
    view = torch.tensor([[[0.0, 0.0, 1.0]]])
    return model.decode_color(geometry, view, light)


def image_under(model, light):
    torch.manual_seed(1)
    z_id, z_e = torch.randn(1, SMALL.identity), torch.randn(1, SMALL.expression)
    cameras = CameraBatch.stack([camera_at(0.3)])
    pose = torch.eye(3)[None], torch.zeros(1, 3)
    return render_head(model, z_id, z_e, light, *pose, cameras, RENDER).image


def test_image_is_exactly_linear_in_the_light():
    model = small_model()
    generator = torch.Generator().manual_seed(3)
    first = torch.rand(1, SMALL.light_directions, 3, generator=generator)
    second = torch.rand(1, SMALL.light_directions, 3, generator=generator)
    together = image_under(model, 0.7 * first + 2.5 * second)
    apart = 0.7 * image_under(model, first) + 2.5 * image_under(model, second)
    # float32 sums of some hundred terms: 1e-6 of the largest value, a decade inside the promised 1e-5
    assert (together - apart).abs().max() <= 1e-5 * together.abs().max()
    assert together.abs().max() > 1e-3


def test_without_the_linear_light_branch_colour_is_not_linear():
    model = small_model(linear_light=False)
    light = torch.rand(1, SMALL.light_directions, 3, generator=torch.Generator().manual_seed(3))
    light[:, ::2] = 0.0
    other = 1.0 - light
    apart = image_under(model, light) + image_under(model, other)
    assert (image_under(model, light + other) - apart).abs().max() > 1e-3 * apart.abs().max()


def test_no_light_is_black_and_red_light_gives_red_alone():
    model = small_model()
    dark = torch.zeros(1, SMALL.light_directions, 3)
    assert image_under(model, dark).abs().max() == 0.0
    red = dark.clone()
    red[..., 0] = 1.0
    image = image_under(model, red)
    assert image[:, :, 0].abs().max() > 1e-3
    assert image[:, :, 1:].abs().max() == 0.0


def test_shading_is_the_voxels_radiance_without_their_gain():
    model = small_model()
    torch.manual_seed(1)
    z_id, z_e, light = torch.randn(2, SMALL.identity), torch.randn(2, SMALL.expression), torch.rand(2, 12, 3)
    geometry = model.decode_geometry(z_id, z_e)
    view = torch.nn.functional.normalize(torch.randn(2, 2, 3), dim=-1)
    voxels = model.decode_color(geometry, view, light)
    shading = model.decode_shading(geometry.features, view, light)
    assert (shading < 0).any(), "an untrained model answers with negative light, too"
    below = (voxels[..., :3] < 0).flatten(2, 5).sum(dim=(2, 3))
    torch.testing.assert_close((shading < 0).sum(dim=(1, 2, 4, 5)), below)
    grey = light.mean(dim=2, keepdim=True)
    torch.testing.assert_close(model.decode_shading(geometry.features, view, grey), shading.mean(dim=4, keepdim=True))


def test_light_of_each_sample_colours_that_sample_alone():
    model = small_model()
    z_id, z_e = torch.randn(2, SMALL.identity), torch.randn(2, SMALL.expression)
    view = torch.tensor([[[0.0, 0.0, 1.0]]]).expand(2, 1, 3)
    light = torch.rand(2, SMALL.light_directions, 3)
    both = model.decode_color(model.decode_geometry(z_id, z_e), view, light)
    alone = model.decode_color(model.decode_geometry(z_id[1:], z_e[1:]), view[1:], light[1:])
    torch.testing.assert_close(both[1:], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("detach", [True, False])
def test_detach_stops_opacity_gradients_from_reaching_the_transform_branch(detach):
    model = small_model(detach=detach)
    geometry = model.decode_geometry(torch.randn(1, SMALL.identity), torch.randn(1, SMALL.expression))
    light = torch.ones(1, SMALL.light_directions, 3)
    voxels = model.decode_color(geometry, torch.tensor([[[0.0, 0.0, 1.0]]]), light)
    voxels[..., 3].sum().backward()
    gradient = model.transform_decoder.blocks[0].convolution.weight.grad
    reached = gradient is not None and bool(gradient.abs().max() > 0)
    assert reached is not detach


def test_concatenation_feeds_the_transform_branch_into_opacity():
    model = small_model()
    z_id, z_e = torch.randn(1, SMALL.identity), torch.randn(1, SMALL.expression)
    light, view = torch.ones(1, SMALL.light_directions, 3), torch.tensor([[[0.0, 0.0, 1.0]]])
    before = model.decode_color(model.decode_geometry(z_id, z_e), view, light)[..., 3]
    with torch.no_grad():
        model.transform_decoder.stem.linear.bias += 1.0
    after = model.decode_color(model.decode_geometry(z_id, z_e), view, light)[..., 3]
    assert (before - after).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"primitives": 200}, "primitives=200"),
        ({"primitives": 100}, "primitives=100"),
        ({"channels": [8, 8]}, "one entry"),
        ({"channels": [8], "light_channels": [8]}, "model.channels"),
        ({"expression": 0}, "expression=0"),
        ({"view_basis": 0}, "view_basis=0"),
    ],
)
def test_impossible_sizes_are_refused_by_name(change, words):
    with pytest.raises(VrmmError, match=words):
        VRMMConfig(**change)


def test_expression_noise_is_scaled_by_the_encoded_deviation():
    model = small_model()
    images, masks = torch.rand(2, 3, 3, 32, 32), torch.ones(2, 3, 1, 32, 32)
    encoding = model.encode(images, masks)
    noise = torch.ones_like(encoding.mean)
    torch.testing.assert_close(
        encoding.sample(noise) - encoding.mean, torch.exp(0.5 * encoding.log_variance), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        encoding.rotation @ encoding.rotation.transpose(1, 2), torch.eye(3).expand(2, 3, 3), rtol=0, atol=1e-5
    )


def test_standardized_encoders_tell_frames_apart_that_differ_by_little():
    """What frames share must not drown what differs: an opening mouth is a few percent of a picture."""
    model = small_model()
    generator = torch.Generator().manual_seed(0)
    shared = torch.rand(1, 3, 3, 32, 32, generator=generator)
    images = (shared + 0.02 * torch.randn(24, 3, 3, 32, 32, generator=generator)).clamp(min=0.0)
    masks = torch.ones(24, 3, 1, 32, 32)
    model.standardize_encoders(images, masks)
    encoding = model.encode(images, masks)
    spread = encoding.mean.std(dim=0).mean()
    noise = torch.exp(0.5 * encoding.log_variance).mean()
    assert spread > 4 * noise
    assert encoding.mean.mean(dim=0).abs().max() < 2.0, "codes start within the prior"


def test_bfloat16_is_near_and_leaves_geometry_and_light_alone():
    model = small_model()
    light = torch.rand(1, SMALL.light_directions, 3, generator=torch.Generator().manual_seed(3))
    exact = image_under(model, light)
    model.autocast = True
    rough = image_under(model, light)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    # eight bits of mantissa through some ten layers
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
    z_id, z_e = torch.randn(1, SMALL.identity), torch.randn(1, SMALL.expression)
    vertices = model.decode_geometry(z_id, z_e).vertices
    model.autocast = False
    assert torch.equal(vertices, model.decode_geometry(z_id, z_e).vertices)


def test_a_run_is_opened_without_deepspeed(tmp_path):
    import subprocess
    import sys

    from prior.weights import save_weights

    save_weights(small_model(), RENDER, tmp_path)
    use = f"from prior.vrmm import VRMM; VRMM.from_run({str(tmp_path)!r})"
    code = f"import sys; {use}; assert 'deepspeed' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
