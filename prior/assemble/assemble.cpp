// The last layer of the decoders, fused: feature texels to voxels, forward and backward.
//
// The meaning is that of prior/assemble/reference.py. Nothing between features and voxels is stored: a tile of
// texels goes through three small matrix products a chunk of voxels at a time, and the backward pass computes
// them again. Work is split into fixed parts, each done in order by one thread, and the parts' weight gradients
// are summed in order, so that answers are bit-identical for any number of threads.

#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__SSE__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 8;
#elif defined(__AVX__)
constexpr int LANES = 8, ROWS = 4;
#else
constexpr int LANES = 4, ROWS = 4;
#endif

constexpr int CHUNK = 2 * LANES;  // voxels of a texel handled together
constexpr int64_t TILE = 16;      // neighbouring texels handled together
constexpr int64_t AHEAD = 2;      // texels between a prefetch and the use
constexpr int64_t PARTS = 32;     // independent pieces of the backward pass, whatever the number of threads

typedef float Vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Bits __attribute__((vector_size(LANES * sizeof(float))));

inline Vec load(const float* from) {
    Vec value;
    std::memcpy(&value, from, sizeof(value));
    return value;
}

inline void store(float* to, Vec value) { std::memcpy(to, &value, sizeof(value)); }

// A vector as LANES / 4 groups of four floats, each from or to a place of its own.

#if defined(__AVX512F__)
#define VECTOR_OPERATION(name, ...) (Vec) _mm512_##name(__VA_ARGS__)
typedef __m512 Native;
inline Vec join(const float* const at[4]) {
    __m512 all = _mm512_castps128_ps512(_mm_loadu_ps(at[0]));
    all = _mm512_insertf32x4(all, _mm_loadu_ps(at[1]), 1);
    all = _mm512_insertf32x4(all, _mm_loadu_ps(at[2]), 2);
    return (Vec)_mm512_insertf32x4(all, _mm_loadu_ps(at[3]), 3);
}
inline void split(Vec value, float* const at[4]) {
    _mm_storeu_ps(at[0], _mm512_castps512_ps128((__m512)value));
    _mm_storeu_ps(at[1], _mm512_extractf32x4_ps((__m512)value, 1));
    _mm_storeu_ps(at[2], _mm512_extractf32x4_ps((__m512)value, 2));
    _mm_storeu_ps(at[3], _mm512_extractf32x4_ps((__m512)value, 3));
}
#elif defined(__AVX__)
#define VECTOR_OPERATION(name, ...) (Vec) _mm256_##name(__VA_ARGS__)
typedef __m256 Native;
inline Vec join(const float* const at[2]) { return (Vec)_mm256_loadu2_m128(at[1], at[0]); }
inline void split(Vec value, float* const at[2]) { _mm256_storeu2_m128(at[1], at[0], (__m256)value); }
#else
#if defined(__SSE__)
#define VECTOR_OPERATION(name, ...) (Vec) _mm_##name(__VA_ARGS__)
typedef __m128 Native;
#endif
inline Vec join(const float* const at[1]) { return load(at[0]); }
inline void split(Vec value, float* const at[1]) { store(at[0], value); }
#endif

// Within each group of four lanes, out[i][j] = in[j][i].
inline void transpose(const Vec in[4], Vec out[4]) {
#if defined(VECTOR_OPERATION)
    const Native a = (Native)in[0], b = (Native)in[1], c = (Native)in[2], d = (Native)in[3];
    const Native ab = (Native)VECTOR_OPERATION(unpacklo_ps, a, b), cd = (Native)VECTOR_OPERATION(unpacklo_ps, c, d);
    const Native AB = (Native)VECTOR_OPERATION(unpackhi_ps, a, b), CD = (Native)VECTOR_OPERATION(unpackhi_ps, c, d);
    out[0] = VECTOR_OPERATION(shuffle_ps, ab, cd, 0x44), out[1] = VECTOR_OPERATION(shuffle_ps, ab, cd, 0xEE);
    out[2] = VECTOR_OPERATION(shuffle_ps, AB, CD, 0x44), out[3] = VECTOR_OPERATION(shuffle_ps, AB, CD, 0xEE);
#else
    for (int lane = 0; lane < LANES; ++lane)
        for (int i = 0; i < 4; ++i) out[i][lane] = in[lane % 4][lane / 4 * 4 + i];
#endif
}

