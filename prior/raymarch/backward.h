// Backward: one primitive at a time over the tiles that saw it, so that its voxel gradient stays in the first-level
// cache and every sum has one fixed order. A sample's gradient needs only the upstream gradient and where its ray
// saturated, which forward records.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "forward.h"

namespace {

struct Upstream {   // of a tile
    F colour[3];
    F base;   // dL/da of a sample is colour . its colour - base
    I stop;   // -1 where the upstream gradient is zero
};

struct Place {   // a tile that saw a primitive
    const Tile *tile;
    const Upstream *upstream;
    int32_t first, last;
};

constexpr int QUEUE = 128;

struct alignas(64) Queue {   // samples of one primitive, packed
    float y[3][QUEUE + LANES], colour[3][QUEUE + LANES], base[QUEUE + LANES], weight[QUEUE + LANES];
    int size = 0;
};

struct Sums {   // over the samples of a primitive; g = dL/dy, split into the parts of fade and of interpolation
    F fade[3], fade_y[3][3];
    F16 value, value_y[3];   // elements 4 a + channel hold axis a; the last four are not used
};

struct Target {   // one primitive
    Grid grid;
    Fade fade;
    float step;
    const float *voxels;
    float *grad;
};

template <bool EIGHT> void flush_vector(const Target &target, const Queue &q, int at, Sums &sums) {
    const Grid grid = target.grid;
    const F y[3] = {load(q.y[0] + at), load(q.y[1] + at), load(q.y[2] + at)};
    alignas(64) Corners corners;
    find_corners(grid, y, corners);
    const F faded = exponential(-target.fade.scale * power_sum<EIGHT>(y, target.fade)) * target.step;
    alignas(64) F16 slope[LANES];
    F value[4];
    gather_lanes(value, [&](int lane) {
        const float *corner = target.voxels + corners.offset[lane];
        const float fx = corners.fraction[0][lane], fy = corners.fraction[1][lane], fz = corners.fraction[2][lane];
        const F8 r00 = load8(corner), r01 = load8(corner + grid.row);
        const F8 r10 = load8(corner + grid.slice), r11 = load8(corner + grid.slice + grid.row);
        const F8 d0 = r01 - r00, d1 = r11 - r10;
        const F8 a0 = r00 + fy * d0, a1 = r10 + fy * d1;
        const F8 along_y = d0 + fz * (d1 - d0), along_z = a1 - a0, v = a0 + fz * along_z;
        const F4 along_x = high(v) - low(v);
        slope[lane] = join(along_x, low(along_y) + fx * (high(along_y) - low(along_y)),
                           low(along_z) + fx * (high(along_z) - low(along_z)));
        return low(v) + fx * along_x;
    }, ALL_LANES);

    const F gr = load(q.colour[0] + at), gg = load(q.colour[1] + at), gb = load(q.colour[2] + at);
    const F stop_weight = load(q.weight + at);
    const Mask before = less(stop_weight, F{});
    const F a = value[3] * faded;
    const F dot = gr * value[0] + gg * value[1] + gb * value[2] - load(q.base + at);
    const F to_a = select(before, dot, F{});
    const F weight = select(before, a, stop_weight);
    const F to_fade = -target.fade.scale * (to_a * a);
    for (int i = 0; i < 3; ++i) {
        const F g = to_fade * power_slope<EIGHT>(y[i], target.fade);
        sums.fade[i] += g;
        for (int j = 0; j < 3; ++j) sums.fade_y[i][j] += g * y[j];
    }
    const F to_value[4] = {weight * gr, weight * gg, weight * gb, to_a * faded};
    alignas(64) float rows[LANES * 4];
    scatter_lanes(to_value, rows);
    const F fy = corners.fraction[1], fz = corners.fraction[2];
    alignas(64) F w[4];
    w[3] = fy * fz, w[2] = fz - w[3], w[1] = fy - w[3], w[0] = 1.0f - fy - w[2];
    F16 value_sum = sums.value, sum_x = sums.value_y[0], sum_y = sums.value_y[1], sum_z = sums.value_y[2];
    for (int lane = 0; lane < LANES; ++lane) {
        const F4 to = load4(rows + lane * 4);
        const F16 part = slope[lane] * repeat(to);
        value_sum += part;
        sum_x += part * q.y[0][at + lane], sum_y += part * q.y[1][at + lane], sum_z += part * q.y[2][at + lane];
        const F4 right = to * corners.fraction[0][lane];
        const F8 pair = join(to - right, right);
        float *corner = target.grad + corners.offset[lane];
        add8(corner, w[0][lane] * pair);
        add8(corner + grid.row, w[1][lane] * pair);
        add8(corner + grid.slice, w[2][lane] * pair);
        add8(corner + grid.slice + grid.row, w[3][lane] * pair);
    }
    sums.value = value_sum, sums.value_y[0] = sum_x, sums.value_y[1] = sum_y, sums.value_y[2] = sum_z;
}

template <bool EIGHT> void flush(const Target &target, Queue &q, bool all, Sums &sums) {
    int at = 0;
    for (; at + LANES <= q.size; at += LANES) flush_vector<EIGHT>(target, q, at, sums);
    const int rest = q.size - at;
    float *rows[] = {q.y[0], q.y[1], q.y[2], q.colour[0], q.colour[1], q.colour[2], q.base, q.weight};
    for (float *row : rows) std::memmove(row, row + at, LANES * sizeof(float));
    q.size = rest;
    if (!all || rest == 0) return;
    for (float *row : rows) std::fill(row + rest, row + LANES, 0.0f);   // a sample without upstream gradient
    flush_vector<EIGHT>(target, q, 0, sums);
    q.size = 0;
}

inline void enqueue(Queue &q, const F y[3], const Upstream &up, F weight, uint32_t inside) {
    for (int a = 0; a < 3; ++a) pack(q.y[a] + q.size, y[a], inside);
    for (int c = 0; c < 3; ++c) pack(q.colour[c] + q.size, up.colour[c], inside);
    pack(q.base + q.size, up.base, inside);
    pack(q.weight + q.size, weight, inside);
    q.size += __builtin_popcount(inside);
}

struct Gradients {
    float *center, *rotation, *half_size, *voxels;
};

void pose_gradients(const Box &box, const Grid &grid, const Sums &sums, float *center, float *rotation,
                    float *half_size) {
    double g[3], gy[3][3];   // sums of g_a and of g_a y_b
    for (int a = 0; a < 3; ++a) {
        g[a] = total(sums.fade[a]) + grid.scale[a] * total4(sums.value, a);
        for (int b = 0; b < 3; ++b) gy[a][b] = total(sums.fade_y[a][b]) + grid.scale[a] * total4(sums.value_y[b], a);
    }
    for (int m = 0; m < 3; ++m) {
        center[m] = float(-(box.to_local[0][m] * g[0] + box.to_local[1][m] * g[1] + box.to_local[2][m] * g[2]));
        half_size[m] = float(-gy[m][m] / box.half_size[m]);
        for (int a = 0; a < 3; ++a) {
            double sum = 0;
            for (int b = 0; b < 3; ++b) sum += box.to_frame[m][b] * gy[a][b];
            rotation[m * 3 + a] = float(sum / box.half_size[a]);
        }
    }
}

template <bool EIGHT>
void backward_box(const Problem &p, const Target &target, const Box &box, int32_t primitive, const Place *places,
                  int64_t count, Sums &sums) {
    Queue queue;
    for (const Place *place = places; place != places + count; ++place) {
        const Line line = in_box(*place->tile, box);
        const I stop = place->upstream->stop;
        for (int32_t step = place->first; step <= place->last; ++step) {
            F y[3];
            line.at(float(step * p.step), y);
            const int32_t key = int32_t(step * p.primitives) + primitive;
            const uint32_t inside = within_one(y) & bits(less(I{} + (key - 1), stop));
            if (!inside) continue;
            const F weight = select(less(I{} + key, stop), F{} - 1.0f, place->tile->stop_weight);
            enqueue(queue, y, *place->upstream, weight, inside);
            if (queue.size >= QUEUE) flush<EIGHT>(target, queue, false, sums);
        }
    }
    flush<EIGHT>(target, queue, true, sums);
}

void load_upstream(const Tiling &tiling, const Tile &tile, const float *grad_rgba, Upstream &up) {
    F g[4] = {};
    each_ray(tiling, tile.first_ray, [&](int lane, int64_t ray) {
        for (int c = 0; c < 4; ++c) g[c][lane] = grad_rgba[ray * 4 + c];
    });
    for (int c = 0; c < 3; ++c) up.colour[c] = g[c];
    const F at_stop = g[0] * tile.stop_colour[0] + g[1] * tile.stop_colour[1] + g[2] * tile.stop_colour[2];
    up.base = select(less(tile.stop_weight, F{}), -g[3], at_stop);
    uint32_t zero = ALL_LANES;
    for (int c = 0; c < 4; ++c) zero &= bits(equal(g[c], F{}));
    up.stop = select(from_bits(zero), I{} - 1, tile.stop);
}

struct Plan {   // of one image: its tiles' upstream gradients, and for each primitive the tiles that saw it, in order
    std::vector<Upstream> upstream;
    std::vector<Place> places;
    std::vector<int64_t> start;
};

void make_plan(const Problem &p, const Tiling &tiling, const Block *blocks, const float *grad_rgba, Plan &plan) {
    size_t tiles = 0, hits = 0;
    for (int64_t b = 0; b < tiling.blocks(); ++b) tiles += blocks[b].tiles.size(), hits += blocks[b].hits.size();
    plan.upstream.resize(tiles);
    plan.places.resize(hits);
    plan.start.assign(p.primitives + 1, 0);
    for (int64_t b = 0; b < tiling.blocks(); ++b)
        for (const Hit &hit : blocks[b].hits) plan.start[hit.primitive + 1] += 1;
    for (int64_t k = 0; k < p.primitives; ++k) plan.start[k + 1] += plan.start[k];
    std::vector<int64_t> next(plan.start.begin(), plan.start.end() - 1);
    Upstream *upstream = plan.upstream.data();
    for (int64_t b = 0; b < tiling.blocks(); ++b) {
        const Block &block = blocks[b];
        for (size_t t = 0; t < block.tiles.size(); ++t) load_upstream(tiling, block.tiles[t], grad_rgba, upstream[t]);
        for (const Hit &hit : block.hits) {
            const Place place{&block.tiles[hit.tile], upstream + hit.tile, hit.first, hit.last};
            plan.places[next[hit.primitive]++] = place;
        }
        upstream += block.tiles.size();
    }
}

std::vector<int64_t> largest_first(const Problem &p, const std::vector<Plan> &plans) {
    std::vector<int64_t> order(p.images * p.primitives), work(order.size());
    for (size_t task = 0; task < order.size(); ++task) {
        const auto &start = plans[task / p.primitives].start;
        order[task] = int64_t(task), work[task] = start[task % p.primitives + 1] - start[task % p.primitives];
    }
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return work[a] > work[b]; });
    return order;
}

