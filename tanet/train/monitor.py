"""What a training measures about itself: its speed, its memory, and whether its loss and gradient are finite."""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tanet.data import VideoList
from tanet.runtime import copy_to_cpu


class StepTimer:
    """Measures an epoch's clips per second, and the share of the time spent waiting for data.

    The caller adds the clips of every step to `clips`.
    """

    def __init__(self):
        self.started, self.waited, self.clips = time.perf_counter(), 0.0, 0

    def wait(self, load: Callable):
        """Returns `load()` and counts its time as waiting for data."""
        began = time.perf_counter()
        loaded = load()
        self.waited += time.perf_counter() - began
        return loaded

    def speeds(self) -> dict:
        """The fields "clips_per_second" and "data_wait", from 0 to 1, of a row of metrics.jsonl."""
        seconds = time.perf_counter() - self.started
        return {"clips_per_second": self.clips / seconds, "data_wait": self.waited / seconds}


class FiniteCheck:
    """Stops a training whose loss or gradient is NaN or infinite.

    `submit` hands over a step's values, and `check` looks at them one step later. So the CPU need not wait for the GPU.
    """

    def __init__(self, videos: VideoList, run_dir: Path):
        self.videos, self.run_dir, self.submitted = videos, run_dir, None

    def submit(self, loss: torch.Tensor, grad_norm: torch.Tensor, indices: torch.Tensor, step: str) -> None:
        """Hands over a step: loss [] float64, gradient norm [], indices of its videos [N], its name for the error."""
        values = copy_to_cpu(torch.stack([loss, grad_norm.double()]))  # [2], once it is called
        self.submitted = (values, indices, step)

    def check(self) -> None:
        """FloatingPointError if the step last submitted is not finite; it names the step and its videos."""
        if self.submitted is None:
            return
        (values, indices, step), self.submitted = self.submitted, None
        loss, grad_norm = values().tolist()
        if math.isfinite(loss) and math.isfinite(grad_norm):
            return
        names = ", ".join(self.videos.samples[index].path.name for index in indices.tolist())
        raise FloatingPointError(
            f"the loss is {loss:g}, the gradient's norm {grad_norm:g} in {step}, with the videos {names}. "
            f"The checkpoints in {self.run_dir} are from before; lower lr, or use precision=float32"
        )


def peak_memory_mib(device: torch.device) -> float:
    """The most memory so far, in MiB: what tensors took on a GPU, or this process's resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource  # here: Windows does not have it

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB
