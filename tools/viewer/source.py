"""What is looked at: a run or an avatar, opened with everything that the viewer can do with it."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datasets.config import load_config
from datasets.errors import VrmmError
from datasets.files import read_json
from datasets.lightstage.heads import expression_names
from datasets.shards import ShardSet, open_shards
from datasets.views import default_input_cameras, training_keys
from fitting.avatar import Avatar, prior_sha256
from prior.animation import AnimationCurve
from prior.codebank import FILE as CODE_BANK
from prior.codebank import MOST_FRAMES, encode_bank, read_code_bank, read_light_bank
from prior.recipe import TrainRecipe
from prior.render import RenderConfig
from prior.vrmm import VRMM
from prior.weights import load_weights
from tools.viewer.captured import CapturedFrames, control_values
from tools.viewer.expressions import ExpressionSpace, plain_space, stored_space
from tools.viewer.lights import USUAL_IRRADIANCE
from tools.viewer.source_config import SourceConfig
from tools.viewer.state import Amounts, Start

FITTED = "fitted"
"""Name of an avatar's own identity."""
FRAMES_IN_TRAINING = 48
"""Training frames that are encoded where a run has stored no codes yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A head model and all that is known to be shown with it. Never changed, so safe for threads.

    Attributes:
        config: how to open it again.
        model, rendering: that draw.
        step: of the weights; 0 for an avatar.
        identities: [I] by name; the first is shown at first.
        expressions: what sliders do.
        photo: [E] the expression of an avatar's photos, or None.
        fitted_light: [N, 3] of an avatar's photos, head frame, or None.
        irradiance: usual power of all lamps together, mean over colours.
        curve: or None.
        captured: or None.
        without_captured: why it is None, one line for people.
    """

    config: SourceConfig
    model: VRMM
    rendering: RenderConfig
    step: int
    identities: dict[str, Tensor]
    expressions: ExpressionSpace
    photo: Float[Tensor, "E"] | None
    fitted_light: Float[Tensor, "N 3"] | None
    irradiance: float
    curve: AnimationCurve | None
    captured: CapturedFrames | None
    without_captured: str

    def blend(self, identity: Amounts) -> Float[Tensor, "1 I"]:
        """The weighted mean of identities. Raises VrmmError for an unknown name or weights that sum to 0."""
        if not identity:
            return next(iter(self.identities.values()))[None]
        for name, _ in identity:
            if name not in self.identities:
                raise VrmmError(f"there is no identity {name}; there are {', '.join(self.identities)}")
        total = sum(weight for _, weight in identity)
        if abs(total) < 1e-6:
            raise VrmmError("the weights of --identity sum to 0; give one of them another")
        mixed = sum(weight * self.identities[name] for name, weight in identity)
        return torch.as_tensor(mixed / total)[None]

    def start(self, start: Start) -> Float[Tensor, "E"]:
        """The expression that sliders start from. Raises VrmmError where there are no photos."""
        if start is Start.REST:
            return self.expressions.rest
        if self.photo is None:
            raise VrmmError(f"{self.config.folder} is no avatar: no photo has an expression; leave out --start photo")
        return self.photo


