"""What a training step of a recipe costs: parameters, memory and operations, without allocating any of it.

The model is built and run on torch's meta device, where tensors have shapes and no content.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from datasets.framing import CropBy
from datasets.lightstage.heads import load_head_model
from prior.muon import inner_matrices
from prior.primitives import TangentGrid
from prior.recipe import TrainRecipe
from prior.template import Template, wrap_template
from prior.vrmm import VRMM, Geometry

SAMPLE_FLOPS = 130
"""Operations of the raymarcher for one sample in one primitive: into the box 24, fade 30, eight corners 68, sum 8."""

BACKWARD_SHARE = 2.5
"""The backward pass of the raymarcher beside its forward pass."""

FLOAT = 4

DECODED = ("geometry", "colour and voxels")
"""Stages whose activations ``trainer.recompute`` does not keep."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a step, on one rank.

    Attributes:
        name: for the table.
        forward_flops, backward_flops: floating-point operations, multiply and add counted as two.
        kept_bytes: what the backward pass needs of it.
    """

    name: str
    forward_flops: float
    backward_flops: float
    kept_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``vrmm train --plan`` prints.

    Attributes:
        parameters: of every part of the model.
        stages: of a step on one rank; those of eq. 12–13 are there in full, though they run every n-th step only.
        memory: bytes of one rank by purpose, at the worst moment.
        frames, views: of one rank's micro-batch.
        image_shape: height and width that are rendered.
        ranks: processes.
        consistency_every: steps between two that run eq. 12–13; 0 if none does.
        images_read: stored pictures that a step decodes, on all ranks.
    """

    parameters: dict[str, int]
    stages: tuple[Stage, ...]
    memory: dict[str, int]
    frames: int
    views: int
    image_shape: tuple[int, int]
    ranks: int
    consistency_every: int
    images_read: int

    @property
    def step_flops(self) -> float:
        """Operations of a mean step on all ranks."""
        total = 0.0
        for stage in self.stages:
            share = 1.0 / self.consistency_every if stage.name.startswith("consistency") else 1.0
            total += share * (stage.forward_flops + stage.backward_flops)
        return self.ranks * total

    @property
    def memory_bytes(self) -> int:
        """Of one rank, all purposes together."""
        return sum(self.memory.values())

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "step_flops": self.step_flops, "memory_bytes": self.memory_bytes}


def plan_training(recipe: TrainRecipe) -> Plan:
    """The plan of a recipe for the capture it names (``recipe.capture``) on ``trainer.ranks`` processes.

    Raises:
        VrmmError: a batch that the ranks cannot share, or an unknown template.
    """
    recipe.check_ranks(recipe.trainer.ranks)
    template = wrap_template(load_head_model(recipe.template), recipe.template_resolution)
    with torch.device("meta"):
        model = VRMM(recipe.model, template, tuple(f"s{i}" for i in range(recipe.capture.subjects)))
    frames = recipe.loader.batch_frames // recipe.trainer.ranks // recipe.trainer.accumulation
    views, every = recipe.loader.target_views, recipe.losses.consistency_every
    has_consistency = recipe.losses.uses_consistency(1.0)
    whole = recipe.capture.trained_shape(recipe.loader.image_size)
    crop = recipe.loader.crop
    height, width = whole if crop.by is CropBy.none else (crop.size, crop.size)
    pairs = samples_in_primitives(template, recipe)
    stages = list(_stages(model, recipe, frames, views, pairs, (height, width), ""))
    if has_consistency:
        rows, size = math.ceil(frames / recipe.losses.consistency_stride), recipe.model.encoder_size
        other = _stages(model, recipe, rows, recipe.model.encoder_views, pairs, (size, size), "consistency: other ")
        again = _stages(model, recipe, rows, 1, pairs, (size, size), "consistency: same ")
        stages += [*other, *again]
    parameters = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    return Plan(
        parameters={name: count for name, count in parameters.items() if count},
        stages=tuple(stages),
        memory=_memory(recipe, model, stages, frames, whole, (height, width)),
        frames=frames,
        views=views,
        image_shape=(height, width),
        ranks=recipe.trainer.ranks,
        consistency_every=every if has_consistency else 0,
        images_read=recipe.loader.batch_frames * (views + recipe.model.encoder_views),
    )


def samples_in_primitives(template: Template, recipe: TrainRecipe) -> float:
    """Samples that fall into primitives, over all rays of a picture, per pixel of its shorter side squared.

    A picture whose shorter side spans the sphere of ``render.radius`` has one ray for every (2 r / side)² of area;
    each primitive holds volume / (area · step) samples, at its rest size.
    """
    grid = TangentGrid(template, recipe.model.grid, recipe.model.thickness)
    volume = float((8.0 * grid.half_size.double().prod(dim=1)).sum())
    return volume / ((2.0 * recipe.render.radius) ** 2 * recipe.render.step)


