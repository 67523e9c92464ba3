"""``python -m slurm.preflight``: runs on every rank of a job and finds out whether a training would run there."""

import argparse
import dataclasses
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets.files import atomic_write_json

GIB = 2**30
LEAST_FREE_GIB = 5.0
MOST_SKEW_SECONDS = 1.0
READ_BYTES = 256 * 2**20
REPETITIONS = 5
SHARED_WAIT_SECONDS = 15.0
"""A network file system may take this long until one node sees what another has written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the preflight: ``problem`` says how to mend what is wrong, empty where nothing is."""

    name: str
    found: str
    problem: str = ""


def preflight(out: Path, shards: Path | None, result: Path) -> None:
    """Run all checks on this rank; rank 0 writes them to ``result``."""
    import torch.distributed as dist

    cuda = _select_device()
    dist.init_process_group("nccl" if cuda else "gloo")
    checks = [
        check_ranks(),
        check_shared_folder(out),
        check_gpus(),
        check_all_reduce(cuda),
        check_shards(shards),
        check_disk(out),
        check_clocks(),
    ]
    if dist.get_rank() == 0:
        atomic_write_json(result, {"checks": [dataclasses.asdict(check) for check in checks]})
    dist.barrier()
    dist.destroy_process_group()


def _select_device() -> bool:
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return torch.cuda.is_available()


def gather(value: Any) -> list[Any]:
    """The value of every rank, on every rank."""
    import torch.distributed as dist

    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def check_ranks() -> Check:
    """How many ranks met, and on which computers."""
    hosts = gather(socket.gethostname())
    return Check(name="ranks", found=f"{len(hosts)} on {', '.join(sorted(set(hosts)))}")


def check_shared_folder(out: Path) -> Check:
    """Every rank writes a file below ``out`` and must see those of all others."""
    folder = out / ".preflight"
    error = _try(lambda: atomic_write_json(folder / f"{os.environ['RANK']}.json", {}))
    ranks = len(gather(None))
    deadline = time.monotonic() + SHARED_WAIT_SECONDS
    while not error and len(list(folder.glob("*.json"))) < ranks and time.monotonic() < deadline:
        time.sleep(0.2)
    seen = len(list(folder.glob("*.json"))) if folder.is_dir() else 0
    errors = [text for text in gather(error) if text]
    fewest = min(gather(seen))
    if os.environ["RANK"] == "0":
        shutil.rmtree(folder, ignore_errors=True)
    if errors:
        return Check(name="shared folder", found=str(out), problem=errors[0])
    if fewest < ranks:
        problem = f"a rank sees the files of {fewest} of {ranks}; choose an --out on a file system that all nodes share"
        return Check(name="shared folder", found=str(out), problem=problem)
    return Check(name="shared folder", found=f"{out}, written and seen by all")


def check_gpus() -> Check:
    """GPUs and driver of every rank; all must have the same."""
    import torch

    found = "none, training on CPUs"
    if torch.cuda.is_available():
        driver = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
        ).stdout.split()
        found = f"{torch.cuda.get_device_name()}, driver {driver[0] if driver else 'unknown'}"
    kinds = sorted(set(gather(found)))
    return Check(
        name="GPUs", found="; ".join(kinds), problem="" if len(kinds) == 1 else "the ranks have different devices"
    )


def check_all_reduce(cuda: bool) -> Check:
    """Bus bandwidth of an all-reduce, as nccl-tests define it: 2 (n − 1) / n × bytes / time."""
    import torch
    import torch.distributed as dist

    device = "cuda" if cuda else "cpu"
    values = torch.ones((256 if cuda else 16) * 2**18, device=device)
    expected = float(dist.get_world_size())
    dist.all_reduce(values)
    wrong = not bool((values == expected).all())
    started = time.perf_counter()
    for _ in range(REPETITIONS):
        dist.all_reduce(values)
    if cuda:
        torch.cuda.synchronize()
    seconds = max(gather((time.perf_counter() - started) / REPETITIONS))
    ranks = dist.get_world_size()
    rate = 2 * (ranks - 1) / ranks * values.numel() * 4 / seconds / 1e9
    found = f"{'NCCL' if cuda else 'gloo'}, {rate:.2f} GB/s over {ranks} ranks"
    return Check(name="all-reduce", found=found, problem="the sums are wrong" if any(gather(wrong)) else "")


def check_shards(shards: Path | None) -> Check:
    """Speed at which the slowest rank reads the training data."""
    if shards is None:
        return Check(name="shards", found="not asked for (no training to check)")
    speed, error = 0.0, ""
    try:
        speed = _read_speed(shards, int(os.environ["RANK"]))
    except OSError as failure:
        error = f"{failure.filename}: {failure.strerror}"
    errors = [text for text in gather(error) if text]
    slowest = min(gather(speed))
    return Check(name="shards", found=f"{slowest:.0f} MB/s, the slowest rank", problem=errors[0] if errors else "")


def _read_speed(shards: Path, rank: int) -> float:
    paths = sorted(shards.glob("*.tar"))
    if not paths:
        raise FileNotFoundError(2, "holds no shards", str(shards))
    done, started = 0, time.perf_counter()
    for offset in range(len(paths)):  # every rank begins with another shard
        with open(paths[(rank + offset) % len(paths)], "rb", buffering=0) as file:
            while done < READ_BYTES and (block := file.read(2**22)):
                done += len(block)
    return done / (time.perf_counter() - started) / 1e6


def check_disk(out: Path) -> Check:
    """Room for checkpoints."""
    folder = next(path for path in (out, *out.parents) if path.exists())
    free = shutil.disk_usage(folder).free / GIB
    problem = (
        f"less than {LEAST_FREE_GIB:.0f} GiB free for checkpoints; free some space" if free < LEAST_FREE_GIB else ""
    )
    return Check(name="disk", found=f"{free:.1f} GiB free", problem=problem)


def check_clocks() -> Check:
    """How far the nodes' clocks differ; measured right after a barrier, so an upper bound."""
    import torch.distributed as dist

    spreads = []
    for _ in range(REPETITIONS):
        dist.barrier()
        times = gather(time.time())
        spreads.append(max(times) - min(times))
    skew = min(spreads)
    problem = "clocks differ; let the nodes run an NTP client" if skew > MOST_SKEW_SECONDS else ""
    return Check(name="clocks", found=f"within {1000 * skew:.1f} ms", problem=problem)


def _try(action: Callable[[], object]) -> str:
    try:
        action()
    except Exception as error:
        return f"rank {os.environ['RANK']} on {socket.gethostname()}: {error}"
    return ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="checks that a training would run here")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--result", type=Path, required=True)
    words = parser.parse_args()
    preflight(words.out, words.shards, words.result)
