"""What every command shares: the console, progress that fits the output, and errors in one clear line."""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, int], None]
"""Called as ``report(done, total)`` by long work."""

PLAIN_INTERVAL_SECONDS = 5.0

LOG_COLUMNS = 160
"""Where lines of a log file break; at the 80 of an unknown terminal the tables would lose their paths."""

console = Console(width=None if "COLUMNS" in os.environ or sys.stdout.isatty() else LOG_COLUMNS)


@contextlib.contextmanager
def progress_bar(description: str) -> Iterator[Report]:
    """A callback ``report(done, total)`` that draws a bar on a terminal and writes plain lines elsewhere.

    Plain lines come at most every ``PLAIN_INTERVAL_SECONDS``, and once more when everything is done, so that
    the log of a long run stays readable.
    """
    if not console.is_terminal:
        yield PlainProgress(description)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class PlainProgress:
    """Progress as lines of text for logs and pipes.

    Args:
        description: begins every line.
        clock: seconds that only grow; a test may pass its own.
    """

    def __init__(self, description: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._description = description
        self._clock = clock
        self._start = clock()
        self._last_line = self._start
        self._first_done: int | None = None

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._first_done is None:
            self._first_done = done  # what an earlier run had finished says nothing about the speed of this one
        if done < total and now - self._last_line < PLAIN_INTERVAL_SECONDS:
            return
        self._last_line = now
        elapsed = now - self._start
        print(f"{self._description}: {done}/{total}, {_clock_text(elapsed)}{self._rest(done, total, elapsed)}")
        sys.stdout.flush()

    def _rest(self, done: int, total: int, elapsed: float) -> str:
        fresh = done - (self._first_done or 0)
        if done >= total or fresh <= 0:
            return ""
        return f", about {_clock_text(elapsed / fresh * (total - done))} left"


@contextlib.contextmanager
def friendly_errors(debug: bool = False) -> Iterator[None]:
    """Turn problems a user can mend into one line on stderr and an exit status; let bugs keep their traceback.

    ``VrmmError`` and refused or full disks exit with 1, ctrl-C exits with 130. ``debug`` lets everything through.
    """
    from datasets.errors import VrmmError  # late: another package named datasets may shadow ours

    if debug:
        yield
        return
    try:
        yield
    except VrmmError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        message = _mendable(error)
        if message is None:
            raise
        fail(message)


def fail(message: str) -> None:
    """Print ``error: message`` as one line on stderr and exit with status 1."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(1)


def _mendable(error: OSError) -> str | None:
    """One line for the system errors that are the disk's fault and not ours, else None."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write{where}: the disk is full; free some space and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot use{where}: {error.strerror}; change its permissions or choose another folder"
    return None


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
