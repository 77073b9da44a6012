"""A terminal and a scheduler send their signal to all processes, also to a worker in its first moment."""

import os
import signal
import subprocess
import sys

import pytest
from support.moments import PATIENCE, wait_for
from support.paths import ROOT

pytestmark = pytest.mark.slow
# A program that reads with one worker, which waits in its first moment until it may go on.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from torch.utils.data import Dataset
from tanet.data import make_loader

folder, received = Path(sys.argv[1]), []

class Numbers(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index

def pause():
    (folder / "starting").touch()
    while not (folder / "go on").exists():
        time.sleep(0.01)

def record(number, frame):  # as a training does, which saves before it ends
    received.append(number)

os.register_at_fork(after_in_child=pause)
signal.signal(signal.SIGTERM, record)
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    items = list(make_loader(Numbers(), None, 1, batches=False, batch_size=None))
    print(items, received)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("number, said", [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "[0, 1, 2] [15]")])
def test_a_signal_to_a_worker_that_starts_is_the_main_process_to_answer(tmp_path, number, said):
    """Neither prints the worker a traceback, nor does it end and take the training with it, unsaved."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    wait_for(lambda: (tmp_path / "starting").exists() or child.poll() is not None)
    os.killpg(child.pid, number)
    (tmp_path / "go on").touch()
    output, errors = child.communicate(timeout=PATIENCE)
    assert (output.strip(), errors, child.returncode) == (said, "", 0)
