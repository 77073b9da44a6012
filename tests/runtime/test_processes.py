import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.children import HANG

from tanet import checkpoint, train
from tanet.data import load_list, validation_loader
from tanet.errors import LaunchError
from tanet.evaluate import validate
from tanet.runtime import Process, launch, process_group, worker_count
from tanet.train import FiniteCheck, loop, state

ONE_GPU_TOO_MANY = (torch.cuda.device_count() if torch.cuda.is_available() else 0) + 1


def describe_process(scale):
    """What a process knows of itself and of the others, with a computation that needs them all."""
    with process_group(use_gpu=False) as process:
        return process.rank, process.world_size, process.gather(scale * process.rank), process.is_main


def fail_on_rank_1():
    with process_group(use_gpu=False) as process:
        if process.rank == 1:
            raise ValueError("the cause, on rank 1")
        process.gather(0)


def test_alone_there_is_one_process_and_it_runs_right_here():
    assert launch(describe_process, (3,)) == (0, 1, [0], True)
    assert launch(os.getpid, ()) == os.getpid()


@pytest.mark.slow
def test_processes_know_their_place_and_share_values():
    assert launch(describe_process, (3,), processes=2) == (0, 2, [0, 3], True)


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from test_processes import describe_process
from tanet.runtime import launch
if __name__ == "__main__":
    print(launch(describe_process, (3,), processes=2))
