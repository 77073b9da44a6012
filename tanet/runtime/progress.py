"""Progress of long work: a bar at a terminal and in JupyterLab, plain lines in batch logs and under papermill."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

from tqdm import tqdm

LINE_EVERY = 15.0  # seconds between plain lines


def track(items: Iterable, total: int, label: str, quiet: bool = False, file: TextIO | None = None) -> Iterator:
    """Yields `items` and shows how many of `total` are done, on stdout or `file`; with `quiet` it shows nothing."""
    file = file or sys.stdout
    if quiet:
        yield from items
    elif file.isatty() or in_jupyter():
        yield from tqdm(items, total=total, desc=label, file=file, dynamic_ncols=True, leave=False)
    else:
        yield from _with_lines(items, total, label, file)


def in_jupyter() -> bool:
    """Whether a Jupyter server started this kernel. Papermill and nbval do not set the variable."""
    return "JPY_SESSION_NAME" in os.environ


def _with_lines(items: Iterable, total: int, label: str, file: TextIO) -> Iterator:
    printed_at = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - printed_at > LINE_EVERY and done < total:
            printed_at = time.monotonic()
            print(f"{label}: {done} of {total}", file=file, flush=True)
