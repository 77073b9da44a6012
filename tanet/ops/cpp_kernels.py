"""The temporal aggregation on CPUs in C++, compiled at first use with the machine's own compiler.

For each type of pixels and number of taps, cpp_kernels.cpp and its headers become a small library. Compiling takes a
few seconds; the library is kept in the user's cache folder. Why not torch.compile: it takes 5 to 25 s for each shape,
and its `mix` at 64x56x56 took 1.9 times as long as an earlier version of this file, and 2.7 times as long in
channels_last (torch 2.12.1, AMD EPYC, 1 thread, 2026-11-25, by hand).

Frames are [N, T, C, H, W] in float32, float64 or bfloat16. As [N*T, C, H, W] they are contiguous or channels_last;
results keep type and format. All other tensors are float32, or float64 with float64 frames. `affine` is None or
(mean, scale, shift), each [C]: BatchNorm and ReLU in front of the aggregation. Then

    x = relu(scale * (z - mean) + shift),    m = 1 where x > 0, else 0,

and x is never written to memory. Without `affine`, x is z. tanet.ops.triton_kernels has the same functions for GPUs.
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

from tanet.ops import branches  # noqa: F401  (part of the interface, as in tanet.ops.plain_kernels)
from tanet.ops.plain_kernels import Affine, dense, like, number, with_scale

FOLDS_BATCHNORM = True
SOURCE = Path(__file__).with_suffix(".cpp")  # includes the headers cpp_*.h beside it
SCALARS = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bfloat16"}
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp")


class _Shape(ctypes.Structure):
    """`Shape` in cpp_frames.h: the same fields in the same order."""

    _fields_ = [
        ("clips", ctypes.c_int64),
        ("frames", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("pixels", ctypes.c_int64),
        ("channels_last", ctypes.c_bool),
        ("threads", ctypes.c_int),
    ]


class _Affine(ctypes.Structure):
    """`Affine` in cpp_kernels.cpp: the same fields in the same order."""

    _fields_ = [("mean", ctypes.c_void_p), ("scale", ctypes.c_void_p), ("shift", ctypes.c_void_p)]


@cache
def compiler() -> str | None:
    """The path of the C++ compiler: $CXX, else c++; None if there is none. Only Linux has been tried."""
    if sys.platform != "linux":
        return None
    return shutil.which(os.environ.get("CXX", "c++"))


@cache
def build(dtype: torch.dtype, taps: int) -> ctypes.CDLL:
    """The kernels for this type of pixels and number of taps, compiled unless the cache folder has them.

    RuntimeError with the compiler's message if they cannot be compiled.
    """
    flags = (*FLAGS, f"-DSCALAR={SCALARS[dtype]}", f"-DTAPS={taps}")
    folder = _cache_folder()
    library = folder / f"kernels-{_digest(flags)}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Several processes may compile the same library at once: each compiles its own and moves it into place.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            compiled = Path(scratch, library.name)
            _run(compiler(), *flags, str(SOURCE), "-o", str(compiled))
            os.replace(compiled, library)
    return ctypes.CDLL(str(library))


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "tanet")


def _sources() -> list[Path]:
    return [SOURCE, *sorted(SOURCE.parent.glob("cpp_*.h"))]


def _digest(flags: tuple[str, ...]) -> str:
    """A digest of all that the library depends on: sources, flags, compiler, and this machine's instruction sets.

    The compiler's predefined macros name the compiler's version and, with -march=native, the instruction sets.
    """
    macros = _run(compiler(), *flags, "-dM", "-E", "-x", "c++", os.devnull)
    digest = hashlib.sha256(macros.encode())
    for source in _sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def pool(z: torch.Tensor, affine: Affine | None = None) -> torch.Tensor:
    """Sums over pixels, [1, 1, N, C, T]: of z; or with `affine` [2, 1, N, C, T]: of m * (z - mean), of m."""
    z, sums = dense(z), _table(z, 2)
    _call("pool", z, 1, z, affine, sums)
    parts = 1 if affine is None else 2
    return sums[..., :parts].permute(3, 0, 1, 2)[:, None]


def mix(z: torch.Tensor, importance: torch.Tensor, kernel: torch.Tensor, affine: Affine | None = None) -> torch.Tensor:
    """y[n,t,c] = sum_k W[n,c,k] V[n,c,t+k-p] x[n,t+k-p,c]; importance V [N, C, T], kernel W [N, C, K]."""
    z = dense(z)
    y = torch.empty_like(z)
    _call("mix", z, kernel.shape[2], z, importance, kernel, affine, y)
    return y


def correlate(grad_y: torch.Tensor, z: torch.Tensor, taps: int, affine: Affine | None = None) -> torch.Tensor:
    """Sums over pixels for each frame s and tap k, [1, 1, N, C, T, K]; 0 where the clip has no frame s-k+p.

    Of z[s] * dy[s-k+p]; or with `affine` [2, 1, N, C, T, K]: of m * (z[s] - mean) * dy[s-k+p], of m * dy[s-k+p].
    """
    z, sums = dense(z), _table(z, 2 * taps)
    _call("correlate", z, taps, like(grad_y, z), z, affine, sums)
    parts = 1 if affine is None else 2
    return sums.unflatten(-1, (2, taps))[..., :parts, :].permute(3, 0, 1, 2, 4)[:, None]


def spread(
    grad_y: torch.Tensor,
    z: torch.Tensor | None,
    importance: torch.Tensor,
    kernel: torch.Tensor,
    constant: torch.Tensor,
    affine: Affine | None = None,
    offsets: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """The gradient of z: dx[s] = V[s] sum_k W_k dy[s-k+p] + constant[s], constant [N, C, T]; z may be None.

    With `affine`, and `offsets` = (a, b), [C] each: dz = scale * (m * dx - a - (z - mean) * b).
    """
    a = b = None
    if affine is None:
        z = grad_y  # gives shape, type and memory format; the kernel does not read it
    else:
        a, b = offsets
    z = dense(z)
    grad_z = torch.empty_like(z)
    _call("spread", z, kernel.shape[2], like(grad_y, z), z, importance, kernel, constant, affine, a, b, grad_z)
    return grad_z


def statistics(z: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Mean, biased variance, 1 / std and scale = weight / std of each channel, [4, C]."""
    z = dense(z)
    mean = torch.empty(z.shape[2], dtype=number(z.dtype))
    variance = torch.empty_like(mean)
    _call("moments", z, 1, z, mean, variance)
    return with_scale(mean, variance, weight, eps)


