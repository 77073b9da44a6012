"""The samples of a split: its listed videos with their classes, joined with what is on the disk.

tanet.data.annotations reads the publishers' annotations, tanet.data.list_files reads list files of other code bases.
`load_list` takes either and joins it with the disk: it finds the videos, refuses or leaves out missing ones, and
attaches the stored probes (`probes.csv`, which `write_probes` writes).
"""

import csv
import hashlib
import io
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tanet.data import remarks
from tanet.data.annotations import LABEL_FILES, annotation_file, class_index, read_annotations
from tanet.data.finding import explain_missing, search
from tanet.data.list_files import Row, read_rows
from tanet.data.own_videos import own_rows, read_own_videos
from tanet.data.probing import READERS, Probe, load_decord
from tanet.data.video import DecordFile, FrameFolder, PyAVFile, open_video
from tanet.errors import DataError, VideoError
from tanet.recipes import Recipe
from tanet.runtime import file_status, read_text, user_path, write_text

SPLITS = ("train", "val")
SKIPPING = ("raise", "skip")
PROBES = "probes.csv"
COLUMNS = ["path", "size", *(field.name for field in fields(Probe))]
STAT_THREADS, STAT_BATCH = 16, 500  # threads that ask for file sizes, and files that a thread takes at a time
NAMED_REASONS = 6  # that a summary names; there can be dozens of odd frame sizes alone

FOLDER = -1  # in place of a folder's size

ListedVideo = tuple[Path, int | None, int | None]  # video, index of its class, number of frames if the list tells it
StoredProbes = dict[str, tuple[int, Probe]]  # {path relative to the root, with "/": (file size in bytes, probe)}


@dataclass(frozen=True, slots=True)
class Sample:
    """A video with its class."""

    path: Path  # video file or frame folder
    label: int | None  # index into class_names; None: not known, in a list without labels
    probe: Probe | None = None  # the stored probe; None: the file is probed each time it is opened
    num_frames: int | None = None  # of a folder of frames, by the list file, if it tells

    def open(self) -> DecordFile | PyAVFile | FrameFolder:
        """Opens the video for reading. Raises VideoError, also if it has fewer frames than `num_frames`."""
        video = open_video(self.path, self.probe)
        if self.num_frames is not None and len(video) < self.num_frames:
            video.close()
            raise VideoError(
                f"{self.path}: {len(video)} frames in it, but {self.num_frames} by the list; some are missing"
            )
        return video


