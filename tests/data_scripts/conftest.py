import time
from types import SimpleNamespace

import pytest

from tanet.prepare import workers


class Clock:
    """The clock by which workers run out of time. After `run_out` every item that is not done is late."""

    def __init__(self):
        self.skipped, self.step = 0.0, 0.0

    def run_out(self):
        self.step = 1e6

    def monotonic(self):
        self.skipped += self.step
        return time.monotonic() + self.skipped


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock
