"""3-D Gaussian splats, and the reference renderer that says what a file of them looks like.

The conventions are those of the usual files and viewers: a splat is a Gaussian of covariance R diag(scale²) Rᵀ whose
peak stops ``opacity`` of a ray; colours are display values, summed from real spherical harmonics of the direction from
the camera to the splat and 0.5, and splats are blended as they are, front to back.
"""

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from prior.cameras import CameraBatch

DEGREE = 3
TERMS = (DEGREE + 1) ** 2
"""Spherical harmonics for each colour channel."""
LOW_PASS = 0.3
"""Pixels² that viewers add to the covariance on the screen, so that no splat is thinner than a pixel."""
FAINTEST = 1.0 / 255.0
MOST_OPAQUE = 0.99
SPENT = 1e-4
"""A ray of which less is left has ended."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splats:
    """N splats in the head frame.

    Attributes:
        center: [N, 3] metres.
        normal: [N, 3] unit, of the surface that they lie on.
        rotation: [N, 4] unit quaternions (w, x, y, z).
        scale: [N, 3] standard deviations along the turned axes, metres.
        opacity: [N] of the peak, in (0, 1).
        harmonics: [N, 16, 3] of the display value minus 0.5.
    """

    center: Float[Tensor, "N 3"]
    normal: Float[Tensor, "N 3"]
    rotation: Float[Tensor, "N 4"]
    scale: Float[Tensor, "N 3"]
    opacity: Float[Tensor, "N"]
    harmonics: Float[Tensor, "N 16 3"]

    def __len__(self) -> int:
        return len(self.center)

    def at(self, numbers: Int[Tensor, "M"]) -> "Splats":
        """Some of them."""
        fields = [field.name for field in dataclasses.fields(self)]
        return Splats(**{name: getattr(self, name)[numbers] for name in fields})

    def covariance(self) -> Float[Tensor, "N 3 3"]:
        """Metres²."""
        turned = rotation_matrix(self.rotation) * self.scale[:, None]
        return turned @ turned.transpose(1, 2)

    def colors(self, camera_center: Float[Tensor, "3"]) -> Float[Tensor, "N 3"]:
        """Display values towards a camera, at least 0."""
        directions = torch.nn.functional.normalize(self.center - camera_center, dim=-1)
        return ((harmonic_basis(directions)[:, :, None] * self.harmonics).sum(dim=1) + 0.5).clamp(min=0.0)


def rotation_matrix(quaternion: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Of unit quaternions (w, x, y, z)."""
    w, x, y, z = quaternion.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def harmonic_basis(directions: Float[Tensor, "N 3"]) -> Float[Tensor, "N 16"]:
    """Real spherical harmonics up to degree 3 in the order and with the signs of splat files."""
    x, y, z = directions.unbind(-1)
    root = {number: math.sqrt(number / math.pi) for number in (1, 3, 5, 15, 7, 21, 35, 105)}
    terms = [
        torch.full_like(x, root[1] / 2),
        -root[3] / 2 * y,
        root[3] / 2 * z,
        -root[3] / 2 * x,
        root[15] / 2 * x * y,
        -root[15] / 2 * y * z,
        root[5] / 4 * (3 * z * z - 1),
        -root[15] / 2 * x * z,
        root[15] / 4 * (x * x - y * y),
        -root[35] / 4 / math.sqrt(2) * y * (3 * x * x - y * y),
        root[105] / 2 * x * y * z,
        -root[21] / 4 / math.sqrt(2) * y * (5 * z * z - 1),
        root[7] / 4 * z * (5 * z * z - 3),
        -root[21] / 4 / math.sqrt(2) * x * (5 * z * z - 1),
        root[105] / 4 * z * (x * x - y * y),
        -root[35] / 4 / math.sqrt(2) * x * (x * x - 3 * y * y),
    ]
    return torch.stack(terms, dim=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footprint:
    """What each pixel [H·W] of a picture takes of each splat.

    Attributes:
        pixel, splat: [M] of each entry, pixels ascending, splats from front to back.
        weight: [M].
    """

    pixel: Int[Tensor, "M"]
    splat: Int[Tensor, "M"]
    weight: Float[Tensor, "M"]

    def matrix(self, pixels: int, splats: int) -> Float[Tensor, "P N"]:
        """The same as a sparse matrix: a picture is matrix @ colours."""
        index = torch.stack([self.pixel, self.splat])
        matrix = torch.sparse_coo_tensor(index, self.weight, (pixels, splats), check_invariants=False)
        return matrix.coalesce().to_sparse_csr()


@torch.no_grad()
def splat_footprint(splats: Splats, cameras: CameraBatch, low_pass: float = LOW_PASS) -> Footprint:
    """Where the splats are seen in the picture of one camera (EWA splatting), head frame.

    ``low_pass`` [pixels²] other than the viewers' is for pictures of which only every n-th pixel is computed.
    """
    flat = _projected(splats, cameras, low_pass)
    sigmas = (2.0 * torch.log((splats.opacity / FAINTEST).clamp(min=1.0))).sqrt()
    reach = sigmas[:, None] * flat.covariance.diagonal(dim1=1, dim2=2).sqrt()
    low = (flat.mean - reach - 0.5).ceil().long().clamp(min=0)
    size = torch.tensor([cameras.width, cameras.height])
    high = torch.minimum((flat.mean + reach - 0.5).floor().long(), size - 1)
    span = (high - low + 1).clamp(min=0) * (flat.depth > 0)[:, None]
    count = span.prod(dim=1)
    splat = torch.repeat_interleave(count)
    place = torch.arange(len(splat)) - (count.cumsum(0) - count)[splat]
    across = span[splat, 0]
    pixel = (low[splat, 1] + place // across) * cameras.width + low[splat, 0] + place % across
    alpha = _alpha(flat, splats.opacity, pixel, splat, cameras.width)
    seen = alpha >= FAINTEST
    pixel, splat, alpha = pixel[seen], splat[seen], alpha[seen]
    rank = torch.empty_like(flat.depth, dtype=torch.long)
    rank[flat.depth.argsort()] = torch.arange(len(splats))
    order = (pixel * len(splats) + rank[splat]).argsort()
    pixel, splat = pixel[order], splat[order]
    left = _left(pixel, alpha[order])
    kept = left > SPENT
    return Footprint(pixel=pixel[kept], splat=splat[kept], weight=(alpha[order] * left)[kept])


def footprint_weights(
    footprint: Footprint, splats: Splats, cameras: CameraBatch, low_pass: float = LOW_PASS
) -> Float[Tensor, "M"]:
    """The weights of a footprint as a function of the splats, for gradients; who covers what is held fixed."""
    alpha = _alpha(
        _projected(splats, cameras, low_pass), splats.opacity, footprint.pixel, footprint.splat, cameras.width
    )
    return alpha * _left(footprint.pixel, alpha)


def render_splats(
    splats: Splats, cameras: CameraBatch, colors: Float[Tensor, "N 3"] | None = None
) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "1 H W"]]:
    """Display values over black, and alpha, of one camera; ``colors`` are shown instead of the splats' own."""
    footprint, pixels = splat_footprint(splats, cameras), cameras.height * cameras.width
    shown = splats.colors(cameras.centers[0]) if colors is None else colors
    values = torch.cat([shown, torch.ones(len(splats), 1)], dim=1)
    picture = torch.zeros(pixels, 4)
    picture.index_add_(0, footprint.pixel, footprint.weight[:, None] * values[footprint.splat])
    picture = picture.T.reshape(4, cameras.height, cameras.width)
    return picture[:3], picture[3:]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Flat:
    """Splats on the screen: mean [N, 2] pixels, covariance [N, 2, 2] pixels², depth [N] metres."""

    mean: Tensor
    covariance: Tensor
    depth: Tensor