def _stages(
    model: VRMM, recipe: TrainRecipe, rows: int, views: int, pairs: float, shape: tuple[int, int], prefix: str
) -> Iterator[Stage]:
    """Encode, decode and march ``rows`` frames in ``views`` views each."""
    config, lights = recipe.model, recipe.model.light_directions
    size = config.encoder_size
    encode, geometry, color = _Measured(), _Measured(), _Measured()
    with torch.device("meta"):
        images, masks = (torch.zeros(rows, config.encoder_views, c, size, size) for c in (3, 1))
        encoding = encode.run(lambda: model.encode(images, masks))
        encode.differentiate(encoding.mean.sum() + encoding.rotation.sum())
        z_id, z_e = (torch.zeros(rows, length, requires_grad=True) for length in (config.identity, config.expression))
        shapes = geometry.run(lambda: model.decode_geometry(z_id, z_e))
        geometry.differentiate(sum((each.sum() for each in _outputs(shapes)), start=torch.zeros(())))
        shapes = _cut(shapes)
        directions, light = torch.zeros(rows, views, 3), torch.zeros(rows, lights, 3)
        voxels = color.run(lambda: model.decode_color(shapes, directions, light))
        color.differentiate(voxels.sum())
    yield encode.stage(f"{prefix}encoders")
    yield geometry.stage(f"{prefix}geometry")
    yield color.stage(f"{prefix}colour and voxels")
    flops = SAMPLE_FLOPS * pairs * rows * views * min(shape) ** 2
    yield Stage(
        name=f"{prefix}raymarching",
        forward_flops=flops,
        backward_flops=BACKWARD_SHARE * flops,
        kept_bytes=FLOAT * (2 * voxels.numel() + 8 * rows * views * shape[0] * shape[1]),
    )


def _outputs(geometry: Geometry) -> list[Tensor]:
    placement = geometry.placement
    return [placement.center, placement.rotation, placement.half_size, geometry.opacity_features, *geometry.features]


def _cut(geometry: Geometry) -> Geometry:
    """The same without a history, so that the next stage is measured alone."""
    opacity, *features = (each.detach().requires_grad_() for each in (geometry.opacity_features, *geometry.features))
    return dataclasses.replace(geometry, opacity_features=opacity, features=features)


class _Measured:
    """Operations and kept memory of a piece of the model on the meta device."""

    def __init__(self) -> None:
        self._forward = self._backward = 0.0
        self._kept: dict[int, Any] = {}

    def run(self, piece: Callable[[], Any]) -> Any:
        with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(self._keep, _same):
            result = piece()
        self._forward = float(counter.get_total_flops())
        return result

    def differentiate(self, value: Tensor) -> None:
        with FlopCounterMode(display=False) as counter:
            value.backward()
        self._backward = float(counter.get_total_flops())

    def stage(self, name: str) -> Stage:
        kept = sum(storage.nbytes() for storage in self._kept.values())
        return Stage(name=name, forward_flops=self._forward, backward_flops=self._backward, kept_bytes=kept)

    def _keep(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):  # weights are counted as such
            storage = tensor.untyped_storage()
            self._kept[storage._cdata] = storage
        return tensor


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _memory(
    recipe: TrainRecipe,
    model: VRMM,
    stages: list[Stage],
    frames: int,
    inputs: tuple[int, int],
    targets: tuple[int, int],
) -> dict[str, int]:
    """Bytes of one rank by purpose. Activations are those of fp32; bf16 keeps down to half of them."""
    trainer, count = recipe.trainer, sum(parameter.numel() for parameter in model.parameters())
    shared = trainer.ranks if trainer.zero else 1
    master = FLOAT * count // shared if trainer.zero else 0
    momentum_only = sum(matrix.numel() for matrix in inner_matrices(model)) if recipe.optimizer.muon > 0 else 0
    pixels = recipe.model.encoder_views * math.prod(inputs) + recipe.loader.target_views * math.prod(targets)
    decoders = [stage.kept_bytes for stage in stages if stage.name.endswith(DECODED)]
    others = sum(stage.kept_bytes for stage in stages) - sum(decoders)
    memory = {
        "weights and buffers": FLOAT * (count + sum(buffer.numel() for buffer in model.buffers())),
        "gradients": FLOAT * count // (trainer.ranks if trainer.zero == 2 else 1),
        "optimiser": FLOAT * (2 * count - momentum_only) // shared + master,
        "moving average": FLOAT * count if recipe.optimizer.ema > 0 else 0,
        "activations": others + (max(decoders) if trainer.recompute else sum(decoders)),
        "pictures": FLOAT * 4 * frames * pixels,
    }
    return {name: size for name, size in memory.items() if size}
