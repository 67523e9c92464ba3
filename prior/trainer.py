"""The training loop: load → encode → decode → render → losses → backward → step → log → save."""

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from datasets.batch import FrameBatch
from datasets.config import to_yaml
from datasets.errors import NonFiniteError, VrmmError
from datasets.files import atomic_write_json
from datasets.lightstage.heads import load_head_model
from datasets.loader import FrameLoader
from datasets.shards import DamageError
from datasets.storage import resolve_folder
from datasets.views import read_frame, training_keys
from prior.capture_model import CaptureModel
from prior.checkpoint import find_resume, load_checkpoint, save_checkpoint
from prior.codebank import write_code_bank
from prior.continuing import check_continues, remember_data
from prior.distributed import Ranks, initialize_engine, join_ranks
from prior.ema import WeightAverage
from prior.encoders import MIN_IMAGE_SIZE
from prior.objective import Objective, sample_generators
from prior.preview import write_preview
from prior.profiling import StepProfiler, phase
from prior.recipe import Precision, TrainRecipe
from prior.runfolder import MetricsLog, RunLock, describe_loading, describe_run, library_versions, remember_lost
from prior.template import wrap_template
from prior.vrmm import VRMM
from prior.weights import save_weights

ENCODER_FRAMES = 80
"""Training frames over which the encoders' first features are standardised."""

Progress = Callable[[int, int, dict[str, float]], None]


def train(recipe: TrainRecipe, folder: Path, ranks: Ranks, progress: Progress | None = None) -> None:
    """Train to the recipe's last step, continuing from the newest checkpoint in ``folder``.

    Every rank calls this. A finished run returns at once. Ctrl-C and SIGTERM save together and stop.

    Raises:
        VrmmError: bad data or recipe, or a loss that is not finite (its sample keys are in ``nonfinite.json``).
        KeyboardInterrupt: after an interrupted run has saved.
    """
    if is_complete(folder, recipe.trainer.steps):
        return
    if ranks.rank == 0:
        with RunLock(folder):
            _train(recipe, folder, ranks, progress)
    else:
        _train(recipe, folder, ranks, None)


def is_complete(folder: Path, steps: int) -> bool:
    """Whether ``folder`` holds a run that reached ``steps``."""
    path = Path(folder) / "complete.json"
    return path.exists() and f'"step": {steps}' in path.read_text()


def _train(recipe: TrainRecipe, folder: Path, ranks: Ranks, progress: Progress | None) -> None:
    recipe.check_ranks(ranks.world_size)
    torch.set_num_threads(recipe.trainer.threads)
    torch.manual_seed(recipe.seed)
    loader = FrameLoader(recipe.loader, rank=ranks.rank, world_size=ranks.world_size)
    check_data(recipe, loader)
    if (folder / "checkpoints").exists():
        check_continues(folder, recipe, loader.shards.info, loader.subjects)
    model = build_model(recipe, loader.subjects)
    standardize_encoders(model, loader)
    model.autocast = recipe.trainer.precision is Precision.bf16
    capture = CaptureModel(recipe.cameras, len(loader.shards.info.cameras))
    objective = Objective(model, recipe.losses, recipe.render, capture=capture, recompute=recipe.trainer.recompute)
    join_ranks()
    resume = find_resume(folder / "checkpoints", recipe.trainer.zero)
    engine = initialize_engine(objective, recipe, ranks, universal=resume is not None and resume.universal)
    is_main = ranks.rank == 0
    average = WeightAverage(model, recipe.optimizer.ema) if is_main and recipe.optimizer.ema > 0 else None
    if resume is not None:
        load_checkpoint(engine, resume)
        if average is not None:
            average.load(resume.folder / resume.tag)
    run = TrainingRun(recipe=recipe, folder=folder, engine=engine, model=model, is_main=is_main, average=average)
    if is_main:
        describe_run(folder, to_yaml(recipe), library_versions())
        remember_data(folder, loader.shards.info, loader.subjects)
        describe_loading(folder, loader)
    run.loop(loader, 0 if resume is None else resume.step, progress)


