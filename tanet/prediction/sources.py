"""Which videos are meant by a file, a folder or a pattern, and what is a camera or an address instead."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tanet.data import SUFFIXES, is_picture, is_video_file
from tanet.errors import DataError
from tanet.runtime import user_path

NUMBERED = re.compile(r"\d\.\w+$")  # a picture whose name ends in a number is a frame, a cover is not


def is_stream(source: object) -> bool:
    """Whether a source is a camera ("camera:0", "/dev/video0") or an address ("rtsp://...")."""
    return bool(re.match(r"camera:|/dev/video|[a-z][a-z0-9+.-]+://", str(source)))


def find_videos(sources: Iterable[str | os.PathLike]) -> list[Path]:
    """The videos that `sources` mean, in their order, those of a folder or a pattern sorted by path, each one once.

    A source is a video file, a folder of frames, a folder with any of these at any depth, or a pattern such as
    "clips/*.mp4". A folder that directly holds numbered pictures, and no videos, is a folder of frames.

    Raises FileNotFoundError for what is not there, and DataError for a folder without videos; both name the source.
    """
    found = {}
    for source in sources:
        for path in _meant_by(source):
            found.setdefault(path)
    if not found:
        raise ValueError("no video is given")
    return list(found)


def _meant_by(source: str | os.PathLike) -> list[Path]:
    path = user_path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _in_folder(path)
    if not glob.has_magic(str(path)):
        raise FileNotFoundError(f"{source}: no such file or folder{_similar(path)}")
    matches = sorted(map(Path, glob.glob(str(path), recursive=True)))
    if not matches:
        raise FileNotFoundError(f"{source}: no file or folder matches this pattern")
    videos = [match for match in matches if match.is_file() and is_video_file(match.name)]
    videos += [video for match in matches if match.is_dir() for video in _videos_below(match)]
    if not videos:
        raise DataError(f"{source}: matches no video, but {len(matches)} other(s), such as {matches[0].name}")
    return sorted(set(videos))


def _in_folder(folder: Path) -> list[Path]:
    videos = sorted(_videos_below(folder))
    if not videos:
        others = [name for _, _, names in os.walk(folder) for name in names]
        there = f"{len(others)} other file(s), such as {min(others)}" if others else "nothing"
        raise DataError(f"{folder}: no video in this folder (its names end in {', '.join(SUFFIXES)}); it holds {there}")
    return videos


def _videos_below(folder: Path) -> Iterator[Path]:
    """Video files and folders of frames, at any depth; through links, but through none twice."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        videos = [Path(place, name) for name in names if is_video_file(name)]
        if not videos and any(is_picture(name) and NUMBERED.search(name) for name in names):
            videos = [Path(place)]
        yield from videos


def _raise(error: OSError) -> None:
    raise error


def _similar(path: Path) -> str:
    """What is there in the place of a file that is not: the same name with another ending."""
    if not path.parent.is_dir():
        return ""
    similar = sorted(other.name for other in path.parent.iterdir() if other.stem.lower() == path.stem.lower())
    return f"; there is {', '.join(similar[:3])}" if similar else ""
