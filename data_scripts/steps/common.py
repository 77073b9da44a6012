"""What the commands of the data scripts share: one at a time in a folder, errors in a line, a number of processes."""

import argparse
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_scripts.steps.fetch import DownloadError
from tanet.errors import DataError
from tanet.runtime import worker_count


@contextmanager
def only_one(root: Path, make: bool = False) -> Iterator[None]:
    """Nobody else works in the folder during the block; the lock goes with its process. `make`: it may have to be made."""
    if make:
        root.mkdir(parents=True, exist_ok=True)
    elif not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; --root is the folder of the data set")
    with open(root / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"{root}: another command is at work in it; wait for its end, or stop it") from None
        yield


@contextmanager
def end_with_words(parser: argparse.ArgumentParser) -> Iterator[None]:
    """What people can do something about ends the program with a message and code 1, Ctrl-C with 130."""
    try:
        yield
    except (ValueError, OSError, DownloadError) as error:  # ArchiveError and DataError are ValueErrors
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the same command goes on from here\n")


def add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--processes", type=int, default=worker_count(os.cpu_count()), help="default: one a core")
