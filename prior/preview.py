"""Preview sheets during training: truth, model, another light, another identity."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.batch import FrameBatch
from datasets.loader import LoaderConfig, read_frame
from datasets.shards import DamageError, ShardSet, open_shards
from datasets.views import default_input_cameras, inputs_of_parts, training_subjects
from prior.cameras import CameraBatch
from prior.metrics import image_metrics
from prior.pictures import Strip, draw_sheet, to_picture, write_picture
from prior.recipe import TrainRecipe
from prior.render import RenderConfig, render_head
from prior.vrmm import VRMM

_LOG = logging.getLogger(__name__)
SAMPLES = 5
COLUMNS = ("truth", "model", "another light", "another identity")
KEY_LIGHT = (0.75, 0.45, 0.5)
"""Direction of the other light in the head frame: from the subject's left, above and in front."""
FILL = 0.35
"""Share of the other light that comes from everywhere."""


def write_preview(model: VRMM, recipe: TrainRecipe, folder: Path, step: int) -> Path:
    """Write ``previews/step_XXXXXX.png`` of a few fixed training samples; returns its path.

    Samples that cannot be read are left out; where none can, there is no picture. The random state, gradients and the
    model's mode are left as they were.

    Raises:
        VrmmError: the shards or the folder cannot be used.
    """
    shards = open_shards(recipe.loader.shards)
    cameras = recipe.loader.input_cameras or default_input_cameras(shards.info)
    views = inputs_of_parts(shards.info, cameras)
    with inference(model):
        strips = []
        for index, key in enumerate(preview_keys(shards, recipe.loader)):
            own = views[shards.source[shards.sample(key)]]
            try:
                batch = _sample(shards, recipe.loader, key, own[index % len(own)])
            except DamageError as damage:
                _LOG.warning("left out of the preview: %s", damage)
                continue
            strips.append(_strip(model, recipe.render, batch))
    path = Path(folder) / "previews" / f"step_{step:06d}.png"
    if strips:
        write_picture(path, draw_sheet(COLUMNS, strips, cell=144, title=f"step {step}"))
    return path


@contextmanager
def inference(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients inside; the mode of before afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def preview_keys(shards: ShardSet, loader: LoaderConfig, count: int = SAMPLES) -> list[str]:
    """Keys of ``count`` training samples, evenly over subjects and over each subject's frames; always the same."""
    info = shards.info
    subjects = training_subjects(info)
    chosen = [subjects[index] for index in spread(len(subjects), count)]
    keys = []
    for place, subject in enumerate(chosen):
        usable = (shards.subject == info.subjects.index(subject)) & np.array(
            [loader.frames.holds(split) for split in ("train", "held_out")]
        )[shards.held_out.astype(int)]
        samples = np.flatnonzero(usable)
        if len(samples):
            keys.append(shards.key(int(samples[(place * len(samples)) // len(chosen)])))
    return keys


def spread(total: int, count: int) -> list[int]:
    """``count`` numbers below ``total`` (fewer if there are fewer), evenly."""
    count = min(total, count)
    return [(2 * index + 1) * total // (2 * count) for index in range(count)]


def _sample(shards: ShardSet, loader: LoaderConfig, key: str, camera: str) -> FrameBatch:
    return read_frame(shards, key, [camera], loader.image_size, input_cameras=loader.input_cameras or None)


def _strip(model: VRMM, rendering: RenderConfig, batch: FrameBatch) -> Strip:
    batch = batch.to(model.identity_codes.weight.device)
    truth = batch.target_images[0, 0]
    pictures = [truth, *_renders(model, rendering, batch)]
    metrics = image_metrics(pictures[1].cpu(), truth.cpu(), batch.target_masks[0, 0].cpu())
    return Strip(
        pictures=[to_picture(image) for image in pictures], caption=f"{batch.keys[0]}  {metrics['psnr']:.1f} dB"
    )


def _renders(model: VRMM, rendering: RenderConfig, batch: FrameBatch) -> Sequence[Float[Tensor, "3 H W"]]:
    encoding = model.encode(batch.input_images, batch.input_masks)
    light = model.light_sphere.radiance(batch.lamp_directions, batch.lamp_irradiance, encoding.rotation)
    direction = torch.nn.functional.normalize(light.new_tensor([KEY_LIGHT]), dim=-1)
    weights = (1.0 - FILL) * model.light_sphere.weights(direction) + FILL / light.shape[1]
    key_light = weights[..., None] * light.sum(dim=1, keepdim=True)
    other = (batch.subject + max(1, len(model.subjects) // 2)) % len(model.subjects)
    cameras = CameraBatch(
        world_to_camera=batch.world_to_camera[0],
        intrinsics=batch.intrinsics[0],
        height=batch.target_images.shape[-2],
        width=batch.target_images.shape[-1],
    )

    def render(subject: Tensor, radiance: Tensor) -> Float[Tensor, "3 H W"]:
        pose = encoding.rotation, encoding.translation
        identity = model.identity_code(subject)
        return render_head(model, identity, encoding.mean, radiance, *pose, cameras, rendering).image[0, 0]

    return render(batch.subject, light), render(batch.subject, key_light), render(other, light)
