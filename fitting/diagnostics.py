"""What a fit did to the prior, and whether it can be trusted."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bank import TrainingBank
from fitting.locality import look_at_head
from fitting.rendering import HeadImages, render_samples
from fitting.state import Solution
from fitting.views import Views
from prior.metrics import display, image_metrics, mask_iou, mean_metrics
from prior.render import RenderConfig
from prior.vrmm import VRMM

OTHERS = 8
"""Training identities that are looked at."""
PICTURE = 64
MIN_IOU = 0.8
MIN_PSNR = 20.0


def input_metrics(rendered: HeadImages, views: Views) -> dict[str, float]:
    """PSNR, SSIM and MAE (0–255) in the head mask after display encoding, and mask IoU; mean over the photos."""
    rows = []
    for k in range(len(views)):
        inside = views.masks[k] * views.valid[k]
        row = image_metrics(rendered.image[k].detach(), views.images[k], inside)
        rows.append({**row, "mask_iou": mask_iou(rendered.alpha[k].detach() * views.valid[k], inside)})
    return mean_metrics(rows)


def judge(metrics: dict[str, float]) -> list[str]:
    """Why the fit must not be trusted; empty if it is sound."""
    reasons = []
    if metrics["mask_iou"] < MIN_IOU:
        reasons.append(f"the head's outline does not match the masks (IoU {metrics['mask_iou']:.2f} < {MIN_IOU})")
    if metrics["psnr"] < MIN_PSNR:
        reasons.append(f"the photos are not reproduced (PSNR {metrics['psnr']:.1f} dB < {MIN_PSNR:.0f})")
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
