"""What the tests share: devices, small demo data sets, small recipes, a short training."""

import dataclasses
from pathlib import Path

import pytest
import torch

from tanet import recipes, train
from tanet.demo.footage import make_demo_kinetics, make_demo_something

LAST = (  # the slow ones, quickest first
    "test_speed", "test_triton_kernels", "test_notebook", "test_probe", "test_footage_exact", "test_evaluate", "test_lists", "test_workers", "test_archives", "test_resize",
    "test_download", "test_kinetics400", "test_something", "test_verify", "test_pack", "test_live", "test_skips", "test_train",
    "test_distributed", "test_faults", "test_nodes", "test_resume", "test_papermill",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Quick tests first, notebooks last."""

    def place(item):
        path = Path(item.path)
        if path.suffix == ".ipynb":
            return len(LAST)
        return LAST.index(path.stem) if path.stem in LAST else -1

    items.sort(key=place)


@pytest.fixture(
    params=["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"))]
)
def device(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def full_float32():
    """GPUs otherwise round float32 convolutions to TF32, which the tolerances here do not allow for."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(scope="session")
def kinetics_root(tmp_path_factory) -> Path:
    return make_demo_kinetics(tmp_path_factory.mktemp("kinetics"), train=32, val=16)


@pytest.fixture(scope="session")
def something_root(tmp_path_factory) -> Path:
    return make_demo_something(tmp_path_factory.mktemp("something"), train=32, val=16)


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
