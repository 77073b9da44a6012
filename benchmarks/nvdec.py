"""Decoding by the GPU's video engine (NVDEC) through PyAV, beside PyAV on one core: frames/s, and whether pixels agree.

    python benchmarks/nvdec.py [--size 340 256] [--key-frames 12] [--videos 4] [--rounds 3]

Videos of H.264 with 300 frames are opened, decoded from the first to the last frame, and brought to main memory as RGB.
Where NVDEC cannot be used, the record says why.
"""

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.codec.hwaccel import HWAccel
from common import Contestant, clock, device, measure_in_turns, median_and_range, record
from decode import SIZES, footage

from tanet.demo import write_video


def decoded(path: Path, hardware: bool) -> list[np.ndarray]:
    """All frames of a video, uint8 RGB [H, W, 3] each."""
    accelerator = HWAccel("cuda", allow_software_fallback=False) if hardware else None
    with av.open(str(path), hwaccel=accelerator) as container:
        stream = container.streams.video[0]
        if not hardware:
            stream.thread_count = 1
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def decoding(path: Path, videos: int, hardware: bool) -> Contestant:
    def run():
        started = clock()
        frames = sum(len(decoded(path, hardware)) for _ in range(videos))
        return {"seconds": (clock() - started) / frames}

    return run


def measure(path: Path, chosen: argparse.Namespace) -> list[dict]:
    conditions = {"task": "decode", "size": "x".join(map(str, chosen.size)), "key frame every": chosen.key_frames}
    contestants = {"PyAV, one core": decoding(path, chosen.videos, hardware=False)}
    why = None
    try:
        by_hardware = decoded(path, hardware=True)
    except (av.FFmpegError, NotImplementedError, OSError, RuntimeError, ValueError) as error:
        why = str(error)
    else:
        contestants["PyAV, NVDEC"] = decoding(path, chosen.videos, hardware=True)
    rows = []
    for name, figures in measure_in_turns(contestants, chosen.rounds).items():
        speeds = [1 / seconds for seconds in figures["seconds"]]
        rows.append(conditions | {"contestant": name} | median_and_range("frames_per_second", speeds))
    if why is not None:
        return [*rows, conditions | {"contestant": "PyAV, NVDEC", "not measured": why}]
    on_core = decoded(path, hardware=False)
    off = [int(np.abs(a.astype(int) - b).max()) for a, b in zip(by_hardware, on_core)]
    rows[-1] |= {"frames": len(by_hardware), "frames of one core": len(on_core), "greatest difference": max(off)}
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=SIZES[0], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--key-frames", type=int, default=12, help="frames between key frames")
    parser.add_argument("--videos", type=int, default=4, help="videos in each round")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if device().type == "cuda":
        torch.zeros(1, device="cuda")  # the context, which the first video would otherwise wait for
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        write_video(path, footage(*chosen.size), Fraction(30), preset="medium", g=str(chosen.key_frames))
        rows = measure(path, chosen)
    for row in rows:
        print(row, flush=True)
    record("nvdec", rows)


if __name__ == "__main__":
    main()
