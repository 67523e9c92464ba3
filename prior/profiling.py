"""Where the time of training steps goes, by stage, as torch's profiler sees it."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from datasets.files import atomic_write_json

PHASES = ("data", "forward", "backward", "optimiser")
"""Parts of a step that follow one another; the trainer marks them."""

KERNELS = {
    "raymarch forward": ("_March", "_TritonMarch"),
    "raymarch backward": ("_MarchBackward", "_TritonMarchBackward"),
    "assembly forward": ("_Assemble",),
    "assembly backward": ("_AssembleBackward",),
    "deconvolutions forward": ("_Deconvolve",),
    "deconvolutions backward": ("_DeconvolveBackward",),
}
"""What is told apart inside the forward and backward phase: autograd functions by name."""

FILE = "profile.json"


def phase(name: str) -> contextlib.AbstractContextManager[Any]:
    """Marks a phase of a step; costs microseconds where nobody profiles."""
    return record_function(f"vrmm.{name}")


class StepProfiler:
    """Profiles the last ``steps`` steps of a run and leaves ``profile.json`` in its folder. Final."""

    def __init__(self, folder: Path, steps: int, total: int) -> None:
        self._path, self._first, self._last = Path(folder) / FILE, max(0, total - steps), total
        self._profile: profile | None = None
        self._started = 0.0

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around step ``number``, counted from 0."""
        if number == self._first:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self._profile = profile(activities=activities, acc_events=True)
            self._profile.start()
            self._started = time.perf_counter()
        yield
        if self._profile is not None and number + 1 == self._last:
            seconds = time.perf_counter() - self._started
            self._profile.stop()
            atomic_write_json(self._path, summary(self._profile, seconds, self._last - self._first))


def summary(finished: profile, seconds: float, steps: int) -> dict[str, Any]:
    """Milliseconds a step by stage.

    ``data_wait_share`` and ``raymarch_share`` are parts of the whole step; kernels are parts of the forward and
    backward phase.
    """
    events = {event.key: event for event in finished.key_averages()}

    def milliseconds(*names: str) -> float:
        return sum(_microseconds(events[name]) for name in names if name in events) / 1e3 / steps

    total = 1e3 * seconds / steps
    phases = {name: milliseconds(f"vrmm.{name}") for name in PHASES}
    kernels = {name: milliseconds(*functions) for name, functions in KERNELS.items()}
    marching = kernels["raymarch forward"] + kernels["raymarch backward"]
    return {
        "steps": steps,
        "step_ms": total,
        "phases_ms": phases | {"other": total - sum(phases.values())},
        "kernels_ms": kernels,
        "raymarch_share": marching / total,
        "data_wait_share": phases["data"] / total,
    }


def _microseconds(event: Any) -> float:
    """Of the processor, or of the GPU where that worked longer."""
    return max(event.cpu_time_total, getattr(event, "device_time_total", 0.0))
