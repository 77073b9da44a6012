"""Reading clips from disk: `tanet.data` compared with direct calls of decord, PyAV, torchcodec, OpenCV and Pillow.

    python benchmarks/decode.py [--rounds 15]

The videos have 300 frames of H.264 with the defaults of x264. Figures are ratios to decord's `get_batch`, with one
thread and the frames in the order of the clips. A training clip has 8 frames from a window of 64; a test has 10 such
clips. Every reading opens the file again.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from common import Contestant, clock, fair_malloc, median_in_turns, record
from PIL import Image
from table import decoding_table

from tanet.data import open_video, probe, sampling
from tanet.demo import write_video

os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"  # read when OpenCV is imported
SIZES = ((340, 256), (640, 360))
KEY_DISTANCES = (12, 250)
FRAMES = 300


def plain_decord(path: Path, indices: np.ndarray):
    from decord import VideoReader

    return VideoReader(str(path), num_threads=1).get_batch(indices.ravel()).asnumpy()


def plain_pyav(path: Path, indices: np.ndarray):
    """Decodes the video from its beginning and keeps the frames in `indices`."""
    import av

    wanted, frames = set(indices.ravel().tolist()), {}
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                frames[number] = frame.to_ndarray(format="rgb24", threads=1)
            if len(frames) == len(wanted):
                break
    return np.stack([frames[i] for i in indices.ravel()])


def plain_opencv(path: Path, indices: np.ndarray):
    """Decodes the video from its beginning and converts the frames in `indices`."""
    import cv2

    wanted, frames = set(indices.ravel().tolist()), {}
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    for number in range(max(wanted) + 1):
        video.grab()
        if number in wanted:
            frames[number] = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB)
    video.release()
    return np.stack([frames[i] for i in indices.ravel()])


def plain_torchcodec(path: Path, indices: np.ndarray):
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(str(path), num_ffmpeg_threads=1).get_frames_at(indices.ravel().tolist()).data


def tanet_reader(reader: str | None):
    """Reads by `tanet.data.open_video` with a stored probe that names `reader`.

    With None there is no stored probe: the file is probed when it is opened, and the probe chooses the reader.
    """
    probes = {}

    def read(path: Path, indices: np.ndarray):
        if reader and path not in probes:
            probes[path] = replace(probe(path), reader=reader)
        with open_video(path, probes.get(path)) as video:
            return video.frames(indices)

    return read


READERS = {
    "decord, clip order": plain_decord,
    "tanet by decord": tanet_reader("decord"),
    "tanet by pyav": tanet_reader("pyav"),
    "tanet, probed on opening": tanet_reader(None),
    "PyAV from the beginning": plain_pyav,
    "OpenCV from the beginning": plain_opencv,
    "torchcodec": plain_torchcodec,
}


def footage(width: int, height: int) -> np.ndarray:
    """A synthetic video, uint8 [T, H, W, 3]: a picture with details of many sizes that drifts and turns, and noise."""
    rng = np.random.default_rng(0)
    side = 2 * max(width, height)
    scales = [Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)) for n in (4, 16, 64, 256)]
    scales = [np.asarray(scale.resize((side, side), Image.BICUBIC), np.float32) for scale in scales]
    picture = Image.fromarray((sum(scales) / 4).astype(np.uint8))
    frames = []
    for t in range(FRAMES):
        left, top = (np.array([side - width, side - height]) / 2 * (1 + 0.3 * np.sin([t / 20, t / 31]))).astype(int)
        turned = picture.rotate(8 * np.sin(t / 40), Image.BILINEAR).crop((left, top, left + width, top + height))
        frames.append(np.clip(np.asarray(turned) + rng.normal(0, 2, (height, width, 1)), 0, 255).astype(np.uint8))
    return np.stack(frames)


def contestant(read: Callable, path: Path, requests: list[np.ndarray]) -> Contestant:
    """A contestant that reads all `requests` from the video at `path`."""

    def run():
        started = clock()
        for indices in requests:
            read(path, indices)
        return {"time": clock() - started}

    return run


def available(path: Path) -> dict[str, Callable]:
    """The readers that can read the video at `path`; prints why the others cannot."""
    readers = {}
    for name, read in READERS.items():
        try:
            read(path, np.array([[0]]))
            readers[name] = read
        except (ImportError, RuntimeError, OSError) as error:
            print(f"{name}: not measured ({str(error).splitlines()[0]})")
    return readers


def measure_videos(folder: Path, rounds: int) -> list[dict]:
    rng = np.random.default_rng(0)
    training = [sampling.dense_train(FRAMES, 8, rng) for _ in range(4)]
    tasks = {"training clip": training, "30-view test": [sampling.dense_clips(FRAMES, 8)]}
    rows, readers = [], {}
    for width, height in SIZES:
        frames = footage(width, height)
        for distance in KEY_DISTANCES:
            path = folder / f"{width}x{height}-{distance}.mp4"
            write_video(path, frames, Fraction(30), preset="medium", g=str(distance))
            for task, requests in tasks.items():
                readers = readers or available(path)
                contestants = {name: contestant(read, path, requests) for name, read in readers.items()}
                times = median_in_turns(contestants, rounds)
                row = {"task": task, "size": [width, height], "key frame every": distance}
                for name, figures in times.items():
                    row[name] = round(figures["time"] / times["decord, clip order"]["time"], 3)
                rows.append(row)
                print(row, flush=True)
    return rows


def pillow_frames(folder: Path, indices: np.ndarray):
    pictures = [Image.open(folder / f"{i + 1:05d}.jpg").convert("RGB") for i in indices.ravel()]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2)


def measure_folders(folder: Path, rounds: int) -> list[dict]:
    rows = []
    for width, height in ((176, 100), *SIZES):
        target = folder / f"{width}x{height}"
        target.mkdir()
        for i, frame in enumerate(footage(width, height)[:48]):
            Image.fromarray(frame).save(target / f"{i + 1:05d}.jpg", quality=75)
        requests = [sampling.uniform_frames(48, 8)] * 4
        read = tanet_reader(None)
        identical = bool((read(target, requests[0])[0] == pillow_frames(target, requests[0])).all())
        contestants = {
            "Pillow": contestant(pillow_frames, target, requests),
            "tanet": contestant(read, target, requests),
        }
        times = median_in_turns(contestants, 10 * rounds)
        row = {"task": "8 JPEG frames", "size": [width, height], "bit-identical": identical, "Pillow": 1.0}
        row["tanet"] = round(times["tanet"]["time"] / times["Pillow"]["time"], 3)
        rows.append(row)
        print(row, flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_videos(Path(folder), rounds) + measure_folders(Path(folder), rounds)
    record("decode", rows)
    print("\n".join(decoding_table(rows)))


if __name__ == "__main__":
    fair_malloc()
    main()
