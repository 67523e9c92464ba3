"""Starts the ranks of a run on this machine when no launcher has done so."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from prior.distributed import free_port

POLL_SECONDS = 0.2
GRACE_SECONDS = 30.0


def run_ranks(arguments: Sequence[str], ranks: int) -> int:
    """Run ``python -m tools.main ARGUMENTS`` once a rank and wait for all.

    When a rank dies the others are ended too: a collective would wait for it for ever.

    Returns:
        0 when every rank succeeded, else the first exit status that is not 0.
    """
    common = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tools.main", *arguments],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(ranks)
    ]
    try:
        return _wait(processes)
    except KeyboardInterrupt:
        # A terminal has sent ctrl-C to every rank; they save together and leave.
        _end(processes, signal.SIGINT)
        raise
    finally:
        _end(processes, signal.SIGTERM)


def _wait(processes: list[subprocess.Popen[bytes]]) -> int:
    while True:
        codes = [process.poll() for process in processes]
        failed = [code for code in codes if code]
        if failed:
            return failed[0] if failed[0] > 0 else 128 - failed[0]
        if all(code == 0 for code in codes):
            return 0
        time.sleep(POLL_SECONDS)


def _end(processes: list[subprocess.Popen[bytes]], number: int) -> None:
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(number)
    deadline = time.monotonic() + GRACE_SECONDS
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
