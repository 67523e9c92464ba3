"""What a fit did to the prior, and whether it can be trusted."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bank import TrainingBank
from fitting.locality import look_at_head
from fitting.objective import CarriedLandmarks
from fitting.rendering import HeadImages, render_samples
from fitting.state import Solution
from fitting.views import Views
from prior.metrics import display, image_metrics, mask_iou, mean_metrics
from prior.render import RenderConfig
from prior.vrmm import VRMM

OTHERS = 8
"""Training identities that are looked at."""
PICTURE = 64
MIN_IOU, MIN_PSNR = 0.8, 20.0
"""Of the finished avatar in its own photos."""
MIN_INVERTED_IOU, MIN_INVERTED_PSNR = 0.88, 16.0
"""Of the inversion, which no fine-tuning can hide: a wrong pose can be painted over, but not be relit or turned."""
MAX_LANDMARKS = 0.08
"""Median distance of the fitted head's landmarks from the given ones, in sides of the face's box."""


def input_metrics(rendered: HeadImages, views: Views) -> dict[str, float]:
    """PSNR, SSIM and MAE (0–255) in the head mask after display encoding, and mask IoU; mean over the photos."""
    rows = []
    for k in range(len(views)):
        inside = views.masks[k] * views.valid[k]
        row = image_metrics(rendered.image[k].detach(), views.images[k], inside)
        rows.append({**row, "mask_iou": mask_iou(rendered.alpha[k].detach() * views.valid[k], inside)})
    return mean_metrics(rows)


@torch.no_grad()
def landmark_error(model: VRMM, solution: Solution, views: Views) -> float:
    """Median distance of the head's landmarks from those of the photos, in sides of the face's box; the worst photo's.

    ``model`` is the prior where ``solution`` is an inversion.
    """
    vertices = model.mesh_decoder(solution.z_id.expand(len(solution.z_e), -1), solution.z_e)
    world = CarriedLandmarks(model)(vertices) @ solution.rotation.transpose(1, 2) + solution.translation[:, None]
    distance = (solution.cameras.project(world) - views.landmarks).norm(dim=-1).median(dim=1).values
    face = (views.landmarks.amax(dim=1) - views.landmarks.amin(dim=1)).amax(dim=1)
    return float((distance / face).max())


def judge(
    metrics: dict[str, float], inverted: dict[str, float] | None = None, landmarks: float | None = None
) -> list[str]:
    """Why the fit must not be trusted; empty if it is sound.

    Args:
        metrics: ``input_metrics`` of the avatar.
        inverted: those of the inversion.
        landmarks: ``landmark_error`` of the inversion.
    """
    reasons = _unlike(metrics, MIN_IOU, MIN_PSNR, "")
    if not reasons and inverted is not None:
        reasons = _unlike(inverted, MIN_INVERTED_IOU, MIN_INVERTED_PSNR, " by the inversion")
    return reasons + _misplaced(landmarks)


def judge_inversion(inverted: dict[str, float], landmarks: float | None = None) -> list[str]:
    """As ``judge`` where nothing has been fine-tuned."""
    return _unlike(inverted, MIN_INVERTED_IOU, MIN_INVERTED_PSNR, " by the inversion") + _misplaced(landmarks)


def _misplaced(landmarks: float | None) -> list[str]:
    if landmarks is None or landmarks <= MAX_LANDMARKS:
        return []
    return [
        f"the head is not where the landmarks are ({100 * landmarks:.0f} % of the face > {100 * MAX_LANDMARKS:.0f})"
    ]


def _unlike(metrics: dict[str, float], least_iou: float, least_psnr: float, how: str) -> list[str]:
    reasons = []
    if metrics["mask_iou"] < least_iou:
        reasons.append(
            f"the head's outline does not match the masks{how} (IoU {metrics['mask_iou']:.2f} < {least_iou})"
        )
    if metrics["psnr"] < least_psnr:
        reasons.append(f"the photos are not reproduced{how} (PSNR {metrics['psnr']:.1f} dB < {least_psnr:.0f})")
    return reasons


@torch.no_grad()
def drift(
    prior: VRMM, model: VRMM, solution: Solution, rendering: RenderConfig, bank: TrainingBank, seed: int
) -> dict[str, float]:
    """How far fine-tuning moved the rest of the model, seen from the front in the light of the photos.

    Returns:
        ``prior_distance``: mean absolute difference (display values, 0–255, inside the heads) of other identities
        between the tuned model and the prior. ``identity_leak``: the share of the way from another identity to the
        person that the other identity was moved (0 none, 1 it became the person). ``expression_response``: change
        of the person's picture under random expressions, relative to that of the prior's (1 is the same).
    """
    generator = torch.Generator().manual_seed(seed)
    identities = prior.identity_codes.weight
    others = identities[torch.randperm(len(identities), generator=generator)[:OTHERS]]
    codes = bank.draw_codes(len(others), generator)
    before, mask = _front(prior, others, codes, solution, rendering)
    after, _ = _front(model, others, codes, solution, rendering)
    person, _ = _front(model, solution.z_id.expand(len(others), -1), codes, solution, rendering)
    neutral, _ = _front(model, solution.z_id, solution.z_e[:1], solution, rendering)
    prior_person, _ = _front(prior, solution.z_id.expand(len(others), -1), codes, solution, rendering)
    prior_neutral, _ = _front(prior, solution.z_id, solution.z_e[:1], solution, rendering)
    inside = (mask > 0.5).expand_as(before)
    towards, prior_change = person - before, (prior_person - prior_neutral).norm()
    return {
        "prior_distance": 255.0 * float((after - before).abs()[inside].mean()) if inside.any() else 0.0,
        "identity_leak": float(((after - before) * towards).sum() / (towards**2).sum().clamp(min=1e-12)),
        "expression_response": float((person - neutral).norm() / prior_change.clamp(min=1e-12)),
    }


def light_estimate(model: VRMM, light: Float[Tensor, "L 3"]) -> dict[str, Any]:
    """Total irradiance per channel, the mean direction (head frame), and how directed it is (0 uniform, 1 one lamp)."""
    strength = light.mean(dim=1)
    mean = (strength[:, None] * model.light_sphere.directions).sum(dim=0)
    return {
        "irradiance": (light.sum(dim=0) * model.light_sphere.solid_angle).tolist(),
        "direction": torch.nn.functional.normalize(mean, dim=0).tolist(),
        "directedness": float(mean.norm() / strength.sum().clamp(min=1e-12)),
    }


def _front(
    model: VRMM, z_id: Tensor, z_e: Tensor, solution: Solution, rendering: RenderConfig
) -> tuple[Float[Tensor, "S 3 H W"], Float[Tensor, "S 1 H W"]]:
    """Display values and alpha, seen from in front as far away as the first photo's camera."""
    cameras = solution.cameras
    distance = float((cameras.centers[0] - solution.translation[0]).norm())
    focal = float(cameras.intrinsics[0, 0, 0]) * PICTURE / cameras.height
    camera = look_at_head(torch.tensor([0.0, 0.0, distance]), focal, PICTURE)
    count = len(z_id)
    batch = type(camera)(
        world_to_camera=camera.world_to_camera.expand(count, -1, -1),
        intrinsics=camera.intrinsics.expand(count, -1, -1),
        height=PICTURE,
        width=PICTURE,
    )
    light = solution.light.expand(count, *solution.light.shape)
    found = render_samples(model, z_id, z_e, light, batch, rendering)
    return display(found.image[:, 0]), found.alpha[:, 0]
