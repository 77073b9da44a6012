"""Which video is meant by a name, below the root of a data set.

A path, relative to the root or absolute, means the file or folder there, if there is one; tanet.data.lists asks the
disk for it. Any other name means the video with the same name, without regard to suffix and case of the suffix. It is
looked for at any depth, also behind links, in the first folder of `folders_of` that has it:

- A name that is an id of the data set may lie in any class folder: several spellings of these circulate. Any other
  name lies in the folders that it is listed with, because two classes may both have a video 001.
- Of several videos of one name, a replacement of a corrupted video is meant first, then the one with the most of the
  listed folders, then the one with the listed suffix, or with the publisher's. If that leaves two, it is an error.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from pathlib import Path, PurePosixPath

from tanet.data.frame_names import is_picture
from tanet.errors import DataError
from tanet.runtime import exists, user_path

# Of video files, in any case.
SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp")
REPLACEMENT = "replacement"  # how folders begin that hold replacements of corrupted videos
# Where the videos lie: first the publisher's folder, then MMAction2's and others'. {split} is "train" or "val".
FOLDERS = {
    "kinetics": ("{split}", "videos_{split}", "{split}_256", "rawframes_{split}"),
    "something_v1": ("20bn-something-something-v1", "videos", "rawframes"),
    "something_v2": ("20bn-something-something-v2", "videos", "20bn-something-something-v2-frames", "rawframes"),
    "folder": (".",),
}
# "": a folder of frames, or any
PUBLISHED_SUFFIX = {"kinetics": ".mp4", "something_v1": "", "something_v2": ".webm", "folder": ""}
IDS = {
    "kinetics": re.compile(r".+_\d{6}_\d{6}"),
    "something_v1": re.compile(r"\d+"),
    "something_v2": re.compile(r"\d+"),
    "folder": re.compile(r"(?!)"),  # no name is an id
}

Index = dict[str, list[Path]]  # {name without folders and suffix: the videos of that name}


def is_video_file(name: str) -> bool:
    """Whether a file of this name is a video. Hidden files are none: macOS leaves ._* in archives."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def video_name(path: str | os.PathLike) -> str:
    """The name of a video without folders and suffixes.

    >>> video_name("train/abseiling/0347ZoDXyP0_000095_000105.mp4.MKV")
    '0347ZoDXyP0_000095_000105'
    """
    name = os.path.basename(path)
    while is_video_file(name):
        name = name[: name.rindex(".")]
    return name


def published_name(dataset: str, split: str, video_id: str) -> str:
    """The path of a video relative to the root, as the publisher's files lie: "train/ID.mp4"."""
    return f"{FOLDERS[dataset][0].format(split=split)}/{video_id}{PUBLISHED_SUFFIX[dataset]}"


def folders_of(dataset: str, root: Path, split: str) -> list[Path]:
    """The folders below the root that may hold videos of a split, whether they are there or not."""
    names = [folder.format(split=split) for folder in FOLDERS[dataset]]
    return [root / name for name in ([REPLACEMENT] if dataset == "kinetics" else []) + names]


def search(names: Iterable[str], dataset: str, root: Path, split: str) -> dict[str, Path]:
    """{name: video} of the names whose videos are there. DataError if a name may mean two videos."""
    found, left = {}, {name: video_name(name) for name in names}
    wanted = set(left.values())
    for folder in folders_of(dataset, root, split):
        index = _index(folder, dataset, wanted) if left else {}
        for name in [name for name, video in left.items() if video in index]:
            is_id = IDS[dataset].fullmatch(left[name])
            if video := _choose(name, index[left[name]], dataset, folder, is_id):
                found[name] = video
                del left[name]
    return found


def all_videos(dataset: str, root: Path, split: str) -> list[Path]:
    """All videos of a split, each once, sorted by path. DataError as `search`."""
    videos = {}
    for folder in folders_of(dataset, root, split):
        same_name = defaultdict(list)
        for name, paths in _index(folder, dataset).items():
            for path in paths:
                is_id = IDS[dataset].fullmatch(name)
                same_name[name if is_id else path.relative_to(folder).with_name(name).as_posix()].append(path)
        for name, paths in same_name.items():
            if name not in videos:
                videos[name] = _choose(name, paths, dataset, folder, is_id=True)
    return sorted(videos.values())


