"""Unpacks tar archives from elsewhere: writes nothing outside the folder, no links, no half-written file.

An interrupted run resumes when it is run again: files that are there are whole, and are not written again.

Why not `tarfile.data_filter`: it unpacks absolute paths and links that stay inside, which are refused here. It refuses
to replace a link by a file, which is wanted here. The checks below would have to stay, and it takes 0.2 ms a member.
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
    """An archive is damaged, or holds a member that must not be unpacked; the message begins with the archive's
    path."""


def extract_tar(
    source: str | os.PathLike | BinaryIO,
    target: Path,
    choose_path: Callable[[str], Path | None] | None = None,
    overwrite: bool = False,
) -> int:
    """Unpacks a tar archive, gzipped or not, from a path or an open binary stream, into `target`; returns its number of
    files. Skips `._*`, which macOS leaves in archives. Raises ArchiveError.

    A file of equal size that is there is kept, unless `overwrite`. The files that came from a damaged archive are
    removed: their bytes may be wrong. A member goes to its own path below `target`. With `choose_path` it goes where
    `choose_path(its name without folders)` says, and nowhere if that is None.
    """
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as stream:
            return extract_tar(stream, target, choose_path, overwrite)
    name, written = getattr(source, "name", "archive"), []
    buffered = io.BufferedReader(source, BLOCK)
    try:
        is_gzip = buffered.peek(2)[:2] == b"\x1f\x8b"
        with gzip.open(buffered) if is_gzip else nullcontext(buffered) as plain:
            return _extract(plain, name, target, choose_path, overwrite, written)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise ArchiveError(f"{name}: damaged or cut short ({error}); get the archive again") from error
    finally:
        buffered.detach()  # or it would close the source


def _extract(
    plain: BinaryIO, name: str, target: Path, choose_path: Callable | None, overwrite: bool, written: list[Path]
) -> int:
    """Unpacks an open tar archive; adds to `written` the files that it writes."""
    count, boundary = 0, _Boundary(target)
    with tarfile.open(fileobj=plain, mode="r|", bufsize=BLOCK, tarinfo=_Header) as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # or all headers would stay in memory
            member_path = _checked_path(name, member)
            if member_path is None:
                continue
            if choose_path is None:
                path = target / member_path
                boundary.check(name, member, path)
            else:
                path = choose_path(member_path.name)
            if path is None:
                continue
            count += 1
            if overwrite or not _has_size(path, member.size):
                _write(archive, member, path)
                written.append(path)
    while plain.read(BLOCK):  # to the end, where gzip has its checksum
        pass
    return count


class _Header(tarfile.TarInfo):
    """A header that is an error if it is damaged. tarfile alone takes it for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # a block of zeros: the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {archive.offset}") from error


def _checked_path(archive: str, member: tarfile.TarInfo) -> PurePosixPath | None:
    """The path of a member that is a file, None for a folder or junk. ArchiveError if it must not be unpacked."""
    path = PurePosixPath(member.name)
    drive = ":" in member.name and os.name == "nt"
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or drive:
        raise ArchiveError(f"{archive}: holds {member.name!r}, a path that leads out of the folder; not unpacked")
    if member.issym() or member.islnk():
        raise ArchiveError(f"{archive}: holds {member.name!r}, a link to {member.linkname!r}; not unpacked")
    if not (member.isreg() or member.isdir()):
        raise ArchiveError(f"{archive}: holds {member.name!r}, which is neither a file nor a folder; not unpacked")
    junk = any(part.startswith("._") or part == "__MACOSX" for part in path.parts)
    return None if junk or member.isdir() else path


class _Boundary:
    """Refuses to write through a link below the target folder that leads out of it."""

    def __init__(self, target: Path):
        self.target, self.checked_folders = target.resolve(), set()

    def check(self, archive: str, member: tarfile.TarInfo, path: Path) -> None:
        if path.parent in self.checked_folders:
            return
        if not path.parent.resolve().is_relative_to(self.target):
            raise ArchiveError(
                f"{archive}: {member.name!r} would be written through a link to {path.parent.resolve()}; not unpacked"
            )
        self.checked_folders.add(path.parent)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size == size


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    # No fsync for each of hundreds of thousands of files. The callers sync once, before they record the archive as
    # done.
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        with open(partial, "xb") as file:  # "x": never through a link with that name
            shutil.copyfileobj(archive.extractfile(member), file, BLOCK)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
