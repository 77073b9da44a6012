"""Barcode footage: each picture carries its frame number in large black and white blocks, which no lossy coding blurs.

write_footage(path, "h264-open", frames=150)
with open_video(path) as video:
    assert read_numbers(video.frames([3, 149])) == [3, 149]
"""

import os
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

BITS = 10
COLUMNS, ROWS = 4, 3  # of the barcode: ten bits of the number, their parity, the parity's complement
UNREADABLE = -1


def _x264(**options: str) -> dict[str, str]:
    return {"preset": "veryfast", "crf": "28", "g": "30", "bf": "3", "x264-params": "keyint_min=1:scenecut=0"} | options


# kind -> (encoder, its options, the container's options)
KINDS = {
    "h264-closed": ("libx264", _x264(), {}),
    "h264-open": ("libx264", _x264(**{"x264-params": "open-gop=1:scenecut=0"}), {}),
    "h264-refresh": ("libx264", _x264(**{"x264-params": "intra-refresh=1"}), {}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=error:keyint=30:bframes=4:pools=1"}, {}),
    "vp9": ("libvpx-vp9", {"deadline": "good", "cpu-used": "5", "g": "30", "auto-alt-ref": "1", "b": "200k"}, {}),
    "av1": ("libsvtav1", {"preset": "8", "g": "30", "crf": "20", "svtav1-params": "lp=1"}, {}),
    "mpeg4": ("mpeg4", {"g": "30", "bf": "2", "b": "400k"}, {}),
    "variable-rate": ("libx264", _x264(), {}),
    "fragmented": ("libx264", _x264(), {"movflags": "frag_keyframe+empty_moov"}),
    "faststart": ("libx264", _x264(), {"movflags": "faststart"}),
    "rotated": ("libx264", _x264(), {}),
}


def write_footage(
    path: Path,
    kind: str = "h264-closed",
    frames: int = 150,
    size: tuple[int, int] = (128, 96),
    rotation: int = 0,
    pix_fmt: str = "yuv420p",
    **options: str,
) -> Path:
    """Writes numbered pictures of `size` (width, height, as shown) into `path`, whose suffix chooses the container.

    `options` go to the encoder. With a rotation (degrees, clockwise, when shown) the pictures are stored turned the
    other way, so that they are upright when shown.
    """
    encoder, settings, container_options = KINDS[kind]
    rotation = rotation or (90 if kind == "rotated" else 0)
    with _usual_priority(), av.open(str(path), "w", options=container_options) as container:
        rate = 1000 if kind == "variable-rate" else 25
        stream = container.add_stream(encoder, rate=rate, options=settings | options)
        stream.thread_count = 1
        stream.pix_fmt = pix_fmt
        turned = size[::-1] if rotation % 180 else size
        stream.width, stream.height = turned
        if rotation:
            stream.set_display_rotation(-rotation)  # FFmpeg counts counterclockwise
        for number, pts in enumerate(_times(kind, frames)):
            picture = np.ascontiguousarray(np.rot90(numbered(number, size), rotation // 90))  # counterclockwise
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@contextmanager
def _usual_priority():
    """Takes back what SVT-AV1 gives whoever calls it as root: a real-time priority, which every process started later would
    inherit, and a pair of them that wait for one another could hold the whole machine."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _times(kind: str, frames: int) -> list[int]:
    """When each frame is shown: in frames, or milliseconds where their distance varies."""
    if kind != "variable-rate":
        return list(range(frames))
    return np.cumsum(np.random.default_rng(0).choice([17, 40, 41, 120], frames)).tolist()


def numbered(number: int, size: tuple[int, int] = (128, 96)) -> np.ndarray:
    """uint8 RGB [H, W, 3]: the barcode over a moving texture."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    red, green = 127 + 80 * np.sin((x + 3 * number) / 9), 127 + 80 * np.cos((y - 2 * number) / 7)
    picture = np.stack([red, green, 0 * x + number % 200], 2).astype(np.uint8)
    block = _block(height, width)
    bits = [number >> i & 1 for i in range(BITS)]
    bits += [sum(bits) % 2, 1 - sum(bits) % 2]
    code = np.kron(np.reshape(bits, (ROWS, COLUMNS)), np.ones((block, block)))
    picture[: ROWS * block, : COLUMNS * block] = 255 * code[..., None]
    return picture


def read_numbers(frames: torch.Tensor) -> list[int]:
    """uint8 RGB [N, 3, H, W] -> the numbers stamped into them; UNREADABLE where a block is grey or the parity wrong."""
    block = _block(*frames.shape[-2:])
    grey = frames[..., : ROWS * block, : COLUMNS * block].float().mean(1)  # [N, rows, columns]
    margin = block // 4  # edges are blurred by coding
    cells = grey.unflatten(1, (ROWS, block)).unflatten(3, (COLUMNS, block))[:, :, margin:-margin, :, margin:-margin]
    levels = cells.mean((2, 4)).flatten(1)  # [N, 12]
    sure = ((levels < 64) | (levels > 192)).all(1)
    bits = (levels > 128).long()
    parity = bits[:, :BITS].sum(1) % 2
    sure &= (bits[:, BITS] == parity) & (bits[:, BITS + 1] == 1 - parity)
    numbers = (bits[:, :BITS] << torch.arange(BITS)).sum(1)
    return torch.where(sure, numbers, UNREADABLE).tolist()


def _block(height: int, width: int) -> int:
    """The side of the barcode's blocks, in pixels."""
    return min(32, height // (ROWS + 1), width // (COLUMNS + 1))


def write_sound(path: Path) -> Path:
    """Writes a second of silence: a file with sound and no pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
