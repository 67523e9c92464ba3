"""What the readers of multi-view captures share: one session, one person, one calibrated rig."""

import functools
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from datasets.capture import CaptureInfo, Frame, ImageEncoding
from datasets.readers.reader import CaptureReader
from datasets.readers.stage import RawCamera, Stage

NO_LAMPS = np.zeros((0, 3))
"""Positions of the lamps where nobody calibrated any."""


class OnePersonReader(CaptureReader):
    """A session of one person, for training. Abstract; constructors end with ``_describe``."""

    _info: CaptureInfo
    _stage: Stage

    @property
    def info(self) -> CaptureInfo:
        return self._info

    @property
    def stage(self) -> Stage:
        """Their world to ours."""
        return self._stage

    def frames(self) -> Sequence[Frame]:
        return self._frames

    @abstractmethod
    def _list_frames(self) -> list[Frame]:
        """The wanted frames; asked once, and not by the constructor."""

    def _describe(
        self,
        subject: str,
        stage: Stage,
        cameras: Sequence[RawCamera],
        encoding: ImageEncoding,
        lamps: Float[np.ndarray, "L 3"] = NO_LAMPS,
    ) -> None:
        """Say who is seen by which cameras (in their world), encoded how, and where lamps stand (in ours, metres)."""
        self._stage = stage
        self._info = CaptureInfo(
            name=f"{self.FORMAT}-{subject}",
            cameras=tuple(stage.camera(camera) for camera in cameras),
            subjects=(subject,),
            subject_splits={subject: "train"},
            light_positions=lamps,
            encoding=encoding,
            licence=self.LICENCE,
        )

    @functools.cached_property
    def _frames(self) -> list[Frame]:
        return self._list_frames()
