"""The temporal aggregation on CUDA devices by Triton kernels; functions of tensors, without autograd.

The same functions as in tanet.ops.cpp_kernels. x, z, y and gradients are frames [N, T, C, H, W] in float32, float64,
bfloat16 or float16. As [N*T, C, H, W] they are contiguous or channels_last; results keep the type and format of z (or
grad_y), and frames in any other format are copied first. V [N, C, T], W [N, C, K] with K odd, sums and statistics are
float32, or float64 with float64 frames. Frames are read from memory once. Sums use no atomics, so that the same input
gives the same bits.

`affine` is None or (mean, scale, shift), each [C]: BatchNorm and ReLU in front of the aggregation. Then

    x = relu(scale * (z - mean) + shift),    m = 1 where x > 0, else 0,

and x is never written to memory.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from triton import cdiv, next_power_of_2

from tanet.ops import triton_branches as branches  # noqa: F401  (part of the interface, as in tanet.ops.plain_kernels)
from tanet.ops import triton_norm_programs as norm_programs
from tanet.ops import triton_programs as programs
from tanet.ops.plain_kernels import Affine, number

FOLDS_BATCHNORM = True
SCALARS = frozenset((torch.float32, torch.float64, torch.bfloat16, torch.float16))
CHANNELS = 64  # at most in a channels_last tile: whole cache lines of 128 bytes
SUMS = 12  # that a thread of `correlate` holds for each of its pixels: more would fill the registers
MERGED = 512, 8  # rows and channels of partial moments that a program merges at once
LAST_MERGED = 4 * MERGED[0]  # rows that the last program merges one block after another


class _Share(NamedTuple):
    """How much work one program does. Fixed by hand: a search at run time would delay every start.

    A thread reads at most 16 bytes at once. In channels_last it takes few channels and more pixels, since the maps and
    statistics of each channel occupy registers; the 32 threads of a warp still read whole cache lines.
    """

    warps: int  # 32 threads each
    size: int  # bytes of a frame per thread
    channels: int  # neighbouring channels that a thread holds, if channels_last
    turns: int = 1  # tiles of pixels, one after another
    whole: bool = False  # contiguous: True takes as many pixels of a channel as fit, False as few as keep padding low


WALK = _Share(warps=4, size=16, channels=4)
SUM = _Share(warps=8, size=64, channels=2, whole=True)  # large tiles: few partial sums
CORRELATE = _Share(warps=4, size=8, channels=4, turns=16)


def build(dtype: torch.dtype, taps: int) -> None:
    """Compiles and runs a kernel for this type of pixels on the current device; RuntimeError if that fails.

    To start kernels, Triton needs a C compiler and Python's headers.
    """
    try:
        maps = torch.zeros(1, 1, taps, dtype=number(dtype), device="cuda")
        mix(torch.zeros(1, 1, 1, 1, 1, dtype=dtype, device="cuda"), maps[:, :, :1], maps)
    except Exception as error:  # Triton raises what its tools raise
        raise RuntimeError(f"Triton cannot compile and run its kernels here: {error}") from error


def pool(z: Tensor, affine: Affine | None = None) -> Tensor:
    """Partial sums over pixels, [1, blocks, N, C, T]: of z; or with `affine` two parts: of m * (z - mean), of m."""
    frames, tile = _tiles(z, SUM)
    n, t = z.shape[:2]
    sums = _room_for_sums(frames, tile, n, t, affine)
    _launch(programs.pool, tile, n * t * tile.count, frames, _dense(affine), sums, sums.stride(), t)
    return sums


def mix(z: Tensor, importance: Tensor, kernel: Tensor, affine: Affine | None = None) -> Tensor:
    """y[n,t,c] = sum_k W[n,c,k] V[n,c,t+k-p] x[n,t+k-p,c], p = K // 2, zeros outside the clip."""
    frames, tile = _tiles(z, WALK)
    n, t = z.shape[:2]
    y = torch.empty_like(frames)
    v, w = _maps(importance, kernel)
    _launch(
        programs.mix, tile, n * tile.count, frames, y, v, v.stride(), w, w.stride(), _dense(affine), t, kernel.shape[2]
    )
    return y.unflatten(0, (n, t))


