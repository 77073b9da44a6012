"""Makes small data sets in the real ones' formats: `python -m tanet.demo data [--root data] [--seed 0]`.

    demo_kinetics/   labels.txt, annotations/{train,val}.csv, {train,val}/CLASS/ID_START_END.mp4   as Kinetics-400
    demo_something/  something-something-v1-{labels,train,validation}.csv,
                     20bn-something-something-v1/ID/00001.jpg ...                                  as SSv1

    demo_late/, demo_near/   as demo_something

demo_kinetics   what is seen names most classes: an object, or the scene. One pair differs in its order alone.
demo_something  the classes come in pairs: a clip of one class is a clip of the other, played backwards. Both draw their
                frames from one distribution. So no frame tells a pair apart, nor does an unordered set of frames.
demo_late       a short movement at the start, and at the end a lamp that says whether it counts as it is seen or the
                other way round. Neither alone tells a pair apart. A network must bring the two ends together.
demo_near       the same, but the lamp is lit while the object moves.
"""

import csv
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tanet.demo.drawing import draw_clip, draw_told_clip
from tanet.runtime import read_json

# Raise one with every change of its pixels.
VERSIONS = {"demo_kinetics": 2, "demo_something": 1, "demo_late": 1, "demo_near": 1}
MANY_CLIPS = 100  # so many clips take longer to make than processes to start

# Class -> (what changes, backwards), None: as it happens; and what is seen: shape, colour, stripes.
KINETICS_CLASSES = {
    "moving left to right": ("x", False, "cross", (230, 230, 230), ""),
    "moving right to left": ("x", True, "cross", (230, 230, 230), ""),
    "rolling a disc": (None, None, "disc", (250, 120, 20), ""),
    "sliding a square": (None, None, "square", (60, 220, 60), ""),
    "flying a diamond": (None, None, "diamond", (60, 120, 250), ""),
    "swinging a ring": (None, None, "ring", (240, 60, 220), ""),
    "swimming in a lane": (None, None, "", None, "horizontal"),
    "running past a fence": (None, None, "", None, "vertical"),
}
CHANGES_SEEN = ("x", "y", "size")  # of those that are known by what is seen
# (class, the same played backwards, what changes), in label-file order.
SOMETHING_PAIRS = (
    ("Pushing something from left to right", "Pushing something from right to left", "x"),
    ("Moving something up", "Moving something down", "y"),
    ("Moving something closer to the camera", "Moving something away from the camera", "size"),
    ("Uncovering something", "Covering something with something", "cover"),
)
# Width x height; decord 0.6.0 fails on files 48 or 72 pixels wide.
KINETICS_SIZES = ((80, 60), (96, 72), (64, 64), (60, 80))
# Dense sampling at 8 frames repeats frames of videos with fewer than 57 frames, so few are that short.
KINETICS_LENGTHS = (50, 60, 63, 72, 80, 90, 100)
KINETICS_FPS = (Fraction(12), Fraction(24), Fraction(25), Fraction(30000, 1001))
# Multiples of T = 8. With any other length, training would show some frames of a clip more often than the frames in
# the same places of the clip played backwards. That would tell a pair apart without its order.
SOMETHING_LENGTHS = (8, 16, 24)
SOMETHING_WIDTHS = (100, 120, 132, 176)
SOMETHING_HEIGHT = 100
TOLD_PAIRS = (
    ("Moving something from left to right", "Moving something from right to left", "x"),
    ("Moving something up", "Moving something down", "y"),
)
TOLD_LENGTHS = (12, 24)  # multiples of T = 12, for the same reason
TOLD_WIDTHS = (64, 72, 88)
TOLD_HEIGHT = 64


def make_demo_kinetics(root: str | os.PathLike, train: int = 640, val: int = 240, seed: int = 0) -> Path:
    """Writes `demo_kinetics` (H.264 files) into `root` and returns its path; keeps one that is already there.

    FileExistsError if other data are there.
    """

    def fill(folder: Path):
        names = list(KINETICS_CLASSES)
        (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names))
        (folder / "annotations").mkdir()
        jobs = []
        for split, count in (("train", train), ("val", val)):
            with open(folder / "annotations" / f"{split}.csv", "w", newline="") as file:
                table = csv.writer(file)
                table.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
                for index in range(count):
                    start = 7 * index % 240
                    label = names[index % len(names)]
                    table.writerow([label, _youtube_id(split, index), start, start + 10, split])
            for name in names:
                (folder / split / name).mkdir(parents=True)
            jobs += [(folder, split, index, seed) for index in range(count)]
        _run_all(_write_kinetics_video, jobs)

    return _make_once(Path(root) / "demo_kinetics", fill, train, val, seed)


def make_demo_something(root: str | os.PathLike, train: int = 640, val: int = 240, seed: int = 0) -> Path:
    """Writes `demo_something` (JPEG folders) into `root` and returns its path; keeps one that is already there.

    FileExistsError if other data are there.
    """
    return _make_something(Path(root) / "demo_something", SOMETHING_PAIRS, _draw_something, train, val, seed)


def make_demo_late(root: str | os.PathLike, train: int = 800, val: int = 240, seed: int = 0) -> Path:
    """Writes `demo_late` (JPEG folders) into `root`, otherwise as `make_demo_something`."""
    return _make_something(Path(root) / "demo_late", TOLD_PAIRS, partial(_draw_told, "late"), train, val, seed)


