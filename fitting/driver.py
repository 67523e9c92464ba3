"""Expression and head motion of a person in a video: the fit of eq. 14, with one identity and one light throughout."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from datasets.errors import VrmmError
from fitting.bank import TrainingBank
from fitting.diagnostics import input_metrics, judge
from fitting.drivervideo import DriverVideo
from fitting.inversion import invert
from fitting.objective import CarriedLandmarks, landmark_loss, photo_loss
from fitting.optimizer import ScheduledAdam
from fitting.pose import initial_pose
from fitting.recipe import Expressions, FitRecipe
from fitting.rendering import HeadImages
from fitting.state import Solution
from fitting.views import MAX_PHOTOS, Views, stack_photos
from prior.animation import AnimationCurve
from prior.metrics import mean_metrics
from prior.motion import about_rest, at_places
from prior.preview import spread
from prior.primitives import rotation_from_axis_angle
from prior.render import RenderConfig, render_primitives, view_directions
from prior.vrmm import VRMM

Progress = Callable[[int, int], None]
LEAST_IOU = 0.5
"""Of the head's outline with the masks: below it, something else than a head is filmed."""
TO_WORLD = np.diag([1.0, -1.0, -1.0])
"""A camera's axes (y down, z forward) to a world with y up that the camera looks into."""


@dataclasses.dataclass(kw_only=True)
class TrackingConfig:
    """How frames are followed.

    Attributes:
        keyframes: frames, spread over the video, that identity, light and lens are found from.
        steps: of Adam for each group of frames.
        landmarks: weight of the landmark term.
        expression: on the mean square of z_e.
        smooth: on the mean squared change of z_e from frame to frame.
        lr_expression, lr_turn, lr_shift: rates of z_e and of the head pose (radians, metres).
    """

    keyframes: int = 3
    steps: int = 30
    landmarks: float = 1.0
    expression: float = 3e-3
    smooth: float = 5e-3
    lr_expression: float = 0.06
    lr_turn: float = 0.006
    lr_shift: float = 0.001


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tracked:
    """What a video gave.

    Attributes:
        curve: about the mean pose, evenly spaced.
        metrics: as ``input_metrics``, mean over the frames.
        reasons: why it must not be trusted; empty if it is sound.
    """

    curve: AnimationCurve
    metrics: dict[str, float]
    reasons: list[str]


def track(
    model: VRMM,
    rendering: RenderConfig,
    bank: TrainingBank,
    video: DriverVideo,
    recipe: FitRecipe,
    config: TrackingConfig,
    progress: Progress | None = None,
) -> Tracked:
    """Follow a face through a video.

    Identity, light and lens come from an inversion over a few frames; then expression and pose are fitted to groups
    of frames in turn, each beginning where landmarks put the head and held near the frame before. The light stays
    where it is while the head turns. Frames without a face are bridged.

    Args:
        model, rendering, bank: of a prior, or of an avatar.
        video: frames with landmarks.
        recipe: of the inversion; its weights of the photo's terms count for every frame.
        config: of the tracking.
        progress: called as ``progress(done, total)`` in steps of either kind.

    Raises:
        VrmmError: landmarks of no face, or a loss that is not finite.
    """
    photos = video.photos
    groups = [photos[start : start + MAX_PHOTOS] for start in range(0, len(photos), MAX_PHOTOS)]
    total = recipe.inversion.steps + config.steps * len(groups)
    report = progress or (lambda done, total: None)
    keys = stack_photos([photos[index] for index in spread(len(photos), config.keyframes)])
    # Identity must not hide in the expressions of the keyframes: they are held as near to rest as the others.
    inversion = dataclasses.replace(recipe.inversion, expression=max(recipe.inversion.expression, config.expression))
    recipe = dataclasses.replace(recipe, expressions=Expressions.each, inversion=inversion)
    found = invert(model, rendering, keys, recipe, bank, lambda stage, done, steps, loss: report(done, total))
    scene = Scene(model, rendering, found.solution, recipe, config)
    codes, rotations, translations, rows = [], [], [], []
    last: Tensor | None = None
    for number, group in enumerate(groups):
        before = recipe.inversion.steps + number * config.steps
        state = scene.follow(stack_photos(group), last, lambda done, before=before: report(before + done, total))
        last = state.z_e[-1:]
        codes.append(state.z_e.double().numpy())
        rotations.append(TO_WORLD @ state.rotation.double().numpy())
        translations.append(state.translation.double().numpy() @ TO_WORLD)
        rows.append(state.metrics)
    curve = about_rest(np.concatenate(codes), np.concatenate(rotations), np.concatenate(translations), video.fps)
    metrics = mean_metrics(rows)
    return Tracked(curve=_bridged(curve, video), metrics=metrics, reasons=judge(metrics))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Group:
    """Frames that have been followed: z_e [F, E], pose [F, 3, 3] and [F, 3] head→camera, their metrics."""

    z_e: Tensor
    rotation: Tensor
    translation: Tensor
    metrics: dict[str, float]


