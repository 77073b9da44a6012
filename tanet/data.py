"""Annotation lists, and the clips of one.

A data set lies on disk as its publishers distribute it:

    kinetics       labels.txt (one class a line, in index order), annotations/{train,val}.csv,
                   {train,val}/**/ID_START_END.mp4 (joined on ids: the class folders' spelling does not matter)
    something_v1   something-something-v1-{labels,train,validation}.csv, 20bn-something-something-v1/ID/00001.jpg
    something_v2   something-something-v2-{labels,train,validation}.json, 20bn-something-something-v2/ID.webm

What sample i looks like in epoch e under seed s depends on (s, e, i) alone.
"""

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tanet import sampling
from tanet.distributed import worker_count
from tanet.recipes import Recipe
from tanet.transforms import center_crop, mirrored_classes, resize_short_side, training_clip
from tanet.video import open_video

SPLITS = ("train", "val")
LABEL_FILES = {
    "kinetics": "labels.txt",
    "something_v1": "something-something-v1-labels.csv",
    "something_v2": "something-something-v2-labels.json",
}


class DataError(ValueError):
    """Data that do not fit their description; the message begins with the file, and the line where there is one."""


@dataclass(frozen=True)
class Sample:
    path: Path  # video file or frame folder
    label: int  # index into class_names


@dataclass(frozen=True)
class VideoList:
    """The videos of one split, with the classes in index order and the ids that were set aside as missing."""

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)


def load_list(recipe: Recipe, root: str | os.PathLike, split: str, missing: str = "raise") -> VideoList:
    """The annotation list of `split` ("train" or "val") below `root`, checked against the recipe and the disk.

    `missing="skip"` sets listed videos that are not there aside, in `VideoList.missing`; "raise" names the first.
    Raises DataError or FileNotFoundError.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be train or val, got {split!r}")
    if missing not in ("raise", "skip"):
        raise ValueError(f"missing must be raise or skip, got {missing!r}")
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"data root {root} does not exist; set data_root to the folder of the data set")
    videos = _READERS[recipe.dataset](root, split)
    if len(videos.class_names) != recipe.num_classes:
        raise DataError(
            f"{root}: {len(videos.class_names)} classes in the label file, recipe {recipe.name} has num_classes = "
            f"{recipe.num_classes}"
        )
    return _set_missing_aside(videos, missing)


def datasets_at(root: str | os.PathLike) -> tuple[str, ...]:
    """The data sets whose label file is in the folder `root`."""
    return tuple(name for name, file in LABEL_FILES.items() if (Path(root) / file).is_file())


def class_names_at(dataset: str, root: str | os.PathLike) -> tuple[str, ...]:
    """The class names of a data set's label file below `root`, in its order."""
    index = _class_index(Path(root) / LABEL_FILES[dataset])
    return tuple(sorted(index, key=index.get))


def _set_missing_aside(videos: VideoList, missing: str) -> VideoList:
    there = [sample.path.exists() for sample in videos.samples]
    if all(there):
        return videos
    absent = [sample for sample, exists in zip(videos.samples, there) if not exists]
    if missing == "raise":
        raise FileNotFoundError(
            f"{absent[0].path}: listed, but not there, as {len(absent)} of {len(videos)} videos are not; "
            'restore them, or pass missing="skip" to leave them out'
        )
    if len(absent) == len(videos):
        raise FileNotFoundError(f"{absent[0].path}: none of the {len(videos)} listed videos is there")
    present = tuple(sample for sample, exists in zip(videos.samples, there) if exists)
    return VideoList(present, videos.class_names, tuple(sample.path.name for sample in absent))


