"""TAM and the BatchNorm and ReLU in front of it as one operation, `torch.ops.tanet.tam`, and its backward pass.

The input is z [N, T, C, H, W], the output of a convolution. BatchNorm in front has a mean, a factor s = weight * rstd
with rstd = 1 / sqrt(variance + eps), and a bias for each channel:

    u = s * (z - mean) + bias,    x = relu(u) = m * u    with m = 1 where u > 0, else 0.    Without BatchNorm x = z.

    theta[n,c,t] = mean of x over H, W
    V, W = importance map and aggregation kernel of theta                 (TAM's two branches: tanet.ops.branches)
    y[n,t,c] = sum_k W[n,c,k] V[n,c,t+k-p] x[n,t+k-p,c],  p = K // 2

The backward pass runs the other way round. dy is the gradient of y, P = H * W. Sums without an index are over pixels.

    D[n,c,s,k] = sum of x[s] dy[s-k+p],    dV[s] = sum_k W_k D[s,k],    dW_k = sum_s V[s] D[s,k]
    dtheta from dV and dW through the branches
    du[s] = m[s] * (V[s] sum_k W_k dy[s-k+p] + dtheta[s] / P)

    dbias = sum of du,    dweight = rstd * sum of du (z - mean)           (sums over n and t as well)
    dz = s * (du - dbias / M - (z - mean) * rstd^2 * (sum of du (z - mean)) / M),    M = N * T * P values a channel

The last two terms of dz exist only if mean and variance are those of the batch, since these depend on z.

Why in one operation: theta and y both depend on x, and one pass over the frames computes both parts of x's gradient.
BatchNorm and ReLU are two multiplications a pixel, cheaper to repeat than to store. So z is the only large tensor that
is kept for the backward pass. And a compiler sees one operation, which it cannot take apart.
"""

import torch
from torch import Tensor, nn

from tanet.ops import branches
from tanet.ops.branches import NEIGHBOURS, Branch, Front, Maps, Norm
from tanet.ops.dispatch import folds_batchnorm, kernels_for
from tanet.ops.plain_kernels import dense, like, number, with_scale

LOCAL = (nn.Conv1d, nn.BatchNorm1d, nn.ReLU, nn.Conv1d, nn.Sigmoid)  # the modules of a branch that is computed here
GLOBAL = (nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.Softmax)
LOCAL_FIRST = (NEIGHBOURS,), (1,), (1,), (1,), 1, "zeros"  # kernel, stride, padding, dilation, groups, padding_mode
LOCAL_LAST = (1,), (1,), (0,), (1,), 1, "zeros"


def tam(z: Tensor, norm: nn.BatchNorm2d | None, local_branch: nn.Sequential, global_branch: nn.Sequential) -> Tensor:
    """z [N, T, C, H, W] -> TAM of relu(norm(z)), or of z without `norm`, in z's shape, type and memory format.

    It uses and updates the running statistics of all BatchNorms as torch does. Ask `has_plain_branches`, and for a
    `norm` `can_fold`, before.
    """
    norms = norm, local_branch[1], global_branch[1]
    arguments = []
    for each in norms:
        arguments += [None] * 4 if each is None else [each.weight, each.bias, *_given(each)]
    y, *maps, statistics = _tam(
        dense(z), *arguments, local_branch[0].weight, local_branch[3].weight, global_branch[0].weight,
        global_branch[3].weight, *(0.0 if each is None else each.eps for each in norms),
    )  # fmt: skip
    _update_running_statistics(norms, z, Maps(*maps), statistics)
    return y


def has_plain_branches(z: Tensor, local_branch: nn.Sequential, global_branch: nn.Sequential) -> bool:
    """Whether the branches are those that TAM has by itself, without hooks, with float32 (or float64) weights.

    The answer is no for branches with layers of other options, which compute with the modules themselves. So do fewer
    than two samples of a branch's BatchNorm: torch raises its own error in training.
    """
    n, t, c = z.shape[:3]
    if n * min(t, c) < 2:
        return False
    for branch, kinds in ((local_branch, LOCAL), (global_branch, GLOBAL)):
        if tuple(type(module) for module in branch) != kinds:
            return False
        if any(has_hooks(module) for module in (branch, *branch)):
            return False
        if any(weight.dtype != number(z.dtype) for weight in branch.parameters()):
            return False
        if branch[1].weight is None or branch[1].bias is None:
            return False
        if branch[0].bias is not None or branch[3].bias is not None:
            return False
    return _options(local_branch[0]) == LOCAL_FIRST and _options(local_branch[3]) == LOCAL_LAST