def open_source(config: SourceConfig) -> Source:
    """Open a run or an avatar.

    Raises:
        VrmmError: neither, a run that has saved no weights yet, another prior than the avatar's, or a curve of
            another expression code.
    """
    avatar = _open_avatar(config) if config.is_avatar else None
    if avatar is None:
        _check_run(config.folder)
        model, rendering, description = load_weights(config.folder)
    else:
        model, rendering, description = avatar.model, avatar.rendering, {}
    model.requires_grad_(False)
    run = config.prior if avatar is not None else config.folder
    data = _open_data(config, run)
    identities = dict(zip(model.subjects, model.identity_codes.weight.detach().clone(), strict=True))
    if avatar is not None:
        identities = {FITTED: avatar.solution.z_id[0].detach()} | identities
    expressions, irradiance = _population(model, run, data)
    return Source(
        config=config,
        model=model,
        rendering=rendering,
        step=int(description.get("step", 0)),
        identities=identities,
        expressions=expressions,
        photo=None if avatar is None else avatar.solution.z_e[0].detach(),
        fitted_light=None if avatar is None else avatar.solution.light.detach(),
        irradiance=irradiance,
        curve=_open_curve(config.curve, model),
        captured=None if data.shards is None else CapturedFrames(model, data.shards, data.inputs, data.image_size),
        without_captured=data.missing,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Data:
    """The capture of a run, or why there is none."""

    shards: ShardSet | None = None
    inputs: tuple[str, ...] = ()
    image_size: int = 0
    missing: str = ""


def _check_run(folder: Path) -> None:
    if (folder / "recipe.yaml").is_file() and not (folder / "model.json").is_file():
        raise VrmmError(f"{folder} has saved no weights yet; look again after its first checkpoint")


def _open_avatar(config: SourceConfig) -> Avatar:
    avatar = Avatar.load(config.folder)
    if config.prior is not None and prior_sha256(config.prior) != avatar.description["prior"]["sha256"]:
        raise VrmmError(f"{config.prior} is not the prior that {config.folder} was fitted with; name that one")
    return avatar


def _open_curve(path: Path | None, model: VRMM) -> AnimationCurve | None:
    if path is None:
        return None
    curve = AnimationCurve.load(path)
    if curve.expression.shape[1] != model.config.expression:
        raise VrmmError(
            f"{path} has expression codes of {curve.expression.shape[1]} numbers and this model takes "
            f"{model.config.expression}; make the curve with the same prior"
        )
    return curve


def _open_data(config: SourceConfig, run: Path | None) -> _Data:
    """The shards of the run; where they are not named and gone, the rest works without them."""
    if run is None:
        if config.shards is not None:
            raise VrmmError("--shards needs the run that knows its cameras; name it with --prior")
        return _Data(missing="name the prior's run folder with --prior to compare with its capture")
    if not (run / "recipe.yaml").is_file():
        return _Data(missing=f"there is no recipe.yaml in {run}")
    recipe = load_config(TrainRecipe, run / "recipe.yaml")
    place = config.shards or read_json(run / "model.json", "a model description").get("shards")
    try:
        shards = open_shards(place or recipe.loader.shards)
    except VrmmError as error:
        if config.shards is not None:
            raise
        return _Data(missing=f"its capture cannot be read: {error}; name it with --shards")
    inputs = tuple(recipe.loader.input_cameras) or default_input_cameras(shards.info)
    return _Data(shards=shards, inputs=inputs, image_size=recipe.loader.image_size)


def _population(model: VRMM, run: Path | None, data: _Data) -> tuple[ExpressionSpace, float]:
    """The population's expressions, and how bright its frames were."""
    if run is None:
        return plain_space(model, "name the prior's run folder with --prior for those of its people"), USUAL_IRRADIANCE
    if (run / CODE_BANK).is_file():
        codes, lights = read_code_bank(run), read_light_bank(run)
        keys = None if data.shards is None else training_keys(data.shards, MOST_FRAMES)
    elif data.shards is not None:
        bank = encode_bank(model, data.shards, data.inputs, data.image_size, FRAMES_IN_TRAINING)
        codes, lights, keys = bank.codes, bank.lights, bank.keys
    else:
        return plain_space(model, "the run has stored no codes yet"), USUAL_IRRADIANCE
    irradiance = float((lights.mean(dim=2).sum(dim=1) * model.light_sphere.solid_angle).mean())
    values, names, why = _controls(data.shards, keys, len(codes))
    return stored_space(codes, values, names, why), irradiance if irradiance > 0.0 else USUAL_IRRADIANCE


def _controls(
    shards: ShardSet | None, keys: list[str] | None, count: int
) -> tuple[Float[np.ndarray, "N C"] | None, tuple[str, ...], str]:
    """Values and names of the head model's controls in the encoded frames, or why they are not known."""
    if shards is None or keys is None:
        return None, (), "named controls need the capture; name it with --shards"
    if len(keys) != count:
        return None, (), "the stored codes are of other frames than the capture's"
    spec = (shards.info.synthetic or {}).get("head_model")
    if spec is None:
        return None, (), "the capture is of real people: no head model names their expressions"
    try:
        values, names = control_values(shards, keys), expression_names(spec)
    except VrmmError as error:
        return None, (), str(error)
    if values.shape[1] != len(names):
        return None, (), f"{spec} has other controls than the capture"
    return values, names, ""
