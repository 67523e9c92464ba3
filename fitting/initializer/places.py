"""Where the network looks at a face: at its landmarks, and at cheeks and forehead between and above them."""

import torch
from jaxtyping import Float
from torch import Tensor

CHIN, NOSE_TIP = 8, 30
BROWS, JAW = range(17, 27), (1, 3, 5, 11, 13, 15)
FOREHEAD, HAIR = 0.3, 0.65
"""Above the brows, in distances from the chin to them."""


def places_from_landmarks() -> Float[Tensor, "P 68"]:
    """Weights of the 68 Multi-PIE landmarks for every place; rows sum to 1, the first 68 are the landmarks."""
    rows = list(torch.eye(68))
    for above in (FOREHEAD, HAIR):
        rows += [_mixed({brow: 1.0 + above, CHIN: -above}) for brow in BROWS]
    rows += [_mixed({point: 0.5, NOSE_TIP: 0.5}) for point in JAW]
    return torch.stack(rows)


def _mixed(weights: dict[int, float]) -> Float[Tensor, "68"]:
    row = torch.zeros(68)
    for point, weight in weights.items():
        row[point] = weight
    return row
