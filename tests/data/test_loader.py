"""From the disk to the device: the number of workers, pinned memory, and copies beside the GPU's work."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from support.gpu import needs_gpu
from torch.utils.data import Dataset

from tanet.data import (
    ValidationClips,
    load_list,
    make_loader,
    readable_batch,
    readable_items,
    training_loader,
    validation_loader,
)
from tanet.errors import VideoError
from tanet.runtime import copy_to_cpu, delayed_by_one, devices, process_group, to_device, worker_count


@pytest.fixture
def machine(monkeypatch):
    """A function that makes the machine seem to have `cores` cores, shared by `processes` training processes."""

    def pretend(cores, processes=1):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))

    return pretend


@pytest.mark.parametrize(
    "cores, processes, workers", [(16, 1, 15), (64, 8, 7), (256, 2, 32), (2, 1, 1), (1, 1, 1), (8, 8, 1), (4, 8, 1)]
)
def test_a_gpu_process_has_a_worker_for_each_of_its_cores_but_one(machine, cores, processes, workers):
    machine(cores, processes)
    assert worker_count(-1, use_gpu=True) == workers


@pytest.mark.parametrize("cores, processes", [(1, 1), (64, 1), (64, 8), (4, 8)])
def test_a_cpu_process_has_one_worker(machine, cores, processes):
    machine(cores, processes)
    assert worker_count(-1) == 1


@pytest.mark.parametrize("use_gpu", [False, True])
def test_a_wanted_number_of_workers_is_limited_by_the_cores(machine, use_gpu):
    machine(16)
    assert [worker_count(wanted, use_gpu) for wanted in (0, 1, 8, 99)] == [0, 1, 8, 16]


@pytest.mark.parametrize("workers, threads", [(-1, 2), (0, 3), (1, 2), (2, 1), (99, 1)])
def test_a_cpu_process_computes_with_the_cores_that_workers_leave(machine, workers, threads):
    machine(3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with process_group(use_gpu=False, workers=workers):
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("use_gpu, workers", [(False, 1), (True, 3)])
def test_the_loader_chooses_its_workers_and_they_read_two_batches_ahead(
    machine, something_root, something_recipe, use_gpu, workers
):
    machine(4)
    videos = load_list(something_recipe, something_root, "train")
    loader = make_loader(ValidationClips(videos, something_recipe), videos, -1, use_gpu=use_gpu)
    assert (loader.num_workers, loader.prefetch_factor, loader.pin_memory) == (workers, 2, use_gpu)


class OpenCVThreads(Dataset):
    """Each item is the number of threads that OpenCV computes with."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return cv2.getNumThreads()


def test_opencv_computes_in_one_thread_of_each_worker(machine, something_root, something_recipe):
    machine(4)
    videos = load_list(something_recipe, something_root, "train")
    assert list(make_loader(OpenCVThreads(), videos, 2, batches=False, batch_size=None)) == [1]


@pytest.mark.parametrize("make", [training_loader, validation_loader])
def test_batches_are_pinned_for_gpus_only(something_root, something_recipe, make):
    videos = load_list(something_recipe, something_root, "train")
    assert not make(videos, something_recipe).pin_memory
    assert make(videos, something_recipe, use_gpu=True).pin_memory


def test_on_a_cpu_tensors_are_not_copied():
    tensors = torch.arange(3), torch.ones(2)
    moved = to_device(torch.device("cpu"), *tensors)
    assert all(after is before for after, before in zip(moved, tensors, strict=True))
    assert copy_to_cpu(tensors[1])() is tensors[1]


@pytest.mark.parametrize("kind, order", [("cpu", "b0 e0 b1 e1 b2 e2"), ("cuda", "b0 b1 e0 b2 e1 e2")])
def test_on_a_gpu_the_next_item_begins_before_an_item_ends(kind, order):
    """b1: the work of item 1 begins. e1: its result is fetched."""
    events = []

    def begin_items():
        for number in range(3):
            events.append(f"b{number}")
            yield number

    for number in delayed_by_one(begin_items(), torch.device(kind)):
        events.append(f"e{number}")
    assert " ".join(events) == order
    assert list(delayed_by_one([], torch.device(kind))) == []


def test_the_training_benchmark_measures_from_the_first_to_the_last_line_of_metrics(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from train_e2e import steady

    first = {"clips": 20, "clips_per_second": 2.0, "data_wait": 0.5}  # after 10 s, of which 5 were spent waiting
    last = {"clips": 60, "clips_per_second": 3.0, "data_wait": 0.3}  # after 20 s and 6
    assert steady([first, {}, last]) == {"clips_per_second": 4.0, "data_wait": 0.1}
    with pytest.raises(ValueError, match="--steps 40 or more"):
        steady([first])


@needs_gpu
def test_a_batch_arrives_while_the_gpu_computes():
    device = torch.device("cuda", 0)
    clips = torch.randint(0, 256, (4, 8, 3, 64, 64), dtype=torch.uint8).pin_memory()
    to_device(device, clips)  # makes the stream and its memory
    torch.cuda.synchronize()
    torch.cuda._sleep(2 * 10**9)  # cycles, about a second
    work = torch.cuda.current_stream().record_event()
    (copy,) = to_device(device, clips)
    devices._copy_stream(device).synchronize()
    assert not work.query()
    assert torch.equal(copy.cpu(), clips)


@needs_gpu
def test_an_arriving_batch_does_not_overwrite_one_that_the_gpu_still_reads():
    device, totals = torch.device("cuda", 0), []
    for number in range(8):
        (copy,) = to_device(device, torch.full((2**20,), number).pin_memory())
        torch.cuda._sleep(2 * 10**7)
        totals.append(copy.sum())
        del copy
    assert torch.stack(totals).tolist() == [number * 2**20 for number in range(8)]


@needs_gpu
def test_a_result_is_fetched_before_later_work_ends():
    result = torch.arange(4, device="cuda") * 2
    get = copy_to_cpu(result)
    torch.cuda._sleep(2 * 10**9)
    later = torch.cuda.current_stream().record_event()
    assert get().tolist() == [0, 2, 4, 6] and get().device.type == "cpu"
    assert not later.query()


def test_a_look_at_some_items_leaves_out_broken_videos_only_if_asked_to(linked, something_recipe, something_root):
    root = linked(something_root)
    videos = load_list(something_recipe, root, "val")
    samples = list(videos.samples)
    (root / "empty").mkdir()
    samples[1] = replace(samples[1], path=root / "empty")
    clips = ValidationClips(replace(videos, samples=tuple(samples)), something_recipe)
    with pytest.raises(VideoError, match='empty: .*; on_error="skip" leaves such videos out'):
        list(readable_items(clips, range(3)))
    assert [index for _, _, index in readable_items(clips, range(3), "skip")] == [0, 2]
    with pytest.raises(VideoError, match="empty"):
        readable_batch(clips, range(3))
    batch, labels = readable_batch(clips, range(3), "skip")
    assert torch.equal(batch, torch.stack([clips[0][0], clips[2][0]])) and labels.tolist() == [clips[0][1], clips[2][1]]
