"""What a video file holds, and which decoder reads it.

`probe` demuxes a file and decodes its first frame, which takes milliseconds. `write_probes` and `read_probes` of
tanet.data.lists store the results beside a data set.

decord silently returns wrong frames from some files:
- files with open groups of pictures: frames that are shown before a key frame come after it in the file;
- H.264 files with key frames that are not IDR pictures;
- files in containers that do not store when each frame is shown.
So decord reads a file only if it is known to read it right and PyAV is not faster. PyAV reads all other files, and all
files where decord is not installed: there are no wheels of it for ARM on Linux, nor for macOS from Python 3.12 on.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import av
import numpy as np

from tanet.errors import VideoError
from tanet.runtime import user_path

READERS = ("decord", "pyav")
TIMED_CONTAINERS = ("mov", "matroska", "mpegts")  # they store when each frame is shown
FASTER = "faster"  # `Probe.why` of a file that decord could read as well
# PyAV reads training clips of these codecs in half to two thirds of decord's time. VP9 takes as long with either.
# Measured by benchmarks/decode.py.
FASTER_CODECS = ("h264",)
IDR = 5  # H.264 unit type of a key frame that no later frame refers across
MATROSKA_SEGMENT = b"\x18\x53\x80\x67"


@dataclass(frozen=True, slots=True)
class Probe:
    """What probing a video file has shown. `probes.csv` has one column for each field."""

    codec: str  # FFmpeg's name
    width: int  # pixels as shown, after rotation
    height: int
    frames: int  # as many as decoding gives, which may differ from the header's count
    rotation: int  # degrees clockwise by which the stored pictures must be turned: 0, 90, 180 or 270
    reader: str  # "decord" or "pyav"
    why: str  # the reason for PyAV; "" if decord reads the file


class Packets:
    """The coded pictures (packets) of a file's video track, held in memory in the file's order. `close` frees them.

    `packets[i]`: the packets. `key_packets`: the indices of those that are key frames.
    `packet_of_frame[i]`: the index of the packet that holds frame i, frames in the order in which they are shown.
    `timed`: whether the times in the packets can be trusted. If not, frames are found by counting decoded pictures.

    Raises VideoError if the file is no video, or is cut short or damaged.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        try:
            # An absolute path, because FFmpeg takes the "a:" of a relative path "a:b" for a protocol.
            self._container = av.open(str(self.path.absolute()))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{path}: {_explain_failed_open(self.path, reason(error))}") from error
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
        self.decoder.thread_count = 1  # a decoder's threads do not survive a fork
        self.tracks = len(self._container.streams.video)
        self.packets = list(self._demux(stream))
        self.key_packets = [i for i, packet in enumerate(self.packets) if packet.is_keyframe]
        if not self.key_packets:
            raise VideoError(f"{self.path}: no frames in it")
        times = [packet.pts for packet in self.packets]
        self.timed = self.container in TIMED_CONTAINERS and _all_different(times)
        self.packet_of_frame = self._find_shown_packets()

    def _demux(self, stream) -> Iterator[av.Packet]:
        try:
            for packet in self._container.demux(stream):
                if packet.is_corrupt:
                    raise VideoError(f"{self.path}: cut short or damaged, get the file again")
                if packet.size:  # an empty packet marks a dropped frame, or the end of the file
                    yield packet
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"{self.path}: cut short or damaged ({reason(error)}), get the file again") from error

    def _find_shown_packets(self) -> list[int]:
        """Packet indices in the order in which the frames are shown.

        Leaves out frames that an edit list hides (decoded, but not shown) and frames that need pictures from before
        the first key frame (they cannot be decoded).
        """
        first = self.key_packets[0]
        if not self.timed:
            return [i for i in range(first, len(self.packets)) if not self.packets[i].is_discard]
        begin = self.packets[first].pts
        shown = [i for i, p in enumerate(self.packets) if i >= first and p.pts >= begin and not p.is_discard]
        return sorted(shown, key=lambda i: self.packets[i].pts)

    def close(self):
        self.packets = []
        self._container.close()


@cache
def load_decord() -> ModuleType | None:
    """The package decord; None where it is not installed or does not load. There PyAV reads its videos, too."""
    try:
        import decord
    except (ImportError, OSError, TypeError):  # TypeError: of ctypes, by a wheel for macOS
        return None
    return decord


