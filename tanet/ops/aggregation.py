"""The temporal aggregation (paper sections 3.1-3.3).

    y[n,t,c] = sum_k W[n,c,k] * V[n,c,t+k-p] * x[n,t+k-p,c],    p = K // 2,    zeros outside 0..T-1

Each channel of each clip is reweighted over time by its importance map V and then convolved over time with its own
kernel W. V is folded into W: x is read once, and no reweighted, shifted or reordered copy of it exists. The backward
pass is written by hand and needs only x, V and W.

Three paths compute the same: "plain" torch operations anywhere, "cpp" on CPUs where there is a C++ compiler, "triton"
on CUDA GPUs. The fastest that works is taken; see `use`. tanet.ops.fused also takes in what stands before the
aggregation.

N clips, T frames, C channels, H x W pixels, K taps.
"""

import torch

from tanet.ops import plain_kernels
from tanet.ops.branches import gradients_of_maps
from tanet.ops.dispatch import kernels_for, use
from tanet.ops.plain_kernels import dense, is_exporting, like, number, overlap


def aggregate_reference(x: torch.Tensor, importance: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """The equation, tap by tap, under autograd: slow and plain. Every faster path is tested against it.

    x [N, T, C, H, W], importance V [N, C, T], kernel W [N, C, K] with K odd -> y [N, T, C, H, W].
    """
    num_frames, taps = x.shape[1], kernel.shape[2]
    weighted = x * importance.transpose(1, 2)[..., None, None]  # [N, T, C, H, W]
    y = torch.zeros_like(x)
    for k in range(taps):
        into, source = overlap(num_frames, k - taps // 2)  # frames t, frames t + k - p
        shifted = torch.zeros_like(x)
        shifted[:, into] = weighted[:, source]  # V[t+k-p] x[t+k-p], zeros outside the clip
        y = y + kernel[:, None, :, k, None, None] * shifted
    return y


def aggregate(x: torch.Tensor, importance: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Computes the same as `aggregate_reference`, in fewer passes over x and with a hand-written backward pass.

    x: [N, T, C, H, W] in float32, float64, bfloat16 or float16, contiguous or with channels_last frames.
    importance V [N, C, T] and kernel W [N, C, K], K odd: in the same type or a wider one.
    -> y [N, T, C, H, W] in the type and memory format of x. Differentiable once. ValueError for other shapes.
    """
    _check_shapes(x, importance, kernel)
    importance = importance.to(number(x.dtype)).contiguous()
    kernel = kernel.to(number(x.dtype)).contiguous()
    if is_exporting():  # an exported program must run where tanet is not installed
        return plain_kernels.mix(x, importance, kernel)
    return _aggregate(dense(x), importance, kernel)


aggregate.use = use  # `with tanet.aggregate.use("plain"):` reads well beside `tanet.aggregate(...)`


@torch.library.custom_op("tanet::aggregate", mutates_args=())
def _aggregate(x: torch.Tensor, importance: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return kernels_for(x, kernel.shape[2]).mix(x, importance, kernel)


@torch.library.custom_op("tanet::aggregate_backward", mutates_args=())
def _aggregate_backward(
    grad_y: torch.Tensor, x: torch.Tensor, importance: torch.Tensor, kernel: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    kernels, grad_y = kernels_for(x, kernel.shape[2]), like(grad_y, x)
    products = kernels.correlate(grad_y, x, kernel.shape[2]).sum(1)[0]
    grad_x = kernels.spread(grad_y, None, importance, kernel, torch.zeros_like(importance))
    return grad_x, *gradients_of_maps(products, importance, kernel)


@_aggregate.register_fake
def _(x, importance, kernel):
    return torch.empty_like(x)


@_aggregate_backward.register_fake
def _(grad_y, x, importance, kernel):
    return torch.empty_like(x), torch.empty_like(importance), torch.empty_like(kernel)


def _keep_inputs(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad_y):
    return _aggregate_backward(grad_y, *ctx.saved_tensors)


_aggregate.register_autograd(_backward, setup_context=_keep_inputs)


def _check_shapes(x, importance, kernel):
    if x.ndim != 5:
        raise ValueError(f"x must be [N, T, C, H, W], got shape {tuple(x.shape)}")
    n, t, c = x.shape[:3]
    if importance.shape != (n, c, t):
        raise ValueError(
            f"importance must be [N, C, T] = {(n, c, t)} for x {tuple(x.shape)}, got {tuple(importance.shape)}"
        )
    if kernel.ndim != 3 or kernel.shape[:2] != (n, c) or kernel.shape[2] % 2 == 0:
        raise ValueError(f"kernel must be [N, C, K] = ({n}, {c}, odd K), got {tuple(kernel.shape)}")
