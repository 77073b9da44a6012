"""How TANet's extra cost over TSN grows: with frames, clips and resolution, by path of the aggregation.

    python benchmarks/scaling.py [--arch tanet50] [--threads 1] [--rounds 3]

A training step and a test forward, channels_last, bfloat16 autocast on a GPU and float32 on a CPU. Figures are ratios
to TSN on the same clips.
"""

import argparse

import torch
from common import device, fair_malloc, measured, ratios, record
from network import networks, random_clips, test_forward, training_step

from tanet.model import ARCHITECTURES
from tanet.ops import paths, use

# (frames, clips, size): one of them varies at a time
CPU_CASES = ((8, 1, 112), (16, 1, 112), (32, 1, 112), (8, 2, 112), (8, 4, 112), (8, 1, 168), (8, 1, 224))
GPU_CASES = ((8, 16, 224), (16, 16, 224), (32, 16, 224), (8, 32, 224), (8, 64, 224), (8, 16, 160), (8, 16, 320))


def by_path(contestant, path: str):
    def run():
        with use(path):
            return contestant()

    return run


def measure(arch: str, frames: int, clips: int, size: int, rounds: int) -> list[dict]:
    precision = "float32" if device().type == "cpu" else "bfloat16"
    made = networks(arch, frames, None)
    made = {name: made[name].to(device(), memory_format=torch.channels_last) for name in ("TSN", "TANet")}
    data, rows = random_clips(clips, frames, 3, size, size), []
    for task, contestant in {"training step": training_step, "test forward": test_forward}.items():
        tanet = contestant(made["TANet"], data, precision)
        contestants = {"TSN": contestant(made["TSN"], data, precision)}
        contestants |= {f"TANet, {path}": by_path(tanet, path) for path in paths(device())}
        conditions = {"task": task, "arch": arch, "frames": frames, "clips": clips, "size": size}
        conditions |= {"precision": precision, "layout": "channels_last"}
        rows += ratios(measured(contestants, rounds), "TSN", **conditions)
    return rows


def main():
    on_cpu = device().type == "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="tanet50")
    parser.add_argument("--threads", type=int, default=1 if on_cpu else torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3 if on_cpu else 10)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.backends.cudnn.benchmark = True
    rows = []
    for frames, clips, size in CPU_CASES if on_cpu else GPU_CASES:
        found = measure(chosen.arch, frames, clips, size, chosen.rounds)
        by_name = {f"{row['task']}, {row['contestant']}": row["ratio"] for row in found}
        print(f"{frames} frames, {clips} clips, {size} pixels", by_name, flush=True)
        rows += found
    record("scaling", rows)


if __name__ == "__main__":
    fair_malloc()
    main()
