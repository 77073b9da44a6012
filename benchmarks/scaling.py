"""How the extra cost of TANet over TSN grows with frames, clips and resolution, for each path of the aggregation.

    python benchmarks/scaling.py [--arch tanet50] [--threads 1] [--rounds 3]

A training step and a test forward are timed in channels_last, under bfloat16 autocast on a GPU and in float32 on a CPU.
Figures are ratios to TSN on the same clips.
"""

import argparse

import torch
from common import Contestant, device, fair_malloc, measure_in_turns, ratios, record
from network import networks, random_clips, test_forward, training_step

from tanet.model import ARCHITECTURES
from tanet.ops import paths, use

# (frames, clips, size): one of the three varies at a time
CPU_CASES = ((8, 1, 112), (16, 1, 112), (32, 1, 112), (8, 2, 112), (8, 4, 112), (8, 1, 168), (8, 1, 224))
GPU_CASES = ((8, 16, 224), (16, 16, 224), (32, 16, 224), (8, 32, 224), (8, 64, 224), (8, 16, 160), (8, 16, 320))


def with_path(path: str, contestant: Contestant) -> Contestant:
    """`contestant`, with the aggregation by `path`."""

    def run():
        with use(path):
            return contestant()

    return run


def measure(arch: str, frames: int, clips: int, size: int, rounds: int) -> list[dict]:
    precision = "float32" if device().type == "cpu" else "bfloat16"
    models = networks(arch, frames, None)
    tsn = models["TSN"].to(device(), memory_format=torch.channels_last)
    tanet = models["TANet"].to(device(), memory_format=torch.channels_last)
    data, rows = random_clips(clips, frames, 3, size, size), []
    for task, make in {"training step": training_step, "test forward": test_forward}.items():
        contestants = {"TSN": make(tsn, data, precision)}
        contestant = make(tanet, data, precision)
        contestants |= {f"TANet, {path}": with_path(path, contestant) for path in paths(device())}
        conditions = {"task": task, "arch": arch, "frames": frames, "clips": clips, "size": size}
        conditions |= {"precision": precision, "layout": "channels_last"}
        rows += ratios(measure_in_turns(contestants, rounds), "TSN", **conditions)
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
        case_rows = measure(chosen.arch, frames, clips, size, chosen.rounds)
        case_ratios = {f"{row['task']}, {row['contestant']}": row["ratio"] for row in case_rows}
        print(f"{frames} frames, {clips} clips, {size} pixels", case_ratios, flush=True)
        rows += case_rows
    record("scaling", rows)


if __name__ == "__main__":
    fair_malloc()
    main()
