"""The whole network: TANet compared with TSN, TSM, and the same ResNet with the published TAM.

    python benchmarks/network.py [--clips 2] [--threads 1] [--rounds 5] [--mmaction2 FOLDER]

Times: a training step (forward, backward, SGD), a test forward, and the published "inference time" (one video, one view
of 8 x 256 x 256, the model alone). They are measured in float32 and, where the device has instructions for it, under
bfloat16 autocast, with one record for each. Memory: the bytes that the backward pass keeps of a clip, and on a GPU the
peak of a training step. Figures are ratios to TSN, or to another contestant where a row says so.

On a GPU, TSN and TANet also take part as CUDA graphs: forward, loss and backward are captured, the optimizer's step
follows one kernel after another. Times are those of the GPU's clock, of a step among five in a row.

`--mmaction2` names a folder made by `pip install --no-deps --target FOLDER mmaction2`. MMAction2's own TAM then takes
part.
"""

import argparse
import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import torch
from baselines import PublishedTAM, as_mmaction2, replace_tam
from common import Contestant, device, fair_malloc, measure_in_turns, ratios, record
from gpu_clock import Captured, timed
from torch.nn import functional as F

from tanet.model import ARCHITECTURES, TANet, kept_for_backward
from tanet.runtime import FORMATS, autocast

PRECISIONS = ("float32", "bfloat16")
NETWORKS = ("TSN", "TANet", "TSM", "published TAM", "MMAction2's TAM")
TASKS = ("training step", "test forward", "inference", "memory")
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


