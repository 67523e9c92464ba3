"""Start values of a fit from the network: codes and light as it sees them, the pose by Levenberg–Marquardt."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.initializer.crop import face_squares, to_crop_camera
from fitting.initializer.detect import Pyramid
from fitting.initializer.network import InitializerNetwork, Prediction
from fitting.objective import CarriedLandmarks
from fitting.pose import USUAL_FIELD
from fitting.pose_stage import PoseGuess, refine_guess
from fitting.recipe import Expressions
from fitting.state import FitState
from fitting.views import Views
from prior.metrics import display
from prior.vrmm import VRMM


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartValues:
    """What the network says about K views together.

    Attributes:
        blend: [N] weights of the training identities, summing to 1.
        z_e: [1 or K, E].
        light: [L, 3] incoming radiance, head frame.
        rotation: [K, 3, 3] head→camera, a guess.
        focal: [K] pixels, a guess.
        confidence: [K, 68] of landmarks where these views have theirs.
    """

    blend: Float[Tensor, "N"]
    z_e: Float[Tensor, "M E"]
    light: Float[Tensor, "L 3"]
    rotation: Float[Tensor, "K 3 3"]
    focal: Float[Tensor, "K"]
    confidence: Float[Tensor, "K 68"]


def start_from_network(
    network: InitializerNetwork, model: VRMM, views: Views, expressions: Expressions
) -> tuple[FitState, Views]:
    """The unknowns where the network sees them, and the views through the lenses that were found."""
    values = predict_start(network, views, expressions)
    with torch.no_grad():
        z_id = values.blend[None] @ model.identity_codes.weight
        vertices = model.mesh_decoder(z_id.expand(len(values.z_e), -1), values.z_e)
        points = CarriedLandmarks(model)(vertices).expand(len(views), 68, 3)
    pose = refine_guess(
        views,
        PoseGuess(
            points=points.double().numpy(),
            confidence=values.confidence.double().numpy(),
            rotation=values.rotation.double().numpy(),
            focal=values.focal.double().numpy(),
        ),
    )
    views = views.through(torch.tensor(pose.intrinsics.tolist()))
    state = FitState.at_pose(model, views, pose)
    state.take(values.blend, values.z_e, values.light)
    return state, views


@torch.no_grad()
def predict_start(network: InitializerNetwork, views: Views, expressions: Expressions) -> StartValues:
    """One pass of the network over the faces of all views."""
    squares = face_squares(views.landmarks)
    crops = [
        Pyramid(display(views.images[k]), network.config.size).crops(squares[k : k + 1]) for k in range(len(views))
    ]
    found: Prediction = network(torch.cat(crops))
    focal = views.cameras.intrinsics[:, 0, 0] if views.focal_known else torch.full_like(squares[:, 2], _usual(views))
    center = squares[:, :2] - views.cameras.intrinsics[:, :2, 2]
    to_crop = to_crop_camera(center, focal, torch.zeros(len(views)))
    share = found.confidence.mean(dim=1, keepdim=True)
    share = share / share.sum()
    z_e = found.z_e if expressions is Expressions.each else (share * found.z_e).sum(dim=0, keepdim=True)
    return StartValues(
        blend=(share * found.blend).sum(dim=0),
        z_e=z_e,
        light=(share[:, :, None] * found.light).sum(dim=0),
        rotation=to_crop.transpose(1, 2) @ found.rotation,
        focal=focal,
        confidence=_confidence(found, views, squares),
    )


def _usual(views: Views) -> float:
    """A portrait's focal length, pixels.

    The network's own guess is hardly better than the mean of its training, and for faces of other proportions than the
    prior's it is far off: it takes a flat face for a far one.
    """
    return views.cameras.height / 2.0 / math.tan(USUAL_FIELD / 2.0)


def _confidence(found: Prediction, views: Views, squares: Float[Tensor, "K 3"]) -> Float[Tensor, "K 68"]:
    """The network's own, less where a given landmark is far from where the network sees it."""
    seen = found.landmarks * squares[:, None, 2:] / 2.0 + squares[:, None, :2]
    distance = (seen - views.landmarks).norm(dim=-1) / (squares[:, 2:] / 2.0)
    return found.confidence / (1.0 + (distance / (4.0 * found.spread + 0.02)) ** 2)
