"""Reading frames: video files through decord or PyAV, folders of JPEGs through torchvision, one interface.

    with open_video(path) as video:
        frames = video.frames([0, 8, 16])  # uint8 RGB [3, 3, H, W]

Nothing is substituted: a file that cannot be read raises VideoError, which names it. Which decoder reads a file is for
tanet.data.probing to say; where both can, their pixels are the same.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torchvision.io import ImageReadMode, decode_jpeg, read_file

from tanet.data.probing import Packets, Probe, examine, reason
from tanet.errors import VideoError


def open_video(path: str | os.PathLike, probe: Probe | None = None) -> "DecordFile | PyAVFile | FrameFolder":
    """Opens a video file, or a folder of frames 00001.jpg, 00002.jpg, ... Raises VideoError.

    `probe` is what tanet.data.probing found in the file earlier; without, it is probed now. Readers do not survive a fork:
    open them where they are used.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return FrameFolder(path)
        if not path.is_file():
            raise VideoError(f"{path}: no such file or folder")
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({reason(error)})") from error
    if probe and probe.reader == "decord":
        return DecordFile(path, probe)
    packets = Packets(path)
    try:
        probe = probe or examine(packets)
        if probe.reader == "pyav":
            return PyAVFile(packets, probe)
    except BaseException:
        packets.close()
        raise
    packets.close()
    return DecordFile(path, probe)


