"""TAM alone, with its branches: the paths of `tanet.TAM` compared with the published formulation.

    python benchmarks/module.py [--clips 8 32] [--threads 1] [--rounds 7] [--size 224]

The figure is the time of ResNet-50's 16 modules with 8 frames: the module of each stage is timed and multiplied by the
number of its blocks. It is measured in float32 and under bfloat16 autocast, contiguous and channels_last, forward and
forward plus backward, and given as a ratio to the published formulation. Then the bandwidth of the aggregation alone is
measured, as a share of the bandwidth of a copy in the same round.

On a GPU, "forward" and "forward+backward" are times by the GPU's clock of a captured CUDA graph, over inputs that
exceed its L2 cache in turn. "forward, eager" and the like are by the host's clock, 20 calls in a row: they include the
launches from Python.
"""

import argparse
import math
import time
from collections.abc import Callable
from itertools import product
from statistics import median
from types import ModuleType

import torch
from baselines import PublishedTAM
from common import Contestant, clock, device, fair_malloc, measure_in_turns, median_and_range, ratios, record
from gpu_clock import beyond_cache, seconds_by_graph
from torch import nn

from tanet import TAM
from tanet.ops import aggregate, aggregate_reference, kernels_for, paths, use
from tanet.runtime import FORMATS, autocast

FRAMES = 8
# ResNet-50's stages: channels, stride (pixels of the network's input per pixel of the feature map), blocks
STAGES = {"layer1": (64, 4, 3), "layer2": (128, 8, 4), "layer3": (256, 16, 6), "layer4": (512, 32, 3)}
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BANDWIDTH_SHAPES = ((64, 4), (128, 8), (256, 8))  # channels, stride; on a GPU those of STAGES
REPEATS = 1 if device().type == "cpu" else 20  # calls between two readings of the clock; on a GPU calls overlap


class ShiftedSlices(nn.Module):
    """`tam` with the aggregation as weighted sums of shifted slices of x, and autograd's backward pass."""

    def __init__(self, tam: TAM):
        super().__init__()
        self.tam = tam

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        theta = self.tam.theta(x)  # [N, C, T]
        with torch.autocast(x.device.type, enabled=False):
            importance = self.tam.local_branch(theta)
            kernel = self.tam.global_branch(theta.flatten(0, 1)).unflatten(0, theta.shape[:2])
        clips = x.unflatten(0, (-1, self.tam.num_frames))
        return aggregate_reference(clips, importance, kernel).flatten(0, 1)


def inputs(shape: tuple[int, ...], precision: str, layout: str) -> tuple[torch.Tensor, torch.Tensor]:
    """x [N*T, C, H, W], as after a ReLU, and a gradient of y of the same shape."""
    generator = torch.Generator().manual_seed(0)
    x, grad = torch.randn(shape, generator=generator).relu(), torch.randn(shape, generator=generator)
    x = x.to(device(), TYPES[precision], memory_format=FORMATS[layout])
    grad = grad.to(device(), TYPES[precision], memory_format=FORMATS[layout])
    return x.requires_grad_(), grad


def contestant(modules: dict[str, nn.Module], data: dict, precision: str, path: str) -> Contestant:
    """A contestant that runs each stage's module; returns the seconds of 16 modules and of one module of each stage.

    On a GPU these are the eager times, and those of CUDA graphs come first.
    """
    on_gpu = device().type == "cuda"
    stages = {stage: stage_contestant(module, data[stage], precision, path) for stage, module in modules.items()}
    pool = torch.cuda.graph_pool_handle() if on_gpu else None
    graphs = {}
    for stage, module in modules.items() if on_gpu else ():
        with use(path):
            graphs[stage] = stage_graphs(module, *data[stage], precision, pool)

    def run():
        by_clock = {stage: stage_contestant() for stage, stage_contestant in stages.items()}
        if not on_gpu:
            return with_sums(by_clock)
        by_graph = {stage: {figure: seconds() for figure, seconds in graphs[stage].items()} for stage in graphs}
        eager = {f"{figure}, eager": seconds for figure, seconds in with_sums(by_clock).items()}
        return with_sums(by_graph) | eager

    return run


def with_sums(by_stage: dict[str, dict[str, float]]) -> dict[str, float]:
    """{figure: seconds of ResNet-50's 16 modules} and {"figure, stage": seconds of one module}."""
    result = {}
    for figure in ("forward", "forward+backward"):
        result[figure] = sum(STAGES[stage][2] * seconds[figure] for stage, seconds in by_stage.items())
        result |= {f"{figure}, {stage}": seconds[figure] for stage, seconds in by_stage.items()}
    return result


