"""Time by the GPU's own clock: CUDA events around work that is queued in a row or captured as a CUDA graph.

The host is left out of the measurement where a graph is replayed: it launches all kernels at once. Where kernels are
launched one by one, the events also span the moments in which the GPU waits for the host.
"""

from collections.abc import Callable

import torch
from common import Contestant, clock

STEPS_IN_A_ROW = 5


def timed(step: Callable[[], object]) -> Contestant:
    """A contestant that runs `step` and returns its seconds as "time".

    On a GPU they are those of a step among five in a row, by the GPU's clock, as in a training, where the host launches
    kernels while the GPU computes. "time, waited for" is that of a single step, with the host's first launches.
    """

    def on_cpu():
        started = clock()
        step()
        return {"time": clock() - started}

    def on_gpu():
        return {"time": seconds_of(step, STEPS_IN_A_ROW), "time, waited for": seconds_of(step)}

    return on_gpu if torch.cuda.is_available() else on_cpu


def seconds_of(action: Callable[[], object], calls: int = 1) -> float:
    """Seconds of one call of `action`, the mean of `calls` calls in a row. The GPU has nothing to do before."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        action()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / calls


class Captured:
    """`action` as one CUDA graph; a call replays it. Its inputs and results keep their memory.

    `action` runs three times before, on the stream of the capture: kernels are compiled and algorithms chosen there.
    Graphs with the same `pool` share their memory. They must not depend on what another one has computed.
    """

    def __init__(self, action: Callable[[], object], pool: tuple[int, int] | None = None):
        self.action = action  # it holds the tensors that the graph reads
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                action()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool, stream=stream):
            action()

    def __call__(self) -> None:
        self.graph.replay()


def seconds_by_graph(action: Callable[[], object], calls: int, pool: tuple[int, int]) -> Callable[[], float]:
    """A function that measures `action`, captured: the seconds of one of the `calls` calls that it makes."""
    replay = Captured(action, pool)
    return lambda: seconds_of(replay, STEPS_IN_A_ROW) / calls


def beyond_cache(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Copies of a tensor, at least two, that together are four times as large as the GPU's L2 cache."""
    cache = torch.cuda.get_device_properties(tensor.device).L2_cache_size
    return [tensor.detach().clone() for _ in range(max(2, -(-4 * cache // tensor.nbytes)))]
