"""The programs that `tanet.ops.triton_kernels` launches, written for Triton.

A frame is a matrix in memory order, [height, width]: channels x pixels, or pixels x channels if it is channels_last
(LAST). A program holds a tile of it, [ROWS, COLS]. STEP elements, a divisor of the width, are read in one access.
Numbers of channels and of elements in a frame stay below 2^31; frames are counted in 64 bits.

N clips, T frames, K taps, p = K // 2. All arithmetic is in the type of the sums, maps and statistics.
"""

import triton
import triton.language as tl

AHEAD = tl.constexpr(2)  # frames that are being loaded while one is computed with
UNROLLED = tl.constexpr(20)  # longer walks over time are loops, in which each turn waits for the loads of the last


@triton.jit
def _tile(
    program,
    height, steps, TURNS: tl.constexpr, LAST: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The clip or frame (int64) and block of pixels that a program works on: TURNS tiles along the pixels.
    Of the first tile: offsets in a frame [ROWS, COLS], pixels [ROWS, 1] or [1, COLS], channels [COLS] or [ROWS].
    Last, how many channels and pixels there are."""
    width = steps * STEP
    rows: tl.constexpr = ROWS * TURNS if LAST else ROWS
    cols: tl.constexpr = COLS if LAST else COLS * TURNS
    down, across = tl.cdiv(height, rows), tl.cdiv(width, cols)
    i, j = program // across % down, program % across
    row, col = i * rows + tl.arange(0, ROWS), j * cols + tl.arange(0, COLS)
    offsets = row[:, None] * width + col[None, :]
    clip = (program // (across * down)).to(tl.int64)
    if LAST:
        tile = (clip, i, offsets, row[:, None], col, width, height)
    else:
        tile = (clip, j, offsets, col[None, :], row, height, width)
    return tile


@triton.jit
def _across(values, LAST: tl.constexpr):
    """Values [channels] in the shape that broadcasts against a tile."""
    return values[None, :] if LAST else values[:, None]


@triton.jit
def _frame(pointer, n, t, T: tl.constexpr, size, offsets, inside):
    """The tile in frame t of clip n; zeros where the clip has no such frame."""
    return tl.load(pointer + (n * T + t) * size + offsets, mask=inside & (t >= 0) & (t < T), other=0)


@triton.jit
def _map(pointers, stride, t, T: tl.constexpr, known, LAST: tl.constexpr):
    """A map's values for frame t, one per channel; zeros where the clip has no such frame."""
    return _across(tl.load(pointers + t * stride, mask=known & (t >= 0) & (t < T), other=0), LAST)


@triton.jit
def _frames_ahead(pointer, n, start: tl.constexpr, T: tl.constexpr, size, offsets, inside):
    frames = ()
    for i in tl.static_range(AHEAD):
        frames += (_frame(pointer, n, start + i, T, size, offsets, inside),)
    return frames


@triton.jit
def _maps_ahead(pointers, stride, start: tl.constexpr, T: tl.constexpr, known, LAST: tl.constexpr):
    maps = ()
    for i in tl.static_range(AHEAD):
        maps += (_map(pointers, stride, start + i, T, known, LAST),)
    return maps


@triton.jit
def _taps(kernel, strides, n, c, known, LAST: tl.constexpr, K: tl.constexpr):
    taps = ()
    for k in tl.static_range(K):
        taps += (_map(kernel + n * strides[0] + c * strides[1], strides[2], k, K, known, LAST),)
    return taps


@triton.jit
def _vectors(vectors, c, known, LAST: tl.constexpr):
    """Values per channel of each vector [C] in a tuple; None of None."""
    values = None
    if vectors is not None:
        values = ()
        for i in tl.static_range(len(vectors)):
            values += (_map(vectors[i] + c, 0, 0, 1, known, LAST),)
    return values


@triton.jit
def _copies(tile, count: tl.constexpr):
    copies = ()
    for _ in tl.static_range(count):
        copies += (tile,)
    return copies


@triton.jit
def _centred(z, norm):
    """z - mean, and whether ReLU gives 0 there. NaN passes ReLU, as in torch."""
    mean, scale, shift = norm
    centred = z - mean
    return centred, scale * centred + shift <= 0


@triton.jit
def _activated(z, norm):
    mean, scale, shift = norm
    x = scale * (z - mean) + shift
    return tl.where(x <= 0, 0.0, x)


@triton.jit
def _store_sums(sums, strides, part: tl.constexpr, block, n, c, entry, tile, mask, LAST: tl.constexpr):
    """Writes a tile's sums over its pixels into sums [parts, blocks, N, C, entries]."""
    pointers = sums + part * strides[0] + block * strides[1] + n * strides[2] + c * strides[3] + entry * strides[4]
    tl.store(pointers, tl.sum(tile, axis=0 if LAST else 1), mask=mask)


@triton.jit(do_not_specialize=["height", "steps"])
def pool(
    z, affine, sums, strides, T: tl.constexpr,
    height, steps, TURNS: tl.constexpr, LAST: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    tile = _tile(tl.program_id(0), height, steps, TURNS, LAST, STEP, ROWS, COLS)
    frame, block, offsets, pixel, c, channels, pixels = tile
    known = c < channels
    inside = (pixel < pixels) & _across(known, LAST)
    n, t = frame // T, frame % T
    x = _frame(z, frame, 0, 1, channels * pixels, offsets, inside).to(sums.dtype.element_ty)
    if affine is not None:
        x, cut = _centred(x, _vectors(affine, c, known, LAST))
        cut = cut | (inside == 0)
        x = tl.where(cut, 0.0, x)
        _store_sums(sums, strides, 1, block, n, c, t, tl.where(cut, 0.0, 1.0).to(x.dtype), known, LAST)
    _store_sums(sums, strides, 0, block, n, c, t, x, known, LAST)


@triton.jit(do_not_specialize=["height", "steps"])
def mix(
    z, y, importance, map_strides, kernel, kernel_strides, affine, T: tl.constexpr, K: tl.constexpr,
    height, steps, TURNS: tl.constexpr, LAST: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    WIDE: tl.constexpr = importance.dtype.element_ty
    n, _, offsets, pixel, c, channels, pixels = _tile(tl.program_id(0), height, steps, TURNS, LAST, STEP, ROWS, COLS)
    size, known = channels * pixels, c < channels
    inside = (pixel < pixels) & _across(known, LAST)
    importance += n * map_strides[0] + c * map_strides[1]
    frames = _frames_ahead(z, n, 0, T, size, offsets, inside)
    maps = _maps_ahead(importance, map_strides[2], 0, T, known, LAST)
    taps = _taps(kernel, kernel_strides, n, c, known, LAST, K)
    norm = _vectors(affine, c, known, LAST)
    window = _copies(tl.zeros((ROWS, COLS), WIDE), K - 1)  # V x of the frames around t = s - p
    count: tl.constexpr = T + K // 2
    for s in tl.range(count, loop_unroll_factor=count if count <= UNROLLED else 1):
        t = s - K // 2
        x = frames[0].to(WIDE)
        if affine is not None:
            x = _activated(x, norm)
        window += (x * maps[0],)
        frames = frames[1:] + (_frame(z, n, s + AHEAD, T, size, offsets, inside),)
        maps = maps[1:] + (_map(importance, map_strides[2], s + AHEAD, T, known, LAST),)
        total = taps[0] * window[0]
        for k in tl.static_range(1, K):
            total += taps[k] * window[k]
        tl.store(y + (n * T + t) * size + offsets, total.to(y.dtype.element_ty), mask=inside & (t >= 0))
        window = window[1:]


@triton.jit(do_not_specialize=["height", "steps"])
def spread(
    grad_y, z, grad_z, importance, constant, map_strides, kernel, kernel_strides, affine, offset_vectors,
    T: tl.constexpr, K: tl.constexpr,
    height, steps, TURNS: tl.constexpr, LAST: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    WIDE: tl.constexpr = importance.dtype.element_ty
    START: tl.constexpr = -(K // 2)
    n, _, offsets, pixel, c, channels, pixels = _tile(tl.program_id(0), height, steps, TURNS, LAST, STEP, ROWS, COLS)
    size, known = channels * pixels, c < channels
    inside = (pixel < pixels) & _across(known, LAST)
    importance += n * map_strides[0] + c * map_strides[1]
    constant += n * map_strides[0] + c * map_strides[1]
    grads = _frames_ahead(grad_y, n, 0, T, size, offsets, inside)
    if affine is not None:
        frames = _frames_ahead(z, n, START, T, size, offsets, inside)
    factors = _maps_ahead(importance, map_strides[2], START, T, known, LAST)
    constants = _maps_ahead(constant, map_strides[2], START, T, known, LAST)
    taps = _taps(kernel, kernel_strides, n, c, known, LAST, K)
    norm = _vectors(affine, c, known, LAST)
    ab = _vectors(offset_vectors, c, known, LAST)
    window = _copies(tl.zeros((ROWS, COLS), WIDE), K - 1)  # grad_y of the frames around t = s - p
    count: tl.constexpr = T + K // 2
    for s in tl.range(count, loop_unroll_factor=count if count <= UNROLLED else 1):
        t = s - K // 2
        window += (grads[0].to(WIDE),)
        grads = grads[1:] + (_frame(grad_y, n, s + AHEAD, T, size, offsets, inside),)
        total = taps[0] * window[K - 1]
        for k in tl.static_range(1, K):
            total += taps[k] * window[K - 1 - k]
        window = window[1:]
        total = total * factors[0] + constants[0]
        factors = factors[1:] + (_map(importance, map_strides[2], t + AHEAD, T, known, LAST),)
        constants = constants[1:] + (_map(constant, map_strides[2], t + AHEAD, T, known, LAST),)
        if affine is not None:
            centred, cut = _centred(frames[0].to(WIDE), norm)
            frames = frames[1:] + (_frame(z, n, t + AHEAD, T, size, offsets, inside),)
            total = norm[1] * (tl.where(cut, 0.0, total) - ab[0] - centred * ab[1])
        tl.store(grad_z + (n * T + t) * size + offsets, total.to(grad_z.dtype.element_ty), mask=inside & (t >= 0))


@triton.jit(do_not_specialize=["height", "steps"])
def correlate(
    grad_y, z, affine, sums, strides, T: tl.constexpr, K: tl.constexpr, S: tl.constexpr,
    height, steps, TURNS: tl.constexpr, LAST: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """A program holds the sums of S frames and all taps in registers, and walks over the pixels of these frames."""
    WIDE: tl.constexpr = sums.dtype.element_ty
    CHUNKS: tl.constexpr = (T + S - 1) // S
    first = tl.program_id(0) % CHUNKS * S  # programs that share frames run side by side
    tile = _tile(tl.program_id(0) // CHUNKS, height, steps, TURNS, LAST, STEP, ROWS, COLS)
    n, block, offsets, pixel, c, channels, pixels = tile
    size, known = channels * pixels, c < channels
    norm = _vectors(affine, c, known, LAST)
    products = _copies(tl.zeros((ROWS, COLS), WIDE), S * K)
    passed = _copies(tl.zeros((ROWS, COLS), WIDE), S * K if affine is not None else 0)
    for _ in range(TURNS):
        inside = (pixel < pixels) & _across(known, LAST)
        grads, frames = (), ()
        for i in tl.static_range(S + K - 1):
            grads += (_frame(grad_y, n, first + i - K // 2, T, size, offsets, inside),)
        for i in tl.static_range(S):
            frames += (_frame(z, n, first + i, T, size, offsets, inside),)
        products_so_far, passed_so_far = products, passed
        products, passed = (), ()
        for i in tl.static_range(S):
            x = frames[i].to(WIDE)
            if affine is not None:
                x, cut = _centred(x, norm)
                x = tl.where(cut, 0.0, x)
            for k in tl.static_range(K):
                grad = grads[i + K - 1 - k].to(WIDE)
                products += (products_so_far[i * K + k] + x * grad,)
                if affine is not None:
                    passed += (passed_so_far[i * K + k] + tl.where(cut, 0.0, grad),)
        pixel += ROWS if LAST else COLS
        offsets += ROWS * channels if LAST else COLS
    for i in tl.static_range(S):
        inside_clip = known & (first + i < T)
        for k in tl.static_range(K):
            entry = (first + i) * K + k
            _store_sums(sums, strides, 0, block, n, c, entry, products[i * K + k], inside_clip, LAST)
            if affine is not None:
                _store_sums(sums, strides, 1, block, n, c, entry, passed[i * K + k], inside_clip, LAST)


@triton.jit(do_not_specialize=["height", "steps"])
def moments(
    z, parts, rows,
    height, steps, TURNS: tl.constexpr, LAST: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """For each channel of a tile, into parts [3, rows, C]: number, mean, sum of squared deviations of its pixels."""
    tile = _tile(tl.program_id(0), height, steps, TURNS, LAST, STEP, ROWS, COLS)
    frame, block, offsets, pixel, c, channels, pixels = tile
    axis: tl.constexpr = 0 if LAST else 1
    known = c < channels
    inside = (pixel < pixels) & _across(known, LAST)
    x = _frame(z, frame, 0, 1, channels * pixels, offsets, inside).to(parts.dtype.element_ty)
    count = tl.sum(inside.to(x.dtype), axis)
    mean = tl.sum(x, axis) / tl.maximum(count, 1)
    apart = tl.where(inside, x - _across(mean, LAST), 0.0)
    parts += (frame * tl.cdiv(pixels, ROWS if LAST else COLS) + block) * channels + c
    tl.store(parts, count, mask=known)
    tl.store(parts + rows * channels, mean, mask=known)
    tl.store(parts + 2 * rows * channels, tl.sum(apart * apart, axis), mask=known)
