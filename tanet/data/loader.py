"""Batches from workers (a DataLoader's processes), and what workers do about videos that cannot be read.

- A video that cannot be decoded comes as an `Unreadable` instead of a clip, never as another video's clip. The caller
  decides: `raise_unreadable` makes it an error, tanet.train.skips and the tests of tanet.evaluate can count it.
- A decoder that hangs or crashes ends its worker. `explain_worker_failure` turns torch's message about the worker into
  an error that names the video.
"""

import faulthandler
import gc
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import RawArray

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from tanet.data.clips import TrainingClips, ValidationClips
from tanet.data.lists import VideoList
from tanet.data.sharing import BATCHES_AHEAD, pack, shortage
from tanet.data.workers import WorkerLoader, begin_worker
from tanet.errors import DataError, VideoError
from tanet.recipes import Recipe
from tanet.runtime import worker_count

READ_SECONDS = 120  # longest time to read one video; after that the decoder hangs, and the worker ends itself
LOADER_TIMEOUT = 1800  # seconds; a batch that takes longer is an error, whatever the cause
IDLE = -1  # in `GuardedClips.being_read`: the worker reads no video
WORKER_FAILURE = re.compile("DataLoader.*(exited unexpectedly|killed by signal|timed out)")  # torch's messages


@dataclass(frozen=True)
class Unreadable:
    """Comes instead of a clip whose video cannot be read."""

    index: int  # in the list of videos
    reason: str  # begins with the path


class GuardedClips(Dataset):
    """The items of `clips`, guarded against broken videos.

    - If reading an item raises VideoError, the item is an Unreadable.
    - If a worker reads one item for more than READ_SECONDS, the worker ends.
    - `being_read` tells which video each worker reads: int64 [workers], indices into `videos`, or IDLE. The processes
      share it, so the main process can still read it after a worker has crashed.

    `clips` has keys `index` or `(epoch, index, ...)`.
    """

    def __init__(self, clips: Dataset, videos: VideoList, workers: int):
        self.clips, self.videos = clips, videos
        self.being_read = RawArray("q", [IDLE] * max(workers, 1))  # in a file, where shared memory is full

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key):
        index = key[1] if isinstance(key, tuple) else key
        worker = get_worker_info()
        if worker is None:  # the main process reads
            return self._read(key, index)
        self.being_read[worker.id] = index
        # faulthandler's timer is a thread in C. It also fires when a hanging decoder holds the interpreter's lock.
        faulthandler.dump_traceback_later(READ_SECONDS, exit=True, file=sys.__stderr__)
        try:
            return self._read(key, index)
        finally:
            faulthandler.cancel_dump_traceback_later()
            self.being_read[worker.id] = IDLE

    def _read(self, key, index: int):
        try:
            return self.clips[key]
        except VideoError as error:
            return Unreadable(index, str(error))


def make_loader(
    clips: Dataset,
    videos: VideoList,
    wanted_workers: int,
    batches: bool = True,
    use_gpu: bool = False,
    item_bytes: int = 0,
    **options,
) -> DataLoader:
    """A DataLoader of `clips` with as many workers as tanet.runtime.worker_count allows; `options` go to DataLoader.

    With `batches` it yields (*tensors of the readable items, [Unreadable, ...]); the tensors are None if no item is
    readable. Without, it yields one item or Unreadable at a time. `item_bytes`: the size of what it yields at a time,
    to say at once if shared memory is short of it.
    """
    workers = worker_count(wanted_workers, use_gpu)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # they share the memory
    note = shortage(processes * workers * BATCHES_AHEAD * item_bytes)
    if note and os.environ.get("LOCAL_RANK", "0") == "0":
        print(note, flush=True)
    import torchvision.io  # noqa: F401  or each forked worker would import it, for the first picture that it reads

    gc.collect()
    # Keeps the long lists of videos out of garbage collection. Otherwise each forked worker would copy their memory
    # when it collects garbage.
    gc.freeze()
    # Batches are handed over in order, and videos take different times to read. With one batch ahead all workers would
    # wait for the slowest; more than two would only fill memory.
    return WorkerLoader(
        GuardedClips(clips, videos, workers),
        num_workers=workers,
        prefetch_factor=BATCHES_AHEAD if workers else None,
        timeout=LOADER_TIMEOUT if workers else 0,
        worker_init_fn=begin_worker,
        persistent_workers=workers > 0,
        pin_memory=use_gpu,  # a GPU copies from pinned memory by itself; a CPU would only copy once more
        collate_fn=_collate if batches else pack,
        **options,
    )


