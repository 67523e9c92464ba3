// The CPU kernel of prior.raymarch (contract: prior/raymarch/api.py), called through ctypes.
//
// Forward: tiles of 16 rays march in lockstep, a lane a ray. Tiles are grouped into blocks of 16; a block is culled
// against bounding spheres with a cone, then each of its tiles with a narrower cone, then each ray with a slab test.
// Backward: one primitive at a time over the tiles that saw it, so that its voxel gradient stays in the first-level
// cache and every sum has one fixed order: results are the same bits for any number of threads.
// A sample's gradient needs only the upstream gradient and where its ray saturated, which forward records.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include <omp.h>

#include "lanes.h"

namespace {

constexpr int TILES_PER_BLOCK = 16;
constexpr int32_t NEVER = std::numeric_limits<int32_t>::max();

struct Problem {  // mirrored field by field in prior/raymarch/cpu.py
    int64_t images, rays, primitives;
    int64_t depth, height, width;          // of a primitive's voxels
    int64_t image_height, image_width;     // 0, 0: the rays are no image
    int64_t threads;
    double step, fade_scale, fade_exponent;
    const float *origin, *direction, *near_far, *center, *rotation, *half_size, *voxels;
};

// work(i, thread) for all i, each whole on one thread. Nothing may be thrown out of a parallel loop.
template <class Work> void for_each(int64_t count, const Problem &p, Work work) {
    bool out_of_memory = false;
#pragma omp parallel for schedule(dynamic, 1) num_threads(int(p.threads))
    for (int64_t i = 0; i < count; ++i) {
        try {
            work(i, omp_get_thread_num());
        } catch (const std::bad_alloc &) {
#pragma omp atomic write
            out_of_memory = true;
        }
    }
    if (out_of_memory) throw std::bad_alloc();
}

// Primitives --------------------------------------------------------------------------------------------------------

struct Box {
    float to_local[3][3];   // y = to_local (x - center)
    float to_frame[3][3];   // x - center = to_frame y
    float center[3], half_size[3];
};

struct Boxes {  // of one image; the spheres are padded to whole vectors
    std::vector<Box> box;
    std::vector<float> x, y, z, radius;
};

// Bounding radius: the farthest corner. Infinite where the rotation cannot be inverted, so nothing is culled.
float corner_radius(const float m[3][3]) {
    double farthest = 0;
    for (int corner = 0; corner < 4; ++corner) {
        double square = 0;
        for (int row = 0; row < 3; ++row) {
            double sum = m[row][0] + (corner & 1 ? -1.0 : 1.0) * m[row][1] + (corner & 2 ? -1.0 : 1.0) * m[row][2];
            square += sum * sum;
        }
        farthest = std::max(farthest, square);
    }
    return std::isfinite(farthest) ? float(std::sqrt(farthest) * 1.001) : std::numeric_limits<float>::infinity();
}

Box make_box(const float *center, const float *r, const float *half_size) {
    Box box;
    for (int a = 0; a < 3; ++a) {
        box.center[a] = center[a];
        box.half_size[a] = half_size[a];
        for (int m = 0; m < 3; ++m) box.to_local[a][m] = r[m * 3 + a] / half_size[a];
    }
    double cofactor[3][3];
    for (int m = 0; m < 3; ++m)
        for (int a = 0; a < 3; ++a) {
            int m1 = (m + 1) % 3, m2 = (m + 2) % 3, a1 = (a + 1) % 3, a2 = (a + 2) % 3;
            cofactor[m][a] = double(r[m1 * 3 + a1]) * r[m2 * 3 + a2] - double(r[m1 * 3 + a2]) * r[m2 * 3 + a1];
        }
    double determinant = r[0] * cofactor[0][0] + r[1] * cofactor[0][1] + r[2] * cofactor[0][2];
    for (int m = 0; m < 3; ++m)
        for (int a = 0; a < 3; ++a) box.to_frame[m][a] = float(cofactor[m][a] / determinant * half_size[a]);
    return box;
}

void make_boxes(const Problem &p, int64_t image, Boxes &out) {
    const int64_t k = p.primitives, padded = (k + LANES - 1) / LANES * LANES;
    out.box.resize(k);
    for (auto *values : {&out.x, &out.y, &out.z}) values->assign(padded, 0.0f);
    out.radius.assign(padded, std::numeric_limits<float>::quiet_NaN());  // padding never passes a comparison
    for (int64_t i = 0; i < k; ++i) {
        const int64_t at = image * k + i;
        out.box[i] = make_box(p.center + at * 3, p.rotation + at * 9, p.half_size + at * 3);
        out.x[i] = p.center[at * 3], out.y[i] = p.center[at * 3 + 1], out.z[i] = p.center[at * 3 + 2];
        out.radius[i] = corner_radius(out.box[i].to_frame);
    }
}

// Rays --------------------------------------------------------------------------------------------------------------

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

struct Tiling {  // which rays form a tile: 4 x 4 pixels of an image, or 16 in a row
    int64_t width, height, tile_w, tile_h, block_w, block_h, blocks_x, blocks_y;

