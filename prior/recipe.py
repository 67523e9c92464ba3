"""The training recipe: what ``configs/prior/*.yaml`` hold."""

import dataclasses
import enum
import math

from datasets.errors import VrmmError
from datasets.loader import LoaderConfig
from prior.capture_model import CaptureModelConfig
from prior.losses import LossConfig
from prior.render import RenderConfig
from prior.vrmm import VRMMConfig


@dataclasses.dataclass(kw_only=True)
class OptimizerConfig:
    """AdamW, or Muon beside it, with warm-up and cosine decay, a pure function of the step.

    Attributes:
        lr: peak learning rate of the networks.
        code_lr_scale: the identity codes' rate relative to it.
        betas: of Adam.
        muon: size of Muon's steps relative to ``lr``, for the matrices inside the decoders (``prior.muon``); they learn
            more in as many steps. 0 leaves all to AdamW. It needs ``trainer.zero=0``.
        weight_decay: decoupled, networks only.
        warmup: steps of linear warm-up.
        final: last rate as a share of the peak.
        clip: largest norm of the gradient.
        ema: decay of the moving average of the weights that a run leaves; 0 leaves the last step's.
    """

    lr: float = 3e-3
    code_lr_scale: float = 3.0
    betas: list[float] = dataclasses.field(default_factory=lambda: [0.9, 0.98])
    muon: float = 0.0
    weight_decay: float = 0.0
    warmup: int = 100
    final: float = 0.03
    clip: float = 1.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.ema < 1.0:
            raise VrmmError(f"optimizer.ema={self.ema} must lie in [0, 1)")
        if self.muon < 0.0:
            raise VrmmError(f"optimizer.muon={self.muon} is negative; it must be 0 or more")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of the networks for a step of ``steps``."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, steps - self.warmup))
        return self.lr * (self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress)))


class Precision(enum.Enum):
    """In what the convolutions compute."""

    fp32 = "fp32"
    bf16 = "bf16"


@dataclasses.dataclass(kw_only=True)
class TrainerConfig:
    """How long and on what.

    Attributes:
        steps: optimiser steps.
        ranks: processes that ``vrmm train`` starts itself when no launcher has set RANK.
        threads: CPU threads of a rank.
        zero: DeepSpeed ZeRO stage 0, 1 or 2.
        precision: ``fp32``, or ``bf16`` for convolutions in bfloat16 (weights and all else stay float32).
        recompute: compute the decoders' activations again in the backward pass instead of keeping them.
        accumulation: micro-batches a step.
        checkpoint_every, keep_checkpoints: steps between checkpoints, and how many of the newest stay beside the best.
        preview_every: steps between preview sheets.
        log_every: steps between lines of metrics.
        profile: number of last steps whose time is split by stage in ``profile.json``; 0 measures none.
    """

    steps: int = 6000
    ranks: int = 1
    threads: int = 2
    zero: int = 0
    precision: Precision = Precision.fp32
    recompute: bool = False
    accumulation: int = 1
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    preview_every: int = 500
    log_every: int = 20
    profile: int = 0

    def __post_init__(self) -> None:
        if self.zero not in (0, 1, 2):
            raise VrmmError(f"trainer.zero={self.zero}: ZeRO stages 0, 1 and 2 are supported")
        for name in ("steps", "ranks", "threads", "accumulation", "checkpoint_every", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise VrmmError(f"trainer.{name}={getattr(self, name)} must be 1 or more")


@dataclasses.dataclass(kw_only=True)
class CaptureSize:
    """The capture that a recipe is meant for; ``vrmm train --plan`` reckons with it before there is one.

    Attributes:
        subjects: people to train on.
        cameras: that film them.
        width, height: of the stored pictures, pixels.
    """

    subjects: int = 16
    cameras: int = 10
    width: int = 96
    height: int = 96

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise VrmmError(f"capture.{field.name}={getattr(self, field.name)} must be 1 or more")

    def trained_shape(self, image_size: int) -> tuple[int, int]:
        """Height and width at ``loader.image_size``."""
        scale = image_size / max(self.width, self.height) if image_size else 1.0
        return round(self.height * scale), round(self.width * scale)


@dataclasses.dataclass(kw_only=True)
class TrainRecipe:
    """Everything a training run depends on.

    Attributes:
        seed: of weights, data order and noise.
        template: head model whose mean becomes the base mesh (``datasets.lightstage.heads.load_head_model``).
        template_resolution: vertices along one side of the base mesh's UV grid.
        capture: what it is meant for; training itself goes by the shards.
    """

    seed: int = 0
    template: str = "procedural"
    template_resolution: int = 33
    model: VRMMConfig = dataclasses.field(default_factory=VRMMConfig)
    render: RenderConfig = dataclasses.field(default_factory=RenderConfig)
    loader: LoaderConfig = dataclasses.field(default_factory=LoaderConfig)
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    cameras: CaptureModelConfig = dataclasses.field(default_factory=CaptureModelConfig)
    capture: CaptureSize = dataclasses.field(default_factory=CaptureSize)

    def __post_init__(self) -> None:
        if self.optimizer.muon > 0 and self.trainer.zero > 0:
            raise VrmmError(
                f"optimizer.muon={self.optimizer.muon} needs whole matrices, which trainer.zero={self.trainer.zero} "
                "cuts up between ranks; set trainer.zero=0 or optimizer.muon=0"
            )

    def check_ranks(self, world_size: int) -> None:
        """Raises VrmmError where the global batch cannot be split over ranks and micro-batches."""
        parts = world_size * self.trainer.accumulation
        if self.loader.batch_frames % parts:
            raise VrmmError(
                f"loader.batch_frames={self.loader.batch_frames} cannot be split over {world_size} ranks × "
                f"{self.trainer.accumulation} micro-batches; make it a multiple of {parts}"
            )
