"""A small folder of videos as people have them, for the notebook on one's own videos and for tests.

    ROOT/CLASS/PERSON-TAKE.mp4 ...    several sizes, lengths, frame rates and containers, one folder of frames a class

Each class is acted by the same people. No split is given.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from tanet.demo.drawing import draw_clip
from tanet.demo.footage import write_video

# class -> (what changes, whether it is played backwards)
HOME_CLASSES = {
    "Swipe left": ("x", True),
    "swipe_right": ("x", False),
    "lift": ("y", False),
    "come closer": ("size", False),
}
PEOPLE = ("anna", "ben", "cleo", "dörte", "emil", "fay")
SIZES = ((64, 48), (48, 64), (98, 54), (80, 80))  # width, height
RATES = (Fraction(25), Fraction(30000, 1001), Fraction(15))
SUFFIXES = (".mp4", ".MP4", ".mkv", ".mov", ".avi")
SHORTEST, LONGEST = 9, 30  # frames


def make_home_videos(
    root: Path,
    takes: int = 2,
    people: Sequence[str] = PEOPLE,
    classes: Mapping[str, tuple[str, bool]] = HOME_CLASSES,
) -> Path:
    """Makes `takes` videos of each class by each person; the same files on every call. Returns `root`.

    `classes`: {name: (what changes, see draw_clip, and whether it is played backwards)}.

    FileExistsError if a class folder is there already.
    """
    for number, (name, (change, backwards)) in enumerate(classes.items()):
        folder = root / name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(number)
        for person in people:
            for take in range(1, takes + 1):
                size = SIZES[rng.integers(len(SIZES))]
                frames = draw_clip(change, backwards, int(rng.integers(SHORTEST, LONGEST + 1)), size, rng)
                stem = folder / f"{person}-{take:02d}"
                if (person, take) == (people[0], 1):
                    _write_frames(stem, frames)
                else:
                    suffix, rate = SUFFIXES[rng.integers(len(SUFFIXES))], RATES[rng.integers(len(RATES))]
                    write_video(stem.with_suffix(suffix), frames, rate)
    return root


def _write_frames(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"img_{index:05d}.png")
