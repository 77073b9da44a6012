"""Precision and memory format of a training: the recipe's, or what trains fastest on the device at hand."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from statistics import median

import torch

from tanet.distributed import Process
from tanet.model import TANet
from tanet.recipes import Recipe

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


def choose(model: TANet, recipe: Recipe, process: Process) -> dict[str, str]:
    """{"precision", "memory_format"} of the recipe; for "auto", by interleaved trial steps, the same for all processes.

    The choice is stored in the checkpoint, so that a resumed run keeps it.
    """
    if recipe.deterministic:
        fixed = {"precision": "float32", "memory_format": "contiguous"}
        return {field: fixed[field] if (value := getattr(recipe, field)) == "auto" else value for field in fixed}
    precisions = ("float32", "bfloat16") if recipe.precision == "auto" else (recipe.precision,)
    formats = tuple(FORMATS) if recipe.memory_format == "auto" else (recipe.memory_format,)
    candidates = [(precision, memory_format) for precision in precisions for memory_format in formats]
    chosen = candidates[0]
    if len(candidates) > 1:
        times = _trial_times(model, recipe, process.device, candidates) if process.is_main else {}
        chosen = process.gather(min(times, key=times.get, default=None))[0]
        if process.is_main:
            listed = ", ".join(f"{p} {f} {1e3 * seconds:.0f} ms" for (p, f), seconds in times.items())
            print(f"training step by precision and memory format: {listed}; taking {' '.join(chosen)}", flush=True)
    return dict(zip(("precision", "memory_format"), chosen))


def _trial_times(model: TANet, recipe: Recipe, device: torch.device, candidates, rounds: int = 4) -> dict:
    """Median seconds of a forward and backward pass per (precision, format), A B C D, A B C D, ...; the first is warm-up.

    Leaves weights, running statistics and random state as they were.
    """
    size = recipe.crop_size
    clips = torch.zeros(recipe.clips_per_process, recipe.num_frames, 3, size, size, dtype=torch.uint8, device=device)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    times = {candidate: [] for candidate in candidates}
    with torch.random.fork_rng():
        for _ in range(rounds):
            for precision, memory_format in candidates:
                model.to(memory_format=FORMATS[memory_format])
                times[precision, memory_format].append(_step_seconds(model, clips, precision))
    model.load_state_dict(weights)
    return {candidate: median(seconds[1:]) for candidate, seconds in times.items()}


def _step_seconds(model: TANet, clips: torch.Tensor, precision: str) -> float:
    _synchronize(clips.device)
    started = time.perf_counter()
    with autocast(clips.device, precision):
        loss = model(clips).float().sum()
    loss.backward()
    _synchronize(clips.device)
    seconds = time.perf_counter() - started
    model.zero_grad(set_to_none=True)
    return seconds


def _synchronize(device: torch.device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
