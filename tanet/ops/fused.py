"""TAM and what stands before it in one pass: BatchNorm, ReLU, spatial mean and aggregation, and their backward pass.

The input is z [N, T, C, H, W], the output of a convolution. BatchNorm in front has a mean, a factor s = weight * rstd
with rstd = 1 / sqrt(variance + eps), and a bias for each channel:

    u = s * (z - mean) + bias,    x = relu(u) = m * u    with m = 1 where u > 0, else 0.    Without BatchNorm x = z.

    theta[n,c,t] = mean of x over H, W                                    (`_Pool`)
    V, W = importance map and aggregation kernel of theta                 (TAM's two branches, under torch's autograd)
    y[n,t,c] = sum_k W[n,c,k] V[n,c,t+k-p] x[n,t+k-p,c],  p = K // 2      (`_Mix`)

The backward pass runs the other way round. dy is the gradient of y, P = H * W. Sums without an index are over pixels.

    `_Mix`:    D[n,c,s,k] = sum of x[s] dy[s-k+p],    dV[s] = sum_k W_k D[s,k],    dW_k = sum_s V[s] D[s,k]
    branches:  dtheta from dV and dW
    `_Pool`:   du[s] = m[s] * (V[s] sum_k W_k dy[s-k+p] + dtheta[s] / P),    then dz, dweight and dbias from du

Why in one pass: theta and y both depend on x, and `_Pool` computes both parts of x's gradient while it reads the frames
once. BatchNorm and ReLU are two multiplications a pixel, cheaper to repeat than to store. So z is the only large tensor
that is kept for the backward pass.
"""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from tanet.ops.aggregation import gradients_of_maps
from tanet.ops.plain_kernels import Affine, number

Maps = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class _FromMix(NamedTuple):
    """What `_Mix` hands to `_Pool` in the backward pass."""

    grad_y: torch.Tensor  # dy [N, T, C, H, W]
    importance: torch.Tensor  # V [N, C, T]
    kernel: torch.Tensor  # W [N, C, K]
    products: torch.Tensor  # [N, C, T, K], sums of m[s] (z[s] - mean) dy[s-k+p]; without BatchNorm of z[s] dy[s-k+p]
    passed: torch.Tensor | None  # [N, C, T, K], sums of m[s] dy[s-k+p]; without BatchNorm None


class _Link:
    """What `_Pool` and `_Mix` of one forward pass share.

    Autograd would add up two gradients of z, one from each function, and each would be as large as z. Therefore `_Mix`
    returns none: it leaves dy here, and `_Pool` computes the whole gradient of z.
    """

    def __init__(self, kernels: ModuleType):
        self.kernels = kernels  # plain_kernels, cpp_kernels or triton_kernels
        self.affine: Affine | None = None  # (mean, s, bias), [C] each; set by _Pool.forward if there is BatchNorm
        self.from_mix: _FromMix | None = None  # set by _Mix.backward, taken by _Pool.backward


def theta(z: torch.Tensor, kernels: ModuleType) -> torch.Tensor:
    """z [N, T, C, H, W] -> its mean over H and W, [N, C, T], in float32, or float64 for float64."""
    return _Pool.apply(_Link(kernels), z)[0]


def tam(z: torch.Tensor, maps: Maps, kernels: ModuleType) -> torch.Tensor:
    """z [N, T, C, H, W] -> y in the same shape, type and memory format.

    maps: TAM's branches, theta [N, C, T] -> (V [N, C, T], W [N, C, K]). kernels: what tanet.ops.kernels_for returns.
    """
    link = _Link(kernels)
    theta, token = _Pool.apply(link, z)
    importance, kernel = maps(theta)
    return _Mix.apply(link, token, z.detach(), importance, kernel)


