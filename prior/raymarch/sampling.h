// Voxels and fade at local coordinates y.
#pragma once

#include <cmath>

#include "lanes.h"
#include "problem.h"

namespace {

struct Grid {
    int64_t row, slice, size;   // floats from one y, one z, one primitive to the next
    float scale[3];             // (N - 1) / 2 along x, y, z
    int32_t limit[3];           // N - 2

    explicit Grid(const Problem &p) {
        row = p.width * 4, slice = p.height * row, size = p.depth * slice;
        const int64_t n[3] = {p.width, p.height, p.depth};
        for (int a = 0; a < 3; ++a) scale[a] = float(n[a] - 1) / 2, limit[a] = int32_t(n[a] - 2);
    }
};

struct alignas(64) Corners {   // of a vector of samples: lower corner (an offset in floats), position between corners
    F fraction[3];
    I offset;
};

inline void find_corners(const Grid &grid, const F y[3], Corners &out) {
    I cell[3];
    for (int a = 0; a < 3; ++a) {
        const F u = y[a] * grid.scale[a] + grid.scale[a];
        cell[a] = minimum(truncate(u), I{} + grid.limit[a]);
        out.fraction[a] = u - convert(cell[a]);
    }
    out.offset = cell[2] * int32_t(grid.slice) + cell[1] * int32_t(grid.row) + cell[0] * 4;
}

struct Fade {
    float scale, exponent;
    bool eight;

    explicit Fade(const Problem &p) : scale(float(p.fade_scale)), exponent(float(p.fade_exponent)) {
        eight = p.fade_exponent == 8.0;
    }
};

template <bool EIGHT> inline F power_sum(const F y[3], const Fade &fade) {   // sum(|y|^exponent)
    F sum = {};
    for (int a = 0; a < 3; ++a) {
        if (EIGHT) {
            const F y2 = y[a] * y[a], y4 = y2 * y2;
            sum += y4 * y4;
        } else {
            for (int lane = 0; lane < LANES; ++lane) sum[lane] += std::pow(std::fabs(y[a][lane]), fade.exponent);
        }
    }
    return sum;
}

template <bool EIGHT> inline F power_slope(F y, const Fade &fade) {   // d |y|^exponent / dy
    if (EIGHT) {
        const F y2 = y * y, y4 = y2 * y2;
        return 8.0f * (y4 * y2 * y);
    }
    F out = {};
    for (int lane = 0; lane < LANES; ++lane) {
        if (y[lane] == 0) continue;
        const float size = fade.exponent * std::pow(std::fabs(y[lane]), fade.exponent - 1);
        out[lane] = std::copysign(size, y[lane]);
    }
    return out;
}

inline F4 interpolate(const float *corner, const Grid &grid, float fx, float fy, float fz) {
    const F8 r00 = load8(corner), r01 = load8(corner + grid.row);
    const F8 r10 = load8(corner + grid.slice), r11 = load8(corner + grid.slice + grid.row);
    const F8 a0 = r00 + fy * (r01 - r00), a1 = r10 + fy * (r11 - r10);
    const F8 v = a0 + fz * (a1 - a0);
    const F4 left = low(v), right = high(v);
    return left + fx * (right - left);
}

}  // namespace
