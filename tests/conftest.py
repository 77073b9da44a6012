"""What the tests share: devices, small demo data sets, small recipes, a short training."""

import dataclasses
import faulthandler
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from support import children
from support.gpu import GPU_MARKS

from tanet import recipes, train
from tanet.demo import footage
from tanet.runtime import processes

TEST_SECONDS = 1800  # after which a test hangs


def pytest_configure(config):
    """One thread computes. A test that hangs fails, and the stacks of all threads go to the terminal.

    Not by pytest's faulthandler_timeout: its thread would be missing in data-loading workers. They are forked and
    start a timer of the same kind, so they would wait for the thread forever.
    """
    signal.signal(signal.SIGALRM, fail_hanging_test)
    # Several threads for networks so small wait for each other, for minutes on a busy machine.
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of notebooks and other processes
    faulthandler.register(signal.SIGALRM, file=os.dup(sys.__stderr__.fileno()), chain=True)
    os.register_at_fork(after_in_child=alarm_as_usual)
    if config.pluginmanager.hasplugin("nbval"):  # a kernel whose TCP port is taken hangs, see tanet.demo.kernels
        from nbval import kernel as of_nbval

        from tanet.demo.kernels import FileKernelManager

        of_nbval.KernelManager = FileKernelManager


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores, since tests also wait for other processes; at most four, each takes up to 2 GB."""
    return min(4, processes.worker_count(os.cpu_count()) + 1)


def alarm_as_usual():
    """Data-loading workers use the alarm for themselves."""
    faulthandler.unregister(signal.SIGALRM)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def fail_hanging_test(number, frame):
    raise TimeoutError(f"the test hangs: it has run for {TEST_SECONDS} s")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    signal.alarm(TEST_SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)


def pytest_collection_modifyitems(items):
    """Tests that are not marked slow come first, then the notebooks, which are slow, too, then the other slow ones."""
    notebooks = [item for item in items if item.path.suffix == ".ipynb"]
    slow = [item for item in items if item.get_closest_marker("slow")]
    later = {*notebooks, *slow}
    quick = [item for item in items if item not in later]
    for item in notebooks:
        item.add_marker("slow")
    items[:] = quick + notebooks + slow


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=GPU_MARKS)])
def device(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def full_float32():
    """GPUs otherwise round float32 convolutions to TF32, which the tolerances here do not allow for."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(autouse=True)
def no_child_is_left():
    """Without this, a test that fails could leave a training behind that never ends."""
    yield
    children.end_all()


@pytest.fixture(scope="session")
def kinetics_root(tmp_path_factory) -> Path:
    return footage.make_demo_kinetics(tmp_path_factory.mktemp("kinetics"), train=32, val=16)


@pytest.fixture(scope="session")
def something_root(tmp_path_factory) -> Path:
    return footage.make_demo_something(tmp_path_factory.mktemp("something"), train=32, val=16)


@pytest.fixture
def linked(tmp_path):
    """Makes a data root that may be written into: links to all that is in another one."""

    def link(root: Path) -> Path:
        target = tmp_path / f"linked-{root.name}"
        target.mkdir()
        for path in root.iterdir():
            (target / path.name).symlink_to(path)
        return target

    return link


@pytest.fixture(scope="session")
def kinetics_recipe() -> recipes.Recipe:
    """Two epochs of four steps."""
    return dataclasses.replace(recipes.demo_kinetics(), epochs=2, lr_steps=(1,), workers=0)


@pytest.fixture(scope="session")
def something_recipe() -> recipes.Recipe:
    return dataclasses.replace(recipes.demo_something(), epochs=2, lr_steps=(1,), workers=0)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory, something_root, something_recipe) -> Path:
    """The folder of a finished, undisturbed run; tests leave it as it is."""
    run_dir = tmp_path_factory.mktemp("runs") / "undisturbed"
    train.fit(something_recipe, something_root, run_dir)
    return run_dir


@pytest.fixture
def forked_workers(monkeypatch):
    """`launch` forks its workers from a server that has imported torch, instead of spawning interpreters.

    For tests of what the workers compute. capfd does not see their output, and they do not notice their agent's death.
    """
    monkeypatch.setattr(processes, "LaunchConfig", children.config_from_server)
