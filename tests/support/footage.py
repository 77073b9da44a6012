"""Barcode footage: videos whose frames show their own number in black and white blocks, which survive lossy coding.

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
from PIL import Image

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
_encoded: dict[tuple, bytes] = {}  # the files that this process has encoded, by what was asked for


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

    `options` go to the encoder. `rotation` is in degrees, clockwise, as shown: the pictures are stored turned the other
    way, so that a player shows them upright. The same request is encoded once in a process, and copied after that.
    """
    request = (path.suffix, kind, frames, size, rotation, pix_fmt, *sorted(options.items()))
    if request in _encoded:
        path.write_bytes(_encoded[request])
    else:
        encode_footage(path, kind, frames, size, rotation, pix_fmt, options)
        _encoded[request] = path.read_bytes()
    return path


def encode_footage(
    path: Path, kind: str, frames: int, size: tuple[int, int], rotation: int, pix_fmt: str, options: dict[str, str]
) -> None:
    """`write_footage` without its memory."""
    encoder, settings, container_options = KINDS[kind]
    rotation = rotation or (90 if kind == "rotated" else 0)
    with _usual_priority(), av.open(str(path), "w", options=container_options) as container:
        rate = 1000 if kind == "variable-rate" else 25
        stream = container.add_stream(encoder, rate=rate, options=settings | options)
        stream.thread_count = 1
        stream.pix_fmt = pix_fmt
        stream.width, stream.height = size[::-1] if rotation % 180 else size
        if rotation:
            stream.set_display_rotation(-rotation)  # FFmpeg counts counterclockwise
        for number, pts in enumerate(_times(kind, frames)):
            picture = np.ascontiguousarray(np.rot90(numbered(number, size), rotation // 90))  # counterclockwise
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@contextmanager
def _usual_priority():
    """Restores the process's scheduling policy after the block.

    SVT-AV1 gives a process of root a real-time priority. All processes started later would inherit it, and two of them
    that wait for each other could block the whole machine.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _times(kind: str, frames: int) -> list[int]:
    """When each frame is shown: in frames, or in milliseconds for a variable rate."""
    if kind != "variable-rate":
        return list(range(frames))
    return np.cumsum(np.random.default_rng(0).choice([17, 40, 41, 120], frames)).tolist()


def numbered(number: int, size: tuple[int, int] = (128, 96)) -> np.ndarray:
    """A picture with this number, uint8 RGB [H, W, 3]: the barcode over a moving texture."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    red, green = 127 + 80 * np.sin((x + 3 * number) / 9), 127 + 80 * np.cos((y - 2 * number) / 7)
    blue = np.full_like(x, number % 200)
    picture = np.stack([red, green, blue], 2).astype(np.uint8)
    bits = [number >> i & 1 for i in range(BITS)]
    parity = sum(bits) % 2
    block = _block(height, width)
    code = np.kron(np.reshape([*bits, parity, 1 - parity], (ROWS, COLUMNS)), np.ones((block, block)))
    picture[: ROWS * block, : COLUMNS * block] = 255 * code[..., None]
    return picture


def read_numbers(frames: torch.Tensor) -> list[int]:
    """uint8 RGB [N, 3, H, W] -> the numbers in the pictures; UNREADABLE if a block is grey or the parity is wrong."""
    block = _block(*frames.shape[-2:])
    grey = frames[..., : ROWS * block, : COLUMNS * block].float().mean(1)  # [N, rows, columns]
    margin = block // 4  # coding blurs the blocks' edges
    cells = grey.unflatten(1, (ROWS, block)).unflatten(3, (COLUMNS, block))[:, :, margin:-margin, :, margin:-margin]
    levels = cells.mean((2, 4)).flatten(1)  # [N, 12]
    valid = ((levels < 64) | (levels > 192)).all(1)
    bits = (levels > 128).long()
    parity = bits[:, :BITS].sum(1) % 2
    valid &= (bits[:, BITS] == parity) & (bits[:, BITS + 1] == 1 - parity)
    numbers = (bits[:, :BITS] << torch.arange(BITS)).sum(1)
    return torch.where(valid, numbers, UNREADABLE).tolist()


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


def write_jpegs(folder: Path, count: int = 4, size: tuple[int, int] = (64, 56)) -> None:
    """Writes a folder of flat pictures, 00001.jpg and so on."""
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", size, (40 * i, 10, 99)).save(folder / f"{i + 1:05d}.jpg")
