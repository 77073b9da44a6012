"""Encodes videos anew for training: a smaller picture, H.264, a key frame every 12 frames. Folders of frames:
tanet.prepare.frame_resizing.

The result has each frame of the source once, at the same time after the first frame. Frames are upright also where the
source's metadata turn them. There is no sound. A video whose short side is small enough keeps its size, but is
encoded anew too: then all files have one codec and one distance between key frames. The same file gives the same
bytes, because x264 runs in one thread.
"""

import argparse
import errno
import json
import os
import shutil
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePath

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Interpolation

from tanet.data import all_videos, folders_of, is_video_file, probe, video_name
from tanet.errors import DataError, VideoError
from tanet.prepare.common import add_processes_option, write_table
from tanet.prepare.frame_resizing import resize_frames, scaled_size
from tanet.prepare.workers import run_in_workers
from tanet.runtime import read_json, track, user_path, write_text

KEY_FRAMES = 12  # frames from one key frame to the next; a clip's frames are 4 or 8 apart
PRESET = "veryfast"
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # not the video's fault
FAILURES = "resize-failures.csv"
SETTINGS = "resize.json"


def add_resize_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that both resizes take to a command."""
    parser.add_argument("--out", type=user_path, required=True, help="data root of the resized videos")
    parser.add_argument("--short-side", type=int, default=320, choices=(256, 320), help="pixels (default: 320)")
    parser.add_argument("--crf", type=int, default=20, help="x264's quality, less is better (default: 20)")
    parser.add_argument("--seconds", type=float, default=600, help="time limit of a video (default: 600)")
    add_processes_option(parser)


def run_resize(dataset: str, chosen: argparse.Namespace, splits: Sequence[str], annotation_files: list[str]) -> None:
    """Resizes the videos of the root into another root, with the options of `add_resize_options`, and copies the
    annotation files that are there."""
    refuse_originals(chosen.root, chosen.out)
    videos = videos_to_resize(dataset, chosen.root, splits)
    failures = resize(chosen.root, chosen.out, videos, chosen.short_side, chosen.crf, chosen.processes, chosen.seconds)
    for name in annotation_files:
        if (chosen.root / name).exists():
            (chosen.out / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(chosen.root / name, chosen.out / name)
    say_failures(chosen.out, len(failures), len(videos))


def refuse_originals(root: Path, out: Path) -> None:
    """ValueError if the resized videos would go where the originals are."""
    if out.resolve() == root.resolve():
        raise ValueError(f"{out}: the videos there are the originals; choose another folder for the resized ones")


def say_failures(out: Path, broken: int, count: int) -> None:
    """Says how many of `count` videos were left out, if any were."""
    if broken:
        print(f"{broken} of {count} videos are broken and left out, with the reasons in {out / FAILURES}")


def resized_name(name: PurePath) -> str:
    """The path of a resized video below its root, with slashes: files become .mp4 files, folders keep their names."""
    return (name.with_name(f"{video_name(name)}.mp4") if is_video_file(name.name) else name).as_posix()


def videos_to_resize(dataset: str, source: Path, splits: Sequence[str]) -> dict[str, str]:
    """{resized video: video} of all videos of these splits, as paths below the roots. Files become .mp4 files."""
    videos = {}
    for path in sorted({path for split in splits for path in all_videos(dataset, source, split)}):
        name = path.relative_to(source)
        videos[resized_name(name)] = name.as_posix()
    if not videos:
        folders = dict.fromkeys(folder.name for split in splits for folder in folders_of(dataset, source, split))
        raise FileNotFoundError(f"{source}: no videos below {', '.join(f'{folder}/' for folder in folders)}")
    return videos


def resize(
    source: Path, target: Path, videos: dict[str, str], short_side: int, crf: int, processes: int, seconds: float
) -> dict[str, str]:
    """Writes the {resized video: video} below `source` anew below `target`; keeps those that are there. Returns
    {video: reason} of the broken ones, which resize-failures.csv lists too.

    `short_side` in pixels; `crf`: x264's quality, less is better; `seconds`: time limit of a video. DataError if
    `target` holds videos that were resized with other settings.
    """
    _check_settings(target, {"short_side": short_side, "crf": crf, "key_frames": KEY_FRAMES, "preset": PRESET})
    waiting = [(video, resized) for resized, video in videos.items() if not (target / resized).exists()]
    print(f"{target}: {len(videos)} videos, {len(videos) - len(waiting)} of them there", flush=True)
    results = run_in_workers(partial(_resize_one, source, target, short_side, crf), waiting, processes, seconds)
    results = track(results, len(waiting), "resize, videos")
    failures = {video: str(reason) for (video, _), reason in results if reason is not None}
    rows = [{"video": video, "reason": failures[video]} for video in sorted(failures)]
    write_table(target / FAILURES, ("video", "reason"), rows)
    return failures


def _check_settings(target: Path, settings: dict) -> None:
    stored = target / SETTINGS
    if not stored.exists():
        target.mkdir(parents=True, exist_ok=True)
        write_text(stored, json.dumps(settings) + "\n")
    try:
        stored_settings = read_json(stored)
    except ValueError:
        raise DataError(f"{stored}: not the settings of a resize command; choose another folder") from None
    if stored_settings != settings:
        raise DataError(f"{target}: holds videos resized with {stored_settings}, not {settings}; choose another folder")


def _resize_one(source: Path, target: Path, short_side: int, crf: int, names: tuple[str, str]) -> str | None:
    """None, or why the video is broken."""
    video, resized = source / names[0], target / names[1]
    try:
        if video.is_dir():
            resize_frames(video, resized, short_side)
        else:
            resize_video(video, resized, short_side, crf)
    except VideoError as error:
        return str(error)


def resize_video(source: Path, target: Path, short_side: int, crf: int = 20) -> int:
    """Encodes one video anew, whole or not at all; returns its number of frames. `crf`: x264's quality, less is better.
    VideoError names a source that is broken, OSError a disk that is full."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.partial")
    try:
        count = _transcode(source, unfinished, short_side, crf)
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


