"""What carries clips from the disk to the device: how many processes load, and how tensors travel."""

import os
from pathlib import Path

import pytest
import torch

from tanet.data import ValidationClips, load_list, make_loader, training_loader, validation_loader
from tanet.runtime import copy_to_cpu, delayed_by_one, devices, process_group, to_device, worker_count

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


@pytest.fixture
def machine(monkeypatch):
    """Pretends that the machine has so many cores for so many processes."""

    def pretend(cores, processes=1):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))

    return pretend


@pytest.mark.parametrize(
    "cores, processes, given", [(16, 1, 15), (64, 8, 7), (256, 2, 32), (2, 1, 1), (1, 1, 1), (8, 8, 1), (4, 8, 1)]
)
def test_beside_a_gpu_all_cores_load_but_one(machine, cores, processes, given):
    machine(cores, processes)
    assert worker_count(-1, use_gpu=True) == given


@pytest.mark.parametrize("cores, processes", [(1, 1), (64, 1), (64, 8), (4, 8)])
def test_beside_a_network_on_the_cpu_one_process_loads(machine, cores, processes):
    machine(cores, processes)
    assert worker_count(-1) == 1


@pytest.mark.parametrize("use_gpu", [False, True])
def test_a_number_that_is_given_holds_as_far_as_there_are_cores(machine, use_gpu):
    machine(16)
    assert [worker_count(wanted, use_gpu) for wanted in (0, 1, 8, 99)] == [0, 1, 8, 16]


@pytest.mark.parametrize("workers, threads", [(-1, 2), (0, 3), (1, 2), (2, 1), (99, 1)])
def test_a_cpu_process_computes_with_the_cores_that_do_not_load(machine, workers, threads):
    machine(3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with process_group(use_gpu=False, workers=workers):
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("use_gpu, workers", [(False, 1), (True, 3)])
def test_loading_processes_are_chosen_and_read_two_batches_ahead(
    machine, something_root, something_recipe, use_gpu, workers
):
    machine(4)
    videos = load_list(something_recipe, something_root, "train")
    found = make_loader(ValidationClips(videos, something_recipe), videos, -1, use_gpu=use_gpu)
    assert (found.num_workers, found.prefetch_factor, found.pin_memory) == (workers, 2, use_gpu)


@pytest.mark.parametrize("make", [training_loader, validation_loader])
def test_batches_are_pinned_for_gpus_only(something_root, something_recipe, make):
    videos = load_list(something_recipe, something_root, "train")
    assert not make(videos, something_recipe).pin_memory
    assert make(videos, something_recipe, use_gpu=True).pin_memory


def test_on_a_cpu_tensors_stay_where_they_are():
    tensors = torch.arange(3), torch.ones(2)
    moved = to_device(torch.device("cpu"), *tensors)
    assert all(one is other for one, other in zip(moved, tensors, strict=True))
    assert copy_to_cpu(tensors[1])() is tensors[1]


@pytest.mark.parametrize("kind, seen", [("cpu", "b0 e0 b1 e1 b2 e2"), ("cuda", "b0 b1 e0 b2 e1 e2")])
def test_a_gpu_has_begun_the_next_when_a_result_is_waited_for(kind, seen):
    said = []

    def begun():
        for number in range(3):
            said.append(f"b{number}")
            yield number

    for number in delayed_by_one(begun(), torch.device(kind)):
        said.append(f"e{number}")
    assert " ".join(said) == seen
    assert list(delayed_by_one([], torch.device(kind))) == []


def test_the_benchmark_of_a_training_tells_what_lies_between_the_first_and_the_last_line(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from train_e2e import steady

    first = {"clips": 20, "clips_per_second": 2.0, "data_wait": 0.5}  # after 10 s, of which 5 were spent waiting
    last = {"clips": 60, "clips_per_second": 3.0, "data_wait": 0.3}  # after 20 s and 6
    assert steady([first, {}, last]) == {"clips_per_second": 4.0, "data_wait": 0.1}
    with pytest.raises(ValueError, match="--steps 40 or more"):
        steady([first])


@needs_gpu
def test_a_batch_arrives_while_the_gpu_is_at_work():
    device = torch.device("cuda", 0)
    clips = torch.randint(0, 256, (4, 8, 3, 64, 64), dtype=torch.uint8).pin_memory()
    to_device(device, clips)  # the stream, and memory of its own, are there
    torch.cuda.synchronize()
    torch.cuda._sleep(2 * 10**9)  # cycles, about a second
    work = torch.cuda.current_stream().record_event()
    (copy,) = to_device(device, clips)
    devices._arrivals(device).synchronize()
    assert not work.query()
    assert torch.equal(copy.cpu(), clips)


@needs_gpu
def test_what_arrives_does_not_overwrite_what_is_still_worked_on():
    device, totals = torch.device("cuda", 0), []
    for number in range(8):
        (copy,) = to_device(device, torch.full((2**20,), number).pin_memory())
        torch.cuda._sleep(2 * 10**7)
        totals.append(copy.sum())
        del copy
    assert torch.stack(totals).tolist() == [number * 2**20 for number in range(8)]


@needs_gpu
def test_a_result_is_fetched_before_later_work_is_done():
    result = torch.arange(4, device="cuda") * 2
    get = copy_to_cpu(result)
    torch.cuda._sleep(2 * 10**9)
    later = torch.cuda.current_stream().record_event()
    assert get().tolist() == [0, 2, 4, 6] and get().device.type == "cpu"
    assert not later.query()
