"""The marching kernels of ``prior.raymarch.triton``: a program marches a tile of rays, or differentiates one hit.

A hit is a (tile, box) with the first and last step at which a ray of the tile may be inside the box. Each lane of a
program holds one ray; ``t`` counts metres from near, where the origins of the rays lie. Boxes are numbered over all
images, so ``step * primitives + box`` orders the samples of a ray. Kernels are not shape-checked: their annotations
are Triton's.
"""

from typing import no_type_check

import triton
import triton.language as tl

NEVER = tl.constexpr(2**31 - 1)


@triton.jit
@no_type_check
def load_rays(rays, tile, RAYS: tl.constexpr):
    """Origin at near and direction of the rays of a tile, from ``rays`` [tiles,6,RAYS]."""
    at = rays + tile.to(tl.int64) * (6 * RAYS) + tl.arange(0, RAYS)
    return (
        tl.load(at),
        tl.load(at + RAYS),
        tl.load(at + 2 * RAYS),
        tl.load(at + 3 * RAYS),
        tl.load(at + 4 * RAYS),
        tl.load(at + 5 * RAYS),
    )


@triton.jit
@no_type_check
def turn(row, x, y, z):
    """A vector in the axes of a box, in fixed roundings: every kernel must find the same samples inside."""
    return (
        tl.fma(tl.load(row + 2), z, tl.fma(tl.load(row + 1), y, tl.load(row) * x)),
        tl.fma(tl.load(row + 5), z, tl.fma(tl.load(row + 4), y, tl.load(row + 3) * x)),
        tl.fma(tl.load(row + 8), z, tl.fma(tl.load(row + 7), y, tl.load(row + 6) * x)),
    )


@triton.jit
@no_type_check
def cell(y, SIZE: tl.constexpr):
    """Lower voxel along one axis, and the position from it to the next in [0, 1]."""
    half: tl.constexpr = (SIZE - 1) / 2
    u = y * half + half
    low = tl.minimum(u.to(tl.int32), SIZE - 2)
    return low, u - low.to(tl.float32)


@triton.jit
@no_type_check
def fade(y0, y1, y2, scale, exponent, EIGHT: tl.constexpr):
    """exp(-scale * sum(|y|^exponent))."""
    if EIGHT:
        y0, y1, y2 = y0 * y0, y1 * y1, y2 * y2
        y0, y1, y2 = y0 * y0, y1 * y1, y2 * y2
        return tl.exp(-scale * (y0 * y0 + y1 * y1 + y2 * y2))
    else:
        # The least number stands for 0, whose logarithm is none.
        y0, y1, y2 = tl.maximum(tl.abs(y0), 1e-30), tl.maximum(tl.abs(y1), 1e-30), tl.maximum(tl.abs(y2), 1e-30)
        sum01 = tl.exp2(exponent * tl.log2(y0)) + tl.exp2(exponent * tl.log2(y1))
        return tl.exp(-scale * (sum01 + tl.exp2(exponent * tl.log2(y2))))


@triton.jit
@no_type_check
def power_slope(y, exponent, EIGHT: tl.constexpr):
    """d |y|^exponent / dy; 0 at y = 0."""
    if EIGHT:
        square = y * y
        return 8.0 * (square * square * square * y)
    else:
        size = exponent * tl.exp2((exponent - 1.0) * tl.log2(tl.maximum(tl.abs(y), 1e-30)))
        return tl.where(y == 0, 0.0, tl.where(y < 0, -size, size))


