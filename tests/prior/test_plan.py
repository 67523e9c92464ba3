"""Every recipe holds together at its full size, and the plan's numbers are those of a real step."""

from pathlib import Path

import pytest
import torch

from datasets.config import load_config
from prior.plan import plan_training, samples_in_primitives
from prior.recipe import TrainRecipe
from prior.render import RenderConfig
from tests.prior.small_model import SMALL, sphere_template

RECIPES = sorted((Path(__file__).parents[2] / "configs" / "prior").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_has_a_plan(path):
    recipe = load_config(TrainRecipe, path, ["template_resolution=17"])
    plan = plan_training(recipe)
    assert plan.step_flops > 0
    assert all(stage.forward_flops > 0 and stage.backward_flops > 0 and stage.kept_bytes > 0 for stage in plan.stages)
    assert plan.parameters["appearance_decoder"] > 0


def recipe(*changes):
    text = ["template_resolution=17", "model.primitives=64", "model.voxels=4", "model.channels=[16,12,8]"]
    return load_config(TrainRecipe, None, [*text, "model.light_channels=[8,8,8]", *changes])


def test_work_grows_with_the_batch_and_is_shared_by_ranks():
    one, two = plan_training(recipe("loader.batch_frames=2")), plan_training(recipe("loader.batch_frames=4"))
    shared = plan_training(recipe("loader.batch_frames=4", "trainer.ranks=2"))
    # a step's consistency runs on every second frame, so both halve exactly
    assert two.step_flops == pytest.approx(2 * one.step_flops)
    assert shared.step_flops == pytest.approx(two.step_flops)
    assert shared.memory["activations"] == one.memory["activations"]


def test_memory_follows_what_the_recipe_switches():
    plain, zero = plan_training(recipe("trainer.ranks=4")), plan_training(recipe("trainer.ranks=4", "trainer.zero=2"))
    assert zero.memory["gradients"] == plain.memory["gradients"] // 4
    assert zero.memory["optimiser"] < plain.memory["optimiser"]
    kept, again = plan_training(recipe()), plan_training(recipe("trainer.recompute=true"))
    assert again.memory["activations"] < kept.memory["activations"]
    assert "moving average" in plan_training(recipe("optimizer.ema=0.9")).memory


def test_muon_keeps_one_number_a_weight_where_adam_keeps_two():
    wide = ("model.channels=[24,16,16]", "model.light_channels=[16,16,16]")
    plain, muon = (plan_training(recipe(*wide, *more)) for more in ((), ("optimizer.muon=0.4",)))
    inner = plain.memory["optimiser"] - muon.memory["optimiser"]
    assert 0 < inner < plain.memory["optimiser"] / 2


def test_cropped_pictures_are_what_is_rendered():
    whole = plan_training(recipe("capture.width=512", "capture.height=384", "loader.target_views=2"))
    cropped = plan_training(
        recipe("capture.width=512", "capture.height=384", "loader.crop.by=mask", "loader.crop.size=128")
    )
    assert (whole.image_shape, cropped.image_shape) == ((384, 512), (128, 128))
    assert cropped.step_flops < whole.step_flops
    inputs, frames = whole.memory["pictures"] - cropped.memory["pictures"], whole.frames
    assert inputs == 16 * frames * 2 * (384 * 512 - 128 * 128), "the encoders' pictures stay whole"


def test_samples_in_primitives_are_those_that_a_real_march_meets():
    template, radius, step, size = sphere_template(), 0.16, 0.004, 48
    trained = TrainRecipe(model=SMALL, render=RenderConfig(step=step, radius=radius))
    expected = samples_in_primitives(template, trained) * size**2
    assert real_samples(template, radius, step, size) == pytest.approx(expected, rel=0.03)


def real_samples(template, radius, step, size):
    """Counted by marching parallel rays over a square as wide as the sphere."""
    from prior.primitives import TangentGrid

    grid = TangentGrid(template, SMALL.grid, SMALL.thickness)
    placement = grid(torch.tensor(template.vertices)[None])
    axis = (torch.arange(size) + 0.5) / size * 2 * radius - radius
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    steps = torch.arange(-radius, radius, step)
    points = torch.stack([x.flatten(), y.flatten()], dim=1)
    total = 0
    for depth in steps.tolist():
        position = torch.cat([points, torch.full_like(points[:, :1], depth)], dim=1)
        offset = position[:, None] - placement.center[0]
        local = torch.einsum("pkm,kma->pka", offset, placement.rotation[0]) / placement.half_size[0]
        total += int((local.abs() <= 1).all(dim=-1).sum())
    return total
