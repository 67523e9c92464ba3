// Which primitives a tile of rays may meet, and at which steps. Every test errs on the side of meeting.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "boxes.h"
#include "tiles.h"

namespace {

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

// Which of a vector of spheres the rays of a cone may touch, as bits.
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

struct Line {  // y(t) = start + t * slope of the rays of a tile in one box
    F start[3], slope[3];

    void at(float t, F y[3]) const {
        for (int a = 0; a < 3; ++a) y[a] = start[a] + t * slope[a];
    }
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

}  // namespace
