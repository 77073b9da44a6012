"""Re-encoding videos for training: a smaller picture, H.264, a key frame every 12 frames.

Each frame of the source is in the result, once, at its time after the first; turned upright where the source's metadata
turn it; without sound. A video whose short side is small enough keeps its size but is re-encoded all the same, so that all
files have one codec and one distance of key frames. The same file gives the same bytes: x264 runs in one thread.
"""

import errno
import json
import os
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Interpolation

from data_scripts.steps.tables import write_table
from data_scripts.steps.workers import in_processes
from tanet.data import Probe, probe
from tanet.errors import VideoError
from tanet.runtime import track, write_text

KEY_FRAMES = 12  # frames from one key frame to the next; a clip's frames stand 4 or 8 apart
PRESET = "veryfast"


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # not the video's fault
FAILURES = "resize-failures.csv"
SETTINGS = "resize.json"


def resize(
    source: Path, target: Path, splits: Sequence[str], short_side: int, crf: int, processes: int, seconds: float
) -> tuple[int, dict[str, str]]:
    """Re-encodes {split}/**/*.mp4 below `source` to the same places below `target`; videos that are there are kept. Returns
    how many there are, and the broken ones with the reason, which resize-failures.csv lists too. A video may take so many
    `seconds`.

    ValueError if `target` holds videos resized in another way.
    """
    videos = sorted(
        path.relative_to(source).as_posix()
        for split in splits
        for path in (source / split).rglob("*.mp4")
        if not path.name.startswith("._")
    )
    if not videos:
        raise FileNotFoundError(f"{source}: no .mp4 files below {' or '.join(f'{split}/' for split in splits)}")
    _check_settings(target, {"short_side": short_side, "crf": crf, "key_frames": KEY_FRAMES, "preset": PRESET})
    waiting = [video for video in videos if not (target / video).exists()]
    print(f"{target}: {len(videos)} videos, {len(videos) - len(waiting)} of them there", flush=True)
    work = in_processes(partial(_resize_one, source, target, short_side, crf), waiting, processes, seconds)
    results = track(work, len(waiting), "resize, videos")
    failures = {video: str(reason) for video, reason in results if reason is not None}
    rows = [{"video": video, "reason": failures[video]} for video in sorted(failures)]
    write_table(target / FAILURES, ("video", "reason"), rows)
    return len(videos), failures


def _check_settings(target: Path, settings: dict) -> None:
    stored = target / SETTINGS
    if not stored.exists():
        target.mkdir(parents=True, exist_ok=True)
        write_text(stored, json.dumps(settings) + "\n")
    found = json.loads(stored.read_text())
    if found != settings:
        raise ValueError(f"{target}: holds videos resized with {found}, not {settings}; choose another folder")


def _resize_one(source: Path, target: Path, short_side: int, crf: int, video: str) -> str | None:
    """None, or why the video is broken."""
    try:
        resize_video(source / video, target / video, short_side, crf)
    except VideoError as error:
        return str(error)


def resize_video(source: Path, target: Path, short_side: int, crf: int = 20) -> int:
    """Re-encodes one video whole or not at all; returns its number of frames. `crf`: x264's quality, less is better.
    VideoError names a source that is broken."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.partial")
    try:
        count = _transcode(source, probe(source), unfinished, short_side, crf)
        with open(unfinished, "rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except av.FFmpegError as error:
        if error.errno in DISK_ERRORS:
            raise OSError(error.errno, os.strerror(error.errno), str(target)) from None
        raise VideoError(f"{source}: cannot be decoded to its end ({error.strerror})") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _transcode(source: Path, found: Probe, target: Path, short_side: int, crf: int) -> int:
    size = scaled_size(found.width, found.height, short_side)  # as shown
    with av.open(str(source)) as reader, av.open(str(target), "w", "mp4", {"movflags": "faststart"}) as writer:
        video, stream, last = reader.streams.best("video"), None, -1
        video.thread_type, video.codec_context.thread_count = "NONE", 1  # processes share the cores
        for count, frame in enumerate(reader.decode(video), 1):
            if frame.is_corrupt:
                raise VideoError(f"{source}: frame {count - 1} is damaged")
            if stream is None:
                stream, first = _add_stream(writer, frame, video.average_rate, size, crf), frame.pts or 0
            last = _next_time(frame, first, last, video.average_rate)
            picture = _picture(frame, size, found.rotation)
            picture.pts, picture.time_base = last, frame.time_base
            writer.mux(stream.encode(picture))
        if count != found.frames:
            raise VideoError(f"{source}: {count} of its {found.frames} frames can be decoded")
        writer.mux(stream.encode(None))
    return count


def scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """The size with the given short side, both even, the long one rounded; never larger than it was.

    >>> scaled_size(1280, 720, 256)
    (456, 256)
    """
    ratio = min(1.0, short_side / min(width, height))
    return tuple(max(2, 2 * int(side * ratio / 2 + 0.5)) for side in (width, height))


def _add_stream(writer, frame: av.VideoFrame, rate: Fraction | None, size: tuple[int, int], crf: int):
    options = {
        "preset": PRESET,
        "crf": str(crf),
        "bf": "2",
        # Fixed and closed groups. Small frames' macroblock tree makes x264's output differ from call to call.
        "x264-params": f"keyint={KEY_FRAMES}:min-keyint={KEY_FRAMES}:scenecut=0:open-gop=0:mbtree=0",
    }
    stream = writer.add_stream("libx264", rate=rate or 25, options=options)
    stream.width, stream.height = size
    stream.pix_fmt, stream.thread_count = "yuv420p", 1
    stream.time_base = stream.codec_context.time_base = frame.time_base
    for name in ("colorspace", "color_primaries", "color_trc"):
        setattr(stream.codec_context, name, getattr(frame, name))
    stream.codec_context.color_range = ColorRange.MPEG
    return stream


def _next_time(frame: av.VideoFrame, first: int, last: int, rate: Fraction | None) -> int:
    """The frame's time after the first; where it has none, or one that is past, that of a steady rate."""
    if frame.pts is not None and frame.pts - first > last:
        return frame.pts - first
    return last + max(1, int(1 / (rate or 25) / frame.time_base)) if last >= 0 else 0


def _picture(frame: av.VideoFrame, size: tuple[int, int], rotation: int) -> av.VideoFrame:
    """The frame turned by `rotation` degrees clockwise, of this size then, as yuv420p."""
    width, height = size if rotation % 180 == 0 else size[::-1]
    scaled = frame.reformat(
        width,
        height,
        "yuv420p",
        interpolation=Interpolation.BICUBIC,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )
    picture = _turned(scaled, rotation) if rotation else scaled
    picture.pict_type = PictureType.NONE  # x264 chooses
    return picture


def _turned(frame: av.VideoFrame, rotation: int) -> av.VideoFrame:
    """A yuv420p frame turned clockwise."""
    width, height = frame.width, frame.height
    luma, *chroma = np.split(frame.to_ndarray().ravel(), [width * height, width * height * 5 // 4])
    planes = [luma.reshape(height, width), *(plane.reshape(height // 2, width // 2) for plane in chroma)]
    turned = [np.rot90(plane, -rotation // 90) for plane in planes]
    flat = np.concatenate([plane.ravel() for plane in turned])
    return av.VideoFrame.from_ndarray(flat.reshape(-1, turned[0].shape[1]), "yuv420p")
