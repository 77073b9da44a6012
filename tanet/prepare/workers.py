"""Worker processes for many files: a worker that hangs or dies is replaced, and only its item fails.

The workers end with their parent, also when that is killed. They ignore Ctrl-C, which a terminal sends to them too;
their parent ends them.

Why not pebble 5.2: if a worker dies before its pool has read that the worker began a task, the pool takes all workers
for dead and fails as a whole. This happened once in 684 crashes, and always with a pool that reads 0.3 s late.
"""

import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

PACKAGE = "tanet.prepare"


@dataclass(frozen=True)
class Failure:
    """The result of an item whose worker hung or died."""

    reason: str
    hung: bool = False  # True: not done in time; False: the worker died

    def __str__(self) -> str:
        return self.reason


def run_in_workers(
    function: Callable[[Any], Any], items: Iterable[Any], processes: int, seconds: float | None = None
) -> Iterator[tuple[Any, Any]]:
    """Yields (item, what `function(item)` returned) in the order in which items are done.

    The result is a Failure if a worker died, or was killed because an item took longer than `seconds`; the time that
    imports take does not count. An exception in `function` ends the run and is raised here. `function` must be
    importable.
    """
    if processes < 1:
        raise ValueError(f"--processes {processes}: at least one is needed")
    if "forkserver" not in get_all_start_methods():
        raise ValueError("the data scripts need Linux or macOS; on Windows run them in WSL")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"--seconds {seconds:g}: must be above 0")
    waiting, workers = deque(items), []
    try:
        for _ in range(min(processes, len(waiting))):
            workers.append(_Worker(function))
        for worker in workers:
            worker.start(waiting.popleft())
        while busy := [worker for worker in workers if worker.busy]:
            wait([worker.connection for worker in busy], timeout=_seconds_to_deadline(busy, seconds))
            for worker in busy:
                result = worker.result(seconds)
                if result is _UNFINISHED:
                    continue
                if isinstance(result, Exception):
                    raise result
                yield worker.item, result
                if not waiting:
                    continue
                if not worker.process.is_alive():
                    replacement = _Worker(function)
                    workers[workers.index(worker)] = replacement
                    worker = replacement
                worker.start(waiting.popleft())
    finally:
        for worker in workers:
            worker.kill()


_UNFINISHED = object()


def _seconds_to_deadline(busy: list["_Worker"], seconds: float | None) -> float | None:
    """Seconds until the first busy worker runs out of time; None if none can."""
    begins = [worker.began for worker in busy if worker.began is not None]
    if seconds is None or not begins:
        return None
    return max(0.0, min(begins) + seconds - time.monotonic())


class _Worker:
    """A worker process, seen from its parent. It sends None when it begins an item, then the result."""

    def __init__(self, function: Callable):
        # Workers are forked from a server that has done the imports and nothing else. So they inherit no threads or
        # open decoders, and start in milliseconds.
        context = get_context("forkserver")
        module = getattr(function, "func", function).__module__  # of a functools.partial: its function's
        context.set_forkserver_preload([f"{PACKAGE}.ignore_sigint", "tanet.data.video", "torchvision.io", module])
        self.connection, workers_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(workers_end, function), daemon=True)
        self.process.start()
        workers_end.close()
        self.busy = False

    def start(self, item: Any) -> None:
        self.item, self.began, self.busy = item, None, True
        self.connection.send(item)

    def result(self, seconds: float | None) -> Any:
        """What `function` returned or raised, a Failure, or _UNFINISHED."""
        try:
            if self.began is None and self.connection.poll():
                self.connection.recv()
                self.began = time.monotonic()
            if self.began is not None and self.connection.poll():
                result = self.connection.recv()
                self.busy = False
                return result
        except (EOFError, ConnectionError):
            return self._death()
        if seconds is None or self.began is None or time.monotonic() < self.began + seconds:
            return _UNFINISHED
        self.kill()
        return Failure(f"not done after {seconds:g} seconds", hung=True)

    def _death(self) -> Failure:
        self.process.join()
        self.busy, code = False, self.process.exitcode
        ending = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if self.began is None:  # every worker would: the function cannot be imported, or memory is short
            raise RuntimeError(f"the worker for {self.item} ended {ending} before it began")
        return Failure(f"the worker ended {ending}")

    def kill(self) -> None:
        self.busy = False
        self.process.kill()
        self.process.join()


def _serve(connection: Connection, function: Callable) -> None:
    """The worker's side."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for a server that another part of the program has started
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        connection.send(None)  # the item begins now: the imports are done
        try:
            result = function(item)
        except Exception as error:
            error.add_note(traceback.format_exc())
            result = error
        connection.send(result)


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
