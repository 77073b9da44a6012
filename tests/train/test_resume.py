"""A training that is killed, interrupted or moved goes on as if nothing had been."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from support.signals import stop_after

from tanet import checkpoint, data, train
from tanet.data import load_list, validation_loader
from tanet.errors import Stopped
from tanet.evaluate import validate
from tanet.runtime import Process, launch
from tanet.train import FiniteCheck, loop, run_folder, state

SPEED = {"clips_per_second", "data_wait", "peak_memory_mib"}  # what differs from run to run
FORKED = multiprocessing.get_context("forkserver")  # torch is imported once, and its threads are no child's
FORKED.set_forkserver_preload(["tanet.train"])


@pytest.fixture(scope="module")
def recipe(something_recipe):
    """Four steps an epoch; dropout and flips, so that every random draw counts."""
    return something_recipe.with_changes({"epochs": 3, "dropout": 0.3, "deterministic": True})


def run_child(recipe, data_root, run_dir, processes, save_minutes):
    """A training with a line in metrics.jsonl for every second step."""
    os.setsid()  # so that a kill reaches whatever it starts
    loop.LOG_STEPS = 2
    train.launch(recipe, data_root, run_dir, processes=processes, save_minutes=save_minutes)


def start(recipe, data_root, run_dir, processes=1, save_minutes=0.0):
    child = FORKED.Process(target=run_child, args=(recipe, data_root, run_dir, processes, save_minutes))
    child.start()
    return child


def kill(child):
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not got to its own session yet
        child.kill()
    child.join()


def result(run_dir):
    """Weights, momentum and metrics of a finished run, the speeds left out."""
    stored = checkpoint.read(run_dir / run_folder.LAST)
    momentum = [state["momentum_buffer"] for state in stored.rest["optimizer"]["state"].values()]
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return stored.weights, momentum, [{k: v for k, v in row.items() if k not in SPEED} for row in rows]


def identical(one, other):
    (weights, momentum, rows), (weights_, momentum_, rows_) = one, other
    assert rows == rows_
    assert all(torch.equal(a, b) for a, b in zip(momentum, momentum_, strict=True))
    assert weights.keys() == weights_.keys() and all(torch.equal(weights[key], weights_[key]) for key in weights)
    return True


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, something_root, recipe):
    """Results by number of processes; the runs save at the ends of epochs only."""
    results = {}
    for processes in (1, 2):
        run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
        child = start(
            recipe.with_changes({"clips_per_process": 8 // processes}), something_root, run_dir, processes, 60.0
        )
        child.join()
        assert child.exitcode == 0
        results[processes] = result(run_dir)
    assert [row["epoch"] for row in results[1][2] if "step" not in row] == [1, 2, 3]
    assert len(results[1][2]) == 3 + 6
    return results


@pytest.mark.parametrize("processes, kills", [(1, 20), (2, 4)])
def test_killed_again_and_again_it_ends_bit_identically(
    tmp_path, something_root, recipe, undisturbed, processes, kills
):
    """At random moments, in steps, validations and, since every step is saved, often in the middle of saving."""
    rng = random.Random(processes)
    recipe = recipe.with_changes({"clips_per_process": 8 // processes})
    killed, runs, in_save, started_in_middle = 0, 0, 0, 0
    while killed < kills or runs == 0:
        run_dir = tmp_path / f"run{runs}"
        while True:
            started_in_middle += (run_dir / run_folder.LAST).exists()
            child = start(recipe, something_root, run_dir, processes)
            if killed < kills:
                _wait_for_a_step(run_dir, child)
                child.join(rng.uniform(0, 0.5))
            else:
                child.join()
            if not child.is_alive():
                assert child.exitcode == 0
                break
            kill(child)
            killed += 1
            in_save += any(run_dir.rglob("*.partial"))
        assert identical(result(run_dir), undisturbed[processes])
        runs += 1
    print(f"{killed} kills, {in_save} while saving, {started_in_middle} starts in the middle, {runs} runs")
    assert started_in_middle >= kills // 2
    if processes == 1:
        assert in_save >= 1


def _wait_for_a_step(run_dir, child):
    """Until the run has saved something since it was started, so that every kill comes at another place."""
    path, deadline = run_dir / run_folder.LAST, time.monotonic() + 60
    before = path.stat().st_mtime_ns if path.exists() else 0
    while child.is_alive() and time.monotonic() < deadline:
        if path.exists() and path.stat().st_mtime_ns != before:
            return
        time.sleep(0.002)


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "garbage"])
def test_an_unreadable_last_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path, capsys, monkeypatch, something_root, recipe, undisturbed, damage
):
    run_dir = tmp_path / "run"
    interrupt(monkeypatch, 6)
    with pytest.raises(Stopped):
        train.fit(recipe, something_root, run_dir, save_minutes=0)
    monkeypatch.undo()
    monkeypatch.setattr(loop, "LOG_STEPS", 2)
    last, content = run_dir / run_folder.LAST, (run_dir / run_folder.LAST).read_bytes()
    last.write_bytes({"cut": content[: len(content) // 2], "garbage": b"\0" * 1000}.get(damage, b""))
    if damage == "gone":
        last.unlink()
    train.fit(recipe, something_root, run_dir)
    said = capsys.readouterr().out
    assert damage == "gone" or f"going on from {run_dir / run_folder.PREVIOUS}" in said
    assert identical(result(run_dir), undisturbed[1])


def test_without_any_readable_checkpoint_nothing_is_begun_anew(tmp_path, monkeypatch, something_root, recipe):
    run_dir = tmp_path / "run"
    interrupt(monkeypatch, 3)
    with pytest.raises(Stopped):
        train.fit(recipe, something_root, run_dir, save_minutes=0)
    for name in (run_folder.LAST, run_folder.PREVIOUS):
        (run_dir / name).write_bytes(b"x")
    with pytest.raises(checkpoint.CheckpointError, match="previous.pth"):
        train.fit(recipe, something_root, run_dir)


def interrupt(monkeypatch, steps, number=signal.SIGINT):
    """As stop_after, with the lines in metrics.jsonl that the undisturbed runs have."""
    stop_after(monkeypatch, steps, number)
    monkeypatch.setattr(loop, "LOG_STEPS", 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_leaves_and_says_how_to_go_on(
    tmp_path, monkeypatch, something_root, recipe, undisturbed, number
):
    """As in a notebook, whose cell the kernel interrupts with SIGINT."""
    run_dir, handler = tmp_path / "run", signal.getsignal(number)
    interrupt(monkeypatch, 7, number)
    with pytest.raises(Stopped, match=rf"epoch 2 of 3, after 24 of its clips.*{run_dir}.*same call") as stopped:
        train.fit(recipe, something_root, run_dir)
    assert stopped.value.signal == number and signal.getsignal(number) is handler
    stored = checkpoint.read(run_dir / run_folder.LAST)
    assert (stored.rest["epoch"], stored.rest["clips"]) == (1, 24)
    train.fit(recipe, something_root, run_dir)
    assert identical(result(run_dir), undisturbed[1])


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("processes", [1, 2])
def test_the_command_line_too_and_ends_with_the_signals_code(tmp_path, something_root, recipe, number, code, processes):
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "tanet.train", "--recipe=demo_something", f"--data-root={something_root}"]
    command += [
        f"--run-dir={run_dir}",
        "--set=workers=0",
        "--set=epochs=500",
        "--set=lr_steps=[]",
        f"--processes={processes}",
    ]
    child = subprocess.Popen(
        [*command, "--save-minutes=0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (run_dir / run_folder.LAST).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    said = child.communicate(timeout=60)[1]
    assert f"saved in {run_dir}, and the same call goes on from there" in said
    assert child.returncode == (code if processes == 1 else 130)
    assert checkpoint.read(run_dir / run_folder.LAST).rest["clips"] >= 0


def test_more_processes_go_on_from_the_same_clip_and_say_what_changes(
    tmp_path, capfd, monkeypatch, something_root, recipe
):
    run_dir, recipe = tmp_path / "run", recipe.with_changes({"clips_per_process": 4, "epochs": 1, "lr_steps": []})
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        interrupt(patch, 3)
        train.fit(recipe, something_root, run_dir)
    assert checkpoint.read(run_dir / run_folder.LAST).rest["clips"] == 12
    (row,) = train.launch(recipe, something_root, run_dir, processes=2)
    said = capfd.readouterr().out
    assert "0 of 1 epochs are done, and 12 clips of the next. 1 process(es) made it, 2 go on from the same clip" in said
    assert row["clips"] == 12 + 2 * 8  # two steps of 8 of the 20 clips that were left


def test_fewer_processes_go_on_from_the_same_clip(tmp_path, capsys, something_root, recipe):
    run_dir, recipe = tmp_path / "run", recipe.with_changes({"clips_per_process": 4, "epochs": 2, "lr_steps": []})
    child = start(recipe, something_root, run_dir, processes=2)
    _wait_for_a_step(run_dir, child)
    kill(child)
    done = checkpoint.read(run_dir / run_folder.LAST).rest
    history = train.fit(recipe, something_root, run_dir)
    assert "2 process(es) made it, 1 go on from the same clip: the batch of a step is 1/2" in capsys.readouterr().out
    assert [row["clips"] for row in history] == [32, 32] and done["clips"] % 8 == 0


def test_a_list_of_other_videos_or_labels_is_refused_with_the_difference(
    tmp_path, trained_run, something_root, something_recipe
):
    root = tmp_path / "data"
    root.mkdir()
    for path in something_root.iterdir():
        if path.suffix == ".csv":
            (root / path.name).write_text(path.read_text())
        else:
            (root / path.name).symlink_to(path)
    before = {p: p.read_bytes() for p in trained_run.rglob("*") if p.is_file()}
    path = root / "something-something-v1-train.csv"
    lines = path.read_text().splitlines()
    for changed, words in (
        (lines[:-1], "numbers of videos .32 there, 31 here"),
        ([*lines[:-1], f"32;{lines[0][2:]}"], "videos or labels"),
    ):
        path.write_text("\n".join(changed))
        with pytest.raises(ValueError, match=f"last.pth: was trained on a train list with other {words}"):
            train.fit(something_recipe, root, trained_run)
    assert {p: p.read_bytes() for p in trained_run.rglob("*") if p.is_file()} == before


def test_a_run_that_is_there_is_left_alone_with_resume_never(trained_run, something_root, something_recipe):
    with pytest.raises(ValueError, match="holds a run already"):
        train.fit(something_recipe, something_root, trained_run, resume="never")
    with pytest.raises(ValueError, match="auto or never"):
        train.fit(something_recipe, something_root, trained_run, resume="maybe")


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_loading_processes_decides_nothing(
    tmp_path, monkeypatch, something_root, recipe, undisturbed, workers
):
    monkeypatch.setattr("tanet.data.loader.worker_count", lambda wanted, use_gpu: wanted)
    monkeypatch.setattr(
        "tanet.runtime.processes._share_of_cores", lambda: 2 + workers
    )  # the same threads of computation
    monkeypatch.setattr(loop, "LOG_STEPS", 2)
    (tmp_path / "run").mkdir()
    train.fit(recipe.with_changes({"workers": workers}), something_root, tmp_path / "run")
    assert identical(result(tmp_path / "run"), undisturbed[1])


def test_a_signal_to_all_processes_of_a_training_saves_too(tmp_path, something_root):
    """As a terminal's Ctrl-C or a cluster's scheduler sends it, to the loading processes as well."""
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        run_dir = tmp_path / str(code)
        command = [sys.executable, "-m", "tanet.train", "--recipe=demo_something", f"--data-root={something_root}"]
        command += [
            f"--run-dir={run_dir}",
            "--set=workers=2",
            "--set=epochs=500",
            "--set=lr_steps=[]",
            "--save-minutes=0",
        ]
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while not (run_dir / run_folder.PREVIOUS).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(child.pid, number)
        said = child.communicate(timeout=60)[1]
        assert f"saved in {run_dir}, and the same call goes on from there" in said and child.returncode == code


def test_two_trainings_in_one_folder_do_not_get_into_each_others_way(tmp_path, monkeypatch, something_root, recipe):
    run_dir, recipe = tmp_path / "run", recipe.with_changes({"epochs": 500, "lr_steps": []})
    child = start(recipe, something_root, run_dir)
    _wait_for_a_step(run_dir, child)
    monkeypatch.setattr(run_folder, "LOCK_SECONDS", 0.5)
    with pytest.raises(
        run_folder.RunInUse, match=rf"{run_dir}: another training is running in it \(process {child.pid} on"
    ):
        train.fit(recipe, something_root, run_dir)
    kill(child)
    with run_folder.locked(run_dir):  # a killed training holds no lock
        assert run_folder.newest(run_dir)[0] is not None


def test_an_average_of_the_weights_is_tested_and_resumed(tmp_path, monkeypatch, something_root, recipe):
    recipe = recipe.with_changes({"ema": 0.9})
    train.fit(recipe, something_root, tmp_path / "whole")
    stored = checkpoint.read(tmp_path / "whole" / run_folder.LAST)
    assert (stored.weights["fc.weight"] - stored.rest["trained"]["fc.weight"]).abs().max() > 1e-4
    model, _, _ = checkpoint.load_model(stored)
    videos = load_list(recipe, something_root, "val")
    process = Process(0, 1, torch.device("cpu"))
    again = validate(model, validation_loader(videos, recipe), process, "float32")
    assert again == pytest.approx({key: stored.rest["history"][-1][key] for key in again}, rel=1e-5)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        interrupt(patch, 6)
        train.fit(recipe, something_root, tmp_path / "resumed")
    train.fit(recipe, something_root, tmp_path / "resumed")
    resumed = checkpoint.read(tmp_path / "resumed" / run_folder.LAST)
    assert all(torch.equal(stored.weights[key], resumed.weights[key]) for key in stored.weights)


def weights_of_all(recipe, data_root, run_dir):
    """Trains; returns every process's digest of its weights at the last save."""
    original, found = state.save, []

    def save(training, best=False):
        values = b"".join(p.detach().numpy().tobytes() for p in training.model.parameters())
        found.append(training.process.gather(hashlib.sha256(values).hexdigest()))
        original(training, best)

    state.save = save
    train.fit(recipe, data_root, run_dir)
    return found[-1]