def check_data(recipe: TrainRecipe, loader: FrameLoader) -> None:
    """Raises VrmmError where the shards cannot feed the recipe's model."""
    views, size = loader.input_views, loader.image_shape
    if views != recipe.model.encoder_views:
        raise VrmmError(
            f"the loader gives {views} input views but model.encoder_views={recipe.model.encoder_views}; "
            "name as many loader.input_cameras"
        )
    if min(size) < MIN_IMAGE_SIZE:
        raise VrmmError(f"images of {size[0]}×{size[1]} are smaller than the encoder needs ({MIN_IMAGE_SIZE} pixels)")
    unlit = loader.frames_of_unknown_light()
    if unlit:
        raise VrmmError(
            f"{len(unlit)} frames, the first {unlit[0]}, do not say how they are lit, which is what a prior learns "
            f"from; leave their capture out of {loader.shards.folder}"
        )
    bare = loader.cameras_without_masks()
    if bare and not recipe.cameras.background:
        raise VrmmError(
            f"pictures of {', '.join(bare[:3])} have no masks, so the head would have to be what is behind it, too; "
            "set cameras.background=32"
        )
    if recipe.cameras.background and loader.moves_targets:
        raise VrmmError(
            "cameras.background learns what stands still behind a head, but loader.crop or loader.augment.crop moves "
            "the pictures; leave them out, or set cameras.background=0"
        )


def build_model(recipe: TrainRecipe, subjects: tuple[str, ...]) -> VRMM:
    """A freshly initialised model; a pure function of the recipe and the subjects' names."""
    template = wrap_template(load_head_model(recipe.template), recipe.template_resolution)
    torch.manual_seed(recipe.seed)
    return VRMM(recipe.model, template, subjects)


def standardize_encoders(model: VRMM, loader: FrameLoader) -> None:
    """Let the first features of the encoders differ between training frames (Salimans & Kingma 2016, Section 3).

    What all frames have in common is most of a random network's response. Next to it an opening mouth is less than
    the noise of the expression code, and the decoders would learn to ignore the code.
    """
    size, cameras = max(loader.image_shape), loader.input_cameras
    views = []
    for key in training_keys(loader.shards, ENCODER_FRAMES):
        with contextlib.suppress(DamageError):  # the loader tells about it when the frame is due
            views.append(read_frame(loader.shards, key, [], size, input_cameras=cameras))
    if not views:
        return
    images, masks = (torch.cat([getattr(view, name) for view in views]) for name in ("input_images", "input_masks"))
    model.standardize_encoders(images, masks)


class StopRequest:
    """Turns ctrl-C, SIGTERM and Slurm's USR2 into a flag that all ranks agree on between two steps."""

    def __init__(self) -> None:
        self.requested = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def agreed(self) -> bool:
        """True on every rank as soon as one rank was asked to stop."""
        flag = torch.tensor([float(self.requested)])
        if dist.get_world_size() > 1:
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())