void backward(const Problem &p, const Record &record, const float *grad_rgba, const Gradients &out) {
    const Tiling tiling(p);
    const Grid grid(p);
    std::vector<Plan> plans(p.images);
    for_each(p.images, p, [&](int64_t image, int) {
        const Block *blocks = record.blocks.data() + image * tiling.blocks();
        make_plan(p, tiling, blocks, grad_rgba + image * p.rays * 4, plans[image]);
    });
    const std::vector<int64_t> order = largest_first(p, plans);
    for_each(int64_t(order.size()), p, [&](int64_t n, int) {
        const int64_t task = order[n], image = task / p.primitives, k = task % p.primitives;
        const Box &box = record.boxes[image].box[k];
        const int64_t start = plans[image].start[k], count = plans[image].start[k + 1] - start;
        const Target target{grid, Fade(p), float(p.step), p.voxels + task * grid.size, out.voxels + task * grid.size};
        std::memset(target.grad, 0, grid.size * sizeof(float));
        float *center = out.center + task * 3, *half_size = out.half_size + task * 3;
        float *rotation = out.rotation + task * 9;
        if (count == 0) {   // exactly zero even where the rotation cannot be inverted
            std::fill_n(center, 3, 0.0f), std::fill_n(rotation, 9, 0.0f), std::fill_n(half_size, 3, 0.0f);
            return;
        }
        Sums sums{};
        const auto run = target.fade.eight ? backward_box<true> : backward_box<false>;
        run(p, target, box, int32_t(k), plans[image].places.data() + start, count, sums);
        pose_gradients(box, grid, sums, center, rotation, half_size);
    });
}

}  // namespace
