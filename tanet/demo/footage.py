"""Makes two small data sets in the real ones' formats: `python -m tanet.demo data [--root data] [--seed 0]`.

    demo_kinetics/   labels.txt, annotations/{train,val}.csv, {train,val}/CLASS/ID_START_END.mp4   as Kinetics-400
    demo_something/  something-something-v1-{labels,train,validation}.csv,
                     20bn-something-something-v1/ID/00001.jpg ...                                  as SSv1

The classes come in pairs: a clip of one class is a clip of the other, played backwards. Both draw their frames from one
distribution. So no frame tells a pair apart, nor does a video's unordered set of frames; only the order does.
"""

import csv
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tanet.runtime import read_json

VERSION = 1  # raise it with every change of the pixels
MANY_CLIPS = 100  # so many clips take longer to make than processes to start
SHAPES = ("disc", "square", "diamond", "ring")

# (class, the same played backwards, what changes), in label-file order.
KINETICS_PAIRS = (
    ("moving left to right", "moving right to left", "x"),
    ("rising", "falling", "y"),
    ("approaching", "moving away", "size"),
    ("appearing", "vanishing", "opacity"),
)
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


@dataclass(frozen=True)
class Scene:
    """What is drawn at random for one clip. Lengths and positions are in units of the frame's short side."""

    background: np.ndarray  # [H, W, 3] float32, 0-255
    color: np.ndarray  # [3]
    cover_color: np.ndarray  # [3]
    shape: str
    start: np.ndarray  # x, y, size, opacity, cover at the clip's first frame
    stop: np.ndarray  # ... and at its last
    cover_from_left: bool
    easing: float


def draw_clip(change: str, backwards: bool, num_frames: int, size: tuple[int, int], rng) -> np.ndarray:
    """One clip -> uint8 RGB [T, H, W, 3]. `change` is x, y, size, opacity or cover; `size` is (width, height).

    The same generator state gives the same frames; `backwards` reverses their order. ValueError for another `change`.
    """
    scene = _random_scene(change, size, rng)
    phase = np.linspace(0, 1, num_frames) ** scene.easing
    states = scene.start + phase[:, None] * (scene.stop - scene.start)  # [T, 5]
    frames = np.stack([_draw_frame(scene, state) for state in states])
    return frames[::-1].copy() if backwards else frames


def _random_scene(change: str, size: tuple[int, int], rng) -> Scene:
    width, height = size
    short = min(size)
    coarse = rng.uniform(20, 90, 3) + rng.normal(0, 5, (3, 3, 3))  # a dark, smooth, coloured pattern
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    background = np.asarray(image, np.float32)
    radius = rng.uniform(0.12, 0.2)
    middle = np.array([rng.uniform(0.3, 0.7) * width / short, rng.uniform(0.3, 0.7) * height / short, radius, 1, 0])
    drift = np.array([*rng.uniform(-0.02, 0.02, 2), 0, 0, 0])
    start, stop = middle - drift, middle + drift
    low, high = rng.uniform(0, 0.25), rng.uniform(0.75, 1)  # the change covers a random part of its range
    if change == "x":
        span = width / short
        start[0], stop[0] = span * (0.15 + 0.7 * low), span * (0.15 + 0.7 * high)
    elif change == "y":
        span = height / short
        start[1], stop[1] = span * (0.85 - 0.7 * low), span * (0.85 - 0.7 * high)
    elif change == "size":
        start[2], stop[2] = 0.06 + 0.24 * low, 0.06 + 0.24 * high
    elif change == "opacity":
        start[3], stop[3] = low, high
    elif change == "cover":
        start[4], stop[4] = 1 - low, 1 - high
    else:
        raise ValueError(f"change must be x, y, size, opacity or cover; got {change!r}")
    return Scene(
        background=background,
        color=_bright_color(rng),
        cover_color=_bright_color(rng),
        shape=SHAPES[rng.integers(len(SHAPES))],
        start=start,
        stop=stop,
        cover_from_left=bool(rng.integers(2)),
        easing=float(np.exp(rng.uniform(-0.3, 0.3))),
    )


def _bright_color(rng) -> np.ndarray:
    color = rng.uniform(0, 1, 3)
    return color / color.max() * rng.uniform(180, 255)


