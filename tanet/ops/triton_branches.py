"""TAM's two branches on CUDA devices: tanet.ops.branches in few launches.

The same functions with the same results. Matrix products are torch's; the programs in
tanet.ops.triton_branch_programs and tanet.ops.triton_norm_programs do all between them.
"""

import torch
from torch import Tensor, nn
from triton import cdiv, next_power_of_2

from tanet.ops import branches
from tanet.ops import triton_branch_programs as programs
from tanet.ops import triton_norm_programs as norm_programs
from tanet.ops.branches import NEIGHBOURS, Branch, Front, Gradients, Maps

CHANNELS = 16  # of a tile of one clip
SAMPLES, WARPS = 2048, 8  # of a hidden feature, that a program reads at once, and by how many warps
ROWS = 64  # clips times frames that a program of `theta_gradient` reads at once
FEATURES = 256  # of running statistics that a program updates


def forward(sums: Tensor, pixels: int, front: Front | None, local: Branch, glob: Branch) -> Maps:
    """sums: [parts, blocks, N, C, T], what `pool` of tanet.ops.triton_kernels returns; local, glob: the branches."""
    parts, blocks, n, c, t = sums.shape
    hidden, taps, tile = len(glob.first), len(glob.last), _tile(t)
    pooled = sums.new_empty(parts, n, c, t)
    theta, neighbours = sums.new_empty(n, c, t), sums.new_empty(c, NEIGHBOURS, n, t)
    global_first = sums.new_empty(hidden, n * c)
    scale, bias = (None, None) if front is None else (front.scale, front.bias)
    _launch(
        programs.theta, sums, _tiles(n, c), sums, sums.stride(), blocks, scale, bias, pooled, theta, neighbours,
        glob.first, global_first, pixels, n, c, G=hidden, **tile,
    )  # fmt: skip
    local_first = local.first @ neighbours.view(c * NEIGHBOURS, n * t)
    local_hidden, global_hidden = torch.empty_like(local_first), torch.empty_like(global_first)
    features = len(local_first) + hidden
    statistics = sums.new_empty(3, features)
    _launch(
        norm_programs.norm_relu, sums, features,
        local_first, local_hidden, local_first.shape[1], *_normalization(local),
        global_first, global_hidden, global_first.shape[1], *_normalization(glob),
        statistics, len(local_first), features, COLS=SAMPLES, num_warps=WARPS,
    )  # fmt: skip
    importance, kernel = sums.new_empty(n, t, c), sums.new_empty(n, taps, c)
    _launch(
        programs.maps, sums, _tiles(n, c), local.last @ local_hidden, global_hidden, glob.last, importance, kernel,
        n, c, K=taps, G=hidden, GP=next_power_of_2(hidden), **tile,
    )  # fmt: skip
    return Maps(
        importance, kernel, pooled, theta, neighbours, local_first, local_hidden, global_first, global_hidden,
        statistics,
    )  # fmt: skip


def backward(sums: Tensor, pixels: int, front: Front | None, local: Branch, glob: Branch, maps: Maps) -> Gradients:
    """sums: [parts, blocks, N, C, T, K], what `correlate` of tanet.ops.triton_kernels returns."""
    _, blocks, n, c, t, taps = sums.shape
    hidden, tile = len(glob.first), _tile(t)
    local_logits, global_logits = sums.new_empty(c, n * t), sums.new_empty(taps, n * c)
    grad_hidden = torch.empty_like(maps.global_hidden)
    scale, bias, rows = None, None, None
    if front is not None:
        scale, bias, rows = front.scale, front.bias, sums.new_empty(2, n, c)
    _launch(
        programs.map_gradients, sums, _tiles(n, c), sums, sums.stride(), blocks, scale, bias, maps.importance,
        maps.kernel, glob.last, local_logits, global_logits, grad_hidden, rows, n, c, K=taps, G=hidden,
        GP=next_power_of_2(hidden), **tile,
    )  # fmt: skip
    local_first, global_first = torch.empty_like(maps.local_first), torch.empty_like(maps.global_first)
    local_norm = [torch.empty_like(local.norm.weight) for _ in ("weight", "bias")]  # results may not share memory
    global_norm = [torch.empty_like(glob.norm.weight) for _ in ("weight", "bias")]
    features = len(local_first) + hidden
    _launch(
        norm_programs.norm_relu_backward, sums, features,
        local.last.T @ local_logits, maps.local_hidden, maps.local_first, local_first, local_first.shape[1],
        local.norm.weight, local.norm.of_batch, *local_norm,
        grad_hidden, maps.global_hidden, maps.global_first, global_first, global_first.shape[1],
        glob.norm.weight, glob.norm.of_batch, *global_norm,
        maps.statistics, len(local_first), features, COLS=SAMPLES, num_warps=WARPS,
    )  # fmt: skip
    grad_first, grad_last = torch.empty_like(glob.first), torch.empty_like(glob.last)
    _launch(
        programs.weight_gradients, sums, taps * hidden + hidden * t, global_logits, maps.global_hidden, global_first,
        maps.theta, grad_last, grad_first, n * c, G=hidden, T=t, K=taps, COLS=SAMPLES, num_warps=WARPS,
    )  # fmt: skip
    weights = (
        local_first @ maps.neighbours.view(c * NEIGHBOURS, n * t).T, *local_norm, local_logits @ maps.local_hidden.T,
        grad_first, *global_norm, grad_last,
    )  # fmt: skip
    constant = sums.new_empty(n, t, c)
    inverse_std, offsets, of_front, of_batch = None, None, None, False
    if front is not None:
        inverse_std, of_batch = front.inverse_std, front.of_batch
        offsets, of_front = sums.new_empty(2, c), sums.new_empty(2, c)
    _launch(
        programs.theta_gradient, sums, _tiles(1, c), local.first.T @ local_first, global_first, glob.first, pixels,
        constant, maps.pooled, rows, inverse_std, offsets, of_front, n, c, n * t * pixels, OF_BATCH=of_batch,
        G=hidden, CLIPS=max(1, ROWS // tile["TP"]), **tile,
    )  # fmt: skip
    return Gradients(constant, offsets, of_front, weights)


def update_running_statistics(updates: list[tuple[nn.Module, Tensor, Tensor, int]]) -> None:
    """Updates BatchNorms as torch does: (norm, mean [F], biased variance [F], number of values of a feature) each."""
    norms, means, variances, counts = zip(*updates)
    if means[0].dtype == torch.float64 or any(norm.momentum is None for norm in norms):
        branches.update_running_statistics(updates)  # Triton takes numbers in float32 only
        return
    features = tuple(len(mean) for mean in means)
    _launch(
        norm_programs.update_running, means[0], cdiv(max(features), FEATURES),
        tuple(norm.running_mean for norm in norms), tuple(norm.running_var for norm in norms),
        tuple(norm.num_batches_tracked for norm in norms), means, variances, features,
        tuple(count / (count - 1) for count in counts), tuple(float(norm.momentum) for norm in norms), COLS=FEATURES,
    )  # fmt: skip


def _normalization(branch: Branch) -> tuple:
    norm = branch.norm
    return norm.weight, norm.bias, norm.mean, norm.variance, norm.eps


def _launch(program, like: Tensor, count: int, *arguments, **constants) -> None:
    with torch.cuda.device_of(like):
        program[count,](*arguments, **constants)


def _tile(frames: int) -> dict[str, int]:
    return {"T": frames, "TP": next_power_of_2(frames), "COLS": CHANNELS}


def _tiles(clips: int, channels: int) -> int:
    return clips * cdiv(channels, CHANNELS)
