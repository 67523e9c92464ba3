"""How the initializer is made: what ``configs/fitting/initializer.yaml`` holds."""

import dataclasses

from datasets.errors import VrmmError


@dataclasses.dataclass(kw_only=True)
class HeadsConfig:
    """The random heads and cameras that are rendered.

    Attributes:
        extrapolation: largest length of a random blend's deviation from the mean identity; a training identity's is
            about 1, that of a new face in an inversion often more.
        yaw, pitch: largest degrees that the camera goes around the head to the sides, and up or down.
        narrowest, widest: degrees that the picture of a head covers: from a telephoto lens to an arm's length.
        lamps: share of the lights that are a few lamps over an ambient.
        environments: share that are made-up places; the rest are lights of training frames, where the prior has some.
        size: pixels of a rendering's side.
        extent: metres that it covers at the head's distance.
    """

    extrapolation: float = 1.6
    yaw: float = 80.0
    pitch: float = 25.0
    narrowest: float = 9.0
    widest: float = 50.0
    lamps: float = 0.35
    environments: float = 0.25
    size: int = 80
    extent: float = 0.36

    def __post_init__(self) -> None:
        if not 0.0 < self.narrowest < self.widest < 120.0:
            raise VrmmError("heads.narrowest and heads.widest are degrees; 0 < narrowest < widest < 120")
        if min(self.lamps, self.environments) < 0 or self.lamps + self.environments > 1:
            raise VrmmError("heads.lamps and heads.environments are shares; together they are at most 1")
        if self.size < 32:
            raise VrmmError(f"heads.size={self.size} is too small to see a face; use 32 or more")


@dataclasses.dataclass(kw_only=True)
class AugmentConfig:
    """What happens to a rendering before the network sees it.

    Attributes:
        black: share of the pictures before black, as a masked photo is.
        shift, zoom, roll: largest change of the crop: in its sides, as a factor, in degrees.
        far: share of the pictures whose crop is as wrong as that of a search for faces.
        empty: share of the pictures without a face.
        blur: largest standard deviation of a blur, pixels; at most 0.8.
        noise: largest standard deviation of noise, display values.
        jpeg: share of the pictures that are compressed.
        exposed: share of the pictures that are exposed as a camera would do it by itself; the rest are as bright as
            the light of the training frames makes them.
    """

    black: float = 0.35
    shift: float = 0.1
    zoom: float = 1.25
    roll: float = 25.0
    far: float = 0.2
    empty: float = 0.08
    blur: float = 0.8
    noise: float = 0.04
    jpeg: float = 0.3
    exposed: float = 0.3

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise VrmmError(f"augment.{field.name}={getattr(self, field.name)} must not be negative")
        if self.zoom < 1:
            raise VrmmError(f"augment.zoom={self.zoom} is the largest factor; it must be 1 or more")


@dataclasses.dataclass(kw_only=True)
class NetworkConfig:
    """Sizes of the network.

    Attributes:
        size: side of its input, pixels; a multiple of 16.
        channels: after each of four halvings of the resolution.
        features: length of the vectors of the whole crop and of the face.
        dropout: share of the face's features that is left out in training.
    """

    size: int = 64
    channels: list[int] = dataclasses.field(default_factory=lambda: [16, 32, 64, 96])
    features: int = 192
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 16:
            raise VrmmError(f"network.size={self.size} must be a multiple of 16 from 32 up")
        if len(self.channels) != 4 or min(self.channels) < 1:
            raise VrmmError("network.channels needs four numbers, one for each halving of the resolution")


@dataclasses.dataclass(kw_only=True)
class InitializerLosses:
    """Weights of the training losses; each loss is about 1 for an answer that ignores the picture.

    Attributes:
        landmarks: on the distance of the landmarks, where they lie in the crop.
        rotation: on the squared difference of the rotation matrices.
        field: on the squared logarithm of the ratio of the angles of view.
        blend: on the squared difference of the blend weights.
        expression: on the squared difference of the expression codes.
        light: on the squared difference of the lights as a matt surface would gather them.
        face: on the cross entropy of whether there is a face.
    """

    landmarks: float = 1.0
    rotation: float = 1.0
    field: float = 0.1
    blend: float = 1.0
    expression: float = 1.0
    light: float = 1.0
    face: float = 0.3


@dataclasses.dataclass(kw_only=True)
class InitializerRecipe:
    """Everything an initializer depends on beside the prior.

    Attributes:
        seed: of heads, augmentation and weights.
        threads: CPU threads.
        samples: renderings, all of different cameras.
        views: renderings of one head under one light; its geometry is computed once.
        held_out: share of the renderings that the network is judged by and never trained on.
        steps, batch: of Adam.
        lr: largest rate of a one-cycle schedule.
        hinted: share of the pictures whose face is looked at where it is, give or take ``hint_noise``, and not where
            the network believes it to be.
        hint_noise: standard deviation of that place, in halves of the crop's side.
        checkpoint_every: steps.
    """

    seed: int = 0
    threads: int = 2
    samples: int = 12288
    views: int = 2
    held_out: float = 0.05
    steps: int = 2400
    batch: int = 64
    lr: float = 3e-3
    hinted: float = 0.5
    hint_noise: float = 0.04
    checkpoint_every: int = 200
    heads: HeadsConfig = dataclasses.field(default_factory=HeadsConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    losses: InitializerLosses = dataclasses.field(default_factory=InitializerLosses)

    def __post_init__(self) -> None:
        for name in ("threads", "samples", "views", "steps", "batch", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise VrmmError(f"{name}={getattr(self, name)} must be 1 or more")
        if not 0.0 < self.held_out < 0.5:
            raise VrmmError(f"held_out={self.held_out} must lie between 0 and 0.5")
