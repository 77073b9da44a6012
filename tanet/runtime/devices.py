"""Copies between CPU and GPU that run beside the GPU's work, and how a device computes: precision, determinism.

On a CPU nothing is copied.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch


def to_device(device: torch.device, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Returns the tensors on `device`; work that is queued there next may use them.

    A GPU receives them on a stream of its own, so the copy of a batch in pinned memory runs beside the step before. The
    CPU of a training is almost one step ahead of its GPU.
    """
    if device.type != "cuda":
        return tuple(tensor.to(device) for tensor in tensors)
    copy_stream, compute_stream = _copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(copy_stream):
        copies = tuple(tensor.to(device, non_blocking=True) for tensor in tensors)
    compute_stream.wait_stream(copy_stream)
    for copy in copies:
        copy.record_stream(compute_stream)  # the next copies must not reuse this memory while the step reads it
    return copies


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def copy_to_cpu(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Queues a copy to the CPU, behind the work that computes `tensor`; returns a function that waits for the copy."""
    if not tensor.is_cuda:
        return lambda: tensor
    copy = tensor.to("cpu", non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))

    def wait() -> torch.Tensor:
        copied.synchronize()
        return copy

    return wait


def delayed_by_one(begun: Iterable, device: torch.device) -> Iterator:
    """Yields the items of `begun`, on a GPU one item late.

    To make an item, `begun` queues work on the device. With the next item queued already, the GPU stays busy while the
    caller waits for the result of this one.
    """
    waiting = deque()
    for item in begun:
        waiting.append(item)
        if device.type != "cuda" or len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Autocast to bfloat16 if `precision` is "bfloat16"; otherwise a context that does nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


@contextmanager
def deterministic(enabled: bool) -> Iterator[None]:
    """Runs the block with deterministic algorithms, or with the fastest ones if not `enabled`."""
    was_enabled = torch.are_deterministic_algorithms_enabled()
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not deterministic without it
        torch.use_deterministic_algorithms(True)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=not enabled, deterministic=enabled, allow_tf32=torch.backends.cudnn.allow_tf32
        ):
            yield
    finally:
        torch.use_deterministic_algorithms(was_enabled)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Runs the block so that scores do not depend on the machine's other work.

    A CPU process gets one thread, because the number of threads decides how sums are split. A GPU computes in full
    float32, with algorithms that cuDNN chooses the same way every time.
    """
    if device.type == "cpu":
        torch.set_num_threads(1)  # process_group restores the number
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
