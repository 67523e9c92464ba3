"""Which boxes a tile of rays may meet, and at which steps: the kernels and their use. Every test errs towards meeting.

A tile is bounded by a cone, a box by a sphere; the tiles' candidates are counted, written down in ascending order, and
then tested ray by ray with slabs, which also finds the steps (as ``culling.h`` does on a CPU).
"""

from typing import Any, NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from prior.raymarch.triton_kernels import load_rays, turn

# The default of Triton is changing; the kernels are meant to be fused where they do not fix their roundings.
OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}
_BEYOND = tl.constexpr(2**30)


class Hits(NamedTuple):
    """Boxes that the tiles may meet, tile by tile and ascending within a tile."""

    start: Int[Tensor, "tiles_and_end"]
    """Where the hits of each tile begin; then their number."""
    tile: Int[Tensor, "hits"]
    box: Int[Tensor, "hits"]
    first: Int[Tensor, "hits"]
    """First and last step at which a ray of the tile may be inside the box."""
    last: Int[Tensor, "hits"]


def find_hits(
    rays: Float[Tensor, "tiles 6 lanes"],
    count: Int[Tensor, "tiles lanes"],
    pose: Float[Tensor, "images boxes 12"],
    step_size: float,
) -> Hits:
    """The hits of all tiles; the tiles of an image follow each other.

    Args:
        rays: origin at near and direction, metres.
        count: samples along each ray; 0 in a lane without a ray.
        pose: the map from the frame to local coordinates, row by row, and the centre of each box.
        step_size: metres between samples.
    """
    tiles, lanes = count.shape
    images, boxes = pose.shape[:2]
    sphere = _spheres(pose)
    numbers = (tiles // max(images, 1), boxes, step_size)
    found = torch.zeros(tiles, dtype=torch.int32, device=rays.device)
    start = torch.zeros(tiles + 1, dtype=torch.int64, device=rays.device)
    options = {**OPTIONS, "RAYS": lanes, "GROUP": 128, "num_warps": 2}
    if tiles:
        candidates_kernel[(tiles,)](rays, count, sphere, start, found, *numbers, WRITE=False, **options)
    start[1:] = found.cumsum(0)
    total = int(start[-1])
    tile = torch.repeat_interleave(torch.arange(tiles, dtype=torch.int32, device=rays.device), found, output_size=total)
    box, first, last = torch.empty(3, total, dtype=torch.int32, device=rays.device)
    if total:
        candidates_kernel[(tiles,)](rays, count, sphere, start, box, *numbers, WRITE=True, **options)
        options = {**OPTIONS, "RAYS": lanes, "num_warps": 1}
        steps_kernel[(total,)](rays, count, pose, tile, box, first, last, step_size, **options)
    met = first <= last
    kept = torch.nn.functional.pad(met.cumsum(0), (1, 0))
    return Hits(kept[start], tile[met], box[met], first[met], last[met])


def _spheres(pose: Float[Tensor, "images boxes 12"]) -> Float[Tensor, "images boxes 4"]:
    """Centre and radius around each box: its farthest corner, infinite where the map cannot be inverted."""
    x, y, z = pose[..., :9].double().unflatten(-1, (3, 3)).unbind(-2)
    edges = [torch.linalg.cross(y, z), torch.linalg.cross(z, x), torch.linalg.cross(x, y)]
    corners = [edges[0] + a * edges[1] + b * edges[2] for a in (-1, 1) for b in (-1, 1)]
    farthest = torch.stack([corner.norm(dim=-1) for corner in corners]).amax(0)
    radius = (farthest / (x * edges[0]).sum(-1).abs() * 1.001).float()
    radius = torch.where(radius.isfinite(), radius, torch.inf)
    return torch.cat([pose[..., 9:], radius[..., None]], -1).contiguous()


@triton.jit
@no_type_check
def candidates_kernel(
    rays,
    count,
    sphere,  # [boxes,4] centre and radius
    start,
    found,  # out: the number of boxes of each tile, or (WRITE) the boxes of all tiles from ``start`` on
    tiles_of_image,
    primitives,
    step_size,
    WRITE: tl.constexpr,
    RAYS: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Boxes whose sphere meets the cone of a tile: one program a tile."""
    tile = tl.program_id(0)
    ox, oy, oz, dx, dy, dz = load_rays(rays, tile, RAYS)
    samples = tl.load(count + tile.to(tl.int64) * RAYS + tl.arange(0, RAYS))
    valid = samples > 0
    rays_here = tl.sum(valid.to(tl.float32), 0)
    px = tl.sum(tl.where(valid, ox, 0.0), 0) / rays_here
    py = tl.sum(tl.where(valid, oy, 0.0), 0) / rays_here
    pz = tl.sum(tl.where(valid, oz, 0.0), 0) / rays_here
    ux = tl.sum(tl.where(valid, dx, 0.0), 0)
    uy = tl.sum(tl.where(valid, dy, 0.0), 0)
    uz = tl.sum(tl.where(valid, dz, 0.0), 0)
    norm = tl.maximum(tl.sqrt(ux * ux + uy * uy + uz * uz), 1e-20)
    ux, uy, uz = ux / norm, uy / norm, uz / norm
    cosine = tl.min(tl.where(valid, dx * ux + dy * uy + dz * uz, 1.0), 0)
    # Directions are of unit length within 0.1 %.
    cosine -= 2e-3 * (1.0 - cosine) + 1e-6
    # A cone of 90 degrees and more bounds nothing but the length.
    wide = cosine <= 0.05
    sine = tl.where(wide, 0.0, tl.sqrt(tl.maximum(1.0 - cosine * cosine, 0.0)))
    cosine = tl.where(wide, 0.0, cosine)
    ox, oy, oz = ox - px, oy - py, oz - pz
    spread = tl.sqrt(tl.max(tl.where(valid, ox * ox + oy * oy + oz * oz, 0.0), 0)) * 1.001
    length = tl.max(samples, 0) * step_size * 1.002
    behind = tl.where(wide, -length, 0.0)
    at = tl.load(start + tile)
    for group in range(0, primitives, GROUP):
        k = group + tl.arange(0, GROUP)
        known = k < primitives
        box = tile // tiles_of_image * primitives + k
        row = sphere + box.to(tl.int64) * 4
        x = tl.load(row, mask=known, other=0.0) - px
        y = tl.load(row + 1, mask=known, other=0.0) - py
        z = tl.load(row + 2, mask=known, other=0.0) - pz
        square = x * x + y * y + z * z
        reach = tl.load(row + 3, mask=known, other=0.0) + spread + 1e-5 * (tl.sqrt(square) + 1e-3)
        along = x * ux + y * uy + z * uz
        across = tl.sqrt(tl.maximum(square - along * along, 0.0))
        touched = known & (across * cosine - along * sine <= reach)
        touched = touched & (along - length <= reach) & (behind - along <= reach)
        one = touched.to(tl.int32)
        if WRITE:
            tl.store(found + at + tl.cumsum(one, 0) - one, box, mask=touched)
        at += tl.sum(one, 0)
    if not WRITE:
        tl.store(found + tile, at.to(tl.int32))


@triton.jit
@no_type_check
def slab(y, slope):
    """Where |y + step * slope| <= 1, in steps; with margins above the rounding of y."""
    slope = tl.where(tl.abs(slope) < 1e-12, 1e-12, slope)
    middle = -y / slope
    half = (1.0001 + 1e-5 * tl.abs(y)) / tl.abs(slope)
    return middle - half, middle + half


@triton.jit
@no_type_check
def steps_kernel(rays, count, pose, hit_tile, hit_box, hit_first, hit_last, step_size, RAYS: tl.constexpr):
    """First and last step at which some ray of a tile may be inside a box, first > last if none: a program a hit."""
    hit = tl.program_id(0)
    tile = tl.load(hit_tile + hit)
    row = pose + tl.load(hit_box + hit).to(tl.int64) * 12
    ox, oy, oz, dx, dy, dz = load_rays(rays, tile, RAYS)
    ox, oy, oz = ox - tl.load(row + 9), oy - tl.load(row + 10), oz - tl.load(row + 11)
    y0, y1, y2 = turn(row, ox, oy, oz)
    slope0, slope1, slope2 = turn(row, dx, dy, dz)
    enter0, leave0 = slab(y0, slope0 * step_size)
    enter1, leave1 = slab(y1, slope1 * step_size)
    enter2, leave2 = slab(y2, slope2 * step_size)
    enter = tl.maximum(tl.maximum(enter0, enter1), enter2)
    leave = tl.minimum(tl.minimum(leave0, leave1), leave2)
    samples = tl.load(count + tile.to(tl.int64) * RAYS + tl.arange(0, RAYS))
    # Margins above the rounding of the steps.
    low = tl.maximum(enter - 0.02 - 1e-5 * tl.abs(enter), 0.0)
    high = tl.minimum(leave + 0.02 + 1e-5 * tl.abs(leave), samples.to(tl.float32) - 1.0)
    met = low <= high
    first = tl.where(met, tl.ceil(tl.where(met, low, 0.0)).to(tl.int32), _BEYOND)
    last = tl.where(met, tl.floor(tl.where(met, high, 0.0)).to(tl.int32), -1)
    tl.store(hit_first + hit, tl.min(first, 0))
    tl.store(hit_last + hit, tl.max(last, 0))
