"""When a training saves and when it stops: signals and the clock, agreed upon by all its processes."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from tanet.runtime import Process

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Tells a training after every step whether to save and whether to stop.

    All ranks get the same answer. With several ranks it is one step old, so no rank waits for it.
    """

    def __init__(self, process: Process, save_every: float):
        self.process = process
        self.save_every = save_every  # seconds
        self.signal = 0  # number of the signal that this process received, 0 if none
        self.saved_at = time.monotonic()
        # The agent of torchrun or of `launch` that started this process. If the agent dies, the training stops.
        self.agent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        # Gloo, not the training's group: the exchange must not wait for the GPUs.
        self.group = dist.new_group(backend="gloo") if process.world_size > 1 else None
        self.exchange: dist.Work | None = None  # the reduction that is under way
        self.answer = torch.zeros(2, dtype=torch.int32)  # its result: whether to save, the signal to stop for

    def after_step(self) -> tuple[bool, int]:
        """Whether it is time to save, and the signal to stop for, 0 if none."""
        if self.agent is not None and self.agent != os.getppid():
            self.signal = signal.SIGTERM
        if self.group is None:
            return self._save_is_due(), self.signal
        save, stop_signal = False, 0
        if self.exchange is not None:
            self.exchange.wait()
            save, stop_signal = bool(self.answer[0]), int(self.answer[1])
        # The clock of the main process decides about saving.
        save_is_due = self.process.is_main and self._save_is_due()
        self.answer = torch.tensor([save_is_due, self.signal], dtype=torch.int32)
        self.exchange = dist.all_reduce(self.answer, dist.ReduceOp.MAX, self.group, async_op=True)
        return save, stop_signal

    def finish(self) -> None:
        """Waits for the last exchange; call it when no step follows."""
        if self.exchange is not None:
            self.exchange.wait()
            self.exchange = None

    def saved(self) -> None:
        """Starts the time to the next save."""
        self.saved_at = time.monotonic()

    def _save_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.save_every


@contextmanager
def interrupts(process: Process, save_every: float) -> Iterator[Interrupts]:
    """Yields an Interrupts that records SIGINT and SIGTERM during the block; `save_every` is in seconds.

    Only a process's main thread can receive signals. In another thread none are recorded.
    """
    stop = Interrupts(process, save_every)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def record_signal(number, frame):
        stop.signal = number

    handlers = {number: signal.signal(number, record_signal) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