def _layout(z: torch.Tensor) -> torch.memory_format | None:
    if z.is_contiguous():
        return torch.contiguous_format
    if z.flatten(0, 1).is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return None


def _table(z: torch.Tensor, sums: int) -> torch.Tensor:
    n, t, c = z.shape[:3]
    return torch.empty(n, c, t, sums, dtype=number(z.dtype))


def _call(name: str, z: torch.Tensor, taps: int, *arguments: torch.Tensor | Affine | None) -> None:
    """Calls the C++ function `tanet_<name>` with the shape of z and pointers to the arguments."""
    n, t, c, h, w = z.shape
    shape = _Shape(n, t, c, h * w, _layout(z) == torch.channels_last, torch.get_num_threads())
    held = []  # tensors that must live until the call returns: contiguous copies among them

    def pointer(tensor: torch.Tensor) -> ctypes.c_void_p:
        if tensor.ndim < 5:  # a table, not frames
            if tensor.dtype != number(z.dtype):
                raise TypeError(
                    f"{name}: tables must be {number(z.dtype)} with frames of {z.dtype}, got {tensor.dtype}"
                )
            tensor = tensor.contiguous()
        held.append(tensor)
        return ctypes.c_void_p(tensor.data_ptr())

    pointers = []
    for argument in arguments:
        if argument is None:
            pointers.append(None)
        elif isinstance(argument, tuple):
            mean, scale, shift = argument
            pointers.append(ctypes.byref(_Affine(pointer(mean), pointer(scale), pointer(shift))))
        else:
            pointers.append(pointer(argument))
    library = build(z.dtype, taps)
    function = getattr(library, f"tanet_{name}")
    function(ctypes.byref(shape), *pointers)
