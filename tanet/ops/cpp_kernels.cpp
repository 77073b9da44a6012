// The temporal aggregation on CPUs. tanet/cpp_kernels.py compiles this file at first use, for one type of pixels (SCALAR:
// float, double or bfloat16) and one number of taps (TAPS), and says what each function computes.
//
// Frames lie as [N, T, C, P] ("contiguous") or [N, T, P, C] ("channels_last"), P = H * W. The inner loops are the same for
// both: vectors of LANES neighbours in memory, which are pixels in the one layout and channels in the other.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>
#ifdef __AVX__
#include <immintrin.h>
#endif

using std::int64_t;

#define INLINE __attribute__((always_inline))  // loops that compilers leave calls in otherwise

constexpr int64_t ROWS = 4;  // channels_last: pixels that are summed up before the sum is written down
constexpr int64_t TILE_BYTES = 1 << 16;  // of a frame, which stay in the cache while time goes on
constexpr int64_t CACHE_LINE = 64;  // bytes
constexpr int WAYS = 4;  // sums side by side, for each addition waits for the last one
constexpr int64_t CACHE_BYTES = 1 << 24;  // more than that has left the cache before it is read again

struct bfloat16 {
    uint16_t bits;
};
typedef SCALAR Scalar;
typedef std::conditional_t<std::is_same_v<Scalar, double>, double, float> Number;  // what is computed with

constexpr int LANES = 32 / sizeof(Number);
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
static inline void narrow(Vector v, bfloat16* to) {  // to the nearest, ties to even
    Lanes<float> exact = __builtin_convertvector(v, Lanes<float>);
    Lanes<uint32_t> word = (Lanes<uint32_t>)exact, is_nan = (Lanes<uint32_t>)(exact != exact);
    Lanes<uint32_t> rounded = word + 0x7fff + ((word >> 16) & 1);
    rounded = (is_nan & (word | 0x400000)) | (~is_nan & rounded);
    Lanes<uint16_t> half = __builtin_convertvector(rounded >> 16, Lanes<uint16_t>);
    std::memcpy(to, &half, sizeof half);
}

// Past the cache, where there is such a store: others read first what they overwrite. `to` is aligned to the vector.
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

struct Steps {  // 0 ... 0 1 ... 1 0 ... 0
    Number numbers[3 * LANES] = {};
    constexpr Steps() {
        for (int lane = 0; lane < LANES; lane++) numbers[LANES + lane] = 1;
    }
};
constexpr Steps STEPS;

// What a vector covers: pixels of one channel, or LANES channels of a pixel. Tables have a number a channel. All lanes, or
// the first of them (PART) where a row ends; or all lanes, of which the last count and the first were there before (AGAIN):
// the end of a row that is long enough, without the detour of a PART.
enum Extent { WHOLE, PART, AGAIN };

template <bool ONE_CHANNEL, Extent EXTENT> struct Place {
    int lanes;  // that count

    Vector of(const Number* table) const {
        if (ONE_CHANNEL) return all(*table);
        Vector v = {};
        std::memcpy(&v, table, (EXTENT == PART ? lanes : LANES) * sizeof(Number));
        return v;
    }
    Vector ones() const {
        if (EXTENT == WHOLE) return all(1);
        return widen(STEPS.numbers + (EXTENT == PART ? 2 * LANES - lanes : lanes));
    }
    // What of a vector is to be summed up.
    Vector counted(Vector v) const { return EXTENT == WHOLE ? v : v * ones(); }
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
    // A frame's first pixel, in the lanes of its channel.
    Vector first(const Scalar* frame) const { return ONE_CHANNEL ? all(number(frame)) : load(frame); }
};

// BatchNorm and ReLU in front of the aggregation, or nothing (x is z then).
struct Affine {
    const Number *mean, *scale, *shift;
};

template <bool AFFINE> struct Activation {
    Vector mean, scale, shift;
    template <class Place> Activation(const Affine& affine, int64_t channel, const Place& place) {
        if (!AFFINE) return;
        mean = place.of(affine.mean + channel);
        scale = place.of(affine.scale + channel);
        shift = place.of(affine.shift + channel);
    }
    Vector of(Vector z) const {
        if (!AFFINE) return z;
        Vector u = scale * (z - mean) + shift;
        return u <= 0 ? Vector{} : u;  // NaN stays NaN
    }
    // `v` where the ReLU lets through, else 0.
    Vector pass(Vector z, Vector v) const {
        if (!AFFINE) return v;
        return scale * (z - mean) + shift <= 0 ? Vector{} : v;
    }
};