def correlate(grad_y: Tensor, z: Tensor, taps: int, affine: Affine | None = None) -> Tensor:
    """Partial sums over pixels for each frame s and tap k, [1, blocks, N, C, T, K]; 0 where there is no frame s-k+p.

    Of z[s] * dy[s-k+p]; or with `affine` two parts: of m * (z[s] - mean) * dy[s-k+p], of m * dy[s-k+p].
    """
    frames, tile = _tiles(z, CORRELATE)
    n, t = z.shape[:2]
    sums = _room_for_sums(frames, tile, n, t * taps, affine)
    most = max(1, SUMS // (taps * len(sums)))
    chunks = cdiv(t, most)
    _launch(
        programs.correlate, tile, n * tile.count * chunks, _like(grad_y, tile), frames, _dense(affine),
        sums, sums.stride(), t, taps, cdiv(t, chunks),
    )  # fmt: skip
    return sums.unflatten(-1, (t, taps))


def spread(
    grad_y: Tensor,
    z: Tensor | None,
    importance: Tensor,
    kernel: Tensor,
    constant: Tensor,
    affine: Affine | None = None,
    offsets: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The gradient of z: dx[s] = V[s] sum_k W_k dy[s-k+p] + constant[s], constant [N, C, T]; z may be None.

    With `affine`, and `offsets` = (a, b), [C] each: dz = scale * (m * dx - a - (z - mean) * b).
    """
    frames, tile = _tiles(grad_y if affine is None else z, WALK)
    n, t = grad_y.shape[:2]
    grad_z = torch.empty_like(frames)
    v, added, w = _maps(importance, constant, kernel)
    _launch(
        programs.spread, tile, n * tile.count, _like(grad_y, tile), frames, grad_z, v, added, v.stride(), w, w.stride(),
        _dense(affine), _dense(offsets), t, kernel.shape[2],
    )  # fmt: skip
    return grad_z.unflatten(0, (n, t))


def statistics(z: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Mean, biased variance, 1 / std and scale = weight / std of each channel, [4, C].

    Moments are those of single tiles, merged, so that no digits cancel.
    """
    frames, tile = _tiles(z, SUM)
    rows = len(frames) * tile.blocks
    parts = frames.new_empty(3, rows, tile.channels, dtype=number(z.dtype))  # pixels, mean, squared deviations
    _launch(programs.moments, tile, len(frames) * tile.count, frames, parts, rows)
    programs_across = cdiv(tile.channels, MERGED[1])
    with torch.cuda.device_of(z):
        while rows > LAST_MERGED:
            merged = parts.new_empty(3, cdiv(rows, MERGED[0]), tile.channels)
            norm_programs.merge_moments[merged.shape[1], programs_across](parts, merged, rows, tile.channels, *MERGED)
            parts, rows = merged, merged.shape[1]
        found = parts.new_empty(4, tile.channels)
        norm_programs.statistics[programs_across,](parts, found, weight, eps, rows, tile.channels, *MERGED)
    return found


class _Tile(NamedTuple):
    """How programs divide a frame among them; tanet.ops.triton_programs explains height, width and constants."""

    last: bool  # whether frames are channels_last
    warps: int
    channels: int  # C
    blocks: int  # programs that share a channel: the number of partial sums
    count: int  # programs for a frame
    size: tuple[int, int]  # height, and width in steps
    constants: tuple  # TURNS, LAST, STEP, ROWS, COLS


def _tiles(x: Tensor, share: _Share) -> tuple[Tensor, _Tile]:
    """x's frames [N*T, C, H, W], copied if they are neither contiguous nor channels_last; and their tiles."""
    frames = x.flatten(0, 1)
    last = not frames.is_contiguous() and frames.is_contiguous(memory_format=torch.channels_last)
    if not last:
        frames = frames.contiguous()
    _, channels, height, width = frames.shape
    return frames, _tile(channels, height * width, frames.element_size(), last, share)


@cache
def _tile(channels: int, pixels: int, element_size: int, last: bool, share: _Share) -> _Tile:
    in_thread = max(1, share.size // element_size)
    elements = 32 * share.warps * in_thread
    if last:
        height, width = pixels, channels
        step = math.gcd(width, share.channels)
        cols = min(next_power_of_2(width), CHANNELS)
    else:
        height, width = channels, pixels
        step = math.gcd(width, min(in_thread, 16 // element_size))
        cols = min(next_power_of_2(width), elements)
        while not share.whole and cols > 64 and cdiv(width, cols) * cols > width * 9 / 8:
            cols //= 2
    rows = min(next_power_of_2(height), elements // cols)
    turns = min(share.turns, cdiv(pixels, rows if last else cols))
    blocks = cdiv(pixels, turns * (rows if last else cols))
    count = blocks * cdiv(channels, cols if last else rows)
    constants = turns, last, step, rows, cols
    return _Tile(last, share.warps, channels, blocks, count, (height, width // step), constants)


def _launch(program, tile: _Tile, count: int, frames: Tensor, *arguments) -> None:
    with torch.cuda.device_of(frames):
        program[count,](frames, *arguments, *tile.size, *tile.constants, num_warps=tile.warps)


def _like(grad_y: Tensor, tile: _Tile) -> Tensor:
    """The frames of grad_y [N*T, C, H, W] in the tile's memory format."""
    memory_format = torch.channels_last if tile.last else torch.contiguous_format
    return grad_y.flatten(0, 1).contiguous(memory_format=memory_format)


def _dense(vectors: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
    if vectors is None:
        return None
    return tuple(vector.contiguous() for vector in vectors)


def _maps(*maps: Tensor) -> list[Tensor]:
    """The maps [N, C, ...], each with neighbouring channels side by side in memory, as the programs read them."""
    return [each if each.stride(1) == 1 else each.transpose(1, 2).contiguous().transpose(1, 2) for each in maps]


def _room_for_sums(frames: Tensor, tile: _Tile, clips: int, entries: int, affine: Affine | None) -> Tensor:
    """An empty tensor for partial sums, [parts, blocks, N, C, entries]; two parts with `affine`, else one.

    If the frames are channels_last, partial sums of neighbouring channels lie side by side, too.
    """
    parts = 1 if affine is None else 2
    dtype = number(frames.dtype)
    if tile.last and tile.blocks > 1:
        return frames.new_empty((parts, tile.blocks, clips, entries, tile.channels), dtype=dtype).transpose(3, 4)
    return frames.new_empty((parts, tile.blocks, clips, tile.channels, entries), dtype=dtype)