def explain_missing(name: str, dataset: str, root: Path, split: str) -> str:
    """Where a video was looked for that is not there, and what similar thing is there, in one or two sentences."""
    listed = user_path(name)
    if (root / listed).is_symlink():
        return f"It is a link to {os.readlink(root / listed)}, which is not there."
    if listed.is_absolute():
        return "An absolute path means that file alone; relative ones are looked for in other folders, too."
    indices = {folder: _index(folder, dataset) for folder in folders_of(dataset, root, split)}
    if not any(indices.values()):
        looked_in = ", ".join(f"{folder.name}/" for folder in indices)
        there = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if not path.name.startswith("."))
        return f"No video is in any of {looked_in} either; {root} holds {', '.join(there[:8]) or 'nothing'}."
    looked_in = ", ".join(f"{folder.name}/" for folder, index in indices.items() if index)
    for other in ("train", "val"):
        indices |= {folder: _index(folder, dataset) for folder in folders_of(dataset, root, other)}
    similar = _similar(
        video_name(name), {video: paths[0] for index in indices.values() for video, paths in index.items()}
    )
    return f"Nor is it in {looked_in}, with any suffix" + (f"; similar: {similar}." if similar else ".")


def _similar(name: str, videos: dict[str, Path]) -> Path | None:
    """The video of this name, or else the one whose name begins like it the longest, for 8 letters at least."""
    closest = name if name in videos else max(videos, key=lambda other: len(os.path.commonprefix([name, other])))
    return videos[closest] if closest == name or len(os.path.commonprefix([name, closest])) >= 8 else None


def _index(folder: Path, dataset: str, wanted: Iterable[str] = ()) -> Index:
    """The videos in a folder, at any depth. `wanted`: names that are videos, beside the ids."""
    index = defaultdict(list)
    for directory, name in _walk(folder, lambda name: name in wanted or IDS[dataset].fullmatch(name) is not None):
        index[video_name(name)].append(Path(directory, name))
    return index


def _walk(top: Path, is_video: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """(folder, name) of video files and folders of frames.

    Those folders that `is_video` knows by their names are not entered, because they hold millions of files; the others
    are known by the pictures in them.
    """
    for directory, folders, files in walk_once(top):
        videos = [*filter(is_video_file, files), *(name for name in folders if is_video(video_name(name)))]
        folders[:] = sorted(set(folders).difference(videos))
        if not videos and not folders and directory != str(top) and any(map(is_picture, files)):
            yield os.path.split(directory)
        for name in sorted(videos):
            yield directory, name


def walk_once(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """What os.walk yields below `top`, if that is there, also behind links; folders removed from its lists are skipped.

    Each folder comes once, also if links lead to it again, or around in a circle.
    """
    seen = set()
    for directory, folders, files in os.walk(top, followlinks=True, onerror=_refuse) if exists(top) else ():
        status = os.stat(directory)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield directory, folders, files


def _refuse(error: OSError) -> None:
    raise error


def _choose(name: str, candidates: list[Path], dataset: str, folder: Path, is_id: bool) -> Path | None:
    """The video below `folder` that a listed name means, among those with its name; see the head of this file."""
    if not is_id:
        candidates = _in_listed_folders(PurePosixPath(name).parent, candidates, folder)
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    listed = PurePosixPath(name)
    suffix = listed.suffix if is_video_file(listed.name) else PUBLISHED_SUFFIX[dataset]

    def rank(path: Path) -> tuple[bool, int, bool]:
        is_replacement = any(part.startswith(REPLACEMENT) for part in path.relative_to(folder).parts[:-1])
        return not is_replacement, -_shared_folders(path.parent, listed.parent), path.suffix != suffix

    first, second = sorted(candidates, key=rank)[:2]
    if rank(first) == rank(second) and not os.path.samefile(first, second):
        raise DataError(f"{first}: may be the video {name!r}, and so may {second}; remove one of them")
    return first


def _in_listed_folders(listed: PurePosixPath, candidates: list[Path], folder: Path) -> list[Path]:
    """Those that lie in the listed folders, directly below `folder` if there are such."""
    return [path for path in candidates if path.parent == folder / listed] or [
        path for path in candidates if _shared_folders(path.parent, listed) == len(listed.parts)
    ]


def _shared_folders(folder: Path, listed: PurePosixPath) -> int:
    """How many of the innermost folders are those of the listed name."""
    pairs = zip(reversed(folder.parts), reversed(listed.parts))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
