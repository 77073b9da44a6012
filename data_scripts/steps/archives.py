"""Unpacking tar archives that came from elsewhere: nothing outside the folder, no links, no half-written file.

Interrupted and run again, it goes on: files that are there are whole, and are not written again.
"""

import gzip
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import BinaryIO

BLOCK = 1 << 20  # bytes read at a time


class ArchiveError(ValueError):
    """An archive that is damaged, or that holds what must not be unpacked; the message begins with its path."""


def extract_tar(
    source: str | os.PathLike | BinaryIO,
    target: Path,
    place: Callable[[str], Path | None] | None = None,
    overwrite: bool = False,
) -> int:
    """Unpacks a tar archive, gzipped or not, from a path or an open binary stream, into `target`; returns its number of
    files. `._*`, which macOS leaves in archives, is skipped. Raises ArchiveError.

    A file of equal size that is there is kept, unless `overwrite`. Files that a damaged archive gave go again: their bytes
    may be wrong. `place` says for a member's name, without its folders, where it goes if not to its own path below
    `target`; None: nowhere.
    """
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as stream:
            return extract_tar(stream, target, place, overwrite)
    name, written = getattr(source, "name", "archive"), []
    buffered = io.BufferedReader(source, BLOCK)
    try:
        is_gzip = buffered.peek(2)[:2] == b"\x1f\x8b"
        with gzip.open(buffered) if is_gzip else nullcontext(buffered) as plain:
            return _extract(plain, name, target, place, overwrite, written)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise ArchiveError(f"{name}: damaged or cut short ({error}); get the archive again") from error
    finally:
        buffered.detach()  # or it would close the source


def try_to_extract(arguments: tuple) -> int | str:
    """`extract_tar(*arguments)`, or why the archive cannot be unpacked."""
    try:
        return extract_tar(*arguments)
    except ArchiveError as error:
        return str(error)


def _extract(
    plain: BinaryIO, name: str, target: Path, place: Callable | None, overwrite: bool, written: list[Path]
) -> int:
    count, boundary = 0, _Boundary(target)
    with tarfile.open(fileobj=plain, mode="r|", bufsize=BLOCK, tarinfo=_Header) as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # it would keep all headers
            path = _checked(name, member)
            if path is None:
                continue
            if place is None:
                path = target / path
                boundary.check(name, member, path)
            else:
                path = place(path.name)
            if path is None:
                continue
            count += 1
            if overwrite or not _is_there(path, member.size):
                _write(archive, member, path)
                written.append(path)
    while plain.read(BLOCK):  # to the end, where gzip has its checksum
        pass
    return count


class _Header(tarfile.TarInfo):
    """tarfile takes a damaged header for the archive's end; here only the end is the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # a block of zeros: the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {archive.offset}") from error


def _checked(archive: str, member: tarfile.TarInfo) -> PurePosixPath | None:
    """Where a member wants to go, None if it is a folder or junk; ArchiveError if it must not."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name and os.name == "nt":
        raise ArchiveError(f"{archive}: holds {member.name!r}, a path that leads out of the folder; not unpacked")
    if member.issym() or member.islnk():
        raise ArchiveError(f"{archive}: holds {member.name!r}, a link to {member.linkname!r}; not unpacked")
    if not (member.isreg() or member.isdir()):
        raise ArchiveError(f"{archive}: holds {member.name!r}, which is neither a file nor a folder; not unpacked")
    junk = any(part.startswith("._") or part == "__MACOSX" for part in path.parts)
    return None if junk or member.isdir() else path


class _Boundary:
    """Keeps what is written below a folder also where a link in that folder leads out of it."""

    def __init__(self, target: Path):
        self.target, self.inside = target.resolve(), set()

    def check(self, archive: str, member: tarfile.TarInfo, path: Path) -> None:
        if path.parent in self.inside:
            return
        if not path.parent.resolve().is_relative_to(self.target):
            raise ArchiveError(
                f"{archive}: {member.name!r} would be written through a link to {path.parent.resolve()}; not unpacked"
            )
        self.inside.add(path.parent)


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size == size


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    # Not synced one by one, hundreds of thousands of them: who records an archive as finished syncs first.
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        with open(partial, "xb") as file:  # never through a link that somebody left there
            shutil.copyfileobj(archive.extractfile(member), file, BLOCK)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
