"""Reads and writes list files in the formats of other code bases, one video a line:

    path label                              MMAction2, videos
    path num_frames label                   MMAction2, folders of frames; also the official code
    video_id, num_frames, label_index       the official code, with commas
    path,label                              other code bases, as spreadsheets and pandas write it
    path                                    a test set without labels; so is the label -1

Fields are split where a line has commas (with blanks around them or without), or else blanks. They are read from the
end of a line, so names may contain both. All lines of a file have one form. In names `\\` is `/`, as on Windows, and
the quotes with which a CSV file protects a name are taken off.

This file looks at the text only. tanet.data.lists looks up the named videos on the disk. The publishers' own
annotations: tanet.data.annotations.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tanet.errors import DataError
from tanet.runtime import read_text, user_path, write_text

NAME, SPLITS = r"(.*[^\s,])", (r"\s*,\s*", r"\s+")
# The forms of a line, by the names of its fields. The first form that fits a line counts.
FORMS = {
    "path num_frames label": [re.compile(rf"{NAME}{split}(\d+){split}(-?\d+)") for split in SPLITS],
    "path label": [re.compile(rf"{NAME}{split}()(-?\d+)") for split in SPLITS],
    "path": [re.compile("([^,]+)()()")],
}
OTHER = "another form"
UNKNOWN = "-1"  # the label of a video whose class is not known


class Row(NamedTuple):
    """One line of a list file."""

    name: str  # a path, relative to the data root or absolute, or a video's id
    num_frames: int | None
    label: int | None  # index of the class, from 0; None: not known


def read_rows(path: str | os.PathLike, num_classes: int | None = None) -> list[Row]:
    """The rows of a list file. With `num_classes`, labels must be smaller than that.

    Raises FileNotFoundError, or DataError, which names file and line.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of videos")
    # split, because splitlines also splits at characters that a file name may contain, such as U+2028.
    lines = [line.strip() for line in read_text(path).split("\n")]
    fields = {number: _fields(line) for number, line in enumerate(lines, 1) if line}
    if not fields:
        raise DataError(f"{path}: lists no videos")
    _check_forms(path, lines, {number: form for number, (form, _) in fields.items()})
    rows = [_row(path, number, *values, num_classes) for number, (_, values) in fields.items()]
    _check_unknown(path, dict(zip(fields, rows)))
    return rows


def _fields(line: str) -> tuple[str, tuple[str, str, str]]:
    """The form of a line, or OTHER, and its name, num_frames and label; fields that it lacks are empty."""
    matches = ((form, pattern.fullmatch(line)) for form, patterns in FORMS.items() for pattern in patterns)
    return next(((form, match.groups()) for form, match in matches if match), (OTHER, ("", "", "")))


def _check_forms(path: Path, lines: list[str], forms: dict[int, str]) -> None:
    """DataError for the first line whose form is not that of most lines (of the first, if several are as frequent)."""
    counts = Counter(forms.values())
    usual = max(counts, key=lambda form: (form != OTHER, counts[form]))
    for number, form in forms.items():
        if form == OTHER == usual:
            raise DataError(f"{path}, line {number}: expected {', or '.join(FORMS)}; got {lines[number - 1]!r}")
        if form != usual:
            raise DataError(
                f"{path}, line {number}: expected {usual}, the form of {counts[usual]} of the {len(forms)} lines; got "
                f"{lines[number - 1]!r}, which has {form}. All lines have one form, and a list has no header"
            )


def _row(path: Path, number: int, name: str, num_frames: str, label: str, num_classes: int | None) -> Row:
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].replace('""', '"')
    index = None if label in ("", UNKNOWN) else int(label)
    if index is not None and index < 0:
        raise DataError(f"{path}, line {number}: label {label}; classes are numbered from 0, and -1 is an unknown one")
    if index is not None and num_classes is not None and index >= num_classes:
        raise DataError(f"{path}, line {number}: label {label}, but there are {num_classes} classes, numbered from 0")
    return Row(name.replace("\\", "/"), int(num_frames) if num_frames else None, index)


def _check_unknown(path: Path, rows: dict[int, Row]) -> None:
    """DataError if some rows have a label and others have none: neither a training nor an accuracy would be right."""
    unknown = [number for number, row in rows.items() if row.label is None]
    if 0 < len(unknown) < len(rows):
        raise DataError(
            f"{path}, line {unknown[0]}: the label is unknown (-1), as in {len(unknown)} of the {len(rows)} lines; use "
            "one list for videos with labels, and another for those without"
        )


def write_list(path: str | os.PathLike, rows: Iterable[Row | tuple[str, int | None, int]]) -> None:
    """Writes rows in MMAction2's formats. The file is written whole or not at all.

    Raises DataError for a name that would not be read back as it is, such as one with a line break.
    """
    lines, path = [], user_path(path)
    for row in map(Row._make, rows):
        frames = "" if row.num_frames is None else f" {row.num_frames}"
        lines.append(f"{row.name}{frames} {UNKNOWN if row.label is None else row.label}")
        if set(row.name) & set("\n\r") or _row(path, 1, *_fields(lines[-1].strip())[1], None) != row:
            raise DataError(f"{row.name!r}: a name that no list can hold; rename the file")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(f"{line}\n" for line in lines))