def can_fold(norm: nn.Module, z: Tensor, taps: int) -> bool:
    """Whether `tam` can take in this normalisation.

    It needs a plain BatchNorm2d with float32 (or float64) weights, and kernels that are faster for it. With a single
    value a channel the answer is no, so that torch raises its own error.
    """
    return (
        type(norm) is nn.BatchNorm2d
        and norm.weight is not None
        and norm.bias is not None
        and norm.weight.dtype == number(z.dtype)
        and z.numel() > z.shape[2]
        and folds_batchnorm(z.device.type, z.dtype, taps)
    )


def _options(conv: nn.Conv1d) -> tuple:
    return conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode


def has_hooks(module: nn.Module) -> bool:
    """Whether a hook must see what the module itself gets and returns."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in kinds)


def _given(norm: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    """The mean and variance with which `norm` normalises; None if they are those of the batch."""
    if norm.training or norm.running_mean is None:
        return None, None
    return norm.running_mean, norm.running_var


@torch.no_grad()
def _update_running_statistics(norms: tuple[nn.Module | None, ...], z: Tensor, maps: Maps, statistics: Tensor) -> None:
    """As torch's BatchNorm does after a batch. `maps`, `statistics`: what `_tam` returns."""
    split = len(maps.local_first)
    of_batch = statistics, maps.statistics[:, :split], maps.statistics[:, split:]
    counts = z.numel() // z.shape[2], maps.local_first.shape[1], maps.global_first.shape[1]
    updates = []
    for norm, (mean, variance, *_), count in zip(norms, of_batch, counts):
        if norm is not None and norm.training and norm.track_running_stats:
            updates.append((norm, mean, variance, count))
    if torch.compiler.is_compiling():  # the compiler knows torch's operations
        branches.update_running_statistics(updates)
    elif updates:
        kernels_for(z, maps.kernel.shape[1]).branches.update_running_statistics(updates)


@torch.library.custom_op("tanet::tam", mutates_args=())
def _tam(
    z: Tensor,
    weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, variance: Tensor | None,
    local_weight: Tensor, local_bias: Tensor, local_mean: Tensor | None, local_variance: Tensor | None,
    global_weight: Tensor, global_bias: Tensor, global_mean: Tensor | None, global_variance: Tensor | None,
    local_first: Tensor, local_last: Tensor, global_first: Tensor, global_last: Tensor,
    eps: float, local_eps: float, global_eps: float,
) -> tuple[
    Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor
]:  # fmt: skip
    """-> y, the fields of `Maps`, and mean, biased variance, 1 / std and scale of the BatchNorm in front, [4, C].

    The weights of the front, of the local branch's BatchNorm and of the global branch's; then the layers' weights.
    """
    local_norm = Norm(local_weight, local_mean is None, local_bias, local_mean, local_variance, local_eps)
    global_norm = Norm(global_weight, global_mean is None, global_bias, global_mean, global_variance, global_eps)
    local = Branch(local_first.flatten(1), local_norm, local_last.flatten(1))
    glob = Branch(global_first, global_norm, global_last)
    kernels, pixels = kernels_for(z, len(global_last)), z.shape[-2] * z.shape[-1]
    front, affine = None, None
    statistics = z.new_empty(4, 0, dtype=number(z.dtype))
    with torch.autocast(z.device.type, enabled=False):
        if weight is not None:
            if mean is None:
                statistics = kernels.statistics(z, weight, eps)
            else:
                statistics = with_scale(mean, variance, weight, eps)
            front = _front(statistics, bias, mean is None)
            affine = front.affine
        maps = kernels.branches.forward(kernels.pool(z, affine), pixels, front, local, glob)
        y = kernels.mix(z, *maps.both, affine)
    return y, *maps, statistics


def _front(statistics: Tensor, bias: Tensor, of_batch: bool) -> Front:
    mean, _, inverse_std, scale = statistics
    return Front(mean, scale, bias, inverse_std, of_batch)