def _collate(items: list) -> tuple:
    readable = [item for item in items if not isinstance(item, Unreadable)]
    unreadable = [item for item in items if isinstance(item, Unreadable)]
    if not readable:
        return pack((None, None, None, unreadable))
    clips, labels, indices = zip(*readable)
    return pack((torch.stack(clips), torch.tensor(labels), torch.tensor(indices), unreadable))


@contextmanager
def explain_worker_failure(batches: DataLoader) -> Iterator[None]:
    """If a worker of `batches` dies or hangs during the block, raises VideoError that names the video it was reading.

    Put the whole training or test into the block, not only the iteration: torch raises the death of a worker (of any
    loader) at whatever line the main process is then. Other errors pass unchanged.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        suspects = _videos_being_read(batches, timed_out="timed out" in text)
        if not suspects or not WORKER_FAILURE.search(text):
            raise
        names = ", ".join(str(batches.dataset.videos.samples[index].path) for index in suspects)
        if len(suspects) > 1:
            names = f"one of these: {names}"
        raise VideoError(
            f"{names}: the worker that read it hung for more than {READ_SECONDS} s, crashed, or was killed for lack of "
            f"memory ({' '.join(text.split())}). Verify the data set and train on the list without the bad ones"
        ) from error


def _videos_being_read(batches: DataLoader, timed_out: bool) -> list[int]:
    """Indices of videos that dead workers were reading; with `timed_out`, those of all workers, as one hangs."""
    workers = getattr(batches._iterator, "_workers", [])
    being_read = list(batches.dataset.being_read)
    return [
        being_read[number]
        for number, worker in enumerate(workers)
        if being_read[number] != IDLE and (timed_out or worker.exitcode is not None)
    ]


def raise_unreadable(unreadable: list[Unreadable], advice: str = "") -> None:
    """Raises VideoError with the first video's reason and `advice`, if `unreadable` is not empty."""
    if unreadable:
        raise VideoError(unreadable[0].reason + advice)


def readable_items(clips: Dataset, keys: Iterable, on_error: str = "raise") -> Iterator[tuple]:
    """The items of `clips` with these keys, read one after another in this process: for a look at some of them.

    With `on_error` "skip" an item whose video raises VideoError is left out.
    """
    for key in keys:
        try:
            yield clips[key]
        except VideoError as error:
            if on_error == "raise":
                raise VideoError(f'{error}; on_error="skip" leaves such videos out') from error


def readable_batch(clips: Dataset, keys: Iterable, on_error: str = "raise") -> tuple[torch.Tensor, torch.Tensor]:
    """`readable_items` as one batch: clips uint8 [N, T, 3, S, S] and their labels [N]."""
    items = list(readable_items(clips, keys, on_error))
    return torch.stack([clip for clip, *_ in items]), torch.tensor([label for _, label, *_ in items])


