"""How a folder names and numbers the frames of a video: "00001.jpg", "img_00001.png", "frame0.jpg".

The names in the folder tell it, so nothing has to be configured. Frames are numbered without gaps, from 0 or 1, with or
without leading zeros. Hidden files, files that are no pictures, and pictures of optical flow are no frames.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tanet.errors import VideoError

PICTURES = (".jpg", ".jpeg", ".png")  # in any case
NAME = re.compile(r"(?P<prefix>.*?)(?P<number>[0-9]+)(?P<suffix>\.\w+)")
FLOW_PREFIX = re.compile(r"(.*[_-])?(flow.*|[xy][_-]?)", re.IGNORECASE)  # flow_x_00001.jpg (TSN), x_00001.jpg (TSM)


@dataclass(frozen=True, slots=True)
class FrameNames:
    """The names of the frames in a folder."""

    prefix: str  # "img_"
    digits: int  # at least so many, with leading zeros: 5 of "00001"
    suffix: str  # ".jpg"
    first: int  # number of the first frame, 0 or 1
    count: int  # number of frames

    def name(self, index: int) -> str:
        """The file name of frame `index`, which counts from 0."""
        return f"{self.prefix}{index + self.first:0{self.digits}d}{self.suffix}"


PUBLISHED = FrameNames("", 5, ".jpg", 1, 1)  # Something-Something V1: 00001.jpg


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture; hidden files, such as macOS's ._*, are none."""
    return name.lower().endswith(PICTURES) and not name.startswith(".")


def read_frame_names(folder: Path) -> FrameNames:
    """How a folder names its frames. Raises VideoError, which names the folder, if it cannot be read, holds no frames,
    names them in two ways, or lacks one."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise VideoError(f"{folder}: cannot be read ({error.strerror})") from error
    pictures = sorted(filter(is_picture, names))
    if not pictures:
        raise VideoError(f"{folder}: no .jpg or .png frames in this folder")
    parts = {name: NAME.fullmatch(name) for name in pictures}
    frames = {name: match for name, match in parts.items() if not (match and FLOW_PREFIX.fullmatch(match["prefix"]))}
    if not frames:
        raise VideoError(f"{folder}: holds pictures of optical flow, such as {pictures[0]}, and no frames")
    kinds = {}  # the first name of each
    for name, match in frames.items():
        kinds.setdefault((match["prefix"], match["suffix"]) if match else name, name)
    if len(kinds) > 1:
        one, other = list(kinds.values())[:2]
        raise VideoError(f"{folder}: holds pictures of two kinds, {one} and {other}; leave only the frames in it")
    (kind,) = kinds
    if isinstance(kind, str):
        raise VideoError(f"{folder}: {kind} has no number; frames are numbered from 0 or 1")
    return _numbered(folder, *kind, {name: match["number"] for name, match in frames.items()})


def _numbered(folder: Path, prefix: str, suffix: str, numbers: dict[str, str]) -> FrameNames:
    """The same for {name: number} of pictures of one kind."""
    first, digits = min((int(number), len(number)) for number in numbers.values())
    names = FrameNames(prefix, digits, suffix, min(first, 1), len(numbers))
    expected = [names.name(index) for index in range(names.count)]
    odd_one = next((name for name in numbers if name != names.name(int(numbers[name]) - names.first)), None)
    if odd_one:
        usual = names.name(int(numbers[odd_one]) - names.first)
        raise VideoError(f"{folder}: numbers its frames in two ways, {odd_one} is not {usual}; rename the frames")
    if missing := next((name for name in expected if name not in numbers), None):
        raise VideoError(f"{folder}: {names.count} frames, but {missing} is missing")
    return names


def describe_frames(folders: Iterable[Path]) -> str:
    """How the frames of the first folder are named that can be read; "" if they are named as published."""
    for folder in folders:
        try:
            names = read_frame_names(folder)
        except VideoError:
            continue
        if replace(names, count=1) == PUBLISHED:
            return ""
        return f"frames are named {names.name(0)}, {names.name(1)}, ... in {folder}; other folders by their own files"
    return ""