def _projected(splats: Splats, cameras: CameraBatch, low_pass: float) -> _Flat:
    turn, shift = cameras.world_to_camera[0, :, :3], cameras.world_to_camera[0, :, 3]
    lens = cameras.intrinsics[0]
    place = splats.center @ turn.T + shift
    depth = place[:, 2]
    x, y = (place[:, :2] / depth[:, None]).unbind(-1)
    zero = torch.zeros_like(depth)
    jacobian = torch.stack(
        [
            torch.stack([lens[0, 0] / depth, zero, -lens[0, 0] * x / depth], dim=-1),
            torch.stack([zero, lens[1, 1] / depth, -lens[1, 1] * y / depth], dim=-1),
        ],
        dim=-2,
    )
    wide = jacobian @ turn @ (rotation_matrix(splats.rotation) * splats.scale[:, None])
    mean = torch.stack([lens[0, 0] * x + lens[0, 2], lens[1, 1] * y + lens[1, 2]], dim=-1)
    return _Flat(mean=mean, covariance=wide @ wide.transpose(1, 2) + low_pass * torch.eye(2), depth=depth)


def _alpha(flat: _Flat, opacity: Tensor, pixel: Tensor, splat: Tensor, width: int) -> Tensor:
    """How much each splat stops of the ray through the centre of each pixel, both [M]."""
    (a, b), (_, c) = flat.covariance.flatten(1).unbind(-1)[:2], flat.covariance.flatten(1).unbind(-1)[2:]
    factor = -0.5 / (a * c - b * b)
    x = (pixel % width) + 0.5 - flat.mean[:, 0].index_select(0, splat)
    y = pixel.div(width, rounding_mode="floor") + 0.5 - flat.mean[:, 1].index_select(0, splat)
    xx, xy, yy = (value.index_select(0, splat) for value in (c * factor, -2.0 * b * factor, a * factor))
    return (opacity.index_select(0, splat) * torch.exp(xx * x * x + xy * x * y + yy * y * y)).clamp(max=MOST_OPAQUE)


def _left(pixel: Tensor, alpha: Tensor) -> Tensor:
    """What the splats before have left of the ray, for entries in order along each pixel's ray."""
    passed = torch.log1p(-alpha.double())
    total = passed.cumsum(0)
    before = total - passed
    first = torch.ones_like(pixel, dtype=torch.bool)
    first[1:] = pixel[1:] != pixel[:-1]
    start = before[first][first.long().cumsum(0) - 1]
    return torch.exp(before - start).to(alpha.dtype)
