"""Testing: a video's views, their scores, the metrics, result.json; `python -m tanet.evaluate` from a shell.

A protocol says which clips and crops of a video are scored; the recipe says how many frames, at which size, and whose
style of resizing and averaging.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tanet import checkpoint, sampling
from tanet.data import VideoList, load_list
from tanet.distributed import Process, launch, process_group
from tanet.model import TANet
from tanet.progress import track
from tanet.protocols import PROTOCOLS, Protocol, get_protocol
from tanet.recipes import Recipe
from tanet.recipes import get as get_recipe
from tanet.transforms import center_crop, resize_short_side, three_crops
from tanet.video import open_video


def test_views(path: str | os.PathLike, protocol: str, recipe: Recipe | None = None) -> torch.Tensor:
    """A video's views -> uint8 [views, T, 3, S, S], ordered by crop, then clip, as published.

    `recipe` gives T, sizes and style; by default the published recipe of the protocol. The video is decoded once, each
    frame at most once.
    """
    chosen = get_protocol(protocol)
    recipe = recipe or get_recipe(chosen.recipe)
    with open_video(path) as video:
        frames = video.frames(_test_indices(chosen, recipe, len(video)))  # [clips, T, 3, H, W]
    frames = resize_short_side(frames, recipe.short_side, recipe.style)
    if chosen.crops == 3:
        return three_crops(frames, recipe.test_size, recipe.style).flatten(0, 1)
    return center_crop(frames, recipe.crop_size, recipe.style)


test_views.__test__ = False  # the name would make pytest collect it


def _test_indices(protocol: Protocol, recipe: Recipe, total_frames: int) -> np.ndarray:
    if protocol.sampling == "dense":
        return sampling.dense_clips(total_frames, recipe.num_frames, protocol.clips)
    return sampling.uniform_frames(total_frames, recipe.num_frames, protocol.clips == 2, recipe.style)


@torch.no_grad()
def score_views(model: TANet, views: torch.Tensor, style: str = "mmaction2", batch: int = 30) -> torch.Tensor:
    """uint8 views [V, T, 3, S, S] of one video -> probabilities [num_classes], float32 on the CPU.

    MMAction2 averages the views' probabilities, the official code their logits. `batch` views are computed at a time.
    """
    device = model.fc.weight.device
    logits = torch.cat([model(part.to(device)).float() for part in views.split(batch)])
    probabilities = logits.softmax(1).mean(0) if style == "mmaction2" else logits.mean(0).softmax(0)
    return probabilities.cpu()


def metrics(scores: np.ndarray, labels: Sequence[int]) -> dict:
    """Scores [M, classes] and labels [M] -> top1, top5, mean_class_accuracy in per cent, and the confusion matrix.

    NaN ranks last and ties count against the label, so a broken network cannot score. The mean is over the classes that
    occur; confusion[i][j] counts videos of class i taken for class j, those without any number left out. `predicted` is the
    class each video is taken for, or None.
    """
    labels, (count, classes) = np.asarray(labels), scores.shape
    rank = label_ranks(scores, labels)
    others = np.where(np.isnan(scores), -np.inf, scores)
    blank = np.isneginf(others).all(1)
    others[np.arange(count), labels] = -np.inf
    predicted = np.where(rank == 0, labels, others.argmax(1))
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (labels[~blank], predicted[~blank]), 1)
    occurring = np.unique(labels)
    per_class = [float(100 * np.mean(rank[labels == label] == 0)) for label in occurring]
    return {
        "top1": float(100 * np.mean(rank < 1)),
        "top5": float(100 * np.mean(rank < 5)),
        "mean_class_accuracy": float(np.mean(per_class)),
        "class_accuracy": dict(zip(occurring.tolist(), per_class)),
        "confusion": confusion.tolist(),
        "predicted": [None if nothing else int(index) for nothing, index in zip(blank, predicted)],
    }


def label_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes score at least as much as each row's label [M]: 0 is right. A label scored NaN ranks nowhere."""
    own = scores[np.arange(len(labels)), labels][:, None]
    rank = (scores >= own).sum(1) - 1  # comparisons with NaN are false
    return np.where(np.isnan(own[:, 0]), UNRANKED, rank)


UNRANKED = np.iinfo(np.int64).max