struct Shape {
    int64_t clips, frames, channels, pixels;
    bool channels_last;
    int threads;

    // In a table of `width` numbers for each frame and channel: neighbours are those that are used together.
    int64_t entry(int64_t t, int64_t i, int64_t c, int64_t width) const {
        return channels_last ? (t * width + i) * channels + c : (c * frames + t) * width + i;
    }
    int64_t frame() const { return channels * pixels; }
    int64_t clip() const { return frames * frame(); }
    // A frame's rows are its pixels, or its channels if it is contiguous; a tile is some rows, a piece of memory.
    int64_t rows() const { return channels_last ? pixels : channels; }
    int64_t tile() const {
        int64_t fitting = TILE_BYTES / (int64_t)sizeof(Scalar) / (frame() / rows());
        return std::max(ROWS, fitting / ROWS * ROWS);
    }
    int64_t tiles() const { return (rows() + tile() - 1) / tile(); }
    bool streams() const {  // whether results go past the cache
        return clips * clip() * (int64_t)sizeof(Scalar) > CACHE_BYTES && (channels_last ? channels : pixels) % LANES == 0;
    }
};

typedef std::array<const Scalar*, 2> Frames;  // or one, or none, and nullptr

template <int64_t COUNT, class Visit> static inline void cover_pixels(const Shape& shape, int64_t pixel, Visit visit) {
    int64_t base = pixel * shape.channels, c = 0;
    for (; c + LANES <= shape.channels; c += LANES)
        visit(Place<false, WHOLE>{LANES}, base + c, shape.channels, COUNT, c);
    if (c < shape.channels) visit(Place<false, PART>{int(shape.channels - c)}, base + c, shape.channels, COUNT, c);
}

template <class Visit>
static inline void cover_tile(const Shape& shape, int64_t first, int64_t last, Frames summed, Visit visit) {
    int64_t pixel = first, block = ROWS * shape.channels;
    for (; summed[0] && pixel + ROWS <= last; pixel += ROWS) {
        for (const Scalar* frame : summed)
            for (int64_t i = 0; frame && i < block; i += CACHE_LINE / sizeof(Scalar))
                __builtin_prefetch(frame + pixel * shape.channels + block + i);
        cover_pixels<ROWS>(shape, pixel, visit);
    }
    for (; pixel < last; pixel++) cover_pixels<1>(shape, pixel, visit);
}

template <class Visit> static inline void cover_row(const Shape& shape, int64_t channel, Visit visit) {
    int64_t whole = shape.pixels / LANES, base = channel * shape.pixels;
    int rest = shape.pixels % LANES;
    if (whole) visit(Place<true, WHOLE>{LANES}, base, LANES, whole, channel);
    if (rest && whole) visit(Place<true, AGAIN>{rest}, base + shape.pixels - LANES, LANES, 1, channel);
    else if (rest) visit(Place<true, PART>{rest}, base, LANES, 1, channel);
}

// Calls visit(place, offset, stride, count, channel) for vectors that cover the rows [first, last) of a frame. It goes in the
// order of memory; or, where channels_last frames to be `summed` are given, by vectors of ROWS pixels, for one addition to the
// table in place of ROWS. As the processor cannot guess from such jumps what is read next, it is told.
template <class Visit>
static inline void cover(const Shape& shape, int64_t first, int64_t last, Frames summed, Visit visit) {
    if (shape.channels_last) cover_tile(shape, first, last, summed, visit);
    else for (int64_t channel = first; channel < last; channel++) cover_row(shape, channel, visit);
}

// The frames that tap after tap meet at frame t: t + k - TAPS / 2, or t - k + TAPS / 2 if mirrored. Where that is outside
// the clip the pointer is to frame t, for a coefficient of 0.
template <bool MIRRORED> static inline bool meets(const Shape& shape, int64_t t, int k, int64_t& other) {
    other = MIRRORED ? t - k + TAPS / 2 : t + k - TAPS / 2;
    bool inside = 0 <= other && other < shape.frames;
    if (!inside) other = t;
    return inside;
}

// Those frames of a clip.
template <bool MIRRORED> struct Met {
    const Scalar* frames[TAPS];
    bool inside[TAPS];
    Met(const Shape& shape, const Scalar* clip, int64_t t) {
        for (int k = 0; k < TAPS; k++) {
            int64_t other;
            inside[k] = meets<MIRRORED>(shape, t, k, other);
            frames[k] = clip + other * shape.frame();
        }
    }
};

