"""TAM's two branches, from the sums over pixels to the maps V and W and back, in torch operations (paper section 3).

Both branches are the same small network on a matrix whose columns are its samples: a linear layer, BatchNorm, ReLU, and
a linear layer. The local branch (section 3.2) has a column for each frame of each clip, with the means of all channels
in three neighbouring frames. The global branch (section 3.3) has a column for each channel of each clip, with the means
of its T frames.

    theta[n,c,t] = mean of x over H, W                           what both branches see
    V[n,c,t] = sigmoid(logits of the local branch)               the importance map
    W[n,c,k] = softmax over k(logits of the global branch)       the aggregation kernel

The backward pass is written by hand, since the whole module is one operation (tanet.ops.fused).
tanet.ops.triton_branches computes the same on CUDA GPUs.

N clips, T frames, C channels, K taps, P pixels of a frame. Everything is float32, or float64 with float64 frames.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

NEIGHBOURS = 3  # frames that the local branch sees at once


class Norm(NamedTuple):
    """BatchNorm over F features, by the mean and variance of the batch or by given ones.

    The backward pass needs only the first two fields.
    """

    weight: Tensor  # [F]
    of_batch: bool
    bias: Tensor | None = None  # [F]
    mean: Tensor | None = None  # [F], given unless they are those of the batch
    variance: Tensor | None = None  # [F]
    eps: float = 0.0


class Branch(NamedTuple):
    """The weights of one branch, as matrices."""

    first: Tensor  # [F, inputs]
    norm: Norm
    last: Tensor  # [outputs, F]


class Front(NamedTuple):
    """The BatchNorm and ReLU in front of TAM: x = relu(scale * (z - mean) + bias). Each [C]."""

    mean: Tensor
    scale: Tensor  # weight * inverse_std
    bias: Tensor
    inverse_std: Tensor
    of_batch: bool  # whether mean and inverse_std are those of z, so that they depend on it

    @property
    def affine(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.mean, self.scale, self.bias


class Maps(NamedTuple):
    """V and W, and what the backward pass needs of the way to them."""

    importance: Tensor  # V, [N, T, C]
    kernel: Tensor  # W, [N, K, C]
    pooled: Tensor  # [parts, N, C, T]: sums over pixels of m (z - mean) and of m; without a Front of z alone
    theta: Tensor  # [N, C, T]
    neighbours: Tensor  # [C, 3, N, T]: theta of the frame before, of the frame, of the frame after; zeros outside
    local_first: Tensor  # [F, N * T], before BatchNorm
    local_hidden: Tensor  # [F, N * T], after ReLU
    global_first: Tensor  # [G, N * C], before BatchNorm
    global_hidden: Tensor  # [G, N * C], after ReLU
    statistics: Tensor  # [3, F + G]: mean, biased variance and 1 / std of the hidden features

    @property
    def both(self) -> tuple[Tensor, Tensor]:
        """V [N, C, T] and W [N, C, K]."""
        return self.importance.transpose(1, 2), self.kernel.transpose(1, 2)


class Gradients(NamedTuple):
    """What comes back. The sums `du` are explained in tanet.ops.fused."""

    constant: Tensor  # dtheta / P, [N, T, C]
    offsets: Tensor | None  # [2, C]: sum of du / M, and sum of du (z - mean) / M / variance; without a Front None
    front: Tensor | None  # [2, C]: of the Front's weight and bias; without a Front None
    weights: tuple[Tensor, ...]  # first, norm.weight, norm.bias, last of the local branch, then of the global one


def forward(sums: Tensor, pixels: int, front: Front | None, local: Branch, glob: Branch) -> Maps:
    """sums: [parts, blocks, N, C, T], what `pool` of a path's kernels returns; local, glob: the two branches."""
    pooled = sums.sum(1)
    if front is None:
        theta = pooled[0] / pixels
    else:
        theta = (front.scale[:, None] * pooled[0] + front.bias[:, None] * pooled[1]) / pixels
    n, c, t = theta.shape
    neighbours = _neighbours(theta)
    local_first = local.first @ neighbours.view(c * NEIGHBOURS, n * t)
    global_first = glob.first @ theta.reshape(n * c, t).T
    local_hidden, local_statistics = _norm_relu(local_first, local.norm)
    global_hidden, global_statistics = _norm_relu(global_first, glob.norm)
    importance = torch.sigmoid(local.last @ local_hidden).view(c, n, t).permute(1, 2, 0).contiguous()
    kernel = torch.softmax(glob.last @ global_hidden, 0).view(-1, n, c).transpose(0, 1).contiguous()
    statistics = torch.cat([local_statistics, global_statistics], 1)
    return Maps(
        importance, kernel, pooled, theta.contiguous(), neighbours, local_first, local_hidden, global_first,
        global_hidden, statistics,
    )  # fmt: skip


