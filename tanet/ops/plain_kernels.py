"""The temporal aggregation in torch operations, for any device and type of pixels.

The same functions as in tanet.ops.cpp_kernels, which explains `affine`, and tanet.ops.triton_kernels. With `affine`
they serve as a reference, and on the meta device they show what is kept for the backward pass; they are not faster
then, since torch operations write every intermediate result to memory.

Frames are [N, T, C, H, W] in any memory format, which the results keep. Importance V is [N, C, T] and kernel W is
[N, C, K], in float32, or float64 with float64 frames.
"""

import torch

from tanet.ops import branches  # noqa: F401  (part of the interface: what computes the maps beside these kernels)
from tanet.ops.constants import constant_when_compiled

Affine = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

FOLDS_BATCHNORM = False  # it would not be faster


def pool(z: torch.Tensor, affine: Affine | None = None) -> torch.Tensor:
    """Sums over pixels, [1, 1, N, C, T]: of z; or with `affine` [2, 1, N, C, T]: of m * (z - mean), of m."""
    summands = [z]
    if affine is not None:
        centred, passes = _centred(z, affine)
        summands = [centred * passes, passes]
    return torch.stack([_sum(each).transpose(1, 2) for each in summands])[:, None]


def mix(z: torch.Tensor, importance: torch.Tensor, kernel: torch.Tensor, affine: Affine | None = None) -> torch.Tensor:
    """y[n,t,c] = sum_k W[n,c,k] V[n,c,t+k-p] x[n,t+k-p,c]."""
    if affine is not None:
        centred, _ = _centred(z, affine)
        _, scale, shift = affine
        x = torch.relu(_frame(scale) * centred + _frame(shift))
        return mix(x, importance, kernel).to(z.dtype)
    folded = [b.to(z.dtype)[..., None, None] for b in _folded_taps(importance, kernel)]
    if is_exporting():
        return _mixed_as_expression(z, folded)
    y = torch.empty_like(z)
    middle = len(folded) // 2
    for clips in _pieces(z):
        torch.mul(z[clips], folded[middle][clips], out=y[clips])
        for k, b in enumerate(folded):
            into, source = overlap(z.shape[1], k - middle)
            if k != middle:
                y[clips, into].addcmul_(z[clips, source], b[clips])
    return y


