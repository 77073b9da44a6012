import os
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from data_scripts.steps.workers import Failure, in_processes


def odd_work(item):
    if item == "hang":
        time.sleep(60)
    if item == "die":
        os.kill(os.getpid(), 9)
    if item == "raise":
        raise FileNotFoundError(2, "not there", "a.mp4")
    return item.upper()


def test_what_hangs_or_dies_does_not_hold_up_the_others():
    items = ["a", "hang", "b", "die", "c", "d"]
    results = dict(in_processes(odd_work, items, 2, seconds=0.5))
    assert results.pop("hang") == Failure("not done after 0.5 seconds", hung=True)
    assert results.pop("die") == Failure("the process that worked on it ended by SIGKILL")
    assert results == {"a": "A", "b": "B", "c": "C", "d": "D"}


def test_an_exception_ends_it_all_as_what_it_is():
    with pytest.raises(FileNotFoundError, match="a.mp4") as failure:
        list(in_processes(odd_work, ["raise"] + ["hang"], 2))
    assert "odd_work" in failure.value.__notes__[0]  # where it was raised


def test_no_work_starts_no_process():
    assert list(in_processes(odd_work, [], 4)) == []


def note(folder):
    """Says that it is at work, and then is for long."""
    (folder / f"{os.getpid()}").touch()
    time.sleep(60)


def start(folder):
    list(in_processes(note, [folder, folder], 2))


def test_processes_end_with_the_one_that_started_them(tmp_path):
    """Which was killed and could not see to it."""
    process = get_context("spawn").Process(target=start, args=(tmp_path,))
    process.start()
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    process.kill()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    wait_for(lambda: not any(is_running(worker) for worker in workers))


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")  # a zombie, which nobody has collected yet, has ended
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")
