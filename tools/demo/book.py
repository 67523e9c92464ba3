"""What a demo folder knows of itself: the options it was started with, the stages done, the seconds of each."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets.config import first_difference
from datasets.errors import VrmmError
from datasets.files import atomic_write_json, read_json

BOOK, TIMING = "demo.json", "timing.json"
FORMAT, VERSION = "vrmm.demo", 1
SAVE_EVERY_SECONDS = 5.0
"""How much of a stage's time a kill can lose."""


class StageBook:
    """The book of one demo folder. Final.

    A stage is done once ``demo.json`` says so; that is written whole or not at all, after everything the stage
    leaves behind.

    Args:
        folder: of the demo; made if absent.
        options: everything its outcome depends on, as JSON.
        clock: seconds that only grow.

    Raises:
        VrmmError: ``folder`` holds something else, or a demo of other options.
    """

    def __init__(self, folder: Path, options: dict[str, Any], clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = Path(folder)
        self._clock = clock
        self._path = self.folder / BOOK
        self._done: list[str] = []
        self._seconds: dict[str, float] = {}
        if self._path.exists():
            self._continue(options)
        elif self.folder.exists() and any(path.name != ".lock" for path in self.folder.iterdir()):
            raise VrmmError(f"{self.folder} holds something that is no demo; choose another --out")
        self._options = options
        self._write()

    def _continue(self, options: dict[str, Any]) -> None:
        held = read_json(self._path, "the book of a demo")
        if not isinstance(held, dict) or held.get("format") != FORMAT or held.get("version") != VERSION:
            raise VrmmError(f"{self._path} is not of a demo that this vrmm can continue; choose another --out")
        changed = first_difference(held["options"], options)
        if changed is not None:
            raise VrmmError(
                f"{self.folder} holds a demo of other options ({changed}); choose another --out or delete it"
            )
        self._done, self._seconds = list(held["done"]), dict(held["seconds"])

    def is_done(self, stage: str) -> bool:
        return stage in self._done

    def seconds(self, stage: str) -> float:
        """Spent on a stage so far, over all interruptions."""
        return self._seconds.get(stage, 0.0)

    @contextmanager
    def at_work(self, stage: str) -> Iterator[Callable[[], None]]:
        """Time a stage; it is done when the block ends without an error.

        Yields:
            A function to call often; it saves the time spent so far every few seconds.
        """
        before, started = self.seconds(stage), self._clock()
        saved = started

        def tick() -> None:
            nonlocal saved
            now = self._clock()
            self._seconds[stage] = before + now - started
            if now - saved >= SAVE_EVERY_SECONDS:
                saved = now
                self._write()

        try:
            yield tick
            self._done.append(stage)
        finally:
            self._seconds[stage] = before + self._clock() - started
            self._write()

    def _write(self) -> None:
        book = {"format": FORMAT, "version": VERSION, "options": self._options}
        atomic_write_json(self._path, {**book, "done": self._done, "seconds": self._seconds})
        total = sum(self._seconds.values())
        rounded = {stage: round(seconds, 2) for stage, seconds in self._seconds.items()}
        atomic_write_json(self.folder / TIMING, {**rounded, "total": round(total, 2)})
