"""CUDA graphs: kernels that are recorded once and then launched together, which takes Python a few microseconds.

`capture` records what a function launches. `CapturedForward` is a network's forward pass, recorded.

A graph reads and writes memory at fixed addresses. So shapes are fixed, inputs are copied into tensors that stay, and
a result is valid until the next replay. Weights that are changed in place are seen.
"""

import gc
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import torch
from torch import nn

from tanet.runtime.devices import autocast

# Times that a computation has to run before it is captured. Then its kernels are compiled, cuDNN's algorithms chosen
# and the handles of cuBLAS made: none of that is possible during a capture.
WARM_UP = 3


class Captured(NamedTuple):
    """A captured function."""

    replay: Callable[[], None]  # computes it, with the present contents of the tensors that it reads
    result: object  # what the function returned; its tensors get new contents with every replay
    pool: tuple[int, int]  # the memory that it computes in, which a later capture may share
    size: int  # bytes by which that memory has grown


def can_capture(device: torch.device) -> bool:
    """Whether the device has CUDA graphs."""
    return device.type == "cuda"


def capture(function: Callable[[], object], device: torch.device, pool: tuple[int, int] | None = None) -> Captured:
    """Captures what `function()` launches on the GPU `device`. Nothing is computed before the first replay.

    The function must have run before, with tensors of the same shapes, and must not wait for the GPU or draw a seed.
    `pool`: that of an earlier graph, to share its memory. This is safe for graphs that are replayed in the order of
    their captures, as long as what they returned is referenced. Raises what torch or the function raises; then torch is
    as before, and only Python attributes that the function has set are changed.
    """
    gc.collect()  # the autograd graph of an earlier run, in a cycle of references, would tie the capture to its stream
    torch.cuda.empty_cache()  # the graph needs the memory, and its size is measured
    before = torch.cuda.memory_reserved(device)
    graph = torch.cuda.CUDAGraph()
    pool = pool or torch.cuda.graph_pool_handle()
    stream = _capture_stream(device)
    # Not "global": the thread that pins the next batches would make the capture fail.
    recording = torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local")
    try:
        with torch.cuda.device(device), torch.cuda.stream(stream), recording:
            torch.clear_autocast_cache()  # weights that were cast before are not computed by the graph
            result = function()
            torch.clear_autocast_cache()
    except BaseException:
        _recover(graph, device, pool)
        raise
    return Captured(graph.replay, result, pool, torch.cuda.memory_reserved(device) - before)


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


_broken = []  # graphs whose captures could not end; torch's allocator of pinned memory may still ask them


def _recover(graph: torch.cuda.CUDAGraph, device: torch.device, pool: tuple[int, int]) -> None:
    """Does what torch leaves out if a capture fails: nothing else is allocated from `pool`, and dropout works again."""
    with suppress(RuntimeError):  # the capture has ended in order, and `function` has raised
        torch._C._cuda_endAllocateToPool(device.index, pool)
        torch._C._cuda_releasePool(device.index, pool)
        _broken.append(graph)
    stream = _capture_stream(device)
    recording = torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream, capture_error_mode="thread_local")
    # Up to torch 2.11 the random generator believes that it is being captured, until a capture has ended well.
    with suppress(RuntimeError), torch.cuda.device(device), torch.cuda.stream(stream), recording:
        torch.rand(1, device=device)


class CapturedForward:
    """A network's forward pass, on a GPU as a CUDA graph: `captured(clips)` -> logits, bit for bit `model(clips)`.

    It computes without gradients, and in bfloat16 under autocast if `precision` is "bfloat16". The first shape that
    comes more than WARM_UP times is captured. Calls before, other shapes, CPUs, and a model in training mode are
    computed as usual. So are all calls if the capture fails, which a warning says.

    Weights may change in place. If they are moved (`model.to`), it starts anew; for weights that are replaced
    (`load_state_dict(assign=True)`) make a new CapturedForward. The graph keeps the memory of one forward pass.
    """

    def __init__(self, model: nn.Module, precision: str = "float32"):
        self.model, self.precision = model, precision
        self._calls = Counter()  # by shape and type
        self._shape = None  # the captured one; None before
        self._graph: Captured | None = None

    @torch.no_grad()
    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips as the model takes them -> logits of their own, which later calls leave as they are."""
        if not can_capture(clips.device) or self.model.training:
            return self._forward(clips)
        shape = clips.shape, clips.stride(), clips.dtype, clips.device
        if self._shape is not None and self._addresses != self._present_addresses():
            self._calls, self._shape, self._graph = Counter(), None, None
        if self._shape is None:
            self._calls[shape] += 1
            if self._calls[shape] == WARM_UP + 1:
                self._capture(clips, shape)
        if shape != self._shape:
            return self._forward(clips)
        self._clips.copy_(clips)
        self._graph.replay()
        return self._graph.result.clone()

    def _forward(self, clips: torch.Tensor) -> torch.Tensor:
        with autocast(clips.device, self.precision):
            return self.model(clips)

    def _capture(self, clips: torch.Tensor, shape: tuple) -> None:
        self._parameters = list(self.model.parameters())
        self._addresses = self._present_addresses()
        self._clips = torch.empty_like(clips)
        try:
            self._graph = capture(lambda: self._forward(self._clips), clips.device)
        except Exception as error:  # kernels may raise any exception
            warnings.warn(f"the network runs without a CUDA graph: {first_line(error)}", stacklevel=3)
            return
        self._shape = shape

    def _present_addresses(self) -> list[int]:
        return [parameter.data_ptr() for parameter in self._parameters]


def first_line(error: Exception) -> str:
    """The first line of an error's message; its class if there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
