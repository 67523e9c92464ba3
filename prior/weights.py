"""Plain weights that need no DeepSpeed."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from datasets.config import from_dict
from datasets.errors import VrmmError
from datasets.files import atomic_write_bytes, atomic_write_json, read_json
from prior.render import RenderConfig
from prior.template import Template
from prior.vrmm import VRMM, VRMMConfig

FORMAT_VERSION = 1


def save_weights(model: VRMM, rendering: RenderConfig, folder: Path, **facts: Any) -> None:
    """Write ``weights.safetensors`` and ``model.json``: all that is needed to render, without DeepSpeed.

    ``facts`` are kept in model.json (for example the step, and where the training data lie).
    """
    tensors = {
        name: value.detach().float().contiguous() if value.is_floating_point() else value.contiguous()
        for name, value in model.state_dict().items()
    }
    description = {
        "format": "vrmm.model",
        "version": FORMAT_VERSION,
        **model.description(),
        "template_vertices": model.mesh_decoder.template.shape[0],
        "template_faces": model.template_faces.shape[0],
        "render": dataclasses.asdict(rendering),
        **facts,
    }
    atomic_write_bytes(folder / "weights.safetensors", save(tensors))
    atomic_write_json(folder / "model.json", description)


def load_weights(folder: Path, what: str = "a run folder") -> tuple[VRMM, RenderConfig, dict[str, Any]]:
    """The model, its render settings and model.json of a folder written by ``save_weights``.

    Raises:
        VrmmError: the folder is none, of another version, or its weights do not fit (the differences are named).
    """
    path = Path(folder) / "model.json"
    if not path.exists():
        raise VrmmError(f"{folder} is not {what}: there is no model.json in it")
    description = read_json(path, "a model description")
    if description.get("format") != "vrmm.model" or description.get("version") != FORMAT_VERSION:
        raise VrmmError(f"{path} is of version {description.get('version')}; this vrmm reads {FORMAT_VERSION}")
    config = from_dict(VRMMConfig, description["config"], str(path))
    rendering = from_dict(RenderConfig, description["render"], str(path))
    try:
        tensors = load_file(Path(folder) / "weights.safetensors")
    except (OSError, SafetensorError) as error:
        raise VrmmError(f"{folder}/weights.safetensors cannot be read: {error}") from error
    model = VRMM(config, _blank_template(tensors), tuple(description["subjects"]))
    load_strictly(model, tensors, f"{folder}/weights.safetensors")
    return model.eval(), rendering, description


def load_strictly(model: VRMM, tensors: dict[str, torch.Tensor], origin: str) -> None:
    """``load_state_dict`` whose error lists the first differences in one line."""
    own = model.state_dict()
    differences = [f"{name} missing" for name in own if name not in tensors]
    differences += [f"{name} unknown" for name in tensors if name not in own]
    differences += [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if differences:
        shown = "; ".join(differences[:4]) + (f" and {len(differences) - 4} more" if len(differences) > 4 else "")
        raise VrmmError(f"{origin} holds another architecture: {shown}")
    model.load_state_dict(tensors)


def _blank_template(tensors: dict[str, torch.Tensor]) -> Template:
    """The template as the weights hold it; the buffers made from it are overwritten on loading."""
    try:
        return Template(
            vertices=tensors["mesh_decoder.template"].numpy(),
            uv=tensors["template_uv"].numpy(),
            faces=tensors["template_faces"].numpy().astype("int32"),
            landmarks=tensors["template_landmarks"].numpy(),
        )
    except KeyError as error:
        raise VrmmError(f"the weights lack {error}; they are not those of a vrmm model") from error
