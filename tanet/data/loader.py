"""What loading processes do about videos that cannot be read: say so, or end, and never hand out another video.

A reader that raises VideoError yields Unreadable in the sample's place; what becomes of it is decided where the run
is, see tanet.train.skips. A decoder that hangs, or brings its process down, takes that process with it: `explain_worker_failure` then names the file.
"""

import faulthandler
import gc
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from tanet.data.clips import TrainingClips, ValidationClips
from tanet.data.lists import VideoList
from tanet.errors import DataError, VideoError
from tanet.recipes import Recipe
from tanet.runtime import worker_count

READ_SECONDS = 120  # after which a file that is still being read has hung its loading process
LOADER_TIMEOUT = 1800  # seconds after which a batch that does not come is an error, whatever the cause
NOTHING = -1


@dataclass(frozen=True)
class Unreadable:
    """Stands in a sample's place."""

    index: int  # in the list of videos
    reason: str  # begins with the path


class Reading(Dataset):
    """The items of `clips`, which read videos of `videos`; an item that cannot be read comes as Unreadable.

    In a loading process an item that takes longer than READ_SECONDS ends the process.
    """

    def __init__(self, clips: Dataset, videos: VideoList, workers: int):
        self.clips, self.videos = clips, videos
        # What each loading process is at, for the others to see when it is gone.
        self.under_way = torch.full((max(workers, 1),), NOTHING).share_memory_()

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key):
        index, worker = (key[1] if isinstance(key, tuple) else key), get_worker_info()
        if worker is None:
            return self._read(key, index)
        self.under_way[worker.id] = index
        # The timer is a thread in C, which needs nothing from an interpreter that is stuck.
        faulthandler.dump_traceback_later(READ_SECONDS, exit=True, file=sys.__stderr__)
        try:
            return self._read(key, index)
        finally:
            faulthandler.cancel_dump_traceback_later()
            self.under_way[worker.id] = NOTHING

    def _read(self, key, index: int):
        try:
            return self.clips[key]
        except VideoError as error:
            return Unreadable(index, str(error))


def make_loader(
    clips: Dataset, videos: VideoList, wanted_workers: int, batches: bool = True, use_gpu: bool = False, **how
) -> DataLoader:
    """A DataLoader of `clips` with as many processes as `worker_count` allows.

    With `batches`, yields (*tensors of the items that could be read, [Unreadable, ...]), the tensors None if there are none;
    else one item or Unreadable at a time.
    """
    workers = worker_count(wanted_workers, use_gpu)
    gc.collect()
    gc.freeze()  # the long lists of videos, or each loading process would copy them when it collects garbage
    # Each process reads two batches ahead, torch's default. Videos differ in what they cost to read, and batches are handed
    # over in order: with one ahead all would wait for the slowest, with more there is only more to hold in memory.
    return DataLoader(
        Reading(clips, videos, workers),
        num_workers=workers,
        timeout=LOADER_TIMEOUT if workers else 0,
        worker_init_fn=_outlive_signals,
        persistent_workers=workers > 0,
        pin_memory=use_gpu,  # from there a GPU copies by itself; for a CPU it would be one more copy
        collate_fn=_collate if batches else None,
        **how,
    )


def _collate(items: list) -> tuple:
    good = [item for item in items if not isinstance(item, Unreadable)]
    bad = [item for item in items if isinstance(item, Unreadable)]
    return (*(default_collate(good) if good else (None, None, None)), bad)


def _outlive_signals(worker: int) -> None:
    """A signal that stops a training reaches its loading processes too: they serve on, for it to finish its step and save."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))


DIED = re.compile("DataLoader.*(exited unexpectedly|killed by signal|timed out)")


@contextmanager
def explain_worker_failure(batches: DataLoader) -> Iterator[None]:
    """Where a loading process dies or hangs during the block, VideoError names the video that it was reading.

    The block holds more than the iteration: torch raises the death of a process, also of another loader's, wherever the
    run happens to be.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        at = _left_over(batches, "timed out" in text)
        if not at or not DIED.search(text):
            raise
        names = ", ".join(str(batches.dataset.videos.samples[index].path) for index in at)
        one = "" if len(at) == 1 else "one of these: "
        raise VideoError(
            f"{one}{names}: the loading process that read it hung for more than {READ_SECONDS} s, crashed, or was killed for want of "
            f"memory ({' '.join(text.split())}). Verify the data set and train on the list without the bad ones"
        ) from error


def _left_over(batches: DataLoader, any_process: bool) -> list[int]:
    """What the loading processes that are dead, or with `any_process` all of them, were reading."""
    workers = getattr(batches._iterator, "_workers", [])
    at = batches.dataset.under_way.tolist()
    return [
        at[number]
        for number, worker in enumerate(workers)
        if at[number] != NOTHING and (any_process or worker.exitcode is not None)
    ]


def raise_unreadable(unreadable: list[Unreadable], advice: str = "") -> None:
    """VideoError, in the words of the reader, if there are any."""
    if unreadable:
        raise VideoError(unreadable[0].reason + advice)


class EpochBatches(Sampler):
    """Batches of (epoch, index) keys for one process out of `world_size`; set `epoch` and `start` before iterating.

    A shuffled epoch is cut into steps of batch_size * accumulation * world_size clips. Of a step each process takes every
    world_size-th clip, in `accumulation` batches, so that the clips of a step do not depend on how it is shared. `start`:
    how many clips of the epoch are done already. The clips left over at the end wait for another epoch's shuffle.
    """

    def __init__(
        self, num_samples: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, accumulation: int = 1
    ):
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.rank, self.world_size, self.accumulation = rank, world_size, accumulation
        self.epoch = self.start = 0
        self.step_clips = batch_size * accumulation * world_size
        if self.steps == 0:
            raise DataError(f"{num_samples} training videos do not fill one step of {self.step_clips} clips")

    @property
    def steps(self) -> int:
        """How many steps are left of the epoch."""
        return (self.num_samples - self.start) // self.step_clips

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def __iter__(self):
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_samples)[self.start :]
        for step in range(self.steps):
            mine = order[step * self.step_clips : (step + 1) * self.step_clips][self.rank :: self.world_size]
            for first in range(0, len(mine), self.batch_size):
                yield [(self.epoch, int(index)) for index in mine[first : first + self.batch_size]]


def training_loader(
    videos: VideoList, recipe: Recipe, rank: int = 0, world_size: int = 1, use_gpu: bool = False
) -> DataLoader:
    """Batches (clips uint8 [N, T, 3, S, S], labels int64 [N], indices int64 [N], unreadable), see tanet.data.loader; set
    `batch_sampler.epoch`. With `use_gpu` they lie in pinned memory, for tanet.runtime.devices."""
    batches = EpochBatches(len(videos), recipe.clips_per_process, recipe.seed, rank, world_size, recipe.accumulation)
    return make_loader(TrainingClips(videos, recipe), videos, recipe.workers, use_gpu=use_gpu, batch_sampler=batches)


def validation_loader(
    videos: VideoList, recipe: Recipe, rank: int = 0, world_size: int = 1, use_gpu: bool = False
) -> DataLoader:
    """Each process's share of the validation clips: every world_size-th, none twice, none left out."""
    share = range(rank, len(videos), world_size)
    clips = ValidationClips(videos, recipe)
    size = 4 * recipe.clips_per_process
    return make_loader(clips, videos, recipe.workers, use_gpu=use_gpu, sampler=share, batch_size=size)
