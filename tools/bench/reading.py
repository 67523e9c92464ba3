"""The ways of reading shards that are compared, each timed in a process of its own."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import resource
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.shards import ShardSet

WARM_UP = 4
"""Batches that are not timed: from then on the loader's memory goes round."""
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What is read.

    Attributes:
        shards: folder.
        inputs: names of the encoders' cameras.
        size: pixels of a picture's side.
        workers: threads, or processes of webdataset.
        batch: frames.
    """

    shards: str
    inputs: tuple[str, ...]
    size: int
    workers: int
    batch: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one pass over all samples: seconds, samples, bytes that were read, and the most memory (megabytes)."""

    seconds: float
    samples: int
    bytes: int
    memory_mb: float


class Way(ABC):
    """One way of reading.

    Attributes:
        name: for tables.
    """

    name: str

    @abstractmethod
    def read(self, task: Task) -> tuple[float, int, int]:
        """Read all samples once; returns seconds, samples and bytes."""


class Cat(Way):
    """Every byte of every shard and nothing else. Final."""

    name = "cat"

    def read(self, task: Task) -> tuple[float, int, int]:
        from datasets.manifest import read_manifest

        samples = sum(shard.samples for shard in read_manifest(Path(task.shards)).shards)
        start, total = time.perf_counter(), 0
        for path in sorted(Path(task.shards).glob("*.tar")):
            with open(path, "rb", buffering=0) as file:
                while data := file.read(_CHUNK):
                    total += len(data)
        return time.perf_counter() - start, samples, total


class PlainWebDataset(Way):
    """webdataset as it is: every member decoded, pictures to 8-bit arrays. Final.

    Args:
        processes: decode in the worker processes of its loader, or in this one.
    """

    def __init__(self, processes: bool) -> None:
        self._processes = processes
        self.name = f"webdataset, {'processes' if processes else 'one thread'}"

    def read(self, task: Task) -> tuple[float, int, int]:
        from webdataset.compat import WebDataset, WebLoader

        urls = [str(path) for path in sorted(Path(task.shards).glob("*.tar"))]
        dataset = WebDataset(urls, shardshuffle=False, empty_check=False).decode("rgb8")
        workers = task.workers if self._processes else 0
        source: Any = dataset
        if workers:
            source = WebLoader(dataset, batch_size=None, num_workers=workers, worker_init_fn=_hush)
        start = time.perf_counter()
        samples = sum(1 for _ in source)
        return time.perf_counter() - start, samples, sum(Path(url).stat().st_size for url in urls)


class Ours(Way):
    """Batches of ``FrameLoader``. Final.

    Args:
        targets: cameras to render beside the encoders'.
        stream: read shards from front to back.
        shrink: how many times smaller pictures are wanted; 1 takes them as stored.
    """

    def __init__(self, name: str, targets: int, *, stream: bool = False, shrink: int = 1) -> None:
        self.name, self._targets, self._stream, self._shrink = name, targets, stream, shrink

    def read(self, task: Task) -> tuple[float, int, int]:
        from datasets.loader import FrameLoader, LoaderConfig, Mode

        loader = FrameLoader(
            LoaderConfig(
                shards=task.shards,
                mode=Mode.stream if self._stream else Mode.members,
                streams=task.batch,
                stream_window=4,
                batch_frames=task.batch,
                input_cameras=list(task.inputs),
                target_views=self._targets,
                image_size=task.size // self._shrink if self._shrink > 1 else 0,
                workers=task.workers,
                cache_mb=0,
                shuffle_shards=4,
            )
        )
        with contextlib.closing(loader.batches()) as batches:
            for _ in islice(batches, WARM_UP):
                pass
            start = time.perf_counter()
            seen = [(b.keys, b.input_camera, b.camera) for b in islice(batches, loader.steps_per_epoch - WARM_UP)]
            seconds = time.perf_counter() - start
        views = [
            (key, number)
            for keys, *cameras in seen
            for camera in cameras
            for key, numbers in zip(keys, camera.tolist(), strict=True)
            for number in numbers
        ]
        return seconds, sum(len(keys) for keys, *_ in seen), _picture_bytes(loader.shards, views)


class InMemory(Way):
    """cv2 decoding as many pictures of the same samples, their bytes in memory, with as many threads. Final.

    Args:
        views: of each sample.
    """

    def __init__(self, name: str, views: int) -> None:
        self.name, self._views = name, views

    def read(self, task: Task) -> tuple[float, int, int]:
        import cv2
        import numpy as np

        from datasets.shards import open_shards

        cv2.setNumThreads(1)
        shards = open_shards(task.shards)
        # A sample's turn through the cameras: the same mixture of pictures as the targets of an epoch.
        stored = []
        for sample in range(len(shards)):
            members = [name for name in shards.extensions(sample) if name.endswith(".jpg")]
            turned = members[sample % len(members) :] + members[: sample % len(members)]
            stored += [np.frombuffer(shards.read(sample, name), np.uint8) for name in turned[: self._views]]
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        with concurrent.futures.ThreadPoolExecutor(task.workers) as pool:
            list(pool.map(lambda data: cv2.imdecode(data, flags) is None, stored[: task.workers]))
            start = time.perf_counter()
            for _ in pool.map(lambda data: cv2.imdecode(data, flags) is None, stored):
                pass
            seconds = time.perf_counter() - start
        return seconds, len(shards), sum(len(data) for data in stored)


def time_in_a_process(way: Way, task: Task) -> Speed:
    """One pass in a fresh process, so that its memory is its own."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, way, task).result()


def _measure(way: Way, task: Task) -> Speed:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its streams to the collector
        seconds, samples, total = way.read(task)
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    memory = (own + task.workers * children) * 1024 / 1e6  # of the children, the largest one's is known
    return Speed(seconds=seconds, samples=samples, bytes=total, memory_mb=memory)


def _hush(worker: int) -> None:
    """torch warns that decoded arrays cannot be written to."""
    warnings.simplefilter("ignore", UserWarning)


def _picture_bytes(shards: "ShardSet", views: Sequence[tuple[str, int]]) -> int:
    """Of the stored pictures of samples (by their keys) and cameras (by their numbers)."""
    total = 0
    for key, number in views:
        sample = shards.sample(key)
        member = shards.image_member(sample, shards.info.cameras[number].name)
        assert member is not None
        total += shards.size(sample, member)
    return total