@triton.jit
@no_type_check
def corners(y0, y1, y2, DEPTH: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """[RAYS,4] floats from the voxels of a box to the lowest of the eight around a sample, and the place among them."""
    x, fx = cell(y0, WIDTH)
    y, fy = cell(y1, HEIGHT)
    z, fz = cell(y2, DEPTH)
    lowest = ((z * HEIGHT + y) * WIDTH + x) * 4
    return lowest[:, None] + tl.arange(0, 4)[None, :], fx, fy, fz


@triton.jit
@no_type_check
def channel_of(value, CHANNEL: tl.constexpr):
    """One column of ``value`` [RAYS,4]."""
    return tl.sum(tl.where(tl.arange(0, 4)[None, :] == CHANNEL, value, 0.0), 1)


@triton.jit
@no_type_check
def interpolate(lowest, fx, fy, fz, inside, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Values [RAYS,4] between the voxels that ``lowest`` points to; 0 outside."""
    value = tl.zeros([fx.shape[0], 4], tl.float32)
    for corner in tl.static_range(8):
        wx = fx if corner & 1 else 1.0 - fx
        wy = fy if corner & 2 else 1.0 - fy
        wz = fz if corner & 4 else 1.0 - fz
        at = lowest + (((corner >> 2) * HEIGHT + ((corner >> 1) & 1)) * WIDTH + (corner & 1)) * 4
        value += (wx * wy * wz)[:, None] * tl.load(at, mask=inside[:, None], other=0.0)
    return value


@triton.jit
@no_type_check
def forward_kernel(
    rays,  # [tiles,6,RAYS] origin at near and direction
    count,  # [tiles,RAYS] samples along each ray; 0 in a lane without a ray
    start,  # [tiles+1] the hits of a tile are start to the next start, ascending by box
    hit_box,
    hit_first,
    hit_last,
    pose,  # [boxes,12] map to local coordinates, row by row, then centre
    voxels,
    rgba,  # [tiles,RAYS,4] out
    stop,  # [tiles,RAYS] out: which sample saturated the ray, NEVER if none did
    stop_value,  # [tiles,RAYS,4] out: its colour, and the weight that was left for it
    primitives,
    step_size,
    fade_scale,
    fade_exponent,
    EIGHT: tl.constexpr,
    DEPTH: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    RAYS: tl.constexpr,
    GROUP: tl.constexpr,
):
    tile = tl.program_id(0)
    ox, oy, oz, dx, dy, dz = load_rays(rays, tile, RAYS)
    ray = tile.to(tl.int64) * RAYS + tl.arange(0, RAYS)
    samples = tl.load(count + ray)
    begin = tl.load(start + tile)
    end = tl.load(start + tile + 1)
    is_alpha = tl.arange(0, 4)[None, :] == 3
    gathered = tl.zeros([RAYS, 4], tl.float32)
    kept = tl.zeros([RAYS, 4], tl.float32)
    alpha = tl.zeros([RAYS], tl.float32)
    key = tl.full([RAYS], NEVER, tl.int32)
    step = 0
    while step < NEVER:
        t = step * step_size
        upcoming = tl.full([GROUP], NEVER, tl.int32)
        for group in range(begin, end, GROUP):
            member = tl.arange(0, GROUP)
            known = group + member < end
            first = tl.load(hit_first + group + member, mask=known, other=NEVER)
            last = tl.load(hit_last + group + member, mask=known, other=-1)
            upcoming = tl.minimum(upcoming, tl.where(last > step, tl.maximum(first, step + 1), NEVER))
            active = (first <= step) & (step <= last)
            bits = tl.sum(active.to(tl.int64) << member.to(tl.int64), 0)
            while bits != 0:
                rest = bits & (bits - 1)
                # A power of two as a float shows its logarithm in the exponent.
                lowest = ((bits ^ rest).to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127
                bits = rest
                box = tl.load(hit_box + group + lowest)
                row = pose + box.to(tl.int64) * 12
                x = tl.fma(dx, t, ox - tl.load(row + 9))
                y = tl.fma(dy, t, oy - tl.load(row + 10))
                z = tl.fma(dz, t, oz - tl.load(row + 11))
                y0, y1, y2 = turn(row, x, y, z)
                inside = (tl.abs(y0) <= 1) & (tl.abs(y1) <= 1) & (tl.abs(y2) <= 1)
                # Written so that an opacity that is NaN marches on and is seen.
                inside = inside & (step < samples) & ~(alpha >= 1)
                y0, y1, y2 = tl.where(inside, y0, 0.0), tl.where(inside, y1, 0.0), tl.where(inside, y2, 0.0)
                offset, fx, fy, fz = corners(y0, y1, y2, DEPTH, HEIGHT, WIDTH)
                content = voxels + box.to(tl.int64) * (DEPTH * HEIGHT * WIDTH * 4)
                value = interpolate(content + offset, fx, fy, fz, inside, HEIGHT, WIDTH)
                a = channel_of(value, 3) * (fade(y0, y1, y2, fade_scale, fade_exponent, EIGHT) * step_size)
                full = inside & (alpha + a >= 1)
                weight = tl.where(full, 1.0 - alpha, tl.where(inside, a, 0.0))
                alpha = tl.where(full, 1.0, tl.where(inside, alpha + a, alpha))
                gathered += weight[:, None] * value
                key = tl.where(full, step * primitives + box, key)
                kept = tl.where(full[:, None], tl.where(is_alpha, weight[:, None], value), kept)
        going = (step < samples) & ~(alpha >= 1)
        step = tl.where(tl.max(going.to(tl.int32), 0) > 0, tl.min(upcoming, 0), NEVER)
    channels = ray[:, None] * 4 + tl.arange(0, 4)[None, :]
    tl.store(rgba + channels, tl.where(is_alpha, alpha[:, None], gathered))
    tl.store(stop + ray, key)
    tl.store(stop_value + channels, kept)


@triton.jit
@no_type_check
def differentiate(lowest, fx, fy, fz, inside, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """``interpolate`` and the differences to the next voxel along x, y and z, each [RAYS,4]."""
    value = tl.zeros([fx.shape[0], 4], tl.float32)
    along_x = tl.zeros([fx.shape[0], 4], tl.float32)
    along_y = tl.zeros([fx.shape[0], 4], tl.float32)
    along_z = tl.zeros([fx.shape[0], 4], tl.float32)
    for corner in tl.static_range(8):
        wx = fx if corner & 1 else 1.0 - fx
        wy = fy if corner & 2 else 1.0 - fy
        wz = fz if corner & 4 else 1.0 - fz
        at = lowest + (((corner >> 2) * HEIGHT + ((corner >> 1) & 1)) * WIDTH + (corner & 1)) * 4
        content = tl.load(at, mask=inside[:, None], other=0.0)
        yz = (wy * wz)[:, None] * content
        value += wx[:, None] * yz
        along_x = along_x + yz if corner & 1 else along_x - yz
        xz = (wx * wz)[:, None] * content
        along_y = along_y + xz if corner & 2 else along_y - xz
        xy = (wx * wy)[:, None] * content
        along_z = along_z + xy if corner & 4 else along_z - xy
    return value, along_x, along_y, along_z


@triton.jit
@no_type_check
def scatter(lowest, to_value, fx, fy, fz, inside, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Add ``to_value`` [RAYS,4] to the gradients of the voxels around each sample, by their weights."""
    for corner in tl.static_range(8):
        wx = fx if corner & 1 else 1.0 - fx
        wy = fy if corner & 2 else 1.0 - fy
        wz = fz if corner & 4 else 1.0 - fz
        at = lowest + (((corner >> 2) * HEIGHT + ((corner >> 1) & 1)) * WIDTH + (corner & 1)) * 4
        tl.atomic_add(at, (wx * wy * wz)[:, None] * to_value, mask=inside[:, None], sem="relaxed")


@triton.jit
@no_type_check
def to_axis(along, to_value, y, to_fade, exponent, EIGHT: tl.constexpr, SIZE: tl.constexpr):
    """dL/dy along one axis, through the interpolation and through the fade."""
    return 0.5 * (SIZE - 1) * tl.sum(along * to_value, 1) + to_fade * power_slope(y, exponent, EIGHT)


@triton.jit
@no_type_check
def add_axis(grad_pose, AXIS: tl.constexpr, g, tg, x, y, z, dx, dy, dz):
    """Add the sums over a hit of g (x - center)^T and g along one local axis; x - center = (x, y, z) + t d."""
    row = grad_pose + 3 * AXIS
    tl.atomic_add(row, tl.sum(g * x + tg * dx, 0), sem="relaxed")
    tl.atomic_add(row + 1, tl.sum(g * y + tg * dy, 0), sem="relaxed")
    tl.atomic_add(row + 2, tl.sum(g * z + tg * dz, 0), sem="relaxed")
    tl.atomic_add(grad_pose + 9 + AXIS, tl.sum(g, 0), sem="relaxed")


@triton.jit
@no_type_check
def backward_kernel(
    rays,
    count,
    hit_tile,
    hit_box,
    hit_first,
    hit_last,
    pose,
    voxels,
    stop,
    stop_value,
    upstream,  # [tiles,RAYS,4] dL/d rgba
    grad_pose,  # [boxes,12] += g (x - center)^T, then g, with g = dL/dy
    grad_voxels,  # +=
    primitives,
    step_size,
    fade_scale,
    fade_exponent,
    EIGHT: tl.constexpr,
    DEPTH: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    RAYS: tl.constexpr,
):
    """One hit: a sample's gradient needs only the upstream gradient and where its ray saturated, so no order."""
    hit = tl.program_id(0)
    tile, box, begin = tl.load(hit_tile + hit), tl.load(hit_box + hit), tl.load(hit_first + hit)
    ray = tile.to(tl.int64) * RAYS + tl.arange(0, RAYS)
    channels = ray[:, None] * 4 + tl.arange(0, 4)[None, :]
    samples = tl.load(count + ray)
    end_key = tl.load(stop + ray)
    up = tl.load(upstream + channels)
    asked = (samples > 0) & (tl.sum((up != 0).to(tl.int32), 1) > 0)
    # Nothing counts behind the last sample of the tile that does, which is often the whole hit.
    beyond = tl.max(tl.where(asked, end_key, -1), 0) - box
    last = tl.where(beyond < 0, -1, tl.minimum(tl.load(hit_last + hit), beyond // primitives))
    if last < begin:
        return
    row = pose + box.to(tl.int64) * 12
    shift = box.to(tl.int64) * (DEPTH * HEIGHT * WIDTH * 4)
    ox, oy, oz, dx, dy, dz = load_rays(rays, tile, RAYS)
    ox, oy, oz = ox - tl.load(row + 9), oy - tl.load(row + 10), oz - tl.load(row + 11)
    is_alpha = tl.arange(0, 4)[None, :] == 3
    kept = tl.load(stop_value + channels)
    # dL/da of a sample is to_colour . its colour - base: what comes after it loses what it gains.
    to_colour = tl.where(is_alpha, 0.0, up)
    base = tl.where(end_key < NEVER, tl.sum(to_colour * kept, 1), -channel_of(up, 3))
    left = channel_of(kept, 3)
    g0, g1, g2 = tl.zeros([RAYS], tl.float32), tl.zeros([RAYS], tl.float32), tl.zeros([RAYS], tl.float32)
    tg0, tg1, tg2 = tl.zeros([RAYS], tl.float32), tl.zeros([RAYS], tl.float32), tl.zeros([RAYS], tl.float32)
    for step in range(begin, last + 1):
        t = step * step_size
        x, y, z = tl.fma(dx, t, ox), tl.fma(dy, t, oy), tl.fma(dz, t, oz)
        y0, y1, y2 = turn(row, x, y, z)
        key = step * primitives + box
        inside = (tl.abs(y0) <= 1) & (tl.abs(y1) <= 1) & (tl.abs(y2) <= 1)
        inside = inside & (step < samples) & (key <= end_key) & asked
        before = inside & (key < end_key)
        y0, y1, y2 = tl.where(inside, y0, 0.0), tl.where(inside, y1, 0.0), tl.where(inside, y2, 0.0)
        offset, fx, fy, fz = corners(y0, y1, y2, DEPTH, HEIGHT, WIDTH)
        lowest = voxels + shift + offset
        value, along_x, along_y, along_z = differentiate(lowest, fx, fy, fz, inside, HEIGHT, WIDTH)
        faded = fade(y0, y1, y2, fade_scale, fade_exponent, EIGHT) * step_size
        a = channel_of(value, 3) * faded
        to_a = tl.where(before, tl.sum(to_colour * value, 1) - base, 0.0)
        weight = tl.where(before, a, tl.where(inside, left, 0.0))
        to_value = tl.where(is_alpha, (to_a * faded)[:, None], weight[:, None] * up)
        # A ray whose upstream gradient is NaN does not spoil a box that it misses.
        to_value = tl.where(inside[:, None], to_value, 0.0)
        to_fade = -fade_scale * to_a * a
        to_y0 = to_axis(along_x, to_value, y0, to_fade, fade_exponent, EIGHT, WIDTH)
        to_y1 = to_axis(along_y, to_value, y1, to_fade, fade_exponent, EIGHT, HEIGHT)
        to_y2 = to_axis(along_z, to_value, y2, to_fade, fade_exponent, EIGHT, DEPTH)
        # From the first step of the hit, not from near, for the sake of rounding.
        since = (step - begin) * step_size
        g0, g1, g2 = g0 + to_y0, g1 + to_y1, g2 + to_y2
        tg0, tg1, tg2 = tg0 + since * to_y0, tg1 + since * to_y1, tg2 + since * to_y2
        scatter(grad_voxels + shift + offset, to_value, fx, fy, fz, inside, HEIGHT, WIDTH)
    x, y, z = ox + begin * step_size * dx, oy + begin * step_size * dy, oz + begin * step_size * dz
    sums = grad_pose + box.to(tl.int64) * 12
    add_axis(sums, 0, g0, tg0, x, y, z, dx, dy, dz)
    add_axis(sums, 1, g1, tg1, x, y, z, dx, dy, dz)
    add_axis(sums, 2, g2, tg2, x, y, z, dx, dy, dz)
