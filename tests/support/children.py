"""Child processes for tests, forked from a server that has imported torch: a new interpreter would take seconds each.

child = start(train.fit, recipe, data_root, run_dir, output=tmp_path / "said.txt", hook=partial(die_in_step, 3))
wait(child); assert child.exitcode == -signal.SIGKILL

group = start_group(2, train.fit, recipe, data_root, run_dir)  # one child per rank, as torchrun starts them
"""

import multiprocessing
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from filelock import FileLock
from torch.distributed.launcher.api import LaunchConfig

from tanet.errors import RunInUse
from tanet.runtime import processes
from tanet.train import run_folder

HANG = 1200  # seconds: nothing that a test waits for takes that long, also on a busy machine, unless it hangs
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tanet.cli", "tanet.evaluate", "tanet.train", "torch.distributed.run"])


_started: list = []  # children and commands, for `end_all`


def start(
    function: Callable, *arguments, hook: Callable | None = None, output: Path | None = None, environment=None
) -> multiprocessing.Process:
    """A child that calls `hook()`, then `function(*arguments)`, in a session of its own; both are pickled by name.

    `output`: a file for what the child and its children print, stdout and stderr together.
    """
    child = SERVER.Process(target=_run, args=(function, arguments, hook, output, environment or {}))
    child.output = output
    child.start()
    _started.append(child)
    return child


def _run(function, arguments, hook, output, environment):
    os.setsid()  # a kill of the session reaches the child's own children
    os.environ.update(environment)
    torch.set_num_threads(1)  # as the tests' own process has, see conftest
    if output is not None:
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(target, 1)
        os.dup2(target, 2)
    if hook is not None:
        hook()
    function(*arguments)


def start_group(size: int, function: Callable, *arguments, hooks=None, output: Path | None = None) -> list:
    """A child per rank of a process group of this size; `hooks`: {rank: hook}. Give the result to `wait` or `kill`."""
    # The store lives here, at a port that the system chose. Nobody can take the port in between.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    children = []
    for rank in range(size):
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_RUN_ID": "test",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": "0",
        }
        hook = (hooks or {}).get(rank)
        child = start(function, *arguments, hook=hook, output=output, environment=environment)
        child.store = store  # as long as the child
        children.append(child)
    return children


def start_command(command: list, **options) -> subprocess.Popen:
    """A command in a session of its own; what it prints to stderr goes to `communicate`, as text."""
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True} | options
    process = subprocess.Popen([str(word) for word in command], start_new_session=True, **options)
    _started.append(process)
    return process


def end_all() -> None:
    """Kills what a test that failed has left running."""
    for process in _started:
        is_over = process.poll() if isinstance(process, subprocess.Popen) else process.exitcode
        if is_over is None:
            _kill_session(process)
    _started.clear()


def wait(*children) -> list[int]:
    """Waits until the children have ended; returns their exit codes, negative numbers of signals after a kill."""
    deadline = time.monotonic() + HANG
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
        assert child.exitcode is not None, f"a child hangs: {said(*children)}"
    return [child.exitcode for child in children]


def said(*children) -> str:
    """What the children printed into their `output` files."""
    outputs = dict.fromkeys(child.output for child in children if child.output is not None)
    return "\n".join(output.read_text() for output in outputs)


def kill(*children) -> None:
    """Kills the children with their sessions."""
    for child in children:
        _kill_session(child)
        child.join()


def _kill_session(process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has ended, or has no session of its own yet
        process.kill()


def wait_until(condition: Callable[[], object], *children) -> None:
    """Waits until the condition holds; fails when a child ends before, or after HANG seconds."""
    deadline = time.monotonic() + HANG
    while not condition():
        ended = [child.exitcode for child in children if child.exitcode is not None]
        assert not ended, f"a child ended too early, with code {ended}: {said(*children)}"
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)


def _config(method: str, /, **fields) -> LaunchConfig:
    return LaunchConfig(**fields | {"start_method": method})


# For `launch` in the tests' own process, which has too many threads to fork. The workers come from the server. It is
# their parent, so they do not notice the death of their agent, and they print where the server prints.
config_from_server = partial(_config, "forkserver")


def is_unused(run_dir: Path) -> bool:
    """Whether no training holds the folder of this run."""
    try:
        with run_folder.locked(run_dir):
            return True
    except RunInUse:
        return False


def launch_by_fork() -> None:
    """A hook for children that call `launch`: its workers are forked from the child, instead of new interpreters."""
    processes.LaunchConfig = partial(_config, "fork")
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(HANG)  # a busy machine may not save within torch's 30 s


@contextmanager
def reserved_ports(count: int) -> Iterator[int]:
    """The first of `count` consecutive free ports, which no other test takes during the block.

    They lie below the ports that systems give to connections and to servers that ask for any.
    """
    for first in range(20000, 30000, count):
        lock = FileLock(Path(tempfile.gettempdir(), f"tanet-test-port-{first}.lock"))
        try:
            lock.acquire(timeout=0)
        except OSError:  # another test has it, or another user
            continue
        with lock:
            if all(_is_free(port) for port in range(first, first + count)):
                yield first
                return
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
