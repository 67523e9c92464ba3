"""What a worker process does first: leave ctrl-C to its parent, and end with it."""

import multiprocessing
import os
import signal
import threading


def serve_parent() -> None:
    """Make this process a worker of the one that started it.

    ctrl-C on a terminal reaches every process; the parent decides what it means. A worker whose parent was killed
    would wait for its next job for ever, so it ends too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def usable_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
