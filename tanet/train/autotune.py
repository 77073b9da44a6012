"""Precision, memory format, compilation and CUDA graphs of a training: the recipe's, or the fastest on this device."""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import nn

from tanet.model import TANet
from tanet.recipes import Recipe
from tanet.runtime import FORMATS, WARM_UP, Process, autocast, can_capture, capture, first_line


def choose(model: TANet, recipe: Recipe, process: Process) -> dict[str, str]:
    """{"precision", "memory_format", "compile", "cuda_graphs"} of the recipe; for "auto", the fastest in trial steps.

    The main process measures, and all processes get its choice. It is stored in the checkpoint, so that a resumed run
    keeps it. A deterministic recipe measures nothing.

    "auto" tries torch.compile on GPUs only: on CPUs compiling takes minutes and makes no step faster. CUDA graphs are
    not measured but used where they can be, and then the trial steps are graphs, too. If compiling or a graph fails, a
    line says so and the training continues without it.
    """
    graphs = choose_graphs(recipe, process)
    if recipe.deterministic:
        return {
            "precision": _unless_auto(recipe.precision, "float32"),
            "memory_format": _unless_auto(recipe.memory_format, "contiguous"),
            "compile": _unless_auto(recipe.compile, "off"),
            "cuda_graphs": graphs,
        }
    precisions = ["float32", "bfloat16"] if recipe.precision == "auto" else [recipe.precision]
    formats = list(FORMATS) if recipe.memory_format == "auto" else [recipe.memory_format]
    candidates = [(precision, memory_format) for precision in precisions for memory_format in formats]
    try_compile = recipe.compile == "on" or (recipe.compile == "auto" and process.device.type == "cuda")
    if len(candidates) == 1 and not try_compile:
        chosen = (*candidates[0], "off", graphs)
    else:
        measured = None
        if process.is_main:
            measured = _by_trial(model, recipe, process.device, candidates, try_compile, graphs)
        chosen = process.gather(measured)[0]
    return dict(zip(("precision", "memory_format", "compile", "cuda_graphs"), chosen))


def choose_graphs(recipe: Recipe, process: Process) -> str:
    """ "on" or "off": whether the steps are to be CUDA graphs. If the recipe says "on" in vain, a line says why."""
    if recipe.cuda_graphs == "off":
        return "off"
    if not can_capture(process.device):
        obstacle = "a CPU has none"
    elif recipe.sync_batchnorm and process.world_size > 1:
        obstacle = "a graph cannot hold the exchange of sync_batchnorm"
    else:
        return "on"
    if recipe.cuda_graphs == "on" and process.is_main:
        print(f"training goes without CUDA graphs: {obstacle}", flush=True)
    return "off"


def _unless_auto(setting: str, default: str) -> str:
    return default if setting == "auto" else setting


def _by_trial(
    model: TANet,
    recipe: Recipe,
    device: torch.device,
    candidates: list[tuple[str, str]],
    try_compile: bool,
    graphs: str,
) -> tuple[str, str, str, str]:
    """The fastest (precision, memory format, "on" or "off" for compiling), and "on" or "off" for CUDA graphs."""
    networks = {candidate: model for candidate in candidates}
    try:
        times = _trial_times(networks, model, recipe, device, graphs)
    except Exception as error:  # kernels may raise any exception
        if graphs == "off":
            raise
        print(f"CUDA graphs fail here, training goes without them: {first_line(error)}", flush=True)
        graphs = "off"
        times = _trial_times(networks, model, recipe, device, graphs)
    best = min(times, key=times.get)
    results = [f"{precision} {layout} {1e3 * seconds:.0f} ms" for (precision, layout), seconds in times.items()]
    compiled = False
    if try_compile:
        try:
            rivals = {best: model, (*best, "compiled"): torch.compile(model)}
            plain_seconds, compiled_seconds = _trial_times(rivals, model, recipe, device, graphs).values()
            results.append(f"compiled {1e3 * compiled_seconds:.0f} ms against {1e3 * plain_seconds:.0f} ms")
            compiled = recipe.compile == "on" or compiled_seconds < plain_seconds
        except Exception as error:  # a compiler may raise any exception
            print(f"torch.compile fails here, training goes without it: {first_line(error)}", flush=True)
            torch.compiler.reset()
    choice = " ".join(best) + (", compiled" if compiled else "") + (", as CUDA graphs" if graphs == "on" else "")
    print(f"training step by precision and memory format: {', '.join(results)}; taking {choice}", flush=True)
    return *best, "on" if compiled else "off", graphs


def _trial_times(
    networks: dict, model: TANet, recipe: Recipe, device: torch.device, graphs: str, rounds: int = 4
) -> dict:
    """Median seconds of a forward and backward pass of each {(precision, memory format, ...): network}.

    Without graphs the networks take turns; the first round is warm-up. A graph holds the addresses of weights in one
    memory format, so graphs are measured one after another. All networks compute with `model`, whose weights, running
    statistics and random state are restored.
    """
    size = recipe.crop_size
    clips = torch.zeros(recipe.clips_per_process, recipe.num_frames, 3, size, size, dtype=torch.uint8, device=device)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    times = {candidate: [] for candidate in networks}
    order = [candidate for _ in range(rounds) for candidate in networks]
    if graphs == "on":
        order = list(networks)
    try:
        with torch.random.fork_rng():
            for candidate in order:
                precision, memory_format = candidate[:2]
                model.to(memory_format=FORMATS[memory_format])
                step = partial(_trial_step, networks[candidate], clips, precision)
                if graphs == "on":
                    times[candidate] = _replay_seconds(step, device, rounds)
                else:
                    times[candidate].append(_seconds(step, device))
    finally:
        model.zero_grad(set_to_none=True)
        model.load_state_dict(weights)
    return {candidate: median(seconds[1:]) for candidate, seconds in times.items()}


def _trial_step(network: nn.Module, clips: torch.Tensor, precision: str) -> None:
    network.zero_grad(set_to_none=True)
    with autocast(clips.device, precision):
        loss = network(clips).float().sum()
    loss.backward()


def _replay_seconds(step: Callable[[], None], device: torch.device, rounds: int) -> list[float]:
    """Seconds of each replay of the step as a CUDA graph."""
    for _ in range(WARM_UP):
        step()
    captured = capture(step, device)
    return [_seconds(captured.replay, device) for _ in range(rounds)]


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    _synchronize(device)
    started = time.perf_counter()
    step()
    _synchronize(device)
    return time.perf_counter() - started


def _synchronize(device: torch.device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
