// The temporal aggregation on CPUs: the kernels, and the functions that Python calls.
//
// cpp_kernels.py compiles this file at first use, for one type of pixels (SCALAR) and one number of taps (TAPS). Its
// functions of the same names say what each kernel computes. cpp_frames.h has the walks over frames, cpp_vectors.h the
// vectors.

#include "cpp_frames.h"

// BatchNorm and ReLU in front of the aggregation: x = relu(scale * (z - mean) + shift). Without them x is z.
// The same fields, in the same order, as `_Affine` in cpp_kernels.py.
struct Affine {
    const Number *mean, *scale, *shift;
};

template <bool AFFINE> struct Activation {
    Vector mean, scale, shift;
    template <class Span> Activation(const Affine& affine, int64_t channel, const Span& span) {
        if (!AFFINE) return;
        mean = span.of(affine.mean + channel);
        scale = span.of(affine.scale + channel);
        shift = span.of(affine.shift + channel);
    }
    // x
    Vector of(Vector z) const {
        if (!AFFINE) return z;
        Vector u = scale * (z - mean) + shift;
        return u <= 0 ? Vector{} : u;  // NaN stays NaN
    }
    // `v` where x > 0, else 0.
    Vector pass(Vector z, Vector v) const {
        if (!AFFINE) return v;
        return scale * (z - mean) + shift <= 0 ? Vector{} : v;
    }
};

template <bool AFFINE>
static void mix(const Shape& shape, const Scalar* z, const Number* importance, const Number* kernel, Affine affine,
                Scalar* y) {
    std::vector<std::vector<Number>> tables(shape.clips);
    for (int64_t n = 0; n < shape.clips; n++) tables[n] = coefficients<false>(shape, n, importance, kernel);
    bool streams = shape.streams();
    share(shape, [&](int64_t n, int64_t t, int64_t first, int64_t last) {
        Met<false> met(shape, z + n * shape.clip(), t);
        Scalar* y_frame = y + n * shape.clip() + t * shape.frame();
        const Number* table = tables[n].data();
        cover(shape, first, last, {}, [&](auto span, int64_t offset, int64_t stride, int64_t count, int64_t c) INLINE {
            Activation<AFFINE> activation(affine, c, span);
            Vector b[TAPS];
            for (int k = 0; k < TAPS; k++) b[k] = span.of(table + shape.entry(t, k, c, TAPS));
            for (int64_t i = 0; i < count; i++, offset += stride) {
                Vector total = {};
                for (int k = 0; k < TAPS; k++)
                    total += b[k] * activation.of(span.load(met.frames[k] + offset));
                if (streams) stream(total, y_frame + offset);
                else span.store(y_frame + offset, total);
            }
        });
        if (streams) end_stream();
    });
}

template <bool AFFINE>
static void spread(const Shape& shape, const Scalar* grad_y, const Scalar* z, const Number* importance,
                   const Number* kernel, const Number* constant, Affine affine, const Number* offset_a,
                   const Number* offset_b, Scalar* grad_z) {
    std::vector<std::vector<Number>> tables(shape.clips);  // the taps' coefficients, then the constant
    for (int64_t n = 0; n < shape.clips; n++) {
        tables[n] = coefficients<true>(shape, n, importance, kernel, TAPS + 1);
        for (int64_t c = 0; c < shape.channels; c++)
            for (int64_t t = 0; t < shape.frames; t++)
                tables[n][shape.entry(t, TAPS, c, TAPS + 1)] = constant[(n * shape.channels + c) * shape.frames + t];
    }
    bool streams = shape.streams();
    share(shape, [&](int64_t n, int64_t t, int64_t first, int64_t last) {
        Met<true> met(shape, grad_y + n * shape.clip(), t);
        const Scalar* z_frame = z + n * shape.clip() + t * shape.frame();
        Scalar* grad_frame = grad_z + n * shape.clip() + t * shape.frame();
        const Number* table = tables[n].data();
        cover(shape, first, last, {}, [&](auto span, int64_t offset, int64_t stride, int64_t count, int64_t c) INLINE {
            Activation<AFFINE> activation(affine, c, span);
            Vector b[TAPS + 1], a_of_c = {}, b_of_c = {};
            for (int k = 0; k <= TAPS; k++) b[k] = span.of(table + shape.entry(t, k, c, TAPS + 1));
            if (AFFINE) {
                a_of_c = span.of(offset_a + c);
                b_of_c = span.of(offset_b + c);
            }
            for (int64_t i = 0; i < count; i++, offset += stride) {
                Vector total = b[TAPS];
                for (int k = 0; k < TAPS; k++) total += b[k] * span.load(met.frames[k] + offset);
                if (AFFINE) {
                    Vector value = span.load(z_frame + offset);
                    total = activation.pass(value, total) - a_of_c - (value - activation.mean) * b_of_c;
                    total *= activation.scale;
                }
                if (streams) stream(total, grad_frame + offset);
                else span.store(grad_frame + offset, total);
            }
        });
        if (streams) end_stream();
    });
}

