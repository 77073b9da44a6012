// Vectors of numbers for the kernels in cpp_kernels.cpp: loading, storing, and the ends of rows.
//
// The compiler's flags define SCALAR, the type of the pixels: float, double or bfloat16.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#ifdef __AVX__
#include <immintrin.h>
#endif

using std::int64_t;

#define INLINE __attribute__((always_inline))  // for lambdas that compilers would call rather than inline

struct bfloat16 {
    uint16_t bits;
};
typedef SCALAR Scalar;  // pixels in memory
typedef std::conditional_t<std::is_same_v<Scalar, double>, double, float> Number;  // all arithmetic, and all tables

constexpr int LANES = 32 / sizeof(Number);  // numbers in a vector
template <class Item> using Lanes __attribute__((vector_size(LANES * sizeof(Item)))) = Item;
typedef Lanes<Number> Vector;

static inline Vector widen(const Number* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
static inline Vector widen(const bfloat16* from) {
    Lanes<uint16_t> half;
    std::memcpy(&half, from, sizeof half);
    return __builtin_convertvector((Lanes<float>)(__builtin_convertvector(half, Lanes<uint32_t>) << 16), Vector);
}

static inline void narrow(Vector v, Number* to) { std::memcpy(to, &v, sizeof v); }
static inline void narrow(Vector v, bfloat16* to) {  // rounds to nearest, ties to even
    Lanes<float> exact = __builtin_convertvector(v, Lanes<float>);
    Lanes<uint32_t> word = (Lanes<uint32_t>)exact, is_nan = (Lanes<uint32_t>)(exact != exact);
    Lanes<uint32_t> rounded = word + 0x7fff + ((word >> 16) & 1);
    rounded = (is_nan & (word | 0x400000)) | (~is_nan & rounded);
    Lanes<uint16_t> half = __builtin_convertvector(rounded >> 16, Lanes<uint16_t>);
    std::memcpy(to, &half, sizeof half);
}

// Stores past the cache. An ordinary store first reads the cache line that it overwrites; this one does not.
// `to` must be aligned to the vector. Call end_stream() after the last one.
static inline void stream(Vector v, Scalar* to) {
#ifdef __AVX__
    alignas(32) Scalar packed[LANES];
    narrow(v, packed);
    if constexpr (sizeof packed == 32) _mm256_stream_si256((__m256i*)to, *(const __m256i*)packed);
    else _mm_stream_si128((__m128i*)to, *(const __m128i*)packed);
#else
    narrow(v, to);
#endif
}
static inline void end_stream() {
#ifdef __AVX__
    _mm_sfence();
#endif
}

static inline Vector all(Number value) { return Vector{} + value; }

static inline Number number(const Scalar* from) {
    Scalar padded[LANES] = {*from};
    return widen(padded)[0];
}

static inline Number sum(Vector v) {
    Number total = 0;
    for (int lane = 0; lane < LANES; lane++) total += v[lane];
    return total;
}

struct Steps {  // LANES zeros, LANES ones, LANES zeros: a load at the right offset is a mask
    Number numbers[3 * LANES] = {};
    constexpr Steps() {
        for (int lane = 0; lane < LANES; lane++) numbers[LANES + lane] = 1;
    }
};
constexpr Steps STEPS;

// Which lanes of a vector count. WHOLE: all. PART: the first `lanes`; the row ends there, and memory beyond it is not
// touched. AGAIN: the last `lanes`; the vector ends where the row ends, and its first lanes were visited before.
// AGAIN is faster than PART, but needs a row of at least LANES elements.
enum Extent { WHOLE, PART, AGAIN };

// What a vector covers: LANES pixels of one channel (ONE_CHANNEL), or LANES channels of one pixel. A table holds one
// number for each channel.
template <bool ONE_CHANNEL, Extent EXTENT> struct Span {
    int lanes;  // how many lanes count

    // The table's numbers in the lanes of their channels.
    Vector of(const Number* table) const {
        if (ONE_CHANNEL) return all(*table);
        Vector v = {};
        std::memcpy(&v, table, (EXTENT == PART ? lanes : LANES) * sizeof(Number));
        return v;
    }
    // 1 in the lanes that count, else 0.
    Vector ones() const {
        if (EXTENT == WHOLE) return all(1);
        return widen(STEPS.numbers + (EXTENT == PART ? 2 * LANES - lanes : lanes));
    }
    // v in the lanes that count, else 0.
    Vector counted(Vector v) const { return EXTENT == WHOLE ? v : v * ones(); }
    // Adds v to the table; for one channel, the sum of its lanes.
    void add(Number* table, Vector v) const {
        if (ONE_CHANNEL) {
            *table += sum(v);
            return;
        }
        v += of(table);
        std::memcpy(table, &v, (EXTENT == PART ? lanes : LANES) * sizeof(Number));
    }
    Vector load(const Scalar* from) const {
        if (EXTENT != PART) return widen(from);
        Scalar padded[LANES] = {};
        std::memcpy(padded, from, lanes * sizeof(Scalar));
        return widen(padded);
    }
    void store(Scalar* to, Vector v) const {
        if (EXTENT != PART) return narrow(v, to);
        Scalar padded[LANES];
        narrow(v, padded);
        std::memcpy(to, padded, lanes * sizeof(Scalar));
    }
    // The first pixel of each channel that the vector covers, in the lanes of its channel.
    Vector first(const Scalar* frame) const { return ONE_CHANNEL ? all(number(frame)) : load(frame); }
};
