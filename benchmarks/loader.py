"""Loading clips: `tanet.data` compared with a plain loader, and tests batched across videos with tests one by one.

    python benchmarks/loader.py [--workers 0 1 2] [--batches 4] [--rounds 3] [--arch tanet50] [--size 112] [--videos 6]

The plain loader takes the same frames and crops, but reads them in the common way: with decord, in the order of the
clip (JPEGs with Pillow), and its workers normalise them to floats. Figures are clips/s and videos/s with the files in
the page cache, and ratios of time in the same round: to the plain loader, or to testing one video at a time.
"""

import argparse
import os
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from common import Contestant, clock, device, fair_malloc, measure_in_turns, median_and_range, record
from decode import FRAMES, KEY_DISTANCES, SIZES, footage, pillow_frames, plain_decord
from PIL import Image
from torch.utils.data import DataLoader

from tanet import recipes
from tanet.data import EpochBatches, Sample, TrainingClips, VideoList, probe, sampling, training_clip, training_loader
from tanet.demo import write_video
from tanet.evaluate import score_videos
from tanet.model import ARCHITECTURES, PIXEL_MEAN, PIXEL_STD
from tanet.recipes import Recipe, get_protocol
from tanet.runtime import repeatable, to_device, worker_count

JPEGS = 48  # frames in the folder of JPEGs


class PlainClips(TrainingClips):
    """The clips of TrainingClips, normalised to floats: item (epoch, index) -> (float32 [T, 3, S, S], label)."""

    def __getitem__(self, key):
        epoch, index = key
        recipe, sample = self.recipe, self.videos.samples[index]
        rng = np.random.default_rng((recipe.seed, epoch, index))
        if recipe.sampling == "dense":
            indices = sampling.dense_train(FRAMES, recipe.num_frames, rng)
            frames = torch.from_numpy(plain_decord(sample.path, indices)).permute(0, 3, 1, 2)
        else:
            frames = pillow_frames(sample.path, sampling.uniform_train(JPEGS, recipe.num_frames, rng, recipe.style))
        clip, _ = training_clip(frames, recipe, rng)
        mean = torch.tensor(PIXEL_MEAN).view(3, 1, 1)
        std = torch.tensor(PIXEL_STD).view(3, 1, 1)
        return (clip.float() - mean) / std, sample.label


def plain_loader(videos: VideoList, recipe: Recipe, workers: int) -> DataLoader:
    return DataLoader(
        PlainClips(videos, recipe),
        batch_sampler=EpochBatches(len(videos), recipe.clips_per_process, recipe.seed),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device().type == "cuda",
    )


def tanet_loader(videos: VideoList, recipe: Recipe, workers: int) -> DataLoader:
    return training_loader(videos, recipe.with_changes({"workers": workers}), use_gpu=device().type == "cuda")


def write_kinds(folder: Path, key_distances: list[int], with_jpegs: bool) -> dict[str, tuple[Sample, Recipe]]:
    """{kind: (a video of that kind, the recipe to read it with)}; writes the videos into `folder`."""
    width, height = SIZES[0]
    kinds = {}
    frames = footage(width, height)
    for distance in key_distances:
        path = folder / f"{distance}.mp4"
        write_video(path, frames, Fraction(30), preset="medium", g=str(distance))
        sample = Sample(path, 0, probe(path))
        kinds[f"H.264 {width}x{height}, key frame every {distance}"] = sample, recipes.get("k400_8f")
    if not with_jpegs:
        return kinds
    (folder / "jpegs").mkdir()
    for number, frame in enumerate(footage(176, 100)[:JPEGS]):
        Image.fromarray(frame).save(folder / "jpegs" / f"{number + 1:05d}.jpg", quality=75)
    kinds["JPEG 176x100"] = Sample(folder / "jpegs", 0), recipes.get("sthv1_8f")
    return kinds


def reading(batches: Iterable) -> Contestant:
    """A contestant that loads all `batches` to the device; returns the seconds per clip."""

    def run():
        started, count = clock(), 0
        for clips, *_ in batches:
            count += len(to_device(device(), clips)[0])
        return {"seconds": (clock() - started) / count}

    return run


