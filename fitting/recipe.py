"""The fitting recipe: what ``configs/fitting/*.yaml`` hold."""

import dataclasses
import enum

from datasets.errors import VrmmError
from prior.losses import LossConfig

DECODERS = ("mesh", "identity", "transform", "opacity", "appearance")

SHARED = 0.39
"""Exponent with which the picture loss that is left to photos falls with their number."""
LOOSER = 0.2
"""Exponent with which lambda_LR falls with it: they say more together, of which the prior need not say the same."""
LONGER = 0.75
"""Exponent with which the steps of an inversion grow with the number of photos; with the root of it, one of
nine fits ended far above the loss that a third more steps reach."""


class Expressions(enum.Enum):
    """Whether the photos of one fit show one expression."""

    shared = "shared"
    each = "each"


@dataclasses.dataclass(kw_only=True)
class ImageWeights:
    """Weights of L_img, as in training (eq. 9).

    Attributes:
        l1: L1 on the square root of radiance.
        alpha: L1 between alpha and mask.
        perceptual: structural similarity at several scales.
    """

    l1: float = LossConfig.l1
    alpha: float = LossConfig.alpha
    perceptual: float = LossConfig.perceptual

    def __post_init__(self) -> None:
        _require_not_negative(self)


@dataclasses.dataclass(kw_only=True)
class InversionConfig:
    """Eq. 14.

    Attributes:
        steps: of Adam from the mean identity.
        informed_steps: of Adam from what the initializer says about one photo; more of them for several (``informed``),
            each of which has a pose, a lens and mostly an expression of its own.
        informed_rate, informed_pose_rate: those steps' rates of weights, expression and light, and of pose and lens, in
            those of the steps from the mean: picture and head agree about from the beginning, so that large steps do
            not go astray.
        starts: how many starts are tried, at most: the initializer's, the mean, the most similar training identity.
        enough: picture loss (the weighted sum of ``losses``) at which no other start is tried.
        coarse: share of the steps at half the resolution, first.
        lr_weights, lr_expression, lr_light: rates of the blend weights, of z_e and of the light.
        lr_turn, lr_shift, lr_focal: of the head pose (radians, metres) and of the logarithm of the focal length.
        landmarks: weight of the landmark term for one photo, in units of the head's size in the picture; fades to 0
            by ``fade``.
        fade, informed_fade: share of the steps from the mean, and from what the initializer says, after which landmarks
            of one photo do not count.
        astray, slack: weight of the landmark term beyond ``slack`` sides of the face, which does not fade: heads of
            which the landmarks are farther away than another person's face explains are held from going astray.
        several_landmarks: weight of that term for several photos, where it fades to 0 by the last step. A mouth that
            is open in one photo and shut in another is explained by dark lips as well as by lips that part, and then
            the identity learns dark lips; only landmarks tell the two apart.
        weights: lambda on the squared deviation of the blend weights from the mean identity.
        expression: lambda_exp on the mean square of z_e. Too weak, z_e leaves the codes of real expressions to explain
            what is the person's own, and what fine-tuning then learns does not hold for other expressions.
        light_smooth: on the differences of the light between neighbouring directions.
        light_grey: on the colour of the light: skin and lamps cannot be told apart in one photo.
        light_level: on the squared distance of the light's brightness from that of training frames under light of that
            shape, in their standard deviations (``fitting.light_level``): how dark skin is cannot be told from how dim
            the light is. 0 where photos are exposed in no known way.
        light_guess: on the squared Hellinger distance of the light's shape from what the initializer saw in the photos.
        focal: on the squared logarithm of the change of a guessed focal length.
        depth: on the squared logarithm of the change of the head's distance, where one photo cannot know it.
    """

    steps: int = 240
    informed_steps: int = 80
    informed_rate: float = 5.0
    informed_pose_rate: float = 3.0
    starts: int = 3
    enough: float = 0.08
    coarse: float = 0.5
    lr_weights: float = 0.03
    lr_expression: float = 0.03
    lr_light: float = 0.1
    lr_turn: float = 0.006
    lr_shift: float = 0.001
    lr_focal: float = 0.003
    landmarks: float = 1.0
    fade: float = 0.5
    informed_fade: float = 0.1
    astray: float = 3.0
    slack: float = 0.06
    several_landmarks: float = 10.0
    weights: float = 2e-3
    expression: float = 5e-3
    light_smooth: float = 5e-4
    light_grey: float = 2e-2
    light_level: float = 1e-2
    light_guess: float = 0.03
    focal: float = 0.01
    depth: float = 3.0

    def __post_init__(self) -> None:
        _require_not_negative(self)
        if self.steps < 1:
            raise VrmmError(f"inversion.steps={self.steps} must be 1 or more")
        if self.informed_steps < 1 or self.starts < 1:
            raise VrmmError("inversion.informed_steps and inversion.starts must be 1 or more")
        if max(self.coarse, self.fade, self.informed_fade) > 1:
            raise VrmmError(
                "inversion.coarse, inversion.fade and inversion.informed_fade are shares of the steps; "
                "they lie in [0, 1]"
            )

    def informed(self, photos: int) -> int:
        """Steps from what the initializer says about so many photos."""
        return round(self.informed_steps * photos**LONGER)

    def led_by_landmarks(self, photos: int, informed: bool) -> "InversionConfig":
        """With ``landmarks`` and ``fade`` for so many photos, from the mean or from what the initializer says."""
        if photos > 1:
            return dataclasses.replace(self, landmarks=self.several_landmarks, fade=1.0)
        return dataclasses.replace(self, fade=self.informed_fade if informed else self.fade)