def _kinetics(root: Path, split: str) -> VideoList:
    names = _class_index(root / LABEL_FILES["kinetics"])
    annotations = root / "annotations" / f"{split}.csv"
    on_disk = {path.stem: path for path in (root / split).rglob("*.mp4") if not path.name.startswith("._")}
    samples = []
    with _open_text(annotations) as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if header[:5] != ["label", "youtube_id", "time_start", "time_end", "split"]:
            raise DataError(f"{annotations}, line 1: expected the header label,youtube_id,time_start,time_end,split")
        for row in rows:
            label, video_id, start, end = _columns(annotations, rows.line_num, row, 5)[:4]
            start, end = (_seconds(annotations, rows.line_num, text) for text in (start, end))
            stem = f"{video_id}_{start:06d}_{end:06d}"
            path = on_disk.get(stem, root / split / f"{stem}.mp4")
            samples.append(Sample(path, _label_index(annotations, rows.line_num, label, names)))
    return _video_list(annotations, samples, names)


def _something_v1(root: Path, split: str) -> VideoList:
    names = _class_index(root / LABEL_FILES["something_v1"])
    annotations = root / f"something-something-v1-{'train' if split == 'train' else 'validation'}.csv"
    samples = []
    with _open_text(annotations) as file:
        for number, line in enumerate(file, 1):
            video_id, label = _columns(annotations, number, line.rstrip("\r\n").split(";"), 2)
            path = root / "20bn-something-something-v1" / video_id
            samples.append(Sample(path, _label_index(annotations, number, label, names)))
    return _video_list(annotations, samples, names)


def _something_v2(root: Path, split: str) -> VideoList:
    names = _class_index(root / LABEL_FILES["something_v2"])
    annotations = root / f"something-something-v2-{'train' if split == 'train' else 'validation'}.json"
    samples = []
    for number, entry in enumerate(_load_json(annotations), 1):
        if "id" not in entry or "template" not in entry:
            raise DataError(f"{annotations}, entry {number}: expected the fields id and template, got {sorted(entry)}")
        label = entry["template"].replace("[", "").replace("]", "")
        path = root / "20bn-something-something-v2" / f"{entry['id']}.webm"
        samples.append(Sample(path, _label_index(annotations, number, label, names, "entry")))
    return _video_list(annotations, samples, names)


_READERS = {"kinetics": _kinetics, "something_v1": _something_v1, "something_v2": _something_v2}


def _open_text(path: Path):
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; see the README for the layout of a data root")
    return open(path, newline="", encoding="utf-8")


def _load_json(path: Path):
    with _open_text(path) as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error


def _class_index(path: Path) -> dict[str, int]:
    """A label file's classes -> their indices: one name a line, or {"name": "index", ...} in a .json file."""
    if path.suffix == ".json":
        index = {name: str(number) for name, number in _load_json(path).items()}
        if set(index.values()) != {str(number) for number in range(len(index))}:
            raise DataError(f"{path}: the classes must be numbered from 0 to {len(index) - 1}, each number once")
        return {name: int(number) for name, number in index.items()}
    with _open_text(path) as file:
        names = [line.strip() for line in file if line.strip()]
    if len(set(names)) != len(names):
        raise DataError(f"{path}: a class name stands there twice")
    return {name: index for index, name in enumerate(names)}


def _columns(path: Path, line: int, row: list[str], count: int) -> list[str]:
    if len(row) != count:
        raise DataError(f"{path}, line {line}: expected {count} columns, got {len(row)}: {row}")
    return row


def _seconds(path: Path, line: int, text: str) -> int:
    try:
        return int(float(text))
    except ValueError:
        raise DataError(f"{path}, line {line}: expected a time in seconds, got {text!r}") from None


def _label_index(path: Path, number: int, label: str, index: dict[str, int], unit: str = "line") -> int:
    if label not in index:
        raise DataError(f"{path}, {unit} {number}: label {label!r} is not in the label file")
    return index[label]


def _video_list(path: Path, samples: list[Sample], index: dict[str, int]) -> VideoList:
    if not samples:
        raise DataError(f"{path}: lists no videos")
    return VideoList(tuple(samples), tuple(sorted(index, key=index.get)))