def _mixed_as_expression(z: torch.Tensor, folded: list[torch.Tensor]) -> torch.Tensor:
    """y[t] = sum_k b_k[t] z[t+k-p]; `folded`: b_k [N, t, C, 1, 1] of each tap.

    For exported programs: the number of clips may be symbolic, so there is no loop over clips. Nothing is written in
    place, which other runtimes would do with an index for each frame.
    """
    num_frames, y = z.shape[1], 0
    for k, b in enumerate(folded):
        into, source = overlap(num_frames, k - len(folded) // 2)
        before, behind = into.start, num_frames - into.stop
        y = y + torch.nn.functional.pad(z[:, source] * b, (0, 0, 0, 0, 0, 0, before, behind))  # zeros outside the clip
    return y


def correlate(grad_y: torch.Tensor, z: torch.Tensor, taps: int, affine: Affine | None = None) -> torch.Tensor:
    """Sums over pixels for each frame s and tap k, [1, 1, N, C, T, K]; 0 where the clip has no frame s-k+p.

    Of z[s] * dy[s-k+p]; or with `affine` [2, 1, N, C, T, K]: of m * (z[s] - mean) * dy[s-k+p], of m * dy[s-k+p].
    """
    if affine is not None:
        centred, passes = _centred(z, affine)
        return torch.cat([correlate(grad_y, centred * passes, taps), correlate(grad_y, passes, taps)])
    n, t, c = z.shape[:3]
    products = torch.zeros(n, c, t, taps, dtype=number(z.dtype), device=z.device)
    for clips in _pieces(z):
        for k in range(taps):
            into, source = overlap(t, k - taps // 2)
            products[clips, :, source, k] = _sum(grad_y[clips, into] * z[clips, source]).transpose(1, 2)
    return products[None, None]


def spread(
    grad_y: torch.Tensor,
    z: torch.Tensor | None,
    importance: torch.Tensor,
    kernel: torch.Tensor,
    constant: torch.Tensor,
    affine: Affine | None = None,
    offsets: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """The gradient of z: dx[s] = V[s] sum_k W_k dy[s-k+p] + constant[s], constant [N, C, T]; z may be None.

    With `affine`, and `offsets` = (a, b), [C] each: dz = scale * (m * dx - a - (z - mean) * b).
    """
    if affine is not None:
        centred, passes = _centred(z, affine)
        grad_x = spread(grad_y.to(centred.dtype), None, importance, kernel, constant)
        a, b = offsets
        _, scale, _ = affine
        return (_frame(scale) * (passes * grad_x - _frame(a) - centred * _frame(b))).to(z.dtype)
    taps = kernel.shape[2]
    weights = importance.transpose(1, 2)[None] * kernel.permute(2, 0, 1)[:, :, None]  # [K, N, T, C]
    weights = weights.to(grad_y.dtype).contiguous()[..., None, None]
    start = constant.transpose(1, 2).to(grad_y.dtype).contiguous()[..., None, None]  # [N, T, C, 1, 1]
    grad_x = torch.empty_like(grad_y)
    for clips in _pieces(grad_y):
        torch.addcmul(start[clips], grad_y[clips], weights[taps // 2, clips], out=grad_x[clips])
        for k in range(taps):
            into, source = overlap(grad_y.shape[1], k - taps // 2)
            if k != taps // 2:
                grad_x[clips, source].addcmul_(grad_y[clips, into], weights[k, clips, source])
    return grad_x


def statistics(z: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Mean, biased variance, 1 / std and scale = weight / std of each channel, [4, C]."""
    variance, mean = torch.var_mean(z.to(number(z.dtype)), (0, 1, 3, 4), correction=0)
    return with_scale(mean, variance, weight, eps)


def with_scale(mean: torch.Tensor, variance: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """`statistics` from mean and biased variance [C]."""
    inverse_std = (variance + eps).rsqrt()
    return torch.stack([mean, variance, inverse_std, weight * inverse_std])


@constant_when_compiled
def is_exporting() -> bool:
    """Whether torch.export is at work, or a trace for TorchScript.

    torch.compile may not look inside: up to torch 2.11 it takes torch.compiler.is_exporting() for True.
    """
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def number(dtype: torch.dtype) -> torch.dtype:
    """The type in which frames of this type are summed up."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def dense(x: torch.Tensor) -> torch.Tensor:
    """x [N, T, C, H, W] itself if its frames are contiguous or channels_last, else a contiguous copy."""
    channels_last = x.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    return x if channels_last else x.contiguous()


def like(grad_y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """grad_y in the type and memory format of z, which is `dense`: itself or a copy."""
    if grad_y.dtype == z.dtype and grad_y.stride() == z.stride():
        return grad_y
    return torch.empty_like(z).copy_(grad_y)


def overlap(num_frames: int, offset: int) -> tuple[slice, slice]:
    """The frames t and t + offset that both lie in the clip, as (slice of t, slice of t + offset)."""
    length = max(0, num_frames - abs(offset))
    into, source = max(0, -offset), max(0, offset)
    return slice(into, into + length), slice(source, source + length)


def _pieces(x: torch.Tensor) -> list[slice]:
    """Slices of the clips that are computed at a time.

    On a CPU it is one clip: what one tap writes is then still in the cache for the next tap.
    """
    step = 1 if x.device.type == "cpu" else max(1, len(x))
    return [slice(start, start + step) for start in range(0, len(x), step)]


def _folded_taps(importance: torch.Tensor, kernel: torch.Tensor) -> list[torch.Tensor]:
    """b_k[n,t,c] = W[n,c,k] V[n,c,t+k-p] for the t that have a frame t+k-p; a list of K tensors [N, t, C].

    Neighbouring channels lie side by side, as in channels_last frames; otherwise torch would not vectorise the product.
    """
    reweighting = importance.transpose(1, 2).contiguous()  # [N, T, C]
    taps = kernel.permute(2, 0, 1).contiguous()  # [K, N, C]
    folded = []
    for k, tap in enumerate(taps):
        _, source = overlap(reweighting.shape[1], k - len(taps) // 2)
        folded.append(tap[:, None] * reweighting[:, source])
    return folded


def _sum(frames: torch.Tensor) -> torch.Tensor:
    return frames.sum((-2, -1), dtype=number(frames.dtype))


def _centred(z: torch.Tensor, affine: Affine) -> tuple[torch.Tensor, torch.Tensor]:
    """z - mean, and m: 1 where scale * (z - mean) + shift > 0, else 0."""
    mean, scale, shift = affine
    centred = z - _frame(mean)
    return centred, (_frame(scale) * centred + _frame(shift) > 0).to(centred.dtype)


def _frame(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None]  # [C, 1, 1], against [N, T, C, H, W]
