// The primitives as the kernel uses them: maps to and from their local coordinates, and bounding spheres.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lanes.h"
#include "problem.h"

namespace {

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

}  // namespace
