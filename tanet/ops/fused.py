"""TAM and what stands before it in one go: BatchNorm, ReLU, spatial mean and aggregation, and their backward pass.

The aggregation reads theta's frames once more, so theta's gradient belongs into the same pass over the frames' gradient; and
BatchNorm and ReLU are two multiplications a pixel, cheaper to do again than to write down. So the only large tensor kept
for the backward pass is the one that comes in, z. With BatchNorm, u = scale * (z - mean) + bias, x = relu(u),

    theta[n,c,t] = mean of x over H, W      V, W = the branches' importance map and aggregation kernel, from theta
    y[n,t,c] = sum_k W[n,c,k] V[n,c,t+k-p] x[n,t+k-p,c]

Two autograd functions: `_Pool` gives theta, `_Mix` gives y. Between them stand the branches, under autograd as they are. On
the way back `_Mix` comes first: it sums up products of y's gradient, all that the branches need. Then theta's gradient is
known, and `_Pool` computes z's gradient from it and from y's gradient, which it finds in the `_Link` of the two.
"""

from collections.abc import Callable
from types import ModuleType

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from tanet.ops.aggregation import gradients_of_maps
from tanet.ops.plain_kernels import number

Maps = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class _Link:
    """What the functions of one forward pass share."""

    def __init__(self, kernels: ModuleType):
        self.kernels = kernels
        self.affine = None  # (mean, scale, bias), each [C]
        self.arrived = None  # at _Mix, on the way back


def theta(z: torch.Tensor, kernels: ModuleType) -> torch.Tensor:
    """z [N, T, C, H, W] -> its mean over H and W, [N, C, T], float32, or float64 for float64."""
    return _Pool.apply(_Link(kernels), z)[0]


def tam(z: torch.Tensor, maps: Maps, kernels: ModuleType) -> torch.Tensor:
    """z [N, T, C, H, W] -> y; `maps`: theta [N, C, T] -> (V [N, C, T], W [N, C, K]); `kernels`: see tanet.ops.dispatch."""
    return _run(z, maps, _Link(kernels))


def batchnorm_relu_tam(z: torch.Tensor, norm: nn.BatchNorm2d, maps: Maps, kernels: ModuleType) -> torch.Tensor:
    """tam(relu(norm(z))): uses and updates BatchNorm's running statistics as torch does."""
    link = _Link(kernels)
    batch = norm.training or norm.running_mean is None
    mean, variance = kernels.moments(z.detach()) if batch else (norm.running_mean.clone(), norm.running_var)
    if norm.training and norm.track_running_stats:
        _update(norm, mean, variance, z.numel() // len(mean))
    inverse_std = (variance + norm.eps).rsqrt()
    return _run(z, maps, link, norm.weight, norm.bias, mean, inverse_std, batch)


def can_fuse(norm: nn.Module, kernels: ModuleType, z: torch.Tensor) -> bool:
    """Whether `batchnorm_relu_tam` can stand for these modules: a plain BatchNorm2d with float32 (float64) weights, kernels
    that gain by it, and more than one value a channel, without which torch raises its own error."""
    return (
        type(norm) is nn.BatchNorm2d
        and (kernels.FOLDS_BATCHNORM or z.is_meta)  # on the meta device for the sake of counting
        and norm.weight is not None
        and norm.weight.dtype == number(z.dtype)
        and z.numel() > z.shape[2]
    )


def _update(norm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        rate = 1.0 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean, rate)
        norm.running_var.lerp_(variance * (count / (count - 1)), rate)


def _run(z, maps, link, *norm):
    theta, token = _Pool.apply(link, z, *norm)
    importance, kernel = maps(theta)
    return _Mix.apply(link, token, z.detach(), importance, kernel)


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, link, z, weight=None, bias=None, mean=None, inverse_std=None, batch=False):
        ctx.link, ctx.batch = link, batch
        ctx.set_materialize_grads(False)
        pixels = z.shape[-2] * z.shape[-1]
        if weight is None:
            theta = link.kernels.pool(z)[0] / pixels
            ctx.save_for_backward(z)
        else:
            link.affine = (mean, weight * inverse_std, bias)
            total, positive = link.kernels.pool(z, link.affine)
            theta = (_by_channel(link.affine[1]) * total + _by_channel(bias) * positive) / pixels
            ctx.save_for_backward(z, weight, inverse_std, total, positive)
        # The token's gradient says whether _Mix is part of a backward pass.
        return theta, theta.new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_theta, grad_token):
        z, *norm = ctx.saved_tensors
        link, pixels = ctx.link, z.shape[-2] * z.shape[-1]
        arrived, link.arrived = link.arrived, None
        if grad_token is None:  # a loss of theta alone
            arrived = _nothing_arrived(z, link)
        grad_y, importance, kernel, products, passed = arrived
        constant = torch.zeros_like(importance) if grad_theta is None else grad_theta / pixels
        if not norm:
            return None, link.kernels.spread(grad_y, None, importance, kernel, constant)
        weight, inverse_std, total, positive = norm
        # Sums over N, T, H, W of du and of du * (z - mean), du being the gradient at the ReLU's input.
        weights = (importance[..., None] * kernel[:, :, None]).flatten(2)  # [N, C, T * K]
        sum_du = ((weights * passed.flatten(2)).sum(2) + (constant * positive).sum(2)).sum(0)
        sum_du_z = ((weights * products.flatten(2)).sum(2) + (constant * total).sum(2)).sum(0)
        offsets = torch.zeros_like(sum_du), torch.zeros_like(sum_du)
        if ctx.batch:  # the statistics depend on z, too
            count = z.numel() // len(weight)
            offsets = sum_du / count, sum_du_z * inverse_std.square() / count
        grad_z = link.kernels.spread(grad_y, z, importance, kernel, constant, link.affine, offsets)
        return None, grad_z, sum_du_z * inverse_std, sum_du, None, None, None


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx, link, token, z, importance, kernel):
        ctx.link = link
        ctx.save_for_backward(z, importance, kernel)
        if link.affine is None:
            return link.kernels.mix(z, importance, kernel)
        return link.kernels.mix(z, importance, kernel, link.affine)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        z, importance, kernel = ctx.saved_tensors
        link, taps = ctx.link, kernel.shape[2]
        if link.affine is None:
            products, passed = link.kernels.correlate(grad_y, z, taps)
            of_x = products
        else:
            products, passed = link.kernels.correlate(grad_y, z, taps, link.affine)
            _, scale, bias = link.affine
            of_x = _by_channel(scale)[..., None] * products + _by_channel(bias)[..., None] * passed
        link.arrived = grad_y, importance, kernel, products, passed
        return None, grad_y.new_zeros(0, dtype=kernel.dtype), None, *gradients_of_maps(of_x, importance, kernel)


def _nothing_arrived(z: torch.Tensor, link: _Link):
    n, t, c = z.shape[:3]
    zeros = torch.zeros(n, c, t, dtype=number(z.dtype), device=z.device)
    return torch.zeros_like(z), zeros, zeros[..., :1], zeros[..., None], zeros[..., None]


def _by_channel(values: torch.Tensor) -> torch.Tensor:
    return values[:, None]  # against [N, C, T]