def make_demo_near(root: str | os.PathLike, train: int = 800, val: int = 240, seed: int = 0) -> Path:
    """Writes `demo_near` (JPEG folders) into `root`, otherwise as `make_demo_something`."""
    return _make_something(Path(root) / "demo_near", TOLD_PAIRS, partial(_draw_told, "near"), train, val, seed)


def _make_something(target: Path, pairs: tuple, draw: Callable, train: int, val: int, seed: int) -> Path:
    """Lists and videos in the format of Something-Something V1. `draw(label, seed, index)` -> frames [T, H, W, 3]."""

    def fill(folder: Path):
        names = [name for pair in pairs for name in pair[:2]]
        prefix = "something-something-v1"
        (folder / f"{prefix}-labels.csv").write_text("".join(f"{name}\n" for name in names))
        jobs = []
        for split, count, offset in (("train", train, 0), ("validation", val, train)):
            rows = [f"{offset + i + 1};{names[i % len(names)]}\n" for i in range(count)]
            (folder / f"{prefix}-{split}.csv").write_text("".join(rows))
            jobs += [(draw, folder, offset + i, i % len(names), seed) for i in range(count)]
        _run_all(_write_something_video, jobs)

    return _make_once(target, fill, train, val, seed)


def _youtube_id(split: str, index: int) -> str:
    return f"{'demo' + split[0]}{index:06d}"  # 11 characters, as YouTube's


def _write_kinetics_video(folder: Path, split: str, index: int, seed: int):
    names = list(KINETICS_CLASSES)
    label = index % len(names)
    change, backwards, *seen = KINETICS_CLASSES[names[label]]
    rng = np.random.default_rng((seed, 0, split == "val", index))
    size = KINETICS_SIZES[rng.integers(len(KINETICS_SIZES))]
    length = KINETICS_LENGTHS[rng.integers(len(KINETICS_LENGTHS))]
    fps = KINETICS_FPS[rng.integers(len(KINETICS_FPS))]
    change = change or CHANGES_SEEN[rng.integers(len(CHANGES_SEEN))]
    backwards = bool(rng.integers(2)) if backwards is None else backwards
    frames = draw_clip(change, backwards, length, size, rng, *seen)
    start = 7 * index % 240
    name = f"{_youtube_id(split, index)}_{start:06d}_{start + 10:06d}.mp4"
    write_video(folder / split / names[label] / name, frames, fps)


def write_video(path: str | os.PathLike, frames: np.ndarray, fps: Fraction, **options: str):
    """Writes uint8 RGB [T, H, W, 3], even sides, as H.264; `options` go to x264. The same frames give the same file."""
    # Several threads, or the macroblock tree of small frames, make x264's output differ from call to call.
    repeatable = {"preset": "veryfast", "crf": "23", "g": "16", "x264-params": "mbtree=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=repeatable | options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _write_something_video(draw: Callable, folder: Path, index: int, label: int, seed: int):
    target = folder / "20bn-something-something-v1" / str(index + 1)
    target.mkdir(parents=True)
    for i, frame in enumerate(draw(label, seed, index)):
        Image.fromarray(frame).save(target / f"{i + 1:05d}.jpg", quality=50, optimize=True)


def _draw_something(label: int, seed: int, index: int) -> np.ndarray:
    rng = np.random.default_rng((seed, 1, index))
    length = SOMETHING_LENGTHS[rng.integers(len(SOMETHING_LENGTHS))]
    size = (SOMETHING_WIDTHS[rng.integers(len(SOMETHING_WIDTHS))], SOMETHING_HEIGHT)
    return draw_clip(SOMETHING_PAIRS[label // 2][2], label % 2 == 1, length, size, rng)


def _draw_told(lamp: str, label: int, seed: int, index: int) -> np.ndarray:
    rng = np.random.default_rng((seed, 2, index))
    length = TOLD_LENGTHS[rng.integers(len(TOLD_LENGTHS))]
    size = (TOLD_WIDTHS[rng.integers(len(TOLD_WIDTHS))], TOLD_HEIGHT)
    reversed_by_lamp = bool(rng.integers(2))
    backwards = (label % 2 == 1) != reversed_by_lamp
    return draw_told_clip(TOLD_PAIRS[label // 2][2], backwards, reversed_by_lamp, lamp, length, size, rng)


def _make_once(target: Path, fill: Callable[[Path], None], train: int, val: int, seed: int) -> Path:
    """Fills a hidden folder, then renames it: a data set that exists is whole."""
    settings = {"version": VERSIONS[target.name], "seed": seed, "clips": [["train", train], ["val", val]]}
    record = target / "demo.json"
    if target.exists():
        stored = read_json(record) if record.exists() else None
        if stored != settings:
            raise FileExistsError(
                f"{target} holds other data ({stored}, wanted {settings}): remove it or choose another root"
            )
        return target
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        fill(unfinished)
        (unfinished / "demo.json").write_text(json.dumps(settings) + "\n")
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _run_all(function: Callable, jobs: list[tuple]) -> None:
    """Calls `function(*job)` for each job; many jobs run in several processes."""
    if len(jobs) < MANY_CLIPS:
        for job in jobs:
            function(*job)
        return
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    context = get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])  # torch is imported once, not by every process
    with ProcessPoolExecutor(mp_context=context) as pool:
        for future in [pool.submit(function, *job) for job in jobs]:
            future.result()
