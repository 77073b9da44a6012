"""Work on many files in several processes, none of which can hold up the others: one that hangs or dies is replaced.

The processes end with the one that started them, however that ends.
"""

import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any


@dataclass(frozen=True)
class Failure:
    """What stands in a result's place when its process hung or died."""

    reason: str
    hung: bool = False  # not done in time, else it died

    def __str__(self) -> str:
        return self.reason


def in_processes(
    function: Callable[[Any], Any], items: Iterable[Any], processes: int, seconds: float | None = None
) -> Iterator[tuple[Any, Any]]:
    """Yields (item, what `function` returned) as they come; `function` must live in a module. An item may take so many
    `seconds`: then its process is killed, and the result is a Failure. An exception in `function` ends it all."""
    waiting, workers = deque(items), []
    try:
        workers = [_Worker(function) for _ in range(min(processes, len(waiting)))]
        for worker in workers:
            worker.give(waiting.popleft())
        while busy := [worker for worker in workers if worker.busy]:
            wait([worker.connection for worker in busy], timeout=_shortest(busy, seconds))
            for worker in busy:
                result = worker.result(seconds)
                if result is _UNFINISHED:
                    continue
                if isinstance(result, Exception):
                    raise result
                yield worker.item, result
                if not worker.process.is_alive() and waiting:
                    workers[workers.index(worker)] = worker = _Worker(function)
                if waiting:
                    worker.give(waiting.popleft())
    finally:
        for worker in workers:
            worker.kill()


_UNFINISHED = object()


def _shortest(workers: list["_Worker"], seconds: float | None) -> float | None:
    started = [worker.started for worker in workers if worker.started is not None]
    if seconds is None or not started:
        return None
    return max(0.0, min(started) + seconds - time.monotonic())


class _Worker:
    def __init__(self, function: Callable):
        # Copies of a process that has done the imports and nothing else: no threads or decoders of this one, and a new one
        # in milliseconds.
        context = get_context("forkserver")
        context.set_forkserver_preload(["tanet.data.video", getattr(function, "func", function).__module__])
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, function), daemon=True)
        self.process.start()
        other.close()
        self.busy = False

    def give(self, item: Any) -> None:
        self.item, self.started, self.busy = item, None, True
        self.connection.send(item)

    def result(self, seconds: float | None) -> Any:
        """What came of the item, or _UNFINISHED."""
        try:
            if self.started is None and self.connection.poll():
                self.connection.recv()
                self.started = time.monotonic()
            if self.started is not None and self.connection.poll():
                result = self.connection.recv()
                self.busy = False
                return result
        except (EOFError, ConnectionError):
            return self._ended()
        if seconds is None or self.started is None or time.monotonic() < self.started + seconds:
            return _UNFINISHED
        self.kill()
        return Failure(f"not done after {seconds:g} seconds", hung=True)

    def _ended(self) -> Failure:
        self.process.join()
        self.busy, code = False, self.process.exitcode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if self.started is None:
            raise RuntimeError(f"a process for {self.item} ended {how} before it began")
        return Failure(f"the process that worked on it ended {how}")

    def kill(self) -> None:
        self.busy = False
        self.process.kill()
        self.process.join()


def _serve(connection: Connection, function: Callable) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all; who started this one ends it
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        connection.send(None)  # it begins: what the imports took does not count against it
        try:
            result = function(item)
        except Exception as error:
            error.add_note(traceback.format_exc())
            result = error
        connection.send(result)


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