def _draw_frame(scene: Scene, state: np.ndarray) -> np.ndarray:
    x, y, radius, opacity, cover = state
    height, width = scene.background.shape[:2]
    short = min(height, width)
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    dx, dy, r = xs + 0.5 - x * short, ys + 0.5 - y * short, radius * short
    distance = _distance(scene.shape, dx, dy, r)
    frame = _blend(scene.background, scene.color, opacity * np.clip(0.5 - distance, 0, 1))
    if cover > 0:  # a vertical bar wider than the object, from beyond one side to the object's centre
        side = -1 if scene.cover_from_left else 1
        bar = np.abs(dx - side * (1 - cover) * 3 * r) - 1.3 * r
        frame = _blend(frame, scene.cover_color, np.clip(0.5 - bar, 0, 1))
    return np.rint(frame).clip(0, 255).astype(np.uint8)


def _distance(shape: str, dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    """Pixels [H, W] from the shape's edge, negative inside; `dx` and `dy` are measured from its centre."""
    if shape == "disc":
        return np.hypot(dx, dy) - radius
    if shape == "square":
        return np.maximum(np.abs(dx), np.abs(dy)) - 0.85 * radius
    if shape == "diamond":
        return (np.abs(dx) + np.abs(dy)) * 0.75 - radius
    return np.abs(np.hypot(dx, dy) - 0.8 * radius) - 0.3 * radius  # ring


def _blend(image: np.ndarray, color: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return image + mask[..., None] * (color - image)


def make_demo_kinetics(root: str | os.PathLike, train: int = 640, val: int = 240, seed: int = 0) -> Path:
    """Writes `demo_kinetics` (H.264 files) into `root` and returns its path; keeps one that is already there.

    FileExistsError if other data are there.
    """

    def fill(folder: Path):
        names = [name for pair in KINETICS_PAIRS for name in pair[:2]]
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

    def fill(folder: Path):
        names = [name for pair in SOMETHING_PAIRS for name in pair[:2]]
        prefix = "something-something-v1"
        (folder / f"{prefix}-labels.csv").write_text("".join(f"{name}\n" for name in names))
        jobs = []
        for split, count, offset in (("train", train, 0), ("validation", val, train)):
            rows = [f"{offset + i + 1};{names[i % len(names)]}\n" for i in range(count)]
            (folder / f"{prefix}-{split}.csv").write_text("".join(rows))
            jobs += [(folder, offset + i, i % len(names), seed) for i in range(count)]
        _run_all(_write_something_video, jobs)

    return _make_once(Path(root) / "demo_something", fill, train, val, seed)


def _youtube_id(split: str, index: int) -> str:
    return f"{'demo' + split[0]}{index:06d}"  # 11 characters, as YouTube's


def _write_kinetics_video(folder: Path, split: str, index: int, seed: int):
    names = [name for pair in KINETICS_PAIRS for name in pair[:2]]
    label = index % len(names)
    rng = np.random.default_rng((seed, 0, split == "val", index))
    size = KINETICS_SIZES[rng.integers(len(KINETICS_SIZES))]
    length = KINETICS_LENGTHS[rng.integers(len(KINETICS_LENGTHS))]
    fps = KINETICS_FPS[rng.integers(len(KINETICS_FPS))]
    frames = draw_clip(KINETICS_PAIRS[label // 2][2], label % 2 == 1, length, size, rng)
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


def _write_something_video(folder: Path, index: int, label: int, seed: int):
    rng = np.random.default_rng((seed, 1, index))
    length = SOMETHING_LENGTHS[rng.integers(len(SOMETHING_LENGTHS))]
    size = (SOMETHING_WIDTHS[rng.integers(len(SOMETHING_WIDTHS))], SOMETHING_HEIGHT)
    target = folder / "20bn-something-something-v1" / str(index + 1)
    target.mkdir(parents=True)
    for i, frame in enumerate(draw_clip(SOMETHING_PAIRS[label // 2][2], label % 2 == 1, length, size, rng)):
        Image.fromarray(frame).save(target / f"{i + 1:05d}.jpg", quality=50, optimize=True)


def _make_once(target: Path, fill: Callable[[Path], None], train: int, val: int, seed: int) -> Path:
    """Fills a hidden folder, then renames it: a data set that exists is whole."""
    settings = {"version": VERSION, "seed": seed, "clips": [["train", train], ["val", val]]}
    record = target / "demo.json"
    if target.exists():
        stored = read_json(record) if record.exists() else None
        if stored != settings:
            raise FileExistsError(
                f"{target} holds other data ({stored}, wanted {settings}): remove it or choose another root"
            )
        return target
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        fill(partial)
        (partial / "demo.json").write_text(json.dumps(settings) + "\n")
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _run_all(function: Callable, jobs: list[tuple]) -> None:
    """Calls `function(*job)` for each job; many jobs run in several processes."""
    if len(jobs) < MANY_CLIPS:
        for job in jobs:
            function(*job)
        return
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(function, *job) for job in jobs]:
            future.result()
