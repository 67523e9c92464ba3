// One vector register of floats at a time with GCC's vector extensions: 16 lanes with AVX-512, 8 with AVX2, else 4.
// The few operations that the extensions lack are spelled out for each.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define LANES_AVX512 1
constexpr int LANES = 16;
#elif defined(__AVX2__)
#define LANES_AVX2 1
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

constexpr uint32_t ALL_LANES = (1u << LANES) - 1;
typedef float F __attribute__((vector_size(4 * LANES)));
typedef int32_t I __attribute__((vector_size(4 * LANES)));
typedef float F4 __attribute__((vector_size(16)));
typedef float F8 __attribute__((vector_size(32)));
typedef float F16 __attribute__((vector_size(64)));

template <class V> inline V load_as(const float *from) {
    V out;
    std::memcpy(&out, from, sizeof(V));
    return out;
}
inline F load(const float *from) { return load_as<F>(from); }
inline F8 load8(const float *from) { return load_as<F8>(from); }
inline F4 load4(const float *from) { return load_as<F4>(from); }
inline void add8(float *to, F8 value) {
    value += load8(to);
    std::memcpy(to, &value, sizeof value);
}

inline I truncate(F x) { return __builtin_convertvector(x, I); }
inline F convert(I x) { return __builtin_convertvector(x, F); }

#if LANES_AVX512

typedef __mmask16 Mask;   // one bit a lane
inline Mask less_equal(F a, F b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LE_OQ); }
inline Mask less(F a, F b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
inline Mask equal(F a, F b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ); }
inline Mask less(I a, I b) { return _mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b); }
inline uint32_t bits(Mask m) { return m; }
inline Mask from_bits(uint32_t m) { return Mask(m); }
inline F select(Mask m, F a, F b) { return (F)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a); }
inline I select(Mask m, I a, I b) { return (I)_mm512_mask_blend_epi32(m, (__m512i)b, (__m512i)a); }
inline F root(F x) { return (F)_mm512_sqrt_ps((__m512)x); }
inline F reciprocal(F x) {   // relative error below 1e-6
    const F guess = (F)_mm512_rcp14_ps((__m512)x);
    return guess * (2.0f - x * guess);
}
inline void pack(float *to, F x, uint32_t m) { _mm512_storeu_ps(to, _mm512_maskz_compress_ps(Mask(m), (__m512)x)); }

#else

typedef I Mask;   // all bits of a lane
inline Mask less_equal(F a, F b) { return a <= b; }
inline Mask less(F a, F b) { return a < b; }
inline Mask equal(F a, F b) { return a == b; }
inline Mask less(I a, I b) { return a < b; }
inline F select(Mask m, F a, F b) { return m ? a : b; }
inline I select(Mask m, I a, I b) { return m ? a : b; }
inline F reciprocal(F x) { return 1.0f / x; }
inline F root(F x) {
    for (int lane = 0; lane < LANES; ++lane) x[lane] = std::sqrt(x[lane]);
    return x;
}

#if LANES_AVX2
inline uint32_t bits(Mask m) { return uint32_t(_mm256_movemask_ps((__m256)m)); }
inline Mask from_bits(uint32_t m) {
    const I bit = {1, 2, 4, 8, 16, 32, 64, 128};
    return ((I{} + int32_t(m)) & bit) != 0;
}
struct PackTable {   // for each mask, which lane goes where
    int32_t from[256][8];
    constexpr PackTable() : from() {
        for (int m = 0; m < 256; ++m)
            for (int lane = 0, to = 0; lane < 8; ++lane)
                if (m >> lane & 1) from[m][to++] = lane;
    }
};
constexpr PackTable PACK;
inline void pack(float *to, F x, uint32_t m) {
    const __m256i from = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(PACK.from[m]));
    _mm256_storeu_ps(to, _mm256_permutevar8x32_ps((__m256)x, from));
}
#else
inline uint32_t bits(Mask m) {
    uint32_t out = 0;
    for (int lane = 0; lane < LANES; ++lane) out |= uint32_t(m[lane] & 1) << lane;
    return out;
}
inline Mask from_bits(uint32_t m) {
    const I bit = {1, 2, 4, 8};
    return ((I{} + int32_t(m)) & bit) != 0;
}
inline void pack(float *to, F x, uint32_t m) {
    for (; m; m &= m - 1) *to++ = x[__builtin_ctz(m)];
}
#endif

