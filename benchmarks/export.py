"""Exported programs on a CPU: onnxruntime, torch.export and TorchScript compared with the network in eager mode.

    python benchmarks/export.py [--clips 1] [--size 224] [--threads 1] [--rounds 5]

The task is a test forward: uint8 clips in, probabilities out, float32. The programs are those of tanet.export, which
checks them against the network. "compiled" is torch.compile. Figures are ratios to the network in eager mode, with
contiguous weights.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from common import clock, fair_malloc, measure_in_turns, ratios, record

from tanet import export
from tanet.exporting import TARGETS
from tanet.model import ARCHITECTURES, TANet


def session(path: Path, threads: int) -> Callable:
    """The ONNX program in onnxruntime, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    made = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda clips: made.run(None, {"clips": clips.numpy()})


def programs(model: TANet, size: int, threads: int) -> dict[str, Callable]:
    """{name: function from clips to probabilities}."""
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for target in TARGETS:
            print(export(model, Path(folder) / f"{target}.pt2", target, size), flush=True)
        program = torch.export.load(Path(folder) / "torch.pt2").module()
        runs["onnxruntime"] = session(Path(folder) / "onnx.pt2", threads)
        runs["torch.export"] = program
        runs["torch.export, compiled"] = torch.compile(program, dynamic=False)
        runs["torchscript"] = torch.jit.load(Path(folder) / "torchscript.pt2")
    return runs


def timed(run: Callable, clips: torch.Tensor) -> Callable:
    """A contestant that scores the clips once."""

    @torch.no_grad()
    def once():
        started = clock()
        run(clips)
        return {"time": clock() - started}

    return once


def main():
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the programs are made for a CPU and measured there
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="tanet50")
    parser.add_argument("--clips", type=int, nargs="+", default=[1], help="batch sizes")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    model = ARCHITECTURES[chosen.arch](400, chosen.frames).eval()
    fastest = ARCHITECTURES[chosen.arch](400, chosen.frames).eval().to(memory_format=torch.channels_last)
    fastest.load_state_dict(model.state_dict())
    runs = {
        "eager": model,
        "eager, channels_last": fastest,
        "compiled, channels_last": torch.compile(fastest, dynamic=False),
        **programs(model, chosen.size, chosen.threads),
    }
    rows = []
    for number in chosen.clips:
        generator = torch.Generator().manual_seed(0)
        shape = (number, chosen.frames, 3, chosen.size, chosen.size)
        clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        times = measure_in_turns({name: timed(run, clips) for name, run in runs.items()}, chosen.rounds)
        conditions = {"task": "test forward", "arch": chosen.arch, "frames": chosen.frames, "clips": number}
        rows += ratios(times, "eager", **conditions, size=chosen.size, precision="float32")
        print({row["contestant"]: row["ratio"] for row in rows if row["clips"] == number}, flush=True)
        record("export", rows)


if __name__ == "__main__":
    fair_malloc()
    warnings.filterwarnings("ignore", category=FutureWarning)  # of torch about itself
    main()
