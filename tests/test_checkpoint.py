import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tanet import checkpoint, recipes, tanet_tiny
from tanet.checkpoint import CheckpointError
from tanet.model import build

RECIPE = recipes.get("demo_something")


def network(seed=0, **options):
    torch.manual_seed(seed)
    return tanet_tiny(8, **options)


def full_state(model, **more):
    names = [f"class {i}" for i in range(8)]
    return {
        "model": model.state_dict(),
        "recipe": RECIPE.to_json(),
        "class_names": names,
        "history": [{"epoch": 1}],
        **more,
    }


def weights(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def stored(tmp_path):
    checkpoint.save(tmp_path / "last.pth", full_state(network()))
    return tmp_path / "last.pth"


def test_what_was_saved_is_loaded(stored):
    model = network(seed=1)
    rest = checkpoint.load_weights(model, stored)
    assert equal(model.state_dict(), network().state_dict())
    assert rest["history"] == [{"epoch": 1}] and "model" not in rest
    assert checkpoint.load_recipe(stored) == RECIPE


def test_optimizer_state_survives(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.zeros(2, 8, 3, 32, 32)).sum().backward()
    optimizer.step()
    checkpoint.save(tmp_path / "a.pth", full_state(model, optimizer=optimizer.state_dict()))
    state, wanted = checkpoint.load(tmp_path / "a.pth")["optimizer"], optimizer.state_dict()
    assert state["param_groups"] == wanted["param_groups"]
    assert all(
        torch.equal(s["momentum_buffer"], wanted["state"][i]["momentum_buffer"]) for i, s in state["state"].items()
    )


@torch.no_grad()
def test_load_model_gives_the_network_ready_for_testing(stored):
    model, recipe, class_names = checkpoint.load_model(stored)
    clips = torch.randn(1, 8, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    original = build(RECIPE)
    original.load_state_dict(network().state_dict())
    assert not model.training and recipe == RECIPE and class_names == tuple(f"class {i}" for i in range(8))
    assert torch.equal(model(clips), original.eval()(clips))


class Unsavable:
    def __reduce__(self):
        raise RuntimeError("disk on fire")


def test_failed_save_leaves_the_old_file_and_nothing_else(stored):
    before = stored.read_bytes()
    with pytest.raises(RuntimeError, match="disk on fire"):
        checkpoint.save(stored, full_state(network(seed=1), more=Unsavable()))
    assert stored.read_bytes() == before
    assert os.listdir(stored.parent) == ["last.pth"]


def test_save_replaces_the_old_file_and_leaves_nothing_else(stored):
    checkpoint.save(stored, full_state(network(seed=1)))
    assert equal(checkpoint.load(stored)["model"], network(seed=1).state_dict())
    assert os.listdir(stored.parent) == ["last.pth"]


@pytest.mark.parametrize(
    "other, parts",
    [
        (lambda: tanet_tiny(5), [r"2 keys", r"fc\.weight is \(8, 512\), the network has \(5, 512\)"]),
        (lambda: tanet_tiny(8, temporal="none"), [r"unexpected layer1\.0\.temporal"]),
        (lambda: tanet_tiny(8, num_frames=16), [r"layer1\.0\.temporal\.global_branch\.0\.weight is \(16, 8\)"]),
    ],
)
def test_weights_that_do_not_fit_are_listed_and_the_network_is_untouched(stored, other, parts):
    model = other()
    before = weights(model)
    for part in parts:
        with pytest.raises(CheckpointError, match=part) as failure:
            checkpoint.load_weights(model, stored)
        assert str(failure.value).startswith(str(stored))
    assert equal(model.state_dict(), before)


def test_missing_weights_are_listed_and_the_network_is_untouched(tmp_path):
    state = full_state(tanet_tiny(8, temporal="none"))
    checkpoint.save(tmp_path / "tsn.pth", state)
    model = network()
    with pytest.raises(CheckpointError, match=r"missing layer1\.0\.temporal"):
        checkpoint.load_weights(model, tmp_path / "tsn.pth")
    assert equal(model.state_dict(), network().state_dict())


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, write):
    marker, path = tmp_path / "marker", tmp_path / "trojan.pth"
    write({"format": checkpoint.FORMAT, "model": {}, "extra": Malicious(marker)}, path)
    for load in (checkpoint.load, checkpoint.load_model, checkpoint.load_recipe):
        with pytest.raises(CheckpointError, match="trojan.pth"):
            load(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Malicious(marker)))
    assert marker.exists()  # it would have worked


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_truncated_file_is_refused_by_name(stored, keep):
    content = stored.read_bytes()
    stored.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(CheckpointError, match=str(stored)):
        checkpoint.load(stored)


def test_any_other_file_is_refused_by_name(tmp_path):
    rng = np.random.default_rng(0)
    contents = [b"", b"text\n", b"\x89PNG\r\n", b"PK\x03\x04" + bytes(100), *(rng.bytes(200) for _ in range(200))]
    for content in contents:
        (tmp_path / "other.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match="other.pth"):
            checkpoint.load(tmp_path / "other.pth")


@pytest.mark.parametrize("state", [{"model": {}}, {"format": "else", "model": {}}, [1, 2], torch.zeros(3)])
def test_torch_files_of_others_are_refused_by_name(tmp_path, state):
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="other.pth.*not a checkpoint"):
        checkpoint.load(tmp_path / "other.pth")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.pth"):
        checkpoint.load(tmp_path / "none.pth")
