"""The error of TAM's parameter gradients under bfloat16 autocast: `tanet.TAM` and the published formulation.

    python benchmarks/gradients.py [--clips 8] [--size 112] [--seeds 3]

Measured for the module of each stage of ResNet-50, with 8 frames. The input is the output of a ReLU whose level differs
by clip, channel and frame, as in a network. All contestants get the same bfloat16 x and gradient of y. The true
gradients are those of the equation in float64. An error is relative: rms of the difference over rms of the truth.
"""

import argparse
import copy
from collections.abc import Iterable
from itertools import product
from statistics import median

import torch
from baselines import PublishedTAM
from common import device, fair_malloc, record
from module import FRAMES, STAGES, ShiftedSlices
from torch import nn

from tanet import TAM
from tanet.ops import paths, use
from tanet.runtime import autocast


def activations(clips: int, channels: int, side: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x [N*T, C, H, W] after BatchNorm and ReLU, and a gradient of y of the same shape; both bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    clip_level = torch.randn(clips, 1, channels, 1, 1, generator=generator)
    level = clip_level + 0.5 * torch.randn(clips, FRAMES, channels, 1, 1, generator=generator)
    z = level + torch.randn(clips, FRAMES, channels, side, side, generator=generator)
    z = (z - z.mean((0, 1, 3, 4), keepdim=True)) / z.std((0, 1, 3, 4), keepdim=True)
    grad = torch.randn(z.shape, generator=generator)
    x, grad = (values.flatten(0, 1).bfloat16().to(device()) for values in (z.relu(), grad))
    return x, grad


def gradients(module: nn.Module, x: torch.Tensor, grad: torch.Tensor, precision: str) -> dict[str, torch.Tensor]:
    """{parameter: its gradient, converted to float64}, with `module` in training mode."""
    module.train().zero_grad()
    with autocast(x.device, precision):
        y = module(x)
    y.backward(grad)  # outside autocast, as in a training; inside, the backward pass of the branches would be rounded
    return {name.removeprefix("tam."): p.grad.double() for name, p in module.named_parameters()}


def errors(grads: dict[str, torch.Tensor], true_grads: dict[str, torch.Tensor]) -> dict[str, float]:
    """The relative rms error of each parameter's gradient, and of all together under "all"."""
    result = {name: _relative_error(grads[name], true_grads[name]) for name in true_grads}
    result["all"] = _relative_error(_concatenated(grads, true_grads), _concatenated(true_grads, true_grads))
    return result


def _relative_error(grad: torch.Tensor, true_grad: torch.Tensor) -> float:
    return ((grad - true_grad).norm() / true_grad.norm()).item()


def _concatenated(grads: dict[str, torch.Tensor], names: Iterable[str]) -> torch.Tensor:
    return torch.cat([grads[name].flatten() for name in names])


def measure(stage: str, clips: int, size: int, seeds: int) -> list[dict]:
    channels, stride, _ = STAGES[stage]
    by_contestant = {}  # {contestant: [{parameter: error} of each seed]}
    for seed in range(seeds):
        torch.manual_seed(seed)
        tam = TAM(channels, FRAMES).to(device())
        x, grad = activations(clips, channels, size // stride, seed)
        truth = gradients(ShiftedSlices(copy.deepcopy(tam).double()), x.double(), grad.double(), "float64")
        contestants = {"published": (PublishedTAM(tam), "plain")}
        contestants |= {f"tanet, {path}": (tam, path) for path in paths(device())}
        for name, (module, path) in contestants.items():
            with use(path):
                grads = gradients(module, x, grad, "bfloat16")
                by_contestant.setdefault(name, []).append(errors(grads, truth))
    rows = []
    for (name, by_seed), parameter in product(by_contestant.items(), [*truth, "all"]):
        values = [by_parameter[parameter] for by_parameter in by_seed]
        row = {"task": "gradients", "stage": stage, "clips": clips, "precision": "bfloat16", "contestant": name}
        row["parameter"] = parameter
        row["error"] = _three_digits(median(values))
        row["range"] = [_three_digits(min(values)), _three_digits(max(values))]
        rows.append(row)
    return rows


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--size", type=int, default=112 if device().type == "cpu" else 224, help="the network's input")
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    rows = []
    for stage in STAGES:
        rows += measure(stage, chosen.clips, chosen.size, chosen.seeds)
        for row in rows:
            if row["stage"] == stage and row["parameter"] == "all":
                print(row, flush=True)
    record("gradients", rows)


if __name__ == "__main__":
    fair_malloc()
    main()
