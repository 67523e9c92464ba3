// Forward: tiles of neighbouring rays march in lockstep. Tiles are grouped into blocks of 16; a block is culled against
// bounding spheres with a cone, then each of its tiles with a narrower cone, then each ray with a slab test.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "culling.h"
#include "sampling.h"

namespace {

constexpr int32_t NEVER = std::numeric_limits<int32_t>::max();

struct Block {   // what backward needs of a block of tiles
    std::vector<Tile> tiles;
    std::vector<Hit> hits;
};

struct Scratch {   // of one thread
    Spheres wide;
    std::vector<Line> lines;
    std::vector<Candidate> hits;
    std::vector<int32_t> waiting, active;
    Tile tiles[TILES_PER_BLOCK];
};

struct Light {   // what a tile has gathered
    F colour[3], alpha;
};

struct View {   // one image of the problem
    const Problem &p;
    int64_t image;
    const Tiling &tiling;
    const Boxes &boxes;
    const float *voxels;
    Grid grid;
    Fade fade;
};

template <bool EIGHT>
inline void add_sample(const View &view, const F y[3], uint32_t inside, const float *voxels, int32_t key, Tile &tile,
                       Light &light, uint32_t &live) {
    alignas(64) Corners corners;
    const Mask mask = from_bits(inside);
    find_corners(view.grid, y, corners);
    corners.offset = select(mask, corners.offset, I{});
    const F fade = exponential(-view.fade.scale * power_sum<EIGHT>(y, view.fade)) * float(view.p.step);
    F value[4];
    gather_lanes(value, [&](int lane) {
        return interpolate(voxels + corners.offset[lane], view.grid, corners.fraction[0][lane],
                           corners.fraction[1][lane], corners.fraction[2][lane]);
    }, inside);
    const F a = value[3] * fade, reached = light.alpha + a;
    const uint32_t full = inside & bits(less_equal(F{} + 1.0f, reached));
    F weight = a;
    if (full) {
        const Mask stop = from_bits(full);
        weight = select(stop, 1.0f - light.alpha, a);
        tile.stop = select(stop, I{} + key, tile.stop);
        tile.stop_weight = select(stop, weight, tile.stop_weight);
        for (int c = 0; c < 3; ++c) tile.stop_colour[c] = select(stop, value[c], tile.stop_colour[c]);
        light.alpha = select(stop, F{} + 1.0f, select(mask, reached, light.alpha));
        live &= ~full;
    } else {
        light.alpha = select(mask, reached, light.alpha);
    }
    for (int c = 0; c < 3; ++c) light.colour[c] = select(mask, light.colour[c] + weight * value[c], light.colour[c]);
}

// Visit the steps of a tile in order and, within a step, the boxes in ascending index.
template <bool EIGHT> void march_tile(const View &view, Scratch &s, Tile &tile, Light &light) {
    const int32_t hits = int32_t(s.hits.size());
    s.waiting.resize(hits);
    for (int32_t h = 0; h < hits; ++h) s.waiting[h] = h;
    std::sort(s.waiting.begin(), s.waiting.end(), [&](int32_t a, int32_t b) {
        return s.hits[a].first != s.hits[b].first ? s.hits[a].first < s.hits[b].first : a < b;
    });
    s.active.clear();
    uint32_t live = ALL_LANES;
    int32_t next = 0;
    for (int32_t step = 0; live; ++step) {
        if (s.active.empty()) {
            if (next == hits) break;
            step = s.hits[s.waiting[next]].first;
        }
        for (; next < hits && s.hits[s.waiting[next]].first == step; ++next) {
            const int32_t h = s.waiting[next];
            s.active.insert(std::upper_bound(s.active.begin(), s.active.end(), h), h);
        }
        live &= bits(less(I{} + step, tile.steps));
        const float t = float(step * view.p.step);
        size_t kept = 0;
        for (size_t n = 0; n < s.active.size(); ++n) {
            const int32_t h = s.active[n];
            Candidate &hit = s.hits[h];
            F y[3];
            s.lines[h].at(t, y);
            const uint32_t inside = live & within_one(y);
            if (inside) {
                hit.seen_first = std::min(hit.seen_first, step), hit.seen_last = step;
                add_sample<EIGHT>(view, y, inside, view.voxels + hit.primitive * view.grid.size,
                                  int32_t(step * view.p.primitives) + hit.primitive, tile, light, live);
            }
            if (hit.last > step) s.active[kept++] = h;
        }
        s.active.resize(kept);
    }
}

bool find_hits(const View &view, const Cone &cone, const Tile &tile, Scratch &s) {
    s.hits.clear();
    s.lines.clear();
    const float step = float(view.p.step);
    for (int64_t i = 0; i < s.wide.count; i += LANES) {
        const Spheres &w = s.wide;
        uint32_t left = touched(cone, load(&w.x[i]), load(&w.y[i]), load(&w.z[i]), load(&w.radius[i]));
        for (; left; left &= left - 1) {
            const int32_t k = s.wide.index[i + __builtin_ctz(left)];
            const Line line = in_box(tile, view.boxes.box[k]);
            Candidate hit{k, 1, 0, NEVER, 0};
            step_range(line, tile, step, hit.first, hit.last);
            if (hit.first > hit.last) continue;
            s.hits.push_back(hit);
            s.lines.push_back(line);
        }
    }
    return !s.hits.empty();
}

void keep_tile(const Tile &tile, const Scratch &s, Block &block) {
    const int32_t index = int32_t(block.tiles.size());
    bool any = false;
    for (const Candidate &hit : s.hits) {
        if (hit.seen_first == NEVER) continue;
        block.hits.push_back(Hit{hit.primitive, index, hit.seen_first, hit.seen_last});
        any = true;
    }
    if (any) block.tiles.push_back(tile);
}

void start_tile(const Problem &p, Tile &tile) {
    tile.stop = tile.steps * int32_t(p.primitives) - 1;
    tile.stop_weight = F{} - 1.0f;
}

void march_block(const View &view, int64_t index, Scratch &s, Block *keep, float *rgba) {
    int count = 0;
    for (int t = 0; t < TILES_PER_BLOCK; ++t) {
        const int64_t x = view.tiling.first_x(index, t), y = view.tiling.first_y(index, t);
        if (view.tiling.inside(x, y)) {
            load_tile(view.p, view.tiling, view.image, y * view.tiling.width + x, s.tiles[count++]);
        }
    }
    cull(bound(s.tiles, count, float(view.p.step)), view.boxes, s.wide);
    for (int t = 0; t < count; ++t) {
        Tile &tile = s.tiles[t];
        Light light{};
        if (s.wide.count && find_hits(view, bound(&tile, 1, float(view.p.step)), tile, s)) {
            start_tile(view.p, tile);
            if (view.fade.eight) march_tile<true>(view, s, tile, light);
            else march_tile<false>(view, s, tile, light);
            if (keep) keep_tile(tile, s, *keep);
        }
        each_ray(view.tiling, tile.first_ray, [&](int lane, int64_t ray) {
            for (int c = 0; c < 3; ++c) rgba[ray * 4 + c] = light.colour[c][lane];
            rgba[ray * 4 + 3] = light.alpha[lane];
        });
    }
}

struct Record {   // of one forward call
    std::vector<Boxes> boxes;
    std::vector<Block> blocks;
};

void forward(const Problem &p, float *rgba, bool keep, Record &record) {
    const Tiling tiling(p);
    const Grid grid(p);
    record.boxes.resize(p.images);
    if (keep) record.blocks.resize(p.images * tiling.blocks());
    std::vector<std::unique_ptr<Scratch>> scratch(p.threads);
    for_each(p.images, p, [&](int64_t image, int) { make_boxes(p, image, record.boxes[image]); });
    for_each(p.images * tiling.blocks(), p, [&](int64_t task, int thread) {
        auto &mine = scratch[thread];
        if (!mine) {
            mine = std::make_unique<Scratch>();
            mine->wide.reserve(p.primitives);
        }
        const int64_t image = task / tiling.blocks();
        const float *voxels = p.voxels + image * p.primitives * grid.size;
        const View view{p, image, tiling, record.boxes[image], voxels, grid, Fade(p)};
        Block *block = keep ? &record.blocks[task] : nullptr;
        march_block(view, task % tiling.blocks(), *mine, block, rgba + image * p.rays * 4);
    });
}

}  // namespace
