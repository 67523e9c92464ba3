"""The unknowns of a fit: identity, expression, light, head pose, focal length (eq. 14)."""

import dataclasses
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from datasets.errors import VrmmError
from fitting.pose import InitialPose
from fitting.views import Views
from prior.cameras import CameraBatch
from prior.primitives import rotation_from_axis_angle
from prior.vrmm import VRMM

SOFTPLUS_ONE = math.log(math.e - 1.0)
"""Where softplus is 1."""
DARKEST = 1e-3
"""The least light from a direction that a stage hands to the next, as a share of the mean: softplus never is 0."""

_TENSORS = ("z_id", "weights", "z_e", "light", "rotation", "translation")
_FACTS = "facts"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Solution:
    """What a fit has found, as plain tensors.

    Attributes:
        z_id: [1, I].
        weights: [N] of the training identities, summing to 1.
        z_e: [1 or K, E].
        light: [N_l, 3] incoming radiance, head frame, never negative.
        rotation, translation: [K, 3, 3] and [K, 3] head→world, the same for all views of one world.
        cameras: K of them, with the focal lengths found.
        light_rotation: head→world of the head frame that ``light`` is given in, where the light stays in the world
            while the head turns (videos); None where the light is the same in every view's head frame.
    """

    z_id: Float[Tensor, "1 I"]
    weights: Float[Tensor, "N"]
    z_e: Float[Tensor, "M E"]
    light: Float[Tensor, "L 3"]
    rotation: Float[Tensor, "K 3 3"]
    translation: Float[Tensor, "K 3"]
    cameras: CameraBatch
    light_rotation: Float[Tensor, "3 3"] | None = None

    def detached(self) -> "Solution":
        """The same values without gradients."""
        cameras = dataclasses.replace(self.cameras, intrinsics=self.cameras.intrinsics.detach())
        tensors = {name: getattr(self, name).detach().clone() for name in _TENSORS}
        return Solution(cameras=cameras, light_rotation=self.light_rotation, **tensors)

    def npz(self, facts: dict[str, Any]) -> bytes:
        """The content of an npz file that ``read`` reads; ``facts`` are kept beside the arrays as JSON."""
        values = {name: getattr(self, name) for name in _TENSORS}
        values |= {"world_to_camera": self.cameras.world_to_camera, "intrinsics": self.cameras.intrinsics}
        if self.light_rotation is not None:
            values["light_rotation"] = self.light_rotation
        arrays = {name: value.detach().cpu().numpy() for name, value in values.items()}
        data = io.BytesIO()
        shape = np.array([self.cameras.height, self.cameras.width])
        np.savez(data, **{_FACTS: np.array(json.dumps(facts))}, image_shape=shape, **arrays)
        return data.getvalue()

    @staticmethod
    def read(path: Path) -> tuple["Solution", dict[str, Any]]:
        """The solution in an npz file and its facts. Raises VrmmError where it is absent or damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            facts = json.loads(str(arrays.pop(_FACTS)))
            height, width = arrays.pop("image_shape").tolist()
            tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
            cameras = CameraBatch(
                world_to_camera=tensors["world_to_camera"],
                intrinsics=tensors["intrinsics"],
                height=height,
                width=width,
            )
            found = {name: tensors[name] for name in _TENSORS}
            return Solution(cameras=cameras, light_rotation=tensors.get("light_rotation"), **found), facts
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise VrmmError(f"{path} does not hold a fit ({error}); fit again") from error


class FitState(nn.Module):
    """The unknowns as parameters, from which ``solution`` makes what the model takes. Final.

    ``weights`` move z_id from the mean of the training identities along their differences from it, so that the
    blend's weights always sum to 1. Light is ``level · softplus``, so it is never negative. Poses are axis-angle
    increments to the initial ones.
    """

    identities: Tensor
    level: Tensor
    first_rotation: Tensor
    first_translation: Tensor

    def __init__(
        self, identities: Float[Tensor, "N I"], expression: int, directions: int, poses: int, views: int
    ) -> None:
        """``expression`` is the length of z_e, ``directions`` N_l."""
        super().__init__()
        self.register_buffer("identities", identities.detach().clone())
        self.register_buffer("level", torch.ones(()))
        self.register_buffer("first_rotation", torch.eye(3).expand(poses, 3, 3).clone())
        self.register_buffer("first_translation", torch.zeros(poses, 3))
        self.weights = nn.Parameter(torch.zeros(len(identities)))
        self.offset = nn.Parameter(torch.zeros(1, identities.shape[1]))
        self.z_e = nn.Parameter(torch.zeros(1, expression))
        self.raw_light = nn.Parameter(torch.full((directions, 3), SOFTPLUS_ONE))
        self.turn = nn.Parameter(torch.zeros(poses, 3))
        self.shift = nn.Parameter(torch.zeros(poses, 3))
        self.log_focal = nn.Parameter(torch.zeros(views))
        self.light_rotation: Tensor | None = None

    @staticmethod
    def at_pose(model: VRMM, views: Views, pose: InitialPose) -> "FitState":
        """Mean identity and expression under uniform light, with the pose that PnP found."""
        state = FitState._blank(model, views)
        state.first_rotation.copy_(torch.tensor(pose.rotation.tolist()))
        state.first_translation.copy_(torch.tensor(pose.translation.tolist()))
        return state

    @staticmethod
    def at_solution(model: VRMM, views: Views, solution: Solution) -> "FitState":
        """Where an earlier stage stopped; ``views`` must see through the lenses of the solution."""
        state = FitState._blank(model, views)
        state.first_rotation.copy_(solution.rotation[: views.poses])
        state.first_translation.copy_(solution.translation[: views.poses])
        state.level.copy_(solution.light.mean().clamp(min=1e-8))
        with torch.no_grad():
            state.weights.copy_(solution.weights)
            state.offset.copy_(solution.z_id - state.blend[None] @ state.identities)
            state.raw_light.copy_(torch.log(torch.expm1((solution.light / state.level).clamp(min=DARKEST))))
        state.z_e = nn.Parameter(solution.z_e.clone())
        state.light_rotation = solution.light_rotation
        return state

    @staticmethod
    def _blank(model: VRMM, views: Views) -> "FitState":
        config = model.config
        return FitState(
            model.identity_codes.weight, config.expression, config.light_directions, views.poses, len(views)
        )

    @torch.no_grad()
    def take(self, blend: Float[Tensor, "N"], z_e: Float[Tensor, "M E"], light: Float[Tensor, "L 3"]) -> None:
        """Begin with this blend (its weights sum to 1), this expression (or one for each view) and this light."""
        self.weights.copy_(blend - 1.0 / len(blend))
        self.z_e = nn.Parameter(z_e.clone())
        self.level.copy_(light.mean().clamp(min=1e-8))
        self.raw_light.copy_(torch.log(torch.expm1((light / self.level).clamp(min=DARKEST))))

    def each_expression(self, views: int) -> None:
        """One expression code for every view instead of one for all."""
        self.z_e = nn.Parameter(self.z_e.detach().expand(views, -1).clone())

    @property
    def blend(self) -> Float[Tensor, "N"]:
        """Weights of the training identities; they sum to 1."""
        return self.weights + (1.0 - self.weights.sum()) / len(self.weights)

    @property
    def z_id(self) -> Float[Tensor, "1 I"]:
        return self.blend[None] @ self.identities + self.offset

    @property
    def light(self) -> Float[Tensor, "L 3"]:
        return self.level * nn.functional.softplus(self.raw_light)

    def pose(self, views: int) -> tuple[Float[Tensor, "K 3 3"], Float[Tensor, "K 3"]]:
        """Head→world for every view."""
        rotation = self.first_rotation @ rotation_from_axis_angle(self.turn)
        translation = self.first_translation + self.shift
        return rotation.expand(views, 3, 3), translation.expand(views, 3)

    def solution(self, views: Views) -> Solution:
        """The values now, with gradients."""
        rotation, translation = self.pose(len(views))
        factor = torch.stack([self.log_focal.exp(), self.log_focal.exp(), torch.ones_like(self.log_focal)], dim=-1)
        intrinsics = _scaled_lens(views.cameras.intrinsics, factor)
        return Solution(
            z_id=self.z_id,
            weights=self.blend,
            z_e=self.z_e,
            light=self.light,
            rotation=rotation,
            translation=translation,
            cameras=dataclasses.replace(views.cameras, intrinsics=intrinsics),
            light_rotation=self.light_rotation,
        )


def _scaled_lens(intrinsics: Float[Tensor, "K 3 3"], factor: Float[Tensor, "K 3"]) -> Float[Tensor, "K 3 3"]:
    """Focal lengths times ``factor``, the principal point where it was."""
    focal = torch.diag_embed(intrinsics.diagonal(dim1=1, dim2=2))
    return intrinsics - focal + torch.diag_embed(intrinsics.diagonal(dim1=1, dim2=2) * factor)
