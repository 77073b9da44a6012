"""Tensors between CPU and GPU while the GPU computes on, and neither waits for the other. On a CPU nothing is moved."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch


def to_device(device: torch.device, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The tensors on `device`, for the work that is given to it next.

    To a GPU they travel on a stream of their own: out of pinned memory at once, beside the work given to it before. A
    training is almost a step ahead of its GPU, so a batch arrives while the step before still computes.
    """
    if device.type != "cuda":
        return tuple(tensor.to(device) for tensor in tensors)
    arrivals, work = _arrivals(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(arrivals):
        copies = tuple(tensor.to(device, non_blocking=True) for tensor in tensors)
    work.wait_stream(arrivals)
    for copy in copies:
        copy.record_stream(work)  # else the next arrivals could be given its memory while this work still reads it
    return copies


@cache
def _arrivals(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def copy_to_cpu(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Begins to copy a tensor to the CPU, behind the work that computes it; call the result to wait for the copy."""
    if not tensor.is_cuda:
        return lambda: tensor
    copy = tensor.to("cpu", non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(tensor.device))

    def get() -> torch.Tensor:
        arrived.synchronize()
        return copy

    return get


def delayed_by_one(begun: Iterable, device: torch.device) -> Iterator:
    """What `begun` yields, having given the device work for it; on a GPU each only when the next has been begun, so that
    the GPU has work while this one's result is waited for."""
    waiting = deque()
    for item in begun:
        waiting.append(item)
        if device.type != "cuda" or len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """bfloat16 autocast if that is the precision, nothing otherwise."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """The same results each time, or else the fastest algorithms."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with this alone
        torch.use_deterministic_algorithms(True)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=not wanted, deterministic=wanted, allow_tf32=torch.backends.cudnn.allow_tf32
        ):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Scores that do not depend on what else runs: one thread to a CPU process, since sums are cut up by threads; on
    GPUs, full float32 and convolutions that are chosen alike each time."""
    if device.type == "cpu":
        torch.set_num_threads(1)  # process_group sets it back
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
