"""Which lamps burn when: full-on, groups with a weak ambience, single lamps."""

import dataclasses

import numpy as np
from jaxtyping import Float

from datasets.capture import Light
from datasets.errors import VrmmError

FULL_ON = "full"


@dataclasses.dataclass(kw_only=True)
class PatternConfig:
    """Light patterns of a capture; brightness is the sum of the lamps' irradiances (dimensionless radiometric units).

    A lamp that faces a surface of albedo ``a`` with irradiance ``E`` gives it the radiance ``a E / pi``.

    Attributes:
        full_on_every: every so many frames all lamps burn alike, beginning with the first frame.
        group_size: lamps of a group pattern.
        single_share: part of the other frames that have one lamp and nothing else.
        ambient_share: part of a group pattern's irradiance that all lamps give together.
        full_on_irradiance: sum over the lamps; four times what reaches any surface of a sphere.
        group_irradiance: sum over the lamps of a group pattern, with the ambience.
        single_irradiance: of a lamp on its own.
        held_out_lamps: lamps that never burn alone in training.
    """

    full_on_every: int = 4
    group_size: int = 3
    single_share: float = 0.2
    ambient_share: float = 0.12
    full_on_irradiance: float = 13.0
    group_irradiance: float = 9.0
    single_irradiance: float = 6.0
    held_out_lamps: int = 4

    def __post_init__(self) -> None:
        if self.full_on_every < 1 or self.group_size < 1 or self.held_out_lamps < 0:
            raise VrmmError("patterns.full_on_every and group_size must be at least 1, held_out_lamps at least 0")
        if not (0 <= self.single_share <= 1 and 0 <= self.ambient_share < 1):
            raise VrmmError("patterns.single_share and ambient_share must lie in [0, 1]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pattern:
    """A named light; the name says which lamps carry it: ``full``, ``group_03_17_22``, ``lamp_05``."""

    name: str
    light: Light

    @property
    def full_on(self) -> bool:
        return self.name == FULL_ON


class LightPatterns:
    """The patterns of one rig. Final.

    Args:
        config: what patterns there are.
        positions: [L, 3] lamps, metres, world frame.
        seed: draws the held-out patterns.
    """

    def __init__(self, config: PatternConfig, positions: Float[np.ndarray, "L 3"], seed: int) -> None:
        count = len(positions)
        if config.group_size > count or config.held_out_lamps >= max(count, 1):
            raise VrmmError(
                f"patterns.group_size {config.group_size} and held_out_lamps {config.held_out_lamps} "
                f"need a rig of more than {count} lamps"
            )
        self._config, self._positions, self._seed = config, positions, seed
        self._front = np.flatnonzero(positions[:, 2] > 0)  # lamps behind the head alone would show next to nothing
        random = np.random.default_rng([seed, 1])
        self._held_out = frozenset(random.permutation(self._front)[: config.held_out_lamps].tolist())

    def full_on(self) -> Pattern:
        """Every lamp burns with the same white light."""
        return self._pattern(FULL_ON, (), self._config.full_on_irradiance, ambient_share=1.0)

    def single(self, lamp: int) -> Pattern:
        """One lamp at a time."""
        return self._pattern(f"lamp_{lamp:02d}", (lamp,), self._config.single_irradiance, ambient_share=0.0)

    def group(self, lamps: tuple[int, ...]) -> Pattern:
        """A few lamps over the weak ambience of all."""
        name = "group_" + "_".join(f"{lamp:02d}" for lamp in lamps)
        return self._pattern(name, lamps, self._config.group_irradiance, self._config.ambient_share)

    def sequence(self, frames: int, seed: int) -> list[Pattern]:
        """The training patterns of a sequence of ``frames``, a pure function of the seeds."""
        random = np.random.default_rng([self._seed, 2, seed])
        deck = _Deck(random, np.array(sorted(set(self._front.tolist()) - self._held_out)))
        patterns = []
        for index in range(frames):
            if index % self._config.full_on_every == 0:
                patterns.append(self.full_on())
            elif deck.lamps.size and random.random() < self._config.single_share:
                patterns.append(self.single(deck.draw()))
            else:
                patterns.append(self.group(self._draw_group(random, held_out=False)))
        return patterns

    def held_out(self, count: int) -> list[Pattern]:
        """Groups that no training sequence holds."""
        random = np.random.default_rng([self._seed, 3])
        return [self.group(self._draw_group(random, held_out=True)) for _ in range(count)]

    def held_out_singles(self) -> list[Pattern]:
        """The lamps that burn alone in no training sequence."""
        return [self.single(lamp) for lamp in sorted(self._held_out)]

    def _draw_group(self, random: np.random.Generator, held_out: bool) -> tuple[int, ...]:
        """Random lamps, at least one of them in front of the face.

        Groups whose lamps add up to a multiple of five are kept for ``held_out``: a rule that holds for any
        number of sequences, unlike a list of what was used.
        """
        while True:
            lamps = np.sort(random.choice(len(self._positions), self._config.group_size, replace=False))
            allowed = (int(lamps.sum()) % 5 == 0) == held_out
            if allowed and np.isin(lamps, self._front).any():
                return tuple(int(lamp) for lamp in lamps)

    def _pattern(self, name: str, lamps: tuple[int, ...], total: float, ambient_share: float) -> Pattern:
        level = np.full(len(self._positions), total * ambient_share / len(self._positions))
        for lamp in lamps:
            level[lamp] += total * (1.0 - ambient_share) / len(lamps)
        return Pattern(name=name, light=Light(positions=self._positions, irradiance=np.repeat(level[:, None], 3, 1)))


class _Deck:
    """Draws lamps in random order, every one before any comes again."""

    def __init__(self, random: np.random.Generator, lamps: np.ndarray) -> None:
        self.lamps, self._random, self._left = lamps, random, []

    def draw(self) -> int:
        if not self._left:
            self._left = self._random.permutation(self.lamps).tolist()
        return int(self._left.pop())
