"""A training from files to steps: clips/s, and the share of its time that it waits for data.

    python benchmarks/train_e2e.py [--arch tanet50] [--size 224] [--clips 32] [--workers 15] [--steps 200] [--set F=V]

`tanet.train.fit` trains k400_8f from random weights for an epoch of as many steps, on 300-frame H.264 videos of 340x256
in the page cache, probed as a prepared data set is. What is told is told from metrics.jsonl, from its first line of
steps to its last, so that start, trial steps and the filling of the loader are left out.
"""

import argparse
import csv
import os
import tempfile
from fractions import Fraction
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
    """A data root in Kinetics-400's format, of so many videos a split, which are all the same file."""
    names = [f"class {number}" for number in range(classes)]
    (root / "annotations").mkdir(parents=True)
    (root / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    probes, found = {}, (video.stat().st_size, probe(video))
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
                probes[str(path)] = found
    write_probes(root, probes)
    return root


def steady(rows: list[dict]) -> dict[str, float]:
    """clips/s and share of waiting between the first and last of metrics.jsonl's lines, which count from the epoch's start."""
    if len(rows) < 2:
        raise ValueError(f"fewer than two lines of steps in metrics.jsonl: pass --steps {2 * train.LOG_STEPS} or more")
    first, last = rows[0], rows[-1]
    began, ended = (row["clips"] / row["clips_per_second"] for row in (first, last))  # seconds
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
    parser.add_argument("--clips", type=int, default=2 if on_cpu else 32, help="of a step")
    own = worker_count(-1, use_gpu=not on_cpu)
    parser.add_argument("--workers", type=int, nargs="+", default=[own], help="loading processes")
    parser.add_argument("--steps", type=int, default=40 if on_cpu else 200)
    parser.add_argument("--key-frames", type=int, nargs="+", default=KEY_DISTANCES, help="frames between key frames")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=JSON", help="change a recipe field")
    chosen = parser.parse_args()
    recipe = recipes.get("k400_8f").with_changes(
        {"arch": chosen.arch, "crop_size": chosen.size, "clips_per_process": chosen.clips, "init": "none", "epochs": 1,
         "lr_steps": []}
        | ({"precision": "float32", "memory_format": "channels_last"} if on_cpu else {})  # trying others takes minutes
        | parse_changes(chosen.set)
    )  # fmt: skip
    rows, frames = [], footage(*SIZES[0])
    for distance in chosen.key_frames:
        for workers in chosen.workers:
            with tempfile.TemporaryDirectory() as folder:
                video = Path(folder, "video.mp4")
                write_video(video, frames, Fraction(30), preset="medium", g=str(distance))
                found = measure(Path(folder), video, recipe.with_changes({"workers": workers}), chosen.steps)
            rows.append({"arch": recipe.arch, "size": recipe.crop_size, "clips": recipe.clips_per_process})
            rows[-1] |= {"key frame every": distance, "workers": workers, "cores": worker_count(os.cpu_count())} | found
            print(rows[-1], flush=True)
    record(f"train_e2e-{recipe.arch}", rows)


if __name__ == "__main__":
    main()