class Scene:
    """What stays the same through a video: identity, lens, and light in the world. Final.

    Args:
        model, rendering: of the head.
        solution: of the frames that it was found from.
        recipe, config: of the tracking.
    """

    def __init__(
        self, model: VRMM, rendering: RenderConfig, solution: Solution, recipe: FitRecipe, config: TrackingConfig
    ) -> None:
        self._model, self._rendering, self._recipe, self._config = model, rendering, recipe, config
        self._z_id = solution.z_id
        self._lens = solution.cameras.intrinsics.mean(dim=0)  # all frames are cut by one square
        self._carried = CarriedLandmarks(model)
        # The light of the keyframes in the world: the inversion has it as the heads' frames see it on the average.
        left, _, right = torch.linalg.svd(solution.rotation.mean(dim=0))
        rotation = left @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(left @ right))])) @ right
        self._lamps = model.light_sphere.directions @ rotation.T
        self._light, self._irradiance = solution.light, solution.light * model.light_sphere.solid_angle

    def follow(self, views: Views, last: Tensor | None, report: Callable[[int], object]) -> _Group:
        """Expression and pose of some frames; ``last`` [1, E] is the expression before them."""
        config, count = self._config, len(views)
        views = dataclasses.replace(views.through(self._lens.expand(count, 3, 3)), focal_known=True)
        pose = initial_pose(views, self._model.template_landmarks.numpy().astype("float64"))
        rotation, translation = (
            torch.tensor(value, dtype=torch.float32) for value in (pose.rotation, pose.translation)
        )
        start = torch.zeros(1, self._model.config.expression) if last is None else last
        z_e = nn.Parameter(start.expand(count, -1).clone())
        turn, shift = nn.Parameter(torch.zeros(count, 3)), nn.Parameter(torch.zeros(count, 3))
        groups = [(z_e, config.lr_expression), (turn, config.lr_turn), (shift, config.lr_shift)]
        optimizer = ScheduledAdam([{"params": [value], "lr": rate} for value, rate in groups], config.steps)
        coarse = views.halved()
        for step in range(config.steps):
            solution = self._solution(z_e, rotation @ rotation_from_axis_angle(turn), translation + shift, coarse)
            optimizer.step(self._loss(solution, coarse, last), views)
            report(step + 1)
        with torch.no_grad():
            solution = self._solution(z_e, rotation @ rotation_from_axis_angle(turn), translation + shift, views)
            metrics = input_metrics(self.render(solution), views)
        return _Group(
            z_e=solution.z_e.detach(), rotation=solution.rotation, translation=solution.translation, metrics=metrics
        )

    def _solution(self, z_e: Tensor, rotation: Tensor, translation: Tensor, views: Views) -> Solution:
        return Solution(
            z_id=self._z_id,
            weights=self._z_id.new_zeros(len(self._model.subjects)),
            z_e=z_e,
            light=self._light,  # of the first frames; ``render`` turns it
            rotation=rotation,
            translation=translation,
            cameras=views.cameras,
        )

    def _loss(self, solution: Solution, views: Views, last: Tensor | None) -> Float[Tensor, ""]:
        config, rendered = self._config, self.render(solution)
        chain = solution.z_e if last is None else torch.cat([last, solution.z_e])
        change = ((chain[1:] - chain[:-1]) ** 2).mean() if len(chain) > 1 else chain.new_zeros(())
        return (
            photo_loss(rendered, views, self._recipe.losses)
            + config.landmarks * landmark_loss(self._carried(rendered.vertices), solution, views)
            + config.expression * (solution.z_e**2).mean()
            + config.smooth * change
        )

    def render(self, solution: Solution) -> HeadImages:
        """Every frame in the light that stays in the world."""
        model, count = self._model, len(solution.z_e)
        rotation, translation, cameras = solution.rotation, solution.translation, solution.cameras
        geometry = model.decode_geometry(solution.z_id.expand(count, -1), solution.z_e)
        lamps, irradiance = (value.expand(count, *value.shape) for value in (self._lamps, self._irradiance))
        light = model.light_sphere.radiance(lamps, irradiance, rotation.detach())
        seen_from = view_directions(cameras, rotation.detach(), translation.detach())
        voxels = model.decode_color(geometry, seen_from, light)
        found = render_primitives(geometry.placement, voxels, rotation, translation, cameras, self._rendering)
        return HeadImages(image=found.image[:, 0], alpha=found.alpha[:, 0], vertices=geometry.vertices)


def _bridged(curve: AnimationCurve, video: DriverVideo) -> AnimationCurve:
    """Evenly spaced again where frames without a face were left out."""
    wanted = np.arange(round((video.seconds[-1] - video.seconds[0]) * video.fps) + 1) / video.fps + video.seconds[0]
    if len(wanted) == len(curve):
        return curve
    place = np.interp(wanted, video.seconds, np.arange(len(curve), dtype=np.float64))
    return at_places(curve, place)


def check_face(tracked: Tracked, name: str) -> None:
    """Raises VrmmError where what was followed is no face that the model could make."""
    if tracked.metrics["mask_iou"] < LEAST_IOU:
        raise VrmmError(f"{name} shows no face where its landmarks are: {tracked.reasons[0]}; detect them again")
