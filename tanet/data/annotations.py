"""The publishers' annotations of the data sets: which videos there are, and their classes.

kinetics       labels.txt (one class a line, in index order), annotations/{train,val}.csv,
               {train,val}/**/ID_START_END.mp4 (joined on ids: the class folders' spelling does not matter)
something_v1   something-something-v1-{labels,train,validation}.csv, 20bn-something-something-v1/ID/00001.jpg
something_v2   something-something-v2-{labels,train,validation}.json, 20bn-something-something-v2/ID.webm
"""

import csv
import json
import os
from pathlib import Path

from tanet.errors import DataError

LABEL_FILES = {
    "kinetics": "labels.txt",
    "something_v1": "something-something-v1-labels.csv",
    "something_v2": "something-something-v2-labels.json",
}
# Where a data set's videos lie, and how their names end.
FOLDERS = {
    "kinetics": ("{split}", ".mp4"),
    "something_v1": ("20bn-something-something-v1", ""),
    "something_v2": ("20bn-something-something-v2", ".webm"),
}
Rows = list[tuple[Path, int]]  # video, index of its class


def read_annotations(dataset: str, root: Path, split: str) -> Rows:
    """The videos of `split` ("train" or "val"), there or not. Raises DataError or FileNotFoundError."""
    names, annotations = class_index(root / LABEL_FILES[dataset]), annotation_file(dataset, root, split)
    on_disk = root / FOLDERS[dataset][0].format(split=split)
    rows = _READERS[dataset](annotations, on_disk, names)
    if not rows:
        raise DataError(f"{annotations}: lists no videos")
    return rows


def annotation_file(dataset: str, root: Path, split: str) -> Path:
    """Where the publisher's annotations of a split lie."""
    if dataset == "kinetics":
        return root / "annotations" / f"{split}.csv"
    kind = "csv" if dataset == "something_v1" else "json"
    split = "validation" if split == "val" else split
    return root / f"{dataset.replace('something_', 'something-something-')}-{split}.{kind}"


def kinetics_videos(folder: Path) -> dict[str, Path]:
    """The videos below a split's folder by their names without .mp4, at whatever depth they lie."""
    return {
        name.removesuffix(".mp4"): Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith(".mp4") and not name.startswith("._")
    }


def _kinetics(annotations: Path, folder: Path, names: dict[str, int]) -> Rows:
    on_disk, found = kinetics_videos(folder), []
    with _open_text(annotations) as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if header[:5] != ["label", "youtube_id", "time_start", "time_end", "split"]:
            raise DataError(f"{annotations}, line 1: expected the header label,youtube_id,time_start,time_end,split")
        for row in rows:
            label, video_id, start, end = _columns(annotations, rows.line_num, row, len(header))[:4]
            start, end = (_seconds(annotations, rows.line_num, text) for text in (start, end))
            stem = f"{video_id}_{start:06d}_{end:06d}"
            path = on_disk.get(stem) or folder / f"{stem}.mp4"
            found.append((path, _label_index(annotations, rows.line_num, label, names)))
    return found


def _something_v1(annotations: Path, folder: Path, names: dict[str, int]) -> Rows:
    found = []
    with _open_text(annotations) as file:
        for number, line in enumerate(file, 1):
            video_id, label = _columns(annotations, number, line.rstrip("\r\n").split(";"), 2)
            found.append((folder / video_id, _label_index(annotations, number, label, names)))
    return found


def _something_v2(annotations: Path, folder: Path, names: dict[str, int]) -> Rows:
    found = []
    for number, entry in enumerate(_load_json(annotations), 1):
        if "id" not in entry or "template" not in entry:
            raise DataError(f"{annotations}, entry {number}: expected the fields id and template, got {sorted(entry)}")
        label = entry["template"].replace("[", "").replace("]", "")
        path = folder / f"{entry['id']}.webm"
        found.append((path, _label_index(annotations, number, label, names, "entry")))
    return found


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


def class_index(path: Path) -> dict[str, int]:
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
