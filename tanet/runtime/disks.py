"""What disks answer: whether a file is there, whether one can be written, whether it is locked."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock


def file_status(path: str | os.PathLike) -> os.stat_result | None:
    """What the system says of a file or folder; None if there is none.

    Raises any other error with the path, for example of a network disk that fails: then nobody knows whether the file
    is there. (Path.exists takes such errors for "no", in some versions of Python.)
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        text = f"{error.strerror} (the disk's answer, so it is not known whether the file is there)"
        raise OSError(error.errno, text, str(path)) from error


def exists(path: str | os.PathLike) -> bool:
    """Whether there is such a file or folder. Raises an error of the disk, see `file_status`."""
    return file_status(path) is not None


def check_writable(path: str | os.PathLike) -> None:
    """Makes the folder of a file that is to be written later. Raises OSError if it could not be written."""
    path = Path(path)
    refuse_folder(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(
            errno.ENOTDIR, f"is no folder, so {path.name} cannot lie in it", str(path.parent)
        ) from None
    TemporaryFile(dir=path.parent).close()


def refuse_folder(path: Path) -> None:
    """IsADirectoryError if the path of a file to write is that of a folder."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file", str(path))


@contextmanager
def locked(path: str | os.PathLike, seconds: float = 0.0) -> Iterator[None]:
    """Holds the lock of the file `path` during the block. The lock ends with its process, however that ends.

    Raises filelock.Timeout if another process still holds it after `seconds`. Some network disks have no locks: there
    the block runs without one, and a line says so.
    """
    if why := _why_no_locks(Path(path).parent):
        print(
            f"{Path(path).parent}: its disk has no file locks ({why}): see to it that nothing else uses the folder",
            flush=True,
        )
        yield
        return
    lock = FileLock(path)
    lock.acquire(timeout=seconds, poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


def _why_no_locks(folder: Path) -> str:
    """The system's reason why files in the folder cannot be locked; an empty string if they can.

    FileLock takes some of these errors for a lock that another process holds, and waits.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, which has locks of another kind
        return ""
    with TemporaryFile(dir=folder) as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # held by another process: nobody has this file, but it has locks
            return ""
        except OSError as error:
            return error.strerror
    return ""
