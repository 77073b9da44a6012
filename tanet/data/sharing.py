"""How what a worker has read comes to the main process: through shared memory, or through the worker's pipe.

Shared memory (on Linux the file system /dev/shm) needs no copy, but there may be little of it: containers of Docker
have 64 MB. torch would lose a test's item then and wait for it. Here an item that finds no room comes through the pipe.
"""

import pickle
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

from torch.utils.data import get_worker_info

SHARED_MEMORY = Path("/dev/shm")
BATCHES_AHEAD = 2  # that each worker keeps ready, torch's default


class _Packed:
    """An item that is pickled already. Unpickling gives the item itself."""

    def __init__(self, data: bytes):
        self.data = data

    def __reduce__(self):
        return pickle.loads, (self.data,)


def pack(item: object) -> object:
    """Packs what a worker hands over; the main process gets `item`. Called in the main process, it returns `item`.

    Tensors are put into shared memory, or pickled whole where that fails.
    """
    if get_worker_info() is None:
        return item
    try:
        return _Packed(bytes(ForkingPickler.dumps(item)))
    except (OSError, RuntimeError):  # no room, too many open files, or no shared memory on this machine
        return _Packed(pickle.dumps(item))


def shortage(needed: int) -> str:
    """One line, if shared memory has less than `needed` bytes free; otherwise an empty string."""
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:  # not a Linux
        return ""
    if free >= needed:
        return ""
    return (
        f"shared memory ({SHARED_MEMORY}): {free / 1e6:.1f} MB free, the workers can use {needed / 1e6:.1f} MB; what "
        "finds no room there is copied through pipes, which is slower. " + MORE_ROOM
    )


MORE_ROOM = "In a container: docker run --shm-size=8g, or --ipc=host. workers=0 (--set workers=0) needs none"
