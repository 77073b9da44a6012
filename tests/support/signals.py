"""Interrupts at a chosen step of a training."""

import os
import signal

from tanet.train import loop


def stop_after(monkeypatch, steps, number=signal.SIGINT):
    """A signal comes to this process during this step of its training, counted from 1."""
    original, done = loop._step, []

    def step(*arguments):
        done.append(1)
        if len(done) == steps:
            os.kill(os.getpid(), number)
        return original(*arguments)

    monkeypatch.setattr(loop, "_step", step)