#endif

inline F absolute(F x) { return (F)((I)x & 0x7FFFFFFF); }
// The second one where either is NaN.
inline F maximum(F a, F b) { return select(less(b, a), a, b); }
inline F minimum(F a, F b) { return select(less(a, b), a, b); }
inline I minimum(I a, I b) { return a < b ? a : b; }

inline float least(F x) {
    float out = x[0];
    for (int lane = 1; lane < LANES; ++lane) out = x[lane] < out ? x[lane] : out;
    return out;
}
inline float greatest(F x) {
    float out = x[0];
    for (int lane = 1; lane < LANES; ++lane) out = x[lane] > out ? x[lane] : out;
    return out;
}
inline double total(F x) {
    double sum = 0;
    for (int lane = 0; lane < LANES; ++lane) sum += x[lane];
    return sum;
}

// Bits of the lanes where all |y| <= 1.
inline uint32_t within_one(const F y[3]) {
    const F one = F{} + 1.0f;
    return bits(less_equal(absolute(y[0]), one) & less_equal(absolute(y[1]), one) & less_equal(absolute(y[2]), one));
}

// e^x within 2 units in the last place; 0 below -87, NaN for NaN. Cody-Waite reduction, Taylor series to x^7.
inline F exponential(F x) {
    const Mask tiny = less(x, F{} - 87.0f);
    x = select(tiny, F{} - 87.0f, x);
    const F shifted = x * 1.44269504f + 12582912.0f;   // 1.5 * 2^23: rounds to an integer in the low bits
    const F n = shifted - 12582912.0f;
    const F r = x - n * 0.693359375f + n * 2.12194440e-4f;
    F e = r * (1.0f / 5040) + 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r + 1.0f;
    e = e * r + 1.0f;
    const I power = ((I)shifted + (127 - 0x4B400000)) << 23;
    return select(tiny, F{}, e * (F)power);
}

// Halves of eight, and eight and sixteen from fours. ----------------------------------------------------------------

inline F4 low(F8 x) {
#if defined(__AVX__)
    return (F4)_mm256_castps256_ps128((__m256)x);
#else
    return F4{x[0], x[1], x[2], x[3]};
#endif
}
inline F4 high(F8 x) {
#if defined(__AVX__)
    return (F4)_mm256_extractf128_ps((__m256)x, 1);
#else
    return F4{x[4], x[5], x[6], x[7]};
#endif
}
inline F8 join(F4 a, F4 b) {
#if defined(__AVX__)
    return (F8)_mm256_insertf128_ps(_mm256_castps128_ps256((__m128)a), (__m128)b, 1);
#else
    return F8{a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]};
#endif
}
inline F16 join(F4 a, F4 b, F4 c) {   // and zeros
#if LANES_AVX512
    __m512 out = _mm512_zextps128_ps512((__m128)a);
    out = _mm512_insertf32x4(out, (__m128)b, 1);
    return (F16)_mm512_insertf32x4(out, (__m128)c, 2);
#else
    F16 out = {};
    const F4 parts[3] = {a, b, c};
    std::memcpy(&out, parts, sizeof parts);
    return out;
#endif
}
inline F16 repeat(F4 a) {
#if LANES_AVX512
    return (F16)_mm512_broadcast_f32x4((__m128)a);
#else
    F16 out;
    const F4 parts[4] = {a, a, a, a};
    std::memcpy(&out, parts, sizeof parts);
    return out;
#endif
}
inline double total4(F16 x, int group) {
    double sum = 0;
    for (int lane = 0; lane < 4; ++lane) sum += x[group * 4 + lane];
    return sum;
}

// Four values a lane: [lane][4] <-> [4][lane]. ----------------------------------------------------------------------