def run(
    checkpoint_path: str | os.PathLike,
    data_root: str | os.PathLike,
    protocol: str | None = None,
    out: str | os.PathLike | None = None,
    gpus: int = 0,
    processes: int = 1,
    missing: str = "raise",
) -> dict:
    """Tests a checkpoint on the validation videos below `data_root`; returns the result and writes it to `out`.

    `protocol`: by default the first that belongs to the checkpoint's recipe. Every video is scored once, whatever the
    number of processes. The result holds the metrics, a table per class, the confusion matrix and every video's outcome.
    """
    recipe = checkpoint.load_recipe(checkpoint_path)
    protocol = get_protocol(protocol or recipe.protocols[0]).name
    result = launch(_run, (checkpoint_path, data_root, protocol, gpus > 0, missing), gpus, processes)
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with checkpoint.atomic_write(out) as file:
            file.write(json.dumps(result, indent=1).encode())
    return result


def _run(checkpoint_path, data_root, protocol: str, use_gpu: bool, missing: str) -> dict:
    model, recipe, class_names = checkpoint.load_model(checkpoint_path)
    videos = load_list(recipe, data_root, "val", missing)
    if videos.class_names != class_names:
        raise ValueError(f"{data_root} lists other classes, or another order of them, than {checkpoint_path} was trained on")
    with process_group(use_gpu, recipe.workers) as process:
        model = model.to(process.device, memory_format=torch.channels_last)
        scores = score_videos(model, videos, protocol, recipe, process)
    return {
        "checkpoint": str(checkpoint_path),
        "recipe": recipe.name,
        "protocol": protocol,
        "style": recipe.style,
        "device": torch.cuda.get_device_name(process.device) if use_gpu else "cpu",
        "torch": torch.__version__,
    } | summarize(scores, videos)


def score_videos(
    model: TANet, videos: VideoList, protocol: str, recipe: Recipe, process: Process | None = None
) -> np.ndarray:
    """Probabilities float32 [M, classes] of every video, in list order; processes share the videos, all get the result."""
    process = process or Process(0, 1, torch.device("cpu"))
    share = range(process.rank, len(videos), process.world_size)
    loader = DataLoader(
        _TestViews(videos, protocol, recipe), sampler=share, batch_size=None, num_workers=recipe.workers
    )
    label = f"{protocol}, videos"
    own = {
        index: score_views(model, views, recipe.style).numpy()
        for index, views in track(loader, len(share), label, quiet=not process.is_main)
    }
    scored = {index: row for part in process.gather(own) for index, row in part.items()}
    return np.stack([scored[index] for index in range(len(videos))])


class _TestViews(Dataset):
    def __init__(self, videos: VideoList, protocol: str, recipe: Recipe):
        self.videos, self.protocol, self.recipe = videos, protocol, recipe

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor]:
        return index, test_views(self.videos.samples[index].path, self.protocol, self.recipe)


def summarize(scores: np.ndarray, videos: VideoList) -> dict:
    """Metrics with class names, and one row per video: path, label, prediction, probability of its label."""
    labels = [sample.label for sample in videos.samples]
    result = metrics(scores, labels)
    accuracy, predicted = result.pop("class_accuracy"), result.pop("predicted")
    return {
        "videos": f"{len(videos)} of {len(videos) + len(videos.missing)}",
        **result,
        "class_names": list(videos.class_names),
        "per_class": [
            {"class": videos.class_names[label], "videos": labels.count(label), "accuracy": accuracy[label]}
            for label in accuracy
        ],
        "per_video": [
            {
                "path": str(sample.path),
                "label": sample.label,
                "predicted": taken_for,
                "probability": float(row[sample.label]),
            }
            for sample, taken_for, row in zip(videos.samples, predicted, scores)
        ],
    }


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(prog="python -m tanet.evaluate", description="Test a checkpoint by a protocol.")
    parser.add_argument("checkpoint", help="checkpoints/best.pth or last.pth of a run")
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), help="default: the first of the checkpoint's recipe")
    parser.add_argument("--out", help="where to write result.json")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="CPU processes, with --gpus 0")
    parser.add_argument("--missing", choices=("raise", "skip"), default="raise")
    chosen = parser.parse_args(arguments)
    result = run(
        chosen.checkpoint, chosen.data_root, chosen.protocol, chosen.out, chosen.gpus, chosen.processes, chosen.missing
    )
    print(
        f"{result['recipe']}, {result['protocol']}, {result['videos']} videos: top-1 {result['top1']:.2f}%, "
        f"top-5 {result['top5']:.2f}%, mean class accuracy {result['mean_class_accuracy']:.2f}%"
    )


if __name__ == "__main__":
    main()
