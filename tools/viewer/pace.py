"""How large the first picture after a change may be so that it comes in time, and how it is refined."""

BUDGET_SECONDS = 0.06
"""For decoding and marching of the first picture; the rest of a tenth of a second is the page's."""
FEWEST_RAYS = 48 * 48
GROWTH = 2.0
"""Of a side from one picture to the next finer one."""
MEMORY = 0.5
"""Share of the past in what is expected."""


class Pace:
    """Learns what pictures cost on this machine. Final.

    Attributes:
        decode_seconds: expected, before any ray is marched.
        ray_seconds: expected for one ray.
    """

    def __init__(self) -> None:
        self.decode_seconds = 0.03
        self.ray_seconds = 1e-6

    def learn(self, decode_seconds: float, march_seconds: float, rays: int) -> None:
        """Take note of a picture; decoding that was not needed (0 seconds) says nothing."""
        if decode_seconds > 1e-3:
            self.decode_seconds += (1.0 - MEMORY) * (decode_seconds - self.decode_seconds)
        if rays >= FEWEST_RAYS:
            self.ray_seconds += (1.0 - MEMORY) * (march_seconds / rays - self.ray_seconds)

    def sizes(self, width: int, height: int) -> list[tuple[int, int]]:
        """Sizes to draw one after another: the largest that is in time first, (width, height) last."""
        left = max(BUDGET_SECONDS - self.decode_seconds, 0.0)
        rays = max(left / max(self.ray_seconds, 1e-12), FEWEST_RAYS)
        share = min((rays / (width * height)) ** 0.5, 1.0)
        sizes = []
        while share < 1.0 / GROWTH**0.5:
            sizes.append((max(round(share * width), 1), max(round(share * height), 1)))
            share *= GROWTH
        return [*sizes, (width, height)]
