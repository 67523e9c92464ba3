"""Fits of several people at a time: one process a person, because a fit makes little use of a second core."""

import contextlib
import ctypes
import functools
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from datasets.lightstage.workers import Render, render_in_processes

Progress = Callable[[int, int], object]
POLL_SECONDS = 0.5


class FitJob(Protocol):
    """One fit; picklable."""

    @property
    def subject(self) -> str:
        """The person."""
        ...

    @property
    def key(self) -> str:
        """Names the fit."""
        ...

    @property
    def folder(self) -> Path:
        """What it writes."""
        ...

    def fit(self, report: Callable[[int], None]) -> Any:
        """Do it, or what is left of it; calls ``report(steps done)``."""
        ...


def fit_in_processes(jobs: Sequence[FitJob], processes: int, steps: int, progress: Progress) -> None:
    """Do all ``jobs``, of ``steps`` steps each. Ctrl-C stops them between two steps; what they have finished stays.

    Raises:
        VrmmError: what a fit raises, or a process that died.
    """
    context = multiprocessing.get_context("spawn")
    done: Any = context.Array(ctypes.c_long, len(jobs))
    stop = context.Value(ctypes.c_bool, False)
    numbers = {job.key: index for index, job in enumerate(jobs)}
    make = functools.partial(_make_worker, done, stop, numbers, steps)
    with _stop_on_interrupt(stop), _reporting(lambda: progress(sum(done), steps * len(jobs))):
        for key in render_in_processes(make, jobs, min(processes, len(jobs))):
            done[numbers[key]] = steps


def _make_worker(done: Any, stop: Any, numbers: dict[str, int], steps: int) -> Render:
    def work(job: FitJob) -> None:
        def report(step: int) -> None:
            if stop.value:
                raise KeyboardInterrupt
            done[numbers[job.key]] = min(step, steps)

        job.fit(report)

    return work


@contextlib.contextmanager
def _stop_on_interrupt(stop: Any) -> Iterator[None]:
    """Workers leave ctrl-C to their parent; it tells them before it waits for them."""

    def interrupt(*_: object) -> None:
        stop.value = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _reporting(report: Callable[[], object]) -> Iterator[None]:
    """Call ``report`` again and again from a thread of its own."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(POLL_SECONDS):
            report()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        report()
