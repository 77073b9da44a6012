"""One process or several: what a process knows of the others, and how a notebook starts them.

torchrun and `launch` call the same function in every process, and `process_group` gives each process its rank. Without
them a process is rank 0 of 1. GPUs communicate over NCCL, CPU processes over Gloo.
"""

import gc
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tanet.errors import LaunchError, Stopped
from tanet.runtime.files import read_json, write_text


@dataclass(frozen=True)
class Process:
    """This process among those of a run: `rank` out of `world_size`, computing on `device`."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def gather(self, value) -> list:
        """Every process's `value` (anything that pickles), in rank order, on every process."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def share_buffers(self, model: torch.nn.Module) -> None:
        """Gives every process rank 0's buffers (BatchNorm's running statistics)."""
        self.share(model.buffers())

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Gives every process rank 0's tensors, in place."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def average(self, tensors: list[torch.Tensor]) -> None:
        """Gives every process the means of its tensors and the others', in place; one message for all of them."""
        if self.world_size > 1:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            flat /= self.world_size
            for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
                tensor.copy_(mean.view_as(tensor))


# Seconds that a process waits after it lost its peer. The peer's own error, the cause, is then recorded first.
PEER_ERROR_SECONDS = 3.0


@contextmanager
def process_group(use_gpu: bool, workers: int = 0) -> Iterator[Process]:
    """Joins the group that torchrun's environment variables describe; without them the process is alone.

    A CPU process computes with its share of the cores, less one for each of its data-loading `workers`, see
    `worker_count`. Threads that compete with the workers cost a third of the speed.
    """
    _require_posix()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if use_gpu:
        require_gpus(local_rank + 1)
        torch.cuda.set_device(local_rank)
    device = torch.device("cuda", local_rank) if use_gpu else torch.device("cpu")
    threads = torch.get_num_threads()
    if not use_gpu:
        torch.set_num_threads(max(1, min(threads, _share_of_cores() - worker_count(workers))))
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            yield Process(0, 1, device)
        else:
            _talk_on_loopback()
            dist.init_process_group("nccl" if use_gpu else "gloo")
            yield Process(dist.get_rank(), dist.get_world_size(), device)
            # A network that still holds the group can deadlock its destruction. Some networks are in reference cycles.
            gc.collect()
            # Only after success: after a failure it would make the other ranks fail before the cause is recorded.
            dist.destroy_process_group()
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            time.sleep(PEER_ERROR_SECONDS)
        raise
    finally:
        torch.set_num_threads(threads)


def _require_posix() -> None:
    """LaunchError on Windows, which has no POSIX signals and cannot fork workers."""
    if sys.platform == "win32":
        raise LaunchError("training and testing need Linux or macOS; on Windows run them in WSL")


def _talk_on_loopback() -> None:
    """If all processes are on this machine, keeps Gloo from asking for the machine's name, which may not resolve."""
    if os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]:
        return
    loopbacks = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]  # on Linux, on macOS
    if loopbacks:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopbacks[0])


# More workers than one GPU can use; and every worker keeps two batches and their open files ready.
MOST_WORKERS = 32


def worker_count(wanted: int, use_gpu: bool = False) -> int:
    """Number of data-loading workers of this process: `wanted`, but at most the process's share of the cores.

    -1 leaves the choice to this function. Beside a GPU it is the share less one core, up to MOST_WORKERS: they keep the
    GPU busy. On a CPU it is one, because a clip takes tens of times longer to compute than to read.
    """
    share = max(1, _share_of_cores())
    if wanted >= 0:
        return min(wanted, share)
    if use_gpu:
        return max(1, min(share - 1, MOST_WORKERS))
    return 1


def _share_of_cores() -> int:
    # sched_getaffinity respects the limits of containers and schedulers. macOS does not have it.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def require_gpus(count: int) -> None:
    """LaunchError if this machine has fewer than `count` CUDA GPUs."""
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if available < count:
        raise LaunchError(f"{count} GPU(s) asked for, {available} found on this machine; pass gpus=0 to run on the CPU")


