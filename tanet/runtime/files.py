"""Files: text and JSON as users save them, paths as users write them, files that are written whole or not at all."""

import codecs
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tanet.errors import DataError
from tanet.runtime.disks import refuse_folder

# The marks with which a text says its encoding. UTF-32's little-endian mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def user_path(path: str | os.PathLike) -> Path:
    """A path as a user writes it, with the home folder in place of `~`. Called once, where a path comes in."""
    return Path(os.path.expanduser(path))


def read_text(path: str | os.PathLike) -> str:
    """The text of a file in UTF-8, or in any encoding whose byte order mark it begins with, as `decode_text` gives it.

    Raises DataError, which names file, line and encoding, or OSError.
    """
    return decode_text(Path(path).read_bytes(), path)


def decode_text(data: bytes, name: str | os.PathLike) -> str:
    """Bytes of the text file `name` as text: without byte order marks, and with "\\n" at the end of lines.

    Marks are dropped at the beginning of any line: joined files have some in the middle. Raises DataError where the
    bytes have no mark and are not UTF-8. No other encoding is certain, and a wrong guess would change names silently.
    """
    encoding = next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _not_text(name, data[: error.start].decode(encoding, "replace"), encoding, data[error.start]) from None
    before, nul, _ = text.partition("\0")
    if nul:  # UTF-16 without a mark, or no text at all
        raise _not_text(name, before, encoding, 0)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub("^\ufeff+", "", text, flags=re.MULTILINE)


def _not_text(name: str | os.PathLike, before: str, encoding: str, byte: int) -> DataError:
    """The error for bytes that are not text after the text `before`."""
    line = len(re.findall("\r\n|\r|\n", before)) + 1
    return DataError(
        f"{name}, line {line}: not text in {encoding.upper()} (byte 0x{byte:02x}); save the file in UTF-8 (in Excel as "
        "CSV UTF-8; in a shell with its encoding, as in: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW)"
    )


def read_json(path: str | os.PathLike):
    """What a JSON file holds; its text is read by `read_text`. Raises DataError, which names file and line."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Yields a binary file that replaces `path` when the block ends.

    If the block raises, `path` stays as it was and the partial file is removed. Raises IsADirectoryError if `path` is a
    folder.
    """
    path = Path(path)
    refuse_folder(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())


def sha256(path: str | os.PathLike) -> str:
    """The file's SHA-256 in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
