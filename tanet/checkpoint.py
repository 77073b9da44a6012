"""Checkpoints: written whole or not at all, read without running code from them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch

from tanet import recipes
from tanet.model import TANet, build

FORMAT = "tanet-1"


class CheckpointError(ValueError):
    """A file that is no checkpoint of this package, or does not fit the network; the message begins with the path."""


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends well; otherwise what was there stays and nothing else does."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save(path: str | os.PathLike, state: dict) -> None:
    """Writes `state` (tensors and plain values) so that `path` is never half-written."""
    with atomic_write(path) as file:
        torch.save({"format": FORMAT} | state, file)


def load(path: str | os.PathLike) -> dict:
    """What `save` wrote, on the CPU. Raises FileNotFoundError or CheckpointError; never runs code from the file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint can fail the unpickler in any way
        raise CheckpointError(f"{path}: not readable as a checkpoint; it is damaged or holds more than weights") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint written by tanet.train")
    return state


def load_weights(model: TANet, path: str | os.PathLike) -> dict:
    """Loads a checkpoint's weights into `model` and returns what else it holds.

    Every key must be there with its shape; otherwise CheckpointError lists what is not, and the model is untouched.
    """
    state = load(path)
    weights, own = _entry(state, "model", path), model.state_dict()
    problems = [f"missing {key}" for key in own.keys() - weights.keys()]
    problems += [f"unexpected {key}" for key in weights.keys() - own.keys()]
    problems += [
        f"{key} is {tuple(weights[key].shape)}, the network has {tuple(own[key].shape)}"
        for key in own.keys() & weights.keys()
        if own[key].shape != weights[key].shape
    ]
    if problems:
        listed = "; ".join(sorted(problems)[:8])
        raise CheckpointError(f"{path}: {len(problems)} keys do not fit this network: {listed}")
    model.load_state_dict(weights)
    del state["model"]
    return state


def _entry(state: dict, key: str, path):
    if key not in state:
        raise CheckpointError(f"{path}: holds no {key}")
    return state[key]


def load_recipe(path: str | os.PathLike) -> recipes.Recipe:
    """The recipe that a checkpoint was trained by."""
    return recipes.from_json(_entry(load(path), "recipe", path))


def load_model(path: str | os.PathLike) -> tuple[TANet, recipes.Recipe, tuple[str, ...]]:
    """The network of a checkpoint, ready for testing, with its recipe and its class names in index order."""
    recipe = load_recipe(path)
    model = build(recipe)
    state = load_weights(model, path)
    return model.eval(), recipe, tuple(_entry(state, "class_names", path))
