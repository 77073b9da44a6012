"""The whole network: TANet against TSN and TSM, and against the same ResNet with the published TAM in the slot.

    python benchmarks/network.py [--clips 2] [--threads 1] [--rounds 5] [--mmaction2 FOLDER]

Times of a training step (forward, backward, SGD), of a test forward and the published "inference time" (one video, one
view of 8 x 256 x 256, the model alone), in float32 and, where the device has instructions for it, under bfloat16
autocast, a record each. Memory: what the backward pass keeps of a clip, and the peak of a training step on a GPU.
Figures are ratios to TSN, or to others where a row says so.

`--mmaction2`: a folder filled by `pip install --no-deps --target FOLDER mmaction2`, whose own TAM then takes part.
"""

import argparse
import copy
from functools import partial
from itertools import product
from pathlib import Path

import torch
from baselines import PublishedTAM, as_mmaction2, replace_slots
from common import clock, device, fair_malloc, measured, ratios, record
from torch.nn import functional as F

from tanet.model import ARCHITECTURES, TANet, kept_for_backward
from tanet.runtime import FORMATS, autocast

PRECISIONS = ("float32", "bfloat16")
NETWORKS = ("TSN", "TANet", "TSM", "published TAM", "MMAction2's TAM")
TASKS = ("training step", "test forward", "inference")
COMPILE_MODES = ["default"] if device().type == "cpu" else ["default", "reduce-overhead"]
TEST_SIZE = 256  # pixels; the test setting's crop


def precisions() -> tuple[str, ...]:
    """Float32 alone where torch has no bfloat16 convolutions for the CPU: a step takes 17 times as long with what it
    then does, and says nothing of other CPUs."""
    on_cpu = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return PRECISIONS if device().type == "cuda" or on_cpu else PRECISIONS[:1]


def networks(arch: str, frames: int, mmaction2: Path | None) -> dict[str, TANet]:
    """The contestants, on the CPU, with the same weights in the layers they share."""
    torch.manual_seed(0)
    tanet, tsn, tsm = (ARCHITECTURES[arch](400, frames, temporal) for temporal in ("tam", "none", "tsm"))
    resnet = {key: value for key, value in tanet.state_dict().items() if ".temporal." not in key}
    for other in (tsn, tsm):
        other.load_state_dict(resnet)
    made = {"TSN": tsn, "TANet": tanet, "TSM": tsm, "published TAM": replace_slots(copy.deepcopy(tanet), PublishedTAM)}
    if mmaction2:
        made["MMAction2's TAM"] = replace_slots(copy.deepcopy(tanet), partial(as_mmaction2, folder=mmaction2))
    return made