// out[c][lane] = of(lane)[c] for the lanes of `wanted`; of() may be called for the others too.
template <class Of> inline void gather_lanes(F out[4], Of of, uint32_t wanted) {
#if LANES_AVX512
    __m512 rows[4];
    for (int q = 0; q < 4; ++q) {
        rows[q] = _mm512_setzero_ps();
        if (!(wanted >> (4 * q) & 15)) continue;
        const F8 ab = join(of(4 * q), of(4 * q + 1)), cd = join(of(4 * q + 2), of(4 * q + 3));
        rows[q] = _mm512_insertf32x8(_mm512_castps256_ps512((__m256)ab), (__m256)cd, 1);
    }
    const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    const __m512i second = _mm512_setr_epi32(2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
    const __m512 a = _mm512_permutex2var_ps(rows[0], first, rows[1]);
    const __m512 b = _mm512_permutex2var_ps(rows[2], first, rows[3]);
    const __m512 c = _mm512_permutex2var_ps(rows[0], second, rows[1]);
    const __m512 d = _mm512_permutex2var_ps(rows[2], second, rows[3]);
    out[0] = (F)_mm512_shuffle_f32x4(a, b, 0x44), out[1] = (F)_mm512_shuffle_f32x4(a, b, 0xEE);
    out[2] = (F)_mm512_shuffle_f32x4(c, d, 0x44), out[3] = (F)_mm512_shuffle_f32x4(c, d, 0xEE);
#elif LANES_AVX2
    __m256 rows[4];   // lanes n and n + 4 in the halves
    for (int n = 0; n < 4; ++n) rows[n] = _mm256_setzero_ps();
    if (wanted & 15)
        for (int n = 0; n < 4; ++n) rows[n] = _mm256_insertf128_ps(rows[n], (__m128)of(n), 0);
    if (wanted >> 4)
        for (int n = 0; n < 4; ++n) rows[n] = _mm256_insertf128_ps(rows[n], (__m128)of(n + 4), 1);
    const __m256 a = _mm256_unpacklo_ps(rows[0], rows[1]), b = _mm256_unpackhi_ps(rows[0], rows[1]);
    const __m256 c = _mm256_unpacklo_ps(rows[2], rows[3]), d = _mm256_unpackhi_ps(rows[2], rows[3]);
    out[0] = (F)_mm256_shuffle_ps(a, c, 0x44), out[1] = (F)_mm256_shuffle_ps(a, c, 0xEE);
    out[2] = (F)_mm256_shuffle_ps(b, d, 0x44), out[3] = (F)_mm256_shuffle_ps(b, d, 0xEE);
#else
    for (int c = 0; c < 4; ++c) out[c] = F{};
    for (; wanted; wanted &= wanted - 1) {
        const int lane = __builtin_ctz(wanted);
        const F4 value = of(lane);
        for (int c = 0; c < 4; ++c) out[c][lane] = value[c];
    }
#endif
}

// rows[lane * 4 + c] = in[c][lane]
inline void scatter_lanes(const F in[4], float *rows) {
#if LANES_AVX512
    const __m512i lower = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i upper = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const __m512i first = _mm512_setr_epi32(0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23);
    const __m512i last = _mm512_setr_epi32(8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31);
    for (int half = 0; half < 2; ++half) {
        const __m512i pairs = half ? upper : lower;
        const __m512 xy = _mm512_permutex2var_ps((__m512)in[0], pairs, (__m512)in[1]);
        const __m512 zw = _mm512_permutex2var_ps((__m512)in[2], pairs, (__m512)in[3]);
        _mm512_storeu_ps(rows + half * 32, _mm512_permutex2var_ps(xy, first, zw));
        _mm512_storeu_ps(rows + half * 32 + 16, _mm512_permutex2var_ps(xy, last, zw));
    }
#elif LANES_AVX2
    const __m256 x = (__m256)in[0], y = (__m256)in[1], z = (__m256)in[2], w = (__m256)in[3];
    const __m256 a = _mm256_unpacklo_ps(x, y), b = _mm256_unpackhi_ps(x, y);
    const __m256 c = _mm256_unpacklo_ps(z, w), d = _mm256_unpackhi_ps(z, w);
    const __m256 lanes[4] = {_mm256_shuffle_ps(a, c, 0x44), _mm256_shuffle_ps(a, c, 0xEE),
                             _mm256_shuffle_ps(b, d, 0x44), _mm256_shuffle_ps(b, d, 0xEE)};
    for (int n = 0; n < 4; ++n) {
        _mm_storeu_ps(rows + n * 4, _mm256_castps256_ps128(lanes[n]));
        _mm_storeu_ps(rows + (n + 4) * 4, _mm256_extractf128_ps(lanes[n], 1));
    }
#else
    for (int lane = 0; lane < LANES; ++lane)
        for (int c = 0; c < 4; ++c) rows[lane * 4 + c] = in[c][lane];
#endif
}

}  // namespace