// Coefficients of clip n, a table of `width`, TAPS or more. Aggregation: W[c, k] V[c, t + k - p]; mirrored, for the gradient:
// W[c, k] V[c, t].
template <bool MIRRORED>
static std::vector<Number> coefficients(const Shape& shape, int64_t n, const Number* importance, const Number* kernel,
                                        int64_t width = TAPS) {
    std::vector<Number> table(shape.frames * width * shape.channels, 0);
    importance += n * shape.channels * shape.frames;
    kernel += n * shape.channels * TAPS;
    for (int64_t t = 0; t < shape.frames; t++)
        for (int k = 0; k < TAPS; k++) {
            int64_t other;
            if (!meets<MIRRORED>(shape, t, k, other)) continue;
            for (int64_t c = 0; c < shape.channels; c++)
                table[shape.entry(t, k, c, width)] = kernel[c * TAPS + k] * importance[c * shape.frames + (MIRRORED ? t : other)];
        }
    return table;
}

// Runs work(n, t, first, last) for the rows [first, last) of every clip's tiles, all frames of a tile one after another, on
// several threads. If there are fewer tiles than threads, each gets some of the frames.
template <class Work> static void share(const Shape& shape, Work work) {
    int64_t pieces = shape.clips * shape.tiles();
    int64_t spans = std::max<int64_t>(1, std::min(shape.frames, (shape.threads + pieces - 1) / std::max<int64_t>(1, pieces)));
#pragma omp parallel for num_threads(shape.threads)
    for (int64_t item = 0; item < pieces * spans; item++) {
        int64_t n = item / spans / shape.tiles(), first = item / spans % shape.tiles() * shape.tile(), span = item % spans;
        for (int64_t t = span * shape.frames / spans; t < (span + 1) * shape.frames / spans; t++)
            work(n, t, first, std::min(shape.rows(), first + shape.tile()));
    }
}

template <bool AFFINE>
static void mix(const Shape& shape, const Scalar* z, const Number* importance, const Number* kernel, Affine affine, Scalar* y) {
    std::vector<std::vector<Number>> tables(shape.clips);
    for (int64_t n = 0; n < shape.clips; n++) tables[n] = coefficients<false>(shape, n, importance, kernel);
    bool streams = shape.streams();
    share(shape, [&](int64_t n, int64_t t, int64_t first, int64_t last) {
        Met<false> met(shape, z + n * shape.clip(), t);
        Scalar* to = y + n * shape.clip() + t * shape.frame();
        const Number* table = tables[n].data();
        cover(shape, first, last, {}, [&](auto place, int64_t offset, int64_t stride, int64_t count, int64_t c) INLINE {
            Activation<AFFINE> activation(affine, c, place);
            Vector b[TAPS];
            for (int k = 0; k < TAPS; k++) b[k] = place.of(table + shape.entry(t, k, c, TAPS));
            for (int64_t i = 0; i < count; i++, offset += stride) {
                Vector total = {};
                for (int k = 0; k < TAPS; k++)
                    total += b[k] * activation.of(place.load(met.frames[k] + offset));
                streams ? stream(total, to + offset) : place.store(to + offset, total);
            }
        });
        if (streams) end_stream();
    });
}

template <bool AFFINE>
static void spread(const Shape& shape, const Scalar* grad_y, const Scalar* z, const Number* importance, const Number* kernel,
                   const Number* constant, Affine affine, const Number* offset_a, const Number* offset_b, Scalar* grad_z) {
    std::vector<std::vector<Number>> tables(shape.clips);
    for (int64_t n = 0; n < shape.clips; n++) {
        tables[n] = coefficients<true>(shape, n, importance, kernel, TAPS + 1);
        for (int64_t c = 0; c < shape.channels; c++)
            for (int64_t t = 0; t < shape.frames; t++)
                tables[n][shape.entry(t, TAPS, c, TAPS + 1)] = constant[(n * shape.channels + c) * shape.frames + t];
    }
    bool streams = shape.streams();
    share(shape, [&](int64_t n, int64_t t, int64_t first, int64_t last) {
        Met<true> met(shape, grad_y + n * shape.clip(), t);
        const Scalar* here = z + n * shape.clip() + t * shape.frame();
        Scalar* to = grad_z + n * shape.clip() + t * shape.frame();
        const Number* table = tables[n].data();
        cover(shape, first, last, {}, [&](auto place, int64_t offset, int64_t stride, int64_t count, int64_t c) INLINE {
            Activation<AFFINE> activation(affine, c, place);
            Vector b[TAPS + 1], less = {}, slope = {};
            for (int k = 0; k <= TAPS; k++) b[k] = place.of(table + shape.entry(t, k, c, TAPS + 1));
            if (AFFINE) less = place.of(offset_a + c), slope = place.of(offset_b + c);
            for (int64_t i = 0; i < count; i++, offset += stride) {
                Vector total = b[TAPS];
                for (int k = 0; k < TAPS; k++) total += b[k] * place.load(met.frames[k] + offset);
                if (AFFINE) {
                    Vector value = place.load(here + offset);
                    total = activation.pass(value, total) - less - (value - activation.mean) * slope;
                    total *= activation.scale;
                }
                streams ? stream(total, to + offset) : place.store(to + offset, total);
            }
        });
        if (streams) end_stream();
    });
}

