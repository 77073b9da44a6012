"""Reads and writes list files in the formats of other code bases, one video a line:

    path label                              MMAction2, videos
    path num_frames label                   MMAction2, folders of frames; also the official code
    video_id, num_frames, label_index       the official code, with commas

Numbers are read from the end of a line, so names may contain spaces and commas. All lines of a file have one format.

This file looks at the text only. tanet.data.lists looks up the named videos on the disk. The publishers' own
annotations: tanet.data.annotations.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tanet.errors import DataError
from tanet.runtime import write_text

FORMATS = (
    re.compile(r"(?P<name>.+?)\s*,\s*(?P<num_frames>\d+)\s*,\s*(?P<label>\d+)"),
    re.compile(r"(?P<name>.+?)\s+(?P<num_frames>\d+)\s+(?P<label>\d+)"),
    re.compile(r"(?P<name>.+?)\s+(?P<label>\d+)"),
)


class Row(NamedTuple):
    """One line of a list file."""

    name: str  # a path, relative to the data root or absolute, or a video's id
    num_frames: int | None
    label: int  # index of the class, from 0


def read_rows(path: str | os.PathLike, num_classes: int | None = None) -> list[Row]:
    """The rows of a list file. With `num_classes`, labels must be smaller than that.

    Raises FileNotFoundError, or DataError, which names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of videos")
    try:
        # split, because splitlines also splits at characters that a file name may contain, such as U+2028.
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason} at byte {error.start}); convert it") from None
    first = next((line for line in lines if line), None)
    if first is None:
        raise DataError(f"{path}: lists no videos")
    row_format = next((pattern for pattern in FORMATS if pattern.fullmatch(first)), FORMATS[-1])
    return [_read_row(path, number, row_format, line, num_classes) for number, line in enumerate(lines, 1) if line]


def _read_row(path: Path, number: int, row_format: re.Pattern, line: str, num_classes: int | None) -> Row:
    match = row_format.fullmatch(line)
    if match is None:
        columns = " ".join(row_format.groupindex)
        raise DataError(
            f"{path}, line {number}: expected {columns}, since all lines have the first line's format; got {line!r}"
        )
    values = match.groupdict()
    frames, label = values.get("num_frames"), int(values["label"])
    if num_classes is not None and label >= num_classes:
        raise DataError(f"{path}, line {number}: label {label}, but there are {num_classes} classes, numbered from 0")
    return Row(values["name"], None if frames is None else int(frames), label)


def write_list(path: str | os.PathLike, rows: Iterable[Row | tuple[str, int | None, int]]) -> None:
    """Writes rows in MMAction2's formats. The file is written whole or not at all.

    Raises DataError if a name contains a line break, or begins or ends with a space.
    """
    lines = []
    for name, num_frames, label in rows:
        if "\n" in name or name != name.strip():
            raise DataError(f"{name!r}: a name that no list can hold; rename the file")
        columns = [name, str(label)] if num_frames is None else [name, str(num_frames), str(label)]
        lines.append(" ".join(columns) + "\n")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(lines))
