"""A training step by precision and memory format: what "auto" in a recipe chooses between.

    python benchmarks/training_step.py [--arch tanet50] [--clips 2] [--rounds 5]

Figures are ratios to float32 contiguous, forward plus backward, for the network with TAM and without.
"""

import argparse
from contextlib import nullcontext

import torch
from common import clock, device, fair_malloc, interleaved, record

from tanet.model import ARCHITECTURES

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def contestant(model, clips, precision: str, memory_format: str):
    def run():
        model.to(memory_format=FORMATS[memory_format])
        autocast = torch.autocast(clips.device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
        started = clock()
        with autocast:
            loss = model(clips).float().sum()
        loss.backward()
        seconds = clock() - started
        model.zero_grad(set_to_none=True)
        return {"step": seconds}

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="tanet50")
    parser.add_argument("--clips", type=int, default=2 if device().type == "cpu" else 32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    shape = (chosen.clips, 8, 3, chosen.size, chosen.size)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(device())
    contestants = {}
    for temporal in ("tam", "none"):
        model = ARCHITECTURES[chosen.arch](400, temporal=temporal).to(device()).train()
        for precision in ("float32", "bfloat16"):
            for memory_format in FORMATS:
                name = f"{temporal} {precision} {memory_format}"
                contestants[name] = contestant(model, clips, precision, memory_format)
    times = interleaved(contestants, chosen.rounds)
    base = times["tam float32 contiguous"]["step"]
    rows = [{"arch": chosen.arch, "clips": list(shape), "case": name, "ratio": round(row["step"] / base, 3)}
            | ({"seconds": round(row["step"], 5)} if device().type == "cuda" else {})
            for name, row in times.items()]  # fmt: skip
    for row in rows:
        print(row)
    record(f"training_step-{chosen.arch}", rows)


if __name__ == "__main__":
    fair_malloc()
    main()
