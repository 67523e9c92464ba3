"""What it costs to resume in a large training set: the index alone, no shard."""

import dataclasses
import random
import time
from pathlib import Path

CAMERAS, PER_SHARD, SUBJECTS, BATCH = 4, 1000, 100, 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resuming:
    """Seconds and bytes of an index of so many samples.

    Attributes:
        samples: in the index.
        members: of all samples.
        index_bytes: of memory that it holds.
        open_seconds: to read it from the disk and make a loader.
        resume_seconds: from the folder to the keys and the shards of a step, the slowest of the steps that were tried.
    """

    samples: int
    members: int
    index_bytes: int
    open_seconds: float
    resume_seconds: float


def resume_anywhere(folder: Path, samples: int, steps: int = 20) -> Resuming:
    """Write an index of made-up shards into an empty folder, open it, and go to random steps of random epochs."""
    from datasets.loader import FrameLoader, LoaderConfig

    _write_index(folder, samples)
    start = time.perf_counter()
    loader = FrameLoader(LoaderConfig(shards=str(folder), batch_frames=BATCH))
    opened = time.perf_counter() - start
    chance, slowest = random.Random(0), 0.0
    for _ in range(steps):
        step = chance.randrange(1000 * loader.steps_per_epoch)
        start = time.perf_counter()
        keys, shards = loader.keys(step), loader.shards_of(step)
        slowest = max(slowest, time.perf_counter() - start)
        assert len(keys) == BATCH >= len(shards)
    return Resuming(
        samples=len(loader.shards),
        members=loader.shards.members,
        index_bytes=loader.shards.index_bytes,
        open_seconds=opened,
        resume_seconds=opened + slowest,
    )


def _write_index(folder: Path, samples: int) -> None:
    """``capture.json`` and ``manifest.json`` of shards that are not there."""
    import numpy as np

    from datasets.capture import CaptureInfo, ImageEncoding
    from datasets.files import sha256_of
    from datasets.folder import CAPTURE, write_capture_info
    from datasets.lightstage.rig import RigConfig, make_cameras
    from datasets.manifest import Manifest, Shard, write_manifest
    from datasets.member_table import MemberArrays

    subjects = tuple(f"s{number:03d}" for number in range(SUBJECTS))
    info = CaptureInfo(
        name="index",
        cameras=make_cameras(RigConfig(train_cameras=CAMERAS, held_out_cameras=0)),
        subjects=subjects,
        subject_splits=dict.fromkeys(subjects, "train"),
        light_positions=np.zeros((0, 3)),
        encoding=ImageEncoding(),
        licence="none needed",
    )
    write_capture_info(folder, info)
    layout = tuple(sorted([f"{camera.name}.rgb.jpg" for camera in info.cameras] + ["light.npz", "meta.json"]))
    size, block = 100_000, 100_864  # bytes of a member, and of it with its header and padding

    def shard(first: int, count: int) -> Shard:
        subject = (first + np.arange(count)) * SUBJECTS // samples
        members = count * len(layout)
        return Shard(
            name=f"index-{first // PER_SHARD:06d}.tar",
            bytes=members * block + 1024,
            sha256="0" * 64,
            lamps=1,
            keys=tuple(f"{subjects[s]}_talk_{first + i:06d}" for i, s in enumerate(subject.tolist())),
            subject=subject,
            held_out=np.zeros(count, np.int64),
            layouts=(layout,),
            layout=np.zeros(count, np.int64),
            members=MemberArrays(512 + block * np.arange(members), np.full(members, size), np.arange(members)),
        )

    shards = tuple(shard(first, min(PER_SHARD, samples - first)) for first in range(0, samples, PER_SHARD))
    write_manifest(folder, Manifest(capture=info.name, capture_sha256=sha256_of(folder / CAPTURE), shards=shards))
