"""How a loader's workers start, and what they do when a terminal or a scheduler tells all processes to stop."""

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from tanet.data.sharing import MORE_ROOM
from tanet.errors import LaunchError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOP_SECONDS = 60  # how long a worker serves on after SIGTERM


class WorkerLoader(DataLoader):
    """A DataLoader that says in one line why its workers cannot start, and loses no stop signal while they do."""

    def __iter__(self) -> Iterator:
        if not self.num_workers or self._iterator is not None:
            return super().__iter__()
        try:
            with _signals_kept():
                return super().__iter__()
        except OSError as error:
            _end_started_workers(error)
            raise LaunchError(
                f"{self.num_workers} data-loading workers cannot be started ({error}): shared memory (/dev/shm) is "
                f"full, or the limit of processes or open files is reached. {MORE_ROOM}"
            ) from error


def _end_started_workers(error: OSError) -> None:
    """Ends the workers that had started before one could not. torch's iterator fails to, and prints a traceback."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        iterator = frame.f_locals.get("self")
        if isinstance(iterator, _BaseDataLoaderIter):
            iterator._shutdown = True
            for worker in getattr(iterator, "_workers", []):
                worker.kill()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keeps stop signals until the block has ended. Processes started in the block keep theirs, see `begin_worker`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(worker: int) -> None:
    """The first that a worker does."""
    cv2.setNumThreads(0)  # the workers share the cores; OpenCV would start a thread a core in each of them
    _postpone_stop_signals()


def _postpone_stop_signals() -> None:
    """Makes a new worker survive a stop signal, so that the training can finish its step and save.

    Ctrl-C and cluster schedulers signal the workers as well as the training. A worker ignores SIGINT, and ends
    STOP_SECONDS after SIGTERM. The training ends its workers earlier, when it has saved.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(STOP_SECONDS))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # blocked since before the worker's first moment
