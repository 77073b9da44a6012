"""What a video file holds, told by demuxing it and decoding its first frame, and which decoder reads it.

decord silently returns wrong frames from some files: those with open groups of pictures, where frames shown before a
key frame come after it in the file, H.264 whose key frames are no IDR pictures, containers without true times. So it
reads only what is known to be safe with it and not read faster by PyAV; PyAV reads the rest. `probe` takes
milliseconds; `write_probes` and `read_probes` keep what it found beside a data set.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from tanet.errors import VideoError

READERS = ("decord", "pyav")
TIMED = ("mov", "matroska", "mpegts")  # containers whose frames carry the time when they are shown
FASTER = "faster"  # says `why` of a file that decord could read, too
FASTER_CODECS = ("h264",)  # training clips in half to two thirds of decord's time, benchmarks/decode.py; VP9 in as much
IDR = 5  # H.264's type of unit for key frames that nothing refers across


@dataclass(frozen=True, slots=True)
class Probe:
    codec: str  # FFmpeg's name
    width: int  # as shown, after rotation
    height: int
    frames: int  # that decoding yields, whatever the header says
    rotation: int  # degrees clockwise, to be applied to the stored pictures: 0, 90, 180 or 270
    reader: str  # "decord" or "pyav"
    why: str  # why it is not decord's, "" if it is


class Packets:
    """The coded pictures of a file's video track, in the file's order, held in memory; `close` frees them.

    `order[i]` is the place of frame i in `packets`. `timed` tells whether the frames' times can be trusted; if not,
    frames are found by counting.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        try:
            self._container = av.open(str(self.path.absolute()))  # else "a:b" is taken for a protocol
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{path}: {_why_not_opened(self.path, reason(error))}") from error
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self):
        stream = self._container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise VideoError(f"{self.path}: cannot be opened as a video (no video track in it that can be decoded)")
        self.container = self._container.format.name.split(",")[0]
        promised = promised_size(self.path, self.container)
        if promised > self.path.stat().st_size:
            raise VideoError(f"{self.path}: cut short, it should have {promised} bytes; get the file again")
        self.decoder = stream.codec_context
        self.decoder.thread_count = 1  # threads of a decoder do not survive a fork
        self.tracks = len(self._container.streams.video)
        self.packets = list(self._demux(stream))
        self.keys = [place for place, packet in enumerate(self.packets) if packet.is_keyframe]
        if not self.keys:
            raise VideoError(f"{self.path}: no frames in it")
        self.timed = self.container in TIMED and _all_different([packet.pts for packet in self.packets])
        self.order = self._order()

    def _demux(self, stream) -> Iterator[av.Packet]:
        try:
            for packet in self._container.demux(stream):
                if packet.is_corrupt:
                    raise VideoError(f"{self.path}: cut short or damaged, get the file again")
                if packet.size:  # empty ones stand for dropped frames, and for the end
                    yield packet
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"{self.path}: cut short or damaged ({reason(error)}), get the file again") from error

    def _order(self) -> list[int]:
        """Frames that an edit list hides are decoded but not shown; those that need pictures from before the first key
        frame cannot be."""
        first = self.keys[0]
        if not self.timed:
            return [place for place in range(first, len(self.packets)) if not self.packets[place].is_discard]
        begin = self.packets[first].pts
        shown = [i for i, p in enumerate(self.packets) if i >= first and p.pts >= begin and not p.is_discard]
        return sorted(shown, key=lambda place: self.packets[place].pts)

    def close(self):
        self.packets = []
        self._container.close()


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


def _why_not_opened(path: Path, said: str) -> str:
    """More than FFmpeg says, for what downloads often leave behind."""
    try:
        size, start = path.stat().st_size, _start(path)
        promised = promised_size(path, "mov") if start[4:8] == b"ftyp" else 0
    except OSError:
        return f"cannot be opened as a video ({said})"
    if not size:
        return "empty; get the file again"
    if promised > size:
        return f"cut short, it should have {promised} bytes and more; get the file again"
    if start.lstrip()[:1] == b"<":
        return "a web page, not a video: the download led to an error or login page; get the file again"
    return f"cannot be opened as a video ({said})"


def probe(path: str | os.PathLike) -> Probe:
    """Demuxes a video file and decodes its first frame. Raises VideoError naming the file."""
    packets = Packets(path)
    try:
        return examine(packets)
    finally:
        packets.close()


