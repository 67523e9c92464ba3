// A vector of neighbouring rays at a time, a lane a ray.
#pragma once

#include <algorithm>
#include <cmath>

#include "lanes.h"
#include "problem.h"

namespace {

constexpr int TILES_PER_BLOCK = 16;

struct Tile {
    F origin[3], direction[3];   // origin is at t = near
    I steps;                     // samples along the ray; 0 in a lane without a ray
    I stop;                      // step * K + primitive of the last sample that counts
    F stop_weight;               // its weight if it saturated the ray, else -1
    F stop_colour[3];
    int64_t first_ray;
};

struct Hit {   // a tile that saw a primitive, at steps first to last
    int32_t primitive, tile, first, last;
};

struct Candidate {   // a primitive that a tile may meet at steps first to last, and where it did
    int32_t primitive, first, last, seen_first, seen_last;
};

struct Tiling {  // which rays form a tile: 4 x 4 (8 lanes: 4 x 2, 4: 2 x 2) pixels of an image, or as many in a row
    int64_t width, height, tile_w, tile_h, block_w, block_h, blocks_x, blocks_y;

    explicit Tiling(const Problem &p) {
        const bool image = p.image_width > 0;
        width = image ? p.image_width : p.rays;
        height = image ? p.image_height : 1;
        tile_w = image ? (LANES == 4 ? 2 : 4) : LANES, tile_h = LANES / tile_w;
        block_w = tile_w * (image ? 4 : TILES_PER_BLOCK), block_h = tile_h * (image ? 4 : 1);
        blocks_x = (width + block_w - 1) / block_w, blocks_y = (height + block_h - 1) / block_h;
    }
    int64_t blocks() const { return blocks_x * blocks_y; }
    // Neighbouring lanes are neighbouring pixels: the bits of a lane alternate between x and y.
    int lane_x(int lane) const { return tile_h == 1 ? lane : (lane & 1) | ((lane >> 1) & 2); }
    int lane_y(int lane) const { return tile_h == 1 ? 0 : ((lane >> 1) & 1) | ((lane >> 2) & 2); }
    int64_t first_x(int64_t block, int tile) const {
        return block % blocks_x * block_w + tile % (block_w / tile_w) * tile_w;
    }
    int64_t first_y(int64_t block, int tile) const {
        return block / blocks_x * block_h + tile / (block_w / tile_w) * tile_h;
    }
    bool inside(int64_t x, int64_t y) const { return x < width && y < height; }
};

template <class Visit>  // visit(lane, ray) for the lanes that hold a ray
inline void each_ray(const Tiling &tiling, int64_t first_ray, Visit visit) {
    const int64_t x = first_ray % tiling.width, y = first_ray / tiling.width;
    for (int lane = 0; lane < LANES; ++lane) {
        const int64_t rx = x + tiling.lane_x(lane), ry = y + tiling.lane_y(lane);
        if (tiling.inside(rx, ry)) visit(lane, ry * tiling.width + rx);
    }
}

inline int32_t count_steps(double near, double far, double step, double per_step) {  // as Scene.last_step
    double last = std::floor((far - near) * per_step);
    if (near + (last + 1) * step <= far) last += 1;
    if (near + last * step > far) last -= 1;
    return int32_t(last) + 1;
}

void load_tile(const Problem &p, const Tiling &tiling, int64_t image, int64_t first_ray, Tile &tile) {
    tile = Tile{};
    tile.first_ray = first_ray;
    const double per_step = 1 / p.step;
    each_ray(tiling, first_ray, [&](int lane, int64_t ray) {
        const int64_t at = image * p.rays + ray;
        const float near = p.near_far[at * 2], far = p.near_far[at * 2 + 1];
        for (int m = 0; m < 3; ++m) {
            const float d = p.direction[at * 3 + m];
            tile.origin[m][lane] = p.origin[at * 3 + m] + near * d;
            tile.direction[m][lane] = d;
        }
        tile.steps[lane] = count_steps(near, far, p.step, per_step);
    });
}

}  // namespace
