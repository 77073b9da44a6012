"""What workers have read comes to the main process whole, whatever the machine has of shared memory and files."""

import contextlib
import errno
import gc
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from collections import namedtuple

import pytest
import torch
from torch.utils.data import Dataset

from tanet.data import Unreadable, load_list, loader, make_loader, sharing, training_loader
from tanet.errors import LaunchError, VideoError
from tanet.evaluate.scoring import score_videos
from tanet.model import build

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/shm and fork as on Linux")
ITEM = 2**20  # bytes


@contextlib.contextmanager
def limited(kind, limit):
    """A limit of the system, for the workers that start in the block, too."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def no_room():
    """As on a full /dev/shm: no file there gets more than 16 KB. Without rights of root nothing can be mounted.

    A block in the test and no fixture: pytest writes a test's dot before it tears down, into a log that may be longer.
    """
    return limited(resource.RLIMIT_FSIZE, 2**14)


@pytest.fixture
def patient(monkeypatch):
    """A batch that was lost is an error after seconds. Nothing here takes that long."""
    monkeypatch.setattr(loader, "LOADER_TIMEOUT", 120)


class Pictures(Dataset):
    """Item i: bytes of value i; item 3 cannot be read."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int):
        if index == 3:
            raise VideoError("3.mp4: not a video")
        return torch.full((ITEM,), index, dtype=torch.uint8)


class Clips(Pictures):
    """The same as training items."""

    def __getitem__(self, index: int):
        return super().__getitem__(index), 10 * index, index


@pytest.mark.parametrize("room", ["room", "no room"])
@pytest.mark.parametrize("workers", [0, 1])
def test_items_and_batches_are_the_same_with_and_without_room(patient, room, workers):
    with no_room() if room == "no room" else contextlib.nullcontext():
        items = list(make_loader(Pictures(), None, workers, batches=False, batch_size=None))
        clips, labels, indices, unreadable = zip(*make_loader(Clips(), None, workers, batch_size=4))
    for index, item in enumerate(items):
        if index == 3:
            assert item == Unreadable(3, "3.mp4: not a video")
        else:
            assert torch.equal(item, torch.full((ITEM,), index, dtype=torch.uint8))
    assert [part.tolist() for part in labels] == [[0, 10, 20], [40, 50, 60, 70]]
    assert all(torch.equal(label, 10 * index) and label.dtype == torch.int64 for label, index in zip(labels, indices))
    for part, index in zip(clips, indices):
        assert torch.equal(part, index.to(torch.uint8)[:, None].expand(-1, ITEM))
    assert unreadable == ([Unreadable(3, "3.mp4: not a video")], [])


def test_a_test_without_shared_memory_gives_the_scores_of_one_with(patient, something_root, something_recipe):
    videos = load_list(something_recipe, something_root, "val")
    torch.manual_seed(0)
    model = build(something_recipe).eval()
    with no_room():
        with_worker, alone = (
            score_videos(model, videos, "sth-efficient", something_recipe.with_changes({"workers": workers}))[0]
            for workers in (1, 0)
        )
    assert len(alone) == 16 and all((with_worker[index] == alone[index]).all() for index in alone)


def test_a_worker_with_no_more_files_to_open_still_hands_over(monkeypatch, patient):
    """Each tensor in shared memory is an open file of the worker."""
    get_item = Pictures.__getitem__

    def with_no_more_files(self, index):
        if index == 0:
            next_file = os.dup(0)  # the number that the next file would get
            os.close(next_file)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_file, next_file))
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
        return get_item(self, index if index != 3 else 4)

    monkeypatch.setattr(Pictures, "__getitem__", with_no_more_files)
    items = list(make_loader(Pictures(), None, 1, batches=False, batch_size=None))
    assert [item[0].item() for item in items] == [0, 1, 2, 4, 4, 5, 6, 7]


def test_too_little_is_said_before_the_start_in_one_line_with_what_helps(
    monkeypatch, capsys, something_root, something_recipe
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(64e6, 60e6, 4e6))
    monkeypatch.setattr(loader, "worker_count", lambda *_: 2)
    recipe = something_recipe.with_changes({"crop_size": 112, "short_side": 128, "clips_per_process": 8})
    videos = load_list(recipe, something_root, "train")
    training_loader(videos, recipe)
    size = 2 * 2 * 8 * recipe.num_frames * 3 * 112**2 / 1e6  # workers x batches x clips x their bytes
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "/dev/shm" in said and f"4.0 MB free, the workers can use {size:.1f} MB" in said
    assert "--shm-size" in said and "workers=0" in said
    monkeypatch.setattr(loader, "worker_count", lambda *_: 0)
    training_loader(videos, recipe)  # without workers none is needed
    monkeypatch.setattr(loader, "worker_count", lambda *_: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")  # one process of several says it
    training_loader(videos, recipe)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert f"{4 * size:.1f} MB" in sharing.shortage(int(4e6 * size))


def test_without_dev_shm_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(sharing, "SHARED_MEMORY", tmp_path / "none")
    assert sharing.shortage(2**60) == ""


@pytest.mark.filterwarnings("error")  # of torch's iterator, which was not made whole
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EAGAIN, errno.EMFILE, errno.ENOSYS])
def test_workers_that_cannot_start_are_an_error_in_one_line(monkeypatch, error):
    """A full /dev/shm has no room for their locks, a container may allow few processes."""
    process, started = multiprocessing.Process, []
    start = process.start

    def start_one(self):
        if started:
            raise OSError(error, os.strerror(error))
        start(self)
        started.append(self)

    monkeypatch.setattr(process, "start", start_one)
    monkeypatch.setattr(loader, "worker_count", lambda *_: 2)
    with pytest.raises(LaunchError) as failure:
        list(make_loader(Pictures(), None, 2, batches=False, batch_size=None))
    said = str(failure.value)
    assert said.startswith("2 data-loading workers cannot be started") and os.strerror(error) in said
    assert "--shm-size" in said and "workers=0" in said and "\n" not in said
    started[0].join(60)
    assert started[0].exitcode == -signal.SIGKILL  # the one that had started
    gc.collect()