def examine(packets: Packets) -> Probe:
    """As `probe`, for a file already demuxed."""
    frame = _first_frame(packets)
    rotation = -frame.rotation % 360  # PyAV counts counterclockwise
    rotation = 0 if rotation % 90 else rotation  # as decord: turned by right angles or not at all
    codec = packets.decoder.codec.canonical_name
    why = _unsafe_with_decord(packets, frame, codec) or (FASTER if codec in FASTER_CODECS else "")
    width, height = (frame.height, frame.width) if rotation % 180 else (frame.width, frame.height)
    return Probe(codec, width, height, len(packets.order), rotation, "pyav" if why else "decord", why)


def _first_frame(packets: Packets) -> av.VideoFrame:
    try:
        for packet in [*packets.packets[packets.keys[0] :], None]:
            for frame in packets.decoder.decode(packet):
                return frame
    except av.FFmpegError as error:
        raise VideoError(f"{packets.path}: its first frame cannot be decoded ({reason(error)})") from error
    raise VideoError(f"{packets.path}: no frame of it can be decoded")


def _unsafe_with_decord(packets: Packets, frame: av.VideoFrame, codec: str) -> str:
    """Why decord must not read this file, "" if it may."""
    pixels = frame.format.name
    if codec not in ("h264", "vp9"):
        return f"codec {codec}"
    if packets.container not in ("mov", "matroska"):
        return f"container {packets.container}"
    if packets.tracks > 1:
        return "several video tracks"
    if pixels not in ("yuv420p", "yuvj420p"):
        return f"pixel format {pixels}"
    if frame.interlaced_frame:
        return "interlaced"
    if frame.height % 2 or min(frame.width, frame.height) < 80:  # decord fails on some, and gives others other colours
        return f"size {frame.width}x{frame.height}"
    if not packets.timed:
        return "times missing or not unique"
    if len(packets.order) < len(packets.packets):
        return "frames that are not shown"
    if not _closed(packets):
        return "open groups of pictures"
    if codec == "h264" and not _all_idr(packets):
        return "key frames that are not IDR"
    return ""


def _closed(packets: Packets) -> bool:
    """Whether all frames before a key frame in the file are shown before it, and all others after it."""
    reach = np.maximum.accumulate(packets.order)
    return all(packets.order[key] == reach[key] == key for key in [0, *packets.keys])


def _all_idr(packets: Packets) -> bool:
    """Whether H.264 key frames are what the name promises: nothing after them refers to anything before."""
    header = packets.decoder.extradata or b""
    if len(header) < 7 or header[0] != 1:  # avcC, with the length of the units' sizes; else it is not told
        return False
    return all(IDR in _unit_types(bytes(packets.packets[key]), (header[4] & 3) + 1) for key in packets.keys)


def _unit_types(data: bytes, size_bytes: int) -> Iterator[int]:
    """The types of the units that an H.264 picture is made of; each follows its size."""
    at = 0
    while at + size_bytes < len(data):
        yield data[at + size_bytes] & 31
        at += size_bytes + int.from_bytes(data[at : at + size_bytes])


def _all_different(times: list[int | None]) -> bool:
    return None not in times and len(set(times)) == len(times)


def reason(error: Exception) -> str:
    """The first line of what a decoder has to say."""
    text = getattr(error, "strerror", None) or str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)


def promised_size(path: Path, container: str) -> int:
    """The bytes that a file should have at least, by its own account; 0 if it does not say.

    `container` is FFmpeg's name for its format: "mov" (mp4, too), "matroska" (webm, too), "avi" or another.
    """
    with open(path, "rb") as file:
        if container == "mov":
            return _mp4(file)
        if container == "matroska":
            return _matroska(file.read(64))
        if container == "avi":
            return 8 + int.from_bytes(file.read(8)[4:], "little")
    return 0


def _mp4(file: BinaryIO) -> int:
    """A row of boxes, each led by its size and its name; the one that holds the pictures is mdat."""
    at = end = 0
    while len(head := file.read(16)) >= 8:
        size = int.from_bytes(head[:4])
        if size == 1:
            size = int.from_bytes(head[8:])
        if size < 8:  # up to the end of the file, or no box
            break
        at += size
        if head[4:8] == b"mdat":
            end = at
        file.seek(at)
    return end


def _matroska(head: bytes) -> int:
    """A header and a segment; each is its name of four bytes, its size and that many bytes."""
    size, at = _variable_int(head, 4)
    at += size
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return 0
    size, at = _variable_int(head, at + 4)
    return at + size if size else 0


def _variable_int(data: bytes, at: int) -> tuple[int, int]:
    """A number in 1 to 8 bytes, the first tells how many -> (number, 0 if all ones: unknown; place behind it)."""
    length = 9 - data[at].bit_length() if at < len(data) and data[at] else 1
    unknown = (1 << 7 * length) - 1
    number = int.from_bytes(data[at : at + length]) & unknown
    return (0 if number == unknown else number), at + length
