"""What the viewer is asked to open. Imports nothing large: the page is served before torch is there."""

import dataclasses
from pathlib import Path

from datasets.errors import VrmmError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """What to open.

    Attributes:
        folder: of a run or an avatar.
        prior: the run that an avatar was fitted with; it knows the population's expressions and the capture.
        shards: where the capture lies; None takes the place that the run remembers.
        curve: an animation curve.
    """

    folder: Path
    prior: Path | None = None
    shards: Path | None = None
    curve: Path | None = None

    @property
    def is_avatar(self) -> bool:
        from fitting.avatar import DESCRIPTION

        return (self.folder / DESCRIPTION).is_file()

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Changes whenever other weights are written; empty while there are none."""
        try:
            found = [(self.folder / name).stat() for name in ("weights.safetensors", "model.json")]
        except OSError:
            return ()
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in found)

    def check(self) -> None:
        """What can be told before anything large is imported. Raises VrmmError for a folder that is not there."""
        for folder in (self.folder, self.prior):
            if folder is not None and not folder.is_dir():
                raise VrmmError(f"there is no folder {folder}; name a run folder of vrmm train or an avatar")
