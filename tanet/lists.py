"""Which videos a split has, with their classes: by the publisher's annotations or by a list file, joined with the disk."""

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tanet.annotations import FOLDERS, LABEL_FILES, class_index, kinetics_videos, read_annotations
from tanet.files import DataError
from tanet.listfiles import read_rows
from tanet.probe import Probe, VideoError, read_probes
from tanet.recipes import Recipe
from tanet.video import DecordFile, FrameFolder, PyAVFile, open_video

SPLITS = ("train", "val")
@dataclass(frozen=True)
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
            raise VideoError(f"{self.path}: {len(video)} frames in it, but {self.num_frames} by the list; some are missing")
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

    By the publisher's annotations, see tanet.annotations, or by the list `file`, see tanet.listfiles; class names are those
    of the publisher's label file. `missing="skip"` sets listed videos that are not there aside, in `VideoList.missing`;
    "raise" names the first. Where the data were probed, samples know what was found. Raises DataError or FileNotFoundError.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be train or val, got {split!r}")
    if missing not in ("raise", "skip"):
        raise ValueError(f"missing must be raise or skip, got {missing!r}")
    root = _existing(root)
    names = class_names_at(recipe.dataset, root)
    if len(names) != recipe.num_classes:
        raise DataError(
            f"{root}: {len(names)} classes in the label file, recipe {recipe.name} has num_classes = {recipe.num_classes}"
        )
    if file is None:
        samples = [Sample(path, label) for path, label in read_annotations(recipe.dataset, root, split)]
    else:
        samples = _listed(recipe.dataset, root, split, Path(file), len(names))
    return _set_missing_aside(_with_probes(samples, root), names, missing)


def _listed(dataset: str, root: Path, split: str, file: Path, num_classes: int) -> list[Sample]:
    """The samples of a list file. A name is a path, below the root or absolute, or the id of a video of the data set, found
    by its file's name wherever it lies."""
    rows = read_rows(file)
    folder, suffix = FOLDERS[dataset]
    folder, by_id, samples = root / folder.format(split=split), None, []
    for row in rows:
        if row.label >= num_classes:
            raise DataError(f"{file}: {row.name} has label {row.label}, there are {num_classes} classes, from 0")
        path = root / row.name
        if not path.exists():
            name = Path(row.name).name.removesuffix(suffix) if suffix else Path(row.name).name
            if dataset == "kinetics":
                by_id = kinetics_videos(folder) if by_id is None else by_id
                path = by_id.get(name, path)
            else:
                path = folder / f"{name}{suffix}"
        samples.append(Sample(path, row.label, num_frames=row.num_frames))
    return samples


def _with_probes(samples: list[Sample], root: Path) -> list[tuple[Sample, bool]]:
    """Every sample, with its probe where the file has the size that was probed, and whether it is there at all."""
    probes = read_probes(root)
    with ThreadPoolExecutor(STAT_THREADS) as pool:  # over a network one after the other would take minutes
        sizes = pool.map(_size, (sample.path for sample in samples), chunksize=256)
        return [(_probed(sample, size, probes, root), size is not None) for sample, size in zip(samples, sizes)]


STAT_THREADS = 16


def _size(path: Path) -> int | None:
    """The file's size in bytes, None if there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _probed(sample: Sample, size: int | None, probes: dict, root: Path) -> Sample:
    if not probes or not sample.path.is_relative_to(root):
        return sample
    probed_size, probe = probes.get(sample.path.relative_to(root).as_posix(), (None, None))
    return replace(sample, probe=probe) if probe is not None and probed_size == size else sample


def readers(probes: Iterable[Probe | None]) -> str:
    """ "1204 videos: 1200 read by decord; 4 by PyAV (codec av1: 3, interlaced: 1)", with those that were not probed."""
    probes = list(probes)
    reasons = Counter(probe.why for probe in probes if probe and probe.reader == "pyav")
    parts = [f"{sum(probe is not None for probe in probes) - reasons.total()} read by decord"]
    if reasons:
        listed = ", ".join(f"{why}: {count}" for why, count in reasons.most_common())
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


def _set_missing_aside(found: list[tuple[Sample, bool]], names: tuple[str, ...], missing: str) -> VideoList:
    present = tuple(sample for sample, there in found if there)
    absent = [sample for sample, there in found if not there]
    if absent and missing == "raise":
        raise FileNotFoundError(
            f"{absent[0].path}: listed, but not there, as {len(absent)} of {len(found)} videos are not; "
            'restore them, or pass missing="skip" to leave them out'
        )
    if not present:
        raise FileNotFoundError(f"{absent[0].path}: none of the {len(found)} listed videos is there")
    return VideoList(present, names, tuple(sample.path.name for sample in absent))
