"""What all commands share: one command at a time in a folder, errors as messages, small tables as CSV."""

import argparse
import csv
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout

from tanet.data import VideoList, shared
from tanet.errors import USER_ERRORS, DataError
from tanet.runtime import locked, read_text, worker_count, write_text


@contextmanager
def folder_lock(root: Path, create: bool = False) -> Iterator[None]:
    """Keeps other commands out of the folder while the block runs. The lock ends with its process, however that ends.

    `create` makes the folder if there is none; otherwise FileNotFoundError. DataError if another command is at work.
    """
    if create:
        root.mkdir(parents=True, exist_ok=True)
    elif not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; --root is the folder of the data set")
    with ExitStack() as held:
        try:
            held.enter_context(locked(root / ".lock"))
        except Timeout:
            raise DataError(f"{root}: another command is at work in it; wait for its end, or stop it") from None
        yield


@contextmanager
def exit_with_message(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Ends the program with a message: code 1 for an error that a user can cause, code 130 for Ctrl-C."""
    try:
        yield
    except USER_ERRORS as error:  # ArchiveError and DataError are ValueErrors
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the same command resumes\n")


def add_processes_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--processes`, the number of worker processes, to a command."""
    parser.add_argument("--processes", type=int, default=worker_count(os.cpu_count()), help="default: one a core")


def print_remarks(lists: dict[str, VideoList]) -> None:
    """Says what is odd about the lists of the splits, if anything is."""
    for split, videos in lists.items():
        for remark in videos.remarks:
            print(f"{split}: {remark}", flush=True)
    if len(lists) == 2:
        for remark in shared(*(videos.samples for videos in lists.values())):
            print(remark, flush=True)


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `folder` at the end of the block; nothing does after an error or a kill."""
    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)  # a killed run may have left it
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_table(path: Path, required_columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, each {column: text}; [] if there is no file.

    DataError names the file if the header lacks a required column, or the line if a row lacks a value.
    """
    if not path.exists():
        return []
    table = csv.DictReader(io.StringIO(read_text(path)))
    missing = [column for column in required_columns if column not in (table.fieldnames or ())]
    if missing:
        raise DataError(f"{path}, line 1: expected a header with {', '.join(required_columns)}")
    rows = []
    for row in table:
        if any(row[column] is None for column in required_columns):
            raise DataError(f"{path}, line {table.line_num}: expected {', '.join(required_columns)}")
        rows.append(row)
    return rows


def write_table(path: Path, columns: Sequence[str], rows: Iterable[dict]) -> None:
    """Writes {column: value} rows as a CSV file with a header, whole or not at all."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())
