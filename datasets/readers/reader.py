"""What every reader of a public capture has in common: how it is opened and what it may be asked for."""

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from datasets.capture import Capture
from datasets.errors import VrmmError


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameRange:
    """Frames of a sequence by their numbers in the original: ``start <= number < stop``, every ``step``-th of those.

    Attributes:
        start: first number; None from the beginning.
        stop: the number after the last; None to the end.
        step: 1 takes every frame that is there, 2 every other one.
    """

    start: int | None = None
    stop: int | None = None
    step: int = 1

    @staticmethod
    def parse(text: str) -> "FrameRange":
        """Reads ``"a:b:step"``, of which any part may be absent, or one frame's number.

        Raises:
            VrmmError: anything else, a negative number, a step below 1, or a range that can hold no frame.
        """
        parts = text.strip().split(":")
        try:
            numbers = [int(part) if part.strip() else None for part in parts]
        except ValueError:
            numbers = []
        if not 1 <= len(numbers) <= 3 or not text.strip() or any(n is not None and n < 0 for n in numbers):
            raise VrmmError(f"frames {text!r} is no range; write first:end:step, for example 0:600:3")
        if len(parts) == 1:
            return FrameRange(start=numbers[0], stop=(numbers[0] or 0) + 1)
        start, stop, step = (*numbers, None, None)[:3]
        step = 1 if step is None else step
        if step < 1 or (stop is not None and stop <= (start or 0)):
            raise VrmmError(
                f"frames {text!r} holds no frame; the end must lie above the first and the step be 1 or more"
            )
        return FrameRange(start=start, stop=stop, step=step)

    def of(self, numbers: Sequence[int]) -> list[int]:
        """The chosen ones of a sequence's frame numbers, in ascending order."""
        inside = [
            number
            for number in sorted(numbers)
            if number >= (self.start or 0) and (self.stop is None or number < self.stop)
        ]
        return inside[:: self.step]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """The part of a capture that is wanted.

    Attributes:
        cameras: names as ``CaptureInfo.cameras`` has them; empty for all.
        frames: of every sequence.
    """

    cameras: tuple[str, ...] = ()
    frames: FrameRange = dataclasses.field(default_factory=FrameRange)

    def of_cameras(self, names: Sequence[str], origin: str) -> list[str]:
        """Those of ``names`` that are wanted, in their order; ``origin`` names the capture in the error.

        Raises:
            VrmmError: a camera that is wanted and not there, or none at all.
        """
        for wanted in self.cameras:
            if wanted not in names:
                raise VrmmError(
                    f"{origin} has no images of camera {wanted}; it has {', '.join(names) or 'none at all'}"
                )
        chosen = [name for name in names if not self.cameras or name in self.cameras]
        if not chosen:
            raise VrmmError(f"{origin} has no camera with images; is the download complete?")
        return chosen


@dataclasses.dataclass(kw_only=True)
class NoOptions:
    """Of a format that needs to be told nothing."""


class CaptureReader(Capture):
    """A capture in somebody else's format, read as it is on disk. Abstract.

    The contract, beyond that of ``Capture``:

    * **One rig.** A reader is of cameras and lamps that were calibrated once, mostly one person's session. A source
      that holds several is split by ``captures_under``; each is opened by itself.
    * **Lazy.** The constructor reads the calibration and lists folders, no more. ``frames()`` reads what says which
      frames there are and how they are lit. Images, masks and landmarks are read by ``members`` alone. A reader keeps
      no image, and no more than a bounded number of open files.
    * **Cheap to open again.** ``vrmm capture import`` opens the same reader in several processes, each of which calls
      ``members`` for other frames, in any order. So the same arguments must give the same ``info`` and ``frames()``.
    * **Into the conventions** of ``datasets.capture``: metres, y up, the origin where the head rests, OpenCV cameras
      without distortion and with the first pixel's centre at (0.5, 0.5). ``datasets.readers.stage`` finds that frame.
    * **Images in their original bytes** wherever the format's cameras have no distortion; the encoding of
      ``CaptureInfo``, or of the ``Camera`` where cameras differ, says how they become linear radiance.
    * **Light is never missing.** A frame whose lamps are listed but that has no pattern is an error. A format that
      says nothing of light gives ``datasets.readers.light.uniform_light()``, and ``light_positions`` of no rows.
    * **Errors** are ``VrmmError`` and name the file and the key in it. Nothing is read outside the source, whatever
      names a file or an archive contains (``datasets.readers.archive``), and no pickle is loaded.

    Attributes:
        FORMAT: its name on the command line.
        LICENCE: of the data set, one line, without the name of a person.
        OPTIONS: a keyword-only dataclass of what the files do not say, each field with a default.
    """

    FORMAT: ClassVar[str]
    LICENCE: ClassVar[str]
    OPTIONS: ClassVar[type] = NoOptions

    @abstractmethod
    def __init__(self, source: Path, selection: Selection, options: Any) -> None:
        """Open one of the folders or files that ``captures_under`` gives.

        Args:
            source: where the capture lies.
            selection: cameras and frames that are wanted.
            options: an ``OPTIONS``.

        Raises:
            VrmmError: no calibration, one that contradicts itself, or a wanted camera that is not there.
        """

    @classmethod
    @abstractmethod
    def captures_under(cls, source: Path) -> dict[str, Path]:
        """The captures at or directly below ``source`` by their subjects' names, sorted by name.

        Looks at names of files, and no deeper than it must; empty where nothing is of this format. A source that is
        itself a capture gives itself alone.
        """

    @property
    def filmed(self) -> bool:
        """Pictures are frames of a video of each camera, which is quick to read only one after the other.

        Processes then share the cameras instead of the frames, and ``members`` gives nothing, instead of an error, for
        a frame that none of its cameras filmed.
        """
        return False
