"""Temporal aggregation, the operation at the heart of TAM (paper sections 3.1-3.3).

    y[n,t,c] = sum_k W[n,c,k] * V[n,c,t+k-p] * x[n,t+k-p,c],    p = K // 2,    zeros outside 0..T-1

Every channel of every clip is convolved over time with its own kernel W after its own reweighting V.

N clips, T frames, C channels, H x W pixels, K taps.
"""

import torch
from torch.autograd.function import once_differentiable


def aggregate_reference(x: torch.Tensor, importance: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """The equation, tap by tap, under autograd: slow, plain, and what every faster path is tested against.

    x [N, T, C, H, W], importance V [N, C, T], kernel W [N, C, K] with K odd -> [N, T, C, H, W].
    """
    num_frames, taps = x.shape[1], kernel.shape[2]
    weighted = x * importance.transpose(1, 2)[..., None, None]  # [N, T, C, H, W]
    y = torch.zeros_like(x)
    for k in range(taps):
        into, source = _overlap(num_frames, k - taps // 2)
        shifted = torch.zeros_like(x)
        shifted[:, into] = weighted[:, source]
        y = y + kernel[:, None, :, k, None, None] * shifted
    return y


def aggregate(x: torch.Tensor, importance: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Same meaning as `aggregate_reference`, in fewer passes over x and with a hand-written backward.

    x [N, T, C, H, W] in float32, float64, bfloat16 or float16 and any memory format, which the result keeps;
    importance [N, C, T] and kernel [N, C, K], K odd, in the same or a wider type. Differentiable once.
    """
    _check_shapes(x, importance, kernel)
    return _Aggregate.apply(x, importance, kernel)


class _Aggregate(torch.autograd.Function):
    """V is folded into W, so x is read once per tap and no reweighted or shifted copy of it exists.

    Saves x, V and W alone; autograd through the plain version keeps K + 1 tensors of the size of x.
    """

    @staticmethod
    def forward(ctx, x, importance, kernel):
        ctx.save_for_backward(x, importance, kernel)
        return _weighted_shifts(x, _folded_taps(importance, kernel))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        x, importance, kernel = ctx.saved_tensors
        num_frames, taps = x.shape[1], kernel.shape[2]
        grad_x = grad_importance = grad_kernel = None
        if ctx.needs_input_grad[0]:
            # dx[s] = sum_k V[s] W_k dy[s-k+p]: the same weighted shifts, with the taps mirrored.
            mirrored = [importance * kernel[:, :, k, None] for k in reversed(range(taps))]
            grad_x = _weighted_shifts(grad_y, [b.transpose(1, 2) for b in mirrored])
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            grad_importance = torch.zeros_like(importance)
            grad_kernel = torch.zeros_like(kernel)
            for k in range(taps):
                into, source = _overlap(num_frames, k - taps // 2)
                # D[n,c,t] = <dy[t], x[t+k-p]> over the pixels
                d = (grad_y[:, into] * x[:, source]).sum((-2, -1), dtype=kernel.dtype).transpose(1, 2)
                grad_kernel[:, :, k] = (importance[:, :, source] * d).sum(-1)
                grad_importance[:, :, source] += kernel[:, :, k, None] * d
        return grad_x, grad_importance, grad_kernel


def _folded_taps(importance: torch.Tensor, kernel: torch.Tensor) -> list[torch.Tensor]:
    """b_k[n,t,c] = W[n,c,k] V[n,c,t+k-p], zero where t+k-p leaves the clip; a list of K tensors [N, T, C]."""
    num_frames, taps = importance.shape[2], kernel.shape[2]
    folded = []
    for k in range(taps):
        into, source = _overlap(num_frames, k - taps // 2)
        b = torch.zeros_like(importance)
        b[:, :, into] = kernel[:, :, k, None] * importance[:, :, source]
        folded.append(b.transpose(1, 2))
    return folded


def _weighted_shifts(x: torch.Tensor, taps: list[torch.Tensor]) -> torch.Tensor:
    """y[t] = sum_k taps[k][t] x[t+k-p], accumulated in place; x [N, T, C, H, W], taps K x [N, T, C]."""
    num_frames, middle = x.shape[1], len(taps) // 2
    taps = [b.to(x.dtype)[..., None, None] for b in taps]
    y = x * taps[middle]
    for k, b in enumerate(taps):
        into, source = _overlap(num_frames, k - middle)
        if k != middle:
            y[:, into].addcmul_(x[:, source], b[:, into])
    return y


def _overlap(num_frames: int, offset: int) -> tuple[slice, slice]:
    """The frames t and t + offset that both lie in the clip, as (slice of t, slice of t + offset)."""
    length = max(0, num_frames - abs(offset))
    into, source = max(0, -offset), max(0, offset)
    return slice(into, into + length), slice(source, source + length)


def _check_shapes(x, importance, kernel):
    if x.ndim != 5:
        raise ValueError(f"x must be [N, T, C, H, W], got shape {tuple(x.shape)}")
    n, t, c = x.shape[:3]
    if importance.shape != (n, c, t):
        raise ValueError(f"importance must be [N, C, T] = {(n, c, t)} for x {tuple(x.shape)}, got {tuple(importance.shape)}")
    if kernel.ndim != 3 or kernel.shape[:2] != (n, c) or kernel.shape[2] % 2 == 0:
        raise ValueError(f"kernel must be [N, C, K] = ({n}, {c}, odd K), got {tuple(kernel.shape)}")