def launch(
    function: Callable, arguments: tuple, gpus: int = 0, processes: int = 1, nodes: int = 1, rendezvous: str = ""
):
    """Calls `function(*arguments)` on `gpus` GPUs, one process each, or in `processes` CPU processes if gpus is 0.

    With several `nodes`, launch is called on each of them with the same arguments; the nodes meet at `rendezvous`,
    "HOST:PORT" of one of them. A single process runs right here. Several are spawned and import the function by its
    module, so it must not be defined in a notebook's cell.

    Returns the result of this node's first process. Raises LaunchError if a process fails: the message names the first
    failure in one line, and a note holds its traceback. Raises Stopped if a signal stopped the processes.
    """
    if gpus < 0 or processes < 1 or nodes < 1:
        raise ValueError(
            f"gpus must be at least 0, processes and nodes at least 1, got {gpus}, {processes} and {nodes}"
        )
    if gpus:
        require_gpus(gpus)
    count = gpus or processes
    if nodes * count == 1:
        return function(*arguments)
    _require_posix()
    config = _launch_config(count, nodes, rendezvous)
    with TemporaryDirectory(prefix="tanet-") as folder, _restored_signal_handlers():
        try:
            results = elastic_launch(config, _record_failure)(folder, function, arguments)
            return results[min(results)]
        except (ChildFailedError, SignalException, KeyboardInterrupt) as error:
            raise _cause(Path(folder), error) from None


def _launch_config(processes: int, nodes: int, rendezvous: str) -> LaunchConfig:
    if nodes > 1:
        endpoint = run_id = _next_endpoint(rendezvous)
        address = None
    else:
        # The loopback address needs no name server, which hangs where the machine's own name does not resolve.
        endpoint, run_id, address = "127.0.0.1:0", uuid.uuid4().hex, "127.0.0.1"
    return LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint=endpoint,
        run_id=run_id,
        local_addr=address,
        max_restarts=0,
        start_method="spawn",
    )


_launches = itertools.count()


def _next_endpoint(rendezvous: str) -> str:
    """HOST:PORT for the next launch on several nodes.

    Every launch of a notebook takes the next port, because the store of the launch before may still be closing.
    """
    host, _, port = rendezvous.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(
            f'several nodes need rendezvous="HOST:PORT", a port of one of them that is free; got {rendezvous!r}'
        )
    endpoint = f"{host}:{int(port) + next(_launches)}"
    print(
        f"meeting the other nodes at {endpoint}; if a node prints another port, restart the notebooks on all nodes",
        flush=True,
    )
    return endpoint


@contextmanager
def _restored_signal_handlers() -> Iterator[None]:
    """Restores the signal handlers, which torch's agent replaces and does not put back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _record_failure(folder: str, function: Callable, arguments: tuple):
    """Runs `function` in a spawned process and writes its exception to a file in `folder`.

    When one process fails, the others fail soon after, and torch reports the failure that it notices first. The files
    are named by time, so the first one is the cause.
    """
    try:
        result = function(*arguments)
    except BaseException as error:
        rank = os.environ["RANK"]
        failure = {
            "summary": f"the process of rank {rank} failed: {_one_line(error)}",
            "stopped": str(error) if isinstance(error, Stopped) else None,
            "traceback": traceback.format_exc(),
        }
        write_text(Path(folder, f"{time.time_ns()}-{rank}"), json.dumps(failure))
        if isinstance(error, KeyboardInterrupt):  # torch would take it for success
            raise SystemExit(1) from error
        raise
    return result if os.environ["LOCAL_RANK"] == "0" else None  # `launch` returns one result, and they may be large


def _one_line(error: BaseException) -> str:
    message = str(error).strip()
    return f"{type(error).__name__}: {message.splitlines()[0]}" if message else type(error).__name__


def _cause(folder: Path, error: BaseException) -> BaseException:
    """The exception for `launch` to raise: the first failure in `folder`, or torch's own `error` if there is none."""
    failures = sorted(folder.glob("[0-9]*"))
    failure = read_json(failures[0]) if failures else None
    if failure and failure["stopped"] is not None:
        return Stopped(failure["stopped"])
    if not isinstance(error, ChildFailedError):
        return KeyboardInterrupt(str(error))
    if failure:
        cause = LaunchError(failure["summary"])
        cause.add_note(failure["traceback"])
    else:  # the process was killed, or could not import the function
        rank, ended = error.get_first_failure()
        cause = LaunchError(
            f"the process of rank {rank} ended with exit code {ended.exitcode} and left no Python error"
        )
        cause.add_note(str(error))
    return cause