@dataclass(frozen=True)
class VideoList:
    """The videos of one split."""

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]  # in index order
    missing: tuple[str, ...] = ()  # file names of listed videos that were left out, because they are not on the disk
    file: Path | None = None  # the list, or the publisher's annotations
    remarks: tuple[str, ...] = ()  # what is odd about the list, see tanet.data.remarks

    def __len__(self) -> int:
        return len(self.samples)

    def digest(self) -> str:
        """SHA-256 of the videos' file names and labels, in order, in hexadecimal digits."""
        names = [[sample.path.name, sample.label] for sample in self.samples]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def load_list(
    recipe: Recipe,
    root: str | os.PathLike,
    split: str,
    missing: str = "raise",
    file: str | os.PathLike | None = None,
    unlabelled: bool = False,
) -> VideoList:
    """The videos of `split` ("train" or "val") below `root`, checked against the recipe and the disk.

    The videos come from the list `file`, see tanet.data.list_files, or without one from the publisher's annotations,
    see tanet.data.annotations. The class names always come from the publisher's label file.
    `missing`: "raise" refuses a list with videos that are not on the disk and names the first one; "skip" leaves them
    out and puts their names into `VideoList.missing`.
    `unlabelled`: accepts a list without labels, for tests; the labels of its samples are None.
    Raises DataError, FileNotFoundError or, for unknown values of `split` and `missing`, ValueError.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be train or val, got {split!r}")
    if missing not in SKIPPING:
        raise ValueError(f"missing must be raise or skip, got {missing!r}")
    root = _existing_folder(root)
    own = read_own_videos(root) if recipe.dataset == "folder" else None
    names = own.class_names if own else class_names_at(recipe.dataset, root)
    if recipe.num_classes not in (0, len(names)):  # 0: as many as there are
        raise DataError(
            f"{root}: {len(names)} classes {'there' if own else 'in the label file'}, "
            f"recipe {recipe.name} has num_classes = {recipe.num_classes}"
        )
    # Nobody keeps Kinetics as published, 240,000 files in one folder: its annotations name no paths to ask for.
    ask_first = file is not None or recipe.dataset != "kinetics"
    if file is None and own:
        file, rows = own_rows(own, root, split)
    elif file is None:
        file = annotation_file(recipe.dataset, root, split)
        rows = read_annotations(recipe.dataset, root, split)
    else:
        file = user_path(file)
        rows = read_rows(file, len(names))
        if rows[0].label is None and not unlabelled:
            raise DataError(
                f"{file}: a list without labels, which can be tested only; its lines must end with the class's number"
            )
    paths, sizes = _find_videos(rows, recipe.dataset, root, split, ask_first)
    absent = [row.name for row, size in zip(rows, sizes) if size is None]
    if absent and (missing == "raise" or len(absent) == len(rows)):
        explanation = explain_missing(absent[0], recipe.dataset, root, split)
        raise _missing_videos(root / user_path(absent[0]), len(absent), len(rows), explanation)
    listed = [(path, row.label, row.num_frames) for path, row in zip(paths, rows)]
    samples = _join(listed, sizes, root)
    numbers = [row.num_frames for row, size in zip(rows, sizes) if size is not None]
    counted_files = ((n, s.probe) for n, s in zip(numbers, samples) if n is not None and s.num_frames is None)
    odd = (*remarks.repeated(samples), *remarks.frame_counts(counted_files))
    return VideoList(samples, names, tuple(os.path.basename(name) for name in absent), file, odd)


def _find_videos(
    rows: list[Row], dataset: str, root: Path, split: str, ask_first: bool
) -> tuple[list[Path], list[int | None]]:
    """The videos that the rows name, and their sizes in bytes (None: not on the disk); see tanet.data.finding.

    Without `ask_first` the names are no paths to ask the disk for: a question takes a network disk a millisecond.
    """
    paths = [root / user_path(row.name) for row in rows]
    sizes = file_sizes(paths) if ask_first else [None] * len(rows)
    lost = [i for i, size in enumerate(sizes) if size is None and not user_path(rows[i].name).is_absolute()]
    found = search([rows[i].name for i in lost], dataset, root, split) if lost else {}
    lost = [i for i in lost if rows[i].name in found]
    for i in lost:
        paths[i] = found[rows[i].name]
    for i, size in zip(lost, file_sizes([paths[i] for i in lost])):
        sizes[i] = size
    return paths, sizes


def file_sizes(paths: list[Path]) -> list[int | None]:
    """Sizes in bytes, FOLDER for folders, None for what does not exist. Raises other errors of the disk, which are no
    answer: see tanet.runtime.file_status.

    Threads ask for many at a time: a network disk answers slowly.
    """
    batches = [paths[first : first + STAT_BATCH] for first in range(0, len(paths), STAT_BATCH)]
    with ThreadPoolExecutor(STAT_THREADS) as pool:
        return [size for sizes in pool.map(_sizes, batches) for size in sizes]


def _sizes(paths: list[Path]) -> list[int | None]:
    sizes = []
    for path in paths:
        found = file_status(path)
        if found is None:
            sizes.append(None)
        else:
            sizes.append(FOLDER if stat.S_ISDIR(found.st_mode) else found.st_size)
    return sizes


def _join(listed: list[ListedVideo], sizes: list[int | None], root: Path) -> tuple[Sample, ...]:
    """The listed videos that exist, each with its stored probe."""
    probes = read_probes(root)
    prefix = str(root / "_").removesuffix("_")  # of all paths below the root: "data/", and "" for the root "."
    return tuple(
        Sample(path, label, _stored_probe(probes, str(path), prefix, size), num_frames if size == FOLDER else None)
        for (path, label, num_frames), size in zip(listed, sizes)
        if size is not None
    )


def _stored_probe(probes: StoredProbes, path: str, prefix: str, size: int) -> Probe | None:
    """The stored probe of a file below the root, if the file still has the size that it had when it was probed.

    Paths are strings here, because pathlib's `relative_to` would take longer than all other work of `load_list`.
    """
    if not path.startswith(prefix):
        return None
    probed_size, probe = probes.get(path[len(prefix) :], (None, None))
    return probe if probed_size == size else None


def describe_readers(probes: Iterable[Probe | None]) -> str:
    """One line about who reads the videos; None stands for a video that is not probed.

    "1204 videos: 1200 read by decord; 4 by PyAV (codec av1: 3, interlaced: 1)"
    """
    probes = list(probes)
    unprobed = probes.count(None)
    reasons = Counter(probe.why for probe in probes if probe and probe.reader == "pyav")
    by_decord = len(probes) - unprobed - reasons.total()
    if by_decord and not load_decord():
        reasons["decord is not installed"], by_decord = by_decord, 0
    parts = [f"{by_decord} read by decord"]
    if reasons:
        named = reasons.most_common(NAMED_REASONS)
        others = reasons.total() - sum(count for _, count in named)
        if others:
            named.append(("other reasons", others))
        counts = ", ".join(f"{why}: {count}" for why, count in named)
        parts.append(f"{reasons.total()} by PyAV ({counts})")
    if unprobed:
        parts.append(f"{unprobed} not probed yet, which is done each time they are opened")
    return f"{len(probes)} videos: {'; '.join(parts)}"


def datasets_at(root: str | os.PathLike) -> tuple[str, ...]:
    """The data sets whose label file is in the folder `root`. Raises FileNotFoundError if `root` does not exist."""
    root = _existing_folder(root)
    return tuple(name for name, file in LABEL_FILES.items() if (root / file).is_file())


def _existing_folder(root: str | os.PathLike) -> Path:
    root = user_path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"data root {root} does not exist; set data_root to the folder of the data set")
    return root


def class_names_at(dataset: str, root: str | os.PathLike) -> tuple[str, ...]:
    """The class names of a data set's label file below `root`, or of one's own videos there, in index order."""
    if dataset == "folder":
        return read_own_videos(user_path(root)).class_names
    index = class_index(user_path(root) / LABEL_FILES[dataset])
    return tuple(sorted(index, key=index.get))


def _missing_videos(first: Path, absent: int, count: int, explanation: str) -> FileNotFoundError:
    if absent == count:
        return FileNotFoundError(f"{first}: none of the {count} listed videos is there. {explanation}")
    return FileNotFoundError(
        f"{first}: listed, but not there; {absent} of {count} videos are missing. {explanation} "
        'Restore them, or pass missing="skip" to leave them out'
    )


def write_probes(root: str | os.PathLike, probes: StoredProbes) -> None:
    """Writes root/probes.csv, whole or not at all: {path relative to `root`, with "/": (file size in bytes, probe)}."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([path, size, *astuple(probe)] for path, (size, probe) in sorted(probes.items()))
    write_text(Path(root) / PROBES, text.getvalue())


def read_probes(root: str | os.PathLike) -> StoredProbes:
    """What `write_probes` wrote below `root`; {} if there is no such file. Raises ValueError naming file and line."""
    path = Path(root) / PROBES
    if not path.is_file():
        return {}
    rows = csv.reader(io.StringIO(read_text(path)))
    if next(rows, None) != COLUMNS:
        raise ValueError(f"{path}, line 1: expected the header {','.join(COLUMNS)}; remove the file to probe again")
    return dict(_read_probe(path, rows.line_num, row) for row in rows)


def _read_probe(path: Path, line: int, row: list[str]) -> tuple[str, tuple[int, Probe]]:
    try:
        name, size, codec, width, height, frames, rotation, reader, why = row
        probe = Probe(codec, int(width), int(height), int(frames), int(rotation), reader, why)
        if reader not in READERS or probe.rotation not in (0, 90, 180, 270) or probe.frames < 1:
            raise ValueError
        return name, (int(size), probe)
    except ValueError:
        raise ValueError(f"{path}, line {line}: not a probe: {row}; remove the file to probe again") from None
