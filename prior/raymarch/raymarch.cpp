// The CPU kernel of prior.raymarch (contract: prior/raymarch/api.py), called through ctypes.
// Results are the same bits for any number of threads.

#include <memory>
#include <new>

#include "backward.h"

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