class TrainingClips(Dataset):
    """Random clips for training. Item (epoch, index) -> (clip uint8 [T, 3, S, S], label, index)."""

    def __init__(self, videos: VideoList, recipe: Recipe):
        self.videos, self.recipe = videos, recipe
        self.mirrored = mirrored_classes(list(videos.class_names))

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int, int]:
        epoch, index = key
        recipe, sample = self.recipe, self.videos.samples[index]
        rng = np.random.default_rng((recipe.seed, epoch, index))
        with open_video(sample.path) as video:
            if recipe.sampling == "dense":
                indices = sampling.dense_train(len(video), recipe.num_frames, rng)
            else:
                indices = sampling.uniform_train(len(video), recipe.num_frames, rng, recipe.style)
            frames = video.frames(indices[0])
        clip, flipped = training_clip(frames, recipe, rng)
        label = self.mirrored[sample.label] if flipped and recipe.flip == "swap" else sample.label
        return clip, label, index


class ValidationClips(Dataset):
    """One centred clip and crop of each video, nothing random. Item index -> (clip uint8 [T, 3, S, S], label, index)."""

    def __init__(self, videos: VideoList, recipe: Recipe):
        self.videos, self.recipe = videos, recipe

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        recipe, sample = self.recipe, self.videos.samples[index]
        with open_video(sample.path) as video:
            if recipe.sampling == "dense":
                indices = sampling.dense_center(len(video), recipe.num_frames)
            else:
                indices = sampling.uniform_center(len(video), recipe.num_frames, recipe.style)
            frames = video.frames(indices[0])
        frames = resize_short_side(frames, recipe.short_side, recipe.style)
        return center_crop(frames, recipe.crop_size, recipe.style).contiguous(), sample.label, index


class EpochBatches(Sampler):
    """Batches of (epoch, index) keys for one process out of `world_size`; set `epoch` and `start` before iterating.

    A shuffled epoch is cut into steps of batch_size * accumulation * world_size clips. Of a step each process takes every
    world_size-th clip, in `accumulation` batches, so that the clips of a step do not depend on how it is shared. `start`:
    how many clips of the epoch are done already. The clips left over at the end wait for another epoch's shuffle.
    """

    def __init__(
        self, num_samples: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, accumulation: int = 1
    ):
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.rank, self.world_size, self.accumulation = rank, world_size, accumulation
        self.epoch = self.start = 0
        self.step_clips = batch_size * accumulation * world_size
        if self.steps == 0:
            raise DataError(f"{num_samples} training videos do not fill one step of {self.step_clips} clips")

    @property
    def steps(self) -> int:
        """How many steps are left of the epoch."""
        return (self.num_samples - self.start) // self.step_clips

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def __iter__(self):
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_samples)[self.start :]
        for step in range(self.steps):
            mine = order[step * self.step_clips : (step + 1) * self.step_clips][self.rank :: self.world_size]
            for first in range(0, len(mine), self.batch_size):
                yield [(self.epoch, int(index)) for index in mine[first : first + self.batch_size]]


def training_loader(videos: VideoList, recipe: Recipe, rank: int = 0, world_size: int = 1) -> DataLoader:
    """Batches (clips uint8 [N, T, 3, S, S], labels int64 [N], indices int64 [N]); set `batch_sampler.epoch`."""
    batches = EpochBatches(
        len(videos), recipe.clips_per_process, recipe.seed, rank, world_size, recipe.accumulation
    )
    return _loader(TrainingClips(videos, recipe), recipe.workers, batch_sampler=batches)


def validation_loader(videos: VideoList, recipe: Recipe, rank: int = 0, world_size: int = 1) -> DataLoader:
    """Each process's share of the validation clips: every world_size-th, none twice, none left out."""
    share = range(rank, len(videos), world_size)
    return _loader(
        ValidationClips(videos, recipe), recipe.workers, sampler=share, batch_size=4 * recipe.clips_per_process
    )


LOADER_TIMEOUT = 600  # seconds after which a batch that does not come is an error


def _loader(dataset: Dataset, workers: int, **how) -> DataLoader:
    return DataLoader(
        dataset,
        num_workers=worker_count(workers),
        timeout=LOADER_TIMEOUT if workers > 0 else 0,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        **how,
    )