"""


@pytest.mark.slow
def test_processes_of_a_machine_whose_name_does_not_resolve_meet_and_warn_of_nothing(tmp_path):
    """As in containers without a network: the name of the machine stands in no file and no server knows it."""
    unshare = ["unshare", "--user", "--map-root-user", "--uts"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "hostname", "x"], capture_output=True).returncode:
        pytest.skip("this machine does not let a test change a host's name")
    (tmp_path / "program.py").write_text(PROGRAM)
    script = 'hostname no-such-host-here && exec "$@"'
    command = [*unshare, "sh", "-c", script, "sh", sys.executable, tmp_path / "program.py", Path(__file__).parent]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=HANG, env=environment, check=True)
    assert ended.stdout == "(0, 2, [0, 3], True)\n"
    assert "resolve" not in ended.stderr and "no-such-host" not in ended.stderr


def test_windows_is_told_what_it_cannot_do(monkeypatch, tmp_path, something_recipe):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(LaunchError, match="Linux or macOS; on Windows run them in WSL"):
        train.fit(something_recipe, tmp_path, tmp_path / "run")
    with pytest.raises(LaunchError, match="WSL"):
        launch(describe_process, (3,), processes=2)
    assert launch(int, ("3",)) == 3  # what needs one process only, such as a prediction


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, code, said",
    [(["train", "--help"], 0, ""), (["checkpoint", "inspect", "none.pth"], 1, "none.pth: no such checkpoint\n")],
)
def test_commands_start_without_the_modules_that_windows_lacks(tmp_path, command, code, said):
    lacking = ("fcntl", "resource", "termios", "pwd", "grp")
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({lacking}))\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    ended = subprocess.run(
        [sys.executable, "-m", "tanet", *command], capture_output=True, text=True, timeout=HANG, env=environment
    )
    assert ended.returncode == code and ended.stderr.endswith(said) and "Traceback" not in ended.stderr


@pytest.mark.slow
def test_what_a_cpu_cannot_compute_is_refused_before_the_data_are_read(forked_workers, tmp_path, something_recipe):
    recipe = something_recipe.with_changes({"sync_batchnorm": True})
    with pytest.raises(LaunchError, match="ValueError: sync_batchnorm: torch computes it on GPUs only"):
        train.launch(recipe, tmp_path / "no data", tmp_path / "run", processes=2)


@pytest.mark.slow
def test_what_a_process_raises_reaches_the_caller(forked_workers):
    with pytest.raises(Exception, match="the cause, on rank 1"):
        launch(fail_on_rank_1, (), processes=2)


def test_gpus_that_are_not_there_are_an_error():
    with pytest.raises(RuntimeError, match=f"{ONE_GPU_TOO_MANY} GPU.*gpus=0"):
        launch(describe_process, (3,), gpus=ONE_GPU_TOO_MANY)


@pytest.mark.parametrize("how", [{"processes": 0}, {"gpus": -1}])
def test_impossible_numbers_are_refused(how):
    with pytest.raises(ValueError, match="at least"):
        launch(describe_process, (3,), **how)


def test_number_of_threads_is_given_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with process_group(use_gpu=False, workers=100):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def two_process_run(tmp_path_factory, something_root, something_recipe):
    """A run by two workers that `launch` has spawned."""
    run_dir = tmp_path_factory.mktemp("runs") / "two"
    recipe = something_recipe.with_changes({"clips_per_process": 4})
    return run_dir, train.launch(recipe, something_root, run_dir, processes=2)


@pytest.mark.slow
def test_two_processes_finish_a_run(two_process_run):
    run_dir, history = two_process_run
    assert train.read_metrics(run_dir) == history and len(history) == 2
    assert sorted(p.name for p in run_dir.rglob("*") if p.is_file()) == [
        "best.pth",
        "last.pth",
        "metrics.jsonl",
        "previous.pth",
        "recipe.json",
    ]
    assert [row["lr"] for row in history] == pytest.approx([0.1, 0.01])  # of the total batch: 2 x 4 clips


@pytest.mark.slow
def test_validation_by_two_processes_counts_every_video_once_with_the_stored_network(two_process_run, something_root):
    """Loss and accuracies in metrics.jsonl are those of one process that validates last.pth on all videos."""
    run_dir, history = two_process_run
    model, recipe, _ = checkpoint.load_model(run_dir / "checkpoints/last.pth")
    loader = validation_loader(load_list(recipe, something_root, "val"), recipe)
    alone = validate(model, loader, Process(0, 1, torch.device("cpu")), "float32")
    assert {key: history[-1][key] for key in alone} == pytest.approx(alone, rel=1e-4)


def one_step(recipe, data_root, run_dir):
    """A step with 8 clips, shared by the processes; returns the weights after it and what was summed up, as arrays.

    Without BatchNorm's statistics of the batch, which are each process's own: the network is in eval mode.
    """
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (8, 8, 3, 48, 48), generator=generator, dtype=torch.uint8)
    with process_group(use_gpu=False) as process:
        videos = load_list(recipe, data_root, "train")
        training = state.begin(recipe, videos.class_names, {}, run_dir, process, None)
        training.network.eval()
        for group in training.optimizer.param_groups:
            group["lr"] = 0.1
        mine = torch.arange(8)[process.rank :: process.world_size]
        loop._step(training, [(clips[mine], mine, mine, [])], FiniteCheck(videos, run_dir))
        sums = sum(process.gather(training.sums.numpy()))
        weights = {name: value.numpy() for name, value in training.model.state_dict().items()}
        training.network = None  # a network that still holds the group when it is torn down can deadlock
    return weights, sums[0, :3]  # of the loss, of correct clips, and of clips


@pytest.mark.slow
def test_a_step_of_two_processes_is_that_of_one_with_the_same_total_batch(
    tmp_path, forked_workers, something_root, something_recipe
):
    arguments = (something_recipe, something_root, tmp_path)
    (weights, sums), (weights_of_two, sums_of_two) = (launch(one_step, arguments, processes=count) for count in (1, 2))
    np.testing.assert_allclose(sums_of_two, sums, rtol=1e-4)
    assert weights.keys() == weights_of_two.keys() and sums[2] == 8
    for name, value in weights.items():
        np.testing.assert_allclose(weights_of_two[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def clips_of(rank) -> torch.Tensor:
    """Three batches uint8 [3, 2, 8, 3, 48, 48], darker on rank 0 than on rank 1."""
    generator = torch.Generator().manual_seed(rank)
    return torch.randint(0, 100 + 100 * rank, (3, 2, 8, 3, 48, 48), generator=generator, dtype=torch.uint8)


def statistics(training) -> np.ndarray:
    return torch.cat(training.running_statistics).numpy().copy()


def statistics_of_ranks(recipe, data_root, run_dir):
    """Three steps of two processes, without a change of the weights, and what follows an epoch: each rank's running
    statistics after each step and at the end."""
    found = []
    with process_group(use_gpu=False) as process:
        videos = load_list(recipe, data_root, "train")
        training = state.begin(recipe, videos.class_names, {}, run_dir, process, None)
        for group in training.optimizer.param_groups:
            group["lr"] = 0.0
        for clips in clips_of(process.rank):
            loop._step(training, [(clips, torch.arange(2), torch.arange(2), [])], FiniteCheck(videos, run_dir))
            found.append(process.gather(statistics(training)))
        process.share_buffers(training.model)
        found.append(process.gather(statistics(training)))
        training.network = None  # a network that still holds the group when it is torn down can deadlock
    return found


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "mean"])
def test_running_statistics_are_those_of_the_first_process_or_their_mean(
    tmp_path, forked_workers, something_root, something_recipe, which
):
    """Against two networks of their own, one for the clips of each process."""
    recipe = something_recipe.with_changes({"batchnorm_statistics": which})
    alone = []
    for rank in (0, 1):
        training = state.begin(recipe, ("a",) * 8, {}, tmp_path, Process(0, 1, torch.device("cpu")), None)
        for clips in clips_of(rank):
            training.network(clips)
        alone.append(statistics(training))
    *steps, ended = launch(statistics_of_ranks, (recipe, something_root, tmp_path), processes=2)
    wanted = alone[0] if which == "first" else np.mean(alone, axis=0)
    assert np.abs(alone[0] - alone[1]).max() > 0.01
    assert np.array_equal(*ended)
    np.testing.assert_allclose(ended[0], wanted, rtol=1e-5, atol=1e-6)
    if which == "mean":  # a checkpoint within the epoch holds them all
        assert all(np.array_equal(*step) for step in steps)


@pytest.mark.slow
def test_two_processes_learn_what_only_the_order_of_frames_tells(
    tmp_path, forked_workers, something_root, something_recipe
):
    """As one process does, see test_loop: the loss falls well below chance, log 8 = 2.08."""
    changes = {"epochs": 12, "lr_steps": [], "dropout": 0.0, "flip": "none", "clips_per_process": 4}
    history = train.launch(something_recipe.with_changes(changes), something_root, tmp_path / "run", processes=2)
    assert history[-1]["loss"] < 1.6


@pytest.mark.slow
def test_torchrun_trains(tmp_path, something_root):
    run_dir = tmp_path / "run"
    changes = ["epochs=1", "lr_steps=[]", "workers=0", "clips_per_process=4"]
    flags = [flag for change in changes for flag in ("--set", change)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tanet.train"]
    command += ["--recipe=demo_something", f"--data-root={something_root}", f"--run-dir={run_dir}", *flags]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert [json.loads(line)["epoch"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()] == [1]
    assert finished.stdout.count("epoch 1/1: loss") == 1


@pytest.mark.parametrize("processes, wanted, given", [(1, 8, 4), (1, 0, 0), (1, 3, 3), (2, 8, 2), (8, 8, 1)])
def test_data_loading_takes_no_more_processes_than_there_are_cores(monkeypatch, processes, wanted, given):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert worker_count(wanted) == given
