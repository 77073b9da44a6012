"""BatchNorm's small programs, written for Triton: statistics of frames from those of tiles, the hidden features of TAM's
branches, and running statistics. tanet.ops.triton_kernels and tanet.ops.triton_branches launch them.

A program of `norm_relu` and `norm_relu_backward` computes one hidden feature of one branch: it reads all samples of it,
COLS at a time. All arithmetic is in the type of the statistics.
"""

import triton
import triton.language as tl


@triton.jit
def merge_moments(parts, merged, rows, channels, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Merges ROWS rows of parts [3, rows, C] into one row of `merged`, of the same three numbers (Chan's rule)."""
    row, c = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.program_id(1) * COLS + tl.arange(0, COLS)
    known = c < channels
    inside = (row < rows)[:, None] & known[None, :]
    parts += row[:, None] * channels + c[None, :]
    count = tl.load(parts, mask=inside, other=0)
    mean = tl.load(parts + rows * channels, mask=inside, other=0)
    squares = tl.load(parts + 2 * rows * channels, mask=inside, other=0)
    total = tl.sum(count, 0)
    middle = tl.sum(mean * (count / tl.maximum(total, 1)[None, :]), 0)
    apart = mean - middle[None, :]
    merged += tl.program_id(0) * channels + c
    part = tl.num_programs(0) * channels
    tl.store(merged, total, mask=known)
    tl.store(merged + part, middle, mask=known)
    tl.store(merged + 2 * part, tl.sum(squares + count * apart * apart, 0), mask=known)


@triton.jit
def statistics(parts, found, weight, eps, rows, channels, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Merges all rows of parts [3, rows, C], ROWS at a time, into found [4, C]: mean, variance, 1 / std, scale."""
    c = tl.program_id(0) * COLS + tl.arange(0, COLS)
    known = c < channels
    part = rows * channels
    totals = tl.zeros((ROWS, COLS), parts.dtype.element_ty)
    sums = tl.zeros((ROWS, COLS), parts.dtype.element_ty)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & known[None, :]
        entries = parts + row[:, None] * channels + c[None, :]
        count = tl.load(entries, mask=inside, other=0)
        totals += count
        sums += count * tl.load(entries + part, mask=inside, other=0)
    total = tl.sum(totals, 0)
    mean = tl.sum(sums, 0) / tl.maximum(total, 1)
    squares = tl.zeros((ROWS, COLS), parts.dtype.element_ty)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & known[None, :]
        entries = parts + row[:, None] * channels + c[None, :]
        apart = tl.load(entries + part, mask=inside, other=0) - mean[None, :]
        squares += tl.load(entries + 2 * part, mask=inside, other=0)
        squares += tl.load(entries, mask=inside, other=0) * apart * apart
    variance = tl.sum(squares, 0) / tl.maximum(total, 1)
    inverse_std = 1 / tl.sqrt(variance + eps)
    tl.store(found + c, mean, mask=known)
    tl.store(found + channels + c, variance, mask=known)
    tl.store(found + 2 * channels + c, inverse_std, mask=known)
    tl.store(found + 3 * channels + c, tl.load(weight + c, mask=known) * inverse_std, mask=known)


@triton.jit
def _feature(row, samples, COLS: tl.constexpr, start):
    column = start + tl.arange(0, COLS)
    return column, tl.load(row + column, mask=column < samples, other=0)


@triton.jit
def _normalized(
    first, hidden, samples, weight, bias, mean, variance, eps, f, statistics, column, features, COLS: tl.constexpr
):  # fmt: skip
    """relu(norm) of feature f, a row of first [F, samples], and column `column` of statistics [3, features]."""
    row = first + f.to(tl.int64) * samples
    if mean is None:
        total = tl.zeros((COLS,), first.dtype.element_ty)
        for start in range(0, samples, COLS):
            total += _feature(row, samples, COLS, start)[1]
        middle = tl.sum(total, 0) / samples
        squares = tl.zeros((COLS,), first.dtype.element_ty)
        for start in range(0, samples, COLS):
            at, x = _feature(row, samples, COLS, start)
            apart = tl.where(at < samples, x - middle, 0.0)
            squares += apart * apart
        spread = tl.sum(squares, 0) / samples
    else:
        middle = tl.load(mean + f)
        spread = tl.load(variance + f)
    inverse_std = 1 / tl.sqrt(spread + eps)
    scale = tl.load(weight + f) * inverse_std
    shift = tl.load(bias + f)
    for start in range(0, samples, COLS):
        at, x = _feature(row, samples, COLS, start)
        u = scale * (x - middle) + shift
        tl.store(hidden + f.to(tl.int64) * samples + at, tl.where(u <= 0, 0.0, u), mask=at < samples)
    tl.store(statistics + column, middle)
    tl.store(statistics + features + column, spread)
    tl.store(statistics + 2 * features + column, inverse_std)


@triton.jit
def norm_relu(
    local_first, local_hidden, local_samples, local_weight, local_bias, local_mean, local_variance, local_eps,
    global_first, global_hidden, global_samples, global_weight, global_bias, global_mean, global_variance, global_eps,
    statistics, local_features, features, COLS: tl.constexpr,
):  # fmt: skip
    """Both branches: hidden = relu(norm(first)), and mean, variance and 1 / std of each feature."""
    f = tl.program_id(0)
    if f < local_features:
        _normalized(
            local_first, local_hidden, local_samples, local_weight, local_bias, local_mean, local_variance, local_eps,
            f, statistics, f, features, COLS,
        )  # fmt: skip
    else:
        _normalized(
            global_first, global_hidden, global_samples, global_weight, global_bias, global_mean, global_variance,
            global_eps, f - local_features, statistics, f, features, COLS,
        )  # fmt: skip


@triton.jit
def _normalized_backward(
    grad_hidden, hidden, first, grad_first, samples, weight, OF_BATCH: tl.constexpr, f, statistics, grad_weight,
    grad_bias, column, features, COLS: tl.constexpr,
):  # fmt: skip
    row = f.to(tl.int64) * samples
    middle = tl.load(statistics + column)
    inverse_std = tl.load(statistics + 2 * features + column)
    sums = tl.zeros((COLS,), first.dtype.element_ty)
    products = tl.zeros((COLS,), first.dtype.element_ty)
    for start in range(0, samples, COLS):
        _, du = _feature(grad_hidden + row, samples, COLS, start)
        _, h = _feature(hidden + row, samples, COLS, start)
        _, x = _feature(first + row, samples, COLS, start)
        du = tl.where(h > 0, du, 0.0)
        sums += du
        products += du * ((x - middle) * inverse_std)
    total = tl.sum(sums, 0)
    product = tl.sum(products, 0)
    tl.store(grad_bias + f, total)
    tl.store(grad_weight + f, product)
    scale = tl.load(weight + f) * inverse_std
    for start in range(0, samples, COLS):
        at, du = _feature(grad_hidden + row, samples, COLS, start)
        _, h = _feature(hidden + row, samples, COLS, start)
        du = tl.where(h > 0, du, 0.0)
        if OF_BATCH:
            _, x = _feature(first + row, samples, COLS, start)
            du -= (total + (x - middle) * inverse_std * product) / samples
        tl.store(grad_first + row + at, scale * du, mask=at < samples)


@triton.jit
def norm_relu_backward(
    local_grad, local_hidden, local_first, local_out, local_samples, local_weight, LOCAL_OF_BATCH: tl.constexpr,
    local_grad_weight, local_grad_bias,
    global_grad, global_hidden, global_first, global_out, global_samples, global_weight, GLOBAL_OF_BATCH: tl.constexpr,
    global_grad_weight, global_grad_bias,
    statistics, local_features, features, COLS: tl.constexpr,
):  # fmt: skip
    """Both branches: from the gradients of `hidden` to those of `first` (`out`) and of BatchNorm's weight and bias."""
    f = tl.program_id(0)
    if f < local_features:
        _normalized_backward(
            local_grad, local_hidden, local_first, local_out, local_samples, local_weight, LOCAL_OF_BATCH, f,
            statistics, local_grad_weight, local_grad_bias, f, features, COLS,
        )  # fmt: skip
    else:
        _normalized_backward(
            global_grad, global_hidden, global_first, global_out, global_samples, global_weight, GLOBAL_OF_BATCH,
            f - local_features, statistics, global_grad_weight, global_grad_bias, f, features, COLS,
        )  # fmt: skip


@triton.jit
def _lerp(running, new, factor, rate, i, known):
    value = tl.load(running + i, mask=known)
    tl.store(running + i, value + rate * (tl.load(new + i, mask=known) * factor - value), mask=known)


@triton.jit
def update_running(means, variances, tracked, new_means, new_variances, features, factors, rates, COLS: tl.constexpr):
    """The running statistics of several BatchNorms, of all of them in one launch.

    Tuples with an entry for each: factors correct the biased variance, and rates are the momenta.
    """
    i = tl.program_id(0) * COLS + tl.arange(0, COLS)
    for norm in tl.static_range(len(means)):
        known = i < features[norm]
        _lerp(means[norm], new_means[norm], 1.0, rates[norm], i, known)
        _lerp(variances[norm], new_variances[norm], factors[norm], rates[norm], i, known)
        if tl.program_id(0) == 0:
            tl.store(tracked[norm], tl.load(tracked[norm]) + 1)
