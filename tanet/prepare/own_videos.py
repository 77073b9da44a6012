"""Videos of one's own, from a folder to lists that train: what `tanet data lists|verify|resize ROOT` do.

`lists` writes labels.txt, lists/{train,val}.txt and probes.csv, and makes the split where the data root gives none.
What a data root may look like: tanet.data.own_videos.
"""

from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from tanet import recipes
from tanet.data import (
    LISTS,
    OWN_LABELS,
    OWN_TABLE,
    SPLITS,
    VAL_SHARE,
    Overview,
    OwnVideos,
    VideoList,
    dense_clips,
    load_list,
    make_split,
    overview,
    own_rows,
    read_own_videos,
    uniform_frames,
)
from tanet.errors import DataError
from tanet.prepare.common import write_table
from tanet.prepare.list_writing import write_lists
from tanet.prepare.resizing import refuse_originals, resize, resized_name, say_failures
from tanet.prepare.verifying import verify
from tanet.runtime import write_text

RESIZE_SECONDS = 600.0  # time limit of a video


def write_own_lists(
    root: Path, processes: int, group_by: str | None = None, val_share: float | None = None
) -> Overview:
    """Writes labels.txt, the lists of both splits and probes.csv; returns what the data set is made of.

    Where the data root gives no split, one is made by tanet.data.make_split, once: lists that are there already stay.
    DataError if `group_by` or `val_share` asks for another split than the one that is there.
    """
    own = read_own_videos(root)
    listed = [split for split in SPLITS if (root / LISTS / f"{split}.txt").is_file()]
    if (own.has_split or listed) and (group_by is not None or val_share is not None):
        where = "train/, val/ or videos.csv" if own.has_split else f"{LISTS}/"
        raise DataError(f"{root}: has a split already, by {where}; remove that to make another")
    if not (root / OWN_LABELS).is_file():
        write_text(root / OWN_LABELS, "".join(f"{name}\n" for name in own.class_names))
    if own.has_split:
        rows = {split: own.rows(split) for split in SPLITS}
    elif listed:
        rows = {split: own_rows(own, root, split)[1] for split in SPLITS}
        unlisted = {row.name for row in own.rows()}.difference(row.name for part in rows.values() for row in part)
        if unlisted:
            print(
                f"{len(unlisted)} videos are in neither list, the first: {min(unlisted)}. Remove {root / LISTS} to "
                "split all of them anew"
            )
    else:
        rows = make_split(own.rows(), group_by, val_share or VAL_SHARE)
    write_lists(root, {split: [(row.name, row.label) for row in part] for split, part in rows.items()}, processes)
    if own.ignored:
        print(f"{len(own.ignored)} files are neither videos nor frames and are left out, the first: {own.ignored[0]}")
    return overview(*(_videos(root, split) for split in SPLITS), recipes.get("own_8f").num_frames)


def _videos(root: Path, split: str) -> VideoList:
    return load_list(recipes.get("own_8f"), root, split)


def frames_to_check(num_frames: int) -> list[int]:
    """The frames of a video that `verify` reads: the first, the last, and those of tests of either sampling."""
    tested = [uniform_frames(num_frames, 8, twice=True).ravel(), dense_clips(num_frames, 8).ravel()]
    return sorted({0, num_frames - 1, *np.concatenate(tested).tolist()})


def verify_own_videos(root: Path, processes: int, seconds: float = 60.0, again: bool = False) -> None:
    """Reads every video that is listed; see tanet.prepare.verify."""
    paths = [sample.path for split in SPLITS for sample in _videos(root, split).samples]
    verify(root, paths, frames_to_check, processes, seconds, again)


def resize_own_videos(root: Path, out: Path, short_side: int, processes: int, crf: int = 20) -> None:
    """Writes all videos below `root` anew below `out`, smaller, with the same classes and the same split.

    Files become .mp4 files, frames of a folder get one size; OUT/videos.csv lists them. `short_side` in pixels; `crf`:
    x264's quality, less is better. DataError for a video that lies outside the root.
    """
    refuse_originals(root, out)
    own = read_own_videos(root)
    listed = {split: own_rows(own, root, split)[1] for split in SPLITS} if _is_split(own, root) else {None: own.rows()}
    new_names = {row.name: _resized_name(root, row.name) for rows in listed.values() for row in rows}
    repeated = [name for name, count in Counter(new_names.values()).items() if count > 1]
    if repeated:
        raise DataError(f"{root}: two videos would become {repeated[0]}; rename one")
    failures = resize(
        root, out, {new: old for old, new in new_names.items()}, short_side, crf, processes, RESIZE_SECONDS
    )
    write_text(out / OWN_LABELS, "".join(f"{name}\n" for name in own.class_names))
    table = [
        {"path": new_names[row.name], "label": own.class_names[row.label]} | ({"split": split} if split else {})
        for split, rows in listed.items()
        for row in rows
        if row.name not in failures
    ]
    write_table(out / OWN_TABLE, ("path", "label") if None in listed else ("path", "label", "split"), table)
    say_failures(out, len(failures), len(new_names))


def _is_split(own: OwnVideos, root: Path) -> bool:
    return own.has_split or (root / LISTS / "train.txt").is_file()


def _resized_name(root: Path, name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{name}: lies outside {root}, so it has no place in the folder of the resized videos")
    return resized_name(path)