class EpochBatches(Sampler):
    """The training batches of one rank: lists of keys of TrainingClips. Set `epoch` and `start` before iterating.

    A step takes batch_size * accumulation * world_size clips of the shuffled epoch. Each rank takes every world_size-th
    clip of a step, in `accumulation` batches. So the clips of a step do not depend on how ranks share them. Clips that
    do not fill a last step are left out of this epoch.

    With `labels` (of all samples) an epoch draws all classes equally often: videos of rare classes several times, as
    other clips, and only some of the frequent ones. Its number of clips stays the same.

    `start`: how many clips of the epoch earlier steps have taken; it is not 0 when a training resumes within an epoch.
    Raises DataError if the videos do not fill one step.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        accumulation: int = 1,
        labels: Sequence[int] | None = None,
    ):
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.rank, self.world_size, self.accumulation = rank, world_size, accumulation
        self.labels = None if labels is None else np.asarray(labels)
        self.epoch = self.start = 0
        self.step_clips = batch_size * accumulation * world_size
        if self.steps == 0:
            raise DataError(f"{num_samples} training videos do not fill one step of {self.step_clips} clips")

    @property
    def steps(self) -> int:
        """The number of steps left in the epoch."""
        return (self.num_samples - self.start) // self.step_clips

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def __iter__(self):
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.labels is None:
            keys = [(self.epoch, int(index)) for index in rng.permutation(self.num_samples)]
        else:
            keys = [(self.epoch, *clip) for clip in balanced_order(self.labels, rng)]
        keys = keys[self.start :]
        for step in range(self.steps):
            step_keys = keys[step * self.step_clips : (step + 1) * self.step_clips]
            rank_keys = step_keys[self.rank :: self.world_size]
            for first in range(0, len(rank_keys), self.batch_size):
                yield rank_keys[first : first + self.batch_size]


def balanced_order(labels: np.ndarray, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """As many clips as there are videos, of all classes equally often (within one), in random order.

    A video's first clip is (index,), its second (index, 1). No video has a second clip before all videos of its class
    have one.
    """
    classes = rng.permutation(np.unique(labels))
    wanted = np.full(len(classes), len(labels) // len(classes))
    wanted[: len(labels) % len(classes)] += 1
    clips = []
    for name, count in zip(classes, wanted):
        members = rng.permutation(np.flatnonzero(labels == name))
        for number in range(count):
            turn, position = divmod(number, len(members))
            clips.append((int(members[position]), turn) if turn else (int(members[position]),))
    return [clips[position] for position in rng.permutation(len(clips))]


def training_loader(
    videos: VideoList, recipe: Recipe, rank: int = 0, world_size: int = 1, use_gpu: bool = False
) -> DataLoader:
    """A rank's training batches: (clips uint8 [N, T, 3, S, S], labels int64 [N], indices int64 [N], [Unreadable, ...]).

    Set `epoch` and `start` of its `batch_sampler`, an EpochBatches. With `use_gpu` the tensors are in pinned memory.
    """
    labels = [sample.label for sample in videos.samples] if recipe.balanced else None
    batches = EpochBatches(
        len(videos), recipe.clips_per_process, recipe.seed, rank, world_size, recipe.accumulation, labels
    )
    clips, size = TrainingClips(videos, recipe), _clip_bytes(recipe) * recipe.clips_per_process
    return make_loader(clips, videos, recipe.workers, use_gpu=use_gpu, item_bytes=size, batch_sampler=batches)


def validation_loader(
    videos: VideoList, recipe: Recipe, rank: int = 0, world_size: int = 1, use_gpu: bool = False
) -> DataLoader:
    """A rank's validation batches, like those of `training_loader`. The ranks together read each video once."""
    rank_indices = range(rank, len(videos), world_size)
    clips = ValidationClips(videos, recipe)
    batch_size = 4 * recipe.clips_per_process
    return make_loader(
        clips,
        videos,
        recipe.workers,
        use_gpu=use_gpu,
        item_bytes=_clip_bytes(recipe) * min(batch_size, len(rank_indices)),
        sampler=rank_indices,
        batch_size=batch_size,
    )


def _clip_bytes(recipe: Recipe) -> int:
    return recipe.num_frames * 3 * recipe.crop_size**2  # uint8 [T, 3, S, S]