def batchnorm_relu_tam(z: torch.Tensor, norm: nn.BatchNorm2d, maps: Maps, kernels: ModuleType) -> torch.Tensor:
    """tam(relu(norm(z))). Uses and updates BatchNorm's running statistics as torch does. See `can_fuse`."""
    link = _Link(kernels)
    of_batch = norm.training or norm.running_mean is None
    if of_batch:
        mean, variance = kernels.moments(z.detach())
    else:
        mean, variance = norm.running_mean.clone(), norm.running_var
    if norm.training and norm.track_running_stats:
        _update_running_statistics(norm, mean, variance, z.numel() // len(mean))
    inverse_std = (variance + norm.eps).rsqrt()
    theta, token = _Pool.apply(link, z, norm.weight, norm.bias, mean, inverse_std, of_batch)
    importance, kernel = maps(theta)
    return _Mix.apply(link, token, z.detach(), importance, kernel)


def can_fuse(norm: nn.Module, kernels: ModuleType, z: torch.Tensor) -> bool:
    """Whether `batchnorm_relu_tam` can replace these modules.

    It needs a plain BatchNorm2d with float32 (or float64) weights, and kernels that are faster for it. With a single
    value a channel it says no, so that torch raises its own error.
    """
    return (
        type(norm) is nn.BatchNorm2d
        and (kernels.FOLDS_BATCHNORM or z.is_meta)  # on the meta device it shows what the fast kernels keep
        and norm.weight is not None
        and norm.weight.dtype == number(z.dtype)
        and z.numel() > z.shape[2]
    )


def _update_running_statistics(norm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
    """As torch's BatchNorm does after a batch of `count` values a channel; `variance` is the biased one."""
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        rate = 1.0 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean, rate)
        norm.running_var.lerp_(variance * (count / (count - 1)), rate)


class _Pool(torch.autograd.Function):
    """z [N, T, C, H, W] -> theta [N, C, T], with BatchNorm and ReLU in between if `weight` is given; and a token.

    theta = (s * sum of m (z - mean) + bias * sum of m) / P; without BatchNorm sum of z / P.

    Saved: z, weight, rstd [C], and the two sums [N, C, T]; without BatchNorm only z.

    The token is an empty tensor that goes into `_Mix`. It makes autograd run `_Mix.backward` before this backward pass,
    and its gradient says that it did: where theta alone has a loss, the token's gradient is None.

    Comes back, with du as above, sums over n and t as well, and M = N * T * P values a channel:

        dbias = sum of du,    dweight = rstd * sum of du (z - mean)
        dz = s * (du - dbias / M - (z - mean) * rstd^2 * (sum of du (z - mean)) / M)

    The last two terms of dz exist only if mean and variance are those of the batch, since these depend on z.
    """

    @staticmethod
    def forward(ctx, link, z, weight=None, bias=None, mean=None, inverse_std=None, of_batch=False):
        ctx.link, ctx.of_batch = link, of_batch
        ctx.set_materialize_grads(False)
        pixels = z.shape[-2] * z.shape[-1]
        if weight is None:
            theta = link.kernels.pool(z)[0] / pixels
            ctx.save_for_backward(z)
        else:
            scale = weight * inverse_std
            link.affine = (mean, scale, bias)
            total, positive = link.kernels.pool(z, link.affine)  # sums of m (z - mean), of m: [N, C, T]
            theta = (_by_channel(scale) * total + _by_channel(bias) * positive) / pixels
            ctx.save_for_backward(z, weight, inverse_std, total, positive)
        token = theta.new_empty(0)
        return theta, token

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_theta, grad_token):
        z, *norm = ctx.saved_tensors
        link, pixels = ctx.link, z.shape[-2] * z.shape[-1]
        from_mix, link.from_mix = link.from_mix, None
        if grad_token is None:  # a loss of theta alone
            from_mix = _zeros_from_mix(z)
        grad_y, importance, kernel, products, passed = from_mix
        constant = torch.zeros_like(importance) if grad_theta is None else grad_theta / pixels  # [N, C, T]
        if not norm:
            return None, link.kernels.spread(grad_y, None, importance, kernel, constant)
        weight, inverse_std, total, positive = norm
        # Sums over n, t and pixels of du and of du * (z - mean), [C] each.
        weights = (importance[..., None] * kernel[:, :, None]).flatten(2)  # V W, [N, C, T * K]
        sum_du = ((weights * passed.flatten(2)).sum(2) + (constant * positive).sum(2)).sum(0)
        sum_du_z = ((weights * products.flatten(2)).sum(2) + (constant * total).sum(2)).sum(0)
        offsets = torch.zeros_like(sum_du), torch.zeros_like(sum_du)
        if ctx.of_batch:
            count = z.numel() // len(weight)
            offsets = sum_du / count, sum_du_z * inverse_std.square() / count
        grad_z = link.kernels.spread(grad_y, z, importance, kernel, constant, link.affine, offsets)
        return None, grad_z, sum_du_z * inverse_std, sum_du, None, None, None


class _Mix(torch.autograd.Function):
    """z [N, T, C, H, W], V [N, C, T], W [N, C, K] -> y [N, T, C, H, W]: the aggregation of x, which is made from z
    again.

    Saved: z, V and W. z comes in detached, since its gradient is `_Pool`'s to compute.

    Comes back: dV and dW, from D = s * products + bias * passed (without BatchNorm D = products). dy and the sums go to
    `_Pool` by the `_Link`.
    """

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
            products_of_x = products  # D
        else:
            products, passed = link.kernels.correlate(grad_y, z, taps, link.affine)
            _, scale, bias = link.affine
            products_of_x = _by_channel(scale)[..., None] * products + _by_channel(bias)[..., None] * passed  # D
        link.from_mix = _FromMix(grad_y, importance, kernel, products, passed)
        grad_importance, grad_kernel = gradients_of_maps(products_of_x, importance, kernel)
        grad_token = grad_y.new_zeros(0, dtype=kernel.dtype)
        return None, grad_token, None, grad_importance, grad_kernel


def _zeros_from_mix(z: torch.Tensor) -> _FromMix:
    """What `_Mix` would hand over for dy = 0, with one tap."""
    n, t, c = z.shape[:3]
    zeros = torch.zeros(n, c, t, dtype=number(z.dtype), device=z.device)
    return _FromMix(torch.zeros_like(z), zeros, zeros[..., :1], zeros[..., None], zeros[..., None])


def _by_channel(values: torch.Tensor) -> torch.Tensor:
    return values[:, None]  # [C, 1], against [N, C, T]