    explicit Tiling(const Problem &p) {
        const bool image = p.image_width > 0;
        width = image ? p.image_width : p.rays;
        height = image ? p.image_height : 1;
        tile_w = image ? 4 : LANES, tile_h = image ? 4 : 1;
        block_w = tile_w * (image ? 4 : TILES_PER_BLOCK), block_h = tile_h * (image ? 4 : 1);
        blocks_x = (width + block_w - 1) / block_w, blocks_y = (height + block_h - 1) / block_h;
    }
    int64_t blocks() const { return blocks_x * blocks_y; }
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

// Culling -----------------------------------------------------------------------------------------------------------

struct Cone {  // contains all rays: apex within `spread` of their starts, angle to the axis, length
    float apex[3], axis[3], cosine, sine, spread, length;
};

Cone bound(const Tile *tiles, int count, float step) {
    double apex[3] = {}, axis[3] = {}, rays = 0;
    int32_t steps = 0;
    for (int t = 0; t < count; ++t)
        for (int lane = 0; lane < LANES; ++lane) {
            if (tiles[t].steps[lane] == 0) continue;
            rays += 1;
            steps = std::max(steps, int32_t(tiles[t].steps[lane]));
            for (int m = 0; m < 3; ++m) apex[m] += tiles[t].origin[m][lane], axis[m] += tiles[t].direction[m][lane];
        }
    Cone cone{};
    if (rays == 0) return cone;
    const double norm = std::max(std::sqrt(axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2]), 1e-30);
    for (int m = 0; m < 3; ++m) cone.apex[m] = float(apex[m] / rays), cone.axis[m] = float(axis[m] / norm);
    float cosine = 1, spread = 0;
    for (int t = 0; t < count; ++t) {
        F dot = {}, distance = {};
        for (int m = 0; m < 3; ++m) {
            const F offset = tiles[t].origin[m] - cone.apex[m];
            dot += tiles[t].direction[m] * cone.axis[m], distance += offset * offset;
        }
        for (int lane = 0; lane < LANES; ++lane) {
            if (tiles[t].steps[lane] == 0) continue;
            cosine = std::min(cosine, float(dot[lane])), spread = std::max(spread, float(distance[lane]));
        }
    }
    cosine -= 2e-3f * (1 - cosine) + 1e-6f;  // directions are of unit length within 0.1 %
    cone.cosine = cosine;
    cone.sine = std::sqrt(std::max(1 - cosine * cosine, 0.0f));
    cone.spread = std::sqrt(spread) * 1.001f;
    cone.length = float(steps) * step * 1.002f;
    return cone;
}

// Which of 16 spheres the rays of a cone may touch, as bits.
inline uint32_t touched(const Cone &cone, F x, F y, F z, F radius) {
    x -= cone.apex[0], y -= cone.apex[1], z -= cone.apex[2];
    const F along = x * cone.axis[0] + y * cone.axis[1] + z * cone.axis[2];
    const F square = x * x + y * y + z * z;
    const F reach = radius + cone.spread + 1e-5f * (root(square) + 1e-3f);
    const F across = root(maximum(square - along * along, F{}));
    const F near_cone = across * cone.cosine - along * cone.sine;
    // A cone of 90 degrees and more bounds nothing but the length.
    const Mask beside = cone.cosine > 0.05f ? less_equal(near_cone, reach) : less_equal(radius, radius);
    const float start = cone.cosine > 0.05f ? 0.0f : -cone.length;
    return bits(beside) & bits(less_equal(along - cone.length, reach)) & bits(less_equal(start - along, reach));
}

struct Spheres {   // of the boxes that a block may meet
    std::vector<float> x, y, z, radius;
    std::vector<int32_t> index;
    int64_t count = 0;