class _Video:
    path: Path
    reader_name: str  # one of tanet.data.probing.READERS, or "jpeg"

    def frames(self, indices) -> torch.Tensor:
        """0-based indices of any shape -> uint8 RGB [*shape, 3, H, W]. Each frame is decoded once, however often it is
        asked for. IndexError outside 0..len-1."""
        indices = np.asarray(indices, np.int64)
        wanted, where = indices.ravel(), None
        if wanted.size == 0:
            raise IndexError(f"{self.path}: no frame asked for")
        if (wanted[1:] <= wanted[:-1]).any():
            wanted, where = np.unique(wanted, return_inverse=True)
        if wanted[0] < 0 or wanted[-1] >= len(self):
            raise IndexError(f"{self.path}: frames {wanted[0]}..{wanted[-1]} asked for, it has 0..{len(self) - 1}")
        frames = torch.from_numpy(self._decode(wanted.tolist()))  # [unique, H, W, 3]
        if where is not None:
            frames = frames[torch.from_numpy(where)]
        return frames.view(*indices.shape, *frames.shape[1:]).movedim(-1, -3)

    def close(self):
        """Frees the decoder."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class DecordFile(_Video):
    """A video file, decoded by decord with one thread: only files that are known to be safe with it."""

    reader_name = "decord"

    def __init__(self, path: Path, probe: Probe):
        import decord  # here, so that the rest works where decord has no wheel

        self.path = path
        self._errors = (decord.DECORDError, RuntimeError)  # the first is no subclass of the second
        try:
            self._reader = decord.VideoReader(str(path.absolute()), num_threads=1)
        except self._errors as error:
            raise VideoError(f"{path}: cannot be opened as a video ({reason(error)})") from error
        _check_length(path, len(self._reader), probe)

    def __len__(self) -> int:
        return len(self._reader)

    def _decode(self, indices: list[int]) -> np.ndarray:
        try:
            return self._reader.get_batch(indices).asnumpy()  # [n, H, W, 3]
        except self._errors as error:
            named = f"{indices[0]}..{indices[-1]} of {len(self)}"
            raise VideoError(f"{self.path}: frames {named} cannot be decoded ({reason(error)})") from error

    def close(self):
        self._reader = None


class PyAVFile(_Video):
    """A video file, decoded by PyAV with one thread; frames are found by their times, or by counting where those lie.

    Decoding goes from the key frame before a wanted frame to that frame and no further; in H.264, pictures on the way
    that nobody asked for and no other refers to are skipped. The coded file is held in memory while it is open.
    """

    reader_name = "pyav"

    def __init__(self, packets: Packets, probe: Probe):
        self.path, self._packets = packets.path, packets
        self._rotation, self._skips = probe.rotation, probe.codec == "h264"
        self._convert = VideoReformatter()
        _check_length(self.path, len(self), probe)

    def __len__(self) -> int:
        return len(self._packets.order)

    def close(self):
        self._packets.close()

    def _decode(self, indices: list[int]) -> np.ndarray:
        try:
            return self._collect(indices, self._numbered(indices))
        except _NotFromHere:
            return self._collect(indices, self._numbered(indices, whole=True))

    def _collect(self, indices: list[int], numbered: Iterator[tuple[int, av.VideoFrame]]) -> np.ndarray:
        """The wanted ones of (index, frame) pairs -> uint8 [n, H, W, 3]."""
        slots = {index: slot for slot, index in enumerate(indices)}
        frames = None
        for index, frame in numbered:
            if frame.is_corrupt:
                raise VideoError(f"{self.path}: frame {index} of {len(self)} is damaged")
            if index not in slots:
                continue
            picture = self._picture(index, frame)
            if frames is None:
                frames = np.empty((len(indices), *picture.shape), np.uint8)
            if picture.shape != frames.shape[1:]:
                raise VideoError(f"{self.path}: frame {index} of {len(self)} differs in size from those before")
            frames[slots.pop(index)] = picture
        if slots:
            named = f"frame {min(slots)} of {len(self)}"
            raise VideoError(f"{self.path}: {named} cannot be decoded: file cut short or damaged")
        return frames

    def _picture(self, index: int, frame: av.VideoFrame) -> np.ndarray:
        """The frame as it is shown, uint8 RGB [H, W, 3]."""
        try:
            picture = self._convert.reformat(frame, format="rgb24", threads=1).to_ndarray()
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{self.path}: frame {index} of {len(self)} cannot be converted to RGB ({reason(error)})"
            ) from error
        return np.rot90(picture, -self._rotation // 90)

    def _numbered(self, indices: list[int], whole: bool = False) -> Iterator[tuple[int, av.VideoFrame]]:
        """(index, frame) of all wanted frames and of some others."""
        file = self._packets
        if not file.timed:
            # Frames come as they are shown, one for each picture; from the first key frame, as no index can be trusted.
            for index, frame in zip(range(indices[-1] + 1), self._run(file.keys[0], len(file.packets) - 1, set())):
                yield index, frame
            return
        numbers = {file.packets[place].pts: index for index, place in enumerate(file.order)}
        wanted = {file.order[index] for index in indices}
        for start, stop in [(file.keys[0], max(wanted))] if whole else _spans(wanted, file):
            begin, sound = file.packets[start].pts, start == file.keys[0]
            for frame in self._run(start, stop, wanted):
                if frame.pts is None or frame.pts < begin:
                    continue  # shown before the key frame, needs what was before it
                if not sound and (frame.pts != begin or not frame.key_frame):
                    break
                sound = True
                if frame.pts in numbers:
                    yield numbers[frame.pts], frame
            if not sound:
                raise _NotFromHere

    def _run(self, start: int, stop: int, wanted: set[int]) -> Iterator[av.VideoFrame]:
        """Decodes the packets from `start` up to and with `stop`."""
        decoder = self._packets.decoder
        if decoder.is_open:
            decoder.flush_buffers()
        try:
            for place in range(start, stop + 1):
                if self._skips and wanted:
                    decoder.skip_frame = "DEFAULT" if place in wanted else "NONREF"
                yield from decoder.decode(self._packets.packets[place])
            yield from decoder.decode(None)
        except av.FFmpegError as error:
            raise VideoError(
                f"{self.path}: a frame near {place} of {len(self)} cannot be decoded ({reason(error)})"
            ) from error


class _NotFromHere(Exception):
    """Decoding cannot begin at a frame, though it is flagged as a key frame; it must begin with the file."""


def _spans(wanted: set[int], file: Packets) -> list[tuple[int, int]]:
    """The runs of packets to decode for the packets `wanted`: from a key frame to the last one wanted of its group."""
    spans = []
    for start, stop in sorted((_key_before(place, file), place) for place in wanted):
        if spans and start <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(stop, spans[-1][1]))
        else:
            spans.append((start, stop))
    return spans


def _key_before(place: int, file: Packets) -> int:
    """The last key frame before a packet, in the file and as shown."""
    pts = file.packets[place].pts
    return next(key for key in reversed(file.keys) if key <= place and file.packets[key].pts <= pts)


def _check_length(path: Path, length: int, probe: Probe) -> None:
    if length != probe.frames:
        raise VideoError(f"{path}: {length} frames in it, but {probe.frames} when it was probed; probe it again")


class FrameFolder(_Video):
    """A folder of JPEG frames numbered from 00001.jpg without gaps, as Something-Something V1 comes."""

    reader_name = "jpeg"

    def __init__(self, path: Path):
        self.path = path
        try:
            names = {name for name in os.listdir(path) if name.endswith(".jpg")}
        except OSError as error:
            raise VideoError(f"{path}: cannot be read ({reason(error)})") from error
        if not names:
            raise VideoError(f"{path}: no .jpg frames in this folder")
        expected = {_frame_name(number) for number in range(1, len(names) + 1)}
        if names != expected:
            raise VideoError(f"{path}: {len(names)} frames, but {min(expected - names)} is missing")
        self._length = len(names)

    def __len__(self) -> int:
        return self._length

    def _decode(self, indices: list[int]) -> np.ndarray:
        paths = [f"{self.path}{os.sep}{_frame_name(index + 1)}" for index in indices]
        try:
            pictures = decode_jpeg([read_file(path) for path in paths], mode=ImageReadMode.RGB)  # each [3, H, W]
        except RuntimeError:
            pictures = [self._decode_one(path) for path in paths]  # finds out which
        frames = np.empty((len(pictures), *pictures[0].shape[1:], 3), np.uint8)
        for slot, picture in enumerate(pictures):
            if picture.shape != pictures[0].shape:
                names = _frame_name(indices[slot] + 1), _frame_name(indices[0] + 1)
                raise VideoError(f"{self.path}: {names[0]} differs in size from {names[1]}")
            frames[slot] = picture.permute(1, 2, 0).numpy()
        return frames

    @staticmethod
    def _decode_one(path: str) -> torch.Tensor:
        try:
            return decode_jpeg(read_file(path), mode=ImageReadMode.RGB)
        except RuntimeError as error:
            said = reason(error).rpartition(".cpp:")[2]  # after the place in torchvision's source
            raise VideoError(f"{path}: cannot be read as JPEG ({said})") from error


def _frame_name(number: int) -> str:
    return f"{number:05d}.jpg"
