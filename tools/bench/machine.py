"""What a number depends on besides the code, and how long things take."""

import dataclasses
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Processor, cores and versions, for the record of a measurement."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def peak_memory_mb() -> float:
    """The most memory this process has had so far, in megabytes (1e6 bytes)."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@dataclasses.dataclass(frozen=True)
class Times:
    """Wall-clock milliseconds of repeated runs: the best, which other programs disturb least, and the median."""

    best: float
    median: float


def measure(run: Callable[[], tuple[float, ...]], rounds: int) -> list[Times]:
    """Call ``run`` ``rounds`` times after one warm-up; it returns the seconds of each of its stages."""
    run()
    stages = zip(*(run() for _ in range(rounds)), strict=True)
    return [Times(best=1e3 * min(times), median=1e3 * statistics.median(times)) for times in stages]


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
