"""Frames of a video: from video files through decord or PyAV, from folders of pictures through torchvision.

    with open_video(path) as video:
        frames = video.frames([0, 8, 16])  # uint8 RGB [3, 3, H, W]

All readers have the same interface. A frame is never replaced by another one: a file that cannot be read raises
VideoError, which names the file. tanet.data.probing chooses the decoder. Where both decoders can read a file, they
give the same pixels.

torchvision brings torch's compiler with it, and takes as long to import as torch. So it is imported when a picture is
read; `make_loader` imports it before it forks workers.

Why PyAV, and not torchcodec: torchcodec 0.17 in exact mode returns wrong frames, without an error, for MPEG-TS (26 of
30 requests, and 3 errors), AVI (28 of 30) and intra-refresh H.264 (17 of 30). It also needs FFmpeg installed on the
system. Measured on 2026-11-27.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter

from tanet.data.frame_names import read_frame_names
from tanet.data.probing import Packets, Probe, load_decord, probe_packets, reason
from tanet.errors import VideoError
from tanet.runtime import file_status, user_path

RESIZE_FRAMES = "the command resize of data_scripts brings all to one size"


def open_video(path: str | os.PathLike, probe: Probe | None = None) -> "DecordFile | PyAVFile | FrameFolder":
    """Opens a video file, or a folder of frames such as 00001.jpg. Raises VideoError.

    `probe`: the file's stored probe; without one the file is probed now. A reader does not survive a fork: open it in
    the process that uses it.
    """
    path = user_path(path)
    try:
        status = file_status(path)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({reason(error)})") from error
    if status is None:
        raise VideoError(f"{path}: no such file or folder")
    if stat.S_ISDIR(status.st_mode):
        return FrameFolder(path)
    if probe and probe.reader == "decord" and load_decord():
        return DecordFile(path, probe)
    packets = Packets(path)
    try:
        probe = probe or probe_packets(packets)
        if probe.reader == "pyav" or not load_decord():
            return PyAVFile(packets, probe)
    except BaseException:
        packets.close()
        raise
    packets.close()
    return DecordFile(path, probe)


class _Video:
    path: Path
    reader_name: str  # "decord", "pyav", "jpeg" or "png"

    def frames(self, indices) -> torch.Tensor:
        """0-based frame indices of any shape -> uint8 RGB [*shape, 3, H, W].

        Each frame is decoded once, however often it is asked for. Raises IndexError if an index is not in 0..len-1,
        VideoError if a frame cannot be decoded.
        """
        indices = np.asarray(indices, np.int64)
        unique, inverse = indices.ravel(), None
        if unique.size == 0:
            raise IndexError(f"{self.path}: no frame asked for")
        if (unique[1:] <= unique[:-1]).any():
            unique, inverse = np.unique(unique, return_inverse=True)
        if unique[0] < 0 or unique[-1] >= len(self):
            raise IndexError(f"{self.path}: frames {unique[0]}..{unique[-1]} asked for, it has 0..{len(self) - 1}")
        frames = torch.from_numpy(self._decode(unique.tolist()))  # [unique, H, W, 3]
        if inverse is not None:
            frames = frames[torch.from_numpy(inverse)]
        return frames.view(*indices.shape, *frames.shape[1:]).movedim(-1, -3)

    def close(self):
        """Frees the decoder."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class DecordFile(_Video):
    """A video file that decord reads, with one thread. Its probe must say that decord reads it right."""

    reader_name = "decord"

    def __init__(self, path: Path, probe: Probe):
        self.path, decord = path, load_decord()
        self._errors = (decord.DECORDError, RuntimeError)  # DECORDError is no subclass of RuntimeError
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
            frame_range = f"{indices[0]}..{indices[-1]} of {len(self)}"
            raise VideoError(f"{self.path}: frames {frame_range} cannot be decoded ({reason(error)})") from error

    def close(self):
        self._reader = None


