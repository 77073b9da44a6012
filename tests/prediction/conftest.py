"""Networks with random weights whose predictions differ from video to video, and files of them."""

from pathlib import Path

import pytest
import torch

from tanet import checkpoint, recipes
from tanet.data import class_names_at
from tanet.model import build


def write_weights(path: Path, recipe: recipes.Recipe, class_names: tuple[str, ...] | None) -> Path:
    """A checkpoint of this package; without names it is what MMAction2 would have written."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(recipe)
        torch.nn.init.normal_(model.fc.weight)
    if class_names is None:
        torch.save({"state_dict": checkpoint.from_ours(model.state_dict(), "mmaction2")}, path)
    else:
        state = {"model": model.state_dict(), "recipe": recipe.to_json(), "class_names": list(class_names)}
        checkpoint.save(path, state)
    return path


@pytest.fixture(scope="session")
def something_weights(tmp_path_factory, something_root) -> Path:
    recipe = recipes.demo_something().with_changes({"workers": 0})
    path = tmp_path_factory.mktemp("weights") / "something.pth"
    return write_weights(path, recipe, class_names_at("something_v1", something_root))


@pytest.fixture(scope="session")
def kinetics_weights(tmp_path_factory, kinetics_root) -> Path:
    recipe = recipes.demo_kinetics().with_changes({"workers": 0})
    path = tmp_path_factory.mktemp("weights") / "kinetics.pth"
    return write_weights(path, recipe, class_names_at("kinetics", kinetics_root))
