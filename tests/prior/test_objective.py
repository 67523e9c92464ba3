"""What the objective's terms pull at, beside the pictures themselves."""

import torch

from datasets.batch import FrameBatch
from prior.cameras import CameraBatch
from prior.losses import LossConfig
from prior.objective import Objective, sample_generators
from prior.render import RenderConfig
from tests.prior.small_model import SMALL, camera_at, small_model

RENDER = RenderConfig(step=0.01, radius=0.16)
SIZE = 32
OTHERS = dict.fromkeys(
    ("l1", "alpha", "perceptual", "kl", "volume", "scale", "negative", "shading", "attached_shadow"), 0.0
)


def frames(count=2):
    """Frames lit by two lamps, with random pictures."""
    generator = torch.Generator().manual_seed(0)
    batch = FrameBatch.zeros(count, inputs=3, targets=1, height=SIZE, width=SIZE, lamps=2)
    for name in ("input_images", "input_masks", "target_images", "target_masks", "lamp_irradiance"):
        getattr(batch, name).copy_(torch.rand(getattr(batch, name).shape, generator=generator))
    batch.lamp_directions.copy_(torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    cameras = CameraBatch.stack([camera_at(0.3, size=SIZE)])
    for name in ("input_", ""):
        getattr(batch, f"{name}world_to_camera").copy_(cameras.world_to_camera)
        getattr(batch, f"{name}intrinsics").copy_(cameras.intrinsics)
    batch.keys, batch.subject = [f"k{i}" for i in range(count)], torch.arange(count)
    return batch


def terms_of(model, step=0, **weights):
    objective = Objective(model, LossConfig(consistency_image=0.0, consistency_code=0.0, **weights), RENDER)
    batch = frames()
    return objective(batch, sample_generators(0, step, batch.keys), False)


def below_zero_share(model):
    """Negative shading of all voxels, every direction burning alone."""
    torch.manual_seed(5)
    z_id, z_e = torch.randn(1, SMALL.identity), torch.randn(1, SMALL.expression)
    geometry = model.decode_geometry(z_id, z_e)
    light = torch.eye(SMALL.light_directions)[None]
    return float((model.decode_shading(geometry.features, torch.tensor([[[0.0, 0.0, 1.0]]]), light) < 0).float().mean())


def test_hinge_on_shading_turns_negative_light_positive_for_every_direction():
    model = small_model()
    before = below_zero_share(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(60):
        optimizer.zero_grad()
        terms = terms_of(model, step, **OTHERS | {"shading": 1.0})
        terms["total"].backward()
        optimizer.step()
    assert before > 0.2
    assert below_zero_share(model) < 0.2 * before


def light_from_behind(model):
    """Share of the positive shading that comes from behind the surface, every direction burning alone."""
    torch.manual_seed(5)
    z_id, z_e = torch.randn(1, SMALL.identity), torch.randn(1, SMALL.expression)
    geometry, light = model.decode_geometry(z_id, z_e), torch.eye(SMALL.light_directions)[None]
    shading = model.decode_shading(geometry.features, torch.tensor([[[0.0, 0.0, 1.0]]]), light).clamp(min=0.0)
    behind = (model.lobes.behind(light) > 0.2)[:, :, :, None, :, None]
    return float((shading * behind).sum().detach() / shading.sum().detach())


def test_surfaces_that_face_away_from_a_lamp_become_dark():
    model = small_model()
    before = light_from_behind(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(60):
        optimizer.zero_grad()
        terms = terms_of(model, step, **OTHERS | {"attached_shadow": 1.0})
        terms["total"].backward()
        optimizer.step()
    assert before > 0.1
    # that all shading shrinks would not change the share
    assert light_from_behind(model) < 0.5 * before


def test_a_term_without_weight_is_not_computed():
    for name in ("shading", "attached_shadow"):
        assert name not in terms_of(small_model(), **{name: 0.0})
        assert name in terms_of(small_model(), **{name: 1.0})


def test_the_direction_depends_on_step_and_sample_alone():
    first, again, later = (float(terms_of(small_model(), step)["shading"]) for step in (1, 1, 2))
    assert first == again
    assert first != later


def test_the_light_of_single_directions_waits_for_its_step():
    objective, batch = Objective(small_model(), LossConfig(), RENDER), frames()
    terms = objective(batch, sample_generators(0, 0, batch.keys), False, with_shading=False)
    assert not {"shading", "attached_shadow"} & terms.keys()
    assert "l1" in terms


def test_coarse_training_compares_half_the_resolution():
    """Until its part of the training is over; then pictures are what they are."""
    model, batch = small_model(), frames()
    small = batch.with_halved_targets()
    full, coarse = (Objective(model, LossConfig(coarse=share), RENDER) for share in (0.0, 0.5))

    def l1(objective, batch, progress):
        return float(objective(batch, sample_generators(0, 0, batch.keys), False, progress)["l1"])

    assert l1(coarse, batch, 0.49) == l1(full, small, 0.49) != l1(full, batch, 0.49)
    assert l1(coarse, batch, 0.5) == l1(full, batch, 0.5)


def test_halved_targets_show_the_same_through_the_same_lens():
    batch = frames()
    small = batch.with_halved_targets()
    assert small.target_images.shape == (2, 1, 3, SIZE // 2, SIZE // 2)
    assert torch.allclose(small.target_images[0, 0, 1, 3, 5], batch.target_images[0, 0, 1, 6:8, 10:12].mean())
    assert torch.allclose(small.target_masks.mean(), batch.target_masks.mean())
    point = torch.tensor([[[0.02, -0.05, 0.03]]])
    seen = [
        CameraBatch(
            world_to_camera=one.world_to_camera[:1, 0], intrinsics=one.intrinsics[:1, 0], height=size, width=size
        ).project(point)
        for one, size in ((batch, SIZE), (small, SIZE // 2))
    ]
    assert torch.allclose(seen[0], 2 * seen[1])
    assert torch.equal(small.input_images, batch.input_images)