def backward(sums: Tensor, pixels: int, front: Front | None, local: Branch, glob: Branch, maps: Maps) -> Gradients:
    """sums: [parts, blocks, N, C, T, K], what `correlate` of a path's kernels returns."""
    sums = sums.sum(1)  # [parts, N, C, T, K]
    importance, kernel = maps.both  # V [N, C, T], W [N, C, K]
    products = sums[0]  # D: sums over pixels of x[s] dy[s-k+p]
    if front is not None:
        products = front.scale[:, None, None] * sums[0] + front.bias[:, None, None] * sums[1]
    grad_importance, grad_kernel = gradients_of_maps(products, importance, kernel)
    n, c, t = importance.shape
    local_logits = grad_importance * importance * (1 - importance)  # [N, C, T]
    global_logits = kernel * (grad_kernel - (kernel * grad_kernel).sum(-1, keepdim=True))  # [N, C, K]
    local_logits = local_logits.transpose(0, 1).reshape(c, n * t)
    global_logits = global_logits.permute(2, 0, 1).reshape(-1, n * c)
    split = len(maps.local_first)
    grad_neighbours, local_weights = _backward_of_branch(
        local_logits, local, maps.neighbours.view(c * NEIGHBOURS, n * t), maps.local_first, maps.local_hidden,
        maps.statistics[:, :split],
    )  # fmt: skip
    grad_columns, global_weights = _backward_of_branch(
        global_logits, glob, maps.theta.view(n * c, t).T, maps.global_first, maps.global_hidden,
        maps.statistics[:, split:],
    )  # fmt: skip
    grad_theta = _folded(grad_neighbours.view(c, NEIGHBOURS, n, t)) + grad_columns.T.reshape(n, c, t)
    constant = grad_theta / pixels
    weights = (*local_weights, *global_weights)
    if front is None:
        return Gradients(constant.transpose(1, 2).contiguous(), None, None, weights)
    # Sums over n, t and pixels of du * (z - mean) and of du, [C] each.
    folded = importance[..., None] * kernel[:, :, None]  # V W, [N, C, T, K]
    sum_du_z, sum_du = (folded * sums).sum((1, 3, 4)) + (constant * maps.pooled).sum((1, 3))
    offsets = torch.zeros_like(maps.pooled[:, 0, :, 0])
    if front.of_batch:
        count = n * t * pixels
        offsets = torch.stack([sum_du / count, sum_du_z * front.inverse_std.square() / count])
    of_front = torch.stack([sum_du_z * front.inverse_std, sum_du])
    return Gradients(constant.transpose(1, 2).contiguous(), offsets, of_front, weights)


def update_running_statistics(updates: list[tuple[nn.Module, Tensor, Tensor, int]]) -> None:
    """Updates BatchNorms as torch does: (norm, mean [F], biased variance [F], number of values of a feature) each."""
    for norm, mean, variance, count in updates:
        norm.num_batches_tracked.add_(1)
        rate = 1.0 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean, rate)
        norm.running_var.lerp_(variance * (count / (count - 1)), rate)


def gradients_of_maps(products: Tensor, importance: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of V [N, C, T] and W [N, C, K]: dV[s] = sum_k W_k D[s,k], dW_k = sum_s V[s] D[s,k].

    products D [N, C, T, K]: D[s,k] is the sum over pixels of x[s] * dy[s-k+p].
    """
    grad_importance = (products * kernel[:, :, None]).sum(-1)
    grad_kernel = (products * importance[..., None]).sum(-2)
    return grad_importance, grad_kernel


def _neighbours(theta: Tensor) -> Tensor:
    """theta [N, C, T] -> [C, 3, N, T]: at [:, j] frame t + j - 1, and zeros outside the clip."""
    n, c, t = theta.shape
    by_channel = theta.transpose(0, 1)  # [C, N, T]
    neighbours = theta.new_zeros(c, NEIGHBOURS, n, t)
    neighbours[:, 0, :, 1:] = by_channel[..., :-1]
    neighbours[:, 1] = by_channel
    neighbours[:, 2, :, :-1] = by_channel[..., 1:]
    return neighbours


def _folded(grad_neighbours: Tensor) -> Tensor:
    """The gradient of theta [N, C, T] from that of its `_neighbours` [C, 3, N, T]."""
    grad_theta = grad_neighbours[:, 1].clone()  # [C, N, T]
    grad_theta[..., :-1] += grad_neighbours[:, 0, :, 1:]
    grad_theta[..., 1:] += grad_neighbours[:, 2, :, :-1]
    return grad_theta.transpose(0, 1)


def _norm_relu(features: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """relu(norm(features)), [F, samples]; and mean, biased variance and 1 / std of each feature, [3, F]."""
    mean, variance = norm.mean, norm.variance
    if norm.of_batch:
        variance, mean = torch.var_mean(features, 1, correction=0)
    inverse_std = (variance + norm.eps).rsqrt()
    scale = norm.weight * inverse_std
    hidden = torch.relu(torch.addcmul(norm.bias[:, None], features - mean[:, None], scale[:, None]))
    return hidden, torch.stack([mean, variance, inverse_std])


def _backward_of_branch(
    grad_logits: Tensor, branch: Branch, columns: Tensor, features: Tensor, hidden: Tensor, statistics: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """From the gradient of the logits [outputs, samples]: of the columns [inputs, samples], and of the weights."""
    mean, _, inverse_std = statistics[..., None]  # [F, 1] each
    grad_last = grad_logits @ hidden.T
    du = (branch.last.T @ grad_logits) * (hidden > 0)  # [F, samples]
    normalized = (features - mean) * inverse_std
    grad_bias, grad_weight = du.sum(1), (du * normalized).sum(1)
    if branch.norm.of_batch:
        du = du - (grad_bias[:, None] + normalized * grad_weight[:, None]) / du.shape[1]
    grad_features = branch.norm.weight[:, None] * inverse_std * du
    return branch.first.T @ grad_features, (grad_features @ columns.T, grad_weight, grad_bias, grad_last)
