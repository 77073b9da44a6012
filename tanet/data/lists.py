"""Which videos a split has, with their classes: by the publisher's annotations or by a list file, joined with the disk."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tanet.data.annotations import FOLDERS, LABEL_FILES, class_index, kinetics_videos, read_annotations
from tanet.data.list_files import read_rows
from tanet.data.probing import READERS, Probe
from tanet.data.video import DecordFile, FrameFolder, PyAVFile, open_video
from tanet.errors import DataError, VideoError
from tanet.recipes import Recipe
from tanet.runtime.files import write_text

SPLITS = ("train", "val")
SKIPPING = ("raise", "skip")
PROBES = "probes.csv"
COLUMNS = ["path", "size", *(field.name for field in fields(Probe))]


@dataclass(frozen=True, slots=True)
class Sample:
    path: Path  # video file or frame folder
    label: int  # index into class_names
    probe: Probe | None = None  # what is known of the file from probing it earlier
    num_frames: int | None = None  # that a list says there are

    def open(self) -> DecordFile | PyAVFile | FrameFolder:
        """Opens the video for reading; VideoError, also if it has fewer frames than the list says."""
        video = open_video(self.path, self.probe)
        if self.num_frames is not None and len(video) < self.num_frames:
            video.close()
            raise VideoError(
                f"{self.path}: {len(video)} frames in it, but {self.num_frames} by the list; some are missing"
            )
        return video


@dataclass(frozen=True)
class VideoList:
    """The videos of one split, with the classes in index order and the ids that were set aside as missing."""

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)


def load_list(
    recipe: Recipe,
    root: str | os.PathLike,
    split: str,
    missing: str = "raise",
    file: str | os.PathLike | None = None,
) -> VideoList:
    """The videos of `split` ("train" or "val") below `root`, checked against the recipe and the disk.

    By the publisher's annotations, see tanet.data.annotations, or by the list `file`, see tanet.data.list_files; class names are those
    of the publisher's label file. `missing="skip"` sets listed videos that are not there aside, in `VideoList.missing`;
    "raise" names the first. Where the data were probed, samples know what was found. Raises DataError or FileNotFoundError.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be train or val, got {split!r}")
    if missing not in SKIPPING:
        raise ValueError(f"missing must be raise or skip, got {missing!r}")
    root = _existing(root)
    names = class_names_at(recipe.dataset, root)
    if len(names) != recipe.num_classes:
        raise DataError(
            f"{root}: {len(names)} classes in the label file, recipe {recipe.name} has num_classes = {recipe.num_classes}"
        )
    if file is None:
        listed = [(path, label, None) for path, label in read_annotations(recipe.dataset, root, split)]
        sizes = file_sizes([path for path, *_ in listed])
    else:
        listed, sizes = _from_file(recipe.dataset, root, split, Path(file), len(names))
    probes, below = read_probes(root), str(root / "_")[:-1]  # how paths below the root begin
    present = [
        Sample(path, label, _probe_of(probes, str(path), below, size), num_frames)
        for (path, label, num_frames), size in zip(listed, sizes)
        if size is not None
    ]
    absent = [path for (path, *_), size in zip(listed, sizes) if size is None]
    _refuse_missing(absent, len(listed), missing)
    return VideoList(tuple(present), names, tuple(path.name for path in absent))


Listed = tuple[Path, int, int | None]  # video, label, number of frames by the list


def _from_file(
    dataset: str, root: Path, split: str, file: Path, num_classes: int
) -> tuple[list[Listed], list[int | None]]:
    """What a list file says, and the files' sizes. A name is a path, below the root or absolute; where none is below the
    root, it stands for the data set's video of the same file name, with or without the ending, wherever that lies."""
    rows = read_rows(file, num_classes)
    paths = [root / row.name for row in rows]
    sizes = file_sizes(paths)
    lost = [place for place, size in enumerate(sizes) if size is None and not os.path.isabs(rows[place].name)]
    if lost:
        folder, suffix = FOLDERS[dataset]
        folder = root / folder.format(split=split)
        on_disk = kinetics_videos(folder) if dataset == "kinetics" else {}
        for place in lost:
            name = paths[place].name.removesuffix(suffix)
            paths[place] = on_disk.get(name, folder / f"{name}{suffix}")
        for place, size in zip(lost, file_sizes([paths[place] for place in lost])):
            sizes[place] = size
    return [(path, row.label, row.num_frames) for path, row in zip(paths, rows)], sizes