// Calls add(way, offset) for `count` vectors, WAYS of them independent of each other.
template <class Add> static inline void each(int64_t count, int64_t offset, int64_t stride, Add add) {
    int64_t i = 0;
    for (; i + WAYS <= count; i += WAYS)
        for (int way = 0; way < WAYS; way++) add(way, offset + (i + way) * stride);
    for (; i < count; i++) add(0, offset + i * stride);
}

static inline Vector together(const Vector (&ways)[WAYS]) {
    Vector total = {};
    for (Vector v : ways) total += v;
    return total;
}

// Sums over pixels: `into` [N, C, T, sums]. work(n, t, first, last, table) adds to a table of `sums`. Tiles are summed up apart
// and then put together in order: the same bits with any number of threads.
template <class Work> static void sum_up(const Shape& shape, int sums, Number* into, Work work) {
    int64_t parts = shape.channels_last ? shape.tiles() : 1, size = shape.frames * sums * shape.channels;
    std::vector<Number> apart(shape.channels_last ? shape.clips * parts * size : 0, 0);
    if (!shape.channels_last) std::fill(into, into + shape.clips * size, Number(0));
    share(shape, [&](int64_t n, int64_t t, int64_t first, int64_t last) {
        Number* table = shape.channels_last ? apart.data() + (n * parts + first / shape.tile()) * size : into + n * size;
        work(n, t, first, last, table);
    });
    if (!shape.channels_last) return;
    for (int64_t n = 0; n < shape.clips; n++) {
        Number* table = apart.data() + n * parts * size;
        for (int64_t part = 1; part < parts; part++)
            for (int64_t i = 0; i < size; i++) table[i] += table[part * size + i];
        for (int64_t c = 0; c < shape.channels; c++)
            for (int64_t t = 0; t < shape.frames; t++)
                for (int s = 0; s < sums; s++)
                    into[((n * shape.channels + c) * shape.frames + t) * sums + s] = table[shape.entry(t, s, c, sums)];
    }
}

template <bool AFFINE> static void pool(const Shape& shape, const Scalar* z, Affine affine, Number* sums) {
    sum_up(shape, 2, sums, [&](int64_t n, int64_t t, int64_t first, int64_t last, Number* table) {
        const Scalar* here = z + n * shape.clip() + t * shape.frame();
        cover(shape, first, last, {here}, [&](auto place, int64_t offset, int64_t stride, int64_t count, int64_t c) {
            Activation<AFFINE> activation(affine, c, place);
            Vector one = place.ones(), totals[WAYS] = {}, positive[WAYS] = {};
            each(count, offset, stride, [&](int way, int64_t at) {
                Vector value = place.load(here + at);
                if (AFFINE) {
                    totals[way] += activation.pass(value, one * (value - activation.mean));
                    positive[way] += activation.pass(value, one);
                } else {
                    totals[way] += place.counted(value);
                }
            });
            place.add(table + shape.entry(t, 0, c, 2), together(totals));
            if (AFFINE) place.add(table + shape.entry(t, 1, c, 2), together(positive));
        });
    });
}

