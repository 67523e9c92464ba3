"""Training checkpoints: complete or absent, whatever kills the writer; the newest whole one is found again."""

import dataclasses
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from datasets.errors import VrmmError
from datasets.files import atomic_write_json, fsync_directory, read_json

POINTER, BEST, FILES = "latest.json", "best.json", "files.json"
UNIVERSAL = "_universal"
LEAST_FREE_BYTES = 2**20

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resume:
    """Where a training continues.

    Attributes:
        folder: of the checkpoints.
        tag: name of the checkpoint.
        step: steps done.
        universal: it was written by another number of ranks and is read in DeepSpeed's universal form.
    """

    folder: Path
    tag: str
    step: int
    universal: bool


def save_checkpoint(
    engine: Any, folder: Path, step: int, keep: int, loss: float, more: Callable[[Path], None] | None = None
) -> None:
    """Save the engine's state on every rank, then point ``latest.json`` at it.

    The pointer moves only after every rank has written and rank 0 has synced the files to disk, so that a kill
    at any moment leaves the previous checkpoint in force. The newest ``keep`` stay, and the one of the smallest
    ``loss`` (``best.json``). ``more(folder of the checkpoint)`` lets rank 0 add files of its own.

    Raises:
        VrmmError: the disk is full; the previous checkpoint stays in force.
    """
    tag = f"step_{step:08d}"
    if engine.global_rank == 0:
        shutil.rmtree(folder / tag, ignore_errors=True)
    dist.barrier()
    try:
        engine.save_checkpoint(str(folder), tag=tag, client_state={"step": step}, save_latest=False)
        torch.save(torch.get_rng_state(), folder / tag / f"rng_{engine.global_rank:05d}.pt")
        if more is not None and engine.global_rank == 0:
            more(folder / tag)
    except (OSError, RuntimeError) as error:
        raise _write_error(folder, tag, error) from error
    dist.barrier()
    if engine.global_rank == 0:
        _sync(folder / tag)
        world_size = dist.get_world_size()
        atomic_write_json(folder / POINTER, {"tag": tag, "step": step, "world_size": world_size})
        _remember_best(folder, tag, step, loss)
        _remove_old(folder, keep)
    dist.barrier()


def find_resume(folder: Path, zero: int) -> Resume | None:
    """The newest whole checkpoint, the same on every rank; torn ones are named in the log and passed over.

    Under ZeRO the optimiser is split over the ranks. Where their number has changed, rank 0 first converts the
    checkpoint to DeepSpeed's universal form.

    Raises:
        VrmmError: there were checkpoints and none of them is whole, or the conversion failed.
    """
    found: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            found[0] = _find_resume(folder, zero)
        except VrmmError as error:
            found[0] = error
    dist.broadcast_object_list(found)
    if isinstance(found[0], VrmmError):
        raise found[0]
    return found[0]


def load_checkpoint(engine: Any, resume: Resume) -> None:
    """Restore weights, optimiser and this rank's random state.

    Raises:
        VrmmError: the checkpoint does not fit the model.
    """
    tag = resume.tag + UNIVERSAL if resume.universal else resume.tag
    try:
        path, _ = engine.load_checkpoint(str(resume.folder), tag=tag)
    except (RuntimeError, OSError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise VrmmError(f"{resume.folder / tag} does not fit this recipe: {first}") from error
    if path is None:
        raise VrmmError(f"{resume.folder / tag} cannot be read; remove {resume.folder} to start anew")
    rng = resume.folder / resume.tag / f"rng_{engine.global_rank:05d}.pt"
    if rng.exists():
        torch.set_rng_state(torch.load(rng, weights_only=True))


def _find_resume(folder: Path, zero: int) -> Resume | None:
    if not (folder / POINTER).exists():
        return None
    newest = read_json(folder / POINTER, "a checkpoint pointer")
    tags = sorted(path.name for path in folder.glob("step_*") if not path.name.endswith(UNIVERSAL))
    for tag in reversed([tag for tag in tags if tag <= newest["tag"]] or [newest["tag"]]):
        damage = _damage(folder / tag)
        if damage:
            _LOG.warning("checkpoint %s is torn (%s); an older one is used", folder / tag, damage)
            continue
        world_size = read_json(folder / tag / FILES, "a list of files")["world_size"]
        universal = bool(zero) and world_size != dist.get_world_size()
        if universal:
            _convert(folder, tag)
        return Resume(folder=folder, tag=tag, step=int(tag.removeprefix("step_")), universal=universal)
    raise VrmmError(f"no checkpoint in {folder} is whole; remove the folder to start anew")


def _damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint, empty where nothing is."""
    if not (checkpoint / FILES).exists():
        return f"{FILES} is missing"
    for name, size in read_json(checkpoint / FILES, "a list of files")["sizes"].items():
        path = checkpoint / name
        if not path.exists():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return ""


def _convert(folder: Path, tag: str) -> None:
    target = folder / (tag + UNIVERSAL)
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
    folders = ["--input_folder", str(folder / tag), "--output_folder", str(target)]
    workers = ["--num_extract_workers", "1", "--num_merge_workers", "1"]
    found = subprocess.run([*command, *folders, *workers], capture_output=True, text=True)
    if found.returncode:
        last = (found.stderr.strip().splitlines() or ["no message"])[-1]
        raise VrmmError(f"{folder / tag} cannot be converted for another number of ranks: {last}")


def _write_error(folder: Path, tag: str, error: Exception) -> Exception:
    """torch reports a full disk as a RuntimeError about its writer."""
    free = shutil.disk_usage(folder).free
    if not isinstance(error, OSError) and "PytorchStreamWriter" not in str(error) and free > LEAST_FREE_BYTES:
        return error
    kept = read_json(folder / POINTER, "a checkpoint pointer")["tag"] if (folder / POINTER).exists() else "none"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "no space left"
    return VrmmError(
        f"cannot write {folder / tag}: {reason}; the last whole checkpoint is {kept}; free some space and run the "
        "same command again"
    )


def _remember_best(folder: Path, tag: str, step: int, loss: float) -> None:
    path = folder / BEST
    best = read_json(path, "the best checkpoint")["loss"] if path.exists() else float("inf")
    if loss <= best:
        atomic_write_json(path, {"tag": tag, "step": step, "loss": loss})


def _remove_old(folder: Path, keep: int) -> None:
    best = read_json(folder / BEST, "the best checkpoint")["tag"]
    tags = sorted(path.name for path in folder.glob("step_*"))
    kept = {best, *[tag for tag in tags if not tag.endswith(UNIVERSAL)][-keep:]}
    for tag in tags:
        if tag not in kept:
            shutil.rmtree(folder / tag, ignore_errors=True)


def _sync(checkpoint: Path) -> None:
    """Bring the files to disk, and write down how long they are."""
    paths = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in paths}
    atomic_write_json(checkpoint / FILES, {"world_size": dist.get_world_size(), "sizes": sizes})
    fsync_directory(checkpoint.parent)
