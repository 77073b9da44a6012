"""The temporal aggregation on CPUs in C++, compiled at first use with the machine's own compiler.

cpp_kernels.cpp becomes a small library for each type of pixels and number of taps, a few seconds' work, which is kept in
the user's cache folder. Why not torch.compile: it takes 5 to 25 s for each shape, and its `mix` at 64x56x56 took 1.9 times
as long, channels_last 2.7 times, as an earlier version of this file (torch 2.12.1, AMD EPYC, 1 thread, 2026-11-25, by hand).

Frames are [N, T, C, H, W], float32, float64 or bfloat16, and [N*T, C, H, W] is contiguous or channels_last; results keep
both. All else is float32, or float64 for float64 frames. `affine` = (mean, scale, shift), each [C]: what is aggregated then is
x = relu(scale * (z - mean) + shift), which is never written to memory; m is 1 where x > 0, else 0. tanet.ops.triton_kernels
has the same functions for GPUs.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch

from tanet.ops.plain_kernels import Affine, dense, number

FOLDS_BATCHNORM = True
SOURCE = Path(__file__).with_suffix(".cpp")
SCALARS = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bfloat16"}
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp")


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("clips", "frames", "channels", "pixels")]
    _fields_ += [("channels_last", ctypes.c_bool), ("threads", ctypes.c_int)]


class _Affine(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("mean", "scale", "shift")]


@cache
def compiler() -> str | None:
    """The C++ compiler that is used: $CXX, or c++ on the path; None where there is none. Only Linux has been tried."""
    return shutil.which(os.environ.get("CXX", "c++")) if sys.platform == "linux" else None


@cache
def build(dtype: torch.dtype, taps: int) -> ctypes.CDLL:
    """The kernels for these pixels and taps; RuntimeError with the compiler's words if it cannot compile them."""
    flags = (*FLAGS, f"-DSCALAR={SCALARS[dtype]}", f"-DTAPS={taps}")
    folder = _cache_folder()
    path = folder / f"kernels-{_digest(flags)}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:  # several processes may be at it
            made = Path(scratch, path.name)
            _run(compiler(), *flags, str(SOURCE), "-o", str(made))
            os.replace(made, path)
    return ctypes.CDLL(str(path))


def _cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "tanet"


def _digest(flags: tuple[str, ...]) -> str:
    """Of all that the library depends on: source, flags, compiler, and this machine's instructions, as macros tell."""
    target = _run(compiler(), *flags, "-dM", "-E", "-x", "c++", os.devnull)
    return hashlib.sha256(SOURCE.read_bytes() + target.encode()).hexdigest()[:16]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def pool(z: torch.Tensor, affine: Affine | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Sums over pixels, [N, C, T] each: (of z, None), or with `affine` (of m * (z - mean), of m)."""
    z, sums = dense(z), _table(z, 2)
    _call("pool", z, 1, z, affine, sums)
    return sums[..., 0], sums[..., 1] if affine else None


def mix(z: torch.Tensor, importance: torch.Tensor, kernel: torch.Tensor, affine: Affine | None = None) -> torch.Tensor:
    """y[n,t,c] = sum_k W[n,c,k] V[n,c,t+k-p] x[n,t+k-p,c]; importance V [N, C, T], kernel W [N, C, K]."""
    z = dense(z)
    y = torch.empty_like(z)
    _call("mix", z, kernel.shape[2], z, importance, kernel, affine, y)
    return y


def correlate(
    grad_y: torch.Tensor, z: torch.Tensor, taps: int, affine: Affine | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Sums over pixels, [N, C, T, K] each: (of x[s] * dy[s-k+p], None), or with `affine` (of m * (z[s] - mean) * dy[s-k+p],
    of m * dy[s-k+p]); 0 where s-k+p is outside the clip."""
    z, sums = dense(z), _table(z, 2 * taps)
    _call("correlate", z, taps, _like(grad_y, z), z, affine, sums)
    return sums[..., :taps], sums[..., taps:] if affine else None


def spread(
    grad_y: torch.Tensor,
    z: torch.Tensor | None,
    importance: torch.Tensor,
    kernel: torch.Tensor,
    constant: torch.Tensor,
    affine: Affine | None = None,
    offsets: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """dx[s] = V[s] sum_k W_k dy[s-k+p] + constant[s], constant [N, C, T]; with `affine` and `offsets` (a, b), [C] each,
    dz = scale * (m * dx - a - (z - mean) * b)."""
    z = dense(grad_y if affine is None else z)
    grad_z = torch.empty_like(z)
    a, b = offsets if affine else (None, None)
    _call("spread", z, kernel.shape[2], _like(grad_y, z), z, importance, kernel, constant, affine, a, b, grad_z)
    return grad_z


def moments(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance of each channel, [C]."""
    z = dense(z)
    mean, variance = (torch.empty(z.shape[2], dtype=number(z.dtype)) for _ in range(2))
    _call("moments", z, 1, z, mean, variance)
    return mean, variance


def _layout(z: torch.Tensor) -> torch.memory_format | None:
    if z.is_contiguous():
        return torch.contiguous_format
    frames_last = z.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if frames_last else None


def _like(grad_y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    same = grad_y.dtype == z.dtype and _layout(grad_y) == _layout(z)
    return grad_y if same else torch.empty_like(z).copy_(grad_y)


def _table(z: torch.Tensor, sums: int) -> torch.Tensor:
    n, t, c = z.shape[:3]
    return torch.empty(n, c, t, sums, dtype=number(z.dtype))


def _call(name: str, z: torch.Tensor, taps: int, *arguments) -> None:
    n, t, c, h, w = z.shape
    shape = _Shape(n, t, c, h * w, _layout(z) == torch.channels_last, torch.get_num_threads())
    held = []  # until the call is over

    def pointer(argument):
        if argument is None:
            return None
        if argument.ndim < 5:
            argument = argument.contiguous()
            if argument.dtype != number(z.dtype):
                raise TypeError(
                    f"{name}: expected tables of {number(z.dtype)} with frames of {z.dtype}, got {argument.dtype}"
                )
        held.append(argument)
        return ctypes.c_void_p(argument.data_ptr())

    def affine_or_pointer(argument):
        if isinstance(argument, tuple):
            return ctypes.byref(_Affine(*map(pointer, argument)))
        return pointer(argument)

    getattr(build(z.dtype, taps), f"tanet_{name}")(ctypes.byref(shape), *map(affine_or_pointer, arguments))
