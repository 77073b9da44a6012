"""What a data set is made of, before anything is trained on it: a table, and advice.

`overview` measures the videos of both splits: classes, lengths, frame rates, frame sizes, and files that are in both.
tanet.visualize.data_overview draws it.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av

from tanet.data.lists import STAT_THREADS, Sample, VideoList
from tanet.data.probing import reason
from tanet.errors import VideoError
from tanet.runtime import sha256

FEW_VIDEOS = 10  # training videos; a class with fewer is hardly learnt
RARE = 0.2  # a class with fewer training videos than this share of the largest class's is rare
NAMED = 3  # classes or files that a line of advice names


@dataclass(frozen=True)
class VideoFacts:
    """One video, as it was measured."""

    path: Path
    label: int
    split: str  # "train" or "val"
    frames: int
    rate: float | None  # frames a second; None: a folder of frames, or a file that does not say
    width: int  # pixels as shown
    height: int


@dataclass(frozen=True)
class Overview:
    """Both splits of a data set."""

    class_names: tuple[str, ...]
    videos: tuple[VideoFacts, ...]
    unreadable: tuple[str, ...]  # videos that cannot be opened, each with the reason
    twice: tuple[tuple[Path, Path], ...]  # a training and a validation video with the same bytes
    num_frames: int  # T of a clip

    def counts(self, split: str) -> list[int]:
        """The number of readable videos of each class in a split."""
        found = Counter(video.label for video in self.videos if video.split == split)
        return [found[label] for label in range(len(self.class_names))]

    def page(self) -> str:
        """The table, what holds for all videos, and the advice, as Markdown."""
        lines = [
            "| class | training | validation | frames: shortest | median | longest |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        train, val = self.counts("train"), self.counts("val")
        for label, name in enumerate(self.class_names):
            lengths = [video.frames for video in self.videos if video.label == label]
            spread = f"{min(lengths)} | {statistics.median(lengths):.0f} | {max(lengths)}" if lengths else "- | - | -"
            lines.append(f"| {name} | {train[label]} | {val[label]} | {spread} |")
        rates = Counter("unknown" if video.rate is None else f"{video.rate:.4g}" for video in self.videos)
        sizes = Counter(f"{video.width} x {video.height}" for video in self.videos)
        lines += ["", f"- Frames a second: {_listed(rates)}.", f"- Pixels, width x height: {_listed(sizes)}."]
        return "\n".join(lines + [f"- **{line}**" for line in self.advice()]) + "\n"

    def advice(self) -> list[str]:
        """One sentence for each thing that a training would suffer from."""
        lines = []
        if self.unreadable:
            lines.append(
                f"{len(self.unreadable)} videos cannot be read; the first: {self.unreadable[0]}. A training stops at "
                "them, or leaves them out with --on-error skip."
            )
        if self.twice:
            train, val = self.twice[0]
            lines.append(
                f"{len(self.twice)} validation videos are training videos, too, byte by byte; the first: {val}, which "
                f"is {train}. Remove one of each pair, or the accuracy will be too high."
            )
        train, val = self.counts("train"), self.counts("val")
        lines += self._advice_on_counts(train, val)
        short = sum(video.frames < self.num_frames for video in self.videos)
        if short:
            lines.append(
                f"{short} of {len(self.videos)} videos have fewer frames than a clip ({self.num_frames}); their frames "
                "are repeated."
            )
        rates = [video.rate for video in self.videos if video.rate]
        if rates and max(rates) > 1.5 * min(rates):
            lines.append(
                f"The frame rates differ, from {min(rates):.4g} to {max(rates):.4g} a second. That is fine for "
                'sampling="uniform"; with "dense" the same motion has several speeds.'
            )
        return lines

    def _advice_on_counts(self, train: Sequence[int], val: Sequence[int]) -> list[str]:
        lines = []
        untested = [name for name, count in zip(self.class_names, val) if not count]
        if untested:
            lines.append(f"No validation videos: {_named(untested)}. Nothing is measured on them.")
        few = [name for name, count in zip(self.class_names, train) if count < FEW_VIDEOS]
        if few:
            lines.append(f"Fewer than {FEW_VIDEOS} training videos: {_named(few)}. Add some.")
        rare = [name for name, count in zip(self.class_names, train) if count < RARE * max(train)]
        if rare:
            lines.append(
                f"Rare beside the largest class ({max(train)} training videos): {_named(rare)}. "
                "--set balanced=true draws all classes equally often."
            )
        return lines


def overview(train: VideoList, val: VideoList, num_frames: int) -> Overview:
    """Measures the videos of both lists. Stored probes are used where there are some; else the file is opened.

    `num_frames`: T of a clip, for the advice.
    """
    listed = [("train", sample) for sample in train.samples] + [("val", sample) for sample in val.samples]
    with ThreadPoolExecutor(STAT_THREADS) as pool:
        measured = list(pool.map(lambda item: _measure(*item), listed))
    videos = tuple(item for item in measured if isinstance(item, VideoFacts))
    unreadable = tuple(item for item in measured if isinstance(item, str))
    return Overview(train.class_names, videos, unreadable, _same_files(train, val), num_frames)


def _measure(split: str, sample: Sample) -> VideoFacts | str:
    """The facts of a video, or why it cannot be opened."""
    try:
        if sample.probe is None:
            with sample.open() as video:
                frames = len(video)
                height, width = video.frames([0]).shape[-2:]
        else:
            frames, width, height = sample.probe.frames, sample.probe.width, sample.probe.height
        rate = None if sample.path.is_dir() else _frame_rate(sample.path)
    except VideoError as error:
        return str(error)
    return VideoFacts(sample.path, sample.label, split, frames, rate, width, height)


def _frame_rate(path: Path) -> float | None:
    """Frames a second by the file's header; None if it does not say."""
    try:
        with av.open(str(path.absolute())) as container:
            stream = container.streams.best("video")
            return float(stream.average_rate) if stream and stream.average_rate else None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path}: cannot be opened as a video ({reason(error)})") from error


def _same_files(train: VideoList, val: VideoList) -> tuple[tuple[Path, Path], ...]:
    """The pairs of a training and a validation file with the same bytes. Only files of one size are read."""
    train_files, val_files = (_files_by_size(videos) for videos in (train, val))
    by_hash = {sha256(path): path for size in train_files.keys() & val_files.keys() for path in train_files[size]}
    suspects = [path for size, paths in val_files.items() if size in train_files for path in paths]
    hashes = [(path, sha256(path)) for path in suspects]
    return tuple((by_hash[digest], path) for path, digest in hashes if digest in by_hash)


def _files_by_size(videos: VideoList) -> dict[int, list[Path]]:
    """{size in bytes: the video files of that size}."""
    found = {}
    for sample in videos.samples:
        if sample.path.is_file():
            found.setdefault(sample.path.stat().st_size, []).append(sample.path)
    return found


def _listed(counts: Counter) -> str:
    """ "30: 120 videos; 25: 14 videos; 3 other values: 9 videos"."""
    parts = [f"{value}: {count} video{'s' * (count > 1)}" for value, count in counts.most_common(NAMED)]
    others = counts.total() - sum(count for _, count in counts.most_common(NAMED))
    if others:
        values = len(counts) - NAMED
        parts.append(f"{values} other value{'s' * (values > 1)}: {others} video{'s' * (others > 1)}")
    return "; ".join(parts)


def _named(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
