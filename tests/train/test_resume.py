"""A training that is killed, interrupted or moved goes on as if nothing had been."""

import hashlib
import json
import os
import shutil
import signal
import sys
from functools import partial

import pytest
import torch
from support.children import HANG, kill, launch_by_fork, start, start_command, start_group, wait, wait_until
from support.signals import (
    die_in_step,
    die_in_validation,
    die_renaming,
    die_writing,
    die_writing_a_row,
    stop_after,
)

from tanet import checkpoint, cli, data, runtime, train
from tanet.data import load_list, validation_loader
from tanet.errors import CheckpointError, RunInUse, Stopped
from tanet.evaluate import validate
from tanet.runtime import Process, launch
from tanet.train import FiniteCheck, loop, run_folder, state

pytestmark = pytest.mark.slow

SPEED = {"clips_per_second", "data_wait", "peak_memory_mib"}  # what differs from run to run
ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def recipe(something_recipe):
    """Two epochs of four steps on small clips; dropout and flips, so that every random draw counts."""
    small = {"short_side": 36, "crop_size": 32, "test_size": 32}
    return something_recipe.with_changes({"dropout": 0.3, "deterministic": True} | small)


def train_in_child(recipe, data_root, run_dir, save_minutes=0.0):
    """A training with a line in metrics.jsonl for every second step."""
    loop.LOG_STEPS = 2
    train.fit(recipe, data_root, run_dir, save_minutes=save_minutes)


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
        shared = recipe.with_changes({"clips_per_process": 8 // processes})
        children = start_group(processes, train_in_child, shared, something_root, run_dir, 60.0)
        assert wait(*children) == [0] * processes
        results[processes] = result(run_dir)
    assert [row["epoch"] for row in results[1][2] if "step" not in row] == [1, 2]
    assert len(results[1][2]) == 2 + 4
    return results


LAST_HALF, PREVIOUS_LINKED, BEST_HALF = ".last.pth.partial", ".previous.pth.partial", ".best.pth.partial"
# What a run dies of, one after the other: (hook, rank of the process that dies, a file that is half-written then).
# Each training resumes where the one before it died, so the kills walk through both epochs.
KILLS = [
    (partial(die_renaming, "recipe.json", done=False), 0, ".recipe.json.partial"),  # nothing to go on from yet
    (partial(die_in_step, 1), 0, None),
    (partial(die_writing, "last.pth"), 0, LAST_HALF),  # the very first checkpoint
    (partial(die_renaming, "last.pth", done=False, call=2), 0, LAST_HALF),
    (partial(die_renaming, "last.pth", done=True), 0, None),
    (partial(die_writing, "last.pth"), 0, LAST_HALF),
    (partial(die_renaming, "previous.pth", done=False), 0, PREVIOUS_LINKED),
    (partial(die_renaming, "previous.pth", done=True), 0, None),
    (partial(die_writing_a_row, of_epoch=False), 0, None),
    (die_in_validation, 0, None),
    (partial(die_writing, "best.pth"), 0, BEST_HALF),
    (partial(die_renaming, "best.pth", done=True), 0, None),  # last.pth is older than best.pth
    (partial(die_writing_a_row, of_epoch=True), 0, None),  # of an epoch that is saved
    (partial(die_renaming, "metrics.jsonl", done=False), 0, ".metrics.jsonl.partial"),  # while it drops lines
    (partial(die_in_step, 2), 0, None),
    (partial(die_in_step, 3), 0, None),  # the last step
    (die_in_validation, 0, None),
]
KILLS_OF_TWO = [
    (partial(die_in_step, 3), 1, None),
    (partial(die_writing, "last.pth"), 0, LAST_HALF),
    (die_in_validation, 1, None),
    (partial(die_renaming, "previous.pth", done=False), 0, PREVIOUS_LINKED),
]


@pytest.mark.parametrize("processes, kills", [(1, KILLS), (2, KILLS_OF_TWO)])
def test_killed_again_and_again_it_ends_bit_identically(
    tmp_path, something_root, recipe, undisturbed, processes, kills
):
    """In steps, in validations, between files and, since every step is saved, in the middle of saving."""
    run_dir, recipe = tmp_path / "run", recipe.with_changes({"clips_per_process": 8 // processes})
    is_saved = False
    for hook, rank, half_written in kills:
        children = start_group(processes, train_in_child, recipe, something_root, run_dir, hooks={rank: hook})
        assert wait(children[rank]) == [-signal.SIGKILL], hook
        kill(*children)
        assert half_written in (None, *(path.name for path in run_dir.rglob("*.partial"))), hook
        stored, _ = run_folder.newest(run_dir)
        assert stored is not None or not is_saved, hook  # at no moment is there no whole one
        is_saved = stored is not None
    assert is_saved
    assert wait(*start_group(processes, train_in_child, recipe, something_root, run_dir)) == [0] * processes
    assert identical(result(run_dir), undisturbed[processes])
    assert not list(run_dir.rglob("*.partial"))


def interrupt(monkeypatch, steps, number=signal.SIGINT):
    """As stop_after, with the lines in metrics.jsonl that the undisturbed runs have."""
    stop_after(monkeypatch, steps, number)
    monkeypatch.setattr(loop, "LOG_STEPS", 2)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, something_root, recipe):
    """A run that was interrupted in its sixth step of eight, and saved after every step."""
    run_dir = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        interrupt(patch, 6)
        train.fit(recipe, something_root, run_dir, save_minutes=0)
    return run_dir


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "garbage"])
def test_an_unreadable_last_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path, capsys, monkeypatch, something_root, recipe, interrupted, undisturbed, damage
):
    run_dir = shutil.copytree(interrupted, tmp_path / "run")
    monkeypatch.setattr(loop, "LOG_STEPS", 2)
    last, content = run_dir / run_folder.LAST, (run_dir / run_folder.LAST).read_bytes()
    last.write_bytes({"cut": content[: len(content) // 2], "garbage": b"\0" * 1000}.get(damage, b""))
    if damage == "gone":
        last.unlink()
    train.fit(recipe, something_root, run_dir)
    said = capsys.readouterr().out
    assert damage == "gone" or f"going on from {run_dir / run_folder.PREVIOUS}" in said
    assert identical(result(run_dir), undisturbed[1])


def test_without_any_readable_checkpoint_nothing_is_begun_anew(tmp_path, something_root, recipe, interrupted):
    run_dir = shutil.copytree(interrupted, tmp_path / "run")
    for name in (run_folder.LAST, run_folder.PREVIOUS):
        (run_dir / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="previous.pth"):
        train.fit(recipe, something_root, run_dir)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_leaves_and_says_how_to_go_on(
    tmp_path, monkeypatch, something_root, recipe, undisturbed, number
):
    """As in a notebook, whose cell the kernel interrupts with SIGINT."""
    run_dir, handler = tmp_path / "run", signal.getsignal(number)
    interrupt(monkeypatch, 7, number)
    with pytest.raises(Stopped, match=rf"epoch 2 of 2, after 24 of its clips.*{run_dir}.*same call") as stopped:
        train.fit(recipe, something_root, run_dir)
    assert stopped.value.signal == number and signal.getsignal(number) is handler
    stored = checkpoint.read(run_dir / run_folder.LAST)
    assert (stored.rest["epoch"], stored.rest["clips"]) == (1, 24)
    train.fit(recipe, something_root, run_dir)
    assert identical(result(run_dir), undisturbed[1])


ENDLESS = ["--recipe=demo_something", "--set=epochs=1000000", "--set=lr_steps=[]", "--save-minutes=0"]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("processes", [1, 2])
def test_the_command_line_too_and_ends_with_the_signals_code(tmp_path, something_root, number, code, processes):
    run_dir, output = tmp_path / "run", tmp_path / "output.txt"
    arguments = ["train", *ENDLESS, f"--data-root={something_root}", f"--run-dir={run_dir}", "--set=workers=0"]
    child = start(cli.main, [*arguments, f"--processes={processes}"], hook=launch_by_fork, output=output)
    wait_until((run_dir / run_folder.LAST).exists, child)
    os.kill(child.pid, number)
    assert wait(child) == [code if processes == 1 else 130]
    assert f"saved in {run_dir}, and the same call goes on from there" in output.read_text()
    assert checkpoint.read(run_dir / run_folder.LAST).rest["clips"] >= 0


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_processes_of_a_training_saves_too(tmp_path, something_root, number, code):
    """As a terminal's Ctrl-C or a cluster's scheduler sends it, to the loading processes as well."""
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "tanet.train", *ENDLESS, f"--data-root={something_root}", f"--run-dir={run_dir}"]
    child = start_command([*command, "--set=workers=2"])
    wait_until(lambda: (run_dir / run_folder.PREVIOUS).exists() or child.poll() is not None)
    os.killpg(child.pid, number)
    said = child.communicate(timeout=HANG)[1]
    assert f"saved in {run_dir}, and the same call goes on from there" in said and child.returncode == code


def test_more_processes_go_on_from_the_same_clip_and_say_what_changes(tmp_path, monkeypatch, something_root, recipe):
    run_dir, recipe = tmp_path / "run", recipe.with_changes({"clips_per_process": 4, "epochs": 1, "lr_steps": []})
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        interrupt(patch, 3)
        train.fit(recipe, something_root, run_dir)
    assert checkpoint.read(run_dir / run_folder.LAST).rest["clips"] == 12
    output = tmp_path / "output.txt"
    assert wait(*start_group(2, train.fit, recipe, something_root, run_dir, output=output)) == [0, 0]
    said = output.read_text()
    assert "0 of 1 epochs are done, and 12 clips of the next. 1 process(es) made it, 2 go on from the same clip" in said
    (row,) = train.read_metrics(run_dir)
    assert row["clips"] == 12 + 2 * 8  # two steps of 8 of the 20 clips that were left


def test_fewer_processes_go_on_from_the_same_clip(tmp_path, capsys, something_root, recipe):
    run_dir, recipe = tmp_path / "run", recipe.with_changes({"clips_per_process": 4, "epochs": 2, "lr_steps": []})
    children = start_group(2, train_in_child, recipe, something_root, run_dir, hooks={0: partial(die_in_step, 3)})
    assert wait(children[0]) == [-signal.SIGKILL]
    kill(*children)
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
    cores = runtime.processes._share_of_cores()
    monkeypatch.setattr(
        runtime.processes, "_share_of_cores", lambda: cores + workers
    )  # the same threads of computation
    monkeypatch.setattr(loop, "LOG_STEPS", 2)
    (tmp_path / "run").mkdir()
    train.fit(recipe.with_changes({"workers": workers}), something_root, tmp_path / "run")
    assert identical(result(tmp_path / "run"), undisturbed[1])


def lock_without_waiting(monkeypatch):
    """A training that finds its folder in use says so at once."""
    monkeypatch.setattr(run_folder, "LOCK_SECONDS", 0.0)


def wait_in_second_step(path):
    """The training writes `path` in its second step, and stays there."""
    original, done = loop._step, []

    def step(*arguments):
        done.append(1)
        if len(done) == 2:
            path.write_text("in the second step")
            signal.pause()
        return original(*arguments)

    loop._step = step


def test_two_trainings_in_one_folder_do_not_get_into_each_others_way(tmp_path, monkeypatch, something_root, recipe):
    run_dir, reached = tmp_path / "run", tmp_path / "reached"
    child = start(train_in_child, recipe, something_root, run_dir, hook=partial(wait_in_second_step, reached))
    wait_until(reached.exists, child)
    lock_without_waiting(monkeypatch)
    with pytest.raises(RunInUse, match=rf"{run_dir}: another training is running in it \(process {child.pid} on"):
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
    again = validate(model, validation_loader(videos, recipe), ALONE, "float32")
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


def test_all_processes_end_with_the_same_weights(tmp_path, forked_workers, something_root, recipe):
    recipe = recipe.with_changes({"clips_per_process": 4, "accumulation": 2})
    one, other = launch(weights_of_all, (recipe, something_root, tmp_path / "run"), processes=2)
    assert one == other


def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path, something_root, recipe):
    """Without BatchNorm's statistics of the batch, which are of other clips: the network is in eval mode."""
    recipe = recipe.with_changes({"dropout": 0.0})
    videos = load_list(recipe, something_root, "train")
    clips = torch.randint(0, 256, (8, 8, 3, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    whole = clips, torch.arange(8), torch.arange(8), []
    ended = []
    for parts in ([whole], [(*part, []) for part in zip(*(tensor.split(2) for tensor in whole[:3]))]):
        training = state.begin(recipe, videos.class_names, {}, tmp_path, ALONE, None)
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