// ---- Matrix products -----------------------------------------------------------------------------------------

// c[i][j] (+)= sum_k a[i * a_row + k * a_inner] * b[k * b_inner + j] for M rows and N vectors of columns.
template <int M, int N>
inline void block_product(const float* a, int64_t a_row, int64_t a_inner, const float* b, int64_t b_inner, float* c,
                          int64_t c_row, int64_t inner, bool add) {
    Vec sum[M][N];
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < N; ++j) sum[i][j] = add ? load(c + i * c_row + j * LANES) : Vec{};
    for (int64_t k = 0; k < inner; ++k) {
        Vec right[N];
#pragma GCC unroll 2
        for (int j = 0; j < N; ++j) right[j] = load(b + k * b_inner + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i)
#pragma GCC unroll 2
            for (int j = 0; j < N; ++j) sum[i][j] += a[i * a_row + k * a_inner] * right[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < N; ++j) store(c + i * c_row + j * LANES, sum[i][j]);
}

template <int N>
void column_product(int64_t rows, const float* a, int64_t a_row, int64_t a_inner, const float* b, int64_t b_inner,
                    float* c, int64_t c_row, int64_t inner, bool add) {
    int64_t i = 0;
    for (; i + ROWS <= rows; i += ROWS)
        block_product<ROWS, N>(a + i * a_row, a_row, a_inner, b, b_inner, c + i * c_row, c_row, inner, add);
    for (; i < rows; ++i)
        block_product<1, N>(a + i * a_row, a_row, a_inner, b, b_inner, c + i * c_row, c_row, inner, add);
}

// The whole product; `columns` is a multiple of LANES.
void product(int64_t rows, int64_t columns, const float* a, int64_t a_row, int64_t a_inner, const float* b,
             int64_t b_inner, float* c, int64_t c_row, int64_t inner, bool add) {
    int64_t j = 0;
    for (; j + 2 * LANES <= columns; j += 2 * LANES)
        column_product<2>(rows, a, a_row, a_inner, b + j, b_inner, c + j, c_row, inner, add);
    if (j < columns) column_product<1>(rows, a, a_row, a_inner, b + j, b_inner, c + j, c_row, inner, add);
}

// ---- softplus ------------------------------------------------------------------------------------------------

// exp(x) for x <= 0, relative error below 2e-7; NaN stays NaN, and below -87 the answer stays exp(-87).
inline Vec exp_negative(Vec x) {
    const float shift = 12582912.0f;  // adding it rounds to an integer, which its lowest bits then hold
    x = x < -87.0f ? Vec{} - 87.0f : x;
    const Vec shifted = x * 1.44269504f + shift;
    const Vec n = shifted - shift;
    const Vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const Bits scale = ((Bits)shifted + 127) << 23;
    return p * (Vec)scale;
}

struct Softplus {
    Vec value, slope;
};

// log(1 + exp(x)) and its derivative, relative error below 1e-6. With e = exp(-|x|) and s = e / (2 + e),
// log(1 + e) = 2 atanh(s), whose series needs seven terms since s <= 1/3.
inline Softplus softplus(Vec x) {
    const Bits magnitude = (Bits)x & 0x7fffffff;
    const Vec e = exp_negative(-(Vec)magnitude);
    const Vec inverse = 1.0f / ((1.0f + e) * (2.0f + e));
    const Vec s = e * (1.0f + e) * inverse, z = s * s;
    Vec p = z * (1.0f / 13) + 1.0f / 11;
    p = p * z + 1.0f / 9;
    p = p * z + 1.0f / 7;
    p = p * z + 1.0f / 5;
    p = p * z + 1.0f / 3;
    p = p * z + 1.0f;
    const Vec one = Vec{} + 1.0f;
    return {(x > 0.0f ? x : Vec{}) + 2.0f * s * p, (x > 0.0f ? one : e) * (2.0f + e) * inverse};
}

}  // namespace

