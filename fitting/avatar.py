"""The avatar bundle: one folder with everything that renders a person, whole or absent."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.capture import Camera, Light, Pose
from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes, atomic_write_json, read_json, replace_folder, sha256_of
from fitting.rendering import head_light
from fitting.state import Solution
from prior.animation import AnimationCurve
from prior.cameras import CameraBatch
from prior.render import RenderConfig, Rendering, render_head
from prior.vrmm import VRMM
from prior.weights import load_weights, save_weights

FORMAT, FORMAT_VERSION = "vrmm.avatar", 1
DESCRIPTION, IDENTITY, REPORT, INVERSION = "avatar.json", "identity.npz", "fit.json", "inversion.npz"
WEIGHTS = "weights.safetensors"
ANIMATION = "animation.npz"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AvatarImage:
    """A rendered avatar.

    Attributes:
        image: [3, H, W] linear radiance before black, premultiplied.
        alpha: [1, H, W].
    """

    image: Float[Tensor, "3 H W"]
    alpha: Float[Tensor, "1 H W"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Avatar:
    """A person: a head model, the codes found for them, and how they were found.

    Attributes:
        model: the fine-tuned prior.
        rendering: how its rays are marched.
        solution: codes, light, poses and cameras of the photos.
        inversion: what the inversion alone had found, in terms of the untuned prior.
        description: avatar.json.
        report: fit.json.
        animation: expression and head motion of a video, in the world of ``solution``; None for photos.
    """

    model: VRMM
    rendering: RenderConfig
    solution: Solution
    inversion: Solution
    description: dict[str, Any]
    report: dict[str, Any]
    animation: AnimationCurve | None = None

    @property
    def pose(self) -> Pose:
        """Head→world in the first photo."""
        return Pose(
            rotation=self.solution.rotation[0].detach().double().numpy(),
            translation=self.solution.translation[0].detach().double().numpy(),
        )

    def light_field(self, light: Light | Tensor | None, pose: Pose) -> Float[Tensor, "L 3"]:
        """Lamps of the world, or a light field of the head frame, or the fitted one, as a light field."""
        if light is None:
            rotation = torch.tensor(np.asarray(pose.rotation), dtype=torch.float32)
            return head_light(self.model, self.solution, rotation[None])[0]
        if isinstance(light, Light):
            directions, irradiance, rotation = (
                torch.tensor(np.asarray(value), dtype=torch.float32)[None]
                for value in (light.directions, light.irradiance, pose.rotation)
            )
            return self.model.light_sphere.radiance(directions, irradiance, rotation)[0]
        return light

    @torch.no_grad()
    def render(
        self,
        expression: Float[Tensor, "E"] | None,
        light: Light | Float[Tensor, "L 3"] | None,
        camera: Camera,
        pose: Pose | None = None,
    ) -> AvatarImage:
        """The person with any expression, light, camera and pose.

        Args:
            expression: a code z_e of the prior; None for the one fitted to the (first) photo.
            light: lamps in the world, or radiance [N_l, 3] from the model's directions in the head frame; None for
                the light of the photos, which goes along with the head, or of the video, which does not.
            camera: of any size.
            pose: head→world; None for the first photo's.
        """
        found = self.render_views(expression, light, [camera], pose)
        return AvatarImage(image=found.image[0, 0], alpha=found.alpha[0, 0])

    @torch.no_grad()
    def render_views(
        self,
        expression: Float[Tensor, "E"] | None,
        light: Light | Float[Tensor, "L 3"] | None,
        cameras: Sequence[Camera],
        pose: Pose | None = None,
    ) -> Rendering:
        """As ``render`` for several cameras of one size at once: B = 1, V = len(cameras)."""
        pose = pose or self.pose
        z_e = self.solution.z_e[:1] if expression is None else expression[None]
        rotation, translation = (
            torch.tensor(np.asarray(value), dtype=torch.float32)[None] for value in (pose.rotation, pose.translation)
        )
        return render_head(
            self.model,
            self.solution.z_id,
            z_e,
            self.light_field(light, pose)[None],
            rotation,
            translation,
            CameraBatch.stack(list(cameras)),
            self.rendering,
        )

    def save(self, folder: Path) -> None:
        """Write the bundle: built beside ``folder`` and renamed into place, replacing an older avatar.

        Raises:
            VrmmError: ``folder`` holds something else, or cannot be written; it is then left as it was.
        """
        folder = Path(folder)
        check_target(folder)
        temporary = None
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
            self._write(temporary)
            os.chmod(temporary, 0o755)
            replace_folder(temporary, folder)
        except OSError as error:
            raise VrmmError(
                f"cannot write the avatar {folder}: {error.strerror or error} (free space or choose another folder)"
            ) from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        save_weights(self.model, self.rendering, folder)
        atomic_write_bytes(folder / IDENTITY, self.solution.npz({}))
        facts = {
            "key": self.description["inversion_key"],
            "seconds": self.report["seconds"]["inversion"],
            "losses": self.report["losses"]["inversion"],
        }
        atomic_write_bytes(folder / INVERSION, self.inversion.npz(facts))
        if self.animation is not None:
            self.animation.save(folder / ANIMATION)
        atomic_write_json(folder / REPORT, self.report)
        atomic_write_json(folder / DESCRIPTION, {"format": FORMAT, "version": FORMAT_VERSION, **self.description})

    @staticmethod
    def load(folder: Path | str) -> "Avatar":
        """Read a bundle.

        Raises:
            VrmmError: the folder is no avatar, of another version, or damaged.
        """
        folder = Path(folder)
        description = read_description(folder)
        model, rendering, _ = load_weights(folder, "an avatar")
        return Avatar(
            model=model.requires_grad_(False),
            rendering=rendering,
            solution=Solution.read(folder / IDENTITY)[0],
            inversion=Solution.read(folder / INVERSION)[0],
            description=description,
            report=read_json(folder / REPORT, "a fit report"),
            animation=AnimationCurve.load(folder / ANIMATION) if (folder / ANIMATION).is_file() else None,
        )


def display_name(folder: Path) -> str:
    """What people call the avatar in ``folder``: the folder's name, or, where that says nothing, its parent's."""
    folder = Path(folder).resolve()
    return folder.parent.name if folder.name == "avatar" else folder.name


def inverted_avatar(avatar: Avatar, prior: Path) -> Avatar:
    """The avatar as it was before fine-tuning: the prior itself with the codes of the inversion.

    Raises:
        VrmmError: ``prior`` is not the run that the avatar was fitted with.
    """
    wanted = avatar.description["prior"]["sha256"]
    if prior_sha256(prior) != wanted:
        raise VrmmError(f"{prior} is not the prior that this avatar was fitted with (weights {wanted[:12]}…)")
    model, rendering, _ = load_weights(prior)
    return dataclasses.replace(
        avatar, model=model.requires_grad_(False), rendering=rendering, solution=avatar.inversion
    )


def prior_sha256(prior: Path) -> str:
    """What tells one trained prior from another. Raises VrmmError where there are no weights."""
    if not (Path(prior) / WEIGHTS).is_file():
        raise VrmmError(f"{prior} is not a run folder: there is no {WEIGHTS} in it; train a prior first")
    return sha256_of(Path(prior) / WEIGHTS)


def check_target(folder: Path) -> None:
    """Raises VrmmError where ``folder`` exists and is not an avatar, so that nothing else is ever replaced."""
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / DESCRIPTION).is_file() or not any(folder.iterdir()))):
        raise VrmmError(f"{folder} exists and is not an avatar; choose another --out")


def read_description(folder: Path) -> dict[str, Any]:
    """avatar.json. Raises VrmmError where there is none or it is of another version."""
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise VrmmError(f"{folder} is not an avatar: there is no {DESCRIPTION} in it; make one with vrmm fit")
    description = read_json(path, "an avatar description")
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise VrmmError(f"{path} does not describe an avatar; make one with vrmm fit")
    if description.get("version") != FORMAT_VERSION:
        raise VrmmError(f"{path} is of version {description.get('version')}; this vrmm reads {FORMAT_VERSION}")
    return description