@_tam.register_fake
def _(z, weight, *arguments):
    local_first, _, global_first, global_last = arguments[11:15]
    n, t, c = z.shape[:3]
    local, glob = len(local_first), len(global_first)
    parts = 1 if weight is None else 2
    shapes = [
        (n, t, c), (n, len(global_last), c), (parts, n, c, t), (n, c, t), (c, NEIGHBOURS, n, t), (local, n * t),
        (local, n * t), (glob, n * c), (glob, n * c), (3, local + glob), (4, 0 if weight is None else c),
    ]  # fmt: skip
    return torch.empty_like(z), *(z.new_empty(shape, dtype=number(z.dtype)) for shape in shapes)


@torch.library.custom_op("tanet::tam_backward", mutates_args=())
def _tam_backward(
    grad_y: Tensor, z: Tensor, bias: Tensor | None, local_weight: Tensor, global_weight: Tensor,
    local_first: Tensor, local_last: Tensor, global_first: Tensor, global_last: Tensor,
    maps: list[Tensor], statistics: Tensor, of_batch: list[bool],
) -> list[Tensor]:  # fmt: skip
    """-> gradients of z, of the front's weight and bias together [2, C], and of the branches as in `Gradients`.

    of_batch: of the BatchNorms of front, local and global branch.
    """
    maps = Maps(*maps)
    local = Branch(local_first.flatten(1), Norm(local_weight, of_batch[1]), local_last.flatten(1))
    glob = Branch(global_first, Norm(global_weight, of_batch[2]), global_last)
    kernels, pixels = kernels_for(z, len(global_last)), z.shape[-2] * z.shape[-1]
    front = None if bias is None else _front(statistics, bias, of_batch[0])
    affine = None if front is None else front.affine
    grad_y = like(grad_y, z)
    with torch.autocast(z.device.type, enabled=False):
        sums = kernels.correlate(grad_y, z, len(global_last), affine)
        gradients = kernels.branches.backward(sums, pixels, front, local, glob, maps)
        constant = gradients.constant.transpose(1, 2)
        if front is None:
            grad_z = kernels.spread(grad_y, None, *maps.both, constant)
        else:
            grad_z = kernels.spread(grad_y, z, *maps.both, constant, affine, tuple(gradients.offsets))
    of_front = statistics.new_empty(2, 0) if front is None else gradients.front
    return [grad_z, of_front, *gradients.weights]


@_tam_backward.register_fake
def _(grad_y, z, bias, local_weight, global_weight, local_first, local_last, global_first, global_last, *_):
    like = [torch.empty_like(each) for each in (local_first.flatten(1), local_weight, local_weight)]
    like += [torch.empty_like(each) for each in (local_last.flatten(1), global_first, global_weight, global_weight)]
    of_front = local_weight.new_empty(2, 0 if bias is None else z.shape[2])
    return [torch.empty_like(z), of_front, *like, torch.empty_like(global_last)]


def _keep_for_backward(ctx, inputs, output):
    z, _, bias, mean, _, local_weight, _, local_mean, _, global_weight, _, global_mean, _, *layers = inputs[:17]
    ctx.set_materialize_grads(False)
    ctx.of_batch = [mean is None, local_mean is None, global_mean is None]
    ctx.save_for_backward(z, bias, local_weight, global_weight, *layers, *output[1:])


def _backward(ctx, grad_y, *_):
    if grad_y is None:
        return (None,) * 20
    *tensors, statistics = ctx.saved_tensors
    inputs, maps = tensors[:8], tensors[8:]
    gradients = _tam_backward(grad_y, *inputs, maps, statistics, ctx.of_batch)
    grad_z, of_front, local_first, *local_norm, local_last, global_first, global_weight, global_bias, global_last = (
        gradients
    )
    has_front, layers = inputs[1] is not None, inputs[4:]
    none = None, None
    return (
        grad_z, *(of_front if has_front else none), *none, *local_norm, *none, global_weight, global_bias, *none,
        local_first.view_as(layers[0]), local_last.view_as(layers[1]), global_first, global_last, None, None, None,
    )  # fmt: skip


_tam.register_autograd(_backward, setup_context=_keep_for_backward)
