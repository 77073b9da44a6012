"""Reading frames: video files through decord, folders of JPEGs through torchvision, one interface.

    with open_video(path) as video:
        frames = video.frames([0, 8, 16])  # uint8 RGB [3, 3, H, W]

Nothing is substituted: a file that cannot be read raises VideoError, which names it.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_jpeg, read_file


class VideoError(RuntimeError):
    """A video or frame folder that is missing or cannot be decoded; the message begins with its path."""


def open_video(path: str | os.PathLike) -> "VideoFile | FrameFolder":
    """Opens a video file, or a folder of frames 00001.jpg, 00002.jpg, ... Raises VideoError."""
    path = Path(path)
    if path.is_dir():
        return FrameFolder(path)
    if path.is_file():
        return VideoFile(path)
    raise VideoError(f"{path}: no such file or folder")


class _Video:
    path: Path

    def frames(self, indices) -> torch.Tensor:
        """0-based indices of any shape -> uint8 RGB [*shape, 3, H, W]. Each frame is decoded once, however often it is
        asked for. IndexError outside 0..len-1."""
        indices = np.asarray(indices, np.int64)
        wanted, where = np.unique(indices, return_inverse=True)
        if wanted.size == 0:
            raise IndexError(f"{self.path}: no frame asked for")
        if wanted[0] < 0 or wanted[-1] >= len(self):
            raise IndexError(f"{self.path}: frames {wanted[0]}..{wanted[-1]} asked for, it has 0..{len(self) - 1}")
        frames = self._decode(wanted.tolist())  # [unique, 3, H, W]
        return frames[torch.from_numpy(where).view(indices.shape)]

    def close(self):
        """Frees the decoder."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class VideoFile(_Video):
    """A video file, decoded by decord with one thread. Readers do not survive a fork: open them where they are used."""

    def __init__(self, path: Path):
        import decord  # here, so that frame folders work where decord has no wheel

        self.path = path
        self._errors = (decord.DECORDError, RuntimeError)  # the first is no subclass of the second
        try:
            self._reader = decord.VideoReader(str(path), num_threads=1)
        except self._errors as error:
            raise VideoError(f"{path}: cannot be opened as a video ({_first_line(error)})") from error
        if len(self._reader) < 1:
            raise VideoError(f"{path}: no frames in it")

    def __len__(self) -> int:
        return len(self._reader)

    def _decode(self, indices: list[int]) -> torch.Tensor:
        try:
            frames = self._reader.get_batch(indices).asnumpy()  # [n, H, W, 3]
        except self._errors as error:
            raise VideoError(f"{self.path}: frames {indices} cannot be decoded ({_first_line(error)})") from error
        return torch.from_numpy(frames).permute(0, 3, 1, 2)

    def close(self):
        self._reader = None


class FrameFolder(_Video):
    """A folder of JPEG frames numbered from 00001.jpg without gaps, as Something-Something V1 comes."""

    def __init__(self, path: Path):
        self.path = path
        names = {entry.name for entry in os.scandir(path) if entry.name.endswith(".jpg")}
        if not names:
            raise VideoError(f"{path}: no .jpg frames in this folder")
        gap = next((i for i in range(1, len(names) + 1) if _frame_name(i) not in names), None)
        if gap is not None:
            raise VideoError(f"{path}: {len(names)} frames, but {_frame_name(gap)} is missing")
        self._length = len(names)

    def __len__(self) -> int:
        return self._length

    def _decode(self, indices: list[int]) -> torch.Tensor:
        frames = [self._decode_one(self.path / _frame_name(i + 1)) for i in indices]
        odd = next((i for i, frame in zip(indices, frames) if frame.shape != frames[0].shape), None)
        if odd is not None:
            raise VideoError(f"{self.path}: {_frame_name(odd + 1)} differs in size from {_frame_name(indices[0] + 1)}")
        return torch.stack(frames)

    @staticmethod
    def _decode_one(path: Path) -> torch.Tensor:
        try:
            return decode_jpeg(read_file(str(path)), mode=ImageReadMode.RGB)
        except RuntimeError as error:
            raise VideoError(f"{path}: cannot be read as JPEG ({_first_line(error)})") from error


def _frame_name(number: int) -> str:
    return f"{number:05d}.jpg"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
