"""Training as it is batched: a notebook run by papermill, in two processes, killed and run again."""

import os
import signal
import sys

import nbformat
import pytest
from support.children import HANG, is_unused, start_command, wait_until

from tanet import demo
from tanet.train import run_folder

pytestmark = pytest.mark.slow

NOTEBOOK = demo.ROOT / "notebooks/05_train_something.ipynb"
OVERRIDES = "{epochs: 2, lr_steps: [], workers: 0, clips_per_process: 4}"

# Every Python process imports a module of this name. In the training's workers it stops the second step of the second
# epoch, until the process that started the worker is gone.
SITECUSTOMIZE = """
import os, sys, time

if "--multiprocessing-fork" in sys.orig_argv:
    from tanet.train import loop

    parent, original = os.getppid(), loop._step

    def step(training, *arguments):
        if training.epoch == 1 and training.clips == 8:
            open(os.environ["REACHED"], "w").close()
            while os.getppid() == parent:
                time.sleep(0.05)
        return original(training, *arguments)

    loop._step = step
"""


def papermill(out, something_root, run_dir, **environment):
    command = [sys.executable, "-m", "papermill", NOTEBOOK, out, "--cwd", NOTEBOOK.parent]
    command += ["-p", "data_root", something_root, "-p", "run_dir", run_dir, "-p", "processes", "2"]
    command += ["-y", f"overrides: {OVERRIDES}"]
    return start_command(command, env=os.environ | environment)


def test_a_killed_papermill_run_leaves_a_folder_that_the_same_command_resumes(tmp_path, something_root):
    out, run_dir, reached = tmp_path / "out.ipynb", tmp_path / "run", tmp_path / "reached"
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(SITECUSTOMIZE)
    path = os.pathsep.join([str(tmp_path / "site"), str(demo.ROOT), os.environ.get("PYTHONPATH", "")])
    killed = papermill(out, something_root, run_dir, PYTHONPATH=path, REACHED=str(reached))
    wait_until(lambda: reached.exists() or killed.poll() is not None)
    assert killed.poll() is None, killed.communicate()
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    wait_until(lambda: is_unused(run_dir))  # the workers have noticed, saved and ended
    before = run_folder.read_metrics(run_dir)
    assert [row["epoch"] for row in before] == [1]
    again = papermill(out, something_root, run_dir)
    said = again.communicate(timeout=HANG)[1]
    assert again.returncode == 0, said[-3000:]
    rows = run_folder.read_metrics(run_dir)
    assert rows[: len(before)] == before and [row["epoch"] for row in rows] == [1, 2]
    assert all((run_dir / f"result-{protocol}.json").exists() for protocol in ("sth-efficient", "sth-accurate"))
    cells = nbformat.read(out, 4).cells
    assert any("all claims hold" in str(cell.get("outputs")) for cell in cells)
