// How the kernels in cpp_kernels.cpp walk over frames: tiles, rows, vectors, neighbouring frames, and sums over pixels.
//
// N clips, T frames, C channels, P = H * W pixels, TAPS = K, p = K / 2. Frames lie in memory as [N, T, C, P]
// ("contiguous") or [N, T, P, C] ("channels_last"). The inner loops are the same for both: a vector holds LANES
// neighbours in memory, which are pixels in the one layout and channels in the other.

#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "cpp_vectors.h"

constexpr int64_t ROWS = 4;  // channels_last: pixels that are summed in registers before the sum goes to memory
constexpr int64_t TILE_BYTES = 1 << 16;  // of one frame; the tiles of a few neighbouring frames fit into the cache
constexpr int64_t CACHE_LINE = 64;  // bytes
constexpr int WAYS = 4;  // sums side by side: an addition to one sum need not wait for the last addition to another
constexpr int64_t CACHE_BYTES = 1 << 24;  // larger results have left the cache before anything reads them again

// The same fields, in the same order, as `_Shape` in cpp_kernels.py.
struct Shape {
    int64_t clips, frames, channels, pixels;
    bool channels_last;
    int threads;

    // Where number i of frame t and channel c stands in a table of `width` numbers for each frame and channel.
    // Numbers that are used together are neighbours.
    int64_t entry(int64_t t, int64_t i, int64_t c, int64_t width) const {
        return channels_last ? (t * width + i) * channels + c : (c * frames + t) * width + i;
    }
    int64_t frame() const { return channels * pixels; }
    int64_t clip() const { return frames * frame(); }
    // A frame's rows are its pixels if it is channels_last, else its channels. A tile is a few neighbouring rows.
    int64_t rows() const { return channels_last ? pixels : channels; }
    int64_t tile() const {
        int64_t fitting = TILE_BYTES / (int64_t)sizeof(Scalar) / (frame() / rows());
        return std::max(ROWS, fitting / ROWS * ROWS);
    }
    int64_t tiles() const { return (rows() + tile() - 1) / tile(); }
    bool streams() const {  // whether results are stored past the cache
        return clips * clip() * (int64_t)sizeof(Scalar) > CACHE_BYTES
            && (channels_last ? channels : pixels) % LANES == 0;
    }
};

typedef std::array<const Scalar*, 2> Frames;  // up to two frames; the others are null

template <int64_t COUNT, class Visit> static inline void cover_pixels(const Shape& shape, int64_t pixel, Visit visit) {
    int64_t base = pixel * shape.channels, c = 0;
    for (; c + LANES <= shape.channels; c += LANES)
        visit(Span<false, WHOLE>{LANES}, base + c, shape.channels, COUNT, c);
    if (c < shape.channels) visit(Span<false, PART>{int(shape.channels - c)}, base + c, shape.channels, COUNT, c);
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
    if (whole) visit(Span<true, WHOLE>{LANES}, base, LANES, whole, channel);
    if (rest && whole) visit(Span<true, AGAIN>{rest}, base + shape.pixels - LANES, LANES, 1, channel);
    else if (rest) visit(Span<true, PART>{rest}, base, LANES, 1, channel);
}

// Calls visit(span, offset, stride, count, channel) for vectors that cover the rows [first, last) of a frame, in the
// order of memory. If channels_last frames are to be `summed`, it goes by blocks of ROWS pixels instead, so that a
// table receives one addition for ROWS pixels. The processor cannot guess what such jumps read next, so those blocks
// are prefetched.
template <class Visit>
static inline void cover(const Shape& shape, int64_t first, int64_t last, Frames summed, Visit visit) {
    if (shape.channels_last) cover_tile(shape, first, last, summed, visit);
    else for (int64_t channel = first; channel < last; channel++) cover_row(shape, channel, visit);
}

// The frame that tap k reads for frame t: t + k - p, or t - k + p if MIRRORED (the gradient). False if the clip has
// no such frame; then `other` is t, which may be read and gets a coefficient of 0.
template <bool MIRRORED> static inline bool meets(const Shape& shape, int64_t t, int k, int64_t& other) {
    other = MIRRORED ? t - k + TAPS / 2 : t + k - TAPS / 2;
    bool inside = 0 <= other && other < shape.frames;
    if (!inside) other = t;
    return inside;
}

// The frames of a clip that the taps read for frame t.
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

// The coefficients of clip n in a table of `width` (TAPS or more) numbers for each frame and channel:
// W[c, k] V[c, t + k - p] for the aggregation, W[c, k] V[c, t] if MIRRORED, for its gradient.
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
            int64_t weighted = MIRRORED ? t : other;
            for (int64_t c = 0; c < shape.channels; c++)
                table[shape.entry(t, k, c, width)] = kernel[c * TAPS + k] * importance[c * shape.frames + weighted];
        }
    return table;
}

// Calls work(n, t, first, last) for the rows [first, last) of every tile of every clip, on several threads. A thread
// goes through all frames of a tile before the next tile. If there are fewer tiles than threads, threads share a
// tile's frames.
template <class Work> static void share(const Shape& shape, Work work) {
    int64_t pieces = shape.clips * shape.tiles();
    int64_t threads_a_piece = (shape.threads + pieces - 1) / std::max<int64_t>(1, pieces);
    int64_t spans = std::max<int64_t>(1, std::min(shape.frames, threads_a_piece));
#pragma omp parallel for num_threads(shape.threads)
    for (int64_t item = 0; item < pieces * spans; item++) {
        int64_t n = item / spans / shape.tiles(), span = item % spans;
        int64_t first = item / spans % shape.tiles() * shape.tile();
        for (int64_t t = span * shape.frames / spans; t < (span + 1) * shape.frames / spans; t++)
            work(n, t, first, std::min(shape.rows(), first + shape.tile()));
    }
}

// Calls add(way, offset) for `count` vectors. Sums of different ways are independent of each other.
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

// Sums over pixels, written to `into` [N, C, T, sums]. work(n, t, first, last, table) adds its rows to a table of
// `sums` numbers for each frame and channel. Where several tiles share a channel (channels_last), each has a table of
// its own, and the tables are added in order: the result has the same bits with any number of threads.
template <class Work> static void sum_up(const Shape& shape, int sums, Number* into, Work work) {
    int64_t parts = shape.channels_last ? shape.tiles() : 1, size = shape.frames * sums * shape.channels;
    std::vector<Number> apart(shape.channels_last ? shape.clips * parts * size : 0, 0);
    if (!shape.channels_last) std::fill(into, into + shape.clips * size, Number(0));
    share(shape, [&](int64_t n, int64_t t, int64_t first, int64_t last) {
        Number* table = into + n * size;
        if (shape.channels_last) table = apart.data() + (n * parts + first / shape.tile()) * size;
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