class PyAVFile(_Video):
    """A video file that PyAV reads, with one thread. Its coded pictures stay in memory while it is open.

    Decoding starts at the key frame before a wanted frame and ends at that frame. In H.264 it skips pictures that are
    not wanted and that no other picture refers to. Decoded pictures are identified by their times, or by counting them
    where the file's times cannot be trusted.
    """

    reader_name = "pyav"

    def __init__(self, packets: Packets, probe: Probe):
        self.path, self._packets = packets.path, packets
        self._rotation, self._skips = probe.rotation, probe.codec == "h264"
        self._convert = VideoReformatter()
        _check_length(self.path, len(self), probe)

    def __len__(self) -> int:
        return len(self._packets.packet_of_frame)

    def close(self):
        self._packets.close()

    def _decode(self, indices: list[int]) -> np.ndarray:
        try:
            return self._collect(indices, self._numbered_frames(indices))
        except _FalseKeyFrame:
            return self._collect(indices, self._numbered_frames(indices, from_start=True))

    def _collect(self, indices: list[int], numbered: Iterator[tuple[int, av.VideoFrame]]) -> np.ndarray:
        """Picks the frames `indices` out of (index, frame) pairs -> uint8 [n, H, W, 3]."""
        rows = {index: row for row, index in enumerate(indices)}
        frames = None
        for index, frame in numbered:
            if frame.is_corrupt:
                raise VideoError(f"{self.path}: frame {index} of {len(self)} is damaged")
            if index not in rows:
                continue
            picture = self._to_rgb(index, frame)
            if frames is None:
                frames = np.empty((len(indices), *picture.shape), np.uint8)
            if picture.shape != frames.shape[1:]:
                raise VideoError(f"{self.path}: frame {index} of {len(self)} differs in size from those before")
            frames[rows.pop(index)] = picture
        if rows:
            undecoded = f"frame {min(rows)} of {len(self)}"
            raise VideoError(f"{self.path}: {undecoded} cannot be decoded: file cut short or damaged")
        return frames

    def _to_rgb(self, index: int, frame: av.VideoFrame) -> np.ndarray:
        """The frame as it is shown, uint8 RGB [H, W, 3]."""
        try:
            picture = self._convert.reformat(frame, format="rgb24", threads=1).to_ndarray()
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{self.path}: frame {index} of {len(self)} cannot be converted to RGB ({reason(error)})"
            ) from error
        return np.rot90(picture, -self._rotation // 90)

    def _numbered_frames(self, indices: list[int], from_start: bool = False) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decodes all frames `indices` and some others, as (index, frame).

        With `from_start`, decoding starts at the file's first key frame. Raises _FalseKeyFrame if it started at a
        later one and that does not work.
        """
        file = self._packets
        if not file.timed:
            # The decoder gives pictures in the order in which they are shown, so counting them from the first key frame
            # gives their indices. A later start is not possible, because only times could tell where it is.
            shown = self._decode_packets(file.key_packets[0], len(file.packets) - 1, set())
            yield from zip(range(indices[-1] + 1), shown)
            return
        index_at_time = {file.packets[packet].pts: index for index, packet in enumerate(file.packet_of_frame)}
        wanted = {file.packet_of_frame[index] for index in indices}
        spans = [(file.key_packets[0], max(wanted))] if from_start else _spans(wanted, file)
        for start, stop in spans:
            start_time = file.packets[start].pts
            started_right = start == file.key_packets[0]
            for frame in self._decode_packets(start, stop, wanted):
                if frame.pts is None or frame.pts < start_time:
                    continue  # shown before the key frame: it refers to pictures that were not decoded
                if not started_right and (frame.pts != start_time or not frame.key_frame):
                    break
                started_right = True
                if frame.pts in index_at_time:
                    yield index_at_time[frame.pts], frame
            if not started_right:
                raise _FalseKeyFrame

    def _decode_packets(self, start: int, stop: int, wanted: set[int]) -> Iterator[av.VideoFrame]:
        """Decodes the packets `start` to `stop`, both included. Skips what no packet in `wanted` needs, if it can."""
        decoder = self._packets.decoder
        if decoder.is_open:
            decoder.flush_buffers()
        try:
            for packet in range(start, stop + 1):
                if self._skips and wanted:
                    decoder.skip_frame = "DEFAULT" if packet in wanted else "NONREF"
                yield from decoder.decode(self._packets.packets[packet])
            yield from decoder.decode(None)
        except av.FFmpegError as error:
            raise VideoError(
                f"{self.path}: a frame near {packet} of {len(self)} cannot be decoded ({reason(error)})"
            ) from error


class _FalseKeyFrame(Exception):
    """Decoding cannot start at a picture, although the file marks it as a key frame."""


def _spans(wanted: set[int], file: Packets) -> list[tuple[int, int]]:
    """The (first, last) packets to decode for the packets `wanted`: from a key frame to the group's last wanted one."""
    spans = []
    for start, stop in sorted((_key_before(packet, file), packet) for packet in wanted):
        if spans and start <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(stop, spans[-1][1]))
        else:
            spans.append((start, stop))
    return spans


