"""Reading shards: how fast, against webdataset and against decoding alone; and how fast a run resumes."""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tools.bench.machine import machine
from tools.bench.reading import Cat, InMemory, Ours, PlainWebDataset, Speed, Task, Way, time_in_a_process
from tools.bench.resuming import Resuming, resume_anywhere
from tools.console import console, progress_bar

INPUTS, TARGETS, SAMPLES_PER_SHARD = 3, 13, 8
FEW, ALL = INPUTS + 1, INPUTS + TARGETS

CAT, ONE_THREAD, PROCESSES = Cat(), PlainWebDataset(False), PlainWebDataset(True)
OURS_FEW, OURS_ALL = Ours(f"vrmm, {FEW} of {ALL} views", 1), Ours(f"vrmm, all {ALL} views", TARGETS)
DECODE_FEW = InMemory(f"cv2 in memory, {FEW} views", FEW)
WAYS: Sequence[Way] = (
    CAT,
    ONE_THREAD,
    PROCESSES,
    OURS_FEW,
    OURS_ALL,
    Ours(f"vrmm, {FEW} of {ALL} views, stream", 1, stream=True),
    Ours(f"vrmm, {FEW} of {ALL} views at a quarter of the size", 1, shrink=4),
    DECODE_FEW,
)


def loader(
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    frames: Annotated[int, typer.Option(min=16, help="Of the capture that is made for it.")] = 64,
    size: Annotated[int, typer.Option(min=64, help="Pixels of a picture's side.")] = 1024,
    workers: Annotated[int, typer.Option(min=1, help="Threads, or processes of webdataset.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Passes of each way, in turn; the fastest counts.")] = 3,
    samples: Annotated[int, typer.Option(min=1000, help="In the index that a run resumes in.")] = 1_000_000,
) -> None:
    """Samples and megabytes a second of the loader, webdataset and cv2 on the same shards; seconds to resume."""
    from datasets.files import atomic_write_json
    from datasets.shards import build_shards
    from tools.bench.photo_capture import PhotoCapture

    with tempfile.TemporaryDirectory() as place, progress_bar("passes") as report:
        capture = PhotoCapture(frames=frames, inputs=INPUTS, targets=TARGETS, size=size)
        build_shards(capture, Path(place), samples_per_shard=SAMPLES_PER_SHARD)
        inputs = tuple(camera.name for camera in capture.info.cameras if camera.split != "train")
        task = Task(shards=place, inputs=inputs, size=size, workers=workers)
        speeds = _race(task, rounds, report)
    resuming = [_resume(count) for count in (samples // 10, samples)]
    result = _summary(speeds, resuming) | {"workers": workers, "pixels": size, "frames": frames, "machine": machine()}
    console.print(_table(speeds))
    for row in resuming:
        console.print(
            f"resuming among {row.samples} samples: {row.resume_seconds:.2f} s (of these, opening the index "
            f"{row.open_seconds:.2f} s; it holds {row.index_bytes / row.members:.0f} bytes a member)"
        )
    console.print(
        f"{FEW} of {ALL} views: {result['over_webdataset_4_of_16_views']:.1f}× webdataset, "
        f"{result['of_decode_bound']:.0%} of decoding alone"
    )
    if json is not None:
        atomic_write_json(json, result)


def _race(task: Task, rounds: int, report: Any) -> dict[str, Speed]:
    """The fastest pass of every way; ways take turns, so that a slow moment of the machine meets all."""
    best: dict[str, Speed] = {}
    for number in range(rounds):
        for place, way in enumerate(WAYS):
            speed = time_in_a_process(way, task)
            if way.name not in best or _samples_a_second(speed) > _samples_a_second(best[way.name]):
                best[way.name] = speed
            report(number * len(WAYS) + place + 1, rounds * len(WAYS))
    return best


def _resume(samples: int) -> Resuming:
    with tempfile.TemporaryDirectory() as place:
        return resume_anywhere(Path(place), samples)


def _samples_a_second(speed: Speed) -> float:
    return speed.samples / speed.seconds


def _summary(speeds: Mapping[str, Speed], resuming: Sequence[Resuming]) -> dict[str, Any]:
    few = _samples_a_second(speeds[OURS_FEW.name])
    plain = max(_samples_a_second(speeds[way.name]) for way in (ONE_THREAD, PROCESSES))
    large = resuming[-1]
    return {
        "over_webdataset_4_of_16_views": few / plain,
        "of_decode_bound": few / _samples_a_second(speeds[DECODE_FEW.name]),
        "resume_seconds_1m_samples": large.resume_seconds,
        "open_seconds_1m_samples": large.open_seconds,
        "index_bytes_per_member": large.index_bytes / large.members,
        "ways": {
            name: {
                "samples_per_second": _samples_a_second(speed),
                "megabytes_per_second": speed.bytes / speed.seconds / 1e6,
                "memory_mb": speed.memory_mb,
            }
            for name, speed in speeds.items()
        },
        "resuming": [dataclasses.asdict(row) for row in resuming],
    }


def _table(speeds: Mapping[str, Speed]) -> Table:
    table = Table("way", "samples/s", "MB/s", "peak memory, MB")
    for name, speed in speeds.items():
        rate = _samples_a_second(speed)
        table.add_row(name, f"{rate:.1f}", f"{speed.bytes / speed.seconds / 1e6:.0f}", f"{speed.memory_mb:.0f}")
    return table
