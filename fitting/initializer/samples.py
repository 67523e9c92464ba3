"""Renderings of random heads with everything that is known about them, in shards that are whole or absent."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from datasets.files import atomic_write_bytes
from fitting.bank import TrainingBank
from fitting.initializer.heads import Heads, RandomHeads
from fitting.initializer.recipe import InitializerRecipe
from fitting.objective import CarriedLandmarks
from prior.cameras import CameraBatch
from prior.render import RenderConfig, Rendering, render_primitives, view_directions
from prior.vrmm import VRMM, Geometry

SHARD = 128
"""Renderings in a shard."""
TOGETHER = 8
"""Renderings of one call of the renderer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """S renderings, each with its truth, in the pixels and the frame of its camera.

    Attributes:
        picture: [S, 4, H, W] square root of linear radiance in units of ``peak`` (premultiplied) and alpha, 8 bits.
        peak: [S] largest radiance of each picture.
        landmarks: [S, 68, 2] pixels.
        rotation: [S, 3, 3] head→camera.
        focal: [S] pixels; the principal point is the picture's centre.
        blend: [S, N] weights of the training identities.
        z_e: [S, E].
        light: [S, L, 3] incoming radiance, head frame.
    """

    picture: UInt8[Tensor, "S 4 H W"]
    peak: Float[Tensor, "S"]
    landmarks: Float[Tensor, "S 68 2"]
    rotation: Float[Tensor, "S 3 3"]
    focal: Float[Tensor, "S"]
    blend: Float[Tensor, "S N"]
    z_e: Float[Tensor, "S E"]
    light: Float[Tensor, "S L 3"]

    def __len__(self) -> int:
        return len(self.peak)

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def chosen(self, rows: Tensor) -> "Samples":
        """Some of them."""
        return Samples(**{name: value[rows] for name, value in self.tensors().items()})

    @staticmethod
    def joined(parts: "list[Samples]") -> "Samples":
        names = [field.name for field in dataclasses.fields(Samples)]
        return Samples(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


class SampleStore:
    """Renders shards into a folder and reads them; a shard is a pure function of prior, recipe and number. Final."""

    def __init__(
        self, folder: Path, model: VRMM, rendering: RenderConfig, bank: TrainingBank, recipe: InitializerRecipe
    ) -> None:
        self._folder, self._model, self._rendering, self._recipe = Path(folder), model, rendering, recipe
        self._heads = RandomHeads(model, bank, recipe.heads)
        self._carried = CarriedLandmarks(model)

    @property
    def count(self) -> int:
        """Of shards."""
        return -(-self._recipe.samples // SHARD)

    def get(self, progress: Callable[[int, int], object] | None = None) -> tuple[Samples, int]:
        """All samples, and how many had to be rendered now; those of an interrupted call are kept.

        Raises:
            VrmmError: the folder cannot be written.
        """
        parts, rendered = [], 0
        for shard in range(self.count):
            size = min(SHARD, self._recipe.samples - shard * SHARD)
            path = self._folder / f"{self.key()[:12]}_{shard:05d}.safetensors"
            part = _read(path)
            if part is None or len(part) != size:
                part = self.render(shard, size)
                atomic_write_bytes(path, save(part.tensors()))
                rendered += size
            parts.append(part)
            if progress is not None:
                progress(min((shard + 1) * SHARD, self._recipe.samples), self._recipe.samples)
        return Samples.joined(parts), rendered

    def key(self) -> str:
        """Changes whenever the renderings would come out differently, apart from the prior."""
        parts = [self._recipe.seed, self._recipe.views, dataclasses.asdict(self._recipe.heads)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @torch.no_grad()
    def render(self, shard: int, size: int) -> Samples:
        """The renderings of one shard."""
        random = np.random.default_rng([self._recipe.seed, shard])
        views = self._recipe.views
        parts, left = [], size
        while left > 0:
            heads = self._heads.draw(max(1, TOGETHER // views), views, random)
            part = self._render(heads, views)
            parts.append(part.chosen(torch.arange(min(left, len(part)))))
            left -= len(part)
        return Samples.joined(parts)

    def _render(self, heads: Heads, views: int) -> Samples:
        z_id = heads.blend @ self._model.identity_codes.weight
        count = len(z_id)
        rotation, translation = torch.eye(3).expand(count, 3, 3), torch.zeros(count, 3)
        geometry: Geometry = self._model.decode_geometry(z_id, heads.z_e)
        directions = view_directions(heads.cameras, rotation, translation)
        voxels = self._model.decode_color(geometry, directions, heads.light)
        found = render_primitives(geometry.placement, voxels, rotation, translation, heads.cameras, self._rendering)
        points = self._carried(geometry.vertices).repeat_interleave(views, 0)
        return _sample(found, heads, heads.cameras, heads.cameras.project(points), views)


def _sample(found: Rendering, heads: Heads, cameras: CameraBatch, landmarks: Tensor, views: int) -> Samples:
    image, alpha = found.image.flatten(0, 1).clamp(min=0.0), found.alpha.flatten(0, 1).clamp(0.0, 1.0)
    peak = image.amax(dim=(1, 2, 3)).clamp(min=1e-6)
    toned = (image / peak[:, None, None, None]).sqrt()
    return Samples(
        picture=(torch.cat([toned, alpha], dim=1) * 255.0).round().to(torch.uint8),
        peak=peak,
        landmarks=landmarks,
        rotation=cameras.world_to_camera[:, :, :3].contiguous(),
        focal=cameras.intrinsics[:, 0, 0].contiguous(),
        blend=heads.blend.repeat_interleave(views, 0),
        z_e=heads.z_e.repeat_interleave(views, 0),
        light=heads.light.repeat_interleave(views, 0),
    )


def _read(path: Path) -> Samples | None:
    """None where the shard is absent, or damaged: it is rendered again then."""
    try:
        return Samples(**load_file(path))
    except (OSError, SafetensorError, TypeError):
        return None