def _key_before(packet: int, file: Packets) -> int:
    """The last key frame that precedes a packet both in the file and as shown; its index among the packets."""
    pts = file.packets[packet].pts
    return next(key for key in reversed(file.key_packets) if key <= packet and file.packets[key].pts <= pts)


def _check_length(path: Path, length: int, probe: Probe) -> None:
    if length != probe.frames:
        raise VideoError(f"{path}: {length} frames in it, but {probe.frames} when it was probed; probe it again")


class FrameFolder(_Video):
    """A folder of frames, JPEG or PNG; see tanet.data.frame_names. Something-Something V1 is published like this."""

    def __init__(self, path: Path):
        self.path, self._names = path, read_frame_names(path)
        self.reader_name = "png" if self._names.suffix.lower() == ".png" else "jpeg"

    def __len__(self) -> int:
        return self._names.count

    def _decode(self, indices: list[int]) -> np.ndarray:
        pictures = self._pictures([f"{self.path}{os.sep}{self._names.name(index)}" for index in indices])
        frames = np.empty((len(pictures), *pictures[0].shape[1:], 3), np.uint8)
        for row, picture in enumerate(pictures):
            if picture.shape != pictures[0].shape:
                odd_one, first = self._names.name(indices[row]), self._names.name(indices[0])
                raise VideoError(f"{self.path}: {odd_one} differs in size from {first}; {RESIZE_FRAMES}")
            frames[row] = picture.permute(1, 2, 0).numpy()
        return frames

    def _pictures(self, paths: list[str]) -> list[torch.Tensor]:
        """The pictures in these files, each uint8 RGB [3, H, W]."""
        from torchvision.io import ImageReadMode, decode_jpeg, read_file

        if self.reader_name == "jpeg":
            try:
                return decode_jpeg([read_file(path) for path in paths], mode=ImageReadMode.RGB)
            except RuntimeError:
                pass  # one by one, so that the error names the file
        return [self._picture(path) for path in paths]

    def _picture(self, path: str) -> torch.Tensor:
        from torchvision.io import ImageReadMode, decode_jpeg, decode_png, read_file

        kind, decode = ("PNG", decode_png) if self.reader_name == "png" else ("JPEG", decode_jpeg)
        try:
            picture = decode(read_file(path), mode=ImageReadMode.RGB)
        except RuntimeError as error:
            message = reason(error).rpartition(".cpp:")[2]  # without the position in torchvision's source
            raise VideoError(f"{path}: cannot be read as {kind} ({message})") from error
        if picture.dtype != torch.uint8:
            raise VideoError(f"{path}: has 16 bits a colour, expected 8; convert it")
        return picture