    void reserve(int64_t n) {
        for (auto *values : {&x, &y, &z, &radius}) values->resize(n + LANES);
        index.resize(n + LANES);
    }
};

void cull(const Cone &cone, const Boxes &boxes, Spheres &out) {
    out.count = 0;
    const int64_t padded = int64_t(boxes.x.size());
    for (int64_t i = 0; i < padded; i += LANES) {
        uint32_t left = touched(cone, load(&boxes.x[i]), load(&boxes.y[i]), load(&boxes.z[i]), load(&boxes.radius[i]));
        for (; left; left &= left - 1) {
            const int64_t k = i + __builtin_ctz(left);
            out.x[out.count] = boxes.x[k], out.y[out.count] = boxes.y[k], out.z[out.count] = boxes.z[k];
            out.radius[out.count] = boxes.radius[k], out.index[out.count++] = int32_t(k);
        }
    }
    for (int i = 0; i < LANES; ++i) out.radius[out.count + i] = std::numeric_limits<float>::quiet_NaN();
}

struct Line {  // y(t) = start + t * slope of 16 rays in one box
    F start[3], slope[3];
};

inline Line in_box(const Tile &tile, const Box &box) {
    Line line;
    const F x = tile.origin[0] - box.center[0], y = tile.origin[1] - box.center[1], z = tile.origin[2] - box.center[2];
    for (int a = 0; a < 3; ++a) {
        const float *m = box.to_local[a];
        line.start[a] = x * m[0] + y * m[1] + z * m[2];
        line.slope[a] = tile.direction[0] * m[0] + tile.direction[1] * m[1] + tile.direction[2] * m[2];
    }
    return line;
}

// Slab test: first and last step at which some lane may be inside; first > last if none.
// The box is enlarged by more than the rounding of y(t), and the steps by more than that of t.
inline void step_range(const Line &line, const Tile &tile, float step, int32_t &first, int32_t &last) {
    F enter = F{} - 1e30f, leave = F{} + 1e30f;
    for (int a = 0; a < 3; ++a) {
        const F inverse = reciprocal(line.slope[a] * step);   // where the slope is 0: NaN, which bounds nothing
        const F middle = -line.start[a] * inverse;
        const F half = (1.00001f + 1e-6f * absolute(line.start[a])) * absolute(inverse);
        enter = maximum(middle - half, enter), leave = minimum(middle + half, leave);
    }
    const F from = enter - (0.02f + 4e-6f * absolute(enter)), to = leave + (0.02f + 4e-6f * absolute(leave));
    const F end = convert(tile.steps) - 1.0f;
    const F low = maximum(from, F{}), high = minimum(to, end);
    const Mask valid = less_equal(low, high);
    if (!bits(valid)) {
        first = 1, last = 0;
        return;
    }
    first = int32_t(std::ceil(least(select(valid, low, F{} + 2e9f))));
    last = int32_t(greatest(select(valid, high, F{} - 1.0f)));
}

// Sampling ----------------------------------------------------------------------------------------------------------

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

struct alignas(64) Corners {   // lower corner (an offset in floats) and position between the corners, of 16 samples
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
    for (int lane = 0; lane < LANES; ++lane)
        if (y[lane] != 0) out[lane] = std::copysign(fade.exponent * std::pow(std::fabs(y[lane]), fade.exponent - 1), y[lane]);
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

// Forward -----------------------------------------------------------------------------------------------------------

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
    uint32_t live = 0xFFFF;
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
            const Line &line = s.lines[h];
            Candidate &hit = s.hits[h];
            const F y[3] = {line.start[0] + t * line.slope[0], line.start[1] + t * line.slope[1],
                            line.start[2] + t * line.slope[2]};
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
        uint32_t left = touched(cone, load(&s.wide.x[i]), load(&s.wide.y[i]), load(&s.wide.z[i]), load(&s.wide.radius[i]));
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
            load_tile(view.p, view.tiling, 0, y * view.tiling.width + x, s.tiles[count++]);
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

Problem image_of(const Problem &p, int64_t image) {   // the problem with only this image
    Problem one = p;
    one.images = 1;
    one.origin += image * p.rays * 3, one.direction += image * p.rays * 3, one.near_far += image * p.rays * 2;
    return one;
}

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
        const Problem one = image_of(p, image);
        const float *voxels = p.voxels + image * p.primitives * grid.size;
        const View view{one, tiling, record.boxes[image], voxels, grid, Fade(p)};
        march_block(view, task % tiling.blocks(), *mine, keep ? &record.blocks[task] : nullptr, rgba + image * p.rays * 4);
    });
}

