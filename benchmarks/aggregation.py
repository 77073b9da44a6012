"""The temporal aggregation alone: `tanet.aggregate` against the published formulation and the plain reference.

    python benchmarks/aggregation.py [--rounds 15]

Shapes are those of ResNet-50's four stages at 224 x 224, 8 frames; figures are ratios to the published formulation
(copy to channel-major, grouped convolution with N*C groups, copy back), forward, and forward plus backward.
"""

import argparse

import torch
from common import clock, device, fair_malloc, interleaved, record
from torch.nn import functional as F

from tanet.aggregate import aggregate, aggregate_reference

STAGES = ((64, 56), (128, 28), (256, 14), (512, 7))  # channels, side


def published_formulation(x, importance, kernel):
    """As the published implementations compute it: reweight, then one convolution with a group for each channel."""
    n, t, c, h, w = x.shape
    weighted = x.transpose(1, 2).contiguous() * importance[..., None, None].to(x.dtype)
    weights = kernel.to(x.dtype).reshape(n * c, 1, -1, 1)
    y = F.conv2d(weighted.view(1, n * c, t, h * w), weights, padding=(weights.shape[2] // 2, 0), groups=n * c)
    return y.view(n, c, t, h, w).transpose(1, 2).contiguous()


IMPLEMENTATIONS = {
    "published formulation": published_formulation,
    "reference": aggregate_reference,
    "tanet.aggregate": aggregate,
}


def contestant(function, x, importance, kernel):
    def run():
        inputs = [tensor.detach().requires_grad_() for tensor in (x, importance, kernel)]
        started = clock()
        y = function(*inputs)
        forward = clock()
        y.backward(x)
        return {"forward": forward - started, "forward+backward": clock() - started}

    return run


def measure(channels: int, side: int, dtype, memory_format, rounds: int) -> dict:
    clips = 4 if device().type == "cpu" else 32
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(clips * 8, channels, side, side, generator=generator)
    x = x.to(device(), dtype, memory_format=memory_format).unflatten(0, (clips, 8))
    importance = torch.rand(clips, channels, 8, generator=generator).to(device())
    kernel = torch.rand(clips, channels, 3, generator=generator).softmax(-1).to(device())
    times = interleaved({name: contestant(f, x, importance, kernel) for name, f in IMPLEMENTATIONS.items()}, rounds)
    base = times["published formulation"]
    layout = "channels_last" if memory_format == torch.channels_last else "contiguous"
    return {"shape": [clips, 8, channels, side, side], "dtype": str(dtype).split(".")[1], "layout": layout} | {
        name: {key: round(value / base[key], 3) for key, value in row.items()} for name, row in times.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            for channels, side in STAGES:
                rows.append(measure(channels, side, dtype, memory_format, rounds))
                print(rows[-1], flush=True)
    record("aggregation", rows)


if __name__ == "__main__":
    fair_malloc()
    main()
