"""How the extra cost of TANet over TSN grows with frames, clips and resolution, for each path of the aggregation.

    python benchmarks/scaling.py [--arch tanet50] [--threads 1] [--rounds 3] [--seconds 10]

A training step and a test forward are timed in channels_last, in float32 on a CPU. On a GPU they are timed under
bfloat16 autocast and as CUDA graphs, so that small batches do not measure the host. Figures are ratios to TSN on the
same clips.
"""

import argparse
import copy
import math
from collections.abc import Callable
from functools import partial

import torch
from common import device, fair_malloc, measure_in_turns, ratios, record
from gpu_clock import Captured, timed
from network import networks, random_clips, test_forward, training_step

from tanet.model import ARCHITECTURES, TANet
from tanet.ops import paths, use

# (frames, clips, size): one of the three varies at a time
CPU_CASES = ((8, 1, 112), (16, 1, 112), (32, 1, 112), (8, 2, 112), (8, 4, 112), (8, 1, 168), (8, 1, 224))
GPU_CASES = ((8, 16, 224), (16, 16, 224), (32, 16, 224), (8, 32, 224), (8, 64, 224), (8, 16, 160), (8, 16, 320))


def case(text: str) -> tuple[int, ...]:
    """Frames, clips and size of "8x16x224"."""
    frames, clips, size = map(int, text.split("x"))
    return frames, clips, size


def with_path(path: str, make: Callable[[], Callable]) -> Callable[[], None]:
    """The step that `make` makes, with the aggregation by `path` while it is made and when it runs."""
    with use(path):
        step = make()

    def run():
        with use(path):
            step()

    return run


def measure(models: dict[str, TANet], frames: int, clips: int, size: int, chosen: argparse.Namespace) -> list[dict]:
    on_gpu = device().type == "cuda"
    precision = "bfloat16" if on_gpu else "float32"
    data, rows = random_clips(clips, frames, 3, size, size), []
    for task, make in {"training step": training_step, "test forward": test_forward}.items():
        options = {"capture": partial(Captured, pool=torch.cuda.graph_pool_handle())} if on_gpu else {}
        steps = {"TSN": make(models["TSN"], data, precision, **options)}
        for path in paths(device()):
            model = copy.deepcopy(models["TANet"]) if on_gpu else models["TANet"]  # a graph owns its gradients
            steps[f"TANet, {path}"] = with_path(path, partial(make, model, data, precision, **options))
        contestants = {name: timed(step) for name, step in steps.items()}
        conditions = {"task": task, "arch": chosen.arch, "frames": frames, "clips": clips, "size": size}
        conditions |= {"precision": precision, "layout": "channels_last"}
        rows += ratios(measure_in_turns(contestants, chosen.rounds, chosen.seconds), "TSN", **conditions)
    return rows


def main():
    on_cpu = device().type == "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="tanet50")
    parser.add_argument("--threads", type=int, default=1 if on_cpu else torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3 if on_cpu else 10)
    parser.add_argument("--seconds", type=float, default=math.inf, help="of one task in one case, at most")
    parser.add_argument("--cases", nargs="+", type=case, default=CPU_CASES if on_cpu else GPU_CASES, metavar="TxNxS")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.backends.cudnn.benchmark = True
    rows, models = [], {}
    for frames, clips, size in chosen.cases:
        if frames not in models:
            built = networks(chosen.arch, frames, None)
            models[frames] = {
                name: built[name].to(device(), memory_format=torch.channels_last) for name in ("TSN", "TANet")
            }
        case_rows = measure(models[frames], frames, clips, size, chosen)
        case_ratios = {f"{row['task']}, {row['contestant']}": row["ratio"] for row in case_rows}
        print(f"{frames} frames, {clips} clips, {size} pixels", case_ratios, flush=True)
        rows += case_rows
        record("scaling", rows)


if __name__ == "__main__":
    fair_malloc()
    main()