STAT_THREADS, STATS_AT_A_TIME = 16, 500


def file_sizes(paths: list[Path]) -> list[int | None]:
    """Sizes in bytes, None of what is not there; many at a time, since over a network each waits for an answer."""
    parts = [paths[first : first + STATS_AT_A_TIME] for first in range(0, len(paths), STATS_AT_A_TIME)]
    with ThreadPoolExecutor(STAT_THREADS) as pool:
        return [size for sizes in pool.map(_sizes, parts) for size in sizes]


def _sizes(paths: list[Path]) -> list[int | None]:
    found = []
    for path in paths:
        try:
            found.append(os.stat(path).st_size)
        except OSError:
            found.append(None)
    return found


def _probe_of(probes: dict[str, tuple[int, Probe]], path: str, below: str, size: int) -> Probe | None:
    """What was found in the file, if that lies below the root and had its present size. Plain text, as pathlib's ways to
    tell take longer than all the rest."""
    probed_size, probe = probes.get(path[len(below) :], (None, None)) if path.startswith(below) else (None, None)
    return probe if probed_size == size else None


REASONS = 6  # that are named; odd sizes alone can be dozens


def describe_readers(probes: Iterable[Probe | None]) -> str:
    """ "1204 videos: 1200 read by decord; 4 by PyAV (codec av1: 3, interlaced: 1)", with those that were not probed."""
    probes = list(probes)
    reasons = Counter(probe.why for probe in probes if probe and probe.reader == "pyav")
    parts = [f"{sum(probe is not None for probe in probes) - reasons.total()} read by decord"]
    if reasons:
        shown = reasons.most_common(REASONS)
        rest = reasons.total() - sum(count for _, count in shown)
        listed = ", ".join(f"{why}: {count}" for why, count in [*shown, *[("other reasons", rest)] * (rest > 0)])
        parts.append(f"{reasons.total()} by PyAV ({listed})")
    if unknown := probes.count(None):
        parts.append(f"{unknown} not probed yet, which is done each time they are opened")
    return f"{len(probes)} videos: {'; '.join(parts)}"


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
    index = class_index(Path(root) / LABEL_FILES[dataset])
    return tuple(sorted(index, key=index.get))


def _refuse_missing(absent: list[Path], count: int, missing: str) -> None:
    """FileNotFoundError if videos are missing and that matters."""
    if absent and missing == "raise":
        raise FileNotFoundError(
            f"{absent[0]}: listed, but not there, as {len(absent)} of {count} videos are not; "
            'restore them, or pass missing="skip" to leave them out'
        )
    if len(absent) == count:
        raise FileNotFoundError(f"{absent[0]}: none of the {count} listed videos is there")


def write_probes(root: str | os.PathLike, probes: dict[str, tuple[int, Probe]]) -> None:
    """Writes root/probes.csv, whole or not at all: {relative posix path: (file size in bytes, probe)}."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([path, size, *astuple(found)] for path, (size, found) in sorted(probes.items()))
    write_text(Path(root) / PROBES, text.getvalue())


def read_probes(root: str | os.PathLike) -> dict[str, tuple[int, Probe]]:
    """What `write_probes` wrote below `root`, {} if it did not. ValueError naming file and line."""
    path = Path(root) / PROBES
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        if next(rows, None) != COLUMNS:
            raise ValueError(f"{path}, line 1: expected the header {','.join(COLUMNS)}; remove the file to probe again")
        return dict(_read_row(path, rows.line_num, row) for row in rows)


def _read_row(path: Path, line: int, row: list[str]) -> tuple[str, tuple[int, Probe]]:
    try:
        name, size, codec, width, height, frames, rotation, reader, why = row
        found = Probe(codec, int(width), int(height), int(frames), int(rotation), reader, why)
        if reader not in READERS or found.rotation not in (0, 90, 180, 270) or found.frames < 1:
            raise ValueError
        return name, (int(size), found)
    except ValueError:
        raise ValueError(f"{path}, line {line}: not a probe: {row}; remove the file to probe again") from None
