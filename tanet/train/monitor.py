"""What a training looks at while it runs: its speed, its memory, and whether its numbers still are numbers."""

import resource
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch

from tanet.data import VideoList


class StepTimer:
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


class FiniteCheck:
    """Stops a training whose loss or gradient is no number, a step later, so that a GPU need not be waited for."""

    def __init__(self, videos: VideoList, run_dir: Path):
        self.videos, self.run_dir, self.seen = videos, run_dir, None

    def submit(self, loss: torch.Tensor, grad_norm: torch.Tensor, indices: torch.Tensor, step: str) -> None:
        """Hands over a step: its loss [], gradient norm [], indices of its videos [N], and its name for the error."""
        values = torch.stack([loss, grad_norm.double()]).to("cpu", non_blocking=True)
        arrived = torch.cuda.Event() if loss.is_cuda else None
        if arrived:
            arrived.record()
        self.seen = (values, arrived, indices, step)

    def check(self) -> None:
        """Raises FloatingPointError for the step last handed over."""
        if self.seen is None:
            return
        (values, arrived, indices, step), self.seen = self.seen, None
        if arrived:
            arrived.synchronize()
        if not torch.isfinite(values).all():
            names = ", ".join(self.videos.samples[index].path.name for index in indices.tolist())
            raise FloatingPointError(
                f"the loss is {values[0]:g}, the gradient's norm {values[1]:g} in {step}, with the videos {names}. The checkpoints in "
                f"{self.run_dir} are from before; lower lr, or use precision=float32"
            )


def peak_memory_mib(device: torch.device) -> float:
    """GPU memory the allocator ever held, or this process's largest resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


PLACE = {"epoch", "clips", "progress", "step"}  # of a row: where it is, not what was measured


def require_tensorboard() -> None:
    """ModuleNotFoundError if the package is not installed."""
    if find_spec("tensorboard") is None:
        raise ModuleNotFoundError("tensorboard=True needs a package that is not installed: pip install tensorboard")


class ScalarWriter:
    """Writes rows of metrics.jsonl into run_dir/tensorboard, over the number of clips trained on.

    `rows` that are there already, of a run that goes on, are written anew, and what was written earlier is void: a kill may
    have come between the two files.
    """

    def __init__(self, run_dir: Path, epoch_clips: int, rows: list[dict]):
        from torch.utils.tensorboard import SummaryWriter  # here: it takes a second, and is an option

        self.epoch_clips = epoch_clips
        self.writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=0)
        for row in rows:
            self.add(row)

    def __enter__(self) -> "ScalarWriter":
        return self

    def __exit__(self, *_) -> None:
        self.writer.close()

    def add(self, row: dict) -> None:
        kind, clips = ("step" if "step" in row else "epoch"), round(row["progress"] * self.epoch_clips)
        for name in row.keys() - PLACE:
            self.writer.add_scalar(f"{kind}/{name}", row[name], clips)
        self.writer.flush()
