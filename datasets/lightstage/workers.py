"""Pictures rendered by several processes, each of which stays with a person as long as it can."""

import collections
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable

from datasets.errors import VrmmError
from datasets.worker_process import serve_parent


@runtime_checkable
class Job(Protocol):
    """Something of one person to render; a ``Frame`` is one."""

    @property
    def subject(self) -> str:
        """Name of the person."""
        ...

    @property
    def key(self) -> str:
        """Names the job."""
        ...


Render = Callable[[Any], None]
"""Renders a job and puts the pictures where they belong."""

_render: Render | None = None  # of a worker process


def render_in_processes(make_render: Callable[[], Render], jobs: Sequence[Job], count: int) -> Iterator[str]:
    """Yield the keys of ``jobs`` as they are done, in any order.

    Leaving the iterator early (ctrl-C, an error) waits for the jobs at work and starts no more.

    Args:
        make_render: picklable; called once in each process.
        jobs: what to render.
        count: processes.

    Raises:
        VrmmError: a process died; whatever ``make_render`` or the rendering raises.
    """
    plan = JobPlan(jobs)
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = [
            ProcessPoolExecutor(1, mp_context=context, initializer=start_worker, initargs=(make_render,))
            for _ in range(count)
        ]
        stack.callback(_stop, pools)
        at_work: dict[Future[str], int] = {}
        idle = list(range(count))
        while idle or at_work:
            for worker in idle:
                job = plan.next(worker)
                if job is not None:
                    at_work[pools[worker].submit(_render_in_worker, job)] = worker
            if not at_work:
                return
            done, _ = wait(at_work, return_when=FIRST_COMPLETED)
            idle = [at_work.pop(future) for future in done]
            for future in done:
                yield _key(future)


class JobPlan:
    """Which job a worker takes next. Final.

    A worker stays with its subject, whose materials it has already made; then it takes a subject that nobody has
    begun; at the end it helps with the subject of which most is left.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting: dict[str, collections.deque[Job]] = {}
        for job in jobs:
            self._waiting.setdefault(job.subject, collections.deque()).append(job)
        self._subject_of: dict[int, str] = {}

    def next(self, worker: int) -> Job | None:
        """The worker's next job, or None when none is left."""
        left = {subject: jobs for subject, jobs in self._waiting.items() if jobs}
        if not left:
            return None
        subject = self._subject_of.get(worker)
        if subject not in left:
            begun = set(self._subject_of.values())
            fresh = [subject for subject in left if subject not in begun]
            subject = fresh[0] if fresh else max(left, key=lambda subject: len(left[subject]))
            self._subject_of[worker] = subject
        return left[subject].popleft()


def start_worker(make_render: Callable[[], Render]) -> None:
    """Make this process a worker that ends with its parent and leaves ctrl-C to it."""
    global _render
    serve_parent()
    _render = make_render()


def _render_in_worker(job: Job) -> str:
    assert _render is not None
    _render(job)
    return job.key


def _key(future: "Future[str]") -> str:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise VrmmError(
            "a rendering process died (out of memory?); run the same command again to continue, with fewer "
            "processes if it happens again"
        ) from error


def _stop(pools: list[ProcessPoolExecutor]) -> None:
    for pool in pools:
        pool.shutdown(wait=False, cancel_futures=True)
    for pool in pools:
        pool.shutdown(wait=True)