// Backward ----------------------------------------------------------------------------------------------------------

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
    F value, value_y[3];   // elements 4 a + channel hold axis a; the last four are not used
};

template <bool EIGHT>
void flush_sixteen(const Grid &grid, const Fade &fade, float step, const float *voxels, float *grad, const Queue &q,
                   int at, Sums &sums) {
    const F y[3] = {load(q.y[0] + at), load(q.y[1] + at), load(q.y[2] + at)};
    alignas(64) Corners corners;
    find_corners(grid, y, corners);
    const F faded = exponential(-fade.scale * power_sum<EIGHT>(y, fade)) * step;
    alignas(64) F slope[LANES];
    F value[4];
    gather_lanes(value, [&](int lane) {
        const float *corner = voxels + corners.offset[lane];
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
    }, 0xFFFF);

    const F gr = load(q.colour[0] + at), gg = load(q.colour[1] + at), gb = load(q.colour[2] + at);
    const F stop_weight = load(q.weight + at);
    const Mask before = less(stop_weight, F{});
    const F a = value[3] * faded;
    const F dot = gr * value[0] + gg * value[1] + gb * value[2] - load(q.base + at);
    const F to_a = select(before, dot, F{});
    const F weight = select(before, a, stop_weight);
    const F to_fade = -fade.scale * (to_a * a);
    for (int i = 0; i < 3; ++i) {
        const F g = to_fade * power_slope<EIGHT>(y[i], fade);
        sums.fade[i] += g;
        for (int j = 0; j < 3; ++j) sums.fade_y[i][j] += g * y[j];
    }
    const F to_value[4] = {weight * gr, weight * gg, weight * gb, to_a * faded};
    alignas(64) float rows[LANES * 4];
    scatter_lanes(to_value, rows);
    const F fy = corners.fraction[1], fz = corners.fraction[2];
    alignas(64) F w[4];
    w[3] = fy * fz, w[2] = fz - w[3], w[1] = fy - w[3], w[0] = 1.0f - fy - w[2];
    F value_sum = sums.value, sum_x = sums.value_y[0], sum_y = sums.value_y[1], sum_z = sums.value_y[2];
    for (int lane = 0; lane < LANES; ++lane) {
        const F4 to = load4(rows + lane * 4);
        const F part = slope[lane] * repeat(to);
        value_sum += part;
        sum_x += part * q.y[0][at + lane], sum_y += part * q.y[1][at + lane], sum_z += part * q.y[2][at + lane];
        const F4 right = to * corners.fraction[0][lane];
        const F8 pair = join(to - right, right);
        float *corner = grad + corners.offset[lane];
        add8(corner, w[0][lane] * pair);
        add8(corner + grid.row, w[1][lane] * pair);
        add8(corner + grid.slice, w[2][lane] * pair);
        add8(corner + grid.slice + grid.row, w[3][lane] * pair);
    }
    sums.value = value_sum, sums.value_y[0] = sum_x, sums.value_y[1] = sum_y, sums.value_y[2] = sum_z;
}

