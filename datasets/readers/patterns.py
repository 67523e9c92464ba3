"""Light stages that burn numbered patterns of lamps, as the data sets of Goliath's family write them down.

``light_pattern_metadata.json`` has ``light_positions`` [L, 3] and, under a key that differs from set to set, patterns
of ``light_index_durations`` [[lamp, duration], …]; ``light_pattern_per_frame.json`` is [[frame, pattern], …].
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from datasets.capture import Light
from datasets.errors import VrmmError
from datasets.readers.fields import Fields
from datasets.readers.stage import Stage

FULL_ON = 0
"""The pattern in which every lamp burns."""


class LampPatterns:
    """The lamps of a stage and the patterns they burn in. Final.

    A lamp's strength is the share of the exposure that it burnt for; the sets know no colours. It is taken for the
    irradiance at the head, because the lamps are the same and stand on a sphere.

    Args:
        path: of the metadata.
        key: of the patterns in it.
        stage: their world to ours.
        full_duration: what burns for this long has an irradiance of 1.
        group_gain: factor on the strength of every pattern but ``FULL_ON``.

    Attributes:
        positions: [L, 3] metres, our world.

    Raises:
        VrmmError: a missing file or key, a lamp that is not listed, a negative or absent duration, NaN.
    """

    def __init__(self, path: Path, key: str, stage: Stage, *, full_duration: float, group_gain: float = 1.0) -> None:
        self._path = path
        document = Fields.of_file(path, "the light stage's patterns")
        self.positions = stage.points(document["light_positions"].array((None, 3)))
        self._patterns = [
            self._light(entry["light_index_durations"], (1.0 if number == FULL_ON else group_gain) / full_duration)
            for number, entry in enumerate(document[key].entries())
        ]

    def light(self, pattern: int, origin: str) -> Light:
        """What burns in a pattern; ``origin`` names the frame. Raises VrmmError for an unknown pattern."""
        if not 0 <= pattern < len(self._patterns):
            raise VrmmError(f"{origin} burns light pattern {pattern}, but {self._path} has {len(self._patterns)}")
        return self._patterns[pattern]

    def _light(self, durations: Fields, strength: float) -> Light:
        rows: Float[np.ndarray, "N 2"] = durations.array((None, 2))
        lamps = rows[:, 0].astype(np.int64)
        if len(rows) and not (lamps.min() >= 0 and lamps.max() < len(self.positions) and (lamps == rows[:, 0]).all()):
            raise VrmmError(f"{durations.origin} names a lamp that is not among the {len(self.positions)} listed")
        if (rows[:, 1] < 0.0).any():
            raise VrmmError(f"{durations.origin} has a negative duration; is the file damaged?")
        irradiance = np.repeat(rows[:, 1:] * strength, 3, axis=1)
        return Light(positions=self.positions[lamps], irradiance=irradiance)


def patterns_of_frames(path: Path) -> dict[int, int]:
    """Frame → pattern. Raises VrmmError for a missing or damaged file, or a frame with two patterns."""
    patterns: dict[int, int] = {}
    for row in Fields.of_file(path, "the light pattern of each frame").entries():
        entries = row.entries()
        if len(entries) != 2:
            raise row.wrong("[frame, pattern]")
        frame, pattern = (entry.integer() for entry in entries)
        if patterns.setdefault(frame, pattern) != pattern:
            raise VrmmError(f"{path} gives frame {frame} the patterns {patterns[frame]} and {pattern}")
    return patterns


def nearest(numbers: Sequence[int], number: int) -> int | None:
    """The one of ascending ``numbers`` nearest to ``number``, the lower of two; None where there is none."""
    place = int(np.searchsorted(numbers, number))
    around = [n for n in numbers[max(place - 1, 0) : place + 1]]
    return min(around, key=lambda n: abs(n - number), default=None)
