"""How large the benchmark of fits is: what ``configs/fitting/benchmark.yaml`` holds."""

import dataclasses
import enum

from datasets.errors import VrmmError
from fitting.recipe import FitRecipe
from fitting.truth import FitTruthConfig

MOST_PEOPLE = 8
"""People that there are of each head model."""
MOST_CHECKED = 64
"""The same for the single photos of the initializer."""


class PhotoSet(enum.Enum):
    """What there is of a person; the values are keys of the result."""

    one_image = "one_image"
    three_images = "three_images"
    eight_images = "eight_images"
    video = "video"

    @property
    def photos(self) -> int:
        """How many; 0 for a video."""
        return {"one_image": 1, "three_images": 3, "eight_images": 8}.get(self.value, 0)


@dataclasses.dataclass(kw_only=True)
class BenchmarkConfig:
    """Everything the benchmark depends on beside the prior and the head models.

    Attributes:
        seed: draws people, photos and landmark errors.
        people: whose photos are fitted, of each head model in turn.
        sets: of photos that are fitted.
        frames: of a video.
        checked: single photos of as many other people, on which the initializer is tried; 0 leaves it out.
        compared: of these, for which the steps from the mean are counted, too.
        noise: standard deviation of the landmarks' error, pixels.
        lpips_weights: file or folder with the weights of LPIPS; empty measures none.
        truth: the pictures that avatars are compared with.
        fit: the recipe of the fits; photos and truth have its ``image_size``.
    """

    seed: int = 0
    people: int = 2
    sets: list[PhotoSet] = dataclasses.field(default_factory=lambda: list(PhotoSet))
    frames: int = 60
    checked: int = 50
    compared: int = 12
    noise: float = 0.5
    lpips_weights: str = ""
    truth: FitTruthConfig = dataclasses.field(
        default_factory=lambda: FitTruthConfig(lights=0, lamps=2, environments=3, expressions=6)
    )
    fit: FitRecipe = dataclasses.field(default_factory=lambda: FitRecipe(threads=1))

    def __post_init__(self) -> None:
        if self.people < 1 or not self.sets:
            raise VrmmError(f"people must be 1 or more, and sets some of {', '.join(PhotoSet.__members__)}")
        if self.frames < 2 or self.noise < 0:
            raise VrmmError("frames must be 2 or more, and noise 0 or more pixels")
        if not 0 <= self.compared <= self.checked:
            raise VrmmError(f"compared={self.compared} of checked={self.checked} single photos; give 0 to that many")
        if min(self.truth.lights + self.truth.lamps + self.truth.environments, self.truth.expressions) < 1:
            raise VrmmError("truth needs at least one new light (lights, lamps or environments) and one expression")
