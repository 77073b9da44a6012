"""Precision and memory format of a training: the recipe's, or what trains fastest on the device at hand."""

import time
from statistics import median

import torch
from torch import nn

from tanet.model import TANet
from tanet.recipes import Recipe
from tanet.runtime import FORMATS, Process, autocast


def choose(model: TANet, recipe: Recipe, process: Process) -> dict[str, str]:
    """{"precision", "memory_format", "compile"} of the recipe; for "auto", by interleaved trial steps, the same for all
    processes.

    "auto" tries torch.compile on GPUs alone: on CPUs it takes minutes and brings nothing to a training step. Where it was
    asked for and fails, a line says so, and training goes without. The choice is stored in the checkpoint, so that a resumed
    run keeps it.
    """
    if recipe.deterministic:
        fixed = {"precision": "float32", "memory_format": "contiguous", "compile": "off"}
        return {field: fixed[field] if (value := getattr(recipe, field)) == "auto" else value for field in fixed}
    precisions = ("float32", "bfloat16") if recipe.precision == "auto" else (recipe.precision,)
    formats = tuple(FORMATS) if recipe.memory_format == "auto" else (recipe.memory_format,)
    candidates = [(precision, memory_format) for precision in precisions for memory_format in formats]
    wants_compile = recipe.compile == "on" or recipe.compile == "auto" and process.device.type == "cuda"
    chosen = (*candidates[0], "off")
    if len(candidates) > 1 or wants_compile:
        if process.is_main:
            chosen = _by_trial(model, recipe, process.device, candidates, wants_compile)
        chosen = process.gather(chosen)[0]
    return dict(zip(("precision", "memory_format", "compile"), chosen))


def _by_trial(
    model: TANet, recipe: Recipe, device: torch.device, candidates, wants_compile: bool
) -> tuple[str, str, str]:
    times = _trial_times({candidate: model for candidate in candidates}, model, recipe, device)
    best, compiled = min(times, key=times.get), "off"
    listed = [f"{precision} {layout} {1e3 * seconds:.0f} ms" for (precision, layout), seconds in times.items()]
    if wants_compile:
        try:
            rivals = {best: model, (*best, "compiled"): torch.compile(model)}
            before, after = _trial_times(rivals, model, recipe, device).values()
            listed.append(f"compiled {1e3 * after:.0f} ms against {1e3 * before:.0f} ms")
            compiled = "on" if recipe.compile == "on" or after < before else "off"
        except Exception as error:  # whatever a compiler may raise
            reason = str(error).strip().splitlines() or [type(error).__name__]
            print(f"torch.compile fails here, training goes without it: {reason[0]}", flush=True)
            torch.compiler.reset()
    print(f"training step by precision and memory format: {', '.join(listed)}; taking {' '.join(best)}"
          + (", compiled" if compiled == "on" else ""), flush=True)  # fmt: skip
    return *best, compiled


def _trial_times(networks: dict, model: TANet, recipe: Recipe, device: torch.device, rounds: int = 4) -> dict:
    """Median seconds of a forward and backward pass of each {(precision, format, ...): network}, A B C, A B C, ...; the first
    is warm-up.

    Leaves weights, running statistics and random state of `model`, which all of them compute with, as they were.
    """
    size = recipe.crop_size
    clips = torch.zeros(recipe.clips_per_process, recipe.num_frames, 3, size, size, dtype=torch.uint8, device=device)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    times = {candidate: [] for candidate in networks}
    try:
        with torch.random.fork_rng():
            for _ in range(rounds):
                for candidate, network in networks.items():
                    precision, memory_format = candidate[:2]
                    model.to(memory_format=FORMATS[memory_format])
                    times[candidate].append(_step_seconds(network, clips, precision))
    finally:
        model.zero_grad(set_to_none=True)
        model.load_state_dict(weights)
    return {candidate: median(seconds[1:]) for candidate, seconds in times.items()}


def _step_seconds(network: nn.Module, clips: torch.Tensor, precision: str) -> float:
    _synchronize(clips.device)
    started = time.perf_counter()
    with autocast(clips.device, precision):
        loss = network(clips).float().sum()
    loss.backward()
    _synchronize(clips.device)
    seconds = time.perf_counter() - started
    network.zero_grad(set_to_none=True)
    return seconds


def _synchronize(device: torch.device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