def test_all_processes_end_with_the_same_weights(tmp_path, something_root, recipe):
    recipe = recipe.with_changes({"clips_per_process": 4, "accumulation": 2})
    one, other = launch(weights_of_all, (recipe, something_root, tmp_path / "run"), processes=2)
    assert one == other


def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path, something_root, recipe):
    """Without BatchNorm's statistics of the batch, which are of other clips: the network is in eval mode."""
    process, recipe = Process(0, 1, torch.device("cpu")), recipe.with_changes({"dropout": 0.0})
    videos = load_list(recipe, something_root, "train")
    clips = torch.randint(0, 256, (8, 8, 3, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    whole = clips, torch.arange(8), torch.arange(8), []
    ended = []
    for parts in ([whole], [(*part, []) for part in zip(*(tensor.split(2) for tensor in whole[:3]))]):
        training = state.begin(recipe, videos.class_names, {}, tmp_path, process, None)
        training.network.eval()
        for group in training.optimizer.param_groups:
            group["lr"] = 0.1
        loop._step(training, parts, FiniteCheck(videos, training.run_dir))
        ended.append((training.model.state_dict(), training.sums))
    torch.testing.assert_close(ended[0][0], ended[1][0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ended[0][1], ended[1][1], rtol=1e-4, atol=1e-6)


def test_numbers_that_are_none_stop_the_run_with_the_videos_and_save_nothing(
    tmp_path, monkeypatch, something_root, recipe
):
    run_dir = tmp_path / "run"
    interrupt(monkeypatch, 5)
    with pytest.raises(Stopped):
        train.fit(recipe, something_root, run_dir)
    monkeypatch.undo()
    original, calls = torch.nn.functional.cross_entropy, []

    def poisoned(logits, labels, **how):
        calls.append(1)
        return original(logits, labels, **how) * (float("nan") if len(calls) == 2 else 1)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", poisoned)
    with pytest.raises(FloatingPointError) as failure:
        train.fit(recipe, something_root, run_dir, save_minutes=0)
    said = str(failure.value)
    order = data.EpochBatches(32, 8, recipe.seed)
    order.epoch, order.start = 1, 16
    videos = load_list(recipe, something_root, "train").samples
    assert "the loss is nan" in said and "epoch 2, after 16 of its clips" in said and "from before" in said
    assert ", ".join(videos[index].path.name for _, index in next(iter(order))) in said
    saved = checkpoint.read(run_dir / run_folder.LAST)
    assert saved.rest["clips"] == 16 and all(value.isfinite().all() for value in saved.weights.values())