@dataclasses.dataclass(kw_only=True)
class LocalityConfig:
    """L_LR of eq. 15 and 16: what must stay as the prior has it.

    Attributes:
        weight: lambda_LR for one photo; 0 switches the term off. For several photos it is divided by the fifth root of
            their number: what they show, the prior need not say.
        nearest: largest alpha of eq. 16, from 0 (a training identity) to 1 (the person). At 1 the person's other
            expressions, lights and views would be held to the inversion, with all its errors.
        samples: interpolated identities rendered in a step.
        image_size: pixels of their side.
        angle: degrees to which the random cameras go around the head, at least.
        near: share of the random cameras that are near those of the photos.
        fitted_light: share of the samples lit like the photos.
        fitted_expression: share of the samples with an expression of the photos; the others have one of a training
            frame. What a photo teaches could be tied to the identity or to the expression, and tied to the
            expression it is lost with the next face. Others who make the same face keep it tied to the identity.
    """

    weight: float = 0.4
    nearest: float = 0.6
    samples: int = 1
    image_size: int = 64
    angle: float = 60.0
    near: float = 0.3
    fitted_light: float = 0.3
    fitted_expression: float = 0.5

    def __post_init__(self) -> None:
        _require_not_negative(self)
        if self.nearest > 1:
            raise VrmmError(f"finetune.locality.nearest={self.nearest} must lie in [0, 1]")
        if self.samples < 1 or self.image_size < 16:
            raise VrmmError("finetune.locality.samples must be 1 or more and its image_size 16 or more")

    def among(self, photos: int) -> float:
        """lambda_LR beside a picture term that is the mean over so many photos."""
        return self.weight * photos**-LOOSER


@dataclasses.dataclass(kw_only=True)
class FinetuneConfig:
    """Eq. 15.

    Attributes:
        steps: of Adam, at most; 0 leaves the inversion as it is.
        enough: picture loss (the weighted sum of ``losses``) at which the fine-tuning to one photo comes to its end
            early: what is left is the photo's own, and learning it costs other views, expressions and lights. What
            several photos say is less their own: for them it is less (``explained``). 0 for never; videos take all
            steps.
        decoders: those whose weights theta are tuned.
        texel_parameters: tune the biases that every texel and voxel has of its own, too.
        lr: of the weights.
        lr_identity: of the offset of z_id from the blend; 0 keeps z_id where the inversion left it.
        lr_expression, lr_turn, lr_shift, lr_focal: as in the inversion, smaller.
        lr_light: of the light; 0 leaves it to the inversion. Beside decoders that can learn its shading, it drifts to
            what is usual, and the head is lit wrongly in any other light.
        identity: lambda_id on the squared length of that offset.
        expression: lambda_exp on the mean square of z_e. Too weak, z_e leaves the codes of real expressions to explain
            what is the person's own, and what fine-tuning then learns does not hold for other expressions.
        expression_noise: standard deviation of what is added to z_e of the photos at every step. In training the
            encoder's code is as noisy (eq. 6); without it the decoders would tie what they learn to the very codes of
            the photos, and other expressions would not have it.
        clip: largest norm of the gradient of the weights.
    """

    steps: int = 500
    enough: float = 0.0175
    decoders: list[str] = dataclasses.field(default_factory=lambda: list(DECODERS))
    texel_parameters: bool = False
    lr: float = 8e-4
    lr_identity: float = 2e-3
    lr_expression: float = 3e-3
    lr_light: float = 0.0
    lr_turn: float = 1e-3
    lr_shift: float = 1e-4
    lr_focal: float = 3e-4
    identity: float = 1e-3
    expression: float = 2e-2
    expression_noise: float = 0.4
    clip: float = 1.0
    locality: LocalityConfig = dataclasses.field(default_factory=LocalityConfig)

    def __post_init__(self) -> None:
        _require_not_negative(self)
        if self.steps < 0:
            raise VrmmError(f"finetune.steps={self.steps} must be 0 or more")
        unknown = [name for name in self.decoders if name not in DECODERS]
        if unknown:
            raise VrmmError(f"finetune.decoders: {unknown[0]} is unknown; there are {', '.join(DECODERS)}")

    def explained(self, photos: int) -> float:
        """Picture loss, the mean over so many photos, at which they are explained."""
        return self.enough * photos**-SHARED


