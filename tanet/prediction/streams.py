"""Predictions for a camera or a stream, window after window, while a thread decodes the next one.

A window is so many consecutive frames. Of each window one clip with a centre crop is computed, as in the validation
during a training. A source without an end, such as a camera, does not wait: if the network is slower, the newest whole
window is taken and those before it are left out, which the times of the windows show.
"""

import queue
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch

from tanet.data import center_clip, center_view
from tanet.errors import VideoError
from tanet.evaluate import score_views
from tanet.prediction.predicting import Prediction, Predictor
from tanet.recipes import WINDOW
from tanet.runtime import process_group, repeatable

CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}  # FFmpeg's, by sys.platform
# Seconds without an answer, after which a server counts as out of reach; PyAV's (open, read).
SECONDS = (10.0, 30.0)


def predict_stream(predictor: Predictor, source: str, window: int = WINDOW) -> Iterator[Prediction]:
    """A prediction for each `window` frames of a camera or an address, until it ends.

    Raises VideoError, which names the source, if it cannot be opened, breaks off, or ends before its first window.
    """
    if window < predictor.recipe.num_frames:
        raise ValueError(f"a window of {window} frames, the network takes {predictor.recipe.num_frames}")
    wanted = center_clip(window, predictor.recipe)  # [T]
    with process_group(predictor.use_gpu) as process, repeatable(process.device), _opened(source) as container:
        model = predictor.model.to(process.device, memory_format=torch.channels_last)
        for found in _beside(_windows(container, source, window, wanted), drop=container.duration is None):
            view = center_view(found.frames, predictor.recipe)  # [T, 3, S, S]
            probabilities = score_views(model, view[None], predictor.recipe.style).numpy()
            yield Prediction(
                path=source,
                probabilities=probabilities,
                clips=probabilities[None],
                frames=(found.first + wanted)[None],
                seconds=found.seconds[None],
                class_names=predictor.class_names,
            )


@dataclass(frozen=True)
class _Window:
    first: int  # its first frame, counted from the start of the source
    frames: torch.Tensor  # those of the clip, uint8 [T, 3, H, W]
    seconds: np.ndarray  # their times from the start of the source, float64 [T]


def _opened(source: str) -> av.container.InputContainer:
    file, options = source, {}
    if source.startswith(("camera:", "/dev/video")):
        number = source.removeprefix("camera:")
        linux = sys.platform not in ("darwin", "win32")
        file = f"/dev/video{number}" if linux and number.isdigit() else number
        options = {"format": CAMERA_FORMATS.get(sys.platform, "v4l2")}
    try:
        return av.open(file, timeout=SECONDS, **options)
    except (av.FFmpegError, OSError, ValueError) as error:
        what = "camera" if options else "stream"
        raise VideoError(f"{source}: this {what} cannot be opened ({_reason(error)}){_cameras(file)}") from error


def _cameras(file: str) -> str:
    """Which cameras there are, in words, for one that is not there."""
    if not file.startswith("/dev/video"):
        return ""
    there = sorted(map(str, Path("/dev").glob("video[0-9]*")))
    return f"; there is {', '.join(there)}" if there else "; there is no camera here"


def _windows(container: av.container.InputContainer, source: str, window: int, wanted: np.ndarray) -> Iterator[_Window]:
    """Every whole window of the source. Only the frames that a clip takes are converted to RGB."""
    stream = container.streams.best("video")
    if stream is None:
        raise VideoError(f"{source}: no video in it")
    stream.thread_type = "AUTO"
    count, start, pictures, seconds = 0, None, {}, {}
    try:
        for frame in container.decode(stream):
            time = frame.time if frame.time is not None else float("nan")
            start = time if start is None else start
            if count % window in wanted:
                pictures[count % window] = _upright(frame)  # [H, W, 3]
                seconds[count % window] = time - start
            count += 1
            if count % window == 0:
                if len({picture.shape for picture in pictures.values()}) > 1:
                    raise VideoError(f"{source}: its frames change size before frame {count}")
                frames = torch.stack([pictures[index] for index in wanted.tolist()]).movedim(-1, 1)
                yield _Window(count - window, frames, np.array([seconds[index] for index in wanted.tolist()]))
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{source}: broke off after {count} frames ({_reason(error)})") from error
    if count < window:
        raise VideoError(f"{source}: ended after {count} frames, a window needs {window}")


def _upright(frame: av.VideoFrame) -> torch.Tensor:
    """The frame as it is shown, uint8 RGB [H, W, 3]."""
    turns = 0 if frame.rotation % 90 else frame.rotation // 90  # counterclockwise
    return torch.from_numpy(np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns)))


_END = object()


def _beside(windows: Iterator[_Window], drop: bool) -> Iterator[_Window]:
    """The windows, which a thread makes while the caller computes. With `drop` only the newest one waits."""
    waiting, ended = queue.Queue(maxsize=1), threading.Event()

    def put(item, in_place: bool) -> None:
        while not ended.is_set():
            try:
                return waiting.put(item, timeout=0 if in_place else 0.1)
            except queue.Full:
                if in_place:
                    _take(waiting)

    def read() -> None:
        last = _END
        try:
            for window in windows:
                put(window, in_place=drop)
                if ended.is_set():
                    return
        except Exception as error:  # raised again where the windows are used
            last = error
        put(last, in_place=False)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        ended.set()
        thread.join()


def _take(waiting: queue.Queue) -> None:
    try:
        waiting.get_nowait()
    except queue.Empty:  # the caller has taken it
        pass


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
