"""The whole network: TANet compared with TSN, TSM, and the same ResNet with the published TAM.

    python benchmarks/network.py [--clips 2] [--threads 1] [--rounds 5] [--mmaction2 FOLDER]

Times: a training step (forward, backward, SGD), a test forward, and the published "inference time" (one video, one view
of 8 x 256 x 256, the model alone). They are measured in float32 and, where the device has instructions for it, under
bfloat16 autocast, with one record for each. Memory: the bytes that the backward pass keeps of a clip, and on a GPU the
peak of a training step. Figures are ratios to TSN, or to another contestant where a row says so.

`--mmaction2` names a folder made by `pip install --no-deps --target FOLDER mmaction2`. MMAction2's own TAM then takes
part.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import torch
from baselines import PublishedTAM, as_mmaction2, replace_tam
from common import Contestant, clock, device, fair_malloc, measure_in_turns, ratios, record
from torch.nn import functional as F

from tanet.model import ARCHITECTURES, TANet, kept_for_backward
from tanet.runtime import FORMATS, autocast

PRECISIONS = ("float32", "bfloat16")
NETWORKS = ("TSN", "TANet", "TSM", "published TAM", "MMAction2's TAM")
TASKS = ("training step", "test forward", "inference")
COMPILE_MODES = ["default"] if device().type == "cpu" else ["default", "reduce-overhead"]
TEST_SIZE = 256  # pixels, side of a test crop


def precisions() -> tuple[str, ...]:
    """The precisions to time: float32 alone on a CPU for which torch has no bfloat16 convolutions.

    There a step in bfloat16 takes 17 times as long, which tells nothing about other CPUs.
    """
    if device().type == "cuda":
        return PRECISIONS
    has_bfloat16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return PRECISIONS if has_bfloat16 else ("float32",)


def networks(arch: str, frames: int, mmaction2: Path | None) -> dict[str, TANet]:
    """The contestants, on the CPU, with the same weights in the layers that they share."""
    torch.manual_seed(0)
    tanet = ARCHITECTURES[arch](400, frames, "tam")
    tsn = ARCHITECTURES[arch](400, frames, "none")
    tsm = ARCHITECTURES[arch](400, frames, "tsm")
    resnet_weights = {key: value for key, value in tanet.state_dict().items() if ".temporal." not in key}
    tsn.load_state_dict(resnet_weights)
    tsm.load_state_dict(resnet_weights)
    published = replace_tam(copy.deepcopy(tanet), PublishedTAM)
    models = {"TSN": tsn, "TANet": tanet, "TSM": tsm, "published TAM": published}
    if mmaction2:
        models["MMAction2's TAM"] = replace_tam(copy.deepcopy(tanet), partial(as_mmaction2, folder=mmaction2))
    return models


@torch.no_grad()
def check_equal(models: dict[str, TANet], frames: int) -> None:
    """Asserts that the published modules give the features of TANet, in float64, where rounding hides no difference."""
    clip = torch.randn(1, frames, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = {}
    for name in models.keys() - {"TSN", "TSM"}:
        features[name] = copy.deepcopy(models[name]).double().eval().forward_features(clip)
    expected = features["TANet"]
    for name, values in features.items():
        error = ((values - expected).norm() / expected.norm()).item()
        assert error < 1e-9, f"{name} does not compute what TANet does: its features differ by {error:.2g}"


def random_clips(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device())


def training_step(model: TANet, clips: torch.Tensor, precision: str, run: Callable | None = None) -> Contestant:
    """A contestant that makes one step of SGD. `run`: the compiled model, by default the model itself."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    labels = torch.arange(len(clips), device=clips.device)
    run = model if run is None else run

    def step():
        model.train()
        started = clock()
        with autocast(clips.device, precision):
            loss = F.cross_entropy(run(clips).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {"time": clock() - started}

    return step


def test_forward(model: TANet, clips: torch.Tensor, precision: str, run: Callable | None = None) -> Contestant:
    """A contestant that scores the clips. `run`: the compiled model, by default the model itself."""
    run = model if run is None else run

    @torch.no_grad()
    def forward():
        model.eval()
        started = clock()
        with autocast(clips.device, precision):
            run(clips)
        return {"time": clock() - started}

    return forward


def with_compiled(
    make: Callable, models: dict[str, TANet], clips: torch.Tensor, precision: str, modes: list[str]
) -> dict[str, Contestant]:
    """{name: contestant} of all networks, and of TSN and TANet compiled, in each of the modes that work here.

    `make` is `training_step` or `test_forward`.
    """
    torch._dynamo.reset()  # it compiles at most eight variants of one function
    contestants = {name: make(model, clips, precision) for name, model in models.items()}
    for name, mode in product(("TSN", "TANet"), modes):
        run = make(models[name], clips, precision, torch.compile(models[name], mode=mode, dynamic=False))
        label = f"{name}, compiled" + ("" if mode == "default" else f" {mode}")
        try:
            for _ in range(3):  # compile; record CUDA graphs; replay them
                run()
        except RuntimeError as error:
            print(f"{label}: not measured ({str(error).splitlines()[0]})", flush=True)
        else:
            contestants[label] = run
    return contestants


def measure_times(models: dict[str, TANet], chosen: argparse.Namespace, precision: str, layout: str) -> list[dict]:
    rows = []
    for task in chosen.tasks:
        batches = [1] if task == "inference" else chosen.clips
        size = TEST_SIZE if task == "inference" else chosen.size
        for clips in batches:
            conditions = {"task": task, "arch": chosen.arch, "clips": clips, "size": size}
            conditions |= {"precision": precision, "layout": layout}
            rows += measure_task(models, chosen, conditions)
    return rows


def measure_task(models: dict[str, TANet], chosen: argparse.Namespace, conditions: dict) -> list[dict]:
    """Rows of one task with one batch: ratios of TANet to the published TAM and to TSN compiled, then of all to TSN."""
    clips, size, task = conditions["clips"], conditions["size"], conditions["task"]
    data = random_clips(clips, chosen.frames, 3, size, size)
    make = training_step if task == "training step" else test_forward
    modes = compile_modes(chosen, task, conditions["layout"])
    contestants = with_compiled(make, models, data, conditions["precision"], modes)
    times = measure_in_turns(contestants, chosen.rounds)
    rows = []
    for base in ("published TAM", "TSN, compiled"):
        if base in times:
            rows += [row for row in ratios(times, base, **conditions) if row["contestant"].startswith("TANet")]
    to_tsn = ratios(times, "TSN", **conditions)
    print(conditions, {row["contestant"]: row["ratio"] for row in to_tsn}, flush=True)
    return rows + to_tsn


def compile_modes(chosen: argparse.Namespace, task: str, layout: str) -> list[str]:
    """The chosen modes of torch.compile that take part in a task.

    None in a CPU's training step, which compilation does not speed up. Modes that save kernel launches only help with a
    single video.
    """
    if layout != "channels_last":
        return []
    if task == "training step" and device().type == "cpu":
        return []
    return chosen.compile if task == "inference" else chosen.compile[:1]


def measure_memory(models: dict[str, TANet], chosen: argparse.Namespace, precision: str, layout: str) -> list[dict]:
    """The bytes that the forward pass of one clip keeps for the backward; on a GPU also the peak of a training step."""
    rows, kept = [], {}
    conditions = {"arch": chosen.arch, "size": chosen.size, "precision": precision, "layout": layout}
    clip = random_clips(1, chosen.frames, 3, chosen.size, chosen.size)
    for name, model in models.items():
        with autocast(device(), precision):
            kept[name] = kept_for_backward(model.train(), clip)
        row = {"task": "saved activations", "clips": 1} | conditions | {"contestant": name, "base": "TSN"}
        rows.append(row | {"ratio": round(kept[name] / kept["TSN"], 4), "MiB": round(kept[name] / 2**20, 1)})
    if device().type != "cuda":
        return rows
    for clips, name in product(chosen.clips, models):
        peak = peak_memory(models[name], random_clips(clips, chosen.frames, 3, chosen.size, chosen.size), precision)
        rows.append({"task": "peak memory", "clips": clips} | conditions | {"contestant": name, "MiB": round(peak)})
    return rows


def peak_memory(model: TANet, clips: torch.Tensor, precision: str) -> int:
    """The most bytes that torch holds during a training step: weights, gradients, momentum, clips and activations.

    The memory of other networks on the GPU is subtracted.
    """
    model.cpu()
    torch.cuda.empty_cache()
    others = torch.cuda.memory_allocated() - clips.nbytes
    step = training_step(model.to(clips.device), clips, precision)
    for _ in range(2):  # creates the momentum and lets cuDNN choose its algorithms
        step()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - others


def main():
    on_cpu = device().type == "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="tanet50")
    parser.add_argument("--clips", type=int, nargs="+", default=[2] if on_cpu else [8, 32, 64], help="batch sizes")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=precisions(), help="of the times")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--without", nargs="+", choices=NETWORKS[2:], default=[], help="contestants to leave out")
    parser.add_argument("--layouts", nargs="+", choices=tuple(FORMATS), default=["channels_last"])
    parser.add_argument(
        "--compile", nargs="*", metavar="MODE", default=COMPILE_MODES, help="modes of torch.compile; may be empty"
    )
    parser.add_argument("--threads", type=int, default=1 if on_cpu else torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mmaction2", type=Path, help="folder with the package mmaction2")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.backends.cudnn.benchmark = True  # as in a training with deterministic=False
    models = networks(chosen.arch, chosen.frames, chosen.mmaction2)
    check_equal(models, chosen.frames)
    memory, times = [], {precision: [] for precision in chosen.precisions}
    for layout in chosen.layouts:
        models = {name: model.to(device(), memory_format=FORMATS[layout]) for name, model in models.items()}
        for precision in PRECISIONS:
            memory += measure_memory(models, chosen, precision, layout)
        timed = {name: model for name, model in models.items() if name not in chosen.without}
        for precision in chosen.precisions:
            times[precision] += measure_times(timed, chosen, precision, layout)
    record("network-memory", memory)
    for precision, rows in times.items():
        record(f"network-{precision}", rows)


if __name__ == "__main__":
    fair_malloc()
    main()