@dataclasses.dataclass(kw_only=True)
class TrainingRun:
    """The state of a run between two steps."""

    recipe: TrainRecipe
    folder: Path
    engine: Any
    model: VRMM
    is_main: bool
    average: WeightAverage | None

    def loop(self, loader: FrameLoader, step: int, progress: Progress | None) -> None:
        """Run the remaining steps, then write the plain weights."""
        stop = StopRequest()
        stop.install()
        steps, trainer = self.recipe.trainer.steps, self.recipe.trainer
        log = Log(self.folder, step) if self.is_main else None
        batches = iter(loader.batches(step))
        terms: dict[str, torch.Tensor] = {}
        profiler = StepProfiler(self.folder, trainer.profile if self.is_main else 0, steps)
        while step < steps:
            with profiler.step(step):
                terms = terms | self.step(batches, step)  # terms that are due now and then stay as they last were
            step += 1
            if step % trainer.log_every == 0 or step == steps:
                values = self._mean(terms)
                if log is not None:
                    log.write(step, values)
                if progress is not None:
                    progress(step, steps, values)
            stopping = stop.agreed()
            if step % trainer.checkpoint_every == 0 or step == steps or stopping:
                remember_lost(self.folder, self.engine.global_rank, loader.lost)  # before: a resumed run skips them
                self._save(step, float(terms["l1"]))
            if self.is_main and (step % trainer.preview_every == 0 or step == steps):
                with self._averaged():
                    write_preview(self.model, self.recipe, self.folder, step)
            if stopping and step < steps:
                raise KeyboardInterrupt
        if log is not None:
            log.close()
            data = self.recipe.loader
            with self._averaged():
                write_code_bank(self.model, loader.shards, loader.input_cameras, data.image_size, self.folder)
            atomic_write_json(self.folder / "complete.json", {"step": steps})

    def step(self, batches: Iterator[FrameBatch], step: int) -> dict[str, torch.Tensor]:
        """One optimiser step; returns the terms of the last micro-batch, on the device."""
        started = time.perf_counter()
        with phase("data"):
            batch = next(batches)
        waited = time.perf_counter() - started
        self._set_rate(step)
        losses, progress = self.recipe.losses, step / self.recipe.trainer.steps
        consistency = losses.uses_consistency(progress) and step % losses.consistency_every == 0
        shading = step % losses.shading_every == 0
        terms: dict[str, torch.Tensor] = {}
        size = len(batch) // self.recipe.trainer.accumulation
        for start in range(0, len(batch), size):
            part = batch.rows(start, start + size)
            self._last_keys = part.keys
            generators = sample_generators(self.recipe.seed, step, part.keys)
            try:
                with phase("forward"):
                    terms = self.engine(part, generators, consistency, progress, shading)
            except NonFiniteError as error:
                raise self._spoilt(step) from error
            if not math.isfinite(float(terms["total"].detach())):  # before the weights are spoilt, too
                raise self._spoilt(step)
            with phase("backward"):
                self.engine.backward(terms["total"])
            with phase("optimiser"):
                self.engine.step()
        if self.average is not None:
            self.average.update()
        terms["seconds"] = torch.tensor(time.perf_counter() - started)
        terms["data_seconds"] = torch.tensor(waited)
        return terms

    def _set_rate(self, step: int) -> None:
        rate = self.recipe.optimizer.rate(step, self.recipe.trainer.steps)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]

    def _spoilt(self, step: int) -> VrmmError:
        """The samples are written down; NaNs are never zeroed."""
        path = self.folder / f"nonfinite_rank{self.engine.global_rank}.json"
        atomic_write_json(path, {"step": step, "keys": self._last_keys})
        return VrmmError(f"the loss is not finite at step {step}; its samples are listed in {path}; try a lower rate")

    def _mean(self, terms: dict[str, torch.Tensor]) -> dict[str, float]:
        names = sorted(terms)
        values = torch.stack([terms[name].detach().float().cpu() for name in names])
        if dist.get_world_size() > 1:
            dist.all_reduce(values)
            values /= dist.get_world_size()
        return dict(zip(names, values.tolist(), strict=True))

    def _save(self, step: int, loss: float) -> None:
        more = None if self.average is None else self.average.save
        keep = self.recipe.trainer.keep_checkpoints
        save_checkpoint(self.engine, self.folder / "checkpoints", step, keep, loss, more)
        if self.is_main:
            shards = resolve_folder(self.recipe.loader.shards)
            with self._averaged():
                save_weights(
                    self.model, self.recipe.render, self.folder, step=step, shards=shards, **self._camera_gains()
                )

    def _camera_gains(self) -> dict[str, list[list[float]]]:
        """For model.json, so that pictures of the same cameras can be brought to the model's colours."""
        capture: CaptureModel = self.engine.module.capture
        return {} if capture.log_gain is None else {"camera_gains": capture.gains().detach().tolist()}

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the model has the weights that a run leaves."""
        return contextlib.nullcontext() if self.average is None else self.average.applied()


class Log:
    """metrics.jsonl and TensorBoard events."""

    def __init__(self, folder: Path, resume_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._lines = MetricsLog(folder, resume_step)
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        self._lines.write({"step": step, **values})
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        self._lines.close()
        self._events.close()
