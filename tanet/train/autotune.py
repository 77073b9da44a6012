"""Precision, memory format and compilation of a training: the recipe's, or the fastest on this device."""

import time
from statistics import median

import torch
from torch import nn

from tanet.model import TANet
from tanet.recipes import Recipe
from tanet.runtime import FORMATS, Process, autocast


def choose(model: TANet, recipe: Recipe, process: Process) -> dict[str, str]:
    """{"precision", "memory_format", "compile"} of the recipe; for "auto", the fastest in interleaved trial steps.

    The main process measures, and all processes get its choice. It is stored in the checkpoint, so that a resumed run
    keeps it. A deterministic recipe measures nothing.

    "auto" tries torch.compile on GPUs only: on CPUs compiling takes minutes and makes no step faster. If it fails, a
    line says so and the training continues without it.
    """
    if recipe.deterministic:
        return {
            "precision": _unless_auto(recipe.precision, "float32"),
            "memory_format": _unless_auto(recipe.memory_format, "contiguous"),
            "compile": _unless_auto(recipe.compile, "off"),
        }
    precisions = ["float32", "bfloat16"] if recipe.precision == "auto" else [recipe.precision]
    formats = list(FORMATS) if recipe.memory_format == "auto" else [recipe.memory_format]
    candidates = [(precision, memory_format) for precision in precisions for memory_format in formats]
    try_compile = recipe.compile == "on" or (recipe.compile == "auto" and process.device.type == "cuda")
    if len(candidates) == 1 and not try_compile:
        chosen = (*candidates[0], "off")
    else:
        measured = _by_trial(model, recipe, process.device, candidates, try_compile) if process.is_main else None
        chosen = process.gather(measured)[0]
    return dict(zip(("precision", "memory_format", "compile"), chosen))


def _unless_auto(setting: str, default: str) -> str:
    return default if setting == "auto" else setting


def _by_trial(
    model: TANet, recipe: Recipe, device: torch.device, candidates: list[tuple[str, str]], try_compile: bool
) -> tuple[str, str, str]:
    """The fastest (precision, memory format, "on" or "off" for compiling)."""
    times = _trial_times({candidate: model for candidate in candidates}, model, recipe, device)
    best = min(times, key=times.get)
    results = [f"{precision} {layout} {1e3 * seconds:.0f} ms" for (precision, layout), seconds in times.items()]
    compiled = False
    if try_compile:
        try:
            rivals = {best: model, (*best, "compiled"): torch.compile(model)}
            plain_seconds, compiled_seconds = _trial_times(rivals, model, recipe, device).values()
            results.append(f"compiled {1e3 * compiled_seconds:.0f} ms against {1e3 * plain_seconds:.0f} ms")
            compiled = recipe.compile == "on" or compiled_seconds < plain_seconds
        except Exception as error:  # a compiler may raise any exception
            reason = str(error).strip().splitlines() or [type(error).__name__]
            print(f"torch.compile fails here, training goes without it: {reason[0]}", flush=True)
            torch.compiler.reset()
    choice = " ".join(best) + (", compiled" if compiled else "")
    print(f"training step by precision and memory format: {', '.join(results)}; taking {choice}", flush=True)
    return *best, "on" if compiled else "off"


def _trial_times(networks: dict, model: TANet, recipe: Recipe, device: torch.device, rounds: int = 4) -> dict:
    """Median seconds of a forward and backward pass of each {(precision, memory format, ...): network}.

    The networks take turns; the first round is warm-up. All of them compute with `model`, whose weights, running
    statistics and random state are restored.
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