def stage_contestant(module: nn.Module, data: tuple, precision: str, path: str) -> Contestant:
    """A contestant that runs one module, by the host's clock."""
    x, grad = data
    leaves = [x, *module.parameters()]

    def run():
        with use(path):
            started = clock()
            with autocast(x.device, precision):
                for _ in range(REPEATS):
                    y = module(x)
            forward = clock() - started
            started = clock()
            for _ in range(REPEATS):
                torch.autograd.grad(y, leaves, grad, retain_graph=REPEATS > 1)
            return {"forward": forward / REPEATS, "forward+backward": (forward + clock() - started) / REPEATS}

    return run


def stage_graphs(
    module: nn.Module, x: torch.Tensor, grad: torch.Tensor, precision: str, pool: tuple[int, int]
) -> dict[str, Callable[[], float]]:
    """{figure: a function that measures the seconds of one call of the module, as part of a CUDA graph}."""
    xs, grads, parameters = [x.requires_grad_() for x in beyond_cache(x)], beyond_cache(grad), [*module.parameters()]

    def forward():
        with autocast(x.device, precision):
            return [module(x) for x in xs]

    def forward_backward():
        for x, y, grad in zip(xs, forward(), grads):
            torch.autograd.grad(y, [x, *parameters], grad)

    actions = {"forward": forward, "forward+backward": forward_backward}
    return {figure: seconds_by_graph(action, len(xs), pool) for figure, action in actions.items()}


def modules_by_stage() -> dict[str, dict[str, nn.Module]]:
    """{contestant: {stage: module}}; all contestants share the branches."""
    torch.manual_seed(0)
    tams = {stage: TAM(channels, FRAMES).to(device()) for stage, (channels, _, _) in STAGES.items()}
    return {
        "published": {stage: PublishedTAM(tam) for stage, tam in tams.items()},
        "shifted slices": {stage: ShiftedSlices(tam) for stage, tam in tams.items()},
        "tanet": tams,
    }


