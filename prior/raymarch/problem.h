// What the kernel works on, and how it spreads over threads.
#pragma once

#include <cstdint>
#include <new>

#include <omp.h>

namespace {

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

}  // namespace
