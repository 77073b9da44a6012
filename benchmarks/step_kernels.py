"""The kernels of one training step on a GPU, by kind: how many there are, and how long they take.

    python benchmarks/step_kernels.py [--arch tanet50] [--clips 32] [--precision bfloat16]

TSN and TANet make eager steps under torch's profiler, in channels_last. (TANet - TSN) / number of TAMs is what one TAM
adds: its launches and its device time. The longest kernels are listed by name.
"""

import argparse
import re
import sys
from collections import Counter

import torch
from common import device, record
from gpu_clock import STEPS_IN_A_ROW, seconds_of
from network import PRECISIONS, networks, random_clips, training_step
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from tanet import TAM
from tanet.model import ARCHITECTURES

# (kind, pattern in the kernel's name); the first that is found counts. Triton's kernels have the plain names of Python.
KINDS = (
    ("memory copies and fills", r"^Mem(cpy|set)|FillFunctor|copy_kernel|CatArray"),
    ("optimizer", r"multi_tensor|foreach|fused_sgd"),
    ("BatchNorm", r"batch_norm|bn_fw|bn_bw"),
    ("pooling", r"(max|avg)_?pool|AvgPool|MaxPool"),
    (
        "convolutions and matrix products",
        r"xmma|cutlass|cudnn|nvjet|gemm|gemv|convolve|conv_|splitK|nchwToNhwc|nhwcToNchw",
    ),
    ("ReLU, additions", r"launch_clamp|threshold|relu|CUDAFunctor_add|CUDAFunctorOnSelf_add|BinaryFunctor"),
    ("Triton kernels", r"^\w+$"),
)
OTHER = "other"
LISTED = 25  # longest kernels


def kind_of(name: str) -> str:
    """The kind of a kernel."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, name)), OTHER)


def profiled(step, steps: int) -> list[tuple[str, float]]:
    """(name, milliseconds) of every kernel, copy and fill that the GPU ran in `steps` calls of `step`."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
    events = [event for event in profiler.events() if event.device_type == DeviceType.CUDA]
    # Named ranges, such as "Optimizer.step#SGD.step", are listed among the kernels that they enclose.
    return [(event.name, event.time_range.elapsed_us() / 1000) for event in events if not is_range(event)]


def is_range(event) -> bool:
    return getattr(event, "is_user_annotation", False) or event.name.startswith(("Optimizer.", "ProfilerStep"))


def rows_of(kernels: list[tuple[str, float]], steps: int, conditions: dict) -> list[dict]:
    """A row for the whole step, one for each kind, and one for each of the longest kernels; numbers are of one step."""
    rows = []
    by_name = Counter(), Counter()
    by_kind = Counter(), Counter()
    for name, milliseconds in kernels:
        for (counts, times), key in ((by_name, name), (by_kind, kind_of(name)), (by_kind, "all")):
            counts[key] += 1
            times[key] += milliseconds
    for field, (counts, times), most in (("kind", by_kind, None), ("kernel", by_name, LISTED)):
        for key, milliseconds in times.most_common(most):
            row = conditions | {field: key if field == "kind" else key[:100]}
            row |= {"kernels": round(counts[key] / steps, 1), "milliseconds": round(milliseconds / steps, 3)}
            rows.append(row)
    return rows


def difference(rows: list[dict], modules: int, conditions: dict) -> list[dict]:
    """What one temporal module adds: (TANet - TSN) / modules, for each kind."""

    def of(contestant: str) -> dict[str, dict]:
        return {row["kind"]: row for row in rows if row["contestant"] == contestant and "kind" in row}

    tsn, tanet, result = of("TSN"), of("TANet"), []
    for kind, row in tanet.items():
        without = tsn.get(kind, {"kernels": 0, "milliseconds": 0})
        added = {field: round((row[field] - without[field]) / modules, 4) for field in ("kernels", "milliseconds")}
        result.append(conditions | {"contestant": "one TAM: (TANet - TSN) / modules", "kind": kind} | added)
    return result


def main():
    if device().type != "cuda":
        sys.exit("step_kernels.py profiles the kernels of a CUDA GPU, and there is none here")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="tanet50")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16")
    parser.add_argument("--steps", type=int, default=3, help="steps that are profiled")
    chosen = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    models = networks(chosen.arch, chosen.frames, None)
    clips = random_clips(chosen.clips, chosen.frames, 3, chosen.size, chosen.size)
    conditions = {"task": "training step", "arch": chosen.arch, "clips": chosen.clips, "size": chosen.size}
    conditions |= {"precision": chosen.precision, "layout": "channels_last"}
    rows = []
    for name in ("TSN", "TANet"):
        model = models[name].to(device(), memory_format=torch.channels_last)
        step = training_step(model, clips, chosen.precision)
        for _ in range(STEPS_IN_A_ROW):
            step()
        row = conditions | {"contestant": name}
        rows += rows_of(profiled(step, chosen.steps), chosen.steps, row)
        rows.append(row | {"figure": "step", "milliseconds": round(1000 * seconds_of(step, STEPS_IN_A_ROW), 3)})
        modules = sum(isinstance(module, TAM) for module in model.modules())
    rows += difference(rows, modules, conditions)
    for row in rows:
        if row.get("kind") == "all" or "figure" in row:
            print(row, flush=True)
    record("step_kernels", rows)


if __name__ == "__main__":
    main()