class LightFrame(enum.Enum):
    """What the light of a video stands still against."""

    room = "room"
    head = "head"


@dataclasses.dataclass(kw_only=True)
class VideoConfig:
    """How a video is fitted: the first frame, the others one by one, then all together.

    Attributes:
        every: use every so manyth frame.
        fps: frames a second of a folder of pictures; a video file says so itself.
        light: ``room`` where the head turns in the light before a camera that stands still; ``head`` where the
            camera goes around a head that does not turn.
        steps: of Adam for each frame after the first, the first half of them at half the resolution.
        visits: how often the joint stage sees each frame.
        batch: frames in one step of the joint stage and of the fine-tuning.
        rate: of the joint stage's rates, relative to those of the inversion.
        landmarks: share of the landmark term's weight that stays in the joint stage.
        smooth_expression: on the squared distance of an expression from the middle between its neighbours.
        smooth_turn, smooth_shift: the same for the head's rotation (radians) and place (metres).
        save_every: steps of the joint stage from one checkpoint to the next.
    """

    every: int = 1
    fps: float = 25.0
    light: LightFrame = LightFrame.room
    steps: int = 16
    visits: int = 6
    batch: int = 2
    rate: float = 0.3
    landmarks: float = 0.25
    smooth_expression: float = 0.02
    smooth_turn: float = 3.0
    smooth_shift: float = 300.0
    save_every: int = 25

    def __post_init__(self) -> None:
        _require_not_negative(self)
        for name in ("every", "steps", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise VrmmError(f"video.{name}={getattr(self, name)} must be 1 or more")
        if self.visits < 0 or self.landmarks > 1 or self.fps <= 0:
            raise VrmmError("video.visits must be 0 or more, video.landmarks lie in [0, 1], video.fps be positive")


@dataclasses.dataclass(kw_only=True)
class FitRecipe:
    """Everything a fit depends on beside the prior and the photos.

    Attributes:
        seed: of the locality samples.
        threads: CPU threads.
        image_size: working size of the photos, pixels.
        expressions: one expression for all photos or one each.
        video: how a video is fitted.
    """

    seed: int = 0
    threads: int = 2
    image_size: int = 96
    expressions: Expressions = Expressions.shared
    losses: ImageWeights = dataclasses.field(default_factory=ImageWeights)
    inversion: InversionConfig = dataclasses.field(default_factory=InversionConfig)
    finetune: FinetuneConfig = dataclasses.field(default_factory=FinetuneConfig)
    video: VideoConfig = dataclasses.field(default_factory=VideoConfig)

    def __post_init__(self) -> None:
        if self.image_size < 32:
            raise VrmmError(f"image_size={self.image_size} is too small to fit a face; use 32 or more")
        if self.threads < 1:
            raise VrmmError(f"threads={self.threads} must be 1 or more")


def _require_not_negative(section: object) -> None:
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        value = getattr(section, field.name)
        if isinstance(value, float) and value < 0:
            raise VrmmError(f"{field.name}={value} is negative; it must be 0 or more")


def without_locality(recipe: FitRecipe) -> FitRecipe:
    """The same recipe with lambda_LR = 0."""
    locality = dataclasses.replace(recipe.finetune.locality, weight=0.0)
    return dataclasses.replace(recipe, finetune=dataclasses.replace(recipe.finetune, locality=locality))