// ---- Arguments, in the order of prior/assemble/cpu.py ----------------------------------------------------------

struct Sizes {
    int64_t batch, views, grid, texels, depth, block, opacity_features, gain_features, light_features;
};

struct Tensors {
    float *opacity_features, *gain_features, *light, *gate;
    float *opacity_weight, *gain_weight, *shading_weight, *opacity_bias, *gain_bias;
};

namespace {

int64_t padded(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

struct Layout {
    Sizes size;
    int64_t voxels, chunks, resolution, positions, rays, side, primitive, volume;  // rays: 3 V rows of light a texel
    int64_t weights_chunk;                                                 // floats of all weights of one chunk
    std::vector<int64_t> offset;  // of every voxel of a texel from its first one in the output

    explicit Layout(const Sizes& s) : size(s) {
        voxels = s.depth * s.block * s.block;
        chunks = (voxels + CHUNK - 1) / CHUNK;
        resolution = s.grid * s.texels;
        positions = resolution * resolution;
        rays = 3 * s.views;
        side = s.texels * s.block;
        primitive = s.depth * side * side * 4;
        volume = s.grid * s.grid * primitive;
        weights_chunk = CHUNK * (s.opacity_features + 3 * s.gain_features + s.light_features);
        for (int64_t d = 0; d < s.depth; ++d)
            for (int64_t h = 0; h < s.block; ++h)
                for (int64_t w = 0; w < s.block; ++w) offset.push_back(((d * side + h) * side + w) * 4);
    }

    // Where the voxels of a texel begin in the output of one view.
    int64_t first(int64_t position) const {
        const int64_t y = position / resolution, x = position % resolution, t = size.texels;
        const int64_t k = (y / t) * size.grid + x / t;
        return k * primitive + ((y % t) * side + x % t) * size.block * 4;
    }
    int64_t tiles() const { return (positions + TILE - 1) / TILE; }
    int64_t tile_length(int64_t tile) const {
        const int64_t left = positions - tile * TILE;
        return left < TILE ? left : TILE;
    }
    int64_t chunk_length(int64_t chunk) const {
        const int64_t left = voxels - chunk * CHUNK;
        return left < CHUNK ? left : CHUNK;
    }
};

// The weights by chunks: [features][columns], and for the backward pass [columns][features padded], zeros beyond.
struct Weights {
    std::vector<float> forward[3], backward[3];
    int64_t features[3], columns[3] = {CHUNK, 3 * CHUNK, CHUNK};

    Weights(const Layout& layout, const Tensors& in, bool both) {
        const Sizes& s = layout.size;
        const int64_t f[3] = {s.opacity_features, s.gain_features, s.light_features};
        const float* source[3] = {in.opacity_weight, in.gain_weight, in.shading_weight};
        for (int kind = 0; kind < 3; ++kind) {
            features[kind] = f[kind];
            forward[kind].assign(layout.chunks * columns[kind] * f[kind], 0.0f);
            if (both) backward[kind].assign(layout.chunks * columns[kind] * padded(f[kind]), 0.0f);
            for (int64_t c = 0; c < columns[kind] / CHUNK; ++c)
                for (int64_t i = 0; i < layout.voxels; ++i)
                    pack(kind, source[kind] + (c * layout.voxels + i) * f[kind], i / CHUNK, c * CHUNK + i % CHUNK);
        }
    }

    void pack(int kind, const float* row, int64_t chunk, int64_t column) {
        const int64_t f = features[kind], wide = padded(f);
        for (int64_t k = 0; k < f; ++k) forward[kind][(chunk * f + k) * columns[kind] + column] = row[k];
        if (backward[kind].empty()) return;
        std::memcpy(&backward[kind][(chunk * columns[kind] + column) * wide], row, f * sizeof(float));
    }
};

// What one thread works in: a tile's linear responses (later their gradients) for a chunk of voxels.
struct Scratch {
    std::vector<float> gated, response[3], gradient[3], bias;

    explicit Scratch(const Layout& layout, const Weights& weights) {
        const int64_t rows[3] = {TILE, TILE, TILE * layout.rays};
        gated.resize(TILE * layout.rays * layout.size.light_features);
        for (int kind = 0; kind < 3; ++kind) {
            response[kind].resize(rows[kind] * weights.columns[kind]);
            gradient[kind].resize(rows[kind] * padded(weights.features[kind]));
        }
        bias.resize(4 * CHUNK);
    }
};

struct Tile {
    int64_t image, first, length;  // of the batch; positions
};

// Light times gate: one row of features for each texel, view and colour channel.
void gate_light(const Layout& layout, const Tensors& in, const Tile& tile, float* gated) {
    const int64_t m = layout.size.light_features, views = layout.size.views;
    for (int64_t t = 0; t < tile.length; ++t)
        for (int64_t v = 0; v < views; ++v)
            for (int64_t c = 0; c < 3; ++c) {
                const int64_t at = tile.first + t;
                const float* light = in.light + ((tile.image * 3 + c) * layout.positions + at) * m;
                const float* gate = in.gate + ((tile.image * layout.positions + at) * views + v) * m;
                float* row = gated + ((t * views + v) * 3 + c) * m;
                for (int64_t k = 0; k < m; ++k) row[k] = light[k] * gate[k];
            }
}

struct Rows {
    const float* features[3];
    int64_t count[3];
};

Rows rows_of(const Layout& layout, const Tensors& in, const Tile& tile, const Scratch& scratch) {
    const int64_t at = tile.image * layout.positions + tile.first;
    return {{in.opacity_features + at * layout.size.opacity_features,
             in.gain_features + at * layout.size.gain_features, scratch.gated.data()},
            {tile.length, tile.length, tile.length * layout.rays}};
}

void respond(const Rows& rows, const Weights& weights, int64_t chunk, Scratch& scratch) {
    for (int kind = 0; kind < 3; ++kind) {
        const int64_t f = weights.features[kind], columns = weights.columns[kind];
        product(rows.count[kind], columns, rows.features[kind], f, 1,
                weights.forward[kind].data() + chunk * f * columns, columns, scratch.response[kind].data(), columns, f,
                false);
    }
}

// The biases of a texel for a chunk: opacity, then the three gains, zeros beyond the last voxel.
struct Biases {
    const float* plane[4];

    Biases(const Layout& layout, const Tensors& in, int64_t position, int64_t chunk, float* padded_copy) {
        const int64_t length = layout.chunk_length(chunk), n = layout.voxels;
        plane[0] = in.opacity_bias + position * n + chunk * CHUNK;
        for (int64_t c = 0; c < 3; ++c) plane[c + 1] = in.gain_bias + (position * 3 + c) * n + chunk * CHUNK;
        if (length == CHUNK) return;
        std::memset(padded_copy, 0, 4 * CHUNK * sizeof(float));
        for (int c = 0; c < 4; ++c) {
            std::memcpy(padded_copy + c * CHUNK, plane[c], length * sizeof(float));
            plane[c] = padded_copy + c * CHUNK;
        }
    }
};

// Begins to load the biases of a texel, long before they are needed.
inline void prefetch_biases(const Layout& layout, const Tensors& in, int64_t position, int64_t chunk) {
    for (int64_t c = 0; c < 4; ++c) {
        const float* plane = c ? in.gain_bias + (position * 3 + c - 1) * layout.voxels
                               : in.opacity_bias + position * layout.voxels;
        for (int i = 0; i < CHUNK; i += 16) __builtin_prefetch(plane + chunk * CHUNK + i);
    }
}

// Where the voxels of a chunk from i on are: vector q of a transposed block holds the voxels i + q, i + q + 4, ...
// Beyond the last voxel every place is `beyond`.
template <typename Float>
inline void places(const Layout& layout, int64_t chunk, int i, int q, Float* volume, Float* beyond,
                   Float* at[LANES / 4]) {
    const int64_t length = layout.chunk_length(chunk);
    const int64_t* offset = layout.offset.data() + chunk * CHUNK;
    for (int p = 0; p < LANES / 4; ++p) {
        const int voxel = i + 4 * p + q;
        at[p] = voxel < length ? volume + offset[voxel] : beyond;
    }
}

// Colour and opacity of voxels i to i + LANES of a chunk, [4] vectors, to their places in a volume.
inline void write_voxels(const Layout& layout, int64_t chunk, int i, const Vec planes[4], float* volume) {
    float beyond[4];
    Vec block[4];
    transpose(planes, block);
    for (int q = 0; q < 4; ++q) {
        float* at[LANES / 4];
        places(layout, chunk, i, q, volume, beyond, at);
        split(block[q], at);
    }
}

// The same from a volume; zeros beyond the last voxel.
inline void read_voxels(const Layout& layout, int64_t chunk, int i, const float* volume, Vec planes[4]) {
    const float beyond[4] = {};
    Vec block[4];
    for (int q = 0; q < 4; ++q) {
        const float* at[LANES / 4];
        places(layout, chunk, i, q, volume, beyond, at);
        block[q] = join(at);
    }
    transpose(block, planes);
}

// ---- Forward -------------------------------------------------------------------------------------------------

void activate(const Layout& layout, const Tensors& in, float density, const Tile& tile, int64_t chunk,
              Scratch& scratch, float* voxels) {
    const int64_t views = layout.size.views;
    for (int64_t t = 0; t < tile.length; ++t) {
        const int64_t position = tile.first + t;
        if (t + AHEAD < tile.length) prefetch_biases(layout, in, position + AHEAD, chunk);
        const Biases bias(layout, in, position, chunk, scratch.bias.data());
        const float* opacity = scratch.response[0].data() + t * CHUNK;
        const float* gain = scratch.response[1].data() + t * 3 * CHUNK;
        const float* shading = scratch.response[2].data() + t * views * 3 * CHUNK;
        float* volume = voxels + tile.image * views * layout.volume + layout.first(position);
        for (int i = 0; i < CHUNK; i += LANES) {
            Vec active[3], planes[4];
            planes[3] = density * softplus(load(opacity + i) + load(bias.plane[0] + i)).value;
            for (int c = 0; c < 3; ++c)
                active[c] = softplus(load(gain + c * CHUNK + i) + load(bias.plane[c + 1] + i)).value;
            for (int64_t v = 0; v < views; ++v) {
                for (int c = 0; c < 3; ++c) planes[c] = active[c] * load(shading + (v * 3 + c) * CHUNK + i);
                write_voxels(layout, chunk, i, planes, volume + v * layout.volume);
            }
        }
    }
}

// ---- Backward ------------------------------------------------------------------------------------------------

// Begins to load the voxels of a chunk, long before they are needed.
inline void prefetch(const Layout& layout, int64_t chunk, const float* volume) {
    const int64_t* offset = layout.offset.data() + chunk * CHUNK;
    for (int64_t v = 0; v < layout.size.views; ++v)
        for (int64_t i = 0; i < layout.chunk_length(chunk); i += 4)
            __builtin_prefetch(volume + v * layout.volume + offset[i]);
}

// to[i] = gradient[i] the first time, += later.
inline void add(float* to, const float* gradient, int64_t length, bool first) {
    if (first)
        std::memcpy(to, gradient, length * sizeof(float));
    else if (length == CHUNK)
        for (int i = 0; i < CHUNK; i += LANES) store(to + i, load(to + i) + load(gradient + i));
    else
        for (int64_t i = 0; i < length; ++i) to[i] += gradient[i];
}

// Turns the responses of a texel for a chunk into the gradients of the loss by them; `volume` is the gradient of
// its voxels in the first view.
void differentiate(const Layout& layout, const Biases& bias, float density, int64_t chunk, const float* volume,
                   float* opacity, float* gain, float* shading) {
    for (int i = 0; i < CHUNK; i += LANES) {
        Softplus active[3];
        Vec by_opacity{}, by_gain[3] = {};
        for (int c = 0; c < 3; ++c)
            active[c] = softplus(load(gain + c * CHUNK + i) + load(bias.plane[c + 1] + i));
        for (int64_t v = 0; v < layout.size.views; ++v) {
            Vec upstream[4];
            read_voxels(layout, chunk, i, volume + v * layout.volume, upstream);
            by_opacity += upstream[3];
            for (int c = 0; c < 3; ++c) {
                float* response = shading + (v * 3 + c) * CHUNK + i;
                by_gain[c] += upstream[c] * load(response);
                store(response, upstream[c] * active[c].value);
            }
        }
        store(opacity + i, by_opacity * density * softplus(load(opacity + i) + load(bias.plane[0] + i)).slope);
        for (int c = 0; c < 3; ++c) store(gain + c * CHUNK + i, by_gain[c] * active[c].slope);
    }
}

// The same for every texel of a tile; adds up the gradients of the biases.
void differentiate_tile(const Layout& layout, const Tensors& in, float density, const Tile& tile, int64_t chunk,
                        Scratch& scratch, const float* voxels, const Tensors& out) {
    const int64_t views = layout.size.views, length = layout.chunk_length(chunk), n = layout.voxels;
    const float* image = voxels + tile.image * views * layout.volume;
    for (int64_t t = 0; t < tile.length; ++t) {
        const int64_t position = tile.first + t;
        if (t + AHEAD < tile.length) {
            prefetch(layout, chunk, image + layout.first(position + AHEAD));
            prefetch_biases(layout, in, position + AHEAD, chunk);
        }
        const Biases bias(layout, in, position, chunk, scratch.bias.data());
        float* opacity = scratch.response[0].data() + t * CHUNK;
        float* gain = scratch.response[1].data() + t * 3 * CHUNK;
        float* shading = scratch.response[2].data() + t * views * 3 * CHUNK;
        differentiate(layout, bias, density, chunk, image + layout.first(position), opacity, gain, shading);
        add(out.opacity_bias + position * n + chunk * CHUNK, opacity, length, tile.image == 0);
        for (int64_t c = 0; c < 3; ++c)
            add(out.gain_bias + (position * 3 + c) * n + chunk * CHUNK, gain + c * CHUNK, length,
                tile.image == 0);
    }
}

// From the gradients of a chunk's responses to those of features and weights.
void distribute(const Rows& rows, const Weights& weights, int64_t chunk, Scratch& scratch, float* weight_gradient) {
    for (int kind = 0; kind < 3; ++kind) {
        const int64_t f = weights.features[kind], wide = padded(f), columns = weights.columns[kind];
        const float* response = scratch.response[kind].data();
        product(rows.count[kind], wide, response, columns, 1, weights.backward[kind].data() + chunk * columns * wide,
                wide, scratch.gradient[kind].data(), wide, columns, chunk > 0);
        product(f, columns, rows.features[kind], 1, f, response, columns, weight_gradient, columns, rows.count[kind],
                true);
        weight_gradient += f * columns;
    }
}

inline void add_product(float* to, const float* a, const float* b, int64_t length, bool first) {
    if (first)
        for (int64_t k = 0; k < length; ++k) to[k] = a[k] * b[k];
    else
        for (int64_t k = 0; k < length; ++k) to[k] += a[k] * b[k];
}

void write_feature_gradients(const Layout& layout, const Tensors& in, const Tile& tile, const Scratch& scratch,
                             const Tensors& out) {
    const Sizes& s = layout.size;
    const int64_t m = s.light_features, wide = padded(m);
    for (int64_t t = 0; t < tile.length; ++t) {
        const int64_t at = tile.first + t, texel = tile.image * layout.positions + at;
        std::memcpy(out.opacity_features + texel * s.opacity_features,
                    &scratch.gradient[0][t * padded(s.opacity_features)], s.opacity_features * sizeof(float));
        std::memcpy(out.gain_features + texel * s.gain_features, &scratch.gradient[1][t * padded(s.gain_features)],
                    s.gain_features * sizeof(float));
        for (int64_t v = 0; v < s.views; ++v)
            for (int64_t c = 0; c < 3; ++c) {
                const int64_t light = ((tile.image * 3 + c) * layout.positions + at) * m;
                const int64_t gate = (texel * s.views + v) * m;
                const float* row = &scratch.gradient[2][((t * s.views + v) * 3 + c) * wide];
                add_product(out.light + light, row, in.gate + gate, m, v == 0);
                add_product(out.gate + gate, row, in.light + light, m, c == 0);
            }
    }
}

// The parts' weight gradients, summed in order and put back into the layout of the weights.
void reduce_weights(const Layout& layout, const Weights& weights, const std::vector<float>& partial, int64_t parts,
                    const Tensors& out) {
    float* target[3] = {out.opacity_weight, out.gain_weight, out.shading_weight};
    const int64_t size = layout.chunks * layout.weights_chunk;
#pragma omp parallel for schedule(static)
    for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
        std::vector<float> sum(layout.weights_chunk, 0.0f);
        for (int64_t part = 0; part < parts; ++part) {
            const float* from = partial.data() + part * size + chunk * layout.weights_chunk;
            for (int64_t i = 0; i < layout.weights_chunk; ++i) sum[i] += from[i];
        }
        const float* from = sum.data();
        for (int kind = 0; kind < 3; ++kind) {
            const int64_t f = weights.features[kind], columns = weights.columns[kind];
            for (int64_t c = 0; c < columns / CHUNK; ++c)
                for (int64_t i = 0; i < layout.chunk_length(chunk); ++i)
                    for (int64_t k = 0; k < f; ++k)
                        target[kind][(c * layout.voxels + chunk * CHUNK + i) * f + k] =
                            from[k * columns + c * CHUNK + i];
            from += f * columns;
        }
    }
}

}  // namespace

