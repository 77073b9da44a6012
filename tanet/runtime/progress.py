"""Progress of long work: a bar at a terminal and in JupyterLab, plain lines in batch logs and under papermill."""

import os
import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

LINE_EVERY = 15.0  # seconds between plain lines


def track(items: Iterable, total: int, label: str, quiet: bool = False) -> Iterator:
    """Yields `items`, showing how many of `total` are done; `quiet` shows nothing."""
    if quiet:
        yield from items
    elif sys.stdout.isatty() or in_jupyter():
        yield from tqdm(items, total=total, desc=label, file=sys.stdout, dynamic_ncols=True, leave=False)
    else:
        yield from _lines(items, total, label)


def in_jupyter() -> bool:
    """Whether somebody looks at this kernel: a Jupyter server sets the variable, papermill and nbval do not."""
    return "JPY_SESSION_NAME" in os.environ


def _lines(items: Iterable, total: int, label: str) -> Iterator:
    shown = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - shown > LINE_EVERY and done < total:
            shown = time.monotonic()
            print(f"{label}: {done} of {total}", flush=True)
