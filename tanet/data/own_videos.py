"""Videos of one's own: class folders or one table -> the classes, and the videos of each split.

A data root of `dataset="folder"` holds one of these:

    ROOT/train/CLASS/*, ROOT/val/CLASS/*   videos, or folders of frames, at any depth below the class folders
    ROOT/CLASS/*                           the same without a split
    ROOT/videos.csv                        a header path,label or path,label,split, and a line for each video

Where the split is not given, ROOT/lists/{train,val}.txt hold it; `tanet data lists ROOT` makes them. Lists alone, with
the class names in ROOT/labels.txt, are a data root, too. labels.txt sets the order of the classes; without it they
are in alphabetical order.
"""

import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from tanet.data.annotations import class_index
from tanet.data.finding import is_video_file, walk_once
from tanet.data.frame_names import is_picture
from tanet.data.list_files import Row, read_rows
from tanet.errors import DataError
from tanet.runtime import read_text

OWN_TABLE, OWN_LABELS, LISTS = "videos.csv", "labels.txt", "lists"
VAL_SHARE = 0.2  # of the videos, where a split is made


class OwnVideo(NamedTuple):
    """A video as it was found."""

    name: str  # path of a video file or a folder of frames, relative to the root, with slashes
    class_name: str
    split: str | None  # "train" or "val"; None: the data root gives no split


@dataclass(frozen=True)
class OwnVideos:
    """What a data root of one's own holds."""

    class_names: tuple[str, ...]  # in index order
    videos: tuple[OwnVideo, ...]
    ignored: tuple[Path, ...] = ()  # files in class folders that are neither videos nor frames

    @property
    def has_split(self) -> bool:
        """Whether the data root itself says which video is for training."""
        return bool(self.videos) and self.videos[0].split is not None

    def rows(self, split: str | None = None) -> list[Row]:
        """The videos of a split, named below the root. With None, all videos."""
        index = {name: number for number, name in enumerate(self.class_names)}
        return [Row(video.name, None, index[video.class_name]) for video in self.videos if split in (None, video.split)]


def read_own_videos(root: Path) -> OwnVideos:
    """The classes and videos below `root`. `videos` is empty where only lists and labels.txt are there.

    Raises DataError for one class only, an empty class folder, a class without training videos, and names that differ
    in case, spaces, `_` or `-` alone. FileNotFoundError if there is nothing that could be read.
    """
    videos, ignored = (_read_table(root), []) if (root / OWN_TABLE).is_file() else _read_folders(root)
    names = _class_names(root, videos)
    if not names:
        raise FileNotFoundError(
            f"{root}: no videos of one's own: neither {OWN_TABLE}, nor train/CLASS and val/CLASS, nor CLASS folders, "
            f"nor {OWN_LABELS} with {LISTS}/train.txt and {LISTS}/val.txt; see docs/own_videos.md"
        )
    if len(names) == 1:
        raise DataError(f"{root}: one class only, {names[0]!r}; a classifier needs two or more")
    untrained = {video.class_name for video in videos if video.split == "val"}
    untrained -= {video.class_name for video in videos if video.split == "train"}
    if untrained:
        raise DataError(
            f"{root}: class {min(untrained)!r} has videos in val, but none in train; add some, or remove it"
        )
    return OwnVideos(names, tuple(videos), tuple(ignored))


def _read_folders(root: Path) -> tuple[list[OwnVideo], list[Path]]:
    """The videos in class folders, and the files there that are no videos."""
    split_folders = {split: root / split for split in ("train", "val") if (root / split).is_dir()}
    if len(split_folders) == 1:
        (given,) = split_folders
        other = "val" if given == "train" else "train"
        raise FileNotFoundError(
            f"{root / other}: no such folder, but there is {root / given}; make it, or move the class folders up into "
            f"{root} and let `tanet data lists` make a split"
        )
    videos, ignored = [], []
    for split, folder in (split_folders or {None: root}).items():
        for class_folder in _class_folders(folder):
            found, others = find_videos(class_folder)
            if not found:
                raise DataError(f"{class_folder}: a class folder without videos; fill it, or remove it")
            videos += [OwnVideo(path.relative_to(root).as_posix(), class_folder.name, split) for path in found]
            ignored += others
    return videos, ignored