@torch.no_grad()
def check_equal(made: dict[str, TANet], frames: int) -> None:
    """The published modules compute what TANet does: features in float64, where rounding cannot hide a difference."""
    clip = torch.randn(1, frames, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = {
        name: copy.deepcopy(made[name]).double().eval().forward_features(clip) for name in made.keys() - {"TSN", "TSM"}
    }
    wanted = features.pop("TANet")
    for name, found in features.items():
        error = ((found - wanted).norm() / wanted.norm()).item()
        assert error < 1e-9, f"{name} is not TANet: its features differ by {error:.2g}"


def random_clips(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device())


def training_step(model: TANet, clips: torch.Tensor, precision: str, run=None):
    """One step of SGD, as a contestant; `run` is the model compiled, or the model itself."""
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


def test_forward(model: TANet, clips: torch.Tensor, precision: str, run=None):
    """Scores of the clips, as a contestant."""
    run = model if run is None else run

    @torch.no_grad()
    def forward():
        model.eval()
        started = clock()
        with autocast(clips.device, precision):
            run(clips)
        return {"time": clock() - started}

    return forward


def with_compiled(contestant, made: dict[str, TANet], clips: torch.Tensor, precision: str, modes: tuple[str, ...]):
    """{name: contestant} of all networks, and of TSN and TANet compiled, in each of the modes that work here."""
    torch._dynamo.reset()  # it compiles no more than eight variants of one function
    found = {name: contestant(model, clips, precision) for name, model in made.items()}
    for name, mode in product(("TSN", "TANet"), modes):
        run = contestant(made[name], clips, precision, torch.compile(made[name], mode=mode, dynamic=False))
        label = f"{name}, compiled" + ("" if mode == "default" else f" {mode}")
        try:
            for _ in range(3):  # compile; record CUDA graphs; replay them
                run()
        except RuntimeError as error:
            print(f"{label}: not measured ({str(error).splitlines()[0]})", flush=True)
        else:
            found[label] = run
    return found


def measure_times(made: dict[str, TANet], chosen, precision: str, layout: str) -> list[dict]:
    rows = []
    batches = {task: product(chosen.clips, [chosen.size]) for task in TASKS} | {"inference": [(1, TEST_SIZE)]}
    for task, clips, size in [(task, *batch) for task in chosen.tasks for batch in batches[task]]:
        data = random_clips(clips, chosen.frames, 3, size, size)
        contestant = training_step if task == "training step" else test_forward
        found = measured(with_compiled(contestant, made, data, precision, modes(chosen, task, layout)), chosen.rounds)
        conditions = {"task": task, "arch": chosen.arch, "clips": clips, "size": size}
        conditions |= {"precision": precision, "layout": layout}
        for base in [name for name in ("published TAM", "TSN, compiled") if name in found]:
            rows += [row for row in ratios(found, base, **conditions) if row["contestant"].startswith("TANet")]
        rows += ratios(found, "TSN", **conditions)
        print(conditions, {row["contestant"]: row["ratio"] for row in rows[-len(found) :]}, flush=True)
    return rows


def modes(chosen, task: str, layout: str) -> list[str]:
    """Which of the chosen modes of torch.compile take part: it brings nothing to a CPU's training step, and the modes
    that save launches are for one video."""
    if layout != "channels_last" or task == "training step" and device().type == "cpu":
        return []
    return chosen.compile if task == "inference" else chosen.compile[:1]


def measure_memory(made: dict[str, TANet], chosen, precision: str, layout: str) -> list[dict]:
    """What one clip's forward leaves for the backward; on a GPU also the peak of a training step of each batch."""
    rows, kept = [], {}
    conditions = {"arch": chosen.arch, "size": chosen.size, "precision": precision, "layout": layout}
    clip = random_clips(1, chosen.frames, 3, chosen.size, chosen.size)
    for name, model in made.items():
        with autocast(device(), precision):
            kept[name] = kept_for_backward(model.train(), clip)
        row = {"task": "saved activations", "clips": 1} | conditions | {"contestant": name, "base": "TSN"}
        rows.append(row | {"ratio": round(kept[name] / kept["TSN"], 4), "MiB": round(kept[name] / 2**20, 1)})
    for clips, name in product(chosen.clips if device().type == "cuda" else (), made):
        peak = peak_memory(made[name], random_clips(clips, chosen.frames, 3, chosen.size, chosen.size), precision)
        rows.append({"task": "peak memory", "clips": clips} | conditions | {"contestant": name, "MiB": round(peak)})
    return rows


def peak_memory(model: TANet, clips: torch.Tensor, precision: str) -> int:
    """Bytes that torch has at most during a training step, all of it: weights, gradients, momentum, clips, activations.

    Other networks on the GPU do not count: what there was without this one is subtracted.
    """
    model.cpu()
    torch.cuda.empty_cache()
    others = torch.cuda.memory_allocated() - clips.nbytes
    step = training_step(model.to(clips.device), clips, precision)
    for _ in range(2):  # momentum and cuDNN's choices are there afterwards
        step()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - others


def main():
    on_cpu = device().type == "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="tanet50")
    parser.add_argument("--clips", type=int, nargs="+", default=[2] if on_cpu else [8, 32, 64], help="batches")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=precisions(), help="for times")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--without", nargs="+", choices=NETWORKS[2:], default=[], help="contestants to leave out")
    parser.add_argument("--layouts", nargs="+", choices=tuple(FORMATS), default=["channels_last"])
    parser.add_argument("--compile", nargs="*", metavar="MODE", default=COMPILE_MODES, help="of torch.compile; or none")
    parser.add_argument("--threads", type=int, default=1 if on_cpu else torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mmaction2", type=Path, help="folder with the package mmaction2")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.backends.cudnn.benchmark = True  # as in a training that need not be deterministic
    made = networks(chosen.arch, chosen.frames, chosen.mmaction2)
    check_equal(made, chosen.frames)
    timed = [name for name in made if name not in chosen.without]
    memory, times = [], {precision: [] for precision in chosen.precisions}
    for layout in chosen.layouts:
        made = {name: model.to(device(), memory_format=FORMATS[layout]) for name, model in made.items()}
        for precision in PRECISIONS:
            memory += measure_memory(made, chosen, precision, layout)
        for precision in chosen.precisions:
            times[precision] += measure_times({name: made[name] for name in timed}, chosen, precision, layout)
    record("network-memory", memory)
    for precision, rows in times.items():
        record(f"network-{precision}", rows)


if __name__ == "__main__":
    fair_malloc()
    main()
