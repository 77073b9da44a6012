import os
import signal
import subprocess
import sys
import time

import pytest
from support.moments import PATIENCE, hold, kill, start_process, wait_for
from support.paths import ROOT

from tanet.prepare.workers import Failure, run_in_workers

pytestmark = pytest.mark.slow


def odd_work(item):
    if item == "hang":
        time.sleep(PATIENCE)
    if item == "die":
        os.kill(os.getpid(), 9)
    if item == "exit":
        os._exit(7)
    if item == "raise":
        raise FileNotFoundError(2, "not there", "a.mp4")
    return item.upper()


def test_a_worker_that_hangs_or_dies_does_not_hold_up_the_others(clock):
    items = ["a", "hang", "b", "die", "c", "exit", "d"]
    results = {}
    for item, result in run_in_workers(odd_work, items, 2, seconds=PATIENCE):
        results[item] = result
        if len(results) == len(items) - 1:
            assert "hang" not in results
            clock.run_out()
    assert results.pop("hang") == Failure(f"not done after {PATIENCE:g} seconds", hung=True)
    assert results.pop("die") == Failure("the worker ended by SIGKILL")
    assert results.pop("exit") == Failure("the worker ended with exit code 7")
    assert results == {"a": "A", "b": "B", "c": "C", "d": "D"}


def test_a_worker_that_hung_is_replaced(clock):
    work = run_in_workers(odd_work, ["a", "hang", "b"], 1, seconds=PATIENCE)
    assert next(work) == ("a", "A")
    clock.run_out()
    item, result = next(work)
    clock.step = 0.0
    assert item == "hang" and result.hung and list(work) == [("b", "B")]


def test_crashes_one_after_the_other_cost_only_their_items():
    """Also the first that a worker does."""
    results = list(run_in_workers(odd_work, ["die", "die", "a", "die", "b"], 1))
    assert [str(result) for _, result in results] == [
        "the worker ended by SIGKILL", "the worker ended by SIGKILL", "A", "the worker ended by SIGKILL", "B"
    ]  # fmt: skip


def test_an_exception_ends_the_run_as_what_it_is():
    with pytest.raises(FileNotFoundError, match="a.mp4") as failure:
        list(run_in_workers(odd_work, ["raise"] + ["hang"], 2))
    assert "odd_work" in failure.value.__notes__[0]  # where it was raised


def test_no_work_starts_no_process():
    assert list(run_in_workers(odd_work, [], 4)) == []


@pytest.mark.parametrize("limits, option", [((0, 60.0), "--processes 0"), ((2, 0.0), "--seconds 0")])
def test_limits_under_which_nothing_can_be_done_are_refused(limits, option):
    with pytest.raises(ValueError, match=option):
        list(run_in_workers(odd_work, ["a"], *limits))


def record_and_hold(folder):
    hold(folder / str(os.getpid()))


def hold_two_workers(folder):
    list(run_in_workers(record_and_hold, [folder, folder], 2))


def test_workers_end_with_their_parent_also_when_it_is_killed(tmp_path):
    process = start_process(hold_two_workers, tmp_path)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    kill(process)  # waits for the end of its workers


# A module whose second import, the server's, ends when Ctrl-C was pressed or need not be waited for.
SLOW_IMPORT = """
import pathlib, time
from multiprocessing.util import register_after_fork
folder = pathlib.Path(__file__).parent
(folder / "importing").touch()
while (folder / "imported").exists() and not (folder / "go on").exists():
    time.sleep(0.01)

def work(item):
    (folder / "working").touch()
    time.sleep(300)

class Work:  # a worker that starts loads it, and gets `work`
    def __reduce__(self):
        return load_work, ()

def load_work():
    register_after_fork(Work, pause)
    return work

def pause(_):  # when the worker is about to run its function
    (folder / "starting").touch()
    while not (folder / "start").exists():
        time.sleep(0.01)
"""
INTERRUPTED = """
import signal, time
from tanet.prepare.workers import run_in_workers
from slow_import import Work, folder

def answer_late(*_):
    time.sleep(1)  # a worker that Ctrl-C ends has time to say so, before it is killed
    raise KeyboardInterrupt

(folder / "importing").unlink()  # this import; the workers' server imports the module again
(folder / "imported").touch()
signal.signal(signal.SIGINT, answer_late)
try:
    list(run_in_workers(Work(), [1, 2], 2))
except KeyboardInterrupt:
    print("interrupted")
"""


def heed_ctrl_c():
    """Commands that a shell runs in the background ignore SIGINT, and so do their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("moment", ["importing", "starting", "working"])
def test_ctrl_c_in_a_terminal_prints_nothing_from_the_workers(tmp_path, moment):
    """A terminal sends SIGINT to all processes of the group."""
    (tmp_path / "slow_import.py").write_text(SLOW_IMPORT)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )
    if moment != "importing":
        (tmp_path / "go on").touch()
    if moment != "starting":
        (tmp_path / "start").touch()
    wait_for(lambda: (tmp_path / "imported").exists() or child.poll() is not None)
    wait_for(lambda: (tmp_path / moment).exists() or child.poll() is not None)
    os.killpg(child.pid, signal.SIGINT)
    (tmp_path / "go on").touch()
    (tmp_path / "start").touch()
    output, errors = child.communicate(timeout=PATIENCE)
    assert (output, errors, child.returncode) == ("interrupted\n", "", 0)
