"""Reads the publishers' own annotation files: which videos a data set has, and their classes.

The files that are read, below the root of each data set, and where the videos lie:

kinetics       labels.txt (one class a line, in index order), annotations/{train,val}.csv,
               {train,val}/**/ID_START_END.mp4 (joined on ids, so class folders may have any names)
something_v1   something-something-v1-{labels,train,validation}.csv, 20bn-something-something-v1/ID/00001.jpg
something_v2   something-something-v2-{labels,train,validation}.json, 20bn-something-something-v2/ID.webm

Lists in the formats of other code bases: tanet.data.list_files. Samples for training and testing: tanet.data.lists.
"""

import csv
import json
import os
from pathlib import Path

from tanet.errors import DataError
from tanet.runtime import exists

LABEL_FILES = {
    "kinetics": "labels.txt",
    "something_v1": "something-something-v1-labels.csv",
    "something_v2": "something-something-v2-labels.json",
}
# The folder that holds a data set's videos, and how the videos' names end.
FOLDERS = {
    "kinetics": ("{split}", ".mp4"),
    "something_v1": ("20bn-something-something-v1", ""),
    "something_v2": ("20bn-something-something-v2", ".webm"),
}
AnnotatedVideos = list[tuple[Path, int]]  # video, index of its class


def read_annotations(dataset: str, root: Path, split: str) -> AnnotatedVideos:
    """All annotated videos of `split` ("train" or "val"), also those that are missing on the disk.

    Raises DataError, which names file and line, or FileNotFoundError.
    """
    class_indices = class_index(root / LABEL_FILES[dataset])
    annotations = annotation_file(dataset, root, split)
    folder = root / FOLDERS[dataset][0].format(split=split)
    videos = _READERS[dataset](annotations, folder, class_indices)
    if not videos:
        raise DataError(f"{annotations}: lists no videos")
    return videos


def annotation_file(dataset: str, root: Path, split: str) -> Path:
    """The path of the publisher's annotations of a split."""
    if dataset == "kinetics":
        return root / "annotations" / f"{split}.csv"
    suffix = "csv" if dataset == "something_v1" else "json"
    split = "validation" if split == "val" else split
    return root / f"{dataset.replace('something_', 'something-something-')}-{split}.{suffix}"


def kinetics_videos(folder: Path) -> dict[str, Path]:
    """The videos in a split's folder, at any depth: {file name without .mp4: path}."""
    return {
        name.removesuffix(".mp4"): Path(directory, name)
        for directory, _, names in (os.walk(folder, onerror=_refuse) if exists(folder) else ())
        for name in names
        if name.endswith(".mp4") and not name.startswith("._")  # ._*: left in archives by macOS
    }


def _refuse(error: OSError) -> None:
    raise error  # os.walk would leave out the folder


def _read_kinetics(annotations: Path, folder: Path, class_indices: dict[str, int]) -> AnnotatedVideos:
    on_disk, videos = kinetics_videos(folder), []
    with _open_text(annotations) as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if header[:5] != ["label", "youtube_id", "time_start", "time_end", "split"]:
            raise DataError(f"{annotations}, line 1: expected the header label,youtube_id,time_start,time_end,split")
        for row in rows:
            line = rows.line_num
            label, video_id, start, end = _check_columns(annotations, line, row, len(header))[:4]
            start, end = _seconds(annotations, line, start), _seconds(annotations, line, end)
            stem = f"{video_id}_{start:06d}_{end:06d}"
            path = on_disk.get(stem) or folder / f"{stem}.mp4"
            videos.append((path, _label_index(annotations, line, label, class_indices)))
    return videos


def _read_something_v1(annotations: Path, folder: Path, class_indices: dict[str, int]) -> AnnotatedVideos:
    videos = []
    with _open_text(annotations) as file:
        for number, line in enumerate(file, 1):
            video_id, label = _check_columns(annotations, number, line.rstrip("\r\n").split(";"), 2)
            videos.append((folder / video_id, _label_index(annotations, number, label, class_indices)))
    return videos


def _read_something_v2(annotations: Path, folder: Path, class_indices: dict[str, int]) -> AnnotatedVideos:
    videos = []
    for number, entry in enumerate(_load_json(annotations), 1):
        if "id" not in entry or "template" not in entry:
            raise DataError(f"{annotations}, entry {number}: expected the fields id and template, got {sorted(entry)}")
        label = entry["template"].replace("[", "").replace("]", "")
        path = folder / f"{entry['id']}.webm"
        videos.append((path, _label_index(annotations, number, label, class_indices, "entry")))
    return videos


_READERS = {"kinetics": _read_kinetics, "something_v1": _read_something_v1, "something_v2": _read_something_v2}


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


def class_index(path: Path) -> dict[str, int]:
    """Reads a label file -> {class name: index}.

    The file has one name a line, or is a .json file {"name": "index", ...}. Raises DataError if the indices are not
    0 to n - 1, or if a name is listed twice.
    """
    if path.suffix == ".json":
        index = {name: str(number) for name, number in _load_json(path).items()}
        if set(index.values()) != {str(number) for number in range(len(index))}:
            raise DataError(f"{path}: the classes must be numbered from 0 to {len(index) - 1}, each number once")
        return {name: int(number) for name, number in index.items()}
    with _open_text(path) as file:
        names = [line.strip() for line in file if line.strip()]
    if len(set(names)) != len(names):
        raise DataError(f"{path}: a class name is listed twice")
    return {name: index for index, name in enumerate(names)}


def _check_columns(path: Path, line: int, row: list[str], count: int) -> list[str]:
    if len(row) != count:
        raise DataError(f"{path}, line {line}: expected {count} columns, got {len(row)}: {row}")
    return row


def _seconds(path: Path, line: int, text: str) -> int:
    try:
        return int(float(text))
    except ValueError:
        raise DataError(f"{path}, line {line}: expected a time in seconds, got {text!r}") from None


def _label_index(path: Path, number: int, label: str, class_indices: dict[str, int], unit: str = "line") -> int:
    if label not in class_indices:
        raise DataError(f"{path}, {unit} {number}: label {label!r} is not in the label file")
    return class_indices[label]
