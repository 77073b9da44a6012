"""The temporal aggregation in torch operations, for any device and type of pixels.

The functions of tanet.cpp_kernels and tanet.triton_kernels, but for BatchNorm and ReLU in front (`affine`). Frames are
[N, T, C, H, W] in any memory format, which the results keep; importance V [N, C, T] and kernel W [N, C, K] in float32, or
float64.
"""

import torch


def pool(x: torch.Tensor) -> tuple[torch.Tensor, None]:
    """-> (sums over pixels [N, C, T], None)."""
    return x.sum((-2, -1), dtype=number(x.dtype)).transpose(1, 2), None


def mix(x: torch.Tensor, importance: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """y[n,t,c] = sum_k W[n,c,k] V[n,c,t+k-p] x[n,t+k-p,c]."""
    folded = [b.to(x.dtype)[..., None, None] for b in _folded_taps(importance, kernel)]
    y = x * folded[len(folded) // 2]
    for k, b in enumerate(folded):
        into, source = overlap(x.shape[1], k - len(folded) // 2)
        if k != len(folded) // 2:
            y[:, into].addcmul_(x[:, source], b)
    return y


def correlate(grad_y: torch.Tensor, x: torch.Tensor, taps: int) -> tuple[torch.Tensor, None]:
    """-> (sums over pixels of x[s] * dy[s-k+p], [N, C, T, K], None)."""
    n, t, c = x.shape[:3]
    products = torch.zeros(n, c, t, taps, dtype=number(x.dtype), device=x.device)
    for k in range(taps):
        into, source = overlap(t, k - taps // 2)
        products[:, :, source, k] = (grad_y[:, into] * x[:, source]).sum((-2, -1), dtype=products.dtype).transpose(1, 2)
    return products, None


def spread(
    grad_y: torch.Tensor, x: None, importance: torch.Tensor, kernel: torch.Tensor, constant: torch.Tensor
) -> torch.Tensor:
    """dx[s] = V[s] sum_k W_k dy[s-k+p] + constant[s], constant [N, C, T]."""
    taps = kernel.shape[2]
    weights = importance.transpose(1, 2)[None] * kernel.permute(2, 0, 1)[:, :, None]  # [K, N, T, C]
    weights = weights.to(grad_y.dtype).contiguous()[..., None, None]
    start = constant.transpose(1, 2).to(grad_y.dtype).contiguous()[..., None, None]  # [N, T, C, 1, 1]
    grad_x = torch.addcmul(start, grad_y, weights[taps // 2])
    for k in range(taps):
        into, source = overlap(grad_y.shape[1], k - taps // 2)
        if k != taps // 2:
            grad_x[:, source].addcmul_(grad_y[:, into], weights[k][:, source])
    return grad_x


def number(dtype: torch.dtype) -> torch.dtype:
    """The type in which frames of this type are summed up."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def overlap(num_frames: int, offset: int) -> tuple[slice, slice]:
    """The frames t and t + offset that both lie in the clip, as (slice of t, slice of t + offset)."""
    length = max(0, num_frames - abs(offset))
    into, source = max(0, -offset), max(0, offset)
    return slice(into, into + length), slice(source, source + length)


def _folded_taps(importance: torch.Tensor, kernel: torch.Tensor) -> list[torch.Tensor]:
    """b_k[n,t,c] = W[n,c,k] V[n,c,t+k-p] for the t that have a frame t+k-p; a list of K tensors [N, t, C].

    Laid out channel by channel: where the frames' channels lie side by side, so must their weights, or nothing is
    vectorised.
    """
    reweighting = importance.transpose(1, 2).contiguous()  # [N, T, C]
    taps = kernel.permute(2, 0, 1).contiguous()  # [K, N, C]
    sources = [overlap(reweighting.shape[1], k - len(taps) // 2)[1] for k in range(len(taps))]
    return [tap[:, None] * reweighting[:, source] for tap, source in zip(taps, sources)]