def measure(clips: int, size: int, precision: str, layout: str, rounds: int) -> list[dict]:
    data = {
        stage: inputs((clips * FRAMES, channels, size // stride, size // stride), precision, layout)
        for stage, (channels, stride, _) in STAGES.items()
    }
    modules = modules_by_stage()
    tams = modules.pop("tanet")
    contestants = {name: contestant(by_stage, data, precision, "plain") for name, by_stage in modules.items()}
    contestants |= {f"tanet, {path}": contestant(tams, data, precision, path) for path in paths(device())}
    conditions = {"task": "module", "clips": clips, "size": size, "precision": precision, "layout": layout}
    return ratios(measure_in_turns(contestants, rounds), "published", **conditions)


def measure_bandwidth(clips: int, size: int, precision: str, layout: str, rounds: int) -> list[dict]:
    """The bandwidth of forward, backward and pool, as a share of the bandwidth of a copy of x.

    Bandwidth counts the bytes that must be moved. Forward reads x and writes y. Backward reads x and dy for its sums,
    then reads dy again and writes dx. Pool reads x.
    """
    moved = {"copy": 2, "forward": 2, "backward": 4, "pool": 1}  # in units of the bytes of x
    on_gpu = device().type == "cuda"
    make_contestant = graph_bandwidth_contestant if on_gpu else bandwidth_contestant
    shapes = [stage[:2] for stage in STAGES.values()] if on_gpu else BANDWIDTH_SHAPES
    rows = []
    for (channels, stride), path in product(shapes, paths(device())[-1:] if on_gpu else paths(device())):
        shape = (clips * FRAMES, channels, size // stride, size // stride)
        x, grad = inputs(shape, precision, layout)
        times = measure_in_turns({path: make_contestant(x, grad, clips, path)}, rounds)[path]
        speeds = {figure: [moved[figure] / seconds for seconds in times[figure]] for figure in moved}  # x per second
        for figure, values in speeds.items():
            row = {"task": "bandwidth", "clips": clips, "shape": "x".join(map(str, shape[1:])), "precision": precision}
            row |= {"layout": layout, "figure": figure, "contestant": f"tanet, {path}", "base": "copy"}
            row |= median_and_range("share", [speed / copy for speed, copy in zip(values, speeds["copy"])])
            if on_gpu:
                row["GB/s"] = round(median(values) * x.nbytes / 1e9)
            rows.append(row)
    return rows


def bandwidth_contestant(x: torch.Tensor, grad: torch.Tensor, clips: int, path: str) -> Contestant:
    """A contestant that times a copy of x, the aggregation forward and backward, and the spatial mean ("pool")."""
    copy, kernels = torch.empty_like(x), kernels_on(path, x)
    importance, kernel = maps(clips, x.shape[1])
    frames, grad = x.detach().unflatten(0, (clips, FRAMES)).requires_grad_(), grad.unflatten(0, (clips, FRAMES))
    leaves = [frames, importance, kernel]

    def run():
        with use(path):
            y = aggregate(frames, importance, kernel)
            actions = {
                "copy": lambda: copy.copy_(x),
                "forward": lambda: aggregate(frames, importance, kernel),
                "backward": lambda: torch.autograd.grad(y, leaves, grad, retain_graph=True),
                "pool": lambda: kernels.pool(frames.detach()),
            }
            return {name: timed(action) for name, action in actions.items()}

    return run


def graph_bandwidth_contestant(x: torch.Tensor, grad: torch.Tensor, clips: int, path: str) -> Contestant:
    """The same by the GPU's clock, as CUDA graphs. Backward is forward and backward less forward."""
    xs, grads, targets = (beyond_cache(tensor) for tensor in (x, grad, x))
    importance, kernel = maps(clips, x.shape[1])
    kernels, pool = kernels_on(path, x), torch.cuda.graph_pool_handle()
    frames = [x.unflatten(0, (clips, FRAMES)).requires_grad_() for x in xs]
    grads = [grad.unflatten(0, (clips, FRAMES)) for grad in grads]

    def forward():
        return [aggregate(clip_frames, importance, kernel) for clip_frames in frames]

    def forward_backward():
        for clip_frames, y, grad in zip(frames, forward(), grads):
            torch.autograd.grad(y, [clip_frames, importance, kernel], grad)

    actions = {
        "copy": lambda: [target.copy_(x) for target, x in zip(targets, xs)],
        "forward": forward,
        "forward+backward": forward_backward,
        "pool": lambda: [kernels.pool(x.unflatten(0, (-1, FRAMES))) for x in xs],
    }
    with use(path):
        graphs = {name: seconds_by_graph(action, len(xs), pool) for name, action in actions.items()}

    def run():
        seconds = {name: measure_seconds() for name, measure_seconds in graphs.items()}
        return seconds | {"backward": seconds.pop("forward+backward") - seconds["forward"]}

    return run


def kernels_on(path: str, x: torch.Tensor) -> ModuleType:
    with use(path):
        return kernels_for(x, 3)


def maps(clips: int, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """V [N, C, T] and W [N, C, 3], which need gradients."""
    generator = torch.Generator().manual_seed(1)
    importance = torch.rand(clips, channels, FRAMES, generator=generator).to(device()).requires_grad_()
    return importance, torch.rand(clips, channels, 3, generator=generator).softmax(-1).to(device()).requires_grad_()


@torch.no_grad()
def timed(action: Callable) -> float:
    """Mean seconds of one call of `action`."""
    started = clock()
    for _ in range(REPEATS):
        action()
    return (clock() - started) / REPEATS


TASKS = {"module": measure, "bandwidth": measure_bandwidth}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    batches = [8, 32] if device().type == "cpu" else [32]
    parser.add_argument("--clips", type=int, nargs="+", default=batches, help="batch sizes; bandwidth takes the last")
    parser.add_argument("--size", type=int, default=224, help="side of the network's input in pixels")
    parser.add_argument("--threads", type=int, default=1 if device().type == "cpu" else torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which no other measurement begins")
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS), help="measured in this order")
    parser.add_argument("--precisions", nargs="+", choices=tuple(TYPES), default=tuple(TYPES))
    parser.add_argument("--layouts", nargs="+", choices=tuple(FORMATS), default=tuple(FORMATS))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    rows, started = [], time.perf_counter()
    measurements = [
        (TASKS[task], clips)
        for task in chosen.tasks
        for clips in (chosen.clips if task == "module" else chosen.clips[-1:])
    ]
    for (measurement, clips), precision, layout in product(measurements, chosen.precisions, chosen.layouts):
        if time.perf_counter() - started > chosen.seconds:
            print(f"no time left for {measurement.__name__}, {clips} clips, {precision} {layout}", flush=True)
            continue
        rows += measurement(clips, chosen.size, precision, layout, chosen.rounds)
        print(rows[-1], flush=True)
        record("module", rows)


if __name__ == "__main__":
    fair_malloc()
    main()
