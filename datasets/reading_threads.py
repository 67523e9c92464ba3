"""The threads that read and decode: as many as asked for, and none that they start themselves."""

import concurrent.futures
import threading

import torch


def reading_threads(workers: int, *, computes: bool) -> concurrent.futures.Executor:
    """A pool of that many threads; with 0 everything runs at once in the calling thread.

    Args:
        workers: threads.
        computes: whether their work calls torch. Each thread would then start torch's threads once more; so that of
            every worker is told to do without, and the calling thread keeps its own.
    """
    if not workers:
        return _InlineExecutor()
    if not computes:
        return concurrent.futures.ThreadPoolExecutor(workers, "frame-loader")
    before = torch.get_num_threads()
    pool = concurrent.futures.ThreadPoolExecutor(workers, "frame-loader", _compute_alone)
    # The number holds for the thread that sets it and for those not yet seen; so every worker must have set it first.
    together = threading.Barrier(workers + 1)
    for _ in range(workers):
        pool.submit(together.wait)
    together.wait()
    torch.set_num_threads(before)
    return pool


def _compute_alone() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # the first call of a thread takes over what holds for the process: now, not later


class _InlineExecutor(concurrent.futures.Executor):
    """Runs everything at once in the calling thread."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[override]
        future: concurrent.futures.Future = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future
