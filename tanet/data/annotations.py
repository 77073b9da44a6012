"""Reads the publishers' own annotation files: which videos a data set has, and their classes.

The files that are read, below the root of each data set, and where the publisher's videos lie:

kinetics       labels.txt (one class a line, in index order), annotations/{train,val}.csv,
               {train,val}/**/ID_START_END.mp4
something_v1   something-something-v1-{labels,train,validation}.csv, 20bn-something-something-v1/ID/00001.jpg
something_v2   something-something-v2-{labels,train,validation}.json, 20bn-something-something-v2/ID.webm

Where else they may lie: tanet.data.finding.

Lists in the formats of other code bases: tanet.data.list_files. Samples for training and testing: tanet.data.lists.
"""

import csv
import io
from pathlib import Path

from tanet.data.finding import published_name
from tanet.data.list_files import Row
from tanet.errors import DataError
from tanet.runtime import read_json, read_text

LABEL_FILES = {
    "kinetics": "labels.txt",
    "something_v1": "something-something-v1-labels.csv",
    "something_v2": "something-something-v2-labels.json",
}


def read_annotations(dataset: str, root: Path, split: str) -> list[Row]:
    """All annotated videos of `split` ("train" or "val"), also those that are missing on the disk, by the names that
    the publisher's files have below the root.

    Raises DataError, which names file and line, or FileNotFoundError.
    """
    class_indices = class_index(root / LABEL_FILES[dataset])
    annotations = annotation_file(dataset, root, split)
    videos = _READERS[dataset](annotations, class_indices)
    if not videos:
        raise DataError(f"{annotations}: lists no videos")
    return [Row(published_name(dataset, split, video_id), None, label) for video_id, label in videos]


def annotation_file(dataset: str, root: Path, split: str) -> Path:
    """The path of the publisher's annotations of a split."""
    if dataset == "kinetics":
        return root / "annotations" / f"{split}.csv"
    suffix = "csv" if dataset == "something_v1" else "json"
    split = "validation" if split == "val" else split
    return root / f"{dataset.replace('something_', 'something-something-')}-{split}.{suffix}"


AnnotatedVideos = list[tuple[str, int]]  # id, index of its class


def _read_kinetics(annotations: Path, class_indices: dict[str, int]) -> AnnotatedVideos:
    videos = []
    rows = csv.reader(io.StringIO(read_text(_existing(annotations))))
    header = next(rows, [])
    if header[:5] != ["label", "youtube_id", "time_start", "time_end", "split"]:
        raise DataError(f"{annotations}, line 1: expected the header label,youtube_id,time_start,time_end,split")
    for row in rows:
        line = rows.line_num
        label, video_id, start, end = _check_columns(annotations, line, row, len(header))[:4]
        start, end = _seconds(annotations, line, start), _seconds(annotations, line, end)
        videos.append((f"{video_id}_{start:06d}_{end:06d}", _label_index(annotations, line, label, class_indices)))
    return videos


def _read_something_v1(annotations: Path, class_indices: dict[str, int]) -> AnnotatedVideos:
    videos = []
    for number, line in enumerate(io.StringIO(read_text(_existing(annotations))), 1):
        video_id, label = _check_columns(annotations, number, line.rstrip("\n").split(";"), 2)
        videos.append((video_id, _label_index(annotations, number, label, class_indices)))
    return videos


def _read_something_v2(annotations: Path, class_indices: dict[str, int]) -> AnnotatedVideos:
    videos = []
    for number, entry in enumerate(_read_json(annotations, list), 1):
        if not isinstance(entry, dict) or not {"id", "template"} <= entry.keys():
            raise DataError(f"{annotations}, entry {number}: expected the fields id and template, got {entry!r:.80}")
        label = entry["template"].replace("[", "").replace("]", "")
        videos.append((entry["id"], _label_index(annotations, number, label, class_indices, "entry")))
    return videos


_READERS = {"kinetics": _read_kinetics, "something_v1": _read_something_v1, "something_v2": _read_something_v2}


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; see docs/data.md for the layout of a data root")
    return path


def _read_json(path: Path, kind: type):
    content = read_json(_existing(path))
    if not isinstance(content, kind):
        raise DataError(f"{path}: expected a JSON {kind.__name__}, got {type(content).__name__}")
    return content


def class_index(path: Path) -> dict[str, int]:
    """Reads a label file -> {class name: index}.

    The file has one name a line, or is a .json file {"name": "index", ...}. Raises DataError if the indices are not
    0 to n - 1, or if a name is listed twice.
    """
    if path.suffix == ".json":
        index = {name: str(number) for name, number in _read_json(path, dict).items()}
        if set(index.values()) != {str(number) for number in range(len(index))}:
            raise DataError(f"{path}: the classes must be numbered from 0 to {len(index) - 1}, each number once")
        return {name: int(number) for name, number in index.items()}
    names = [line.strip() for line in read_text(_existing(path)).split("\n") if line.strip()]
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
