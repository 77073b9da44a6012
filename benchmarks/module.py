"""TAM alone, branches included: `tanet.TAM` by path against the published formulation.

    python benchmarks/module.py [--clips 8 32] [--threads 1] [--rounds 7] [--size 224]

Time of ResNet-50's 16 modules, 8 frames: each stage's module is timed and counted once for each of its blocks. Float32
and bfloat16 autocast, contiguous and channels_last, forward and forward plus backward. Figures are ratios to the
published formulation. Then the aggregation alone, as a share of the bandwidth of a copy in the same run.
"""

import argparse
from itertools import product
from statistics import median

import torch
from baselines import PublishedTAM
from common import clock, device, fair_malloc, measured, ratios, record, spread
from torch import nn

from tanet import TAM
from tanet.ops import aggregate, aggregate_reference, paths, use
from tanet.runtime import FORMATS, autocast

FRAMES = 8
# ResNet-50's stages: channels, pixels of the network's input for one of theirs, blocks
STAGES = {"layer1": (64, 4, 3), "layer2": (128, 8, 4), "layer3": (256, 16, 6), "layer4": (512, 32, 3)}
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BANDWIDTH_SHAPES = ((64, 4), (128, 8), (256, 8))  # channels, stride
REPEATS = 1 if device().type == "cpu" else 20  # calls between two looks at the clock: on a GPU they overlap


class ShiftedSlices(nn.Module):
    """The aggregation as shifted slices of x, weighted and added, with autograd's backward; the rest is `tam`'s own."""

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
    """x [N*T, C, H, W] as behind a ReLU, and the gradient of y."""
    generator = torch.Generator().manual_seed(0)
    x, grad = torch.randn(shape, generator=generator).relu(), torch.randn(shape, generator=generator)
    x, grad = (a.to(device(), TYPES[precision], memory_format=FORMATS[layout]) for a in (x, grad))
    return x.requires_grad_(), grad


def contestant(modules: dict[str, nn.Module], data: dict, precision: str, path: str):
    """Runs each stage's module once; seconds of 16 modules, and of one in each stage."""

    def run():
        seconds = {"forward": 0.0, "forward+backward": 0.0}
        for stage, module in modules.items():
            x, grad = data[stage]
            wanted = [x, *module.parameters()]
            with use(path):
                started = clock()
                with autocast(x.device, precision):
                    for _ in range(REPEATS):
                        y = module(x)
                forward = clock() - started
                started = clock()
                for _ in range(REPEATS):
                    torch.autograd.grad(y, wanted, grad, retain_graph=REPEATS > 1)
                both = forward + clock() - started
            blocks = STAGES[stage][2]
            seconds["forward"] += blocks * forward / REPEATS
            seconds["forward+backward"] += blocks * both / REPEATS
            seconds |= {f"forward, {stage}": forward / REPEATS, f"forward+backward, {stage}": both / REPEATS}
        return seconds

    return run


def modules_by_stage() -> dict[str, dict[str, nn.Module]]:
    """{contestant: {stage: module}}; the same branches in all."""
    torch.manual_seed(0)
    own = {stage: TAM(channels, FRAMES).to(device()) for stage, (channels, _, _) in STAGES.items()}
    return {
        "published": {stage: PublishedTAM(tam) for stage, tam in own.items()},
        "shifted slices": {stage: ShiftedSlices(tam) for stage, tam in own.items()},
        "tanet": own,
    }


def measure(clips: int, size: int, precision: str, layout: str, rounds: int) -> list[dict]:
    data = {
        stage: inputs((clips * FRAMES, channels, size // stride, size // stride), precision, layout)
        for stage, (channels, stride, _) in STAGES.items()
    }
    modules = modules_by_stage()
    own = modules.pop("tanet")
    contestants = {name: contestant(by_stage, data, precision, "plain") for name, by_stage in modules.items()}
    contestants |= {f"tanet, {path}": contestant(own, data, precision, path) for path in paths(device())}
    conditions = {"task": "module", "clips": clips, "size": size, "precision": precision, "layout": layout}
    return ratios(measured(contestants, rounds), "published", **conditions)


def measure_bandwidth(clips: int, size: int, precision: str, layout: str, rounds: int) -> list[dict]:
    """Bytes that forward, backward and pool must move, by their time, over the same of a copy of x.

    Forward reads x and writes y; the backward's sums read x and dy, and dx is written from dy read again; pool reads x.
    """
    moved = {"copy": 2, "forward": 2, "backward": 4, "pool": 1}  # times the bytes of x
    rows = []
    for (channels, stride), path in product(BANDWIDTH_SHAPES, paths(device())):
        shape = (clips * FRAMES, channels, size // stride, size // stride)
        x, grad = inputs(shape, precision, layout)
        times = measured({path: bandwidth_contestant(x, grad, clips, path)}, rounds)[path]
        speeds = {figure: [moved[figure] / seconds for seconds in times[figure]] for figure in moved}  # in x a second
        for figure, values in speeds.items():
            row = {"task": "bandwidth", "clips": clips, "shape": "x".join(map(str, shape[1:])), "precision": precision}
            row |= {"layout": layout, "figure": figure, "contestant": f"tanet, {path}", "base": "copy"}
            rows.append(row | spread("share", [speed / copy for speed, copy in zip(values, speeds["copy"])]))
            if device().type == "cuda":
                rows[-1]["GB/s"] = round(median(values) * x.nbytes / 1e9)
    return rows


def bandwidth_contestant(x: torch.Tensor, grad: torch.Tensor, clips: int, path: str):
    """Seconds of a copy of x, of the aggregation's forward and backward, and of the spatial mean."""
    generator = torch.Generator().manual_seed(1)
    channels, copy = x.shape[1], torch.empty_like(x)
    importance = torch.rand(clips, channels, FRAMES, generator=generator).to(x.device).requires_grad_()
    kernel = torch.rand(clips, channels, 3, generator=generator).softmax(-1).to(x.device).requires_grad_()
    tam = TAM(channels, FRAMES).to(x.device)
    frames, grad = x.detach().unflatten(0, (clips, FRAMES)).requires_grad_(), grad.unflatten(0, (clips, FRAMES))
    wanted = [frames, importance, kernel]

    def run():
        with use(path):
            y = aggregate(frames, importance, kernel)
            actions = {
                "copy": lambda: copy.copy_(x),
                "forward": lambda: aggregate(frames, importance, kernel),
                "backward": lambda: torch.autograd.grad(y, wanted, grad, retain_graph=True),
                "pool": lambda: tam.theta(x),
            }
            return {name: timed(action) for name, action in actions.items()}

    return run


@torch.no_grad()
def timed(action) -> float:
    started = clock()
    for _ in range(REPEATS):
        action()
    return (clock() - started) / REPEATS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    batches = [8, 32] if device().type == "cpu" else [32]
    parser.add_argument(
        "--clips", type=int, nargs="+", default=batches, help="batches; the last for the bandwidth, too"
    )
    parser.add_argument("--size", type=int, default=224, help="side of the network's input in pixels")
    parser.add_argument("--threads", type=int, default=1 if device().type == "cpu" else torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    rows = []
    measurements = [(measure, clips) for clips in chosen.clips] + [(measure_bandwidth, chosen.clips[-1])]
    for (measurement, clips), precision, layout in product(measurements, TYPES, FORMATS):
        rows += measurement(clips, chosen.size, precision, layout, chosen.rounds)
        print(rows[-1], flush=True)
    record("module", rows)


if __name__ == "__main__":
    fair_malloc()
    main()