template <bool AFFINE>
static void correlate(const Shape& shape, const Scalar* grad_y, const Scalar* z, Affine affine, Number* sums) {
    sum_up(shape, 2 * TAPS, sums, [&](int64_t n, int64_t t, int64_t first, int64_t last, Number* table) {
        Met<true> met(shape, grad_y + n * shape.clip(), t);
        const Scalar* here = z + n * shape.clip() + t * shape.frame();
        Frames summed = {};
        if (AFFINE) summed = {here, met.frames[0]};  // else there are half as many sums, and the order of memory wins
        cover(shape, first, last, summed, [&](auto place, int64_t offset, int64_t stride, int64_t count, int64_t c) INLINE {
            Activation<AFFINE> activation(affine, c, place);
            Vector products[TAPS] = {}, passed[TAPS] = {};
            for (int64_t i = 0; i < count; i++, offset += stride) {
                Vector value = place.load(here + offset);
                for (int k = 0; k < TAPS; k++) {
                    Vector gradient = place.counted(activation.pass(value, place.load(met.frames[k] + offset)));
                    products[k] += gradient * (AFFINE ? value - activation.mean : value);
                    if (AFFINE) passed[k] += gradient;
                }
            }
            for (int k = 0; k < TAPS; k++) {
                if (!met.inside[k]) continue;
                place.add(table + shape.entry(t, k, c, 2 * TAPS), products[k]);
                if (AFFINE) place.add(table + shape.entry(t, TAPS + k, c, 2 * TAPS), passed[k]);
            }
        });
    });
}

// Mean and biased variance of each channel. Each frame's sums are of differences to its first pixel, so that nothing
// cancels, and frames are put together in double precision.
static void moments(const Shape& shape, const Scalar* z, Number* mean, Number* variance) {
    std::vector<Number> sums(shape.clips * shape.channels * shape.frames * 2);
    auto first_pixel = [&](int64_t n, int64_t t, int64_t c) {
        return z + n * shape.clip() + t * shape.frame() + c * (shape.channels_last ? 1 : shape.pixels);
    };
    sum_up(shape, 2, sums.data(), [&](int64_t n, int64_t t, int64_t first, int64_t last, Number* table) {
        const Scalar* here = z + n * shape.clip() + t * shape.frame();
        cover(shape, first, last, {here}, [&](auto place, int64_t offset, int64_t stride, int64_t count, int64_t c) {
            Vector shift = place.first(first_pixel(n, t, c)), totals[WAYS] = {}, squares[WAYS] = {};
            each(count, offset, stride, [&](int way, int64_t at) {
                Vector difference = place.counted(place.load(here + at) - shift);
                totals[way] += difference;
                squares[way] += difference * difference;
            });
            place.add(table + shape.entry(t, 0, c, 2), together(totals));
            place.add(table + shape.entry(t, 1, c, 2), together(squares));
        });
    });
    int64_t frames = shape.clips * shape.frames;
    for (int64_t c = 0; c < shape.channels; c++) {
        double within = 0, means = 0;
        std::vector<double> frame_means;
        for (int64_t f = 0; f < frames; f++) {
            int64_t n = f / shape.frames, t = f % shape.frames;
            const Number* pair = sums.data() + ((n * shape.channels + c) * shape.frames + t) * 2;
            double total = pair[0], shift = number(first_pixel(n, t, c));
            within += pair[1] - total * total / shape.pixels;
            frame_means.push_back(shift + total / shape.pixels);
            means += frame_means.back();
        }
        double between = 0, whole_mean = means / frames;
        for (double frame_mean : frame_means) between += (frame_mean - whole_mean) * (frame_mean - whole_mean);
        mean[c] = whole_mean;
        variance[c] = std::max(0.0, within / (frames * shape.pixels) + between / frames);
    }
}

// What Python calls. Tables are contiguous; affine is null where there is no BatchNorm and ReLU.
extern "C" {
void tanet_pool(const Shape* shape, const Scalar* z, const Affine* affine, Number* sums) {
    affine ? pool<true>(*shape, z, *affine, sums) : pool<false>(*shape, z, {}, sums);
}
void tanet_mix(const Shape* shape, const Scalar* z, const Number* importance, const Number* kernel, const Affine* affine,
               Scalar* y) {
    affine ? mix<true>(*shape, z, importance, kernel, *affine, y) : mix<false>(*shape, z, importance, kernel, {}, y);
}
void tanet_correlate(const Shape* shape, const Scalar* grad_y, const Scalar* z, const Affine* affine, Number* sums) {
    affine ? correlate<true>(*shape, grad_y, z, *affine, sums) : correlate<false>(*shape, grad_y, z, {}, sums);
}
void tanet_spread(const Shape* shape, const Scalar* grad_y, const Scalar* z, const Number* importance, const Number* kernel,
                  const Number* constant, const Affine* affine, const Number* a, const Number* b, Scalar* grad_z) {
    affine ? spread<true>(*shape, grad_y, z, importance, kernel, constant, *affine, a, b, grad_z)
           : spread<false>(*shape, grad_y, z, importance, kernel, constant, {}, a, b, grad_z);
}
void tanet_moments(const Shape* shape, const Scalar* z, Number* mean, Number* variance) {
    moments(*shape, z, mean, variance);
}
}