def _transcode(source: Path, target: Path, short_side: int, crf: int) -> int:
    properties = probe(source)
    size = scaled_size(properties.width, properties.height, short_side)  # as shown
    with av.open(str(source)) as reader, av.open(str(target), "w", "mp4", {"movflags": "faststart"}) as writer:
        video, stream, last = reader.streams.best("video"), None, -1
        video.thread_type, video.codec_context.thread_count = "NONE", 1  # the workers share the cores
        for count, frame in enumerate(reader.decode(video), 1):
            if frame.is_corrupt:
                raise VideoError(f"{source}: frame {count - 1} is damaged")
            if stream is None:
                stream, first = _add_stream(writer, frame, video.average_rate, size, crf), frame.pts or 0
            last = _next_time(frame, first, last, video.average_rate)
            picture = _picture(frame, size, properties.rotation)
            picture.pts, picture.time_base = last, frame.time_base
            writer.mux(stream.encode(picture))
        if count != properties.frames:
            raise VideoError(f"{source}: {count} of its {properties.frames} frames can be decoded")
        writer.mux(stream.encode(None))
    return count


def _add_stream(writer, frame: av.VideoFrame, rate: Fraction | None, size: tuple[int, int], crf: int):
    options = {
        "preset": PRESET,
        "crf": str(crf),
        "bf": "2",
        # Key frames at a fixed distance, closed groups. With its macroblock tree x264 gives other bytes from call to
        # call where frames are small.
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
    """The frame's time after the first frame. If it has none, or is not after the `last`: one step of the steady rate
    later."""
    if frame.pts is not None and frame.pts - first > last:
        return frame.pts - first
    if last < 0:
        return 0
    return last + max(1, int(1 / (rate or 25) / frame.time_base))


def _picture(frame: av.VideoFrame, size: tuple[int, int], rotation: int) -> av.VideoFrame:
    """The frame turned clockwise by `rotation` degrees, then of this size, as yuv420p."""
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
