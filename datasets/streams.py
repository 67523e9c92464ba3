"""Reading shards from front to back, one logical stream at a time, and giving out the samples of each window.

What a stream must give when is known beforehand (``datasets.stream_order``), so a reader that begins at any window
skips whole shards by the manifest. Members are found by the manifest as well, not by tar headers: a damaged header
costs nothing, and a cut or missing shard costs exactly the samples that are gone, each of which is named.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator

import numpy as np

from datasets.shards import DamageError, ShardSet
from datasets.stream_order import StreamOrder

Members = dict[str, bytes]
Wanted = Callable[[int, int], tuple[int, list[str]]]
"""The sample number of a draw of an epoch, and the extensions that are needed of it."""

_Window = dict[int, "Members | DamageError"]
_Job = tuple[int, list[int]]
"""A shard and the draws that it holds, in its order."""


class StreamReader:
    """Gives the members of any draw, best in the order of the streams. Final; safe for threads.

    Of every stream it holds the windows that are being given out, and reads on when the next one is asked for. A draw
    is given out once and forgotten; another request reads its window anew.

    Args:
        shards: to read.
        order: of an epoch's draws.
        wanted: of a draw.
        at_once: samples of one stream that may be asked for out of order.
    """

    def __init__(
        self, shards: ShardSet, order: Callable[[int], StreamOrder], wanted: Wanted, *, at_once: int = 1
    ) -> None:
        self._shards, self._order, self._wanted = shards, order, wanted
        first = order(0)
        behind = 1 + -(-at_once // first.window)
        self._windows = [-(-first.length(number) // first.window) for number in range(first.streams)]
        self._streams = [
            _Stream(lambda turn, number=number: self._read_from(number, turn), behind)
            for number in range(first.streams)
        ]

    def take(self, epoch: int, place: int, *, stand_in: bool = False) -> Members:
        """The members of the draw at a place of an epoch's order.

        Args:
            epoch, place: of the order.
            stand_in: asked for in another one's place: it stays available for its own.

        Raises:
            DamageError: a member of it is damaged.
        """
        draw = int(self._order(epoch).slice(epoch, place, place + 1)[0])
        stream, turn = self._turn(epoch, place)
        found = self._streams[stream].take(turn, draw, stand_in)
        if isinstance(found, DamageError):
            raise found
        return found

    def read_ahead(self, epoch: int, place: int) -> Callable[[], None] | None:
        """What reads the window after that of a place, once per window and None afterwards; for another thread."""
        stream, turn = self._turn(epoch, place)
        return self._streams[stream].read_ahead(turn + 1)

    def _turn(self, epoch: int, place: int) -> tuple[int, int]:
        """The stream that feeds a place and which of its windows, counted over all epochs, that is."""
        order = self._order(epoch)
        stream, index = order.locate(place)
        return stream, epoch * self._windows[stream] + index // order.window

    def _read_from(self, stream: int, turn: int) -> Iterator[_Window]:
        """The windows of a stream from one on to the end of its epoch, as a pipeline: shards → samples → windows."""
        from webdataset.pipeline import DataPipeline

        epoch, window = divmod(turn, self._windows[stream])
        order = self._order(epoch)
        draws = order.reading_order(epoch, stream, window)
        pipeline = DataPipeline(
            lambda: self._jobs(epoch, draws),
            lambda jobs: self._samples(epoch, jobs),
            lambda samples: _windows(samples, order.window),
        )
        return iter(pipeline)

    def _jobs(self, epoch: int, draws: np.ndarray) -> Iterator[_Job]:
        """The shards that hold the draws, one after the other; no other shard is touched."""
        samples = ((draw, self._wanted(epoch, draw)[0]) for draw in draws.tolist())
        for shard, group in itertools.groupby(samples, key=lambda pair: int(self._shards.shard[pair[1]])):
            yield shard, [draw for draw, _ in group]

    def _samples(self, epoch: int, jobs: Iterator[_Job]) -> Iterator[tuple[int, Members | DamageError]]:
        """Every draw with its members, or with the reason why there are none."""
        for number, draws in jobs:
            with contextlib.closing(_OpenShard(self._shards, number)) as shard:
                wanted = [(draw, *self._wanted(epoch, draw)) for draw in draws]
                for sample, group in itertools.groupby(wanted, key=lambda each: each[1]):
                    repeated = list(group)  # a balanced epoch may draw a sample several times
                    names = dict.fromkeys(name for _, _, extensions in repeated for name in extensions)
                    found = shard.read(sample, list(names))
                    yield from ((draw, found) for draw, _, _ in repeated)


def _windows(samples: Iterator[tuple[int, Members | DamageError]], size: int) -> Iterator[_Window]:
    while window := dict(itertools.islice(samples, size)):
        yield window


class _OpenShard:
    """A shard that is read to its end, or to where it cannot be read any more: then all that follows is lost."""

    def __init__(self, shards: ShardSet, number: int) -> None:
        self._shards, self._file, self._reason = shards, None, ""
        try:
            self._file = shards.open_forward(number)
        except OSError as error:
            self._reason = str(error.strerror)

    def read(self, sample: int, names: list[str]) -> Members | DamageError:
        if self._file is None:
            return self._shards.damage(sample, names[0], f"cannot be read ({self._reason})")
        try:
            return self._shards.read_forward(self._file, sample, names)
        except DamageError as damage:
            if isinstance(damage.__cause__, OSError):
                self._reason = str(damage.__cause__.strerror)
                self.close()
            return damage

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class _Stream:
    """The windows of one stream that are held, by their turn, and where its reading stands."""

    def __init__(self, read: Callable[[int], Iterator[_Window]], behind: int) -> None:
        self._read, self._behind = read, behind
        self._lock, self._reading = threading.Lock(), threading.Lock()  # the second is taken before the first
        self._held: dict[int, _Window] = {}
        self._again: tuple[int, _Window] = (-1, {})  # read out of turn
        self._next, self._asked = 0, -1
        self._source: Iterator[_Window] | None = None

    def take(self, turn: int, draw: int, stand_in: bool) -> "Members | DamageError":
        found = self._give(turn, draw, stand_in)
        if found is None:
            with self._reading:
                found = self._give(turn, draw, stand_in)  # another thread may have read it meanwhile
                if found is None:
                    self._fetch(turn, stand_in)
                    found = self._give(turn, draw, stand_in)
        if found is None:
            raise ValueError(f"draw {draw} is not in window {turn} of its stream")
        return found

    def read_ahead(self, turn: int) -> Callable[[], None] | None:
        with self._lock:
            if turn != self._next or turn == self._asked:
                return None
            self._asked = turn
            return lambda: self._advance_to(turn)

    def _advance_to(self, turn: int) -> None:
        with self._reading:
            if self._next == turn:
                self._advance()

    def _give(self, turn: int, draw: int, stand_in: bool) -> "Members | DamageError | None":
        with self._lock:
            if stand_in:
                again = self._again[1] if self._again[0] == turn else {}
                return self._held.get(turn, {}).get(draw) or again.get(draw)
            found = self._held.get(turn, {}).pop(draw, None)
            for old in [each for each, left in self._held.items() if not left or each < turn - self._behind]:
                del self._held[old]
            return found

    def _fetch(self, turn: int, stand_in: bool) -> None:
        """Read on to a window, read one again for a stand-in that is past, or begin anew where the caller jumped."""
        if stand_in and turn < self._next:
            self._again = turn, next(self._read(turn))
            return
        if not self._next <= turn <= self._next + self._behind:
            with self._lock:
                self._held.clear()
                self._source, self._next = None, turn
        while self._next <= turn:
            self._advance()

    def _advance(self) -> None:
        """Read the next window; after the last of an epoch comes the first of the next epoch."""
        window = None if self._source is None else next(self._source, None)
        if window is None:
            self._source = self._read(self._next)
            window = next(self._source)
        with self._lock:
            self._held[self._next] = window
            self._next += 1
