"""How long a video file says it is, to tell one that was cut short: its outermost containers carry their sizes."""

from pathlib import Path
from typing import BinaryIO


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
