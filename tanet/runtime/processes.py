"""One process or several: what a process knows of the others, and how a notebook starts them.

Under torchrun, or started by `launch`, every process calls the same function and `process_group` tells it its place;
alone it is rank 0 of 1. NCCL between GPUs, Gloo between CPU processes.
"""

import gc
import itertools
import os
import signal
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
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


@dataclass(frozen=True)
class Process:
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
        if self.world_size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)


# Seconds that a process whose peer is gone leaves the peer's own error to be the first, before it fails of that itself.
AFTER_ANOTHER = 3.0


@contextmanager
def process_group(use_gpu: bool, workers: int = 0) -> Iterator[Process]:
    """Joins the group that the environment describes (torchrun's variables), or stands alone.

    On CPUs each process computes with its share of the cores less the `workers` that load its data, see `worker_count`:
    threads that compete with loading cost a third of the speed.
    """
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
            dist.init_process_group("nccl" if use_gpu else "gloo")
            yield Process(dist.get_rank(), dist.get_world_size(), device)
            # A network that still holds the group when it is torn down can deadlock; some die in cycles only.
            gc.collect()
            dist.destroy_process_group()  # not after a failure: the others would fail before its cause is recorded
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            time.sleep(AFTER_ANOTHER)
        raise
    finally:
        torch.set_num_threads(threads)


# More than one GPU has use for, and each holds two batches and their open files ready.
MOST_WORKERS = 32


def worker_count(wanted: int, use_gpu: bool = False) -> int:
    """Data-loading processes of this process: `wanted`, but no more than its share of the machine's cores.

    -1 chooses them: beside a GPU the share less a core, which keeps the GPU at work, up to MOST_WORKERS; on a CPU one,
    since to compute a clip takes tens of times what it takes to read it.
    """
    share = max(1, _share_of_cores())
    if wanted < 0:
        wanted = max(1, min(share - 1, MOST_WORKERS)) if use_gpu else 1
    return min(wanted, share)


def _share_of_cores() -> int:
    # sched_getaffinity knows of a container's or a scheduler's limits; not there on macOS.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def require_gpus(count: int) -> None:
    """LaunchError if this machine has fewer than `count` CUDA GPUs."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found < count:
        raise LaunchError(f"{count} GPU(s) asked for, {found} found on this machine; pass gpus=0 to run on the CPU")


def launch(
    function: Callable, arguments: tuple, gpus: int = 0, processes: int = 1, nodes: int = 1, rendezvous: str = ""
):
    """Calls `function(*arguments)` on `gpus` GPUs, one process each, or in `processes` CPU processes if gpus is 0.

    With `nodes` machines, each calls it, with the same arguments, and they meet at `rendezvous`: "HOST:PORT" of one of
    them. Returns what the first process here returns; LaunchError if one fails, Stopped if they were asked to stop. One
    process alone runs right here. Several are spawned, so the function must live in a module: they cannot find one of a
    notebook's cell.
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
    endpoint = _meeting_point(rendezvous) if nodes > 1 else "localhost:0"
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint=endpoint,
        run_id=endpoint if nodes > 1 else uuid.uuid4().hex,
        max_restarts=0,
        start_method="spawn",
    )
    with TemporaryDirectory(prefix="tanet-") as failures, _own_signals():
        try:
            results = elastic_launch(config, _keep_failure)(failures, function, arguments)
            return results[min(results)]
        except (ChildFailedError, SignalException, KeyboardInterrupt) as error:
            said = _first_failure(Path(failures))
            if said and STOPPED in said:
                raise Stopped(said.partition(STOPPED)[2].partition("\n")[0]) from None
            if not isinstance(error, ChildFailedError):
                raise KeyboardInterrupt(str(error)) from None
            raise LaunchError(said or str(error)) from None


_meetings = itertools.count()


def _meeting_point(rendezvous: str) -> str:
    """HOST:PORT for one launch on several nodes. Every launch of a notebook takes the next port: the store of the one before may
    still be on its way out."""
    host, _, port = rendezvous.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(
            f'several nodes need rendezvous="HOST:PORT", a port of one of them that is free; got {rendezvous!r}'
        )
    endpoint = f"{host}:{int(port) + next(_meetings)}"
    print(
        f"meeting the other nodes at {endpoint}; where this port is another one on one of them, start all anew",
        flush=True,
    )
    return endpoint


STOPPED = f"{Stopped.__module__}.{Stopped.__name__}: "  # as a traceback names it


@contextmanager
def _own_signals() -> Iterator[None]:
    """Puts back the handlers that torch's agent replaces and leaves."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _keep_failure(folder: str, function: Callable, arguments: tuple):
    """Runs in each process. When one raises, the others fail in its wake, and torch reports whichever it sees first."""
    try:
        result = function(*arguments)
        return result if os.environ["LOCAL_RANK"] == "0" else None  # one is enough, and it may be large
    except BaseException as error:
        Path(folder, f"{time.time_ns()}-{os.environ['RANK']}").write_text(traceback.format_exc())
        if isinstance(error, KeyboardInterrupt):  # which torch takes for success
            raise SystemExit(1) from error
        raise


def _first_failure(folder: Path) -> str | None:
    for path in sorted(folder.iterdir()):
        lines = path.read_text().strip().splitlines()
        return "\n".join([f"the process of rank {path.name.split('-')[1]} failed: {lines[-1]}", "", *lines])
    return None