def training_step(
    model: TANet,
    clips: torch.Tensor,
    precision: str,
    run: Callable | None = None,
    capture: Callable[[Callable], Callable] = lambda action: action,
) -> Callable[[], None]:
    """A function that makes one step of SGD; it puts the model into training mode.

    `run`: the compiled model, by default the model itself. `capture` makes a CUDA graph of forward, loss and backward;
    then the gradients of the model belong to that graph, and no other step may use the model.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    labels = torch.arange(len(clips), device=clips.device)
    run = model if run is None else run
    model.train()

    def forward_backward():
        optimizer.zero_grad(set_to_none=True)
        with autocast(clips.device, precision):
            loss = F.cross_entropy(run(clips).float(), labels)
        loss.backward()

    compute = capture(forward_backward)

    def step():
        compute()
        optimizer.step()

    return step


def test_forward(
    model: TANet,
    clips: torch.Tensor,
    precision: str,
    run: Callable | None = None,
    capture: Callable[[Callable], Callable] = lambda action: action,
) -> Callable[[], None]:
    """A function that scores the clips; it puts the model into evaluation mode. `run`, `capture`: as above."""
    run = model if run is None else run
    model.eval()

    @torch.no_grad()
    def forward():
        with autocast(clips.device, precision):
            run(clips)

    return capture(forward)


def all_contestants(
    make: Callable, models: dict[str, TANet], clips: torch.Tensor, precision: str, modes: list[str], graphs: bool
) -> dict[str, Contestant]:
    """{name: contestant} of all networks, and of TSN and TANet compiled and as CUDA graphs, where that works here.

    `make` is `training_step` or `test_forward`, `modes` are those of torch.compile. A graph and a compiled network
    that is captured have models of their own: their gradients are not those of the others.
    """
    torch._dynamo.reset()  # it compiles at most eight variants of one function
    contestants = {name: timed(make(model, clips, precision)) for name, model in models.items()}
    capture = partial(Captured, pool=torch.cuda.graph_pool_handle()) if graphs else None

    def graph(model: TANet) -> Callable:
        return make(model, clips, precision, capture=capture)

    def compiled(model: TANet, mode: str) -> Callable:
        return make(model, clips, precision, torch.compile(model, mode=mode, dynamic=False))

    def compiled_graph(model: TANet) -> Callable:
        return make(model, clips, precision, torch.compile(model, dynamic=False), capture)

    variants = {}
    for name in ("TSN", "TANet"):
        if graphs:
            variants[f"{name}, graph"] = partial(graph, copy.deepcopy(models[name]))
        for mode in modes:
            label = f"{name}, compiled" + ("" if mode == "default" else f" {mode}")
            variants[label] = partial(compiled, models[name], mode)
            if graphs and mode == "default":
                variants[f"{label} + graph"] = partial(compiled_graph, copy.deepcopy(models[name]))
    for name, make_variant in variants.items():
        try:
            step = make_variant()
            for _ in range(3):  # compile; record CUDA graphs; replay them
                step()
        except RuntimeError as error:
            print(f"{name}: not measured ({str(error).splitlines()[0]})", flush=True)
        else:
            contestants[name] = timed(step)
    return contestants


def measure_times(
    models: dict[str, TANet], chosen: argparse.Namespace, precision: str, layout: str
) -> Iterator[list[dict]]:
    """Rows of one task with one batch after another."""
    for task in chosen.tasks:
        batches = [1] if task == "inference" else chosen.clips
        size = TEST_SIZE if task == "inference" else chosen.size
        for clips in batches if task != "memory" else []:
            conditions = {"task": task, "arch": chosen.arch, "clips": clips, "size": size}
            conditions |= {"precision": precision, "layout": layout}
            yield measure_task(models, chosen, conditions)


def measure_task(models: dict[str, TANet], chosen: argparse.Namespace, conditions: dict) -> list[dict]:
    """Rows of one task and batch: all as ratios to TSN, TANet also to the published TAM and to TSN of the same kind."""
    clips, size, task = conditions["clips"], conditions["size"], conditions["task"]
    data = random_clips(clips, chosen.frames, 3, size, size)
    make = training_step if task == "training step" else test_forward
    modes = compile_modes(chosen, task, conditions["layout"])
    graphs = chosen.graphs and conditions["layout"] == "channels_last"
    contestants = all_contestants(make, models, data, conditions["precision"], modes, graphs)
    times = measure_in_turns(contestants, chosen.rounds, chosen.seconds)
    rows = []
    for base in times:
        if base == "published TAM":
            rows += [row for row in ratios(times, base, **conditions) if row["contestant"].startswith("TANet")]
        elif base.startswith("TSN, "):  # TANet of the same kind
            same_kind = base.replace("TSN", "TANet")
            rows += [row for row in ratios(times, base, **conditions) if row["contestant"] == same_kind]
    to_tsn = ratios(times, "TSN", **conditions)
    shown = {row["contestant"]: row.get("milliseconds", row["ratio"]) for row in to_tsn if row["figure"] == "time"}
    print(conditions, shown, flush=True)
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
        row = {"task": "peak memory", "clips": clips} | conditions | {"contestant": name}
        rows.append(row | {"MiB": round(peak / 2**20)})
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
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="measured in this order")
    parser.add_argument("--without", nargs="+", choices=NETWORKS[2:], default=[], help="contestants to leave out")
    parser.add_argument("--layouts", nargs="+", choices=tuple(FORMATS), default=["channels_last"])
    parser.add_argument(
        "--compile", nargs="*", metavar="MODE", default=COMPILE_MODES, help="modes of torch.compile; may be empty"
    )
    parser.add_argument(
        "--graphs", action=argparse.BooleanOptionalAction, default=not on_cpu, help="also as CUDA graphs"
    )
    parser.add_argument("--threads", type=int, default=1 if on_cpu else torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=math.inf, help="of one task with one batch, at most")
    parser.add_argument("--label", default="", help="word in the names of the records, to keep those of other options")
    parser.add_argument("--mmaction2", type=Path, help="folder with the package mmaction2")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.backends.cudnn.benchmark = True  # as in a training with deterministic=False
    models = networks(chosen.arch, chosen.frames, chosen.mmaction2)
    check_equal(models, chosen.frames)
    memory, times = [], {precision: [] for precision in chosen.precisions}
    label = f"{chosen.label}-" if chosen.label else ""
    for layout in chosen.layouts:
        models = {name: model.to(device(), memory_format=FORMATS[layout]) for name, model in models.items()}
        timed_models = {name: model for name, model in models.items() if name not in chosen.without}
        for precision, rows in times.items():
            for new_rows in measure_times(timed_models, chosen, precision, layout):
                rows += new_rows
                record(f"network-{label}{precision}", rows)
        if "memory" in chosen.tasks:
            for precision in PRECISIONS:
                memory += measure_memory(models, chosen, precision, layout)
                record(f"network-{label}memory", memory)


if __name__ == "__main__":
    fair_malloc()
    main()
