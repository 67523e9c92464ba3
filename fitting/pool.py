"""Fits of several people at a time: one process a fit, because a fit makes little use of a second core."""

import contextlib
import ctypes
import functools
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from datasets.lightstage.workers import Render, render_in_processes

Progress = Callable[[int, int], object]
POLL_SECONDS = 0.5


@runtime_checkable
class FitJob(Protocol):
    """Something to fit; picklable."""

    @property
    def subject(self) -> str:
        """Jobs of one subject are done by one process, if possible in their order."""
        ...

    @property
    def key(self) -> str:
        """Names the job."""
        ...

    @property
    def steps(self) -> int:
        """How much there is to do."""
        ...

    def fit(self, report: Callable[[int], object]) -> Any:
        """Do it, or what is left of it; calls ``report(steps done)``."""
        ...


def do_fits(jobs: Sequence[FitJob], processes: int, progress: Progress) -> None:
    """Do all ``jobs``. Ctrl-C stops them between two steps; what they have finished stays.

    Args:
        jobs: what to do; processes take them in this order.
        processes: at a time; 0 does them here, one after the other.
        progress: called with the steps done and those of all jobs.

    Raises:
        VrmmError: what a fit raises, or a process that died.
    """
    if processes == 0:
        _do_here(jobs, progress)
    elif jobs:
        _do_in_processes(jobs, processes, progress)


def _do_here(jobs: Sequence[FitJob], progress: Progress) -> None:
    total, before = sum(job.steps for job in jobs), 0
    for job in jobs:
        steps, offset = job.steps, before
        job.fit(lambda done, steps=steps, offset=offset: progress(offset + min(done, steps), total))
        before += steps
        progress(before, total)


def _do_in_processes(jobs: Sequence[FitJob], processes: int, progress: Progress) -> None:
    context = multiprocessing.get_context("spawn")
    done: Any = context.Array(ctypes.c_long, len(jobs))
    stop = context.Value(ctypes.c_bool, False)
    numbers = {job.key: index for index, job in enumerate(jobs)}
    total = sum(job.steps for job in jobs)
    make = functools.partial(_make_worker, done, stop, numbers)
    with _stop_on_interrupt(stop), _reporting(lambda: progress(sum(done), total)):
        for key in render_in_processes(make, jobs, min(processes, len(jobs))):
            done[numbers[key]] = jobs[numbers[key]].steps


def _make_worker(done: Any, stop: Any, numbers: dict[str, int]) -> Render:
    def work(job: FitJob) -> None:
        def report(step: int) -> None:
            if stop.value:
                raise KeyboardInterrupt
            done[numbers[job.key]] = min(step, job.steps)

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
