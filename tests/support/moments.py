"""Processes that are killed at a chosen moment.

def work(marker):
    ...
    hold(marker)  # in the middle of it

kill_at(marker, work, marker)
"""

import os
import time
from multiprocessing import get_context
from pathlib import Path

from tanet.prepare import workers

PATIENCE = 300.0  # seconds; passes only if something hangs

# New processes in milliseconds, with the imports done.
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["data_scripts.kinetics400", "data_scripts.something"])


def hold(marker: Path) -> None:
    """Makes the file `marker`, then waits to be killed."""
    marker.touch()
    time.sleep(PATIENCE)
    raise RuntimeError(f"{marker}: nobody killed this process")


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.01)


def start_process(function, *arguments):
    """Calls the function in a process that leads a process group of its own."""
    process = PROCESSES.Process(target=_in_own_group, args=(function, arguments))
    process.start()
    return process


def kill(process) -> None:
    """Kills the process alone, and waits until the processes that it started have ended too."""
    process.kill()
    process.join()
    wait_for(lambda: not group_is_running(process.pid))


def kill_at(marker: Path, function, *arguments) -> None:
    """Calls the function in a process, and kills that when the file `marker` is there."""
    process = start_process(function, *arguments)
    wait_for(lambda: marker.exists() or not process.is_alive())
    assert marker.exists(), "the process ended before it came to the moment"
    kill(process)
    marker.unlink()


def with_forked_workers(function, *arguments) -> None:
    """Calls the function with workers that are forked from this process, in milliseconds. The server that they usually
    are forked from would have to import everything once more."""
    workers.get_context = lambda method: get_context("fork")
    function(*arguments)


def _in_own_group(function, arguments) -> None:
    os.setsid()
    function(*arguments)


def group_is_running(group: int) -> bool:
    """Whether the group has a process that is no zombie."""
    if not Path("/proc/self/stat").exists():
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        return True
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == group and state != "Z":
            return True
    return False
