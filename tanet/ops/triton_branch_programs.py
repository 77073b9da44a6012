"""The small programs between the passes over the frames, written for Triton; tanet.ops.triton_branches launches them.

With those of tanet.ops.triton_norm_programs they take the place of some sixty operations of torch on small tensors. A
program of `theta`, `maps` and `map_gradients` computes a tile of one clip, [frames, channels]: TP frames, a power of
two and at least T, and COLS channels.

N clips, T frames, C channels, K taps. All arithmetic is in the type of the sums, maps and statistics.
"""

import triton
import triton.language as tl


@triton.jit
def _clip_tile(C, T: tl.constexpr, TP: tl.constexpr, COLS: tl.constexpr):
    """The clip of a program, its frames [TP, 1], its channels [COLS], and whether channel and frame exist."""
    blocks = tl.cdiv(C, COLS)
    n = (tl.program_id(0) // blocks).to(tl.int64)
    c = tl.program_id(0) % blocks * COLS + tl.arange(0, COLS)
    t = tl.arange(0, TP)[:, None]
    return n, t, c, c < C, (t < T) & (c < C)[None, :]


@triton.jit
def _summed(pointers, stride, blocks, inside):
    """The sum of `blocks` partial sums."""
    total = tl.load(pointers, mask=inside, other=0)
    for block in range(1, blocks):
        total += tl.load(pointers + block * stride, mask=inside, other=0)
    return total


@triton.jit
def theta(
    sums, strides, blocks, scale, bias, pooled, means, neighbours, weight, first, pixels, N, C,
    T: tl.constexpr, G: tl.constexpr, TP: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """From sums [parts, blocks, N, C, T]: pooled [parts, N, C, T], theta [N, C, T], neighbours [C, 3, N, T], and the
    global branch's first layer, first [G, N, C] = weight [G, T] @ theta."""
    n, t, c, known, inside = _clip_tile(C, T, TP, COLS)
    sums += n * strides[2] + c[None, :] * strides[3] + t * strides[4]
    entry = (n * C + c[None, :]) * T + t
    x = _summed(sums, strides[1], blocks, inside)
    tl.store(pooled + entry, x, mask=inside)
    if scale is not None:
        positive = _summed(sums + strides[0], strides[1], blocks, inside)
        tl.store(pooled + N * C * T + entry, positive, mask=inside)
        x = tl.load(scale + c, mask=known)[None, :] * x + tl.load(bias + c, mask=known)[None, :] * positive
    x = x / pixels
    tl.store(means + entry, x, mask=inside)
    clip = neighbours + (c[None, :] * 3 * N + n) * T  # of row j: + j * N * T
    zero = tl.zeros((TP, COLS), x.dtype)
    tl.store(clip + t + 1, x, mask=inside & (t + 1 < T))
    tl.store(clip + t, zero, mask=inside & (t == 0))
    tl.store(clip + N * T + t, x, mask=inside)
    tl.store(clip + 2 * N * T + t - 1, x, mask=inside & (t > 0))
    tl.store(clip + 2 * N * T + t, zero, mask=inside & (t == T - 1))
    for g in range(G):
        factors = tl.load(weight + g * T + t, mask=t < T, other=0)
        tl.store(first + (g * N + n) * C + c, tl.sum(factors * x, 0), mask=known)


@triton.jit
def maps(
    local_logits, hidden, last, importance, kernel, N, C,
    T: tl.constexpr, K: tl.constexpr, G: tl.constexpr, TP: tl.constexpr, GP: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """V [N, T, C] = sigmoid(local_logits [C, N, T]), W [N, K, C] = softmax over K of last [K, G] @ hidden [G, N, C]."""
    n, t, c, known, inside = _clip_tile(C, T, TP, COLS)
    logits = tl.load(local_logits + (c[None, :] * N + n) * T + t, mask=inside, other=0)
    tl.store(importance + (n * T + t) * C + c[None, :], 1 / (1 + tl.exp(-logits)), mask=inside)
    g = tl.arange(0, GP)[:, None]
    features = tl.load(hidden + (g * N + n) * C + c[None, :], mask=(g < G) & known[None, :], other=0)
    taps = ()
    for k in tl.static_range(K):
        taps += (tl.sum(tl.load(last + k * G + g, mask=g < G, other=0) * features, 0),)
    most = taps[0]
    for k in tl.static_range(1, K):
        most = tl.maximum(most, taps[k])
    total = tl.zeros((COLS,), most.dtype)
    for k in tl.static_range(K):
        total += tl.exp(taps[k] - most)
    for k in tl.static_range(K):
        tl.store(kernel + (n * K + k) * C + c, tl.exp(taps[k] - most) / total, mask=known)


@triton.jit
def map_gradients(
    sums, strides, blocks, scale, bias, importance, kernel, last, local_logits, global_logits, grad_hidden, rows, N, C,
    T: tl.constexpr, K: tl.constexpr, G: tl.constexpr, TP: tl.constexpr, GP: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """From sums [parts, blocks, N, C, T, K] to the gradients of the logits, [C, N, T] and [K, N, C], and to that of the
    global branch's hidden features, grad_hidden [G, N, C] = last [K, G] transposed @ global_logits.

    With BatchNorm in front also rows [2, N, C]: sums over t and k of V W times each part of the sums.
    """
    n, t, c, known, inside = _clip_tile(C, T, TP, COLS)
    sums += n * strides[2] + c[None, :] * strides[3] + t * strides[4]
    v = tl.load(importance + (n * T + t) * C + c[None, :], mask=inside, other=0)
    grad_v = tl.zeros((TP, COLS), v.dtype)
    mean_grad = tl.zeros((COLS,), v.dtype)  # sum over k of W dW
    row_products = tl.zeros((COLS,), v.dtype)
    row_passed = tl.zeros((COLS,), v.dtype)
    grads = ()
    for k in tl.static_range(K):
        w = tl.load(kernel + (n * K + k) * C + c, mask=known, other=0)
        products = _summed(sums + k * strides[5], strides[1], blocks, inside)
        d = products
        if scale is not None:
            passed = _summed(sums + strides[0] + k * strides[5], strides[1], blocks, inside)
            d = tl.load(scale + c, mask=known, other=0)[None, :] * products
            d += tl.load(bias + c, mask=known, other=0)[None, :] * passed
            row_products += w * tl.sum(v * products, 0)
            row_passed += w * tl.sum(v * passed, 0)
        grad_v += w[None, :] * d
        grad_w = tl.sum(v * d, 0)
        mean_grad += w * grad_w
        grads += (grad_w,)
    g = tl.arange(0, GP)[:, None]
    grad = tl.zeros((GP, COLS), v.dtype)
    for k in tl.static_range(K):
        w = tl.load(kernel + (n * K + k) * C + c, mask=known, other=0)
        logits = w * (grads[k] - mean_grad)
        tl.store(global_logits + (k * N + n) * C + c, logits, mask=known)
        grad += tl.load(last + k * G + g, mask=g < G, other=0) * logits[None, :]
    tl.store(grad_hidden + (g * N + n) * C + c[None, :], grad, mask=(g < G) & known[None, :])
    tl.store(local_logits + (c[None, :] * N + n) * T + t, grad_v * v * (1 - v), mask=inside)
    if scale is not None:
        tl.store(rows + n * C + c, row_products, mask=known)
        tl.store(rows + (N + n) * C + c, row_passed, mask=known)


@triton.jit
def theta_gradient(
    grad_neighbours, grad_first, weight, pixels, constant, pooled, rows, inverse_std, offsets, grad_front, N, C, count,
    OF_BATCH: tl.constexpr, T: tl.constexpr, G: tl.constexpr, TP: tl.constexpr, CLIPS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """constant [N, T, C] = dtheta / P from grad_neighbours [C, 3, N, T] and from the global branch's grad_first
    [G, N, C] and weight [G, T].

    With BatchNorm in front also its gradients [2, C] and offsets [2, C]. A program takes COLS channels of all clips,
    CLIPS at a time.
    """
    c = (tl.program_id(0) * COLS + tl.arange(0, COLS))[None, :]
    row = tl.arange(0, CLIPS * TP)[:, None]
    t, clip = row % TP, row // TP
    sum_du = tl.zeros((CLIPS * TP, COLS), constant.dtype.element_ty)
    sum_du_z = tl.zeros((CLIPS * TP, COLS), constant.dtype.element_ty)
    for start in range(0, N, CLIPS):
        n = (start + clip).to(tl.int64)
        inside = (c < C) & (t < T) & (n < N)
        source = grad_neighbours + (c * 3 * N + n) * T + t
        grad = tl.load(source + N * T, mask=inside, other=0)
        grad += tl.load(source + 1, mask=inside & (t + 1 < T), other=0)
        grad += tl.load(source + 2 * N * T - 1, mask=inside & (t > 0), other=0)
        for g in range(G):
            factors = tl.load(weight + g * T + t, mask=t < T, other=0)
            grad += factors * tl.load(grad_first + (g * N + n) * C + c, mask=inside, other=0)
        grad = grad / pixels
        tl.store(constant + (n * T + t) * C + c, grad, mask=inside)
        if inverse_std is not None:
            entry = (n * C + c) * T + t
            first = inside & (t == 0)
            sum_du_z += grad * tl.load(pooled + entry, mask=inside, other=0)
            sum_du_z += tl.load(rows + n * C + c, mask=first, other=0)
            sum_du += grad * tl.load(pooled + N * C * T + entry, mask=inside, other=0)
            sum_du += tl.load(rows + (N + n) * C + c, mask=first, other=0)
    if inverse_std is not None:
        channel = tl.program_id(0) * COLS + tl.arange(0, COLS)
        known = channel < C
        inverse = tl.load(inverse_std + channel, mask=known, other=0)
        du = tl.sum(sum_du, 0)
        du_z = tl.sum(sum_du_z, 0)
        tl.store(grad_front + channel, du_z * inverse, mask=known)
        tl.store(grad_front + C + channel, du, mask=known)
        if OF_BATCH:
            tl.store(offsets + channel, du / count, mask=known)
            tl.store(offsets + C + channel, du_z * inverse * inverse / count, mask=known)
        else:
            tl.store(offsets + channel, du * 0, mask=known)
            tl.store(offsets + C + channel, du * 0, mask=known)


@triton.jit
def weight_gradients(
    global_logits, hidden, grad_first, means, grad_last, grad_weight, samples,
    G: tl.constexpr, T: tl.constexpr, K: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The global branch's grad_last [K, G] = global_logits @ hidden transposed and grad_weight [G, T] = grad_first @
    theta. Sums over many samples for few results: a program computes one of them. theta is `means` [samples, T].
    """
    i = tl.program_id(0)
    if i < K * G:
        left, right, stride, result = global_logits + i // G * samples, hidden + i % G * samples, 1, grad_last + i
    else:
        i -= K * G
        left, right, stride, result = grad_first + i // T * samples, means + i % T, T, grad_weight + i
    total = tl.zeros((COLS,), means.dtype.element_ty)
    for start in range(0, samples, COLS):
        at = start + tl.arange(0, COLS)
        x = tl.load(left + at, mask=at < samples, other=0)
        total += x * tl.load(right + at * stride, mask=at < samples, other=0)
    tl.store(result, tl.sum(total, 0))
