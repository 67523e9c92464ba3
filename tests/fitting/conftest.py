"""What several tests of fitting share: a model, photos of one of its own heads, a run folder."""

import dataclasses
from pathlib import Path

import pytest
import torch

from fitting.objective import CarriedLandmarks
from fitting.recipe import FinetuneConfig, FitRecipe, InversionConfig, LocalityConfig
from fitting.rendering import render_solution
from fitting.state import Solution
from fitting.views import Views
from prior.primitives import rotation_from_axis_angle
from prior.vrmm import VRMM
from prior.weights import save_weights
from tests.fitting.tiny import RENDERING, blank_views, cameras, tiny_model, with_pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """Photos whose every cause is known."""

    model: VRMM
    solution: Solution
    views: Views


def recipe(*, inversion: int = 60, finetune: int = 12, **changes) -> FitRecipe:
    """A recipe for 32² pictures and seconds."""
    return FitRecipe(
        threads=1,
        image_size=32,
        inversion=InversionConfig(steps=inversion, weights=1e-4, light_smooth=1e-4),
        finetune=FinetuneConfig(steps=finetune, locality=LocalityConfig(image_size=24)),
        **changes,
    )


@pytest.fixture(scope="session")
def model() -> VRMM:
    return tiny_model().requires_grad_(False)


@pytest.fixture(scope="session")
def known(model: VRMM) -> Known:
    """Two views of a blend of identities with an expression, a turned head and light from one side."""
    return photograph(model, (0.0, 30.0))


def photograph(model: VRMM, yaws: tuple[float, ...], *, placed: bool = True) -> Known:
    """The model's own pictures of a head that no training identity is."""
    views = blank_views(cameras(yaws), placed=placed)
    generator = torch.Generator().manual_seed(7)
    weights = torch.tensor([0.6, -0.2, 0.4, 0.3, -0.1])
    directions = model.light_sphere.directions
    count = len(yaws)
    solution = Solution(
        z_id=weights[None] @ model.identity_codes.weight,
        weights=weights,
        z_e=0.5 * torch.randn(1, model.config.expression, generator=generator),
        light=0.03 * (1.0 + 0.8 * directions[:, :1]).expand(-1, 3).contiguous(),
        rotation=rotation_from_axis_angle(torch.tensor([[0.05, 0.15, -0.05]])).expand(count, 3, 3),
        translation=torch.tensor([[0.01, -0.005, 0.01]]).expand(count, 3),
        cameras=views.cameras,
    )
    with torch.no_grad():
        rendered = render_solution(model, solution, RENDERING)
        world = CarriedLandmarks(model)(rendered.vertices) @ solution.rotation.transpose(1, 2)
        landmarks = views.cameras.project(world + solution.translation[:, None])
    filled = with_pictures(views, rendered.image.clamp(min=0.0), rendered.alpha.clamp(0.0, 1.0), landmarks)
    return Known(model=model, solution=solution, views=filled)


@pytest.fixture(scope="session")
def run_folder(model: VRMM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior as ``vrmm train`` leaves it."""
    folder = tmp_path_factory.mktemp("run")
    save_weights(model, RENDERING, folder)
    return folder
