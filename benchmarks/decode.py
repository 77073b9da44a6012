"""Reading clips from disk: `tanet.data.video` against decord, PyAV, torchcodec and OpenCV used plainly, and Pillow on JPEGs.

    python benchmarks/decode.py [--rounds 15]

Videos are H.264 as x264 makes it by default, 300 frames; figures are ratios to decord's `get_batch` with one thread in
the order of the clips. A training clip is 8 of 64 frames, a test 10 clips of them; every reading opens the file anew.
"""

import argparse
import os
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from common import clock, fair_malloc, interleaved, record
from PIL import Image

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
    """Decodes from the beginning and keeps what is wanted."""
    import av

    wanted, found = set(indices.ravel().tolist()), {}
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                found[number] = frame.to_ndarray(format="rgb24", threads=1)
            if len(found) == len(wanted):
                break
    return np.stack([found[i] for i in indices.ravel()])


def plain_opencv(path: Path, indices: np.ndarray):
    """Decodes from the beginning and converts what is wanted."""
    import cv2

    wanted, found = set(indices.ravel().tolist()), {}
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    for number in range(max(wanted) + 1):
        video.grab()
        if number in wanted:
            found[number] = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB)
    video.release()
    return np.stack([found[i] for i in indices.ravel()])


def plain_torchcodec(path: Path, indices: np.ndarray):
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(str(path), num_ffmpeg_threads=1).get_frames_at(indices.ravel().tolist()).data


def by(reader: str | None):
    """Through tanet.data.video with a stored probe that names this reader; None: probed on opening, which chooses."""
    probes = {}

    def read(path: Path, indices: np.ndarray):
        if reader and path not in probes:
            probes[path] = replace(probe(path), reader=reader)
        with open_video(path, probes.get(path)) as video:
            return video.frames(indices)

    return read


READERS = {
    "decord, clip order": plain_decord,
    "tanet by decord": by("decord"),
    "tanet by pyav": by("pyav"),
    "tanet, probed on opening": by(None),
    "PyAV from the beginning": plain_pyav,
    "OpenCV from the beginning": plain_opencv,
    "torchcodec": plain_torchcodec,
}


def footage(width: int, height: int) -> np.ndarray:
    """uint8 [T, H, W, 3]: a picture of many scales that drifts and turns, with camera noise."""
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


def contestant(read, path: Path, requests: list[np.ndarray]):
    def run():
        started = clock()
        for indices in requests:
            read(path, indices)
        return {"time": clock() - started}

    return run


def available(path: Path) -> dict:
    """The readers that are installed."""
    found = {}
    for name, read in READERS.items():
        try:
            read(path, np.array([[0]]))
            found[name] = read
        except (ImportError, RuntimeError, OSError) as error:
            print(f"{name}: not measured ({str(error).splitlines()[0]})")
    return found


def measure_videos(folder: Path, rounds: int) -> list[dict]:
    rng = np.random.default_rng(0)
    training = [sampling.dense_train(FRAMES, 8, rng) for _ in range(4)]
    tasks = {"training clip": training, "30-view test": [sampling.dense_clips(FRAMES, 8)]}
    rows, readers = [], None
    for width, height in SIZES:
        frames = footage(width, height)
        for distance in KEY_DISTANCES:
            path = folder / f"{width}x{height}-{distance}.mp4"
            write_video(path, frames, Fraction(30), preset="medium", g=str(distance))
            for task, requests in tasks.items():
                readers = readers or available(path)
                times = interleaved({name: contestant(f, path, requests) for name, f in readers.items()}, rounds)
                base = times["decord, clip order"]["time"]
                rows.append({"task": task, "size": [width, height], "key frame every": distance})
                rows[-1] |= {name: round(time["time"] / base, 3) for name, time in times.items()}
                print(rows[-1], flush=True)
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
        ours = by(None)
        identical = bool((ours(target, requests[0])[0] == pillow_frames(target, requests[0])).all())
        readers = {"Pillow": pillow_frames, "tanet": ours}
        times = interleaved({name: contestant(f, target, requests) for name, f in readers.items()}, 10 * rounds)
        base = times["Pillow"]["time"]
        rows.append({"task": "8 JPEG frames", "size": [width, height], "bit-identical": identical})
        rows[-1] |= {"Pillow": 1.0, "tanet": round(times["tanet"]["time"] / base, 3)}
        print(rows[-1], flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_videos(Path(folder), rounds) + measure_folders(Path(folder), rounds)
    record("decode", rows)
    print("\n".join(table(rows)))


def table(rows: list[dict]) -> list[str]:
    """The videos' rows in Markdown, for the README."""
    rows = [row for row in rows if "key frame every" in row]
    readers = [name for name in rows[0] if name not in ("task", "size", "key frame every")]
    lines = [f"| task, picture, key frame every | {' | '.join(readers)} |", "|---" * (len(readers) + 1) + "|"]
    for row in rows:
        place = f"{row['task']}, {row['size'][0]}x{row['size'][1]}, {row['key frame every']}"
        lines.append(f"| {place} | {' | '.join(f'{row[name]:.2f}' for name in readers)} |")
    return lines


if __name__ == "__main__":
    fair_malloc()
    main()
