"""A whole training step, from files to weights: clips/s, and the share of the time that it waits for data.

    python benchmarks/train_e2e.py [--arch tanet50] [--size 224] [--clips 32] [--workers 15] [--steps 200] [--set F=V]

`tanet.train.fit` trains k400_8f from random weights for one epoch of `--steps` steps. The videos are H.264 of 340x256
with 300 frames, in the page cache, and their probes are stored, as in a prepared data set. The figures come from
metrics.jsonl, between its first and its last line of steps. So they do not include the start of the training, the trial
steps and the filling of the loader.
"""

import argparse
import csv
import os
import tempfile
from fractions import Fraction
from itertools import product
from pathlib import Path

from common import device, record
from decode import KEY_DISTANCES, SIZES, footage

from tanet import recipes, train
from tanet.cli import parse_changes
from tanet.data import probe, write_probes
from tanet.demo import write_video
from tanet.model import ARCHITECTURES
from tanet.recipes import Recipe
from tanet.runtime import worker_count
from tanet.train import read_metrics


def write_root(root: Path, video: Path, counts: dict[str, int], classes: int) -> Path:
    """Writes a data root in Kinetics-400's format, `counts` videos a split, all of them links to `video`."""
    names = [f"class {number}" for number in range(classes)]
    (root / "annotations").mkdir(parents=True)
    (root / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    probes = {}
    size_and_probe = video.stat().st_size, probe(video)
    for split, count in counts.items():
        with open(root / "annotations" / f"{split}.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
            for index in range(count):
                name = names[index % classes]
                table.writerow([name, f"{split}{index:08d}", 0, 10, split])
                path = Path(split, name, f"{split}{index:08d}_000000_000010.mp4")
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                os.link(video, root / path)
                probes[str(path)] = size_and_probe
    write_probes(root, probes)
    return root


def steady(rows: list[dict]) -> dict[str, float]:
    """clips/s and the share of waiting between the first and the last row. Rows count from the start of the epoch."""
    if len(rows) < 2:
        raise ValueError(f"metrics.jsonl has fewer than two lines of steps; pass --steps {2 * train.LOG_STEPS} or more")
    first, last = rows[0], rows[-1]
    began = first["clips"] / first["clips_per_second"]  # seconds since the start of the epoch
    ended = last["clips"] / last["clips_per_second"]
    waited = last["data_wait"] * ended - first["data_wait"] * began
    speed = (last["clips"] - first["clips"]) / (ended - began)
    return {"clips_per_second": round(speed, 2), "data_wait": round(waited / (ended - began), 4)}


def measure(folder: Path, video: Path, recipe: Recipe, steps: int) -> dict:
    counts = {"train": steps * recipe.clips_per_process, "val": recipe.clips_per_process}
    root = write_root(folder / "data", video, counts, recipe.num_classes)
    train.fit(recipe, root, folder / "run", use_gpu=device().type == "cuda")
    return steady(read_metrics(folder / "run", steps=True))


def main():
    on_cpu = device().type == "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="tanet50")
    parser.add_argument("--size", type=int, default=112 if on_cpu else 224, help="side of a crop, in pixels")
    parser.add_argument("--clips", type=int, default=2 if on_cpu else 32, help="clips of a step")
    workers = worker_count(-1, use_gpu=not on_cpu)
    parser.add_argument("--workers", type=int, nargs="+", default=[workers], help="numbers of workers")
    parser.add_argument("--steps", type=int, default=40 if on_cpu else 200)
    parser.add_argument("--key-frames", type=int, nargs="+", default=KEY_DISTANCES, help="frames between key frames")
    parser.add_argument("--graphs", nargs="+", default=[], metavar="JSON", help="values of the field cuda_graphs")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=JSON", help="change a recipe field")
    chosen = parser.parse_args()
    changes = {"arch": chosen.arch, "crop_size": chosen.size, "clips_per_process": chosen.clips}
    changes |= {"init": "none", "epochs": 1, "lr_steps": []}
    if on_cpu:  # "auto" would try other settings for minutes
        changes |= {"precision": "float32", "memory_format": "channels_last"}
    else:  # the fastest step waits for data the most
        changes |= {"precision": "auto"}
    recipe = recipes.get("k400_8f").with_changes(changes | parse_changes(chosen.set))
    rows, frames = [], footage(*SIZES[0])
    graphs = [parse_changes([f"cuda_graphs={value}"]) for value in chosen.graphs] or [{}]
    for distance, workers, graph_changes in product(chosen.key_frames, chosen.workers, graphs):
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder, "video.mp4")
            write_video(video, frames, Fraction(30), preset="medium", g=str(distance))
            varied = recipe.with_changes({"workers": workers} | graph_changes)
            figures = measure(Path(folder), video, varied, chosen.steps)
        row = {"arch": recipe.arch, "size": recipe.crop_size, "clips": recipe.clips_per_process}
        row |= {"key frame every": distance, "workers": workers, "cores": worker_count(os.cpu_count())} | graph_changes
        rows.append(row | figures)
        print(rows[-1], flush=True)
        record(f"train_e2e-{recipe.arch}", rows)


if __name__ == "__main__":
    main()