template <bool EIGHT>
void flush(const Grid &grid, const Fade &fade, float step, const float *voxels, float *grad, Queue &q, bool all, Sums &sums) {
    int at = 0;
    for (; at + LANES <= q.size; at += LANES) flush_sixteen<EIGHT>(grid, fade, step, voxels, grad, q, at, sums);
    const int rest = q.size - at;
    float *rows[] = {q.y[0], q.y[1], q.y[2], q.colour[0], q.colour[1], q.colour[2], q.base, q.weight};
    for (float *row : rows) std::memmove(row, row + at, LANES * sizeof(float));
    q.size = rest;
    if (!all || rest == 0) return;
    for (float *row : rows) std::fill(row + rest, row + LANES, 0.0f);   // a sample without upstream gradient
    flush_sixteen<EIGHT>(grid, fade, step, voxels, grad, q, 0, sums);
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

void pose_gradients(const Box &box, const Grid &grid, const Sums &sums, bool seen, float *center, float *rotation,
                    float *half_size) {
    if (!seen) {   // exactly zero even where the rotation cannot be inverted
        std::fill_n(center, 3, 0.0f), std::fill_n(rotation, 9, 0.0f), std::fill_n(half_size, 3, 0.0f);
        return;
    }
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
void backward_box(const Problem &p, const Grid &grid, const Box &box, int32_t primitive, const Place *places, int64_t count,
                  const float *voxels, float *grad_voxels, Sums &sums) {
    const Fade fade(p);
    const float step = float(p.step);
    Queue queue;
    for (int64_t i = 0; i < count; ++i) {
        const Place &place = places[i];
        const Line line = in_box(*place.tile, box);
        for (int32_t n = place.first; n <= place.last; ++n) {
            const float t = float(n * p.step);
            const F y[3] = {line.start[0] + t * line.slope[0], line.start[1] + t * line.slope[1],
                            line.start[2] + t * line.slope[2]};
            const int32_t key = int32_t(n * p.primitives) + primitive;
            const uint32_t inside = within_one(y) & bits(less(I{} + (key - 1), place.upstream->stop));
            if (!inside) continue;
            const F weight = select(less(I{} + key, place.upstream->stop), F{} - 1.0f, place.tile->stop_weight);
            enqueue(queue, y, *place.upstream, weight, inside);
            if (queue.size >= QUEUE) flush<EIGHT>(grid, fade, step, voxels, grad_voxels, queue, false, sums);
        }
    }
    flush<EIGHT>(grid, fade, step, voxels, grad_voxels, queue, true, sums);
}

void load_upstream(const Tiling &tiling, const Tile &tile, const float *grad_rgba, Upstream &up) {
    F g[4] = {};
    each_ray(tiling, tile.first_ray, [&](int lane, int64_t ray) {
        for (int c = 0; c < 4; ++c) g[c][lane] = grad_rgba[ray * 4 + c];
    });
    for (int c = 0; c < 3; ++c) up.colour[c] = g[c];
    const F at_stop = g[0] * tile.stop_colour[0] + g[1] * tile.stop_colour[1] + g[2] * tile.stop_colour[2];
    up.base = select(less(tile.stop_weight, F{}), -g[3], at_stop);
    const uint32_t zero = bits(equal(g[0], F{})) & bits(equal(g[1], F{})) & bits(equal(g[2], F{})) & bits(equal(g[3], F{}));
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
        for (const Hit &hit : block.hits)
            plan.places[next[hit.primitive]++] = Place{&block.tiles[hit.tile], upstream + hit.tile, hit.first, hit.last};
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
        float *grad_voxels = out.voxels + task * grid.size;
        std::memset(grad_voxels, 0, grid.size * sizeof(float));
        Sums sums{};
        if (count) {
            const auto run = p.fade_exponent == 8.0 ? backward_box<true> : backward_box<false>;
            const float *voxels = p.voxels + task * grid.size;
            run(p, grid, box, int32_t(k), plans[image].places.data() + start, count, voxels, grad_voxels, sums);
        }
        pose_gradients(box, grid, sums, count != 0, out.center + task * 3, out.rotation + task * 9, out.half_size + task * 3);
    });
}

}  // namespace

extern "C" {

int64_t vrmm_raymarch_problem_size() { return sizeof(Problem); }

// rgba [B,R,4]. Returns what backward needs (nullptr if not kept); *status is 1 when memory ran out.
void *vrmm_raymarch_forward(const Problem *problem, float *rgba, int32_t keep, int32_t *status) {
    *status = 0;
    try {
        auto record = std::make_unique<Record>();
        forward(*problem, rgba, keep != 0, *record);
        return keep ? record.release() : nullptr;
    } catch (const std::bad_alloc &) {
        *status = 1;
        return nullptr;
    }
}

void vrmm_raymarch_backward(const Problem *problem, const void *record, const float *grad_rgba, float *grad_center,
                            float *grad_rotation, float *grad_half_size, float *grad_voxels, int32_t *status) {
    *status = 0;
    try {
        backward(*problem, *static_cast<const Record *>(record), grad_rgba,
                 Gradients{grad_center, grad_rotation, grad_half_size, grad_voxels});
    } catch (const std::bad_alloc &) {
        *status = 1;
    }
}

void vrmm_raymarch_free(void *record) { delete static_cast<Record *>(record); }
}
