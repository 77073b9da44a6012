"""What is odd about lists of videos, in sentences: where a training begins, on the pages of results, in `lists`.

None of it is an error. The sentences count the videos and name the first one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tanet.data.finding import video_name
from tanet.data.probing import Probe

KINETICS_CLIP = re.compile(r"[\w-]{11}_\d{6}_\d{6}")  # ID_START_END, which names a clip wherever it lies


def repeated(samples: Sequence) -> list[str]:
    """About samples of one list that are the same video, with the same label or with others."""
    videos = [_identity(sample.path) for sample in samples]
    several = [video for video, count in Counter(videos).items() if count > 1]
    if not several:
        return []
    labels = Counter(video for video, _ in {(video, sample.label) for video, sample in zip(videos, samples)})
    contradicting = [video for video in several if labels[video] > 1]
    sentences = [f"videos listed more than once: {_count(several)}"]
    if contradicting:
        sentences.append(f"videos listed with several labels: {_count(contradicting)}")
    return sentences


def shared(train: Sequence, val: Sequence) -> list[str]:
    """About samples for training that are samples for validation, too."""
    in_train, in_val = (dict.fromkeys(_identity(sample.path) for sample in samples) for samples in (train, val))
    both = [video for video in in_val if video in in_train]
    if not both:
        return []
    if in_train.keys() == in_val.keys():
        return [f"the lists for training and validation hold the same videos: {_count(both)}"]
    return [f"videos both in the list for training and in that for validation: {_count(both)}"]


def frame_counts(files: Iterable[tuple[int, Probe | None]]) -> list[str]:
    """About video files, each given as the number of frames by its list, and its stored probe.

    The numbers are no check, since OpenCV, which wrote many lists, counts frames that a file holds and does not show.
    """
    files = list(files)
    if not files:
        return []
    text = f"numbers of frames listed of video files: {len(files)}; those in the files count"
    fewer = sum(probe is not None and probe.frames < listed for listed, probe in files)
    if fewer:
        text += f", and {fewer} of the probed files have fewer than listed"
    return [text]


def _identity(path: Path) -> str:
    """What two samples of the same video have in common."""
    name = video_name(path)
    return name if KINETICS_CLIP.fullmatch(name) else str(path)


def _count(videos: list[str]) -> str:
    return f"{len(videos)} ({videos[0]}{', ...' if len(videos) > 1 else ''})"
