"""Which path the temporal aggregation takes: "plain", "cpp" or "triton".

By default ("auto") the fastest path that works is taken; `use` chooses another.
"""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

import torch

from tanet.ops import cpp_kernels, plain_kernels
from tanet.ops.constants import constant_when_compiled

PATHS = ("auto", "plain", "cpp", "triton")
FAST_PATHS = {"cpu": "cpp", "cuda": "triton"}  # by type of device

_path = "auto"


@contextmanager
def use(path: str) -> Iterator[None]:
    """`with use("plain"):` makes the aggregation take this path within the block, in all threads.

    path: "auto", "plain", "cpp" or "triton"; ValueError for any other.
    """
    global _path
    if path not in PATHS:
        raise ValueError(f"path must be one of {', '.join(PATHS)}; got {path!r}")
    before, _path = _path, path
    try:
        yield
    finally:
        _path = before


def paths(device: torch.device | str) -> tuple[str, ...]:
    """The paths that work on this device, slowest first; "auto" takes the last one. Raises nothing."""
    fast = FAST_PATHS.get(torch.device(device).type)
    if fast is None or _module(fast) is None:
        return ("plain",)
    return ("plain", fast)


def kernels_for(x: torch.Tensor, taps: int) -> ModuleType:
    """The module that computes with frames like x: plain_kernels, cpp_kernels or triton_kernels.

    "auto" takes plain_kernels where the fast kernels cannot be had, and warns in one line if they cannot be built.
    RuntimeError if `use` has named a path that cannot be had.
    """
    return _kernels(x.device.type, x.dtype, taps)


@constant_when_compiled
def folds_batchnorm(device_type: str, dtype: torch.dtype, taps: int) -> bool:
    """Whether the kernels for such frames are faster if they take in the BatchNorm in front.

    The meta device computes nothing: there it is true, to show what the fast kernels keep for the backward pass.
    """
    return device_type == "meta" or _kernels(device_type, dtype, taps).FOLDS_BATCHNORM


def _kernels(device_type: str, dtype: torch.dtype, taps: int) -> ModuleType:
    if _path == "plain":
        return plain_kernels
    fast = FAST_PATHS.get(device_type)
    module = None
    if fast is not None and _path in ("auto", fast):
        module = _module(fast)
    if module is None or dtype not in module.SCALARS:
        if _path == "auto":
            return plain_kernels
        raise RuntimeError(f"the path {_path!r} was asked for: it cannot compute {dtype} on {device_type} here")
    failure = _failure(module, dtype, taps)
    if failure is None:
        return module
    if _path != "auto":
        raise RuntimeError(f"the path {_path!r} was asked for: {failure}")
    warnings.warn(f"the temporal aggregation uses plain torch operations, which are slower: {failure}", stacklevel=2)
    return plain_kernels


@cache
def _module(path: str) -> ModuleType | None:
    """The kernels of the path "cpp" or "triton"; None if this machine cannot have them."""
    if path == "cpp":
        return cpp_kernels if cpp_kernels.compiler() else None
    try:
        return importlib.import_module("tanet.ops.triton_kernels")
    except ImportError:  # only torch's wheels for Linux bring triton
        return None


@cache
def _failure(module: ModuleType, dtype: torch.dtype, taps: int) -> str | None:
    """Why these kernels cannot be built; None if they can. Tried once."""
    try:
        module.build(dtype, taps)
    except (RuntimeError, OSError) as error:
        return str(error)
    return None
