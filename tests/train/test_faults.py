"""What goes wrong around a training ends it soon, with its cause, and costs nothing that was saved."""

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.children import HANG, start, wait, wait_until
from support.signals import stop_after
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from tanet import cli, data, train
from tanet.data import loader
from tanet.errors import DataError, LaunchError, Stopped
from tanet.runtime import launch
from tanet.train import loop, run_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def half_a_run(tmp_path_factory, something_root, something_recipe):
    """A run with one epoch done of two, and its recipe."""
    recipe, run_dir = something_recipe.with_changes({"lr_steps": []}), tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        stop_after(patch, 5, signal.SIGTERM)
        train.fit(recipe, something_root, run_dir)
    return recipe, run_dir


@pytest.fixture
def begun(tmp_path, half_a_run):
    """A copy of it that a test may go on with."""
    recipe, run_dir = half_a_run
    return recipe, shutil.copytree(run_dir, tmp_path / "run")


def content(run_dir):
    return {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


def goes_on(recipe, something_root, run_dir):
    history = train.fit(recipe, something_root, run_dir)
    return [row["epoch"] for row in history] == [1, 2]


def test_a_full_disk_ends_the_run_and_leaves_what_was_saved(monkeypatch, something_root, begun):
    recipe, run_dir = begun
    before = content(run_dir / "checkpoints")

    def full(state, file, **options):
        file.write(b"the beginning")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(torch, "save", full)
        train.fit(recipe, something_root, run_dir, save_minutes=0)
    after = content(run_dir / "checkpoints")
    assert after[run_dir / run_folder.LAST] == before[run_dir / run_folder.LAST]
    assert not [path for path in after if "partial" in path.name]
    assert goes_on(recipe, something_root, run_dir)


def test_a_folder_that_cannot_be_written_ends_the_run_before_it_trains(
    tmp_path, monkeypatch, something_root, something_recipe
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(loop, "train_epoch", lambda *_: pytest.fail("trains"))
    with pytest.raises(NotADirectoryError, match="file"):
        train.fit(something_recipe, something_root, tmp_path / "file/run")


def give_up_roots_rights():
    """Root may write anywhere, unless it gives that up: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, numbers 1 and 2."""
    version_3, this_process = 0x20080522, 0
    header = (ctypes.c_uint32 * 2)(version_3, this_process)
    rights = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice 32 bits each
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, rights):
        raise OSError(ctypes.get_errno(), "capget")
    for index in range(3):
        rights[index] &= ~0b110
    if libc.capset(header, rights):
        raise OSError(ctypes.get_errno(), "capset")


@pytest.mark.skipif(sys.platform != "linux", reason="gives up root's rights as Linux does")
def test_a_folder_that_is_read_only_ends_the_run_with_its_name_and_nothing_is_overwritten(
    tmp_path, something_root, begun
):
    recipe, run_dir = begun
    before, folders = content(run_dir), (run_dir, run_dir / "checkpoints")
    command = ["train", "--recipe=demo_something", f"--data-root={something_root}"]
    command += [f"--set={change}" for change in ("epochs=2", "lr_steps=[]", "workers=0")]
    try:
        for folder in folders:
            folder.chmod(0o500)
        for target in (run_dir, run_dir / "inside"):  # a run that resumes, and one that begins
            output = tmp_path / f"{target.name}.txt"
            child = start(cli.main, [*command, f"--run-dir={target}"], hook=give_up_roots_rights, output=output)
            assert wait(child) == [1]
            said = output.read_text()
            assert "epoch" not in said and said.count("\n") == 1
            assert "Permission denied" in said and str(target) in said
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert content(run_dir) == before
    assert goes_on(recipe, something_root, run_dir)


@pytest.mark.parametrize("kind", ["killed", "raises"])
def test_a_loading_process_that_dies_ends_the_run(monkeypatch, something_root, begun, kind):
    recipe, run_dir = begun
    before = content(run_dir / "checkpoints")

    def fail(self, key):
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise DataError("this video is no video")

    with monkeypatch.context() as patch:
        patch.setattr(data.TrainingClips, "__getitem__", fail)
        with pytest.raises((RuntimeError, DataError), match="exited unexpectedly|this video is no video"):
            train.fit(recipe.with_changes({"workers": 1}), something_root, run_dir)
    assert content(run_dir / "checkpoints") == before
    assert goes_on(recipe, something_root, run_dir)


def test_a_loading_process_that_is_stuck_ends_the_run(tmp_path, monkeypatch, something_root, something_recipe):
    stuck, released = tmp_path / "stuck", tmp_path / "released"
    original = _MultiProcessingDataLoaderIter._try_get_data

    def hang(clips, key):
        stuck.touch()
        wait_until(released.exists)

    def get_when_stuck(*arguments, **options):
        wait_until(stuck.exists)  # however long the process takes to start: the time-out counts from here
        return original(*arguments, **options)

    monkeypatch.setattr(loader, "LOADER_TIMEOUT", 1)
    monkeypatch.setattr(data.TrainingClips, "__getitem__", hang)
    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_try_get_data", get_when_stuck)
    with pytest.raises(RuntimeError, match="20bn-something-something-v1/.*timed out after 1 seconds"):
        train.fit(something_recipe.with_changes({"workers": 1}), something_root, tmp_path / "run")
    released.touch()  # otherwise the process would live as long as pytest


def fail_in_one(recipe, data_root, run_dir):
    """Of two processes the second one fails, in the middle of the third step."""
    original, done = loop._step, []

    def step(training, *arguments):
        done.append(1)
        if training.process.rank == 1 and len(done) == 3:
            raise ValueError("only here")
        return original(training, *arguments)

    loop._step = step
    train.fit(recipe, data_root, run_dir, save_minutes=0)


def test_a_process_that_raises_ends_all_with_its_error_on_top(
    tmp_path, forked_workers, something_root, something_recipe
):
    recipe, run_dir = something_recipe.with_changes({"clips_per_process": 4}), tmp_path / "run"
    with pytest.raises(LaunchError, match=r"\Athe process of rank 1 failed: ValueError: only here"):
        launch(fail_in_one, (recipe, something_root, run_dir), processes=2)
    assert [row["epoch"] for row in train.launch(recipe, something_root, run_dir, processes=2)] == [1, 2]


SCRIPT = """
import sys
from torch.distributed.elastic.multiprocessing.errors import record
sys.path.insert(0, sys.argv[1])
from tanet import recipes
from test_faults import fail_in_one
recipe = recipes.get("demo_something").with_changes({"clips_per_process": 4, "workers": 0})
record(fail_in_one)(recipe, sys.argv[2], sys.argv[3])
"""


def test_under_torchrun_the_first_failure_is_the_root_cause(tmp_path, something_root):
    (tmp_path / "script.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = [tmp_path / "script.py", Path(__file__).parent, something_root, tmp_path / "run"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # as pytest extends it
    ended = subprocess.run(
        [*torchrun, *script], capture_output=True, text=True, timeout=HANG, env=environment, check=False
    )
    cause = ended.stderr.partition("Root Cause (first observed failure)")[2]
    assert ended.returncode != 0 and "rank      : 1" in cause and "only here" in cause, ended.stderr[-3000:]
