"""Annotation lists: which videos a data set has, and their classes.

A data set lies on disk as its publishers distribute it:

    kinetics       labels.txt (one class a line, in index order), annotations/{train,val}.csv,
                   {train,val}/**/ID_START_END.mp4 (joined on ids: the class folders' spelling does not matter)
    something_v1   something-something-v1-{labels,train,validation}.csv, 20bn-something-something-v1/ID/00001.jpg
    something_v2   something-something-v2-{labels,train,validation}.json, 20bn-something-something-v2/ID.webm
"""

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path

from tanet.recipes import Recipe

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
    root = _existing(root)
    videos = _READERS[recipe.dataset](root, split)
    if len(videos.class_names) != recipe.num_classes:
        raise DataError(
            f"{root}: {len(videos.class_names)} classes in the label file, recipe {recipe.name} has num_classes = "
            f"{recipe.num_classes}"
        )
    return _set_missing_aside(videos, missing)


def datasets_at(root: str | os.PathLike) -> tuple[str, ...]:
    """The data sets whose label file is in the folder `root`; FileNotFoundError if that does not exist."""
    root = _existing(root)
    return tuple(name for name, file in LABEL_FILES.items() if (root / file).is_file())


def _existing(root: str | os.PathLike) -> Path:
    if not Path(root).is_dir():
        raise FileNotFoundError(f"data root {root} does not exist; set data_root to the folder of the data set")
    return Path(root)


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
