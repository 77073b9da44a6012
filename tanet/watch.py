"""What a training looks at while it runs: its speed, its memory, and whether its numbers still are numbers."""

import resource
import sys
import time
from collections.abc import Callable

import torch

from tanet.lists import VideoList
from tanet.state import Training


class Clock:
    """Speed of an epoch's steps, and how much of the time went into waiting for data."""

    def __init__(self):
        self.started, self.waited, self.clips = time.perf_counter(), 0.0, 0

    def wait(self, get: Callable):
        asked = time.perf_counter()
        found = get()
        self.waited += time.perf_counter() - asked
        return found

    def speeds(self) -> dict:
        seconds = time.perf_counter() - self.started
        return {"clips_per_second": self.clips / seconds, "data_wait": self.waited / seconds}


class Watch:
    """Stops a training whose loss or gradient is no number, a step later, so that a GPU need not be waited for."""

    def __init__(self, training: Training, videos: VideoList):
        self.training, self.videos, self.seen = training, videos, None

    def next(self, loss: torch.Tensor, grad_norm: torch.Tensor, indices: torch.Tensor) -> None:
        values = torch.stack([loss, grad_norm.double()]).to("cpu", non_blocking=True)
        arrived = torch.cuda.Event() if loss.is_cuda else None
        if arrived:
            arrived.record()
        self.seen = (
            values,
            arrived,
            indices,
            f"epoch {self.training.epoch + 1}, after {self.training.clips} of its clips",
        )

    def look(self) -> None:
        """Raises FloatingPointError for the step last handed over."""
        if self.seen is None:
            return
        (values, arrived, indices, place), self.seen = self.seen, None
        if arrived:
            arrived.synchronize()
        if not torch.isfinite(values).all():
            names = ", ".join(self.videos.samples[index].path.name for index in indices.tolist())
            raise FloatingPointError(
                f"the loss is {values[0]:g}, the gradient's norm {values[1]:g} in {place}, with the videos {names}. The checkpoints in "
                f"{self.training.run_dir} are from before; lower lr, or use precision=float32"
            )


def peak_memory_mib(device: torch.device) -> float:
    """GPU memory the allocator ever held, or this process's largest resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