def measure_training(kinds: dict, chosen: argparse.Namespace) -> list[dict]:
    rows = []
    for kind, (sample, recipe) in kinds.items():
        videos = VideoList((sample,) * (chosen.batches * recipe.clips_per_process), ("one",) * recipe.num_classes)
        for count in chosen.workers:
            loaders = {"plain": plain_loader, "tanet": tanet_loader}
            contestants = {name: reading(loaders[name](videos, recipe, count)) for name in chosen.contestants}
            conditions = {"task": "training clips", "kind": kind, "workers": count}
            times = measure_in_turns(contestants, chosen.rounds)
            new_rows = speeds(times, chosen.contestants[0], "clips_per_second", conditions)
            for row in new_rows:  # without workers, the process itself reads
                row["clips_per_second_and_worker"] = round(row["clips_per_second"] / max(1, count), 2)
            rows += new_rows
            record("loader", rows)
    return rows


def measure_testing(kinds: dict, chosen: argparse.Namespace) -> list[dict]:
    rows = []
    kind, (sample, recipe) = [item for item in kinds.items() if "H.264" in item[0]][-1]  # with few key frames
    changes = {"workers": max(chosen.workers), "test_size": chosen.size, "crop_size": min(chosen.size, 224)}
    recipe = recipe.with_changes(changes)
    model = ARCHITECTURES[chosen.arch](recipe.num_classes).eval().to(device(), memory_format=torch.channels_last)

    def testing(protocol: str, videos: VideoList, batch: int | None) -> Contestant:
        def run():
            started = clock()
            score_videos(model, videos, protocol, recipe, batch=batch)
            return {"seconds": (clock() - started) / len(videos)}

        return run

    for protocol in ("k400-dense", "sth-efficient"):
        views = get_protocol(protocol).clips * get_protocol(protocol).crops
        videos = VideoList((sample,) * max(1, chosen.videos // views), ("one",) * recipe.num_classes)
        contestants = {
            "one video at a time": testing(protocol, videos, views),
            "tanet": testing(protocol, videos, None),
        }
        conditions = {"task": f"test, {views} view(s)", "kind": kind, "arch": chosen.arch, "size": chosen.size}
        conditions["workers"] = recipe.workers
        with repeatable(device()):
            times = measure_in_turns(contestants, chosen.rounds)
        rows += speeds(times, "one video at a time", "videos_per_second", conditions)
    return rows


def speeds(times: dict, base: str, unit: str, conditions: dict) -> list[dict]:
    """One row for each contestant: its speed, median and range, and its time as a ratio to `base` in the same round."""
    rows = []
    for name, figures in times.items():
        by_round = [seconds / reference for seconds, reference in zip(figures["seconds"], times[base]["seconds"])]
        row = conditions | {"contestant": name}
        row |= median_and_range(unit, [1 / seconds for seconds in figures["seconds"]])
        row |= {"ratio": round(float(np.median(by_round)), 3), "base": base}
        rows.append(row)
        print(row, flush=True)
    return rows


def main():
    on_cpu = device().type == "cpu"
    cores = worker_count(os.cpu_count())
    powers = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    counts = [0, *powers, cores]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--workers", type=int, nargs="+", default=counts, help="numbers of workers; a test takes the most"
    )
    parser.add_argument("--batches", type=int, default=2 * cores, help="batches of 8 clips in each round")
    parser.add_argument("--rounds", type=int, default=3 if on_cpu else 5)
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), default="tanet50", help="the network to test")
    parser.add_argument("--size", type=int, default=112 if on_cpu else 256, help="side of a test crop, in pixels")
    parser.add_argument(
        "--videos", type=int, default=6 if on_cpu else 600, help="videos in a test of 1 view; with 30 views, a 30th"
    )
    parser.add_argument("--tasks", nargs="+", choices=("training", "test"), default=("training", "test"))
    parser.add_argument("--contestants", nargs="+", choices=("plain", "tanet"), default=("plain", "tanet"))
    parser.add_argument("--key-frames", type=int, nargs="+", default=KEY_DISTANCES, help="frames between key frames")
    parser.add_argument("--jpegs", action=argparse.BooleanOptionalAction, default=True, help="also a folder of JPEGs")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kinds = write_kinds(Path(folder), chosen.key_frames, chosen.jpegs)
        rows = measure_training(kinds, chosen) if "training" in chosen.tasks else []
        if "test" in chosen.tasks:
            record("loader", rows + measure_testing(kinds, chosen))


if __name__ == "__main__":
    fair_malloc()
    main()