def _explain_failed_open(path: Path, ffmpeg_message: str) -> str:
    """Why a file could not be opened. Recognises what a failed download leaves behind, which FFmpeg does not."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(16)
        promised = promised_size(path, "mov") if start[4:8] == b"ftyp" else 0
    except OSError:
        return f"cannot be opened as a video ({ffmpeg_message})"
    if not size:
        return "empty; get the file again"
    if promised > size:
        return f"cut short, it should have {promised} bytes and more; get the file again"
    if start.lstrip()[:1] == b"<":
        return "a web page, not a video: the download led to an error or login page; get the file again"
    return f"cannot be opened as a video ({ffmpeg_message})"


def probe(path: str | os.PathLike) -> Probe:
    """Demuxes a video file and decodes its first frame. Raises VideoError, which names the file."""
    packets = Packets(user_path(path))
    try:
        return probe_packets(packets)
    finally:
        packets.close()


def probe_packets(packets: Packets) -> Probe:
    """The same as `probe`, for a file that is demuxed already."""
    frame = _first_frame(packets)
    rotation = -frame.rotation % 360  # PyAV counts counterclockwise
    if rotation % 90:
        rotation = 0  # like decord, which turns by right angles or not at all
    width, height = frame.width, frame.height
    if rotation % 180:
        width, height = height, width
    codec = packets.decoder.codec.canonical_name
    why = _unsafe_with_decord(packets, frame, codec)
    if not why and codec in FASTER_CODECS:
        why = FASTER
    reader = "pyav" if why else "decord"
    return Probe(codec, width, height, len(packets.packet_of_frame), rotation, reader, why)


def _first_frame(packets: Packets) -> av.VideoFrame:
    try:
        for packet in [*packets.packets[packets.key_packets[0] :], None]:  # None makes the decoder give all it holds
            for frame in packets.decoder.decode(packet):
                return frame
    except av.FFmpegError as error:
        raise VideoError(f"{packets.path}: its first frame cannot be decoded ({reason(error)})") from error
    raise VideoError(f"{packets.path}: no frame of it can be decoded")


def _unsafe_with_decord(packets: Packets, frame: av.VideoFrame, codec: str) -> str:
    """Why decord must not read this file; "" if it may."""
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
    if (
        frame.height % 2 or min(frame.width, frame.height) < 80
    ):  # decord fails on some of these, or changes their colours
        return f"size {frame.width}x{frame.height}"
    if not packets.timed:
        return "times missing or not unique"
    if len(packets.packet_of_frame) < len(packets.packets):
        return "frames that are not shown"
    if not _all_groups_closed(packets):
        return "open groups of pictures"
    if codec == "h264" and not _all_keys_idr(packets):
        return "key frames that are not IDR"
    return ""


def _all_groups_closed(packets: Packets) -> bool:
    """Whether each key frame divides the video: what precedes it in the file is shown before it, the rest after it."""
    latest_packet = np.maximum.accumulate(packets.packet_of_frame)  # among the frames shown up to frame i
    return all(packets.packet_of_frame[key] == latest_packet[key] == key for key in [0, *packets.key_packets])


def _all_keys_idr(packets: Packets) -> bool:
    """Whether every key frame of an H.264 file is an IDR picture: no frame after it refers to one before it."""
    header = packets.decoder.extradata or b""
    if len(header) < 7 or header[0] != 1:
        return False  # not an avcC header, so the size of the units' length fields is unknown
    length_bytes = (header[4] & 3) + 1
    return all(IDR in _unit_types(bytes(packets.packets[key]), length_bytes) for key in packets.key_packets)


def _unit_types(data: bytes, length_bytes: int) -> Iterator[int]:
    """The types of the units (NAL units) of an H.264 picture. A length field of `length_bytes` precedes each unit."""
    offset = 0
    while offset + length_bytes < len(data):
        yield data[offset + length_bytes] & 31
        offset += length_bytes + int.from_bytes(data[offset : offset + length_bytes])


def _all_different(times: list[int | None]) -> bool:
    return None not in times and len(set(times)) == len(times)


def reason(error: Exception) -> str:
    """The first line of a decoder's error message that is not blank, or the error's type."""
    text = getattr(error, "strerror", None) or str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)


def promised_size(path: Path, container: str) -> int:
    """The smallest size in bytes that a whole file has, by its own headers; 0 if they do not tell.

    `container`: FFmpeg's name of the format: "mov" (also for mp4), "matroska" (also for webm), "avi" or another.
    """
    with open(path, "rb") as file:
        if container == "mov":
            return _promised_by_mp4(file)
        if container == "matroska":
            return _promised_by_matroska(file.read(64))
        if container == "avi":
            return 8 + int.from_bytes(file.read(8)[4:], "little")
    return 0


def _promised_by_mp4(file: BinaryIO) -> int:
    """The end of the last mdat box, which holds the pictures. A file is a row of boxes: size, name, content."""
    offset = end_of_pictures = 0
    while len(head := file.read(16)) >= 8:
        size = int.from_bytes(head[:4])
        if size == 1:  # the size follows the name, in 8 bytes
            size = int.from_bytes(head[8:])
        if size < 8:  # a box up to the end of the file, or no box
            break
        offset += size
        if head[4:8] == b"mdat":
            end_of_pictures = offset
        file.seek(offset)
    return end_of_pictures


def _promised_by_matroska(head: bytes) -> int:
    """The end of the segment. A file is a header and a segment; each is a name of 4 bytes, a size and the content."""
    size, offset = _variable_int(head, 4)
    offset += size
    if head[offset : offset + 4] != MATROSKA_SEGMENT:
        return 0
    size, offset = _variable_int(head, offset + 4)
    return offset + size if size else 0


def _variable_int(data: bytes, offset: int) -> tuple[int, int]:
    """Reads a number of 1 to 8 bytes; the leading zero bits of the first byte tell how many.

    Returns the number and the offset behind it. The number is 0 if all its bits are ones, which means "unknown".
    """
    length = 1
    if offset < len(data) and data[offset]:
        length = 9 - data[offset].bit_length()
    all_ones = (1 << 7 * length) - 1
    number = int.from_bytes(data[offset : offset + length]) & all_ones
    return (0 if number == all_ones else number), offset + length