template <bool AFFINE> static void pool(const Shape& shape, const Scalar* z, Affine affine, Number* sums) {
    sum_up(shape, 2, sums, [&](int64_t n, int64_t t, int64_t first, int64_t last, Number* table) {
        const Scalar* frame = z + n * shape.clip() + t * shape.frame();
        cover(shape, first, last, {frame}, [&](auto span, int64_t offset, int64_t stride, int64_t count, int64_t c) {
            Activation<AFFINE> activation(affine, c, span);
            Vector one = span.ones(), totals[WAYS] = {}, positive[WAYS] = {};
            each(count, offset, stride, [&](int way, int64_t index) {
                Vector value = span.load(frame + index);
                if (AFFINE) {
                    totals[way] += activation.pass(value, one * (value - activation.mean));
                    positive[way] += activation.pass(value, one);
                } else {
                    totals[way] += span.counted(value);
                }
            });
            span.add(table + shape.entry(t, 0, c, 2), together(totals));
            if (AFFINE) span.add(table + shape.entry(t, 1, c, 2), together(positive));
        });
    });
}

template <bool AFFINE>
static void correlate(const Shape& shape, const Scalar* grad_y, const Scalar* z, Affine affine, Number* sums) {
    sum_up(shape, 2 * TAPS, sums, [&](int64_t n, int64_t t, int64_t first, int64_t last, Number* table) {
        Met<true> met(shape, grad_y + n * shape.clip(), t);
        const Scalar* frame = z + n * shape.clip() + t * shape.frame();
        Frames summed = {};
        // Without AFFINE there are half as many sums, and the order of memory is faster.
        if (AFFINE) summed = {frame, met.frames[0]};
        auto add = [&](auto span, int64_t offset, int64_t stride, int64_t count, int64_t c) INLINE {
            Activation<AFFINE> activation(affine, c, span);
            Vector products[TAPS] = {}, passed[TAPS] = {};
            for (int64_t i = 0; i < count; i++, offset += stride) {
                Vector value = span.load(frame + offset);
                for (int k = 0; k < TAPS; k++) {
                    Vector gradient = span.counted(activation.pass(value, span.load(met.frames[k] + offset)));
                    products[k] += gradient * (AFFINE ? value - activation.mean : value);
                    if (AFFINE) passed[k] += gradient;
                }
            }
            for (int k = 0; k < TAPS; k++) {
                if (!met.inside[k]) continue;
                span.add(table + shape.entry(t, k, c, 2 * TAPS), products[k]);
                if (AFFINE) span.add(table + shape.entry(t, TAPS + k, c, 2 * TAPS), passed[k]);
            }
        };
        cover(shape, first, last, summed, add);
    });
}

// A frame's sums are of differences to its first pixel, so that no digits cancel. Frames are merged in double
// precision.
static void moments(const Shape& shape, const Scalar* z, Number* mean, Number* variance) {
    std::vector<Number> sums(shape.clips * shape.channels * shape.frames * 2);
    auto first_pixel = [&](int64_t n, int64_t t, int64_t c) {
        return z + n * shape.clip() + t * shape.frame() + c * (shape.channels_last ? 1 : shape.pixels);
    };
    sum_up(shape, 2, sums.data(), [&](int64_t n, int64_t t, int64_t first, int64_t last, Number* table) {
        const Scalar* frame = z + n * shape.clip() + t * shape.frame();
        cover(shape, first, last, {frame}, [&](auto span, int64_t offset, int64_t stride, int64_t count, int64_t c) {
            Vector shift = span.first(first_pixel(n, t, c)), totals[WAYS] = {}, squares[WAYS] = {};
            each(count, offset, stride, [&](int way, int64_t index) {
                Vector difference = span.counted(span.load(frame + index) - shift);
                totals[way] += difference;
                squares[way] += difference * difference;
            });
            span.add(table + shape.entry(t, 0, c, 2), together(totals));
            span.add(table + shape.entry(t, 1, c, 2), together(squares));
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

// What Python calls. Tables are contiguous; `affine` is null where there is no BatchNorm and ReLU.
extern "C" {
void tanet_pool(const Shape* shape, const Scalar* z, const Affine* affine, Number* sums) {
    if (affine) pool<true>(*shape, z, *affine, sums);
    else pool<false>(*shape, z, {}, sums);
}
void tanet_mix(const Shape* shape, const Scalar* z, const Number* importance, const Number* kernel,
               const Affine* affine, Scalar* y) {
    if (affine) mix<true>(*shape, z, importance, kernel, *affine, y);
    else mix<false>(*shape, z, importance, kernel, {}, y);
}
void tanet_correlate(const Shape* shape, const Scalar* grad_y, const Scalar* z, const Affine* affine, Number* sums) {
    if (affine) correlate<true>(*shape, grad_y, z, *affine, sums);
    else correlate<false>(*shape, grad_y, z, {}, sums);
}
void tanet_spread(const Shape* shape, const Scalar* grad_y, const Scalar* z, const Number* importance,
                  const Number* kernel, const Number* constant, const Affine* affine, const Number* a,
                  const Number* b, Scalar* grad_z) {
    if (affine) spread<true>(*shape, grad_y, z, importance, kernel, constant, *affine, a, b, grad_z);
    else spread<false>(*shape, grad_y, z, importance, kernel, constant, {}, a, b, grad_z);
}
void tanet_moments(const Shape* shape, const Scalar* z, Number* mean, Number* variance) {
    moments(*shape, z, mean, variance);
}
}
