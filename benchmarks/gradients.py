"""How exact the gradients of TAM's parameters are under bfloat16 autocast: `tanet.TAM` and the published formulation.

    python benchmarks/gradients.py [--clips 8] [--size 112] [--seeds 3]

The module of each of ResNet-50's stages, 8 frames, on activations behind a ReLU whose level differs by clip, channel
and frame, as in a network. x and the gradient of y are bfloat16 and the same for all; the truth is the equation in
float64. An error is relative: rms of the difference over rms of the truth.
"""

import argparse
import copy
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
    """x [N*T, C, H, W] behind BatchNorm and ReLU, and a gradient of y; both bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    level = torch.randn(clips, 1, channels, 1, 1, generator=generator)  # of a clip
    level = level + 0.5 * torch.randn(clips, FRAMES, channels, 1, 1, generator=generator)
    z = level + torch.randn(clips, FRAMES, channels, side, side, generator=generator)
    z = (z - z.mean((0, 1, 3, 4), keepdim=True)) / z.std((0, 1, 3, 4), keepdim=True)
    grad = torch.randn(z.shape, generator=generator)
    return tuple(a.flatten(0, 1).bfloat16().to(device()) for a in (z.relu(), grad))


def gradients(module: nn.Module, x: torch.Tensor, grad: torch.Tensor, precision: str) -> dict[str, torch.Tensor]:
    """{parameter: its gradient in float64}, in training mode."""
    module.train().zero_grad()
    with autocast(x.device, precision):
        y = module(x)
    y.backward(grad)  # outside autocast, as a training does; inside it the branches' backward would be rounded
    return {name.removeprefix("tam."): p.grad.double() for name, p in module.named_parameters()}


def errors(found: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> dict[str, float]:
    """Relative rms error of each parameter's gradient and of all together."""
    found, truth = ({**each, "all": torch.cat([g.flatten() for g in each.values()])} for each in (found, truth))
    return {name: ((found[name] - truth[name]).norm() / truth[name].norm()).item() for name in truth}


def measure(stage: str, clips: int, size: int, seeds: int) -> list[dict]:
    channels, stride, _ = STAGES[stage]
    each = {}  # {contestant: [{parameter: error}, one for each seed]}
    for seed in range(seeds):
        torch.manual_seed(seed)
        tam = TAM(channels, FRAMES).to(device())
        x, grad = activations(clips, channels, size // stride, seed)
        truth = gradients(ShiftedSlices(copy.deepcopy(tam).double()), x.double(), grad.double(), "float64")
        contestants = {"published": (PublishedTAM(tam), "plain")}
        contestants |= {f"tanet, {path}": (tam, path) for path in paths(device())}
        for name, (module, path) in contestants.items():
            with use(path):
                each.setdefault(name, []).append(errors(gradients(module, x, grad, "bfloat16"), truth))
    rows = []
    for (name, found), parameter in product(each.items(), [*truth, "all"]):
        values = [row[parameter] for row in found]
        row = {"task": "gradients", "stage": stage, "clips": clips, "precision": "bfloat16", "contestant": name}
        row |= {"parameter": parameter, "error": float(f"{median(values):.3g}")}
        rows.append(row | {"range": [float(f"{value:.3g}") for value in (min(values), max(values))]})
    return rows


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
