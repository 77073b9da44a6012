"""Which path the temporal aggregation takes: "plain", "cpp" or "triton".

The fastest path that works is taken, see `use`.
"""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

import torch

from tanet.ops import cpp_kernels, plain_kernels

PATHS = ("auto", "plain", "cpp", "triton")


_path = "auto"


@contextmanager
def use(path: str) -> Iterator[None]:
    """Within the block, in all threads, aggregation goes by this path: "auto", "plain", "cpp" or "triton"."""
    global _path
    if path not in PATHS:
        raise ValueError(f"path must be one of {', '.join(PATHS)}; got {path!r}")
    before, _path = _path, path
    try:
        yield
    finally:
        _path = before


def paths(device: torch.device | str) -> tuple[str, ...]:
    """The paths that work on this device, the one that "auto" takes last; raises nothing."""
    return "plain", *(name for name in ("cpp", "triton") if _module(name, torch.device(device).type) is not None)


def kernels_for(x: torch.Tensor, taps: int) -> ModuleType:
    """The module that computes with frames like x: plain_kernels, cpp_kernels or triton_kernels.

    A path that was asked for and cannot be had is a RuntimeError; "auto" says so in one line and goes by the plain one.
    """
    fast = {"cpu": "cpp", "cuda": "triton"}.get(x.device.type)
    if _path == "plain" or fast is None and _path == "auto":
        return plain_kernels
    module = _module(fast, x.device.type) if _path in ("auto", fast) else None
    if module is not None and x.dtype in module.SCALARS:
        failure = _failure(module, x.dtype, taps)
        if failure is None:
            return module
        if _path == "auto":
            warnings.warn(
                f"temporal aggregation goes by plain torch operations, which is slower: {failure}", stacklevel=2
            )
    elif _path != "auto":
        failure = f"{x.dtype} on {x.device.type} cannot go by it here"
    if _path != "auto":
        raise RuntimeError(f"the path {_path!r} was asked for: {failure}")
    return plain_kernels


@cache
def _module(name: str, device_type: str) -> ModuleType | None:
    if name == "cpp":
        return cpp_kernels if device_type == "cpu" and cpp_kernels.compiler() else None
    if device_type != "cuda":
        return None
    try:
        return importlib.import_module("tanet.ops.triton_kernels")
    except ImportError:  # triton comes with torch's wheels for Linux alone
        return None


@cache
def _failure(module: ModuleType, dtype: torch.dtype, taps: int) -> str | None:
    """Why these kernels cannot be built, found out once."""
    try:
        module.build(dtype, taps)
    except (RuntimeError, OSError) as error:
        return str(error)
    return None