extern "C" {

// Writes every voxel of `voxels` [B,V,K,D,H,W,4].
void vrmm_assemble_forward(const Sizes* sizes, const Tensors* in, float density, int32_t threads, float* voxels) {
    const Layout layout(*sizes);
    const Weights weights(layout, *in, false);
    const int64_t tiles = layout.tiles();
#pragma omp parallel num_threads(threads)
    {
        Scratch scratch(layout, weights);
#pragma omp for schedule(dynamic, 4)
        for (int64_t work = 0; work < tiles * sizes->batch; ++work) {
            const int64_t number = work / sizes->batch;  // images change fastest: they share biases
            const Tile tile{work % sizes->batch, number * TILE, layout.tile_length(number)};
            gate_light(layout, *in, tile, scratch.gated.data());
            const Rows rows = rows_of(layout, *in, tile, scratch);
            for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
                respond(rows, weights, chunk, scratch);
                activate(layout, *in, density, tile, chunk, scratch, voxels);
            }
        }
    }
}

// Writes the gradients `out` of everything in `in` from those of the voxels.
void vrmm_assemble_backward(const Sizes* sizes, const Tensors* in, float density, int32_t threads,
                            const float* voxels, const Tensors* out) {
    const Layout layout(*sizes);
    const Weights weights(layout, *in, true);
    const int64_t tiles = layout.tiles(), parts = tiles < PARTS ? tiles : PARTS;
    std::vector<float> partial(parts * layout.chunks * layout.weights_chunk, 0.0f);
#pragma omp parallel num_threads(threads)
    {
        Scratch scratch(layout, weights);
#pragma omp for schedule(dynamic, 1)
        for (int64_t part = 0; part < parts; ++part) {
            float* weight_gradient = partial.data() + part * layout.chunks * layout.weights_chunk;
            const int64_t end = (part + 1) * tiles / parts;
            for (int64_t number = part * tiles / parts; number < end; ++number)
                for (int64_t image = 0; image < sizes->batch; ++image) {
                    const Tile tile{image, number * TILE, layout.tile_length(number)};
                    gate_light(layout, *in, tile, scratch.gated.data());
                    const Rows rows = rows_of(layout, *in, tile, scratch);
                    for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
                        respond(rows, weights, chunk, scratch);
                        differentiate_tile(layout, *in, density, tile, chunk, scratch, voxels, *out);
                        distribute(rows, weights, chunk, scratch, weight_gradient + chunk * layout.weights_chunk);
                    }
                    write_feature_gradients(layout, *in, tile, scratch, *out);
                }
        }
    }
    reduce_weights(layout, weights, partial, parts, *out);
}
}
