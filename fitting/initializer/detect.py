"""Faces in a picture of any size: a search over windows with the network itself, then a closer look at each."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fitting.initializer.crop import cut, face_squares, from_crop
from fitting.initializer.network import InitializerNetwork, Prediction

LARGEST, SMALLEST, RATIO = 1.3, 0.16, 0.72
"""Sides of the windows in longer sides of the picture, and of each in the next larger ones'."""
STRIDE = 0.3
"""Of the windows, in their sides."""
LEAST_PIXELS = 24.0
"""Side of the smallest window."""
CANDIDATES, LOOKS = 16, 3
"""Windows that are looked at again, and how often: every time around the landmarks of the time before."""
APART = 0.5
"""Faces nearer to each other than this share of their squares are one."""
BATCH = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Faces:
    """F faces, the surest first.

    Attributes:
        landmarks: [F, 68, 2] pixels, the centre of the first at (0.5, 0.5).
        confidence: [F, 68] in (0, 1).
        score: [F] probability of being one.
    """

    landmarks: Float[Tensor, "F 68 2"]
    confidence: Float[Tensor, "F 68"]
    score: Float[Tensor, "F"]


class Pyramid:
    """A picture at all resolutions, so that crops of any size are neither jagged nor slow. Final."""

    def __init__(self, picture: Float[Tensor, "3 H W"], size: int) -> None:
        """``size``: pixels of the crops' sides."""
        self._size = size
        self._levels = [picture[None]]
        while min(self._levels[-1].shape[-2:]) >= 2 * size:
            self._levels.append(avg_pool2d(self._levels[-1], 2))

    def crops(self, squares: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 S S"]:
        """Upright squares (centre x, y and side, pixels of the picture); black beyond its edges."""
        wanted = (squares[:, 2] / self._size).clamp(min=1.0).log2().floor().long().clamp(max=len(self._levels) - 1)
        found = squares.new_zeros(len(squares), 3, self._size, self._size)
        for level in wanted.unique().tolist():
            rows = torch.nonzero(wanted == level).flatten()
            picture = self._levels[level].expand(len(rows), -1, -1, -1)
            found[rows] = cut(picture, squares[rows] / 2.0**level, squares.new_zeros(len(rows)), self._size)
        return found


@torch.no_grad()
def find_faces(network: InitializerNetwork, picture: Float[Tensor, "3 H W"]) -> Faces:
    """All faces in a picture of display values in [0, 1]; none is no error."""
    pyramid = Pyramid(picture, network.config.size)
    squares = _windows(*picture.shape[-2:])
    scores = torch.cat([network(pyramid.crops(part)).face for part in squares.split(BATCH)])
    squares = squares[scores.topk(min(CANDIDATES, len(scores))).indices]
    found, landmarks = look(network, pyramid, squares)
    for _ in range(LOOKS - 1):
        squares = _sound(face_squares(landmarks), *picture.shape[-2:])
        found, landmarks = look(network, pyramid, squares)
    kept = _distinct(face_squares(landmarks), found.face)
    return Faces(landmarks=landmarks[kept], confidence=found.confidence[kept], score=found.face[kept].sigmoid())


def look(
    network: InitializerNetwork, pyramid: Pyramid, squares: Float[Tensor, "B 3"]
) -> tuple[Prediction, Float[Tensor, "B 68 2"]]:
    """What the network says about squares, and its landmarks in the picture's pixels."""
    found = network(pyramid.crops(squares))
    return found, from_crop(found.landmarks, squares)


def _windows(height: int, width: int) -> Float[Tensor, "B 3"]:
    """Overlapping squares of all sizes, whose centres lie in the picture."""
    longer, windows = float(max(height, width)), []
    side = LARGEST * longer
    while side >= max(SMALLEST * longer, LEAST_PIXELS) or not windows:
        across, down = (_centers(length, STRIDE * side) for length in (width, height))
        y, x = torch.meshgrid(down, across, indexing="ij")
        windows.append(torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), side)], dim=1))
        side *= RATIO
    return torch.cat(windows)


def _centers(length: int, stride: float) -> Float[Tensor, "C"]:
    count = max(1, round(length / stride))
    return (torch.arange(count) + 0.5) * (length / count)


def _sound(squares: Float[Tensor, "B 3"], height: int, width: int) -> Float[Tensor, "B 3"]:
    """Landmarks on nothing can collapse to a point or fly away; their squares stay in the picture's order of size."""
    longer = float(max(height, width))
    center = squares[:, :2].clamp(min=0.0).minimum(squares.new_tensor([width, height]))
    return torch.cat([center, squares[:, 2:].clamp(LEAST_PIXELS / 2, 2.0 * longer)], dim=1)


def _distinct(squares: Float[Tensor, "B 3"], logits: Float[Tensor, "B"]) -> Tensor:
    """Rows of faces, the surest first, each far enough from all before it."""
    kept: list[int] = []
    for row in logits.argsort(descending=True).tolist():
        if logits[row] <= 0.0:
            break
        gaps = [
            float((squares[row, :2] - squares[other, :2]).norm() / torch.minimum(squares[row, 2], squares[other, 2]))
            for other in kept
        ]
        if all(gap > APART for gap in gaps):
            kept.append(row)
    return torch.tensor(kept, dtype=torch.long)
