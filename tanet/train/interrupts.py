"""When a training saves and when it leaves: signals and the clock, agreed upon by all its processes."""

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
    """Asked after every step. The answer is the same in all processes: the one to the step before, so nobody waits for it."""

    def __init__(self, process: Process, save_every: float):
        self.process, self.save_every = process, save_every
        self.asked: int | None = None  # the signal that came
        self.saved_at = time.monotonic()
        # The agent that started this process, of torchrun or of `launch`: without it nobody looks after the run.
        self.parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        # A group of its own: words between the processes do not wait for the GPUs.
        self.group = dist.new_group(backend="gloo") if process.world_size > 1 else None
        self.words, self.work = torch.zeros(2, dtype=torch.int32), None

    def step(self) -> tuple[bool, int]:
        """After a step: is it time to save, and the signal to stop for, 0 if none."""
        if self.parent not in (None, os.getppid()):
            self.asked = signal.SIGTERM
        if self.group is None:
            return self._due(), self.asked or 0
        due, asked = False, 0
        if self.work is not None:
            self.work.wait()
            due, asked = bool(self.words[0]), int(self.words[1])
        self.words = torch.tensor([self._due() and self.process.is_main, self.asked or 0], dtype=torch.int32)
        self.work = dist.all_reduce(self.words, dist.ReduceOp.MAX, self.group, async_op=True)
        return due, asked

    def finish(self) -> None:
        """Takes the answer that is still under way, where no further step will ask for it."""
        if self.work is not None:
            self.work.wait()
            self.work = None

    def saved(self) -> None:
        self.saved_at = time.monotonic()

    def _due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.save_every


@contextmanager
def interrupts(process: Process, save_every: float) -> Iterator[Interrupts]:
    """A Interrupts that SIGINT and SIGTERM reach while the block runs; in other threads than the main one none do."""
    found = Interrupts(process, save_every)

    def ask(number, frame):
        found.asked = number

    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = {number: signal.signal(number, ask) for number in SIGNALS}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
