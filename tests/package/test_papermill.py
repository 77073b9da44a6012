"""Training as it is batched: a notebook run by papermill, in two processes, killed and run again."""

import os
import signal
import subprocess
import sys
import time

import nbformat

from tanet import demo
from tanet.train import run_folder

NOTEBOOK = demo.ROOT / "notebooks/05_train_something.ipynb"
OVERRIDES = "{epochs: 12, lr_steps: [], workers: 0, clips_per_process: 4}"


def papermill(out, something_root, run_dir):
    command = [
        sys.executable,
        "-m",
        "papermill",
        NOTEBOOK,
        out,
        "--cwd",
        NOTEBOOK.parent,
        "-p",
        "data_root",
        something_root,
    ]
    command += ["-p", "run_dir", run_dir, "-p", "processes", "2", "-y", f"overrides: {OVERRIDES}"]
    return subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_a_killed_papermill_run_leaves_a_folder_that_the_same_command_resumes(tmp_path, something_root):
    out, run_dir = tmp_path / "out.ipynb", tmp_path / "run"
    killed, deadline = papermill(out, something_root, run_dir), time.monotonic() + 150
    while len(run_folder.read_metrics(run_dir)) < 2:
        assert killed.poll() is None and time.monotonic() < deadline, killed.communicate()
        time.sleep(0.1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    before = run_folder.read_metrics(run_dir)
    again = papermill(out, something_root, run_dir)
    said = again.communicate(timeout=300)[1]
    assert again.returncode == 0, said[-3000:]
    rows = run_folder.read_metrics(run_dir)
    assert rows[: len(before)] == before and [row["epoch"] for row in rows] == list(range(1, 13))
    assert all((run_dir / f"result-{protocol}.json").exists() for protocol in ("sth-efficient", "sth-accurate"))
    cells = nbformat.read(out, 4).cells
    assert "all claims hold" in str(cells[-1].outputs)