def _class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` in alphabetical order; not hidden ones, and not our lists."""
    entries = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return [entry for entry in entries if entry.name != LISTS or find_videos(entry)[0]]


def find_videos(folder: Path) -> tuple[list[Path], list[Path]]:
    """The video files and folders of frames below `folder`, and the files that are neither, each in order of names."""
    videos, others = [], []
    for directory, folders, names in walk_once(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in names if not name.startswith("."))
        files = [Path(directory, name) for name in names if is_video_file(name)]
        if not files and Path(directory) != folder and any(map(is_picture, names)):
            videos.append(Path(directory))
            folders.clear()
            continue
        videos += files
        others += [Path(directory, name) for name in names if not is_video_file(name)]
    return videos, others


def _read_table(root: Path) -> list[OwnVideo]:
    """The rows of videos.csv."""
    path = root / OWN_TABLE
    table = csv.DictReader(io.StringIO(read_text(path), newline=""))
    columns = [name.strip() for name in table.fieldnames or ()]
    if columns not in (["path", "label"], ["path", "label", "split"]):
        raise DataError(f"{path}, line 1: expected the header path,label or path,label,split, got {','.join(columns)}")
    table.fieldnames = columns
    videos = []
    for row in table:
        if None in row or None in row.values() or not row["path"].strip() or not row["label"].strip():
            raise DataError(f"{path}, line {table.line_num}: expected {','.join(columns)}, got {list(row.values())}")
        split = row["split"].strip() if "split" in row else None
        if split not in (None, "train", "val"):
            raise DataError(f"{path}, line {table.line_num}: split must be train or val, got {split!r}")
        videos.append(OwnVideo(row["path"].strip(), row["label"].strip(), split))
    if not videos:
        raise DataError(f"{path}: lists no videos")
    return videos


def _class_names(root: Path, videos: list[OwnVideo]) -> tuple[str, ...]:
    """The classes in index order: as in labels.txt, or by name."""
    found = {video.class_name for video in videos}
    by_key = {}
    for name in sorted(found):
        other = by_key.setdefault(_key(name), name)
        if other != name:
            raise DataError(
                f"{root}: are the classes {other!r} and {name!r} one class? Give them one name, or clear ones"
            )
    path = root / OWN_LABELS
    if not path.is_file():
        return tuple(sorted(found))
    names = list(class_index(path))
    unlisted = sorted(found - set(names))
    if unlisted:
        raise DataError(f"{path}: lacks the class {unlisted[0]!r}; add it as the last line, or remove {OWN_LABELS}")
    return tuple(names)


def _key(name: str) -> str:
    """What is left of a name without the differences that people make by mistake."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def own_rows(own: OwnVideos, root: Path, split: str) -> tuple[Path, list[Row]]:
    """What lists the videos of `split`, and these: the data root's own split, or else a list in ROOT/lists.

    DataError if there is neither.
    """
    if own.has_split:
        return root / OWN_TABLE if (root / OWN_TABLE).is_file() else root / split, own.rows(split)
    path = root / LISTS / f"{split}.txt"
    if not path.is_file():
        raise DataError(f"{root}: nothing says which videos are for {split}; `tanet data lists {root}` makes a split")
    return path, read_rows(path, len(own.class_names))


def make_split(rows: list[Row], group_by: str | None = None, val_share: float = VAL_SHARE) -> dict[str, list[Row]]:
    """Splits videos into {"train": [...], "val": [...]}; a function of their names alone.

    Without groups, `val_share` of each class's videos, at least one, are for validation. `group_by` is a regular
    expression that finds a video's group (the speaker, the scene) in its name: what its first bracket matches, or all
    that it matches. All videos of a group are on one side. Raises ValueError or DataError
    if that is impossible, or if a class then lacks training videos.
    """
    if not 0 < val_share < 1:
        raise ValueError(f"val_share must be between 0 and 1, got {val_share}")
    if group_by is None:
        in_val = _split_by_name(rows, val_share)
    else:
        in_val = _split_by_group([_group(row.name, group_by) for row in rows], val_share)
    split = {"train": [], "val": []}
    for row, is_val in zip(rows, in_val):
        split["val" if is_val else "train"].append(row)
    untrained = {row.label for row in rows} - {row.label for row in split["train"]}
    if untrained:
        example = next(row.name for row in rows if row.label in untrained)
        raise DataError(f"{example}: no video of this class is left for training; it needs more videos, or more groups")
    return split


def _split_by_name(rows: list[Row], val_share: float) -> list[bool]:
    """True for the videos that are for validation: those of each class whose names have the smallest hashes."""
    by_class = {}
    for row in rows:
        by_class.setdefault(row.label, []).append(row.name)
    chosen = set()
    for members in by_class.values():
        chosen |= set(sorted(members, key=_hash)[: max(1, round(val_share * len(members)))])
    return [row.name in chosen for row in rows]


def _split_by_group(groups: list[str], val_share: float) -> list[bool]:
    """True for the videos of the groups that are for validation: by the smallest hash, until the share is reached."""
    ordered = sorted(set(groups), key=_hash)
    if len(ordered) < 2:
        raise DataError(f"one group only, {ordered[0]!r}; a split by groups needs two or more")
    chosen = set()
    while len(chosen) < len(ordered) - 1 and sum(group in chosen for group in groups) < val_share * len(groups):
        chosen.add(ordered[len(chosen)])
    return [group in chosen for group in groups]


def _group(name: str, pattern: str) -> str:
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise ValueError(f"group_by {pattern!r} is no regular expression ({error})") from None
    if match is None:
        raise DataError(f"{name}: group_by {pattern!r} finds no group in {name}")
    return match.group(1) if match.re.groups else match.group()


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
