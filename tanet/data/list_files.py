"""Lists of videos as other code bases write them, one video a line:

    path label                              MMAction2, videos
    path num_frames label                   MMAction2, folders of frames; the official code as well
    video_id, num_frames, label_index       the official code, with commas

Numbers are read from the right, so that names may hold spaces and commas. All lines of a file are of one format.
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
    name: str  # a path, below the data root or absolute, or an id
    num_frames: int | None
    label: int  # index of the class, from 0


def read_rows(path: str | os.PathLike, num_classes: int | None = None) -> list[Row]:
    """The rows of a list file, labels below `num_classes`. FileNotFoundError, or DataError naming file and line."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of videos")
    try:
        # Not splitlines, which also splits at characters that names may hold.
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason} at byte {error.start}); convert it") from None
    first = next((line for line in lines if line), None)
    if first is None:
        raise DataError(f"{path}: lists no videos")
    known = next((known for known in FORMATS if known.fullmatch(first)), FORMATS[-1])
    return [_row(path, number, known, line, num_classes) for number, line in enumerate(lines, 1) if line]


def _row(path: Path, number: int, known: re.Pattern, line: str, num_classes: int | None) -> Row:
    match = known.fullmatch(line)
    if match is None:
        wanted = " ".join(known.groupindex)
        raise DataError(f"{path}, line {number}: expected {wanted}, all lines in the first one's format, got {line!r}")
    values = match.groupdict()
    frames, label = values.get("num_frames"), int(values["label"])
    if num_classes is not None and label >= num_classes:
        raise DataError(f"{path}, line {number}: label {label}, but there are {num_classes} classes, numbered from 0")
    return Row(values["name"], None if frames is None else int(frames), label)


def write_list(path: str | os.PathLike, rows: Iterable[Row | tuple[str, int | None, int]]) -> None:
    """Writes rows in MMAction2's format, whole or not at all."""
    lines = []
    for name, num_frames, label in rows:
        if "\n" in name or name != name.strip():
            raise DataError(f"{name!r}: a name that no list can hold; rename the file")
        lines.append(" ".join(map(str, (name, label) if num_frames is None else (name, num_frames, label))) + "\n")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(lines))
